"""One convolution through the compiled kernels of every level and both dtypes, at some precision, layout and thread count."""

from contextlib import contextmanager
from importlib import import_module
from typing import get_args
from unittest import mock

import numpy as np
from kernels.geometries import layouts

from fastnet import _ext, config, functional, reference
from fastnet.functional import products, split, winograd

linear = import_module("fastnet.functional.linear")  # the module, which `functional` hides behind its function


@contextmanager
def at_level(level):
    """The convolution kernels of one instruction-set level, whatever level is in use."""
    with (
        mock.patch.object(products, "kernels", _ext.load("correlate", level)),
        mock.patch.object(products, "weight_kernels", _ext.load("weights", level)),
        mock.patch.object(products, "depthwise", _ext.load("depthwise", level)),
        mock.patch.object(linear, "kernels", _ext.load("rows", level)),
        mock.patch.object(winograd, "kernels", _ext.load("winograd", level)),
        mock.patch.object(split, "amx_correlate", _ext.load("amx_correlate", level) if level == "amx" else None),
        mock.patch.object(split, "amx_weights", _ext.load("amx_weights", level) if level == "amx" else None),
        mock.patch.object(split, "DEEP", 0),
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
    y, saved = reference.conv2d(x, w, b, **geometry.options)
    wanted = dict(zip(("dx", "dw", "db"), reference.conv2d_backward(dy, saved)), forward=y)
    layout, count = int(rng.integers(3)), int(rng.choice([1, 1, 1, 1, 2, 3]))
    if 3 < geometry.groups != geometry.F:
        count = 1  # one kernel call per group: on a busy machine the threads would mostly wait for each other
    for level in levels:
        for dtype in (np.float32, np.float64):
            given = [None if a is None else a.astype(dtype) for a in (x, w, b, dy)]
            precision = str(rng.choice(get_args(config.Precision)))
            with at_level(level), threads(count), config.precision(precision):
                y, saved = functional.conv2d(layouts(given[0])[layout], *given[1:3], **geometry.options)
                gradients = functional.conv2d_backward(layouts(given[3])[layout], saved)
            found = dict(zip(("dx", "dw", "db"), gradients), forward=y)
            for name, array in wanted.items():
                what = f"conv2d {name}, {level}, {np.dtype(dtype)}, {precision}, layout {layout}, {count} threads, {geometry}"
                if array is None:
                    assert found[name] is None, what
                else:
                    assert found[name].dtype == dtype, what
                    np.testing.assert_array_equal(found[name], array, err_msg=what)
