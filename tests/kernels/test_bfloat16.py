"""Images stored as bfloat16: every kernel that knows them gives what it gives for the same numbers in float32, rounded once."""

from unittest import mock

import numpy as np
import pytest
from kernels.exactness import at_level, threads
from kernels.test_rides import deferred, each_case, gradient, normal, wanted_sums

from fastnet import _ext, config
from fastnet._ext import elementwise
from fastnet.functional import pooling, products, split
from fastnet.functional.deferred import (
    BFLOAT16,
    ROWS,
    Deferred,
    Finish,
    Into,
    finish_into,
    statistics_wanted,
    storage,
    stored_as,
)
from fastnet.functional.deferred_activation import activate, activate_back
from fastnet.functional.geometry import Geometry

on_amx = pytest.mark.skipif("amx" not in _ext.available_levels(), reason="this machine has no AMX")
SHAPES = [(3, 5, 7, 6), (2, 9, 4, 37), (1, 3, 5, 300), (40, 6, 9, 16)]


def narrowed(x):
    return None if x is None else stored_as(x, BFLOAT16)


def widened(x):
    return None if x is None else stored_as(x, np.dtype(np.float32))


def rounded(x):
    """float32 numbers to the nearest bfloat16, of two the even one, by integer arithmetic of 64 bits."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
    up = ((bits >> 16) & 1) + 0x7FFF
    return ((bits + up) >> 16).astype(np.uint16)


def half(given):
    """(what is Deferred of images stored as bfloat16, the same of the same numbers in float32)."""
    a, b = narrowed(given.a), narrowed(given.b)
    return Deferred(a, given.coefficients, b, given.slope), Deferred(
        widened(a), given.coefficients, widened(b), given.slope
    )


def halved(finish):
    """A Finish of images stored as bfloat16, and the same in float32."""
    images = [narrowed(x) for x in (finish.add, finish.value, finish.a, finish.b)]
    both = []
    for stored in (images, [widened(x) for x in images]):
        add, value, a, b = stored
        both.append(Finish(finish.kind, finish.sums.copy(), add, value, a, b, finish.coefficients, finish.slope))
    return both


def product(x, w, b, out, geometry, scatter, finish=None):
    with at_level("amx"), config.precision("medium"):
        return (products.scatter if scatter else products.gather)(x, w, b, out, geometry, finish)


def test_rounding_goes_to_the_nearest_and_of_two_to_the_even_one():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 40_000, dtype=np.uint64).astype(np.uint32)
    bits[:6] = 0x3F808000, 0x3F818000, 0x3F807FFF, 0x7F7FFFFF, 0xFF800000, 0x80000000
    x = bits.view(np.float32)
    x = np.where(np.isnan(x), np.float32(1.5), x).reshape(10, 10, 10, 40)
    np.testing.assert_array_equal(narrowed(x), rounded(x))
    np.testing.assert_array_equal(narrowed(widened(narrowed(x))), narrowed(x))


def test_a_nan_stays_one_whatever_its_bits():
    x = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001], np.uint32).view(np.float32).reshape(1, 1, 1, 4)
    assert np.isnan(widened(narrowed(x))).all()


def test_activations_are_stored_as_bfloat16_at_medium_alone():
    for level, precision, wanted in [
        ("amx", "medium", BFLOAT16),
        ("amx", "high", np.float32),
        ("amx", "highest", np.float32),
    ]:
        if level in _ext.available_levels():
            with at_level(level), config.precision(precision):
                assert storage(np.float32) == wanted
                assert storage(np.float64) == np.float64


@on_amx
@each_case
def test_a_product_reads_it_as_the_same_numbers_in_float32(source, target, w_shape, geometry, scatter):
    rng = np.random.default_rng(source)
    w, b = normal(rng, w_shape), normal(rng, target[3])
    stored, wide = half(deferred(rng, source)[0])
    found = product(stored, w, b, np.empty(target, np.float32), geometry, scatter)
    np.testing.assert_array_equal(found, product(wide, w, b, np.empty(target, np.float32), geometry, scatter))


@on_amx
@each_case
def test_a_product_writes_it_as_float32_rounded_once(source, target, w_shape, geometry, scatter):
    rng = np.random.default_rng(target)
    x, w = normal(rng, source), normal(rng, w_shape)
    plain = product(x, w, None, np.empty(target, np.float32), geometry, scatter)
    for finish in (None, statistics_wanted(target[3]), gradient(rng, target)):
        stored, wide = (None, None) if finish is None else halved(finish)
        for count in (1, 3):
            with threads(count):
                found = product(x, w, None, np.zeros(target, BFLOAT16), geometry, scatter, stored)
            wanted = plain.copy()
            if wide is not None and wide.kind != statistics_wanted(1).kind:
                wide.apply(wanted)
            if found.dtype == BFLOAT16 and not _applied_later(source, target, geometry, scatter, stored):
                np.testing.assert_array_equal(found, rounded(wanted))
            else:
                np.testing.assert_allclose(widened(found), wanted, rtol=2**-7, atol=2**-7)
        if finish is not None:
            _check_sums(stored, widened(found))


def _applied_later(source, target, geometry, scatter, finish):
    """Are there several phases, whose Finish is a pass of its own over what is rounded already?"""
    whole, one = products._covers(source[1:3], target[1:3], geometry, scatter)
    return finish is not None and not (whole and one)


def _check_sums(finish, out):
    """They are those of what is stored."""
    if finish.kind == statistics_wanted(1).kind:
        exact = out.astype(np.float64)
        mean = exact.mean((0, 1, 2))
        assert (np.abs(finish.sums[0] - mean) <= 1e-6 * np.abs(exact).mean((0, 1, 2)) + 1e-30).all()
        squares = ((exact - mean) ** 2).sum((0, 1, 2))
        assert (np.abs(finish.sums[1] - squares) <= 1e-5 * (exact**2).sum((0, 1, 2)) + 1e-30).all()
        return
    wide = halved(finish)[1]
    for row, exact, size in zip(finish.sums, *wanted_sums(wide, out)):
        assert (np.abs(row - exact) <= 1e-6 * size + 1e-30).all()


@on_amx
@each_case
@mock.patch.dict(split.TIMES, dict.fromkeys(split.TIMES, 1000))  # one pass of its own rounds halves of two to even ones
def test_the_gradient_of_the_weights_reads_it_as_the_same_numbers_in_float32(
    source, target, w_shape, geometry, scatter
):
    rng = np.random.default_rng(w_shape)
    (x, wide_x), (dy, wide_dy) = half(deferred(rng, source)[0]), half(deferred(rng, target)[0])
    if scatter:
        (x, wide_x), (dy, wide_dy) = (dy, wide_dy), (x, wide_x)
    with at_level("amx"), config.precision("medium"):
        found = products.weight_gradient(x, dy, geometry)
        np.testing.assert_array_equal(found, products.weight_gradient(wide_x, wide_dy, geometry))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pass_of_its_own_makes_the_numbers_of_float32_rounded(shape):
    rng = np.random.default_rng(shape)
    for _ in range(6):
        stored, wide = half(deferred(rng, shape)[0])
        np.testing.assert_array_equal(stored.stored(), rounded(wide.memory()))
        np.testing.assert_array_equal(half(deferred(np.random.default_rng(1), shape)[0])[0].memory().dtype, np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_v_in_float32_is_not_rounded_on_its_way(shape):
    stored, wide = half(deferred(np.random.default_rng(shape), shape)[0])
    np.testing.assert_array_equal(stored.memory(), wide.memory())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_finish_in_place_is_float32s_rounded_once(shape):
    rng = np.random.default_rng(shape)
    for finish in (statistics_wanted(shape[3]), *(gradient(rng, shape) for _ in range(8))):
        stored, wide = halved(finish)
        out = narrowed(normal(rng, shape))
        wanted = widened(out)
        stored.apply(out)
        wide.apply(wanted)
        np.testing.assert_array_equal(out, rounded(wanted))
        _check_sums(stored, widened(out))


@pytest.mark.parametrize("function", [elementwise.GELU, elementwise.TANH, elementwise.SILU])
@pytest.mark.parametrize("shape", SHAPES)
def test_activations_are_float32s_rounded(shape, function):
    rng = np.random.default_rng(shape)
    stored, wide = half(Deferred(normal(rng, shape), normal(rng, (ROWS, shape[3])), normal(rng, shape)))
    np.testing.assert_array_equal(activate(stored, function).stored(), rounded(activate(wide, function).stored()))
    dy, into = narrowed(normal(rng, shape)), Into()
    found = activate_back(Deferred(dy), stored, into, function)
    wanted = activate_back(Deferred(widened(dy)), wide, into, function)
    np.testing.assert_array_equal(found.stored(), rounded(wanted.stored()))


WINDOWS = [
    ("two by two", (2, 2), (2, 2), (0, 0), (1, 1)),
    ("overlapping", (3, 3), (2, 2), (1, 1), (1, 1)),
    ("dilated", (2, 3), (1, 2), (0, 1), (2, 1)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", WINDOWS, ids=[name for name, *_ in WINDOWS])
def test_max_pooling_has_the_winners_of_float32(shape, window):
    window = pooling.Window(*window)
    rng = np.random.default_rng(shape)
    stored, wide = half(deferred(rng, shape)[0])
    (y, saved), (wanted, winners) = (pooling.max_pool(x, window, False) for x in (stored, wide))
    np.testing.assert_array_equal(saved.winner, winners.winner)
    np.testing.assert_array_equal(y, rounded(wanted))
    dy = narrowed(normal(rng, y.shape))
    value = Into(half(Deferred(normal(rng, shape), normal(rng, (ROWS, shape[3])), slope=0.25))[0])
    found = pooling.max_pool_back(Deferred(dy), saved)
    plain = pooling.max_pool_back(Deferred(widened(dy)), winners)
    np.testing.assert_array_equal(found.stored(), rounded(plain.stored()))
    finish = finish_into(value)
    finished = pooling.max_pool_back(Deferred(dy), saved, finish)
    finish.apply(by_itself := found.stored().copy())
    np.testing.assert_array_equal(finished.stored(), by_itself)
    np.testing.assert_allclose(finished.sums, finish.left, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_average_pooling_reads_it_as_the_same_numbers_in_float32(shape):
    stored, wide = half(deferred(np.random.default_rng(shape), shape)[0])
    for op in (
        lambda x: pooling.adaptive_avg_pool_in("test", x, (1, 1)),
        lambda x: pooling.avg_pool_in(x, pooling.window_of("test", 2, 1, 1), True, False),
    ):
        (y, saved), (wanted, _) = op(stored), op(wide)
        np.testing.assert_array_equal(y, wanted)
        assert saved.dtype == np.float32


def test_numbers_that_are_not_finite_are_multiplied_in_float32():
    if "amx" not in _ext.available_levels():
        pytest.skip("this machine has no AMX")
    rng = np.random.default_rng(0)
    x, w = normal(rng, (2, 6, 7, 40)), normal(rng, (36, 40, 3, 3))
    x[1, 2, 3, 4] = np.inf
    stored = Deferred(narrowed(x))
    out = product(
        stored, w, None, np.zeros((2, 6, 7, 36), BFLOAT16), Geometry((3, 3), (1, 1), (1, 1), (1, 1), 1), False
    )
    assert out.dtype == np.float32, "it was to be computed anew"
    assert np.isinf(out).any()


def test_halves_of_two_shares_are_stored_alike():
    a, b = (normal(np.random.default_rng(i), (2, 3, 4, 5)) for i in range(2))
    coefficients = normal(np.random.default_rng(2), (ROWS, 5))
    assert Deferred(narrowed(a), coefficients, b).b.dtype == BFLOAT16
    assert Deferred(a, coefficients, narrowed(b)).b.dtype == np.float32


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (1, 1)), ((5, 4), (2, 1)), ((3, 3), (2, 2))])
@pytest.mark.parametrize("channels", [5, 19, 70, 1024])
def test_depthwise_products_are_float32s_rounded(channels, kernel, stride):
    rng = np.random.default_rng(channels)
    geometry = Geometry(kernel, stride, (1, 2), (1, 1), channels)
    shape = (24, 9, 11, channels)
    size = tuple((shape[1 + i] + 2 * geometry.padding[i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
    there = (shape[0], *size, channels)
    w = normal(rng, (channels, 1, *kernel))
    for scatter, source, target in ((False, shape, there), (True, there, shape)):
        stored, wide = half(Deferred(normal(rng, source), normal(rng, (ROWS, channels)), slope=0.25))
        finish, _ = halved(gradient(rng, target))
        go = products.scatter if scatter else products.gather
        found = go(stored, w, None, np.empty(target, BFLOAT16), geometry)
        plain = go(wide, w, None, np.empty(target, np.float32), geometry)
        assert found.dtype == BFLOAT16
        np.testing.assert_array_equal(found, rounded(plain))
        finished = go(stored, w, None, np.empty(target, BFLOAT16), geometry, finish)
        sums = finish.sums.copy()
        finish.apply(found)
        np.testing.assert_array_equal(finished, found)
        np.testing.assert_allclose(sums, finish.sums, rtol=1e-5, atol=1e-2)
    x, wide_x = half(Deferred(normal(rng, shape), normal(rng, (ROWS, channels)), slope=0.25))
    dy, wide_dy = half(Deferred(normal(rng, there)))
    found = products.weight_gradient(x, dy, geometry)
    np.testing.assert_array_equal(found, products.weight_gradient(wide_x, wide_dy, geometry))
