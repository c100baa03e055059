"""The products of 3x3 convolution by Winograd's algorithms, in float32.

F(2x2, 3x3) takes 2.25 times fewer multiplications and is no less exact: its largest error beside a float64 result is a third of
that of a chain of float32 multiply-adds (128 channels; its sums run over channels alone). F(4x4, 3x3) takes 4 times fewer, and
errs twice as much as such a chain, so it waits for precision `high`, whose bound it keeps. How they work: _ext/winograd.pyx,
winograd_weights.pyx, winograd.h and winograd4.h.
"""

from functools import partial

import numpy as np

from .. import config, memory
from .._ext import winograd as kernels
from .._ext import winograd_weights as weight_kernels
from ..memory import Array
from .deferred import Deferred, Finish, Value, loaded, riding
from .geometry import Geometry, Plan, plans
from .packed import packed

CHANNELS = 16  # and filters, at least: a vector, and enough products to pay for the transforms
TILES = 16  # at least: transformed weights are 16/9 as large, and written and read once for all tiles
GAIN = 1.3  # times fewer multiplications, at least: 1.27 on outputs of 3x3, where half of the tiles hang over the edge
LARGE = 1.3  # times fewer multiplications of 4x4 tiles than of 2x2, at least: with 1.36 maps of 14x14 gain a tenth
DEPTH = 640  # channels of tiles of 4x4, at most: a block of them takes 4.6 KB of scratch a channel


def fits(phases: list[Plan]) -> bool:
    """Is it one product over 3x3 neighbours that moves by 1?"""
    return len(phases) == 1 and all(
        (axis.offsets, axis.step, axis.by) == ((0, 1, 2), 1, 1) for axis in (phases[0].rows, phases[0].columns)
    )


def pays(images: int, rows: int, columns: int) -> bool:
    """Do multiplications decide, and are there enough fewer of them for outputs of that size? Measured at AVX-512 and AVX2,
    1 to 128 images of 1x1 to 56x56, 16 to 512 channels: where this says yes, 0.9 to 2.2 times the direct product's speed."""
    tiles = images * -(-rows // 2) * -(-columns // 2)
    return tiles >= TILES and 9 * images * rows * columns >= GAIN * 16 * tiles


def tile(channels: int, images: int, rows: int, columns: int) -> int:
    """Outputs a side of the tiles that pay for outputs of that size, at the precision in force: 2 or 4."""
    if config.get_float32_matmul_precision() == "highest" or channels > DEPTH:
        return 2
    small, large = (images * -(-rows // side) * -(-columns // side) for side in (2, 4))
    return 4 if large >= TILES and 16 * small >= LARGE * 36 * large else 2


def correlate(
    x: Array | Deferred,
    w: Array,
    b: Array | None,
    out: Array,
    geometry: Geometry,
    *,
    scatter: bool,
    finish: Finish | None = None,
) -> bool:
    """`products.correlate`, if it pays; False, and out is to be computed anew, if it does not or some output is not finite."""
    threads, groups = config.get_num_threads(), geometry.groups
    _, h, wide, depth = x.a.shape if isinstance(x, Deferred) else x.shape
    channels, filters = depth // groups, out.shape[3] // groups
    phases = plans((h, wide), out.shape[1:3], geometry, scatter)
    if x.dtype != np.float32 or min(channels, filters) < CHANNELS or not fits(phases) or not pays(*out.shape[:3]):
        return False
    source, load = loaded(x, w.size)
    arguments, sums = riding(finish, out)
    (p,) = phases
    bias = np.empty(0, source.dtype) if b is None else np.ascontiguousarray(b)
    parts = [
        w[g * channels : (g + 1) * channels].swapaxes(0, 1) if scatter else w[g * filters : (g + 1) * filters]
        for g in range(groups)
    ]
    side = tile(channels, *out.shape[:3])
    panels = packed(w, ("winograd", side, kernels.LANES, scatter, geometry), partial(_pack, side, parts, p))
    for g in range(groups):
        if not kernels.correlate(
            side, source, g * channels, channels, p.lead, panels[g], bias[g * filters : (g + 1) * filters], out, g * filters,
            filters, load, arguments, sums, threads
        ):  # fmt: skip
            return False
    return True


def _pack(side: int, parts: list[Array], p: Plan) -> Array:
    panels = memory.empty((len(parts), kernels.packed_size(side, *parts[0].shape[:2])), parts[0].dtype)
    for part, panel in zip(parts, panels):
        kernels.pack_weights(side, part, p.tap_row, p.tap_column, panel, config.get_num_threads())
    return panels


def weights(x: Value, dy: Value, geometry: Geometry, dw: Array) -> bool:
    """`products.weights`, if it pays; False, and dw is to be computed anew, if it does not or some of it is not finite."""
    threads, groups = config.get_num_threads(), geometry.groups
    (source, load), dy = loaded(x, dw.size), dy.memory() if isinstance(dy, Deferred) else dy
    channels, filters = source.shape[3] // groups, dy.shape[3] // groups
    phases = plans(source.shape[1:3], dy.shape[1:3], geometry, False)
    if x.dtype != np.float32 or min(channels, filters) < CHANNELS or not fits(phases) or not pays(*dy.shape[:3]):
        return False
    if max(channels, filters) <= kernels.LANES:  # one vector of each: 0.92 times the direct product's speed
        return False
    (p,) = phases
    for g in range(groups):
        if not weight_kernels.weight_gradient(
            source, g * channels, channels, p.lead, dy, g * filters, filters, dw[g * filters : (g + 1) * filters], p.tap_row,
            p.tap_column, load, threads
        ):  # fmt: skip
            return False
    return True
