"""Borders of zeros, joining of channels, flattening: numbers move and none is computed."""

import math
from collections.abc import Sequence

import numpy as np

from ..shapes import Array, Saved, sides


def zero_pad2d(x: Array, padding: int | Sequence[int]) -> tuple[Array, Saved]:
    """x (N, C, H, W), padding an integer or (left, right, top, bottom)  ->  y (N, C, top+H+bottom, left+W+right)."""
    left, right, top, bottom = sides(padding)
    y = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    return y, (x.shape, left, top)


def zero_pad2d_backward(dy: Array, saved: Saved) -> Array:
    """The inner part of dy.    dy (N, C, top+H+bottom, left+W+right)  ->  dx (N, C, H, W)."""
    (_, _, H, W), left, top = saved
    return dy[:, :, top : top + H, left : left + W].copy()


def concat(xs: Sequence[Array]) -> tuple[Array, Saved]:
    """xs: arrays (N, C_k, …) that differ in their channels only  ->  y (N, sum of C_k, …), in the given order."""
    return np.concatenate(xs, axis=1), tuple(x.shape[1] for x in xs)


def concat_backward(dy: Array, saved: Saved) -> list[Array]:
    """dy (N, sum of C_k, …)  ->  a list of dx (N, C_k, …)."""
    return np.split(dy, np.cumsum(saved)[:-1], axis=1)


def flatten(x: Array) -> tuple[Array, Saved]:
    """x (N, C, H, W)  ->  y (N, C*H*W), channel by channel, row by row."""
    return x.reshape(len(x), math.prod(x.shape[1:])), (x.shape,)


def flatten_backward(dy: Array, saved: Saved) -> Array:
    """dy (N, C*H*W)  ->  dx (N, C, H, W)."""
    (shape,) = saved
    return dy.reshape(shape)
