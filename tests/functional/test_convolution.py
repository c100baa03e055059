"""Convolution and linear: slopes, accuracy, the same bits for any threads and layout, NaN and infinity, absurd sizes."""

import numpy as np
import pytest
from kernels.exactness import threads
from layouts import broadcast, memory_layouts

from fastnet import functional, reference

# (operation, x, w, bias?, options): every kind of geometry once
SETTINGS = [
    ("conv2d", (2, 3, 7, 6), (4, 3, 3, 2), True, {}),
    ("conv2d", (2, 3, 8, 9), (5, 3, 4, 3), True, dict(stride=(3, 2), padding=(2, 1))),
    ("conv2d", (2, 4, 9, 8), (6, 2, 3, 2), False, dict(dilation=(2, 3), groups=2, padding=1)),
    ("conv2d", (3, 5, 7, 8), (5, 1, 3, 2), True, dict(groups=5, padding=(1, 2), stride=(1, 2))),
    ("conv2d", (2, 3, 5, 6), (7, 3, 4, 2), True, dict(padding="same", dilation=(1, 3))),
    ("conv2d", (3, 7, 5, 4), (2, 7, 1, 1), True, dict(stride=(2, 3))),
    ("conv_transpose2d", (2, 3, 5, 4), (3, 6, 2, 3), True, {}),
    ("conv_transpose2d", (2, 3, 4, 5), (3, 2, 3, 4), True, dict(stride=(2, 3), padding=(1, 2), output_padding=(1, 2))),
    ("conv_transpose2d", (2, 6, 4, 3), (6, 2, 2, 3), False, dict(stride=3, groups=3, dilation=(2, 1))),
    ("conv_transpose2d", (2, 4, 3, 5), (4, 1, 3, 2), True, dict(groups=4, stride=(1, 2))),
    ("linear", (5, 7), (4, 7), True, {}),
    ("linear", (3, 8), (6, 8), False, {}),
]
IDS = [f"{name}-{x}-{w}-{options}" for name, x, w, _, options in SETTINGS]
each_setting = pytest.mark.parametrize(("name", "x", "w", "bias", "options"), SETTINGS, ids=IDS)


def draw(name, x, w, bias, options, dtype=np.float64, seed=0):
    """Normal x, w, b (None without bias)."""
    rng = np.random.default_rng(seed)
    filters = w[1] * options.get("groups", 1) if name == "conv_transpose2d" else w[0]
    b = rng.standard_normal(filters).astype(dtype) if bias else None
    return rng.standard_normal(x).astype(dtype), rng.standard_normal(w).astype(dtype), b


def gradient(shape, dtype=np.float64):
    return np.random.default_rng(9).standard_normal(shape).astype(dtype)


def both_ways(name, given, options, dy=gradient, module=functional):
    """[y, dx, dw, db] for dy, an array or what makes one of a shape."""
    y, saved = getattr(module, name)(*given, **options)
    dy = dy(y.shape).astype(y.dtype) if callable(dy) else dy
    return [y, *getattr(module, f"{name}_backward")(dy, saved)]


def assert_bits(found, wanted, what=""):
    for name, a, b in zip(("y", "dx", "dw", "db"), found, wanted, strict=True):
        assert (a is None) == (b is None), f"{what}: {name}"
        if a is not None:
            assert a.dtype.isnative, f"{what}: {name}"
            assert a.shape == b.shape, f"{what}: {name}"
            assert a.tobytes() == b.tobytes(), f"{what}: {name}"


@each_setting
def test_backward_is_the_slope_of_forward_for_every_argument(name, x, w, bias, options):
    given = draw(name, x, w, bias, options)
    y, *gradients = both_ways(name, given, options)
    dy, rng = gradient(y.shape), np.random.default_rng(2)
    for k, slope in enumerate(gradients):
        if slope is None:
            assert given[k] is None
            continue
        for _ in range(4):
            direction = 1e-5 * rng.standard_normal(slope.shape)
            there = [getattr(functional, name)(*(a + s * direction if i == k else a for i, a in enumerate(given)), **options)[0]
                     for s in (1, -1)]  # fmt: skip
            wanted = ((there[0] - there[1]) * dy).sum() / 2
            assert (slope * direction).sum() == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@each_setting
def test_float32_errs_no_more_than_a_chain_of_fused_multiply_adds(name, x, w, bias, options):
    """|error| <= K u / (1 - K u) times the sum of |products|, K terms in a sum, u = 2^-24 (Higham 2002, section 3.1)."""
    given = draw(name, x, w, bias, options, np.float32)
    found = both_ways(name, given, options)
    exact = [None if a is None else a.astype(np.float64) for a in given]
    wanted = both_ways(name, exact, options, module=reference)
    sizes = both_ways(name, [None if a is None else np.abs(a) for a in exact], options,
                      lambda s: np.abs(gradient(s, np.float32)), reference)  # fmt: skip
    outputs = wanted[0].size // wanted[0].shape[1]
    terms = np.prod(w[1:]) * 4, np.prod(w) * 4, outputs + np.prod(x), outputs  # generous: chains, bias, partial sums
    for a, b, size, k in zip(found, wanted, sizes, terms):
        if a is not None:
            assert (np.abs(a - b) <= k * 2.0**-24 / (1 - k * 2.0**-24) * size + 1e-30).all()


