"""`cs231n.fast_layers`: convolution and max-pooling, compiled.

The course has three ways to be fast (im2col, strides, Cython) that differ in what they cannot do. Here its names are one
kernel, so any filter, stride, padding and window works under every name, overlapping windows too, and ties of a maximum are
settled alike: the first one gets the gradient.
"""

from collections.abc import Mapping
from typing import Any

from .. import functional
from ..memory import Array
from .arrays import floats, gradient, ordinary
from .windows import conv_settings, pool_settings

__all__ = [
    "conv_backward_fast",
    "conv_backward_im2col",
    "conv_backward_strides",
    "conv_forward_fast",
    "conv_forward_im2col",
    "conv_forward_strides",
    "max_pool_backward_fast",
    "max_pool_backward_im2col",
    "max_pool_backward_reshape",
    "max_pool_forward_fast",
    "max_pool_forward_im2col",
    "max_pool_forward_reshape",
]


def conv_in(op: str, x: Any, w: Any, b: Any, conv_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """conv_forward_fast with its output channels-last, for the next kernel."""
    stride, pad = conv_settings(op, x, w, b, conv_param)
    x, w, b = floats(op, x=x, w=w, b=b)
    return functional.conv2d(x, w, b, stride=stride, padding=pad)


def conv_forward_fast(x: Any, w: Any, b: Any, conv_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """out[n,f,i,j] = b[f] + sum over c,u,v of x[n, c, i*S + u - P, j*S + v - P] * w[f,c,u,v]: as conv_forward_naive.

    x (N, C, H, W), w (F, C, HH, WW), b (F,), conv_param {"stride": S, "pad": P}  ->  out (N, F, H', W'), cache.
    """
    out, cache = conv_in("conv_forward_fast", x, w, b, conv_param)
    return ordinary(out), cache


def conv_backward_fast(dout: Any, cache: Any, *, input_gradient: bool = True) -> tuple[Any, Array, Array]:
    """dout (N, F, H', W')  ->  dx (N, C, H, W), or None without `input_gradient`, dw (F, C, HH, WW), db (F,)."""
    dout = gradient("conv_backward_fast", dout, cache.shape, cache.x.dtype)
    dx, dw, db = functional.conv2d_backward(dout, cache, input_gradient=input_gradient)
    assert db is not None
    return None if dx is None else ordinary(dx), ordinary(dw), db


def max_pool_forward_fast(x: Any, pool_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """out[n,c,i,j] = max over u,v of x[n, c, i*S + u, j*S + v]: as max_pool_forward_naive, overlapping or not.

    x (N, C, H, W), pool_param {"pool_height", "pool_width", "stride": S}  ->  out (N, C, H', W'), cache.
    """
    size, stride = pool_settings("max_pool_forward_fast", x, pool_param)
    (x,) = floats("max_pool_forward_fast", x=x)
    out, cache = functional.max_pool2d(x, size, stride=stride)
    return ordinary(out), cache


def max_pool_backward_fast(dout: Any, cache: Any) -> Array:
    """Each dout goes to the first maximum of its window.    dout (N, C, H', W')  ->  dx (N, C, H, W)."""
    dout = gradient("max_pool_backward_fast", dout, cache.y_shape, cache.dtype)
    return ordinary(functional.max_pool2d_backward(dout, cache))


conv_forward_im2col = conv_forward_strides = conv_forward_fast
conv_backward_im2col = conv_backward_strides = conv_backward_fast
max_pool_forward_im2col = max_pool_forward_reshape = max_pool_forward_fast
max_pool_backward_im2col = max_pool_backward_reshape = max_pool_backward_fast
