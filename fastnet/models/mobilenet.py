"""MobileNet: convolutions taken apart into one per channel (depthwise) and one per pixel (1x1)."""

from ..layers import AdaptiveAvgPool2d, Flatten, Layer, Linear, Sequential
from .blocks import Shape, Stem, checked, conv_bn, for_photographs, he_initialised

# (channels, stride) of the 13 separable convolutions
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


def mobilenet_v1(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    width: float = 1.0,
    stem: Stem = "auto",
) -> Sequential:
    """28 layers; `width` multiplies every number of channels. 3.22 M parameters for CIFAR-10, 4.23 M for ImageNet.

    stem: stride 2 ("imagenet") or 1 ("cifar") of the first convolution; "auto": 2 for images of 96 pixels and more.
    Howard et al. 2017 ("MobileNets"), table 1.
    """
    c, h, w = checked("mobilenet_v1", input_shape, classes)
    if not width > 0:
        raise ValueError(f"mobilenet_v1: width must be above 0, found {width}")
    channels = max(1, int(32 * width))
    layers: list[Layer] = conv_bn(c, channels, stride=2 if for_photographs("mobilenet_v1", stem, h, w) else 1)
    for wide, stride in BLOCKS:
        out_channels = max(1, int(wide * width))
        layers += conv_bn(channels, channels, 3, stride, groups=channels)
        layers += conv_bn(channels, out_channels, 1)
        channels = out_channels
    return he_initialised(Sequential(*layers, AdaptiveAvgPool2d(1), Flatten(), Linear(channels, classes)))
