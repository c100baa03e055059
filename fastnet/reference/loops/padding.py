"""Borders of zeros and joining of channels, number by number."""

from collections.abc import Sequence

import numpy as np

from ..shapes import Array, Saved, sides


def zero_pad2d(x: Array, padding: int | Sequence[int]) -> tuple[Array, Saved]:
    """y[n, c, top + h, left + k] = x[n,c,h,k], and 0 around it.

    x (N, C, H, W), padding an integer or (left, right, top, bottom)  ->  y (N, C, top+H+bottom, left+W+right), saved.
    """
    left, right, top, bottom = sides(padding)
    N, C, H, W = x.shape
    y = np.zeros((N, C, top + H + bottom, left + W + right), x.dtype)
    for n, c, h, k in np.ndindex(N, C, H, W):
        y[n, c, top + h, left + k] = x[n, c, h, k]
    return y, (x.shape, left, top)


def zero_pad2d_backward(dy: Array, saved: Saved) -> Array:
    """dx[n,c,h,k] = dy[n, c, top + h, left + k].    dy (N, C, top+H+bottom, left+W+right)  ->  dx (N, C, H, W)."""
    shape, left, top = saved
    dx = np.zeros(shape, dy.dtype)
    for n, c, h, k in np.ndindex(*shape):
        dx[n, c, h, k] = dy[n, c, top + h, left + k]
    return dx


def concat(xs: Sequence[Array]) -> tuple[Array, Saved]:
    """xs: arrays (N, C_k, …) that differ in channels only  ->  y (N, sum of C_k, …), in the given order, saved."""
    channels = [x.shape[1] for x in xs]
    N, _, *rest = xs[0].shape
    y = np.zeros((N, sum(channels), *rest), xs[0].dtype)
    first = 0
    for x in xs:
        for n in range(N):
            for c in range(x.shape[1]):
                y[n, first + c] = x[n, c]
        first += x.shape[1]
    return y, (channels,)


def concat_backward(dy: Array, saved: Saved) -> list[Array]:
    """dy (N, sum of C_k, …)  ->  a list of dx (N, C_k, …)."""
    (channels,) = saved
    N, _, *rest = dy.shape
    dxs, first = [], 0
    for count in channels:
        dx = np.zeros((N, count, *rest), dy.dtype)
        for n in range(N):
            for c in range(count):
                dx[n, c] = dy[n, first + c]
        dxs.append(dx)
        first += count
    return dxs
