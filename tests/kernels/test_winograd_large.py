"""Winograd's tiles of 4 x 4 outputs, below AMX at `high` and `medium`: transforms round, integers come out nearly exact."""

import numpy as np
import pytest
from kernels import geometries
from kernels.exactness import at_level, threads
from kernels.finishes import finishes, images, later, settled, sums_of
from kernels.geometries import Convolution
from kernels.test_rides_below_amx import below, product
from kernels.test_winograd import random_geometry

from fastnet import _ext, config, functional, memory, reference
from fastnet.functional import winograd
from fastnet.functional.geometry import Geometry

LEVELS = [level for level in _ext.available_levels() if level != "amx"]
each_level = pytest.mark.parametrize("level", LEVELS)
each_direction = pytest.mark.parametrize("scatter", [False, True], ids=["gathered", "scattered"])


@pytest.fixture
def large_tiles(monkeypatch):
    """Large tiles wherever they fit; a list of what was found of each."""
    found, correlate = [], winograd.correlate

    def counted(*args, **kwargs):
        found.append(correlate(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(winograd, "pays", lambda images, rows, columns: True)
    monkeypatch.setattr(winograd, "tile", lambda channels, images, rows, columns: 4)
    monkeypatch.setattr(winograd, "correlate", counted)
    return found


def nearly(found, wanted, what):
    """Integers, found within a quarter: a wrong index is wrong by one or more, a rounding by some 1e-5 of what is summed."""
    assert np.abs(wanted).max() < 2**15, "integers too large to tell an index from a rounding"
    np.testing.assert_array_equal(np.rint(found), wanted, err_msg=what)
    assert np.abs(found - wanted).max() < 0.25, what


def compare(geometry, rng, level, count):
    x, w, b, dy = geometry.arrays(rng)
    wanted, saved = reference.conv2d(x, w, b, **geometry.options)
    slope, *_ = reference.conv2d_backward(dy, saved)
    given = [None if a is None else a.astype(np.float32) for a in (x, w, b, dy)]
    given[0], given[3] = (geometries.layouts(a)[int(rng.integers(3))] for a in (given[0], given[3]))
    with at_level(level), threads(count):
        y, saved = functional.conv2d(*given[:3], **geometry.options)
        dx, *_ = functional.conv2d_backward(given[3], saved)
    what = f"{level}, {count} threads, {geometry}"
    nearly(y, wanted, what)
    nearly(dx, slope, what)


@each_level
@pytest.mark.parametrize("groups", [1, 2])
def test_random_geometries_come_out_as_the_integers_they_are(groups, level, large_tiles, monkeypatch):
    monkeypatch.setattr(geometries, "LARGEST", 8)
    rng = np.random.default_rng(groups)
    for _ in range(40):
        compare(random_geometry(rng, groups), rng, level, int(rng.choice([1, 2, 3])))
    assert sum(large_tiles) == 80


@each_level
@pytest.mark.parametrize(
    "geometry",
    [
        Convolution(3, 530, 9, 6, 290, 3, 3, (1, 1), (1, 0), (1, 1), 1, True),  # weights that are fetched ahead
        Convolution(2, 24, 61, 50, 37, 3, 3, (1, 1), (0, 2), (1, 1), 1, False),  # several blocks
        Convolution(40, 17, 3, 4, 18, 3, 3, (1, 1), (4, 1), (1, 1), 1, True),  # tiles that see no pixel of the source
        Convolution(1, 16, 1, 2, 16, 3, 3, (1, 1), (2, 1), (1, 1), 1, True),
    ],
    ids=str,
)
def test_blocks_and_edges_come_out_as_the_integers_they_are(geometry, level, large_tiles, monkeypatch):
    monkeypatch.setattr(geometries, "LARGEST", 4)
    compare(geometry, np.random.default_rng(3), level, 2)
    assert large_tiles == [True, True]


def error(channels, filters, n, size, relu):
    """The largest error of the output and of the input's gradient over their root mean square."""
    rng = np.random.default_rng(channels + size)
    x = rng.standard_normal((n, channels, size, size + 1)).astype(np.float32)
    x = np.maximum(x, 0) if relu else x
    w = rng.standard_normal((filters, channels, 3, 3)).astype(np.float32)
    wanted, saved = reference.conv2d(x.astype(np.float64), w.astype(np.float64), padding=1)
    dy = rng.standard_normal(wanted.shape).astype(np.float32)
    slope, *_ = reference.conv2d_backward(dy.astype(np.float64), saved)
    y, saved = functional.conv2d(x, w, padding=1)
    dx, *_ = functional.conv2d_backward(dy, saved)
    return max(np.abs(a - b).max() / np.sqrt(np.square(b).mean()) for a, b in ((y, wanted), (dx, slope)))


@each_level
@pytest.mark.parametrize("relu", [False, True], ids=["normal inputs", "after a ReLU"])
@pytest.mark.parametrize(("channels", "filters", "n", "size"), [(16, 19, 6, 20), (130, 64, 3, 16), (512, 512, 4, 7)])
def test_high_errs_by_no_more_than_its_bound(channels, filters, n, size, relu, level, large_tiles):
    """3e-5 of the root mean square of the output, as on AMX."""
    with at_level(level):
        assert error(channels, filters, n, size, relu) <= 3e-5
    assert large_tiles == [True, True]


def test_large_tiles_wait_for_a_lower_precision_and_enough_outputs():
    def chosen(channels, *outputs):
        found = []
        for precision in ("highest", "high", "medium"):
            with config.precision(precision):
                found.append(winograd.tile(channels, *outputs))
        return found

    assert chosen(64, 8, 32, 32) == [2, 4, 4]
    assert chosen(64, 64, 4, 4) == [2, 4, 4]
    assert chosen(64, 64, 6, 6) == [2, 2, 2]  # 4 tiles of 36 products are 9 of 16
    assert chosen(64, 2, 7, 7) == [2, 2, 2]  # 8 tiles for all the weights
    assert chosen(2048, 8, 32, 32) == [2, 2, 2]  # scratch for a block of tiles


@each_level
@pytest.mark.parametrize("where", ["x", "w"])
def test_what_is_not_finite_is_left_to_the_direct_product(where, level, large_tiles):
    rng = np.random.default_rng(7)
    given = dict(x=rng.standard_normal((2, 17, 7, 10)), w=rng.standard_normal((19, 17, 3, 3)))
    given = {key: array.astype(np.float32) for key, array in given.items()}
    given[where].reshape(-1)[[3, 70, 500]] = np.inf, -np.inf, np.nan
    with np.errstate(all="ignore"):
        wanted, _ = reference.conv2d(given["x"], given["w"], padding=1)
    with at_level(level):
        y, _ = functional.conv2d(given["x"], given["w"], padding=1)
    assert large_tiles == [False]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))
    np.testing.assert_array_equal(np.where(np.isinf(y), y, 0), np.where(np.isinf(wanted), wanted, 0))


