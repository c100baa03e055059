"""Dropout: numbers, or whole feature maps, set to zero at random; the others scaled so that the mean stays.

p is the probability to DROP. The mask is a function of the seed and the position (a hash of a counter), so nothing is kept
for backward but the seed, and the bits do not depend on the threads. Srivastava et al. 2014; Tompson et al. 2015 for maps.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .. import config, memory
from .._ext import elementwise as kernels
from ..memory import Array
from . import checks
from .elementwise import logical, same_order


class DropoutSaved(NamedTuple):
    """What the mask is made from; active is False if nothing was dropped."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    p: float
    seed: int
    active: bool


def probability(op: str, p: Any) -> float:
    """p, a number from 0 to 1."""
    if isinstance(p, bool | np.bool_) or not isinstance(p, int | float | np.integer | np.floating):
        raise TypeError(f"{op}: p must be a number, found {p!r}")
    if not 0 <= p <= 1 or math.isnan(p):
        raise ValueError(f"{op}: p must be a probability from 0 to 1, found {p}")
    return float(p)


def _check(op: str, x: Any, p: Any, training: bool, seed: Any, ndim: int | None = None) -> tuple[Array, DropoutSaved]:
    x = checks.floats(op, x, ndim)
    p = probability(op, p)
    seed = checks.integer(op, seed, "seed", 0)
    if seed >= 1 << 64:
        raise ValueError(f"{op}: seed must be less than 2**64, found {seed}")
    return x, DropoutSaved(x.shape, x.dtype, p, seed, bool(training) and p > 0)


def _drop(x: Array, saved: DropoutSaved) -> Array:
    if not saved.active:
        return x
    images = x.ndim == 4
    source = same_order(x, images)  # the position in this order is what is hashed, whatever order x has
    out = memory.empty(source.shape, source.dtype)
    kernels.dropout(source.reshape(-1), out.reshape(-1), saved.seed, saved.p, config.get_num_threads())
    return logical(out, images)


def _drop_maps(x: Array, saved: DropoutSaved) -> Array:
    if not saved.active:
        return x
    n, c, h, w = x.shape
    source = memory.channels_last(x)
    mask, out = np.ones(n * c, x.dtype), memory.empty(source.shape, source.dtype)
    kernels.dropout(mask, mask, saved.seed, saved.p, 1)
    kernels.scale_channels(
        source.reshape(n, h * w, c), mask.reshape(n, c), out.reshape(n, h * w, c), config.get_num_threads()
    )
    return logical(out, True)


def dropout(x: Any, p: float = 0.5, *, training: bool = True, seed: int = 0) -> tuple[Array, DropoutSaved]:
    """y[i] = x[i] / (1 - p) with probability 1 - p, else x[i] * 0, independently; without training, y is x.

    x of any shape. i counts through the memory order (N, H, W, C) of images, the C order of other arrays. With 64-bit
    arithmetic modulo 2**64, i is kept if

        z = seed + 0x9E3779B97F4A7C15 * (i // 2**32 + 1)
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;  z = (z ^ z >> 27) * 0x94D049BB133111EB;  z = z ^ z >> 31
        h = i * 0x9E3779B9 + z % 2**32;          h = (h ^ h >> 16) * 0x85EBCA6B             (from here on modulo 2**32)
        h = (h ^ h >> 13) + (z >> 32);           h = (h ^ h >> 16) * 0xC2B2AE35;  h = h ^ h >> 16

    ends at h >= floor(p * 2**32). (The finalisers of SplitMix64 and MurmurHash3.)
    """
    x, saved = _check("dropout", x, p, training, seed)
    return _drop(x, saved), saved


def dropout_backward(dy: Any, saved: DropoutSaved) -> Array:
    """dx = dy times the same mask."""
    return _drop(checks.gradient("dropout_backward", dy, saved.shape, saved.dtype), saved)


def dropout2d(x: Any, p: float = 0.5, *, training: bool = True, seed: int = 0) -> tuple[Array, DropoutSaved]:
    """y[n,c] = x[n,c] / (1 - p) with probability 1 - p, else x[n,c] * 0: whole maps of x (N, C, H, W), hashed at n * C + c."""
    x, saved = _check("dropout2d", x, p, training, seed, 4)
    return _drop_maps(x, saved), saved


def dropout2d_backward(dy: Any, saved: DropoutSaved) -> Array:
    """dx = dy times the same mask."""
    return _drop_maps(checks.gradient("dropout2d_backward", dy, saved.shape, saved.dtype), saved)
