"""The products of convolution on AMX: float32 numbers split into bfloat16 planes, as many as the precision asks for.

What `highest`, `high` and `medium` mean, and how exact they are: docs/decisions; how a tile multiplies: fastnet/_ext/amx.h.
A product answers False, and its caller computes it in float32, where a number does not split: not finite, or 2^63 and more.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from .. import config, memory
from .._ext import amx_correlate, amx_weights
from ..memory import Array
from .blocks import cut, window
from .deferred import Deferred, Finish, Load, Value, riding
from .geometry import Axis, Geometry, Plan, indices, plan, plans
from .packed import packed

PLANES = {"highest": 3, "high": 2, "medium": 1}
WORTH = {
    3: 2000,
    2: 1700,
    1: 1000,
}  # multiply-adds per pixel below which splitting costs more than AMX gains, by planes
DEEP = 50  # times the planes: products in a sum from which on it pays all the same
FEW = {3: 64}  # products per number of the source, at most, where splitting it costs more, by planes,
LARGE = 1 << 20  # if the source has more bytes than that: it does not come from the second-level cache
WORTH_GRADIENT = {3: 1700, 2: 1000, 1: 400}  # the same for the gradient of the weights
FILLED = {3: 6, 2: 1, 1: 1}  # rows of a tile that pixels fill, at least; of fewer, reading weights as planes costs more
TIMES = {1: 8, 2: 1}  # that a Load of so many arrays is applied before a pass of its own is faster
TILE, ROWS = 1024, 16  # bytes and rows of a tile; also its columns
FAR = 2**27  # bytes from filter to filter, at most: the kernels count 16 of them in 32 bits
LINE = 1 << 16  # numbers in a line of pixels
CHAIN = 1 << 10  # channels of them that are taken in one turn
POINT = Geometry((1, 1), (1, 1), (0, 0), (1, 1), 1)
NOTHING = np.iinfo(np.intp).min


class Slots(NamedTuple):
    """How the taps of a window fall into slots of `width` numbers: `fold` = (height, width) of the little window in a slot;
    group[g] = (row, column) of its first pixel; lane[step, l] = what the l-th number of a step is multiplied with, as the
    numbers from the start of a filter, NOTHING: with zero."""

    fold: Array
    group: Array
    lane: Array


@lru_cache(maxsize=1024)
def slots(rows: Axis, columns: Axis, channels: int, width: int, strides: tuple[int, int, int]) -> Slots:
    """Slots of one pixel's channels or, where `width` holds several pixels', of a window of neighbours; `strides` = numbers
    between the channels, rows and columns of a filter."""
    across = _neighbours(columns, width // channels)
    lines = _neighbours(rows, width // (channels * across))
    group, lane = [], []
    for u in range(0, len(rows.taps), lines):
        for v in range(0, len(columns.taps), across):
            group.append((rows.offsets[u], columns.offsets[v]))
            taps = [
                (rows.taps[r], columns.taps[c]) if r < len(rows.taps) and c < len(columns.taps) else None
                for r in range(u, u + lines)
                for c in range(v, v + across)
            ]
            lane.append(taps)
    blocks = -(-channels // width)
    at = np.full((blocks, len(group), width), NOTHING, dtype=np.intp)
    for block in range(blocks):
        c = np.arange(block * width, min((block + 1) * width, channels))
        for g, taps in enumerate(lane):
            for i, tap in enumerate(taps):
                if tap is not None:
                    at[block, g, i * len(c) : (i + 1) * len(c)] = np.dot((tap[0], tap[1]), strides[1:]) + c * strides[0]
    return Slots(
        indices(lines, across),
        np.array(group, dtype=np.intp).reshape(-1, 2),
        np.ascontiguousarray(at.reshape(-1, width)),
    )


def available() -> bool:
    """Has this machine the tiles?"""
    return amx_correlate is not None


def _neighbours(axis: Axis, most: int) -> int:
    """So many taps, at most, fit a slot: only if they read neighbouring pixels."""
    close = all(b - a == 1 for a, b in zip(axis.offsets, axis.offsets[1:]))
    return max(1, min(len(axis.offsets), most)) if close else 1


def _numbers(w: Array) -> tuple[int, ...]:
    return tuple(s // w.itemsize for s in w.strides)


class Phase(NamedTuple):
    """A phase of a product: its plan and slots, and the bytes of its packed weights, of one group; `pairs`: of `beside`, the
    columns of w that an output's taps read."""

    plan: Plan
    slots: Slots
    size: int
    pairs: tuple[int, ...] = ()


