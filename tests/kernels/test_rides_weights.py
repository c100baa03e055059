"""AMX's weight gradient takes Loads along, of x and of dy: the bits of the product of the arrays that they stand for."""

from typing import get_args
from unittest import mock

import numpy as np
import pytest
from kernels.exactness import at_level, threads
from kernels.geometries import random_convolution

from fastnet import _ext, config
from fastnet.functional import split
from fastnet.functional.deferred import ROWS, Deferred
from fastnet.functional.geometry import Geometry
from fastnet.functional.products import weight_gradient, weights

pytestmark = pytest.mark.skipif("amx" not in _ext.available_levels(), reason="only AMX's kernel takes Loads along")
each_precision = pytest.mark.parametrize("precision", get_args(config.Precision))
FLAVOURS = ("plain", "grouped", "pointwise", "three channels", "odd channels", "one image", "tiny map")
KINDS = ("nothing", "one", "two")
always = mock.patch.dict(split.TIMES, dict.fromkeys(split.TIMES, 1000))


def deferred(rng, shape, kind, slope):
    """Images (N, H, W, C) with a Load of that kind, whose padding would not be zero if the map were applied to it."""
    a, b = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    coefficients = rng.uniform(0.5, 2, (ROWS, shape[3])).astype(np.float32)
    return Deferred(a, None if kind == "nothing" else coefficients, b if kind == "two" else None, slope)


def materialised(value):
    return Deferred(value.a, value.coefficients, value.b, value.slope).memory()


def random_case(rng):
    """Operands of a random geometry: kinds of Load and slopes at random, too."""
    while True:
        c = random_convolution(rng, str(rng.choice(FLAVOURS)), 45)
        if not c.groups == c.C == c.F > 1:
            break
    x = deferred(rng, (c.N, c.H, c.W, c.C), rng.choice(KINDS), float(rng.choice([0, 0, 1, 0.25])))
    dy = deferred(rng, (c.N, *c.output, c.F), rng.choice(KINDS), float(rng.choice([0, 1, 1])))
    return x, dy, Geometry((c.KH, c.KW), c.stride, c.padding, c.dilation, c.groups), str(c)


@each_precision
@pytest.mark.parametrize("seed", range(4))
@always
def test_a_load_gives_the_bits_of_the_array_that_it_stands_for(seed, precision):
    rng = np.random.default_rng(seed)
    for _ in range(30):
        x, dy, geometry, what = random_case(rng)
        with at_level("amx"), config.precision(precision):
            plain = weight_gradient(materialised(x), materialised(dy), geometry)
            for count in (1, 3):
                with threads(count):
                    riding = weight_gradient(x, dy, geometry)
                np.testing.assert_array_equal(riding, plain, err_msg=f"{what}, {count} threads")


@each_precision
@always
def test_nothing_is_materialised_on_the_way(precision):
    rng = np.random.default_rng(5)
    for kernel, channels, filters in ((3, 37, 50), (1, 64, 33), (5, 3, 18)):
        x, dy = deferred(rng, (6, 9, 11, channels), "two", 0), deferred(rng, (6, 9, 11, filters), "two", 1)
        geometry = Geometry((kernel, kernel), (1, 1), (kernel // 2, kernel // 2), (1, 1), 1)
        with at_level("amx"), config.precision(precision):
            weight_gradient(x, dy, geometry)
        assert x.load()[1] is not None
        assert dy.load()[1] is not None


def test_what_is_read_in_several_slices_is_materialised_first_if_it_is_made_of_two_arrays():
    rng = np.random.default_rng(9)
    x, dy = deferred(rng, (8, 2, 3, 256), "one", 0), deferred(rng, (8, 2, 3, 288), "two", 1)
    geometry = Geometry((3, 3), (1, 1), (1, 1), (1, 1), 1)
    plain = weight_gradient(materialised(x), materialised(dy), geometry)
    np.testing.assert_array_equal(weight_gradient(x, dy, geometry), plain)
    assert x.load()[1] is not None
    assert dy.load()[1] is None


@each_precision
def test_a_gradient_that_lies_turned_takes_the_loads_with_its_operands(precision):
    rng = np.random.default_rng(6)
    x, dy = deferred(rng, (5, 4, 7, 40), "one", 0), deferred(rng, (5, 4, 7, 19), "two", 1)
    geometry = Geometry((1, 1), (1, 1), (0, 0), (1, 1), 1)
    with at_level("amx"), config.precision(precision):
        plain = weights(materialised(x), materialised(dy), geometry)
        turned = np.empty((40, 19, 1, 1), np.float32).swapaxes(0, 1)
        weights(x, dy, geometry, turned)
    np.testing.assert_allclose(turned, plain, rtol=0, atol=dict(highest=1e-4, high=1e-2, medium=2)[precision])


@each_precision
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("operand", ["x", "dy"])
@pytest.mark.parametrize("channels", [3, 21])
def test_a_source_that_does_not_split_is_left_to_float32(channels, operand, strange, precision):
    rng = np.random.default_rng(7)
    for kind in ("one", "two"):
        x, dy = deferred(rng, (3, 9, 8, channels), kind, 0), deferred(rng, (3, 7, 6, 34), "two", 1)
        poisoned = dict(x=x, dy=dy)[operand]
        where = poisoned.b if poisoned.b is not None and rng.integers(2) else poisoned.a
        where[1, 4, 3, 2] = strange
        geometry = Geometry((3, 3), (1, 1), (0, 0), (1, 1), 1)
        with at_level("amx"), config.precision(precision), np.errstate(invalid="ignore"):
            riding = weight_gradient(x, dy, geometry)
            plain = weight_gradient(materialised(x), materialised(dy), geometry)
        np.testing.assert_array_equal(riding, plain)
        if operand == "dy" or strange != -np.inf:
            assert (strange == 1e30) == np.isfinite(riding).all()


def test_float64_and_depthwise_take_deferred_operands():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(2, 5, 6, 4)), rng.normal(size=(2, 5, 6, 4))
    x, dy = Deferred(a, rng.normal(size=(ROWS, 4)), None, 0.0), Deferred(a, rng.normal(size=(ROWS, 4)), b)
    geometry = Geometry((3, 3), (1, 1), (1, 1), (1, 1), 1)
    for groups in (1, 4):
        window = geometry._replace(groups=groups)
        plain = weight_gradient(materialised(x), materialised(dy), window)
        np.testing.assert_array_equal(weight_gradient(x, dy, window), plain)
