"""Pooling of what is to become of an array, and what is done to its gradient, give what separate passes give."""

from unittest import mock

import numpy as np
import pytest
from kernels.finishes import finishes, later, settled, sums_of
from kernels.geometries import random_pool

from fastnet import _ext, memory
from fastnet.functional import deferred, pooling
from fastnet.functional.deferred import GRADIENT, Finish

LEVELS = _ext.available_levels()


@pytest.fixture(params=LEVELS, autouse=True)
def level(request):
    """Every test at every instruction-set level."""
    with (
        mock.patch.object(pooling, "maxima", _ext.load("max_pool", request.param)),
        mock.patch.object(pooling, "averages", _ext.load("avg_pool", request.param)),
        mock.patch.object(deferred, "kernels", _ext.load("channelwise", request.param)),
    ):
        yield


def window(options):
    names = "kernel_size", "stride", "padding", "dilation"
    return pooling.window_of("MaxPool2d", *(options.get(name, 1 if name == "dilation" else None) for name in names))


def pooled(x, place, ceil_mode):
    y, saved = pooling.max_pool(x, place, ceil_mode)
    return y.transpose(0, 3, 1, 2), saved


def back(dy, saved, finish=None):
    return pooling.max_pool_back(dy, saved, finish).array()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_maximum_of_a_map_is_that_of_its_values(dtype):
    rng = np.random.default_rng(1)
    for attempt in range(40):
        shape, options = random_pool(rng)
        x = later(rng, shape, dtype, slope=(1.0, 0.0, 0.1)[attempt % 3], two=attempt % 4 == 3)
        place, ceil_mode = window(options), options.get("ceil_mode", False)
        y, saved = pooled(x, place, ceil_mode)
        wanted, wanted_saved = pooled(settled(x), place, ceil_mode)
        np.testing.assert_array_equal(y, wanted)
        np.testing.assert_array_equal(saved.winner, wanted_saved.winner)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_average_of_a_map_is_that_of_its_values(dtype):
    rng = np.random.default_rng(7)
    for attempt in range(40):
        shape, options = random_pool(rng, dilated=False)
        x = later(rng, shape, dtype, slope=(1.0, 0.0, 0.1)[attempt % 3], two=attempt % 4 == 3)
        place, size = window(options), tuple(int(n) for n in rng.integers(1, 6, 2))
        found, wanted = (
            [
                pooling.avg_pool_in(v, place, options.get("ceil_mode", False), True)[0],
                pooling.adaptive_avg_pool_in("AdaptiveAvgPool2d", v, size)[0],
            ]
            for v in (x, settled(x))
        )
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_is_finished_as_by_a_pass_of_its_own(dtype):
    rng = np.random.default_rng(2)
    for _ in range(12):
        shape, options = random_pool(rng)
        y, saved = pooled(later(rng, shape, dtype), window(options), options.get("ceil_mode", False))
        dy = rng.standard_normal(y.shape).astype(dtype)
        for finish in finishes(rng, shape, dtype):
            riding, after = finish(), finish()
            dx, wanted = back(dy, saved, riding), back(dy, saved)
            after.apply(memory.channels_last(wanted))
            np.testing.assert_array_equal(dx, wanted)
            sums, magnitudes = sums_of(riding, memory.channels_last(dx))
            assert (abs(riding.sums - sums) <= 1e-6 * magnitudes).all()


def test_large_images_give_the_same_bits_with_one_and_three_threads(threads):
    rng = np.random.default_rng(3)
    for shape, kernel, stride in [((5, 6, 38, 42), 2, 2), ((3, 40, 33, 31), 3, 2), ((7, 16, 28, 30), 2, 2)]:
        x = later(rng, shape, np.float32)
        place = pooling.window_of("MaxPool2d", kernel, stride, 0)
        found = []
        for n in (1, 3):
            threads(n)
            y, saved = pooled(x, place, False)
            for finish in finishes(np.random.default_rng(4), shape, np.float32):
                made = finish()
                dx = back(np.ones_like(y), saved, made)
                found.append((y.tobytes(), dx.tobytes(), made.sums.tobytes()))
        assert found[: len(found) // 2] == found[len(found) // 2 :]


def test_nan_wins_its_window_and_passes_a_rectifier():
    x = later(np.random.default_rng(5), (2, 3, 4, 6), np.float32, slope=0.0)
    x.a[1, 2, 3, 0] = np.nan
    y, _ = pooled(x, pooling.window_of("MaxPool2d", 2, 2, 0), False)
    assert np.isnan(y[1, 0, 1, 1])
    assert np.isnan(y).sum() == 1


def test_no_images_give_no_output_and_no_sums():
    x = later(np.random.default_rng(6), (0, 3, 4, 6), np.float32)
    y, saved = pooled(x, pooling.window_of("MaxPool2d", 2, 2, 0), False)
    finish = Finish(GRADIENT, np.ones((3, 3)), None, None, x.a, None, x.coefficients)
    assert y.shape == (0, 3, 2, 3)
    assert back(y, saved, finish).shape == (0, 3, 4, 6)
    assert not finish.sums.any()
