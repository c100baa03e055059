"""Convolution and max-pooling one number at a time, in plain Python loops: `fastnet.reference.loops` in the course's form.

`fast_layers` has the same functions compiled; the naive ones are for reading and for checking, and take seconds where
those take microseconds.
"""

from collections.abc import Mapping
from typing import Any

from ...memory import Array
from ...reference import loops
from ..arrays import floats, gradient
from ..windows import conv_settings, pool_settings


def conv_forward_naive(x: Any, w: Any, b: Any, conv_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """out[n,f,i,j] = b[f] + sum over c,u,v of x[n, c, i*S + u - P, j*S + v - P] * w[f,c,u,v], x being zero outside.

    x (N, C, H, W), w (F, C, HH, WW), b (F,), conv_param {"stride": S, "pad": P}  ->  out (N, F, H', W'), cache, with
    H' = 1 + (H + 2 P - HH) // S and W' likewise.  ValueError if the filter is larger than the padded image.
    """
    op = "conv_forward_naive"
    stride, pad = conv_settings(op, x, w, b, conv_param)
    x, w, b = floats(op, x=x, w=w, b=b)
    out, saved = loops.conv2d(x, w, b, stride=stride, padding=pad)
    return out, (saved, out.shape, out.dtype)


def conv_backward_naive(dout: Any, cache: Any) -> tuple[Array, Array, Array]:
    """Each product out += x w of the forward pass gives dx += dout w and dw += dout x.

    dout (N, F, H', W')  ->  dx (N, C, H, W), dw (F, C, HH, WW), db (F,).
    """
    saved, shape, dtype = cache
    dx, dw, db = loops.conv2d_backward(gradient("conv_backward_naive", dout, shape, dtype), saved)
    assert dx is not None
    assert db is not None
    return dx, dw, db


def max_pool_forward_naive(x: Any, pool_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """out[n,c,i,j] = max over u,v of x[n, c, i*S + u, j*S + v].

    x (N, C, H, W), pool_param {"pool_height", "pool_width", "stride": S}  ->  out (N, C, H', W'), cache, with
    H' = 1 + (H - pool_height) // S and W' likewise.
    """
    op = "max_pool_forward_naive"
    size, stride = pool_settings(op, x, pool_param)
    (x,) = floats(op, x=x)
    out, saved = loops.max_pool2d(x, size, stride=stride)
    return out, (saved, out.shape, out.dtype)


def max_pool_backward_naive(dout: Any, cache: Any) -> Array:
    """Each dout goes to the first maximum of its window; where windows overlap, gradients add up."""
    saved, shape, dtype = cache
    return loops.max_pool2d_backward(gradient("max_pool_backward_naive", dout, shape, dtype), saved)
