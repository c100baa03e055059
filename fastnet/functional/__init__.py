"""The arithmetic: stateless pairs  y, saved = op(x, …)  and  dx, … = op_backward(dy, saved)."""

from .convolution import conv2d, conv2d_backward, conv_transpose2d, conv_transpose2d_backward
from .linear import linear, linear_backward
from .losses import (
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    huber,
    huber_backward,
    l1,
    l1_backward,
    mse,
    mse_backward,
    multiclass_svm,
    multiclass_svm_backward,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)
from .padding import concat, concat_backward, flatten, flatten_backward, zero_pad2d, zero_pad2d_backward
from .pooling import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "concat",
    "concat_backward",
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "flatten",
    "flatten_backward",
    "huber",
    "huber_backward",
    "l1",
    "l1_backward",
    "linear",
    "linear_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "mse",
    "mse_backward",
    "multiclass_svm",
    "multiclass_svm_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "zero_pad2d",
    "zero_pad2d_backward",
]
