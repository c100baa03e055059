"""Pooling: exact at every instruction-set level, PyTorch's answers, the same bits for any threads and memory layout."""

import math
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
from kernels.exactness import threads
from kernels.geometries import layouts, random_pool
from layouts import memory_layouts

from fastnet import _ext, functional, reference
from fastnet.functional import pooling

LEVELS = _ext.available_levels()
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 3, 7, 5))


@contextmanager
def at_level(level):
    """The pooling kernels of one instruction-set level, whatever level is in use."""
    with (
        mock.patch.object(pooling, "maxima", _ext.load("max_pool", level)),
        mock.patch.object(pooling, "averages", _ext.load("avg_pool", level)),
    ):
        yield


def both_ways(name, x, dy, options, module=functional):
    """(y, dx) for a dy of y's shape, made by dy(shape)."""
    y, saved = getattr(module, name)(x, **options)
    gradient = dy(y.shape) if callable(dy) else dy
    return y, getattr(module, f"{name}_backward")(gradient.astype(x.dtype), saved)


def integers(shape, factor=1, seed=3):
    return factor * np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)


def random_average(rng):
    """(shape, options, a number that every count divides): then averages of its multiples are whole."""
    shape, options = random_pool(rng, dilated=False)
    return shape, options | dict(count_include_pad=bool(rng.integers(2))), 12 * 12