@lru_cache(maxsize=1024)
def _steps(
    source: tuple[int, int],
    target: tuple[int, int],
    geometry: Geometry,
    scatter: bool,
    channels: int,
    filters: int,
    strides: tuple[int, int, int],
    planes: int,
) -> tuple[tuple[tuple[int, int, tuple[int, ...]], ...], list[Phase]]:
    """Where the phases of a product start, and what they are; `strides` as those of `slots`."""
    phases, steps = plans(source, target, geometry, scatter), []
    for p in phases:
        wide = beside(p.rows, p.columns, channels, filters, geometry.kernel[0]) if geometry.groups == 1 else None
        form = slots(p.rows, p.columns, channels, 32, strides)
        size = max(1, -(-filters // ROWS) * len(form.lane) * planes) * TILE
        steps.append(
            Phase(p, form, size) if wide is None else Phase(wide[0], wide[1], planes * wide[2], p.columns.taps)
        )
    return tuple((p.rows.start, p.columns.start, s.pairs) for p, s in zip(phases, steps)), steps


def correlate(
    x: Array | Deferred,
    w: Array,
    b: Array | None,
    out: Array,
    geometry: Geometry,
    *,
    scatter: bool,
    keep: bool = True,
    finish: Finish | None = None,
) -> bool:
    """`products.correlate`, if this machine and these numbers allow it; `keep` the packed weights if they come again.

    A Finish is one of products of a single phase.
    """
    if amx_correlate is None or x.dtype != np.float32:
        return False
    planes, threads, groups = PLANES[config.get_float32_matmul_precision()], config.get_num_threads(), geometry.groups
    image, load = x.load(stored=planes == 1) if isinstance(x, Deferred) else (x, None)
    channels, filters = image.shape[3] // groups, out.shape[3] // groups
    if w.size // groups < WORTH[planes] and channels * w.shape[2] * w.shape[3] < DEEP * planes:
        return False
    moves = 1 if scatter or geometry.kernel == (1, 1) else geometry.stride[0] * geometry.stride[1]
    # Channels that the slots of neighbours share are split as they are, others in wholes of 32.
    split = channels if 2 * channels <= 32 and groups == 1 and geometry.kernel[1] > 1 else -(-channels // 32) * 32
    if image.nbytes > LARGE and w.size // groups <= FEW.get(planes, 0) * moves * split:
        return False
    line = 0
    if geometry[:3] == POINT[:3]:
        # Pixels that are independent of each other stand in long lines, of which tiles are cut with less waste.
        line = _line(image.size // image.shape[3], max(16, LINE // min(image.shape[3], CHAIN)))
    if max(line, out.shape[2], len(out)) < FILLED[planes]:
        return False
    if any(s % w.itemsize or abs(s) > FAR for s in w.strides):
        w = np.ascontiguousarray(w)
    done, sums = riding(finish, out)
    if line:
        image, load, out, done = lines((image, load, out, done), line)
    bias = np.empty(0, x.dtype) if b is None else np.ascontiguousarray(b)
    first, second, *rest = _numbers(w)
    strides = (first if scatter else second, *rest)
    starts, steps = _steps(image.shape[1:3], out.shape[1:3], geometry, scatter, channels, filters, strides, planes)
    key = ("amx", planes, scatter, geometry, starts)
    make = partial(_pack, w, groups, scatter, steps, planes)
    panels = packed(w, key, make) if keep else make()
    if panels is None:
        return False
    at, given = 0, (bias, out, done)
    for p, s, size, pairs in steps:
        many, (bias, out, done) = (2 * filters, _twice(given)) if pairs else (filters, given)
        for g in range(groups):
            if not amx_correlate.correlate(
                image, g * channels, channels, p.lead, p.step, s.group, s.fold, panels[at : at + size],
                bias[g * filters : g * filters + many], out, g * filters, many, p.out_start, p.out_step, p.out_count,
                load, done, sums, planes, threads
            ):  # fmt: skip
                return False
            at += size
    return True


@lru_cache(maxsize=1024)
def beside(rows: Axis, columns: Axis, channels: int, filters: int, tall: int) -> tuple[Plan, Slots, int] | None:
    """The same product, its outputs pairs of neighbours in a row, their filters side by side: two tiles of filters instead
    of one, and slots at every second pixel only; with its slots, and the bytes of a plane of its weights, which are `_shifted`
    and of `tall` rows. None where filters fill tiles, or it takes more steps."""
    near = tuple(range(len(columns.offsets)))
    if filters > ROWS or columns.offsets != near or columns.outputs % 2 or (columns.by, columns.step) != (1, 1):
        return None
    wide = Axis(columns.outputs // 2, columns.start, 1, 2, columns.lead, (*near, len(near)), (*near, len(near)))
    size = len(near) + 1
    form = slots(rows, wide, channels, 32, (size * tall, size, 1))
    alone, tiles = slots(rows, columns, channels, 32, (0, 0, 0)), -(-2 * filters // ROWS)
    return (
        (plan(rows, wide), form, tiles * len(form.lane) * TILE)
        if tiles * len(form.lane) <= 2 * len(alone.lane)
        else None
    )


def _shifted(w: Array, taps: tuple[int, ...]) -> Array:
    """The weights of `beside`: twice those of an output's taps, the second output's one pixel further."""
    f, c, kh, _ = w.shape
    wide = np.zeros((2, f, c, kh, len(taps) + 1), w.dtype)
    wide[0, ..., :-1] = wide[1, ..., 1:] = w[..., list(taps)]
    return wide.reshape(2 * f, c, kh, len(taps) + 1)


def _twice(given: Any) -> Any:
    """For `beside`, in nested tuples: images as those of pairs of pixels, and what has a number per channel."""
    if isinstance(given, tuple):
        return tuple(_twice(each) for each in given)
    if not isinstance(given, np.ndarray):
        return given
    if given.ndim < 4:
        return np.tile(given, 2)
    n, h, w, c = given.shape
    return given.reshape(n, h, w // 2, 2 * c)


def lines(given: Any, line: int) -> Any:
    """All images in nested tuples as lines of so many pixels."""
    if given is None:
        return None
    if isinstance(given, tuple):
        return tuple([lines(each, line) for each in given])
    return given.reshape(1, -1, line, given.shape[3]) if isinstance(given, np.ndarray) and given.ndim == 4 else given


def _pack(w: Array, groups: int, scatter: bool, steps: list[Phase], planes: int) -> Array | None:
    """The packed weights of every phase, each of all groups, one behind the other: their array is looked at once for all."""
    parts = w.reshape(groups, -1, *w.shape[1:])
    parts = parts.swapaxes(1, 2) if scatter else parts
    panels, at = memory.empty((len(parts) * sum(phase.size for phase in steps),), np.uint8), 0
    for _, form, size, pairs in steps:
        for part in parts if not pairs else [_shifted(parts[0], pairs)]:
            if not amx_correlate.pack_weights(
                part, form.lane, panels[at : at + size], planes, config.get_num_threads()
            ):
                return None
            at += size
    return panels


@lru_cache(maxsize=1024)
def _line(pixels: int, most: int) -> int:
    """The divisor, at most that large, that falls into tiles of 16 with the least waste; 0 if there is none to speak of."""
    found = [n for n in range(16, min(pixels, most, 128) + 1) if pixels % n == 0]
    return max(found, key=lambda n: (n / -(-n // 16), n), default=0)


def linear(x: Array, w: Array, b: Array | None, y: Array) -> bool:
    """y (N, F) = x (N, C) w (F, C)^T + b, if this machine and these numbers allow it, for fewer rows than filters: turned
    around, so that w is read where it lies and x is packed, not the other way round."""
    if amx_correlate is None or x.dtype != np.float32 or len(x) >= len(w) or not w.flags.c_contiguous:
        return False
    turned = memory.empty((len(w), 1, 1, len(x)), np.float32)
    if not correlate(w[:, None, None], x[:, :, None, None], None, turned, POINT, scatter=False, keep=False):
        return False
    np.copyto(y, turned[:, 0, 0].T) if b is None else np.add(turned[:, 0, 0].T, b, out=y)
    return True


def weights(x: Value, dy: Value, geometry: Geometry, dw: Array) -> bool:
    """`products.weights`, if this machine and these numbers allow it."""
    if amx_weights is None or x.dtype != np.float32:
        return False
    planes, threads, groups = PLANES[config.get_float32_matmul_precision()], config.get_num_threads(), geometry.groups
    if dw.size // groups < WORTH_GRADIENT[planes]:
        return False
    point = geometry == Geometry((1, 1), (1, 1), (0, 0), (1, 1), groups)
    if point and groups == 1 and dw.strides[0] < dw.strides[1]:
        return weights(dy, x, geometry, dw.swapaxes(0, 1))  # dw's rows are then the tiles' rows
    source, target = (_loaded(a, point, planes)[0].shape for a in (x, dy))
    channels, filters = source[3] // groups, target[3] // groups
    out = dw if dw.flags.c_contiguous else memory.empty(dw.shape, dw.dtype)
    out = out.reshape(len(dw), -1)
    (p,) = plans(source[1:3], target[1:3], geometry, False)
    w = window(p.rows, p.columns, channels)
    c = cut(source[0], p.rows, p.columns, channels, filters, planes)
    # Every slice of filters reads x anew, and every slice of chunks of channels dy.
    (x, x_load), (dy, dy_load) = _loaded(x, point, planes, c.sizes[3]), _loaded(dy, point, planes, c.sizes[4])
    for g in range(groups):
        if not amx_weights.weight_gradient(
            x, g * channels, channels, p.lead, p.step, w.row_residue, w.column_residue, w.group, w.piece, w.origin,
            dy, g * filters, filters, out[g * filters : (g + 1) * filters], c.streams, c.sizes, x_load, dy_load, planes, threads
        ):  # fmt: skip
            return False
    if not dw.flags.c_contiguous:
        dw[...] = out.reshape(dw.shape)
    return True


def _loaded(x: Value, apart: bool, planes: int, times: int = 1) -> tuple[Array, Load | None]:
    """The array of an operand that is read so many times, and its Load; `apart`: every pixel as an image of its own."""
    if isinstance(x, Deferred) and times > TIMES[1 if x.b is None else 2]:
        x.stored()
    array, load = x.load(stored=planes == 1) if isinstance(x, Deferred) else (x, None)
    if not apart:
        return array, load
    shape = -1, 1, 1, array.shape[3]
    if load is not None and load[0] is not None:
        load = load[0].reshape(shape), *load[1:]
    return array.reshape(shape), load