@each_level
def test_the_bits_do_not_depend_on_the_threads(level, large_tiles):
    rng = np.random.default_rng(8)
    x = rng.standard_normal((2, 40, 43, 41)).astype(np.float32)
    w = rng.standard_normal((130, 40, 3, 3)).astype(np.float32)
    found = set()
    for n in (1, 2, 3, 5):
        with at_level(level), threads(n):
            y, saved = functional.conv2d(x, w, padding=1)
            found.add((y.tobytes(), functional.conv2d_backward(y, saved)[0].tobytes()))
    assert large_tiles == [True] * 8
    assert len(found) == 1


GEOMETRY = Geometry((3, 3), (1, 1), (1, 1), (1, 1), 1)
X, Y, W = (5, 35, 11, 13), (5, 37, 11, 13), (37, 35, 3, 3)


@each_level
@each_direction
def test_the_product_of_a_map_is_that_of_its_values(scatter, level, large_tiles):
    rng = np.random.default_rng(1)
    given, made = (Y, X) if scatter else (X, Y)
    w = rng.standard_normal(W).astype(np.float32)
    for slope, two in ((0.0, False), (1.0, True)):
        x = later(rng, given, np.float32, slope=slope, two=two)
        with below(level):
            wanted = product(memory.channels_last(settled(x)), w, made, GEOMETRY, scatter)
            np.testing.assert_array_equal(product(x, w, made, GEOMETRY, scatter), wanted)
    assert large_tiles == [True] * 4


@each_level
@each_direction
def test_a_product_is_finished_as_by_a_pass_of_its_own(scatter, level, large_tiles):
    rng = np.random.default_rng(2)
    given, made = (Y, X) if scatter else (X, Y)
    x, w = images(rng, given, np.float32), rng.standard_normal(W).astype(np.float32)
    for finish in finishes(rng, made, np.float32):
        riding, after = finish(), finish()
        with below(level):
            out, wanted = product(x, w, made, GEOMETRY, scatter, riding), product(x, w, made, GEOMETRY, scatter)
            after.apply(wanted)
        np.testing.assert_array_equal(out, wanted)
        sums, magnitudes = sums_of(riding, out)
        assert (abs(riding.sums - sums) <= 1e-6 * magnitudes + 1e-12).all()
    assert large_tiles
    assert all(large_tiles)


def test_tiles_of_another_size_are_refused():
    kernels, zero = _ext.load("winograd", LEVELS[-1]), np.zeros(2, np.intp)
    x, out, packed = np.ones((1, 9, 9, 64), np.float32), np.empty((1, 7, 7, 64), np.float32), np.empty(64, np.float32)
    with pytest.raises(ValueError, match="2 or 4 outputs a side, found 3"):
        kernels.correlate(3, x, 0, 64, zero, packed, packed[:0], out, 0, 64, None, None, None, 1)
