"""Products below AMX that map their source as they read it and finish their output give what separate passes give."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
from kernels.exactness import at_level, threads
from kernels.finishes import finishes, images, later, settled, sums_of
from kernels.geometries import FLAVOURS, random_convolution

from fastnet import _ext, memory
from fastnet.functional import deferred, products
from fastnet.functional.geometry import Geometry

LEVELS = [level for level in _ext.available_levels() if level != "amx"]
LARGER = {  # Winograd's tiles, cut over rows; several panels; lines; several blocks; phases; outputs that no tap reaches
    "3x3": ((5, 35, 11, 13), (37, 35, 3, 3), 1, 1),
    "3x3 in groups": ((4, 32, 9, 7), (34, 16, 3, 3), 1, 1),
    "3x3, several slices": ((2, 150, 8, 9), (20, 150, 3, 3), 1, 1),
    "1x1": ((3, 40, 6, 11), (140, 40, 1, 1), 1, 0),
    "several blocks": ((2, 33, 61, 72), (20, 33, 1, 1), 1, 0),
    "stride 2": ((3, 18, 13, 15), (19, 18, 3, 3), 2, 1),
    "short rows": ((9, 21, 5, 4), (50, 21, 2, 3), 1, 1),
    "depthwise": ((3, 18, 33, 31), (18, 1, 3, 3), 1, 1),
    "depthwise, stride 2": ((2, 40, 17, 38), (40, 1, 3, 3), 2, 1),
    "depthwise, rows with gaps": ((2, 1024, 4, 6), (1024, 1, 3, 3), 1, 1),
    "depthwise, chunks of channels": ((2, 1040, 4, 6), (1040, 1, 3, 3), 1, 1),
    "depthwise, few channels": ((5, 3, 40, 61), (3, 1, 5, 2), 1, 2),
    "pixels stepped over": ((3, 17, 9, 11), (18, 17, 1, 1), 2, 0),
}


@contextmanager
def below(level):
    """The kernels of a level, and maps ride on products however small."""
    channelwise = _ext.load("channelwise", level)
    with at_level(level), mock.patch.object(deferred, "kernels", channelwise), mock.patch.object(deferred, "SHARES", 0):
        yield


def cases():
    """(shape of x, shape of w, shape of y, geometry), logical."""
    rng = np.random.default_rng(3)
    for flavour in FLAVOURS:
        c = random_convolution(rng, flavour)
        yield (
            (c.N, c.C, c.H, c.W),
            (c.F, c.C // c.groups, c.KH, c.KW),
            (c.N, c.F, *c.output),
            Geometry((c.KH, c.KW), c.stride, c.padding, c.dilation, c.groups),
        )
    for x, w, stride, pad in LARGER.values():
        size = tuple((x[2 + i] + 2 * pad - w[2 + i]) // stride + 1 for i in (0, 1))
        groups = x[1] // w[1]
        yield x, w, (x[0], w[0], *size), Geometry(w[2:], (stride,) * 2, (pad,) * 2, (1, 1), groups)


CASES = [
    pytest.param(*case, scatter, id=f"{name} {'scattered' if scatter else 'gathered'}")
    for name, case in zip([*FLAVOURS, *LARGER], cases())
    for scatter in (False, True)
]
each = pytest.mark.parametrize(("x_shape", "w_shape", "y_shape", "geometry", "scatter"), CASES)
each_level = pytest.mark.parametrize("level", LEVELS)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def product(x, w, shape, geometry, scatter, finish=None):
    """Channels-last memory of a product of the logical shape."""
    n, c, h, wide = shape
    out = memory.empty((n, h, wide, c), w.dtype)
    (products.scatter if scatter else products.gather)(x, w, None, out, geometry, finish)
    return out


@each_level
@each_dtype
@each
def test_the_product_of_a_map_is_that_of_its_values(x_shape, w_shape, y_shape, geometry, scatter, dtype, level):
    rng = np.random.default_rng(1)
    given, made = (y_shape, x_shape) if scatter else (x_shape, y_shape)
    w = rng.standard_normal(w_shape).astype(dtype)
    for slope, two in ((0.0, False), (1.0, True)):
        x = later(rng, given, dtype, slope=slope, two=two)
        with below(level):
            wanted = product(memory.channels_last(settled(x)), w, made, geometry, scatter)
            np.testing.assert_array_equal(product(x, w, made, geometry, scatter), wanted)


@each_level
@each_dtype
@each
def test_a_product_is_finished_as_by_a_pass_of_its_own(x_shape, w_shape, y_shape, geometry, scatter, dtype, level):
    rng = np.random.default_rng(2)
    given, made = (y_shape, x_shape) if scatter else (x_shape, y_shape)
    x, w = images(rng, given, dtype), rng.standard_normal(w_shape).astype(dtype)
    for finish in finishes(rng, made, dtype):
        riding, after = finish(), finish()
        with below(level):
            out, wanted = product(x, w, made, geometry, scatter, riding), product(x, w, made, geometry, scatter)
            after.apply(wanted)
        np.testing.assert_array_equal(out, wanted)
        sums, magnitudes = sums_of(riding, out)
        assert (abs(riding.sums - sums) <= 1e-6 * magnitudes + 1e-12).all()


@each_level
@each_dtype
@pytest.mark.parametrize(("x_shape", "w_shape", "y_shape", "geometry"), list(cases()))
def test_the_gradient_of_weights_maps_the_source(x_shape, w_shape, y_shape, geometry, dtype, level):
    rng = np.random.default_rng(4)
    x, dy = later(rng, x_shape, dtype, slope=0.0), images(rng, y_shape, dtype)
    with below(level):
        wanted = products.weight_gradient(memory.channels_last(settled(x)), dy, geometry)
        np.testing.assert_array_equal(products.weight_gradient(x, dy, geometry), wanted)


@each_level
@pytest.mark.parametrize("name", ["3x3", "several blocks", "stride 2"])
@pytest.mark.parametrize("scatter", [False, True])
def test_one_and_three_threads_give_the_same_bits(name, scatter, level):
    x_shape, w_shape, y_shape, geometry = dict(zip([*FLAVOURS, *LARGER], cases()))[name]
    given, made = (y_shape, x_shape) if scatter else (x_shape, y_shape)
    found = []
    for count in (1, 3):
        rng = np.random.default_rng(5)
        x, w = later(rng, given, np.float32, slope=0.0), rng.standard_normal(w_shape).astype(np.float32)
        for finish in finishes(rng, made, np.float32):
            riding = finish()
            with below(level), threads(count):
                found.append((product(x, w, made, geometry, scatter, riding).tobytes(), riding.sums.tobytes()))
    assert found[: len(found) // 2] == found[len(found) // 2 :]


@each_level
@pytest.mark.parametrize("name", ["1x1", "3x3", "several blocks", "stride 2"])
def test_one_and_three_threads_give_the_same_bits_of_the_gradient_of_weights(name, level):
    x_shape, _, y_shape, geometry = dict(zip([*FLAVOURS, *LARGER], cases()))[name]
    found = set()
    for count in (1, 3):
        rng = np.random.default_rng(9)
        x, dy = later(rng, x_shape, np.float32, slope=0.0), images(rng, y_shape, np.float32)
        with below(level), threads(count):
            found.add(products.weight_gradient(x, dy, geometry).tobytes())
    assert len(found) == 1


def test_a_map_of_a_small_source_has_a_pass_of_its_own_that_is_done_once():
    rng = np.random.default_rng(7)
    x, w = later(rng, (2, 20, 5, 4), np.float64), rng.standard_normal((18, 20, 1, 1))
    product(x, w, (2, 18, 5, 4), Geometry((1, 1), (1, 1), (0, 0), (1, 1), 1), False)
    assert x.made
    x = later(rng, (30, 20, 25, 24), np.float64)
    product(x, w, (30, 18, 25, 24), Geometry((1, 1), (1, 1), (0, 0), (1, 1), 1), False)
    assert not x.made


@each_level
def test_a_product_that_winograd_refuses_is_finished_once(level):
    x_shape, w_shape, y_shape, geometry = dict(zip([*FLAVOURS, *LARGER], cases()))["3x3"]
    rng = np.random.default_rng(6)
    x, w = images(rng, x_shape, np.float32), rng.standard_normal(w_shape).astype(np.float32)
    x[2, 3, 4, 5] = np.inf
    for finish in finishes(rng, y_shape, np.float32):
        riding, after = finish(), finish()
        with below(level), np.errstate(all="ignore"):
            out, wanted = product(x, w, y_shape, geometry, False, riding), product(x, w, y_shape, geometry, False)
            after.apply(wanted)
        np.testing.assert_array_equal(out, wanted)
        np.testing.assert_array_equal(np.isfinite(riding.sums), np.isfinite(after.sums))


@each_level
@each
def test_what_a_map_makes_of_nan_and_infinity_is_multiplied(x_shape, w_shape, y_shape, geometry, scatter, level):
    rng = np.random.default_rng(8)
    given, made = (y_shape, x_shape) if scatter else (x_shape, y_shape)
    x, w = later(rng, given, np.float32, slope=0.0), rng.standard_normal(w_shape).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf):
        x.a[tuple(int(rng.integers(n)) for n in x.a.shape)] = value
    with below(level), np.errstate(all="ignore"):
        wanted = product(memory.channels_last(settled(x)), w, made, geometry, scatter)
        np.testing.assert_array_equal(product(x, w, made, geometry, scatter), wanted)
