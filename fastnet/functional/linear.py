"""The fully connected layer's arithmetic.

Few rows are multiplied where they lie (fastnet/_ext/rows.pyx); many are the pixels of a 1x1 convolution, whose kernels pack
the weights, or on AMX split them.
"""

from typing import Any, NamedTuple

import numpy as np

from .. import config, memory
from .._ext import rows as kernels
from ..memory import Array
from . import checks, split
from .products import bias_gradient, correlate, weights
from .split import POINT


class LinearSaved(NamedTuple):
    x: Array
    w: Array
    bias: bool


MANY = 512  # rows from which on packing the weights pays
SPLIT = {"highest": 112, "high": 64, "medium": 32}  # rows from which on splitting them for AMX pays, in float32
NARROW = 64  # channels or filters up to which it never does


def _packs(x: Array, w: Array) -> bool:
    """Is the product a convolution's, whose kernels pack or split what they multiply?"""
    tiles = split.available() and x.dtype == np.float32
    least = SPLIT[config.get_float32_matmul_precision()] if tiles else MANY
    return len(x) >= least and min(w.shape) >= NARROW


def _contiguous(x: Array) -> Array:
    return x if x.flags.c_contiguous and x.flags.aligned else memory.copy(x)


def _pixels(x: Array) -> Array:
    """Rows (N, C) as images (N, 1, 1, C) of one pixel."""
    return x.reshape(x.shape[0], 1, 1, x.shape[1])


def linear(x: Array, w: Array, b: Array | None = None) -> tuple[Array, LinearSaved]:
    """y[n,f] = b[f] + sum over c of x[n,c] * w[f,c].

    x (N, C), w (F, C), b (F,)  ->  y (N, F), saved.  ValueError if the channels differ.  In float32, here and in the
    gradients, denormal numbers (below 1.2e-38) may count as zero.
    """
    x = checks.floats("linear", x, 2)
    w = checks.floats("linear", w, 2, "w")
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"linear: expected {w.shape[1]} input features, found {x.shape[1]} in x of shape {x.shape}")
    checks.same_dtype("linear", w, "w", x.dtype)
    if b is not None:
        b = checks.parameter("linear", b, "b", (w.shape[0],), x.dtype)
    x, w = _contiguous(x), _contiguous(w)
    y = memory.empty((x.shape[0], w.shape[0]), x.dtype)
    if not _packs(x, w):
        bias = np.empty(0, x.dtype) if b is None else np.ascontiguousarray(b)
        kernels.dot(x, w, bias, y, config.get_num_threads())
    elif not split.linear(x, w, b, y):
        correlate(_pixels(x), w[:, :, None, None], b, _pixels(y), POINT, scatter=False)
    return y, LinearSaved(x, w, b is not None)


def linear_backward(
    dy: Array, saved: LinearSaved, *, input_gradient: bool = True, weight_gradient: bool = True
) -> tuple[Array | None, Any, Array | None]:
    """dx[n,c] = sum over f of dy[n,f] * w[f,c];  dw[f,c] = sum over n of dy[n,f] * x[n,c];  db[f] = sum over n of dy[n,f].

    dy (N, F)  ->  dx (N, C) or None without `input_gradient`, dw (F, C) or None without `weight_gradient`, db (F,) or None.
    """
    return linear_back(dy, saved, input_gradient, weight_gradient)


def linear_back(
    dy: Array, saved: LinearSaved, input_gradient: bool, weight_gradient: bool, dw: Array | None = None
) -> tuple[Array | None, Any, Array | None]:
    """linear_backward; `dw`: an array for the gradient of the weights."""
    x, w, bias = saved
    dy = _contiguous(checks.gradient("linear_backward", dy, (x.shape[0], w.shape[0]), x.dtype))
    packs, threads = _packs(x, w), config.get_num_threads()
    dx = memory.empty(x.shape, x.dtype) if input_gradient else None
    if weight_gradient and dw is None:
        dw = memory.empty(w.shape, x.dtype)
    if packs:
        if dx is not None:
            correlate(_pixels(dy), w[:, :, None, None], None, _pixels(dx), POINT, scatter=True)
        # Turned around, the vectors run along x, whose rows are long and often a power of two apart: 2.9 ms became 1.6 for
        # 100 x 8192 -> 100, because no tile walks down a column of x.
        if dw is not None:
            weights(_pixels(dy), _pixels(x), POINT, dw.T[:, :, None, None])
    else:
        if dx is not None:
            kernels.multiply(dy, False, w, dx, threads)
        if dw is not None:
            kernels.multiply(dy, True, x, dw, threads)
    return dx, dw, bias_gradient(_pixels(dy)) if bias else None
