"""Numbers that do not split into planes, or hardly: NaN, infinity, the largest and the smallest, at every level and precision.

They go where the reference puts them: its answer in float64, brought to float32. A number in a wrong place is a wrong sign or a
wrong kind of number; all others keep the error that their precision allows.
"""

from typing import get_args

import numpy as np
import pytest
from kernels.exactness import at_level

from fastnet import _ext, config, functional, reference

SETTINGS = [
    (level, precision)
    for level in _ext.available_levels()
    for precision in (get_args(config.Precision) if level == "amx" else ("highest",))
]
each_setting = pytest.mark.parametrize(("level", "precision"), SETTINGS)
ALLOWED = {"highest": 2e-6, "high": 1e-4, "medium": 1.6e-2}  # of the sum of magnitudes


def nan_of(bits):
    return np.array(bits, np.uint32).view(np.float32)[()]


STRANGE = {
    "Inf": np.inf,
    "-Inf": -np.inf,
    "NaN": np.nan,
    "NaN of all ones": nan_of(0xFFFFFFFF),  # what memory is filled with to find reads of what nobody wrote
    "positive NaN of all ones": nan_of(0x7FFFFFFF),  # rounded in its bits it would be a zero
    "signalling NaN": nan_of(0x7F800001),  # and this one infinity
    "the largest": np.finfo(np.float32).max,  # to bfloat16 it would round up to infinity
    "-3.4e38": -3.4e38,
    "1e38": 1e38,
    "2^63": 2.0**63,
    "below 2^63": np.nextafter(np.float32(2.0**63), np.float32(0)),
    "-2^64": -(2.0**64),
    "denormal": 1e-40,
    "the smallest normal": np.finfo(np.float32).tiny,
    "-0.0": -0.0,
}
CASES = {  # operation, shapes of x and w, options
    "conv2d": ("conv2d", (3, 40, 7, 9), (37, 40, 3, 2), dict(padding=(1, 0))),
    "conv2d of many pixels": ("conv2d", (2, 33, 21, 35), (18, 33, 1, 3), {}),
    "conv2d of three channels": ("conv2d", (2, 3, 11, 13), (20, 3, 5, 4), dict(stride=2, padding=2)),
    "conv2d in groups": ("conv2d", (2, 12, 9, 8), (15, 4, 3, 3), dict(groups=3, padding=1, dilation=(1, 2))),
    "conv2d of single pixels": ("conv2d", (2, 35, 6, 9), (50, 35, 1, 1), {}),
    "depthwise": ("conv2d", (2, 18, 8, 9), (18, 1, 3, 2), dict(groups=18, padding=1)),
    "conv_transpose2d": ("conv_transpose2d", (2, 19, 5, 6), (19, 23, 3, 4), dict(stride=2, padding=1)),
    "linear of few rows": ("linear", (5, 70), (41, 70), {}),
    "linear of many rows": ("linear", (67, 50), (21, 50), {}),
}


def ordinary(rng, shape):
    """Numbers that are far from 1 in magnitude, so that 3.4e38 times one of them clearly overflows or not; some are zeros."""
    found = rng.choice([-1.0, 1.0], shape) * rng.choice([1.0, 6.0], shape) * rng.uniform(0.25, 0.5, shape)
    return (found * (rng.random(shape) > 0.2)).astype(np.float32)


def answers(module, operation, x, w, dy, options):
    y, saved = getattr(module, operation)(x, w, **options)
    dx, dw, _ = getattr(module, f"{operation}_backward")(dy, saved)
    return dict(y=y, dx=dx, dw=dw)


def kinds(array):
    """0 for finite numbers, 1 and -1 for the infinities, 2 for NaN."""
    return np.where(np.isnan(array), 2, np.where(np.isinf(array), np.sign(array), 0))


@each_setting
@pytest.mark.parametrize("case", CASES)
def test_strange_numbers_go_where_the_reference_puts_them(case, level, precision):
    operation, x_shape, w_shape, options = CASES[case]
    rng = np.random.default_rng(list(CASES).index(case))
    shape = getattr(reference, operation)(np.ones(x_shape), np.ones(w_shape), **options)[0].shape
    for strange in STRANGE:
        for where in ("x", "w", "dy"):
            given = dict(x=ordinary(rng, x_shape), w=ordinary(rng, w_shape), dy=ordinary(rng, shape))
            at = int(rng.integers(given[where].size))
            given[where].view(np.uint32).reshape(-1)[at] = np.float32(STRANGE[strange]).view(np.uint32)
            with np.errstate(all="ignore"):
                exact = {key: array.astype(np.float64) for key, array in given.items()}
                wanted = answers(reference, operation, **exact, options=options)
                sizes = answers(reference, operation, **{k: np.abs(a) for k, a in exact.items()}, options=options)
            with at_level(level), config.precision(precision):
                found = answers(functional, operation, **given, options=options)
            for name, array in found.items():
                what = f"{case}, {name}: {strange} in {where}[{at}] at {level}, {precision}"
                with np.errstate(all="ignore"):
                    target = wanted[name].astype(np.float32)
                    np.testing.assert_array_equal(kinds(array), kinds(target), err_msg=what)
                    finite = np.isfinite(target)
                    error = np.abs(array - wanted[name])[finite]
                assert (error <= ALLOWED[precision] * sizes[name][finite] + 1e-37).all(), what


@each_setting
@pytest.mark.parametrize("case", CASES)
def test_one_nan_leaves_what_it_does_not_reach_alone(case, level, precision):
    """The next call, of the same shapes and without it, gives the bits that it gave before."""
    operation, x_shape, w_shape, options = CASES[case]
    rng = np.random.default_rng(9)
    x, w = ordinary(rng, x_shape), ordinary(rng, w_shape)
    poisoned = x.copy()
    poisoned.reshape(-1)[0] = np.nan
    with at_level(level), config.precision(precision):
        before, _ = getattr(functional, operation)(x, w, **options)
        getattr(functional, operation)(poisoned, w, **options)
        after, _ = getattr(functional, operation)(x, w, **options)
    np.testing.assert_array_equal(before, after)
