"""The small fast net of Jordan's "94 % on CIFAR-10 in 3.29 seconds on a single GPU"."""

from .. import initializers
from ..layers import GELU, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, Scale, Sequential
from .blocks import Shape, checked


def airbench(
    input_shape: Shape = (3, 32, 32), classes: int = 10, *, widths: tuple[int, int, int] = (64, 256, 256)
) -> Sequential:
    """2x2 convolution - gelu, three blocks of convolution - 2x2 max-pool - norm - gelu - convolution - norm - gelu, global
    max-pool, linear, scores / 9.

    The first convolution has a map for each direction of a patch, and for its negative: 8 per channel. The recipe `cifar94`
    gives it filters that whiten the patches and freezes them. The 3x3 convolutions have no bias and begin as the identity, as
    far as there are inputs to copy. Batch norm moves its statistics by 0.4 a step.
    ValueError for images of less than 9 pixels.  Jordan 2024 (arXiv 2404.00498), section 3.
    """
    c, h, w = checked("airbench", input_shape, classes, least=9)
    channels = 8 * c
    blocks = []
    for width in widths:
        blocks.append(_block(channels, width))
        channels = width
    left = tuple((size - 1) // 8 for size in (h, w))  # a 2x2 window, three times halved
    return Sequential(
        Conv2d(c, 8 * c, 2),
        GELU(),
        *blocks,
        MaxPool2d(left),
        Flatten(),
        Linear(channels, classes, bias=False),
        Scale(1 / 9),
    )


def _block(inputs: int, width: int) -> Sequential:
    return Sequential(
        _convolution(inputs, width),
        MaxPool2d(2),
        BatchNorm2d(width, eps=1e-12, momentum=0.4),
        GELU(),
        _convolution(width, width),
        BatchNorm2d(width, eps=1e-12, momentum=0.4),
        GELU(),
    )


def _convolution(inputs: int, width: int) -> Conv2d:
    """3x3; the first `inputs` of its filters copy one input each, the others are drawn."""
    layer = Conv2d(inputs, width, 3, padding=1, bias=False)
    copying = layer.weight.data[:inputs]
    copying[...] = initializers.dirac(copying.shape)
    return layer
