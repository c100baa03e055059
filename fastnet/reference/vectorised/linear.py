"""The fully connected layer."""

from typing import Any

from ..shapes import Array, Saved


def linear(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Saved]:
    """y = x w^T + b.    x (N, D), w (F, D), b (F,)  ->  y (N, F), saved."""
    y = x @ w.T
    return (y if b is None else y + b), (x, w, b)


def linear_backward(
    dy: Array, saved: Saved, *, input_gradient: bool = True, weight_gradient: bool = True
) -> tuple[Array | None, Any, Array | None]:
    """dx = dy w,  dw = dy^T x,  db = sum of dy over the batch.

    dy (N, F)  ->  dx (N, D) or None, dw (F, D) or None, db (F,) or None.
    """
    x, w, b = saved
    dx, dw = dy @ w if input_gradient else None, dy.T @ x if weight_gradient else None
    return dx, dw, None if b is None else dy.sum(axis=0)