def test_a_long_sum_is_as_good_as_a_chain_and_not_only_its_bound():
    """The root mean square error of sums of 4,608 products grows as the square root of a chain's length at most."""
    rng = np.random.default_rng(3)
    x, w = (
        rng.standard_normal((2, 512, 5, 4)).astype(np.float32),
        rng.standard_normal((8, 512, 3, 3)).astype(np.float32),
    )
    y, _ = functional.conv2d(x, w, padding=1)
    wanted, _ = reference.conv2d(x.astype(np.float64), w.astype(np.float64), padding=1)
    columns = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    chain = np.zeros(y.shape, np.float64)
    for u in range(3):
        for v in range(3):
            for c in range(512):  # fused: the product is exact in float64, the sum is rounded once to float32
                product = columns[:, None, c, u : u + 5, v : v + 4].astype(np.float64) * w[:, c, u, v][:, None, None]
                chain = (chain + product).astype(np.float32).astype(np.float64)
    assert np.square(y - wanted).mean() <= 1.1 * np.square(chain - wanted).mean()


# Large enough that the threads are used: 2^19 multiply-adds and more in each product.
PARALLEL = [
    ("conv2d", (5, 16, 19, 17), (33, 16, 3, 3), True, dict(padding=1)),
    ("conv2d", (3, 3, 40, 37), (24, 3, 7, 5), True, dict(stride=(2, 1), padding=3)),
    ("conv2d", (2, 64, 9, 8), (130, 64, 1, 1), True, {}),
    ("conv2d", (2, 512, 4, 3), (96, 512, 3, 3), False, dict(padding=1)),
    ("conv2d", (7, 40, 23, 21), (40, 1, 3, 3), True, dict(padding=1, groups=40)),
    ("conv2d", (1, 24, 31, 30), (32, 12, 3, 3), True, dict(groups=2, dilation=2)),
    ("conv_transpose2d", (3, 32, 11, 10), (32, 20, 4, 3), True, dict(stride=2, padding=1)),
    ("linear", (70, 300), (110, 300), True, {}),
]


@pytest.mark.parametrize(("name", "x", "w", "bias", "options"), PARALLEL, ids=lambda v: str(v))
def test_the_bits_do_not_depend_on_the_threads(name, x, w, bias, options):
    given = draw(name, x, w, bias, options, np.float32)
    wanted = None
    for n in (1, 2, 3, 4, 7, 16):
        with threads(n):
            found = both_ways(name, given, options)
        wanted = wanted or found
        assert_bits(found, wanted, f"{n} threads")


@each_setting
def test_any_memory_layout_gives_the_bits_of_the_contiguous_copy(name, x, w, bias, options, tmp_path):
    given = draw(name, x, w, bias, options, np.float32)
    wanted = both_ways(name, given, options)
    dy = gradient(wanted[0].shape, np.float32)
    for k, array in enumerate(given):
        if array is not None:
            for what, other in memory_layouts(array, tmp_path):
                found = both_ways(name, [other if i == k else a for i, a in enumerate(given)], options)
                assert_bits(found, wanted, f"{what} of argument {k}")
                np.testing.assert_array_equal(other, array, err_msg=f"{what}: argument {k} has changed")
    for what, other in memory_layouts(dy, tmp_path):
        assert_bits(both_ways(name, given, options, other), wanted, f"{what} of dy")


@each_setting
def test_a_broadcast_array_is_as_good_as_its_copy(name, x, w, bias, options):
    given = draw(name, x, w, bias, options, np.float32)
    y = both_ways(name, given, options)[0]
    (views, copies), (slope, slope_copy) = zip(*map(broadcast, given[:2])), broadcast(gradient(y.shape, np.float32))
    found = both_ways(name, [*views, given[2]], options, slope)
    assert_bits(found, both_ways(name, [*copies, given[2]], options, slope_copy))


@each_setting
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(name, x, w, bias, options):
    full, w, b = draw(name, x, w, bias, options)
    shape = getattr(functional, name)(full, w, b, **options)[0].shape
    y, dx, dw, db = both_ways(name, (full[:0], w, b), options)
    assert y.shape == (0, *shape[1:])
    assert dx.shape == (0, *x[1:])
    assert not dw.any()
    assert db is None or not db.any()


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0])


