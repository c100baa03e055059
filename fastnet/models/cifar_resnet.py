"""The residual nets that were made for CIFAR: 6n + 2 layers of 16, 32 and 64 channels.

Where a block halves the image, its shortcut is a 1x1 convolution with batch norm (option B of the paper; its CIFAR nets
use option A, which subsamples and pads with zero channels: 2,752 parameters fewer, whatever the depth).
"""

from ..layers import AdaptiveAvgPool2d, Flatten, Layer, Linear, Sequential
from .blocks import Shape, checked, conv_bn, he_initialised, residual, zero_last_gammas


def resnet20(input_shape: Shape = (3, 32, 32), classes: int = 10, *, zero_last_gamma: bool = False) -> Sequential:
    """20 layers, 0.27 M parameters; 91.25 % on CIFAR-10 in the paper.  He, Zhang, Ren & Sun 2016, section 4.2."""
    return _resnet("resnet20", 3, input_shape, classes, zero_last_gamma)


def resnet32(input_shape: Shape = (3, 32, 32), classes: int = 10, *, zero_last_gamma: bool = False) -> Sequential:
    """32 layers, 0.46 M parameters; 92.49 % on CIFAR-10 in the paper."""
    return _resnet("resnet32", 5, input_shape, classes, zero_last_gamma)


def resnet56(input_shape: Shape = (3, 32, 32), classes: int = 10, *, zero_last_gamma: bool = False) -> Sequential:
    """56 layers, 0.85 M parameters; 93.03 % on CIFAR-10 in the paper."""
    return _resnet("resnet56", 9, input_shape, classes, zero_last_gamma)


def _resnet(name: str, n: int, input_shape: Shape, classes: int, zero_last_gamma: bool) -> Sequential:
    c, _, _ = checked(name, input_shape, classes)
    layers: list[Layer] = conv_bn(c, 16)
    channels = 16
    for width, first_stride in ((16, 1), (32, 2), (64, 2)):
        for stride in (first_stride,) + (1,) * (n - 1):
            body = Sequential(*conv_bn(channels, width, stride=stride), *conv_bn(width, width, relu=False))
            layers += residual(body, channels, width, stride)
            channels = width
    net = he_initialised(Sequential(*layers, AdaptiveAvgPool2d(1), Flatten(), Linear(channels, classes)))
    if zero_last_gamma:
        zero_last_gammas(net)
    return net
