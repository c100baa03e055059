"""The arithmetic: stateless pairs  y, saved = op(x, …)  and  dx, … = op_backward(dy, saved)."""

from .convolution import conv2d, conv2d_backward, conv_transpose2d, conv_transpose2d_backward
from .linear import linear, linear_backward

__all__ = [
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "linear",
    "linear_backward",
]