def random_adaptive(rng):
    shape = tuple(int(n) for n in rng.integers(1, 10, 4))
    size = tuple(int(n) for n in rng.integers(1, 12, 2))
    counts = [math.lcm(*(-(-(i + 1) * n // m) - i * n // m for i in range(m))) for n, m in zip(shape[2:], size)]
    return shape, dict(output_size=size), counts[0] * counts[1]


DRAW = {
    "max_pool2d": lambda rng: (*random_pool(rng), 1),
    "avg_pool2d": random_average,
    "adaptive_avg_pool2d": random_adaptive,
}


@pytest.mark.parametrize("name", DRAW)
def test_random_geometries_are_exact_at_every_level_in_both_precisions(name):
    rng = np.random.default_rng(list(DRAW).index(name))
    for _ in range(130):
        shape, options, factor = DRAW[name](rng)
        x = integers(shape, factor, seed=rng)
        wanted = both_ways(name, x, lambda s: integers(s, factor, seed=5), options, reference)  # noqa: B023
        dy = integers(wanted[0].shape, factor, seed=5)
        layout, count = int(rng.integers(3)), int(rng.choice([1, 2, 3]))
        for level in LEVELS:
            for dtype in (np.float32, np.float64):
                with at_level(level), threads(count):
                    found = both_ways(name, layouts(x.astype(dtype))[layout], layouts(dy)[layout], options)
                for what, array, answer in zip(("y", "dx"), found, wanted):
                    message = f"{name} {what}, {level}, {np.dtype(dtype)}, layout {layout}, {shape}, {options}"
                    assert array.dtype == dtype, message
                    np.testing.assert_array_equal(array, answer, err_msg=message)


@pytest.mark.parametrize("C", [1, 3, 8, 16, 31, 64, 127, 128, 129, 300])
@pytest.mark.parametrize("level", LEVELS)
def test_every_number_of_channels_is_exact(C, level):
    """Blocks of channels and blocks of pixels meet in every way."""
    x = integers((2, C, 9, 6), 144).astype(np.float32)
    for name, options in [
        ("max_pool2d", dict(kernel_size=2)),
        ("max_pool2d", dict(kernel_size=(4, 3), stride=(2, 1), padding=1)),
        ("avg_pool2d", dict(kernel_size=(3, 2))),
        ("avg_pool2d", dict(kernel_size=(4, 3), stride=(2, 1), padding=(2, 1))),
        ("adaptive_avg_pool2d", dict(output_size=(1, 1))),
    ]:
        if name == "adaptive_avg_pool2d":
            x = x[:, :, :8]  # 48 pixels divide 144
        wanted = both_ways(name, x.astype(np.float64), lambda s: integers(s, 144), options, reference)
        with at_level(level):
            found = both_ways(name, x, lambda s: integers(s, 144), options)
        for array, answer in zip(found, wanted):
            np.testing.assert_array_equal(array, answer, err_msg=f"{name} {options}")


@pytest.fixture
def torch():
    """PyTorch on one thread: on tiny arrays its threads would only wait for each other."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", DRAW)
def test_torch_agrees_on_random_geometries(name, torch):
    rng = np.random.default_rng(40)
    for _ in range(120):
        shape, options, factor = DRAW[name](rng)
        x, twin = integers(shape, factor, seed=rng), dict(options)
        leaf = torch.tensor(x, requires_grad=True)
        theirs = getattr(torch.nn.functional, name)(leaf, **twin)
        dy = integers(tuple(theirs.shape), factor)
        theirs.backward(torch.tensor(dy))
        y, dx = both_ways(name, x, dy, options)
        np.testing.assert_array_equal(y, theirs.detach().numpy(), err_msg=f"{shape} {options}")
        np.testing.assert_array_equal(dx, leaf.grad.numpy(), err_msg=f"{shape} {options}")


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_with_ceil_mode_a_window_may_be_larger_than_the_image_as_in_torch(name, torch):
    options = dict(kernel_size=(12, 9), stride=(8, 5), padding=(1, 0), ceil_mode=True)
    x = integers((2, 3, 6, 7))
    theirs = getattr(torch.nn.functional, name)(torch.tensor(x), **options).numpy()
    np.testing.assert_allclose(getattr(functional, name)(x, **options)[0], theirs, rtol=1e-15)
    np.testing.assert_allclose(getattr(reference, name)(x, **options)[0], theirs, rtol=1e-15)


# --- what the maximum is ----------------------------------------------------------------------------------------------


def test_the_first_of_equal_maxima_gets_the_gradient():
    x = np.zeros((1, 2, 4, 6))
    x[0, 1, 1, 0] = x[0, 1, 0, 1] = 5.0
    _, dx = both_ways("max_pool2d", x, np.ones, dict(kernel_size=2))
    wanted = np.zeros_like(x)
    wanted[0, :, ::2, ::2] = 1
    wanted[0, 1, 0, 0], wanted[0, 1, 0, 1] = 0, 1
    np.testing.assert_array_equal(dx, wanted)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (1, 3), (3, 2), (4, 5)])
def test_a_nan_is_the_maximum_and_the_first_nan_the_winner(kernel, level):
    rng = np.random.default_rng(1)
    for C in (1, 5, 20):
        x = rng.standard_normal((2, C, 11, 10)).astype(np.float32)
        x[rng.random(x.shape) < 0.05] = np.nan
        x[rng.random(x.shape) < 0.05] = np.inf
        x[rng.random(x.shape) < 0.05] = -np.inf
        options = dict(kernel_size=kernel, stride=(2, 1))
        wanted = both_ways("max_pool2d", x, integers, options, reference)
        with at_level(level):
            found = both_ways("max_pool2d", x, integers, options)
        assert np.isnan(found[0]).any()
        for array, answer in zip(found, wanted):
            np.testing.assert_array_equal(array, answer)


def test_a_nan_in_one_window_leaves_the_others_alone():
    x = np.arange(2 * 3 * 4 * 6, dtype=np.float32).reshape(2, 3, 4, 6)
    clean = both_ways("max_pool2d", x, np.ones, dict(kernel_size=2))
    x[1, 2, 0, 4] = np.nan
    y, dx = both_ways("max_pool2d", x, np.ones, dict(kernel_size=2))
    assert np.isnan(y[1, 2, 0, 2])
    y[1, 2, 0, 2] = clean[0][1, 2, 0, 2]
    np.testing.assert_array_equal(y, clean[0])
    dx[1, 2, 0, 4], dx[1, 2, 1, 5] = 0, 1
    np.testing.assert_array_equal(dx, clean[1])


def test_gradients_of_nan_and_infinity_reach_the_winner_only():
    dy = np.array([np.nan, np.inf, 1.0]).reshape(1, 1, 1, 3)
    _, dx = both_ways("max_pool2d", np.arange(12.0).reshape(1, 1, 2, 6), dy, dict(kernel_size=2))
    np.testing.assert_array_equal(dx[0, 0], [[0] * 6, [0, np.nan, 0, np.inf, 0, 1]])


def test_padding_never_wins():
    y, dx = both_ways("max_pool2d", np.full((1, 2, 5, 4), -np.inf), np.ones, dict(kernel_size=3, stride=2, padding=1))
    assert (y == -np.inf).all()
    assert dx.sum() == y.size  # each window found a real pixel to give its gradient to


def test_a_window_that_steps_over_a_small_image_gives_minus_infinity_and_no_gradient():
    x = integers((1, 3, 2, 5))
    y, dx = both_ways("max_pool2d", x, np.ones, dict(kernel_size=2, padding=1, dilation=3))
    assert y.shape == (1, 3, 1, 2)
    assert (y == -np.inf).all()
    assert (dx == 0).all()


@pytest.mark.parametrize(("kernel", "dtype"), [((16, 16), np.uint8), ((17, 16), np.intc)])
def test_winners_are_bytes_while_they_fit(kernel, dtype):
    x = integers((2, 3, 21, 18))
    x[:, :, 15, 15] = 99  # the last place of a 16 x 16 window
    options = dict(kernel_size=kernel, stride=(3, 1))
    _, saved = functional.max_pool2d(x, **options)
    assert saved.winner.dtype == dtype
    wanted = both_ways("max_pool2d", x, integers, options, reference)
    for array, answer in zip(both_ways("max_pool2d", x, integers, options), wanted):
        np.testing.assert_array_equal(array, answer)


# --- what the average is ----------------------------------------------------------------------------------------------


def test_counts_leave_out_what_sticks_out_behind_the_padding():
    x = np.ones((1, 1, 4, 6))
    y, _ = functional.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
    # The last window has 2 x 3 places, 2 x 2 pixels.
    np.testing.assert_array_equal(y[0, 0, :, 0] * 9, [4, 6, 2 * 9 / 6])
    y, _ = functional.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
    np.testing.assert_array_equal(y, np.ones_like(y))


def test_adaptive_bins_are_those_of_the_formula():
    x = np.arange(7.0).reshape(1, 1, 1, 7)
    y, _ = functional.adaptive_avg_pool2d(x, (1, 3))  # bins 0-2, 2-4, 4-6
    np.testing.assert_array_equal(y[0, 0, 0], [1, 3, 5])
    y, _ = functional.adaptive_avg_pool2d(x, (None, 14))
    np.testing.assert_array_equal(y[0, 0, 0], np.arange(7).repeat(2))


def test_a_global_average_of_many_pixels_loses_no_more_than_its_rows_and_columns():
    x = np.random.default_rng(2).random((1, 2, 301, 512)).astype(np.float32)
    y, _ = functional.adaptive_avg_pool2d(x, 1)
    np.testing.assert_allclose(y, x.astype(np.float64).mean((2, 3), keepdims=True), rtol=2e-6)


# --- gradients, threads, memory ---------------------------------------------------------------------------------------

SETTINGS = [
    ("max_pool2d", dict(kernel_size=2)),
    ("max_pool2d", dict(kernel_size=(3, 2), stride=(2, 1), padding=1, dilation=(1, 2), ceil_mode=True)),
    ("avg_pool2d", dict(kernel_size=(2, 3))),
    ("avg_pool2d", dict(kernel_size=(3, 2), stride=(2, 1), padding=1, ceil_mode=True, count_include_pad=False)),
    ("adaptive_avg_pool2d", dict(output_size=(3, 2))),
    ("adaptive_avg_pool2d", dict(output_size=(9, 8))),
]


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_backward_is_the_slope_of_forward(name, options):
    rng = np.random.default_rng(6)
    x = IMAGES.copy()
    y, saved = getattr(functional, name)(x, **options)
    dy = rng.standard_normal(y.shape)
    dx = getattr(functional, f"{name}_backward")(dy, saved)
    for _ in range(5):
        direction = 1e-6 * rng.standard_normal(x.shape)
        above, _ = getattr(functional, name)(x + direction, **options)
        below, _ = getattr(functional, name)(x - direction, **options)
        change = above - below
        assert (dx * direction).sum() == pytest.approx((change * dy).sum() / 2, rel=1e-6, abs=1e-13)


def normal(shape):
    return np.random.default_rng(8).standard_normal(shape)


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_the_bits_do_not_depend_on_the_threads(name, options):
    x = np.random.default_rng(7).standard_normal((5, 33, 19, 17)).astype(np.float32)
    answers = []
    for n in (1, 2, 3, 4, 7, 16):
        with threads(n):
            answers.append([a.tobytes() for a in both_ways(name, x, normal, options)])
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_any_memory_layout_gives_the_same_bits(name, options):
    x = IMAGES.astype(np.float32)
    wanted = both_ways(name, x, lambda s: integers(s), options)
    dy = integers(wanted[0].shape).astype(np.float32)
    for (what, array), (_, gradient) in zip(memory_layouts(x), memory_layouts(dy)):
        y, saved = getattr(functional, name)(array, **options)
        dx = getattr(functional, f"{name}_backward")(gradient, saved)
        for found, answer in zip((y, dx), wanted):
            np.testing.assert_array_equal(found, answer, err_msg=what)
            assert found.dtype.isnative
        np.testing.assert_array_equal(array, x, err_msg=f"{what}: x has changed")


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_a_broadcast_image_is_as_good_as_its_copy(name, options):
    x = np.broadcast_to(IMAGES[:1, :1], (4, 3, 7, 5))
    for found, answer in zip(both_ways(name, x, integers, options), both_ways(name, x.copy(), integers, options)):
        np.testing.assert_array_equal(found, answer)


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_an_empty_batch_is_no_error(name, options):
    y, dx = both_ways(name, np.zeros((0, 3, 7, 5)), np.ones, options)
    assert y.shape[0] == 0
    assert y.shape[1] == 3
    assert dx.shape == (0, 3, 7, 5)


# --- refusals ---------------------------------------------------------------------------------------------------------

F32 = np.float32
HUGE = np.broadcast_to(F32(0), (2**20, 2**20, 2**10, 2**10))  # 2^62 bytes that cost none
BAD_IMAGES = [
    (IMAGES[0], ValueError, "4 dimensions"),
    (IMAGES[None], ValueError, "4 dimensions"),
    (IMAGES[:, :0], ValueError, "dimension of zero"),
    (IMAGES[:, :, :, :0], ValueError, "dimension of zero"),
    (IMAGES.astype(np.int64), TypeError, "float32 or float64, found int64"),
    (IMAGES > 0, TypeError, "found bool"),
    (IMAGES.astype(complex), TypeError, "found complex128"),
    (IMAGES.astype(np.float16), TypeError, "found float16"),
    (IMAGES.astype(object), TypeError, "found object"),
    (IMAGES.tolist(), TypeError, "NumPy array, found list"),
    (None, TypeError, "found NoneType"),
]
BAD_WINDOWS = [
    (dict(kernel_size=0), ValueError, "kernel_size must be at least 1, found 0"),
    (dict(kernel_size=(2, -1)), ValueError, "kernel_size must be at least 1, found -1"),
    (dict(kernel_size=(2, 3, 4)), ValueError, "pair"),
    (dict(kernel_size=()), ValueError, "pair"),
    (dict(kernel_size=2.0), TypeError, "kernel_size must be an integer, found 2.0"),
    (dict(kernel_size=True), TypeError, "kernel_size must be an integer, found True"),
    (dict(kernel_size="2"), TypeError, "kernel_size must be an integer"),
    (dict(kernel_size=None), TypeError, "kernel_size must be an integer, found None"),
    (dict(kernel_size=2, stride=0), ValueError, "stride must be at least 1, found 0"),
    (dict(kernel_size=2, stride=(1, -2)), ValueError, "stride must be at least 1, found -2"),
    (dict(kernel_size=2, stride=1.5), TypeError, "stride must be an integer, found 1.5"),
    (dict(kernel_size=3, padding=-1), ValueError, "padding must be at least 0, found -1"),
    (dict(kernel_size=3, padding=2), ValueError, r"half the window \(3, 3\), found \(2, 2\)"),
    (dict(kernel_size=(4, 1), padding=(2, 1)), ValueError, r"half the window \(4, 1\), found \(2, 1\)"),
    (dict(kernel_size=2, padding="same"), TypeError, "padding must be an integer, found 'same'"),
    (dict(kernel_size=(8, 2)), ValueError, r"window \(8, 2\) is larger than the padded input \(7, 5\)"),
    (dict(kernel_size=(2, 8), padding=(0, 1)), ValueError, r"window \(2, 8\) is larger than the padded input \(7, 7\)"),
    (dict(kernel_size=2**40), ValueError, "at most 2147483647 pixels"),
    (dict(kernel_size=2**16), ValueError, "at most 2147483647 pixels"),
    (dict(kernel_size=2, stride=2**70), ValueError, "at most 2147483647 pixels"),
]
BAD_DILATIONS = [
    (dict(kernel_size=2, dilation=0), ValueError, "dilation must be at least 1, found 0"),
    (dict(kernel_size=2, dilation=(1, 2.0)), TypeError, "dilation must be an integer, found 2.0"),
    (dict(kernel_size=3, dilation=4), ValueError, r"window \(3, 3\) with dilation \(4, 4\) is larger than the padded"),
]
BAD_SIZES = [
    (dict(output_size=0), ValueError, "output_size must be at least 1, found 0"),
    (dict(output_size=(2, -3)), ValueError, "output_size must be at least 1, found -3"),
    (dict(output_size=(1, 2, 3)), ValueError, "pair"),
    (dict(output_size=1.0), TypeError, "output_size must be an integer, found 1.0"),
    (dict(output_size="1"), TypeError, "output_size must be an integer"),
    (dict(output_size=2**40), ValueError, "output_size must be at most"),
]
GOOD = {
    "max_pool2d": dict(kernel_size=2),
    "avg_pool2d": dict(kernel_size=2),
    "adaptive_avg_pool2d": dict(output_size=2),
}
BAD_CALLS = [
    *((name, x, GOOD[name], error, message) for name in GOOD for x, error, message in BAD_IMAGES),
    *((name, IMAGES, o, error, m) for name in ("max_pool2d", "avg_pool2d") for o, error, m in BAD_WINDOWS),
    *(("max_pool2d", IMAGES, *bad) for bad in BAD_DILATIONS),
    *(("adaptive_avg_pool2d", IMAGES, *bad) for bad in BAD_SIZES),
]


@pytest.mark.parametrize(("name", "x", "options", "error", "message"), BAD_CALLS)
def test_a_bad_call_is_refused_by_name_and_changes_nothing(name, x, options, error, message):
    before = IMAGES.copy()
    with pytest.raises(error, match=f"^{name}: .*{message}"):
        getattr(functional, name)(x, **options)
    np.testing.assert_array_equal(IMAGES, before)
    good, _ = getattr(functional, name)(IMAGES, **GOOD[name])
    np.testing.assert_allclose(good, getattr(reference, name)(IMAGES, **GOOD[name])[0], rtol=1e-14)


@pytest.mark.parametrize("name", GOOD)
def test_more_bytes_than_any_memory_are_an_error_not_a_wrapped_index(name):
    with pytest.raises((MemoryError, ValueError)):
        getattr(functional, name)(HUGE, **GOOD[name])


BAD_GRADIENTS = [
    (np.ones((2, 3, 3, 3)), ValueError, r"output \(2, 3, 3, 2\), found \(2, 3, 3, 3\)"),
    (np.ones((2, 3, 2, 3)), ValueError, "found"),
    (np.ones((1, 3, 3, 2)), ValueError, "found"),
    (np.ones((2, 3, 3)), ValueError, "found"),
    (np.ones((2, 3, 3, 2), F32), TypeError, "dy is float32 but x is float64"),
    (np.ones((2, 3, 3, 2), int), TypeError, "float32 or float64, found int64"),
    (1.0, TypeError, "NumPy array, found float"),
]


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(("dy", "error", "message"), BAD_GRADIENTS)
def test_a_bad_gradient_is_refused_and_the_next_is_served(name, dy, error, message):
    y, saved = getattr(functional, name)(IMAGES, 2)
    with pytest.raises(error, match=f"^{name} backward: .*{message}"):
        getattr(functional, f"{name}_backward")(dy, saved)
    assert getattr(functional, f"{name}_backward")(np.ones(y.shape), saved).sum() == pytest.approx(y.size)


def test_the_table_of_bad_calls_is_long_enough():
    assert len(BAD_CALLS) + 2 * len(BAD_GRADIENTS) >= 40
