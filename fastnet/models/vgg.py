"""A small VGG-like net with batch norm."""

from ..layers import Flatten, Layer, Linear, MaxPool2d, Sequential
from .blocks import Shape, checked, conv_bn, he_initialised


def vgg_bn(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    widths: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256)),
) -> Sequential:
    """Stages of 3x3 convolution - batch norm - relu (one per width) and a 2x2 max-pool; then one linear layer.

    ValueError for images of less than 2^stages pixels.  Simonyan & Zisserman 2015, with the batch norm of Ioffe &
    Szegedy 2015; VGG-11 is widths=((64,), (128,), (256, 256), (512, 512), (512, 512)) before its three linear layers.
    """
    shrink = 2 ** len(widths)
    channels, h, w = checked("vgg_bn", input_shape, classes, least=shrink)
    layers: list[Layer] = []
    for stage in widths:
        for width in stage:
            layers += conv_bn(channels, width)
            channels = width
        layers.append(MaxPool2d(2))
    return he_initialised(Sequential(*layers, Flatten(), Linear(channels * (h // shrink) * (w // shrink), classes)))
