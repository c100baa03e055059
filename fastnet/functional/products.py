"""The three products of convolution, shared by convolution, transposed convolution and linear layers.

`gather` makes an output pixel of the source pixels under every tap; `scatter`, its transpose, is itself such a product of dy
with the taps of each phase of the stride; `weight_gradient` multiplies the pixels under every tap with dy. A transposed
convolution is a convolution's gradient and the other way round. Here each finds its kernel.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from .. import config, memory
from .._ext import correlate as kernels
from .._ext import depthwise
from .._ext import weights as weight_kernels
from ..memory import Array
from . import checks, split, split_winograd, winograd
from .deferred import BFLOAT16, GRADIENT, Deferred, Finish, Load, Value, loaded, riding, stored_as
from .geometry import Geometry, Plan, indices, plans
from .packed import packed

# Filters up to which the Finish of a gradient rides on the direct product below AMX. More of them come to it in pieces of rows,
# with those of up to four arrays: 64 -> 256 at 56x56, batch 8, took 7 to 24 ms that are 4 to 12 in a pass of its own.
WIDE = 128
SHORT, LINE = 16, 256  # pixels of the rows that a 1x1 product is given: tasks are cut between rows


def _vector(b: Array | None, x: Array) -> Array:
    """The bias as the kernels want it: empty if there is none."""
    return np.empty(0, x.dtype) if b is None else np.ascontiguousarray(b)


def correlate(
    x: Array | Deferred,
    w: Array,
    b: Array | None,
    out: Array,
    geometry: Geometry,
    *,
    scatter: bool,
    finish: Finish | None = None,
) -> Array:
    """out (N, H, W, F) = x (N, H, W, C) times w: gathered: w (F, C/groups, KH, KW); scattered: w (C, F/groups, KH, KW).

    What is left to do to it is its Finish. Returns out; where that is bfloat16 and the kernel knows float32 only, another one.
    """
    whole, one = _covers(_size(x), out.shape[1:3], geometry, scatter)
    if not whole:
        out[...] = 0 if b is None else b  # the stride steps over pixels
    # A Finish rides on a product that sees all pixels at once: the phases of a stride would each read every second pixel, which
    # takes 1.0 to 1.5 times as long as a pass of its own.
    rides = finish if whole and one else None
    half = out.dtype == BFLOAT16
    faster = (split,) if half else (split_winograd, split)
    if not any(module.correlate(x, w, b, out, geometry, scatter=scatter, finish=rides) for module in faster):
        if half:
            return correlate(x, w, b, _wide(out), geometry, scatter=scatter, finish=finish)
        # What AMX computed had finite weights.
        if scatter and (geometry.kernel != (1, 1) or geometry.padding != (0, 0)) and not checks.finite(w):
            rides = None
            _stamp(_memory(x), w, b, out, geometry)
        elif not winograd.correlate(x, w, b, out, geometry, scatter=scatter, finish=rides):
            if rides is not None and rides.kind == GRADIENT and out.shape[3] > WIDE:
                rides = None
            _direct(x, w, b, out, geometry, scatter, rides)
    if finish is not None and rides is None:
        finish.apply(out)
    return out


def _wide(out: Array) -> Array:
    """An output for kernels that know float32 only: itself, or another one where it is bfloat16."""
    return memory.empty(out.shape, np.float32) if out.dtype == BFLOAT16 else out


@lru_cache(maxsize=1024)
def _covers(source: tuple[int, int], target: tuple[int, int], geometry: Geometry, scatter: bool) -> tuple[bool, bool]:
    """Does a product write every pixel of the target, and is it a single one?"""
    phases = plans(source, target, geometry, scatter)
    return sum(p.rows.outputs * p.columns.outputs for p in phases) == target[0] * target[1], len(phases) == 1


def _direct(
    given: Array | Deferred,
    w: Array,
    b: Array | None,
    out: Array,
    geometry: Geometry,
    scatter: bool,
    finish: Finish | None,
) -> None:
    x, load = loaded(given, w.size)
    threads, groups = config.get_num_threads(), geometry.groups
    channels, filters = x.shape[3] // groups, out.shape[3] // groups
    bias = _vector(b, x)
    width = kernels.vector_width(x.itemsize)
    arguments, sums = riding(finish, out)
    line = _line(x.size // x.shape[3]) if geometry[:3] == split.POINT[:3] else 0
    if line:
        x, load, out, arguments = split.lines((x, load, out, arguments), line)
    phases = plans(x.shape[1:3], out.shape[1:3], geometry, scatter)
    parts = [
        w[g * channels : (g + 1) * channels].swapaxes(0, 1) if scatter else w[g * filters : (g + 1) * filters]
        for g in range(groups)
    ]
    key = ("direct", width, scatter, geometry, *((p.rows.start, p.columns.start) for p in phases))
    panels, at = packed(w, key, partial(_pack, parts, phases, width)), 0
    for p in phases:
        size = _panels(filters, channels, p, width)
        for g in range(groups):
            kernels.correlate(
                x, g * channels, channels, p.lead, p.step, p.span, p.segment, p.run * channels, panels[at : at + size],
                bias[g * filters : (g + 1) * filters], out, g * filters, filters, p.out_start, p.out_step, p.out_count,
                load, arguments, sums, threads
            )  # fmt: skip
            at += size


@lru_cache(maxsize=1024)
def _line(pixels: int) -> int:
    """How long to make rows of pixels that do not depend on each other, to cut tiles with less waste; 0: leave them so."""
    return next((n for n in range(min(pixels, LINE), SHORT - 1, -1) if pixels % n == 0), 0)


def _pack(parts: list[Array], phases: list[Plan], width: int) -> Array:
    """The packed weights of every phase, each of all groups, one behind the other: their array is looked at once for all."""
    filters, channels = parts[0].shape[:2]
    sizes = [_panels(filters, channels, p, width) for p in phases]
    panels, at = memory.empty((len(parts) * sum(sizes),), parts[0].dtype), 0
    for p, size in zip(phases, sizes):
        for part in parts:
            kernels.pack_weights(part, p.tap_row, p.tap_column, panels[at : at + size], config.get_num_threads())
            at += size
    return panels


def _panels(filters: int, channels: int, p: Plan, width: int) -> int:
    """Numbers of the packed weights of one phase and group: whole vectors, so that all of them are aligned."""
    return max(1, -(-filters // width) * channels * len(p.tap_row)) * width


def weights(x: Array | Deferred, dy: Array | Deferred, geometry: Geometry, dw: Array | None = None) -> Array:
    """dw (F, C/groups, KH, KW) of the convolution that gathers x (N, H, W, C) into dy (N, OH, OW, F)."""
    threads, groups = config.get_num_threads(), geometry.groups
    channels, filters = _depth(x) // groups, _depth(dy) // groups
    if dw is None:
        dw = memory.empty((_depth(dy), channels, *geometry.kernel), x.dtype)
    if 0 in dy.shape:
        dw.fill(0)
        return dw
    if split.weights(x, dy, geometry, dw) or winograd.weights(x, dy, geometry, dw):
        return dw
    (source, load), dy = loaded(x, dw.size), _memory(dy)
    (p,) = plans(source.shape[1:3], dy.shape[1:3], geometry, False)
    for g in range(groups):
        weight_kernels.weight_gradient(
            source, g * channels, channels, p.lead, p.step, p.span, p.segment, p.run * channels, dy, g * filters, filters,
            dw[g * filters : (g + 1) * filters], p.tap_row, p.tap_column, load, threads
        )  # fmt: skip
    return dw


def bias_gradient(dy: Array) -> Array:
    """db (F,) = the sum of dy (N, H, W, F) over images and pixels."""
    db = np.empty(dy.shape[3], dy.dtype)
    weight_kernels.bias_gradient(dy, db, config.get_num_threads())
    return db


def _size(x: Array | Deferred) -> tuple[int, int]:
    h, w = x.shape[2:] if isinstance(x, Deferred) else x.shape[1:3]
    return h, w


def _is_depthwise(geometry: Geometry, channels: int, filters: int) -> bool:
    return geometry.groups == channels == filters > 1


@lru_cache(maxsize=1024)
def _numbers(geometry: Geometry) -> Array:
    """The geometry as the depthwise kernels want it."""
    return indices(*geometry.kernel, *geometry.stride, *geometry.padding, *geometry.dilation)


def _memory(x: Array | Deferred) -> Array:
    return x.memory() if isinstance(x, Deferred) else x


def _depth(x: Array | Deferred) -> int:
    """Channels of channels-last memory or of what is Deferred."""
    depth: int = (x.a if isinstance(x, Deferred) else x).shape[3]
    return depth


def gather(
    x: Array | Deferred, w: Array, b: Array | None, out: Array, geometry: Geometry, finish: Finish | None = None
) -> Array:
    """As `correlate`, and what it returns."""
    if not _is_depthwise(geometry, _depth(x), out.shape[3]):
        return correlate(x, w, b, out, geometry, scatter=False, finish=finish)
    return _depthwise(depthwise.gather, x, w, b, out, geometry, finish)


def _depthwise(
    product: Callable[..., None],
    x: Value,
    w: Array,
    b: Array | None,
    out: Array,
    geometry: Geometry,
    finish: Finish | None,
) -> Array:
    source, load = _stored(x, out.dtype, w.size)
    arguments, sums = riding(finish, out)
    bias = np.empty(0, w.dtype) if b is None else np.ascontiguousarray(b)
    product(source, w, bias, out, _numbers(geometry), load, arguments, sums, config.get_num_threads())
    return out


def _stored(x: Value, stored: np.dtype[Any], weights: int) -> tuple[Array, Load | None]:
    """What a product that knows bfloat16 loads, images stored like the others that it is given."""
    if isinstance(x, Deferred) and x.a.dtype == stored:
        return loaded(x, weights, stored=True)
    return stored_as(_memory(x), stored), None


def scatter(
    x: Array | Deferred, w: Array, b: Array | None, out: Array, geometry: Geometry, finish: Finish | None = None
) -> Array:
    """As `correlate`, and what it returns."""
    if _is_depthwise(geometry, _depth(x), out.shape[3]):
        return _depthwise(depthwise.scatter, x, w, b, out, geometry, finish)
    return correlate(x, w, b, out, geometry, scatter=True, finish=finish)


def _stamp(x: Array, w: Array, b: Array | None, out: Array, geometry: Geometry) -> None:
    """What `correlate` scatters, tap by tap, for weights that are not finite: beyond the edges of the source it multiplies
    them by zeros, which makes NaN where nothing was to be added."""
    groups = geometry.groups
    channels, filters = x.shape[3] // groups, out.shape[3] // groups
    out.fill(0)
    for u, v in np.ndindex(*geometry.kernel):
        here, there = [], []  # where the source has a pixel whose stamp lies in the target
        for k, i in zip((u, v), (0, 1)):
            at = k * geometry.dilation[i] - geometry.padding[i]
            first = max(0, -(at // geometry.stride[i]))
            last = min(x.shape[1 + i], (out.shape[1 + i] - 1 - at) // geometry.stride[i] + 1)
            here.append(slice(first, max(first, last)))
            places = at + geometry.stride[i] * np.arange(first, max(first, last))
            there.append(places)
        for g in range(groups):
            part, tap = slice(g * channels, (g + 1) * channels), slice(g * filters, (g + 1) * filters)
            with np.errstate(all="ignore"):
                out[:, there[0][:, None], there[1], tap] += x[:, here[0], here[1], part] @ w[part, :, u, v]
    if b is not None:
        out += b


def weight_gradient(x: Array | Deferred, dy: Array | Deferred, geometry: Geometry, dw: Array | None = None) -> Array:
    if not _is_depthwise(geometry, _depth(x), _depth(dy)):
        return weights(x, dy, geometry, dw)
    if dw is None:
        dw = memory.empty((_depth(x), 1, *geometry.kernel), x.dtype)
    gradient = dy.stored() if isinstance(dy, Deferred) else dy
    source, load = _stored(x, gradient.dtype, dw.size)
    depthwise.weight_gradient(source, gradient, dw, _numbers(geometry), load, config.get_num_threads())
    return dw
