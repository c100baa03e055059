"""Linear layers through the compiled kernels of every level: small integers come out exactly, at any size and thread count."""

from typing import get_args

import numpy as np
import pytest
from kernels.exactness import at_level, threads

from fastnet import _ext, config, functional, reference

each_level = pytest.mark.parametrize("level", _ext.available_levels())
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# (N, C, F): one of each; shorter than a vector; ragged tiles; several blocks of channels; parts; rows to split and to pack
SHAPES = [
    (1, 2, 3),
    (1, 4099, 70),
    (2, 1, 9),
    (3, 17, 1),
    (5, 9000, 26),
    (7, 100, 10),
    (9, 1030, 131),
    (33, 65, 40),
    (131, 2500, 12),
    (70, 90, 300),
    (520, 66, 71),
]


def arrays(shape, dtype, seed=0):
    """x, w, b, dy of small integers."""
    n, c, f = shape
    rng = np.random.default_rng(seed)
    return [rng.integers(-4, 5, s).astype(dtype) for s in ((n, c), (f, c), (f,), (n, f))]


def both_ways(module, x, w, b, dy):
    """[y, dx, dw, db]."""
    y, saved = module.linear(x, w, b)
    return [y, *module.linear_backward(dy, saved)]


@each_level
@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_integers_come_out_exactly(shape, dtype, level):
    given = arrays(shape, dtype)
    wanted = both_ways(reference, *arrays(shape, np.float64))
    for precision in get_args(config.Precision):
        for count in (1, 3):
            with at_level(level), threads(count), config.precision(precision):
                found = both_ways(functional, *given)
            for name, a, b in zip(("y", "dx", "dw", "db"), found, wanted, strict=True):
                assert a.dtype == dtype
                np.testing.assert_array_equal(a, b, err_msg=f"{name}, {precision}, {count} threads")


@each_level
@pytest.mark.parametrize("shape", [(1, 5000, 200), (18, 3000, 110), (40, 700, 500)], ids=str)
def test_threads_do_not_change_a_bit(shape, level):
    given = [a + np.float32(0.1) * a**3 for a in arrays(shape, np.float32)]
    with at_level(level):
        found = []
        for count in (1, 2, 5):
            with threads(count):
                found.append([a.tobytes() for a in both_ways(functional, *given)])
    assert found[0] == found[1] == found[2]


@each_level
@each_dtype
@pytest.mark.parametrize("shape", [(1, 37, 12), (6, 900, 17), (21, 50, 33)], ids=str)
def test_not_finite_numbers_reach_what_they_are_multiplied_into(shape, dtype, level):
    for value in (np.nan, np.inf):
        for i in range(4):
            given = arrays(shape, dtype, seed=i)
            given[i].flat[given[i].size // 2] = value
            with np.errstate(all="ignore"):
                wanted = both_ways(reference, *given)
            with at_level(level):
                found = both_ways(functional, *given)
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(a, b)


@each_level
def test_no_rows_give_no_outputs_and_zero_gradients(level):
    x, w, b, dy = arrays((0, 7, 5), np.float32)
    with at_level(level):
        y, dx, dw, db = both_ways(functional, x, w, b, dy)
    assert y.shape == (0, 5)
    assert dx.shape == (0, 7)
    assert not dw.any()
    assert not db.any()
