"""LeNet with batch normalisation and dropout: the small net that `fastnet train` trains."""

from ..layers import BatchNorm1d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential
from .blocks import Shape, checked, conv_bn, he_initialised


def lenet_bn(
    input_shape: Shape = (1, 28, 28),
    classes: int = 10,
    *,
    filters: tuple[int, int] = (16, 32),
    hidden: int = 128,
    dropout: float = 0.4,
) -> Sequential:
    """Twice (5x5 convolution - batch norm - relu - 2x2 max-pool), then linear - batch norm - relu - dropout - linear.

    dropout is the probability to DROP a hidden unit. After `lenet`; on a few thousand digits batch norm and dropout
    are worth one test error in three.  Ioffe & Szegedy 2015; Srivastava et al. 2014.
    """
    c, h, w = checked("lenet_bn", input_shape, classes, least=4)
    first, second = filters
    return he_initialised(
        Sequential(
            *conv_bn(c, first, 5),
            MaxPool2d(2),
            *conv_bn(first, second, 5),
            MaxPool2d(2),
            Flatten(),
            Linear(second * (h // 4) * (w // 4), hidden, bias=False),
            BatchNorm1d(hidden),
            ReLU(),
            Dropout(dropout),
            Linear(hidden, classes),
        )
    )
