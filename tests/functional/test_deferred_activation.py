"""Activations of maps per channel, and their gradients, are those of the values."""

from unittest import mock

import numpy as np
import pytest
from kernels.finishes import images, later, settled, sums_of

from fastnet import _ext, memory
from fastnet.functional import activations, deferred, deferred_activation
from fastnet.functional.deferred import GRADIENT, Finish, Into
from fastnet.functional.deferred_activation import activate, activate_back

LEVELS = [level for level in _ext.available_levels() if level != "amx"]
FUNCTIONS = {"elu": 0.7, "sigmoid": 0, "tanh": 0, "gelu": 0, "silu": 0, "softplus": 0, "relu": 0, "leaky_relu": 0.3}
SHAPES = [(3, 8, 5, 7), (1, 300, 3, 2), (5, 11, 41, 39), (2, 64, 23, 25)]


@pytest.fixture(params=LEVELS, autouse=True)
def level(request):
    """Every test at every instruction-set level."""
    channelwise = _ext.load("channelwise", request.param)
    with (
        mock.patch.object(activations, "kernels", _ext.load("elementwise", request.param)),
        mock.patch.object(deferred_activation, "kernels", channelwise),
        mock.patch.object(deferred, "kernels", channelwise),
    ):
        yield


def number(name):
    return getattr(activations.kernels, name.upper())


def separately(name, x, dy=None):
    """f(t) of settled numbers, or dy * f'(t)."""
    options = {"elu": {"alpha": 0.7}, "leaky_relu": {"negative_slope": 0.3}}.get(name, {})
    y, saved = getattr(activations, name)(settled(x), **options)
    return y if dy is None else getattr(activations, f"{name}_backward")(dy, saved)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_activation_of_a_map_is_that_of_its_values(name, dtype):
    rng = np.random.default_rng(1)
    for shape in SHAPES[: 4 if dtype == np.float32 else 2]:
        x = later(rng, shape, dtype, two=shape[0] == 3)
        np.testing.assert_array_equal(activate(x, number(name), FUNCTIONS[name]).array(), separately(name, x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_gradient_comes_with_what_is_added_and_its_sums(name, dtype):
    rng = np.random.default_rng(2)
    for shape in SHAPES[: 4 if dtype == np.float32 else 2]:
        x, dy, other = later(rng, shape, dtype), images(rng, shape, dtype), images(rng, shape, dtype)
        for add in ((), (other,)):
            dx = activate_back(dy.transpose(0, 3, 1, 2), x, Into(x, add), number(name), FUNCTIONS[name])
            wanted = memory.channels_last(separately(name, x, dy.transpose(0, 3, 1, 2))) + sum(add)
            np.testing.assert_allclose(dx.memory(), wanted, rtol=1e-6 if dtype == np.float32 else 1e-14, atol=1e-7)
            finish = Finish(GRADIENT, dx.sums, None, None, x.a, None, x.coefficients)
            sums, magnitudes = sums_of(finish, dx.memory())
            assert (abs(dx.sums - sums) <= 1e-6 * magnitudes).all()


def test_where_nothing_is_wanted_there_are_no_sums():
    x = later(np.random.default_rng(3), (2, 5, 4, 3), np.float32)
    dy = np.ones((2, 5, 4, 3), np.float32)
    dx = activate_back(dy, x, Into(), number("silu"))
    np.testing.assert_array_equal(dx.array(), separately("silu", x, dy))
    assert dx.sums is None


def test_nan_stays_nan():
    x = later(np.random.default_rng(4), (2, 3, 4, 5), np.float32)
    x.a[1, 2, 3, 0] = np.nan
    for name, alpha in FUNCTIONS.items():
        assert np.isnan(activate(x, number(name), alpha).array()).sum() == 1


def test_one_and_three_threads_give_the_same_bits(threads):
    rng = np.random.default_rng(5)
    x, dy = later(rng, (5, 11, 71, 69), np.float32), images(rng, (5, 11, 71, 69), np.float32)
    found = []
    for n in (1, 3):
        threads(n)
        y = activate(x, number("gelu")).array()
        dx = activate_back(dy.transpose(0, 3, 1, 2), x, Into(x), number("gelu"))
        found.append((y.tobytes(), dx.memory().tobytes(), dx.sums.tobytes()))
    assert found[0] == found[1]


def test_no_images_give_none():
    x = later(np.random.default_rng(6), (0, 3, 4, 5), np.float32)
    y = activate(x, number("tanh")).array()
    assert y.shape == (0, 3, 4, 5)
    assert not activate_back(y, x, Into(x), number("tanh")).sums.any()
