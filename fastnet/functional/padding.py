"""Copies that change shapes: zero padding, concatenation along the channels, flattening."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import config, memory
from .._ext import layout as kernels
from ..memory import Array
from . import checks

Sides = tuple[int, int, int, int]
LIMIT = 2**31 - 1


class PadSaved(NamedTuple):
    """(left, right, top, bottom), the output's shape, the dtype."""

    sides: Sides
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class ConcatSaved(NamedTuple):
    """The channels of each part, the output's shape, the dtype."""

    channels: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class FlattenSaved(NamedTuple):
    """The shape and the dtype of x."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def sides_of(op: str, padding: Any) -> Sides:
    """(left, right, top, bottom) of an integer or of these four, each at least 0."""
    four = tuple(padding) if isinstance(padding, tuple | list) else (padding,) * 4
    if len(four) != 4:
        raise ValueError(f"{op}: padding must be an integer or (left, right, top, bottom), found {padding!r}")
    left, right, top, bottom = (checks.integer(op, p, "padding", 0) for p in four)
    if max(left, right, top, bottom) > LIMIT:
        raise ValueError(f"{op}: padding must be at most {LIMIT}, found {padding!r}")
    return left, right, top, bottom


def zero_pad2d(x: Array, padding: Any) -> tuple[Array, PadSaved]:
    """y[n, c, top + h, left + w] = x[n,c,h,w], and 0 around it.

    x (N, C, H, W)  ->  y (N, C, top + H + bottom, left + W + right), saved.  padding: int or (left, right, top, bottom).
    ValueError if one is negative.
    """
    left, right, top, bottom = sides = sides_of("zero_pad2d", padding)
    image = checks.images("zero_pad2d", x)
    n, h, w, c = image.shape
    y = memory.empty((n, top + h + bottom, left + w + right, c), image.dtype)
    y[:, :top] = 0
    y[:, top + h :] = 0
    y[:, top : top + h, :left] = 0
    y[:, top : top + h, left + w :] = 0
    kernels.copy_box(image, y[:, top : top + h, left : left + w], config.get_num_threads())
    y = y.transpose(0, 3, 1, 2)
    return y, PadSaved(sides, y.shape, image.dtype)


def zero_pad2d_backward(dy: Array, saved: PadSaved) -> Array:
    """dx = dy without its borders.    dy (N, C, top + H + bottom, left + W + right)  ->  dx (N, C, H, W)."""
    (left, right, top, bottom), (n, c, height, width), dtype = saved
    dy = memory.channels_last(checks.gradient("zero_pad2d_backward", dy, saved.shape, dtype))
    dx = memory.empty((n, height - top - bottom, width - left - right, c), dtype)
    kernels.copy_box(dy[:, top : height - bottom, left : width - right], dx, config.get_num_threads())
    return dx.transpose(0, 3, 1, 2)


def _pixels(x: Array) -> Array:
    """x (N, C) as images of one pixel; images as they are."""
    return x[:, :, None, None] if x.ndim == 2 else x


def concat(xs: Sequence[Array]) -> tuple[Array, ConcatSaved]:
    """y[:, C0 + … + C(k-1) + c] = xs[k][:, c]: one after the other along the channels.

    xs: arrays (N, Ck, H, W), or (N, Ck), alike in all but their channels  ->  y (N, sum of Ck, H, W), saved.
    """
    if not isinstance(xs, list | tuple) or not xs:
        raise TypeError(f"concat: expected a list of at least one array, found {xs!r}"[:200])
    parts = [checks.floats("concat", x, name=f"xs[{i}]") for i, x in enumerate(xs)]
    if parts[0].ndim not in (2, 4):
        raise ValueError(f"concat: expected arrays (N, C, H, W) or (N, C), found shape {parts[0].shape}")
    for i, x in enumerate(parts):
        if x.shape[:1] + x.shape[2:] != parts[0].shape[:1] + parts[0].shape[2:]:
            raise ValueError(f"concat: xs[0] {parts[0].shape} and xs[{i}] {x.shape} differ in more than their channels")
        if x.dtype != parts[0].dtype:
            raise TypeError(f"concat: xs[{i}] is {x.dtype} but xs[0] is {parts[0].dtype}; convert one with .astype")
    images = [memory.channels_last(_pixels(x)) for x in parts]
    channels = tuple(image.shape[3] for image in images)
    y = memory.empty((*images[0].shape[:3], sum(channels)), parts[0].dtype)
    first = 0
    for image in images:
        kernels.copy_box(image, y[..., first : first + image.shape[3]], config.get_num_threads())
        first += image.shape[3]
    shape = (parts[0].shape[0], first, *parts[0].shape[2:])
    y = y.transpose(0, 3, 1, 2) if len(shape) == 4 else y.reshape(shape)
    return y, ConcatSaved(channels, shape, parts[0].dtype)


def concat_backward(dy: Array, saved: ConcatSaved) -> list[Array]:
    """dxs[k] = the channels of dy that came from xs[k].    dy (N, sum of Ck, H, W)  ->  [(N, Ck, H, W)]."""
    channels, shape, dtype = saved
    dy = memory.channels_last(_pixels(checks.gradient("concat_backward", dy, shape, dtype)))
    dxs, first = [], 0
    for count in channels:
        dx = memory.empty((*dy.shape[:3], count), dtype)
        kernels.copy_box(dy[..., first : first + count], dx, config.get_num_threads())
        dxs.append(dx.transpose(0, 3, 1, 2) if len(shape) == 4 else dx.reshape(shape[0], count))
        first += count
    return dxs


def flatten(x: Array) -> tuple[Array, FlattenSaved]:
    """y[n, (c*H + h)*W + w] = x[n,c,h,w]: each example as one row, in NumPy's and PyTorch's order of (C, H, W).

    x (N, …)  ->  y (N, product of the rest), saved.  A view of x where memory allows it.
    """
    x = checks.floats("flatten", x)
    if x.ndim < 2:
        raise ValueError(f"flatten: x must have at least 2 dimensions, found shape {x.shape}")
    saved = FlattenSaved(x.shape, x.dtype)
    shape = (x.shape[0], int(np.prod(x.shape[1:])))
    if x.flags.c_contiguous:
        return x.reshape(shape), saved
    if x.ndim != 4:
        return memory.copy(x).reshape(shape), saved
    image = memory.channels_last(x)
    n, h, w, c = image.shape
    y = memory.empty((n, c, h * w), x.dtype)
    kernels.transpose(image.reshape(n, h * w, c), y, config.get_num_threads())
    return y.reshape(shape), saved


def flatten_backward(dy: Array, saved: FlattenSaved) -> Array:
    """dx[n,c,h,w] = dy[n, (c*H + h)*W + w].    dy (N, product of the rest)  ->  dx (N, …), images channels-last."""
    shape, dtype = saved
    rest = int(np.prod(shape[1:]))
    dy = checks.gradient("flatten_backward", dy, (shape[0], rest), dtype)
    if not dy.flags.c_contiguous:
        dy = memory.copy(dy)
    if len(shape) != 4:
        return dy.reshape(shape)
    n, c, h, w = shape
    dx = memory.empty((n, h * w, c), dtype)
    kernels.transpose(dy.reshape(n, c, h * w), dx, config.get_num_threads())
    return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2)