@pytest.mark.parametrize("where", ["x", "w", "b", "dy", "x and w"])
@each_setting
def test_nan_and_infinity_go_where_the_reference_puts_them(name, x, w, bias, options, where):
    """Also 0 * Inf: padding counts as zeros where the reference multiplies it, and nowhere else."""
    rng = np.random.default_rng(11)
    for dtype in (np.float32, np.float64):
        given = dict(zip("xwb", draw(name, x, w, bias, options, dtype)))
        given["dy"] = gradient(getattr(functional, name)(*given.values(), **options)[0].shape, dtype)
        for key in where.split(" and "):
            if given[key] is None:
                return
            corner = given[key].reshape(-1)  # a view: the first number lies in a corner, the last in the other
            corner[[0, -1]] = np.inf, np.nan
            corner[rng.integers(corner.size, size=2)] = rng.choice(SPECIAL, 2)
        *arrays, dy = given.values()
        found = both_ways(name, arrays, options, dy)
        with np.errstate(all="ignore"):
            wanted = both_ways(name, arrays, options, dy, reference)
        for what, a, b in zip(("y", "dx", "dw", "db"), found, wanted):
            if b is not None:
                np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=what)
                np.testing.assert_array_equal(np.where(np.isinf(a), a, 0), np.where(np.isinf(b), b, 0), err_msg=what)


@pytest.mark.parametrize("groups", [1, 3])
def test_an_infinite_gradient_over_nothing_but_padding_is_nan_times_zero(groups):
    """Padding wider than the window: the corner of dy sees zeros alone, and Inf * 0 is NaN in every tap."""
    rng = np.random.default_rng(12)
    x, w = rng.standard_normal((1, 3, 5, 4)), rng.standard_normal((3, 3 // groups, 2, 3))
    options = dict(padding=(3, 4), groups=groups)
    dy = gradient(functional.conv2d(x, w, **options)[0].shape)
    dy[0, 1, 0, 0] = np.inf
    with np.errstate(all="ignore"):
        wanted = both_ways("conv2d", (x, w, None), options, dy, reference)
    found = both_ways("conv2d", (x, w, None), options, dy)
    np.testing.assert_array_equal(np.isnan(found[2]), np.isnan(wanted[2]))
    assert np.isnan(found[2][1]).all()


# --- absurd sizes -----------------------------------------------------------------------------------------------------

X, W = draw("conv2d", (2, 3, 7, 5), (4, 3, 3, 2), False, {}, np.float32)[:2]


def test_strides_far_beyond_the_image_give_one_window():
    for stride in (100, 2**20, 2**31 - 1):
        found = both_ways("conv2d", (X, W, None), dict(stride=stride))
        assert found[0].shape == (2, 4, 1, 1)
        for a, b in zip(found, both_ways("conv2d", (X, W, None), dict(stride=7), module=reference)):
            assert b is None or np.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_padding_far_beyond_the_image_gives_windows_of_zeros():
    options = dict(padding=300, stride=300)
    found = both_ways("conv2d", (X, W, None), options)
    assert found[0].shape == (2, 4, 3, 3)
    for a, b in zip(found, both_ways("conv2d", (X, W, None), options, module=reference)):
        assert b is None or np.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_large_stride_costs_no_call_per_pixel_that_it_steps_over(monkeypatch):
    from fastnet.functional import products

    calls = []
    correlate = products.kernels.correlate
    monkeypatch.setattr(products.kernels, "correlate", lambda *a: (calls.append(1), correlate(*a)))
    x = np.zeros((1, 3, 300, 200), np.float32)
    y, saved = functional.conv2d(x, W, stride=90)
    functional.conv2d_backward(y, saved)
    assert len(calls) <= 1 + 3 * 2


HUGE = [(2**20, 3, 2**20, 2**10), (2**10, 3, 2**10, 2**20), (2**40, 3, 2**6, 2**5)]


@pytest.mark.parametrize("shape", HUGE)
def test_images_larger_than_any_memory_are_refused_and_never_wrap(shape):
    x = np.broadcast_to(np.float32(0), shape)  # costs 4 bytes
    with pytest.raises(MemoryError):
        functional.conv2d(x, W)
    with pytest.raises(MemoryError):
        functional.conv_transpose2d(x, W.transpose(1, 0, 2, 3), stride=2)
    np.testing.assert_allclose(functional.conv2d(X, W)[0], reference.conv2d(X, W)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2**40, 2**10), (2, 2**50)])
def test_rows_larger_than_any_memory_are_refused_and_never_wrap(shape):
    with pytest.raises(MemoryError):
        functional.linear(np.broadcast_to(np.float32(0), shape), np.broadcast_to(np.float32(0), (3, shape[1])))


@pytest.mark.parametrize("options", [dict(padding=2**31 - 1), dict(padding=2**29)])
def test_outputs_larger_than_any_memory_are_refused(options):
    with pytest.raises(MemoryError):
        functional.conv2d(X, W, **options)


@pytest.mark.parametrize("key", ["stride", "padding", "dilation"])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("number", [2**31, 2**63, 2**64, 10**30])
def test_numbers_beyond_32_bits_are_refused(name, key, number):
    w = W if name == "conv2d" else W.transpose(1, 0, 2, 3)
    with pytest.raises(ValueError, match=f"^{name}: .* at most 2147483647"):
        getattr(functional, name)(X, w, **{key: number})
