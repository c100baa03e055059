"""`cs231n.layer_utils`: layers that usually come together, as one forward and one backward.

A cache is the tuple of the layers' own caches. Between the layers of a convolutional sandwich images stay channels-last, so
that only what comes out at its ends is reordered.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

from .. import functional
from ..memory import Array
from .arrays import gradient, ordinary, own
from .fast_layers import conv_backward_fast, conv_in
from .layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward,
    batchnorm_forward,
    relu_backward,
    relu_forward,
)
from .layers.normalization import batchnorm_in
from .windows import pool_settings

__all__ = [
    "affine_bn_relu_backward",
    "affine_bn_relu_forward",
    "affine_relu_backward",
    "affine_relu_forward",
    "conv_bn_relu_backward",
    "conv_bn_relu_forward",
    "conv_relu_backward",
    "conv_relu_forward",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
]

Gradients = tuple[Any, Array, Array]


def affine_relu_forward(x: Any, w: Any, b: Any) -> tuple[Array, Any]:
    """out = max(0, x w + b).    x (N, d1, …, dk), w (D, M), b (M,)  ->  out (N, M), cache."""
    a, affine = affine_forward(x, w, b)
    out, relu = relu_forward(a)
    return out, (affine, relu)


def affine_relu_backward(dout: Any, cache: Any, *, input_gradient: bool = True) -> Gradients:
    """dout (N, M)  ->  dx (None without `input_gradient`), dw, db."""
    affine, relu = cache
    return affine_backward(relu_backward(dout, relu), affine, input_gradient=input_gradient)


def affine_bn_relu_forward(
    x: Any, w: Any, b: Any, gamma: Any, beta: Any, bn_param: MutableMapping[str, Any]
) -> tuple[Array, Any]:
    """out = max(0, batchnorm(x w + b)).    gamma and beta (M,)  ->  out (N, M), cache."""
    a, affine = affine_forward(x, w, b)
    a, norm = batchnorm_forward(a, gamma, beta, bn_param)
    out, relu = relu_forward(a)
    return out, (affine, norm, relu)


def affine_bn_relu_backward(dout: Any, cache: Any) -> tuple[Array, Array, Array, Array, Array]:
    """dout (N, M)  ->  dx, dw, db, dgamma, dbeta."""
    affine, norm, relu = cache
    da, dgamma, dbeta = batchnorm_backward(relu_backward(dout, relu), norm)
    return *affine_backward(da, affine), dgamma, dbeta


def conv_relu_forward(x: Any, w: Any, b: Any, conv_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """out = max(0, conv(x)).    x (N, C, H, W), w (F, C, HH, WW), b (F,)  ->  out (N, F, H', W'), cache."""
    a, conv = conv_in("conv_relu_forward", x, w, b, conv_param)
    out, relu = functional.relu(a)
    return own(out), (conv, relu)


def conv_relu_backward(dout: Any, cache: Any) -> Gradients:
    """dout (N, F, H', W')  ->  dx, dw, db."""
    conv, relu = cache
    dout = gradient("conv_relu_backward", dout, conv.shape, conv.x.dtype)
    return conv_backward_fast(functional.relu_backward(dout, relu), conv)


def conv_bn_relu_forward(
    x: Any, w: Any, b: Any, gamma: Any, beta: Any, conv_param: Mapping[str, Any], bn_param: MutableMapping[str, Any]
) -> tuple[Array, Any]:
    """out = max(0, spatial_batchnorm(conv(x))).    gamma and beta (F,)  ->  out (N, F, H', W'), cache."""
    a, conv = conv_in("conv_bn_relu_forward", x, w, b, conv_param)
    a, norm = batchnorm_in("conv_bn_relu_forward", a, gamma, beta, bn_param, 4)
    out, relu = functional.relu(a)
    return own(out), (conv, norm, relu)


def conv_bn_relu_backward(dout: Any, cache: Any) -> tuple[Array, Array, Array, Array, Array]:
    """dout (N, F, H', W')  ->  dx, dw, db, dgamma, dbeta."""
    conv, norm, relu = cache
    dout = gradient("conv_bn_relu_backward", dout, norm.shape, norm.rows.dtype)
    da, dgamma, dbeta = functional.batch_norm_backward(functional.relu_backward(dout, relu), norm)
    assert dgamma is not None
    assert dbeta is not None
    return *conv_backward_fast(da, conv), dgamma, dbeta


def conv_relu_pool_forward(
    x: Any, w: Any, b: Any, conv_param: Mapping[str, Any], pool_param: Mapping[str, Any]
) -> tuple[Array, Any]:
    """out = max_pool(max(0, conv(x))).    x (N, C, H, W), w (F, C, HH, WW), b (F,)  ->  out, cache."""
    op = "conv_relu_pool_forward"
    size, stride = pool_settings(op, x, pool_param)
    a, conv = conv_in(op, x, w, b, conv_param)
    a, relu = functional.relu(a)
    out, pool = functional.max_pool2d(a, size, stride=stride)
    return ordinary(out), (conv, relu, pool)


def conv_relu_pool_backward(dout: Any, cache: Any, *, input_gradient: bool = True) -> Gradients:
    """dout like the forward pass's output  ->  dx (None without `input_gradient`), dw, db."""
    conv, relu, pool = cache
    dout = gradient("conv_relu_pool_backward", dout, pool.y_shape, pool.dtype)
    da = functional.relu_backward(functional.max_pool2d_backward(dout, pool), relu)
    return conv_backward_fast(da, conv, input_gradient=input_gradient)
