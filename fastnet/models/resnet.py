"""Residual nets of 18, 34 and 50 layers, for photographs and, with a smaller stem, for CIFAR images.

Parameters come in torchvision's order (a block's body, then its shortcut), so its weights fit ours one after another.
"""

from ..layers import AdaptiveAvgPool2d, Flatten, Layer, Linear, MaxPool2d, Sequential
from .blocks import Shape, Stem, checked, conv_bn, for_photographs, he_initialised, residual, zero_last_gammas


def resnet18(
    input_shape: Shape = (3, 32, 32), classes: int = 10, *, stem: Stem = "auto", zero_last_gamma: bool = False
) -> Sequential:
    """Basic blocks 2, 2, 2, 2. 11.17 M parameters for CIFAR-10, 11.69 M for ImageNet.

    stem: "imagenet" (7x7 convolution and max-pool, each of stride 2), "cifar" (one 3x3 convolution of stride 1), or
    "auto": "imagenet" for images of 96 pixels and more.  He, Zhang, Ren & Sun 2016, table 1.
    """
    return _resnet("resnet18", (2, 2, 2, 2), False, input_shape, classes, stem, zero_last_gamma)


def resnet34(
    input_shape: Shape = (3, 32, 32), classes: int = 10, *, stem: Stem = "auto", zero_last_gamma: bool = False
) -> Sequential:
    """Basic blocks 3, 4, 6, 3; options as of `resnet18`. 21.28 M parameters for CIFAR-10, 21.80 M for ImageNet."""
    return _resnet("resnet34", (3, 4, 6, 3), False, input_shape, classes, stem, zero_last_gamma)


def resnet50(
    input_shape: Shape = (3, 32, 32), classes: int = 10, *, stem: Stem = "auto", zero_last_gamma: bool = False
) -> Sequential:
    """Bottleneck blocks 3, 4, 6, 3; options as of `resnet18`. 23.52 M parameters for CIFAR-10, 25.56 M for ImageNet.

    The stride is in the 3x3 convolution, as in torchvision and in Goyal et al. 2017, not in the first 1x1 of the paper.
    """
    return _resnet("resnet50", (3, 4, 6, 3), True, input_shape, classes, stem, zero_last_gamma)


def basic(channels: int, width: int, stride: int) -> tuple[Sequential, int]:
    """(body, its output channels) of two 3x3 convolutions."""
    return Sequential(*conv_bn(channels, width, stride=stride), *conv_bn(width, width, relu=False)), width


def bottleneck(channels: int, width: int, stride: int) -> tuple[Sequential, int]:
    """(body, its output channels): 1x1 down to width, 3x3, 1x1 up to four times the width."""
    inner = conv_bn(channels, width, 1) + conv_bn(width, width, 3, stride)
    return Sequential(*inner, *conv_bn(width, 4 * width, 1, relu=False)), 4 * width


def _resnet(
    name: str,
    blocks: tuple[int, ...],
    deep: bool,
    input_shape: Shape,
    classes: int,
    stem: Stem,
    zero_last_gamma: bool,
) -> Sequential:
    c, h, w = checked(name, input_shape, classes)
    layers: list[Layer]
    if for_photographs(name, stem, h, w):
        layers = [*conv_bn(c, 64, 7, 2), MaxPool2d(3, stride=2, padding=1)]
    else:
        layers = conv_bn(c, 64)
    channels = 64
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            body, out_channels = (bottleneck if deep else basic)(channels, 64 * 2**stage, stride)
            layers += residual(body, channels, out_channels, stride)
            channels = out_channels
    net = he_initialised(Sequential(*layers, AdaptiveAvgPool2d(1), Flatten(), Linear(channels, classes)))
    if zero_last_gamma:
        zero_last_gammas(net)
    return net
