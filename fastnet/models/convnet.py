"""The three-layer convnet of the course CS231n."""

from ..layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from .blocks import Shape, checked, he_initialised


def three_layer_convnet(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    filters: int = 32,
    kernel_size: int = 7,
    hidden: int = 100,
) -> Sequential:
    """conv - relu - 2x2 max-pool - linear - relu - linear; the convolution keeps the size (kernel_size is odd).

    CS231n, assignment 2 (ConvolutionalNetworks): 32 filters of 7x7, 100 hidden units.
    """
    c, h, w = checked("three_layer_convnet", input_shape, classes, least=2)
    return he_initialised(
        Sequential(
            Conv2d(c, filters, kernel_size, padding=kernel_size // 2),
            ReLU(),
            MaxPool2d(2),
            Flatten(),
            Linear(filters * (h // 2) * (w // 2), hidden),
            ReLU(),
            Linear(hidden, classes),
        )
    )
