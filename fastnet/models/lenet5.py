"""A net after LeNet-5, with ReLU and max-pooling in place of tanh and trained averages."""

from ..layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential
from .blocks import Shape, checked, he_initialised


def lenet(
    input_shape: Shape = (1, 28, 28),
    classes: int = 10,
    *,
    filters: tuple[int, int] = (16, 32),
    hidden: int = 128,
    dropout: float = 0.0,
) -> Sequential:
    """Twice (5x5 convolution - relu - 2x2 max-pool), then linear - relu - linear.

    dropout is the probability to DROP a hidden unit; at 0 the net has no dropout layer.
    LeCun, Bottou, Bengio & Haffner 1998, figure 2, has 6 and 16 filters without padding, and 120 and 84 units.
    """
    c, h, w = checked("lenet", input_shape, classes, least=4)
    first, second = filters
    return he_initialised(
        Sequential(
            Conv2d(c, first, 5, padding=2),
            ReLU(),
            MaxPool2d(2),
            Conv2d(first, second, 5, padding=2),
            ReLU(),
            MaxPool2d(2),
            Flatten(),
            Linear(second * (h // 4) * (w // 4), hidden),
            ReLU(),
            *([Dropout(dropout)] if dropout else []),
            Linear(hidden, classes),
        )
    )
