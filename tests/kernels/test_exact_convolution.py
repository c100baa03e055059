"""The convolution kernels at tolerance 0: integers small enough that no sum rounds, on hundreds of random geometries."""

import numpy as np
import pytest
from kernels.exactness import at_level, compare, compare_linear, compare_transposed
from kernels.geometries import FLAVOURS, Convolution, random_convolution

from fastnet import _ext, functional, reference

PER_FLAVOUR = 70  # 700 geometries in all; tests/campaign_convolution.py runs as many as you like


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_random_geometries_are_exact_at_every_level_in_both_precisions(flavour):
    rng = np.random.default_rng(100 + FLAVOURS.index(flavour))
    for _ in range(PER_FLAVOUR):
        compare(random_convolution(rng, flavour), rng, _ext.available_levels())


def test_random_transposed_convolutions_are_exact_at_every_level_in_both_precisions():
    rng = np.random.default_rng(120)
    for _ in range(PER_FLAVOUR):
        compare_transposed(rng, _ext.available_levels())


def test_random_linear_layers_are_exact_at_every_level_in_both_precisions():
    rng = np.random.default_rng(121)
    for _ in range(PER_FLAVOUR):
        compare_linear(rng, _ext.available_levels())


@pytest.mark.parametrize("window", [(1, 1), (3, 1), (2, 3)], ids=str)
@pytest.mark.parametrize(("channels", "filters"), [(13, 530), (530, 13)])
def test_hundreds_of_channels_are_exact_at_a_stride_that_leaves_pixels_out(window, channels, filters):
    """A panel of weights no longer fits the first-level cache, and at 1x1 some phases of the stride have no tap at all."""
    rng = np.random.default_rng(3)
    case = Convolution(2, channels, 5, 4, filters, *window, (2, 3), (0, 1), (1, 1), 1, True)
    compare(case, rng, _ext.available_levels())


@pytest.mark.parametrize("stride", [(1, 1), (2, 2)], ids=str)
@pytest.mark.parametrize(("channels", "filters"), [(1, 200), (7, 70), (13, 130), (64, 64), (25, 300)])
def test_points_of_many_filters_and_pixels_are_exact(channels, filters, stride):
    """The gradient of the weights turns the source into tiles of channels: one tile and several, full ones and a rest, which
    several panels read, for several groups of pixels."""
    rng = np.random.default_rng(4)
    case = Convolution(3, channels, 23, 17, filters, 1, 1, stride, (0, 0), (1, 1), 1, False)
    compare(case, rng, _ext.available_levels())


@pytest.mark.parametrize("level", [level for level in _ext.available_levels() if level != "amx"])
def test_long_sums_are_cut_into_chains(level):
    """Below AMX: a single chain of 512 multiply-adds errs by more at its worst."""
    rng = np.random.default_rng(8)
    x, w = rng.standard_normal((2, 512, 9, 9), np.float32), rng.standard_normal((64, 512, 1, 1), np.float32)
    with at_level(level):
        y, _ = functional.conv2d(x, w)
    wanted, _ = reference.conv2d(x.astype(np.float64), w.astype(np.float64))
    assert abs(y - wanted).max() < 2.2e-6 * np.sqrt((wanted**2).mean())


def test_the_harness_sees_a_single_wrong_pixel(monkeypatch):
    """A check that cannot fail proves nothing: one number of y moved by one must be found."""
    right = functional.conv2d

    def wrong(*args, **kwargs):
        y, saved = right(*args, **kwargs)
        y[-1, -1, -1, -1] += 1
        return y, saved

    monkeypatch.setattr(functional, "conv2d", wrong)
    rng = np.random.default_rng(5)
    with pytest.raises(AssertionError, match="conv2d forward"):
        compare(random_convolution(rng), rng, _ext.available_levels())
