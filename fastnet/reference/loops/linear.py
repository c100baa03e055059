"""The fully connected layer: one multiplication at a time."""

from typing import Any

import numpy as np

from ..shapes import Array, Saved


def linear(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Saved]:
    """y[n,f] = b[f] + sum over d of x[n,d] * w[f,d].    x (N, D), w (F, D), b (F,)  ->  y (N, F), saved."""
    (N, D), F = x.shape, len(w)
    y = np.zeros((N, F), x.dtype)
    for n in range(N):
        for f in range(F):
            for d in range(D):
                y[n, f] += x[n, d] * w[f, d]
            if b is not None:
                y[n, f] += b[f]
    return y, (x, w, b)


def linear_backward(
    dy: Array, saved: Saved, *, input_gradient: bool = True, weight_gradient: bool = True
) -> tuple[Array | None, Any, Array | None]:
    """Each product y += x w of the forward pass gives dx += dy w and dw += dy x.

    dy (N, F)  ->  dx (N, D) or None, dw (F, D) or None, db (F,) or None.
    """
    x, w, b = saved
    (N, D), F = x.shape, len(w)
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(F, dy.dtype)
    for n in range(N):
        for f in range(F):
            db[f] += dy[n, f]
            for d in range(D):
                dx[n, d] += dy[n, f] * w[f, d]
                dw[f, d] += dy[n, f] * x[n, d]
    return (dx if input_gradient else None), (dw if weight_gradient else None), (None if b is None else db)
