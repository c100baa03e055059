"""The fully connected layer's arithmetic: a 1x1 convolution over rows."""

from typing import NamedTuple

from .. import memory
from ..memory import Array
from . import checks, split
from .products import bias_gradient, correlate, weights
from .split import POINT


class LinearSaved(NamedTuple):
    x: Array
    w: Array
    bias: bool


def _row(x: Array) -> Array:
    """Rows (N, C) as images (N, 1, 1, C) of one pixel."""
    rows = x if x.flags.c_contiguous and x.flags.aligned else memory.copy(x)
    return rows.reshape(x.shape[0], 1, 1, x.shape[1])


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
    rows = _row(x)
    y = memory.empty((x.shape[0], 1, 1, w.shape[0]), x.dtype)
    if not split.linear(rows[:, 0, 0], w, b, y[:, 0, 0]):
        correlate(rows, w[:, :, None, None], b, y, POINT, scatter=False)
    return y[:, 0, 0], LinearSaved(rows, w, b is not None)


def linear_backward(
    dy: Array, saved: LinearSaved, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """dx[n,c] = sum over f of dy[n,f] * w[f,c];  dw[f,c] = sum over n of dy[n,f] * x[n,c];  db[f] = sum over n of dy[n,f].

    dy (N, F)  ->  dx (N, C) or None without `input_gradient`, dw (F, C), db (F,) or None.
    """
    x, w, bias = saved
    rows = _row(checks.gradient("linear_backward", dy, (x.shape[0], w.shape[0]), x.dtype))
    dx = None
    if input_gradient:
        dx = memory.empty(x.shape, x.dtype)
        correlate(rows, w[:, :, None, None], None, dx, POINT, scatter=True)
        dx = dx[:, 0, 0]
    # Turned around, the vectors run along x, whose rows are long and often a power of two apart: 2.9 ms became 1.6 for
    # 100 x 8192 -> 100, because no tile walks down a column of x.
    dw = memory.empty(w.shape, x.dtype)
    weights(rows, x, POINT, dw.T[:, :, None, None])
    return dx, dw, bias_gradient(rows) if bias else None
