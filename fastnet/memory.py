"""Where arrays live: aligned, reused from step to step, and channels-last.

A feature map has the logical shape (N, C, H, W) and the memory order of (N, H, W, C); `empty_images` makes one and
`channels_last` shows the kernels its memory. Blocks come from a pool (`fastnet._ext.memory`): when the last view of an array
is gone, its block serves the next one, so a training step touches no fresh page after the first.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import config
from ._ext import layout
from ._ext.memory import Block, empty_cache, statistics

__all__ = ["Array", "channels_last", "copy", "empty", "empty_cache", "empty_images", "statistics", "zeros"]

Array = NDArray[Any]


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """A C-ordered array of any content, aligned to 64 bytes."""
    kind = np.dtype(dtype)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array cannot have the shape {shape}")
    nbytes = math.prod(shape) * kind.itemsize
    if nbytes >= 1 << 62:
        raise MemoryError(f"an array of shape {shape} and dtype {kind} has {nbytes} bytes: more than any address space")
    return np.ndarray(shape, kind, buffer=Block(nbytes))


def zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """As `empty`, filled with zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def empty_images(shape: tuple[int, int, int, int], dtype: DTypeLike = np.float32) -> Array:
    """An (N, C, H, W) view of a channels-last buffer of any content."""
    n, c, h, w = shape
    return empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def copy(x: Array) -> Array:
    """A C-ordered, aligned, native copy of x."""
    new = empty(x.shape, x.dtype.newbyteorder("="))
    np.copyto(new, x)
    return new


def channels_last(x: Array) -> Array:
    """The (N, H, W, C) memory of images x (N, C, H, W): a view if x is channels-last already, else a copy."""
    view = x.transpose(0, 2, 3, 1)
    if view.flags.c_contiguous and view.flags.aligned and view.dtype.isnative:
        return view
    if not (x.flags.c_contiguous and x.flags.aligned and x.dtype in (np.float32, np.float64)) or 0 in x.shape:
        return copy(view)
    n, c, h, w = x.shape
    new = empty((n, h * w, c), x.dtype)
    layout.transpose(x.reshape(n, c, h * w), new, config.get_num_threads())
    return new.reshape(n, h, w, c)
