"""The products of 3x3 convolution by Winograd's F(2x2, 3x3) on AMX: 2.25 times fewer products of bfloat16 planes.

The transforms are float32, and what they give is split into planes (`split`). At `highest` that errs no more than the
direct product, because its sums run over channels alone. At `high` and `medium` it would err more: the planes of a sum of four
numbers leave out 1.7 times as much. How it works: _ext/amx_winograd.pyx and amx_winograd.h.
"""

from functools import partial

import numpy as np

from .. import config, memory
from .._ext import amx_winograd as kernels
from ..memory import Array
from . import winograd
from .deferred import Deferred, Finish, riding
from .geometry import Geometry, plans
from .packed import packed
from .split import PLANES

CHANNELS = {3: 64}  # and filters, at least, by planes: to pay for the transforms; 32 -> 32 is as fast direct


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
    """`products.correlate`, if this machine and these numbers allow it and it pays."""
    planes, threads = PLANES[config.get_float32_matmul_precision()], config.get_num_threads()
    if kernels is None or x.dtype != np.float32 or geometry.groups > 1 or planes not in CHANNELS:
        return False
    image, load = x.load() if isinstance(x, Deferred) else (x, None)
    if (
        min(image.shape[3], out.shape[3]) < CHANNELS[planes]
        or geometry.kernel != (3, 3)
        or not winograd.pays(*out.shape[:3])
    ):
        return False
    phases = plans(image.shape[1:3], out.shape[1:3], geometry, scatter)
    if not winograd.fits(phases):
        return False
    panels = packed(w, ("amx winograd", planes, scatter, geometry), partial(_pack, w, scatter, planes))
    bias = np.empty(0, x.dtype) if b is None else np.ascontiguousarray(b)
    done, sums = riding(finish, out)
    return panels is not None and kernels.correlate(
        image, phases[0].lead, panels, bias, out, load, done, sums, planes, threads
    )


def _pack(w: Array, scatter: bool, planes: int) -> Array | None:
    """A filter's nine taps have to lie together; scattered, they are turned by half a turn."""
    if w.strides[2:] != (3 * w.itemsize, w.itemsize) or any(s % w.itemsize for s in w.strides):
        w = np.ascontiguousarray(w)
    w = w.swapaxes(0, 1) if scatter else w
    panels = memory.empty((kernels.packed_size(w.shape[0], w.shape[1], planes),), np.uint8)
    return panels if kernels.pack_weights(w, scatter, panels, planes, config.get_num_threads()) else None
