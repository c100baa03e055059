"""One convolution through the compiled kernels of every level and both dtypes, at some precision, layout and thread count."""

from contextlib import contextmanager
from importlib import import_module
from typing import get_args
from unittest import mock

import numpy as np
from kernels.geometries import integers, layouts, random_transposed

from fastnet import _ext, config, functional, reference
from fastnet.functional import products, split, split_winograd, winograd

WINOGRAD = "amx, Winograd"
linear = import_module("fastnet.functional.linear")  # the module, which `functional` hides behind its function


@contextmanager
def at_level(level):
    """The convolution kernels of one instruction-set level, whatever level is in use. At "amx" all products are direct, at
    WINOGRAD, the same level, those of Winograd come first. Tiles of 4 x 4 outputs round (test_winograd_large.py has them)."""
    tiles = _ext.load("amx_winograd", "amx") if level == WINOGRAD else None
    level = "amx" if level == WINOGRAD else level
    with (
        mock.patch.object(products, "kernels", _ext.load("correlate", level)),
        mock.patch.object(products, "weight_kernels", _ext.load("weights", level)),
        mock.patch.object(products, "depthwise", _ext.load("depthwise", level)),
        mock.patch.object(linear, "kernels", _ext.load("rows", level)),
        mock.patch.object(winograd, "kernels", _ext.load("winograd", level)),
        mock.patch.object(winograd, "weight_kernels", _ext.load("winograd_weights", level)),
        mock.patch.object(winograd, "LARGE", np.inf),
        mock.patch.object(split, "amx_correlate", _ext.load("amx_correlate", level) if level == "amx" else None),
        mock.patch.object(split_winograd, "kernels", tiles),
        mock.patch.object(split, "amx_weights", _ext.load("amx_weights", level) if level == "amx" else None),
        mock.patch.object(split, "DEEP", 0),
        mock.patch.dict(split.FILLED, dict.fromkeys(split.FILLED, 1)),
        mock.patch.dict(split.WORTH, dict.fromkeys(split.WORTH, 0)),
        mock.patch.dict(split.WORTH_GRADIENT, dict.fromkeys(split.WORTH_GRADIENT, 0)),
    ):
        yield


@contextmanager
def threads(n):
    before = config.get_num_threads()
    config.set_num_threads(n)
    try:
        yield
    finally:
        config.set_num_threads(before)


def compare(geometry, rng, levels):
    """AssertionError, quoting geometry and level, unless forward and all gradients equal the reference's."""
    x, w, b, dy = geometry.arrays(rng)
    count = int(rng.choice([1, 1, 1, 1, 2, 3]))
    if 3 < geometry.groups != geometry.F:
        count = 1  # one kernel call per group: on a busy machine the threads would mostly wait for each other
    compare_operation("conv2d", (x, w, b, dy), geometry.options, rng, levels, count, geometry)


def compare_transposed(rng, levels):
    """The same of a random transposed convolution."""
    x, w, b, options = random_transposed(rng)
    shape = reference.conv_transpose2d(x, w, b, **options)[0].shape
    dy = integers(rng, shape, np.prod(shape[1:]) * max(shape[0], x.shape[1]))
    count = int(rng.choice([1, 1, 2, 3])) if options["groups"] <= 3 else 1
    what = f"x {x.shape}, w {w.shape}, {options}"
    compare_operation("conv_transpose2d", (x, w, b, dy), options, rng, levels, count, what)


def compare_linear(rng, levels, most=140):
    """The same of a random linear layer."""
    n, c, f = (int(size) for size in rng.integers(1, most + 1, 3))
    x, w, b, dy = (integers(rng, shape, max(n, c, f)) for shape in ((n, c), (f, c), (f,), (n, f)))
    b = b if rng.integers(2) else None
    compare_operation("linear", (x, w, b, dy), {}, rng, levels, int(rng.choice([1, 1, 2, 3])), f"N={n} C={c} F={f}")


def compare_operation(name, arrays, options, rng, levels, count, case):
    """Both dtypes at every level, each at some precision; in some layout, on `count` threads."""
    x, w, b, dy = arrays
    forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
    y, saved = forward(x, w, b, **options)
    wanted = dict(zip(("dx", "dw", "db"), backward(dy, saved)), forward=y)
    layout = int(rng.integers(3))
    forward, backward = getattr(functional, name), getattr(functional, f"{name}_backward")
    for level in levels:
        for dtype in (np.float32, np.float64):
            given = [None if a is None else a.astype(dtype) for a in (x, w, b, dy)]
            if x.ndim == 4:
                given[0], given[3] = layouts(given[0])[layout], layouts(given[3])[layout]
            precision = str(rng.choice(get_args(config.Precision)))
            with at_level(level), threads(count), config.precision(precision):
                y, saved = forward(*given[:3], **options)
                gradients = backward(given[3], saved)
            found = dict(zip(("dx", "dw", "db"), gradients), forward=y)
            for part, array in wanted.items():
                what = (
                    f"{name} {part}, {level}, {np.dtype(dtype)}, {precision}, layout {layout}, {count} threads, {case}"
                )
                if array is None:
                    assert found[part] is None, what
                else:
                    assert found[part].dtype == dtype, what
                    np.testing.assert_array_equal(found[part], array, err_msg=what)
