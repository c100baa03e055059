"""Winograd's products: exact on integers, no less exact than a chain of multiply-adds, NaN and infinity where they belong."""

import numpy as np
import pytest
from kernels import geometries
from kernels.exactness import WINOGRAD, at_level, compare, threads
from kernels.geometries import Convolution

from fastnet import _ext, config, functional, reference
from fastnet.functional import split_winograd, winograd
from fastnet.functional.geometry import Geometry

LEVELS = [WINOGRAD if level == "amx" else level for level in _ext.available_levels()]
VECTORS = [level for level in LEVELS if level != WINOGRAD]  # where winograd.pyx computes
each_level = pytest.mark.parametrize("level", LEVELS)
each_vector_level = pytest.mark.parametrize("level", VECTORS)
on_tiles = pytest.mark.skipif(WINOGRAD not in LEVELS, reason="no AMX here")


@pytest.fixture
def wherever_it_fits(monkeypatch):
    """Winograd's kernels also where they do not pay, at every precision; a list with an entry for each of their calls."""
    calls = []

    def counted(product, available):
        def call(*args, **kwargs):
            found = product(*args, **kwargs)
            if available():
                calls.append(found)
            return found

        return call

    on_tiles = counted(split_winograd.correlate, lambda: split_winograd.kernels is not None)
    monkeypatch.setattr(winograd, "pays", lambda images, rows, columns: True)
    for product in (winograd.correlate, winograd.weights):
        on_vectors = counted(product, lambda: split_winograd.kernels is None)
        monkeypatch.setattr(winograd, product.__name__, on_vectors)
    monkeypatch.setattr(split_winograd, "correlate", on_tiles)
    monkeypatch.setattr(split_winograd, "CHANNELS", {1: 16, 2: 16, 3: 16})
    monkeypatch.setattr(geometries, "LARGEST", 28)  # 9/4 of it, in quarters, fits the 8 bits of one plane
    return calls


def random_geometry(rng, groups=1):
    """A convolution of 3x3 windows at stride 1, of at least 16 channels and filters per group."""
    while True:
        N, H, W = (int(n) for n in rng.integers(1, (5, 17, 17)))
        padding = tuple(int(p) for p in rng.integers(0, 5, 2))
        C, F = (groups * int(n) for n in rng.integers(16, (75, 110)))
        found = Convolution(N, C, H, W, F, 3, 3, (1, 1), padding, (1, 1), groups, bool(rng.integers(2)))
        if min(found.output) > 0:
            return found


@pytest.mark.parametrize("groups", [1, 3])
def test_random_geometries_are_exact_at_every_level(groups, wherever_it_fits):
    """Of integers every number on the way is a multiple of 1/4, so nothing rounds."""
    rng, levels = np.random.default_rng(groups), LEVELS if groups == 1 else VECTORS
    for _ in range(30):
        compare(random_geometry(rng, groups), rng, levels)
    products = sum(
        2 if level == WINOGRAD else 3 for level in levels
    )  # in float32; on tiles not the gradient of the weights
    assert sum(wherever_it_fits) == 30 * products


@each_level
def test_hundreds_of_channels_take_several_turns_and_are_exact(level, wherever_it_fits):
    compare(Convolution(3, 530, 4, 5, 290, 3, 3, (1, 1), (1, 0), (1, 1), 1, True), np.random.default_rng(4), [level])
    assert sum(wherever_it_fits) == (2 if level == WINOGRAD else 3)


@each_vector_level
def test_gradients_of_many_tiles_are_partial_sums_and_exact(level, wherever_it_fits):
    """More than a block of tiles in each of several parts, and more than a slice of channels and a chunk of filters."""
    compare(Convolution(5, 24, 27, 30, 37, 3, 3, (1, 1), (0, 2), (1, 1), 1, False), np.random.default_rng(5), [level])
    compare(Convolution(2, 150, 29, 13, 170, 3, 3, (1, 1), (1, 1), (1, 1), 1, False), np.random.default_rng(5), [level])
    assert sum(wherever_it_fits) == 6


@pytest.mark.parametrize(
    ("options", "window", "channels", "images", "size"),
    [
        ({"stride": 2}, (3, 3), 16, 9, 12),
        ({"dilation": 2}, (3, 3), 16, 9, 12),
        ({}, (3, 2), 16, 9, 12),
        ({}, (5, 3), 16, 9, 12),
        ({}, (3, 3), 15, 9, 12),
        ({}, (3, 3), 16, 9, 3),  # one output in a tile of four
        ({}, (3, 3), 16, 1, 5),  # four tiles for all the weights
    ],
)
def test_what_does_not_fit_or_does_not_pay_is_left_to_the_direct_product(options, window, channels, images, size):
    x, w = np.ones((images, channels, size, size), np.float32), np.ones((17, channels, *window), np.float32)
    with at_level(VECTORS[-1]):
        _, saved = functional.conv2d(x, w, **options)
        out = np.empty((saved.shape[0], *saved.shape[2:], saved.shape[1]), np.float32)
        assert not winograd.correlate(saved.x, w, None, out, saved.geometry, scatter=False)
        assert not winograd.weights(saved.x, out, saved.geometry, np.empty_like(w))


@each_vector_level
def test_the_gradient_of_a_vector_of_channels_and_filters_stays_direct(level):
    x, dy = np.ones((9, 12, 14, 16), np.float32), np.ones((9, 10, 12, 16), np.float32)
    geometry = Geometry((3, 3), (1, 1), (0, 0), (1, 1), 1)
    with at_level(level):
        found = winograd.weights(x, dy, geometry, np.empty((16, 16, 3, 3), np.float32))
    assert found == (_ext.load("winograd", level).LANES < 16)


@on_tiles
@pytest.mark.parametrize(
    ("options", "window", "channels", "filters", "images", "size", "precision"),
    [
        ({"stride": 2}, (3, 3), 64, 70, 9, 12, "highest"),
        ({}, (3, 2), 64, 70, 9, 12, "highest"),
        ({}, (3, 3), 63, 70, 9, 12, "highest"),
        ({}, (3, 3), 64, 63, 9, 12, "highest"),
        ({}, (3, 3), 64, 70, 9, 3, "highest"),  # one output in a tile of four
        ({"groups": 2}, (3, 3), 128, 140, 9, 12, "highest"),
        ({}, (3, 3), 300, 290, 9, 12, "high"),  # its error would be too large
        ({}, (3, 3), 300, 290, 9, 12, "medium"),
    ],
)
def test_what_tiles_do_better_otherwise_is_left_to_them(options, window, channels, filters, images, size, precision):
    x = np.ones((images, channels, size, size), np.float32)
    w = np.ones((filters, channels // options.get("groups", 1), *window), np.float32)
    with at_level(WINOGRAD), config.precision(precision):
        _, saved = functional.conv2d(x, w, **options)
        out = np.empty((saved.shape[0], *saved.shape[2:], saved.shape[1]), np.float32)
        assert not split_winograd.correlate(saved.x, w, None, out, saved.geometry, scatter=False)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "dilation": 2},  # neighbours under the window, and every other pixel of the output
        {"stride": 2, "dilation": 2, "padding": 1},
        {"stride": 3, "dilation": 3, "padding": 2, "output_padding": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("level", LEVELS[-2:])
def test_a_scattered_product_that_leaves_pixels_out_is_none_of_its_kind(options, level, wherever_it_fits):
    rng = np.random.default_rng(6)
    x, w = (
        rng.integers(-9, 10, (2, 17, 7, 5)).astype(np.float32),
        rng.integers(-9, 10, (17, 16, 3, 3)).astype(np.float32),
    )
    with at_level(level):
        y, _ = functional.conv_transpose2d(x, w, **options)
    np.testing.assert_array_equal(y, reference.conv_transpose2d(x, w, **options)[0])
    assert wherever_it_fits == [False]


def chain(x, w):
    """conv2d(x, w, padding=1) as a chain of float32 multiply-adds: exact products, a sum rounded once for each."""
    n, c, h, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.float64)
    sums = np.zeros((n, w.shape[0], h, width))
    for u, v in np.ndindex(3, 3):
        for k in range(c):
            product = padded[:, None, k, u : u + h, v : v + width] * w[:, k, u, v, None, None]
            sums = (sums + product).astype(np.float32).astype(np.float64)
    return sums


@each_level
@pytest.mark.parametrize("positive", [False, True], ids=["normal inputs", "after a ReLU"])
@pytest.mark.parametrize(("channels", "size"), [(16, 19), (64, 12), (250, 7)])
def test_outputs_err_no_more_than_a_chain_of_multiply_adds(channels, size, positive, level, wherever_it_fits):
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((3, channels, size, size + 1)).astype(np.float32)
    x = np.maximum(x, 0) if positive else x
    w = (rng.standard_normal((24, channels, 3, 3)) / (9 * channels) ** 0.5).astype(np.float32)
    with at_level(level):
        y, saved = functional.conv2d(x, w, padding=1)
        dx, *_ = functional.conv2d_backward(y, saved)
    assert wherever_it_fits == [True] * (2 if level == WINOGRAD else 3)
    turned = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    for found, source, weights in ((y, x, w), (dx, y, turned)):
        wanted, _ = reference.conv2d(source.astype(np.float64), weights.astype(np.float64), padding=1)
        error, worst = np.abs(found - wanted), np.abs(chain(source, weights) - wanted)
        assert error.max() <= worst.max()
        assert np.square(error).mean() <= 1.1 * np.square(worst).mean()


@each_vector_level
@pytest.mark.parametrize("positive", [False, True], ids=["normal inputs", "after a ReLU"])
@pytest.mark.parametrize(("images", "size"), [(5, 31), (7, 10)])
def test_gradients_of_weights_err_no_more_than_a_chain_of_multiply_adds(
    images, size, positive, level, wherever_it_fits
):
    rng = np.random.default_rng(size)
    x = rng.standard_normal((images, 19, size, size + 1)).astype(np.float32)
    x = np.maximum(x, 0) if positive else x
    dy = rng.standard_normal((images, 17, size, size + 1)).astype(np.float32)
    with at_level(level):
        _, saved = functional.conv2d(x, np.zeros((17, 19, 3, 3), np.float32), padding=1)
        _, dw, _ = functional.conv2d_backward(dy, saved, input_gradient=False)
    assert wherever_it_fits == [True, True]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.float64)
    windows = np.stack([padded[:, :, u : u + size, v : v + size + 1] for u, v in np.ndindex(3, 3)], axis=2)
    columns = windows.transpose(1, 2, 0, 3, 4).reshape(19 * 9, -1)
    slopes = dy.astype(np.float64).swapaxes(0, 1).reshape(17, -1)
    sums = np.zeros((17, 19 * 9))
    for k in range(columns.shape[1]):  # products of float32 are exact in float64, the sum is rounded once for each
        sums = (sums + slopes[:, None, k] * columns[:, k]).astype(np.float32).astype(np.float64)
    wanted = slopes @ columns.T
    error, worst = np.abs(dw.reshape(17, -1) - wanted), np.abs(sums - wanted)
    assert error.max() <= worst.max()
    assert np.square(error).mean() <= np.square(worst).mean()


@each_level
@pytest.mark.parametrize("where", ["x", "w", "dy", "x and w"])
def test_nan_and_infinity_go_where_the_reference_puts_them(where, level, wherever_it_fits):
    """Where infinities meet in a difference the transforms would make NaN of them."""
    rng = np.random.default_rng(7)
    given = dict(x=rng.standard_normal((2, 17, 7, 10)), dy=rng.standard_normal((2, 19, 9, 8)))
    given["w"] = 0.1 * rng.standard_normal((19, 17, 3, 3))
    given = {key: array.astype(np.float32) for key, array in given.items()}
    for key in where.split(" and "):
        flat = given[key].reshape(-1)
        flat[rng.integers(flat.size, size=3)] = np.inf, -np.inf, np.nan
    options = dict(padding=(2, 0))
    with np.errstate(all="ignore"):
        wanted, saved = reference.conv2d(given["x"], given["w"], **options)
        slopes = reference.conv2d_backward(given["dy"], saved)[:2]
    with at_level(level):
        y, saved = functional.conv2d(given["x"], given["w"], **options)
        found = functional.conv2d_backward(given["dy"], saved)[:2]
    assert False in wherever_it_fits
    for a, b in zip((y, *found), (wanted, *slopes)):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.where(np.isinf(a), a, 0), np.where(np.isinf(b), b, 0))


@each_level
def test_neighbours_whose_sum_overflows_do_no_harm(level, wherever_it_fits):
    x, w = np.ones((2, 16, 9, 8), np.float32), np.full((17, 16, 3, 3), 1e-3, np.float32)
    x[1, 5, 3, 4:6] = 3e38
    with at_level(level):
        y, _ = functional.conv2d(x, w, padding=1)
    np.testing.assert_allclose(y, reference.conv2d(x, w, padding=1)[0], rtol=1e-5)
    assert wherever_it_fits == [False]


@each_level
def test_the_bits_do_not_depend_on_the_threads(level, wherever_it_fits):
    rng = np.random.default_rng(8)
    x = rng.standard_normal((2, 40, 43, 41)).astype(np.float32)
    w = rng.standard_normal((130, 40, 3, 3)).astype(np.float32)
    found = set()
    for n in (1, 2, 3, 5):
        with at_level(level), threads(n):
            y, saved = functional.conv2d(x, w, padding=1)
            found.add((y.tobytes(), *(d.tobytes() for d in functional.conv2d_backward(y, saved)[:2])))
    assert wherever_it_fits == [True] * (8 if level == WINOGRAD else 12)
    assert len(found) == 1


def test_too_few_channels_for_a_vector_are_refused():
    kernels = _ext.load("winograd", VECTORS[-1])
    out, packed = np.empty((1, 4, 5, 1), np.float32), np.empty(kernels.packed_size(2, 1, 1), np.float32)
    zero = np.zeros(2, np.intp)
    if kernels.packed_size(2, 1, 1) == 16:
        pytest.skip("a vector of one number is never too wide")
    with pytest.raises(ValueError, match="channels and filters, found 1 and 1"):
        kernels.correlate(
            2, np.ones((1, 6, 7, 1), np.float32), 0, 1, zero, packed, packed[:0], out, 0, 1, None, None, None, 1
        )
    x, dw, taps = np.ones((1, 6, 7, 1), np.float32), np.empty((1, 1, 3, 3), np.float32), np.zeros(9, np.intp)
    with pytest.raises(ValueError, match="channels and filters, found 1 and 1"):
        _ext.load("winograd_weights", VECTORS[-1]).weight_gradient(x, 0, 1, zero, out, 0, 1, dw, taps, taps, None, 1)


@on_tiles
def test_tasks_of_several_blocks_and_a_rest_are_exact_on_tiles(wherever_it_fits):
    """32 blocks of 128 patches, one of 20 in tiles of ten rows: two in one task."""
    rng = np.random.default_rng(9)
    compare(Convolution(3, 17, 55, 97, 33, 3, 3, (1, 1), (1, 1), (1, 1), 1, True), rng, [WINOGRAD])
    assert wherever_it_fits == [True, True, False, False]  # in float64 there are no tiles


@on_tiles
@pytest.mark.parametrize("wide_first", [True, False], ids=["wide x", "wide w"])
def test_integers_that_need_three_planes_are_exact_on_tiles(wide_first, wherever_it_fits):
    """Sums of four numbers of 16 bits, and of nine in quarters, fill three planes; few others keep all sums below 2^24."""
    rng = np.random.default_rng(10)
    x, w = rng.integers(-(2**16), 2**16, (2, 35, 9, 14)), rng.integers(-(2**16), 2**16, (40, 35, 3, 3))
    if wide_first:
        w[...] = 0
        w[np.arange(40), np.arange(40) % 35, rng.integers(3, size=40), rng.integers(3, size=40)] = 1
    else:
        x[...] = 0
        x[:, 7, ::5, ::5] = 1  # no patch sees two of them
    wanted, _ = reference.conv2d(x.astype(np.float64), w.astype(np.float64), padding=1)
    for precision, exact in (("highest", True), ("high", False)):
        with at_level(WINOGRAD), config.precision(precision):
            y, _ = functional.conv2d(x.astype(np.float32), w.astype(np.float32), padding=1)
        assert (y == wanted).all() == exact, precision
    assert wherever_it_fits == [True, True]


@on_tiles
@pytest.mark.parametrize("positive", [False, True], ids=["normal inputs", "after a ReLU"])
def test_one_plane_of_transformed_numbers_errs_less_than_twice_as_much(positive, wherever_it_fits):
    rng = np.random.default_rng(11)
    x = rng.standard_normal((2, 96, 14, 15)).astype(np.float32)
    x = np.maximum(x, 0) if positive else x
    w = (rng.standard_normal((64, 96, 3, 3)) / (9 * 96) ** 0.5).astype(np.float32)
    wanted, _ = reference.conv2d(x.astype(np.float64), w.astype(np.float64), padding=1)
    errors = []
    for level in ("amx", WINOGRAD):
        with at_level(level), config.precision("medium"):
            y, _ = functional.conv2d(x, w, padding=1)
        errors.append((np.abs(y - wanted).max(), np.square(y - wanted).mean() ** 0.5))
    assert errors[1][0] < 2 * errors[0][0]
    assert errors[1][1] < 2 * errors[0][1]


@on_tiles
@pytest.mark.parametrize(("x_size", "w_size"), [(2.0**62, 2.0**60), (2.0**10, 2.0**40), (2.0**64, 2.0**-60)])
def test_numbers_that_might_overflow_are_left_to_others(x_size, w_size, wherever_it_fits):
    rng = np.random.default_rng(12)
    x = (x_size * rng.uniform(0.5, 1, (2, 33, 7, 8))).astype(np.float32)
    w = (w_size * rng.choice([-1.0, 1.0], (18, 33, 3, 3))).astype(np.float32)
    with at_level(WINOGRAD):
        y, _ = functional.conv2d(x, w, padding=1)
    assert wherever_it_fits == [False]
    sizes, _ = reference.conv2d(x.astype(np.float64), np.abs(w).astype(np.float64), padding=1)
    wanted, _ = reference.conv2d(x.astype(np.float64), w.astype(np.float64), padding=1)
    assert (np.abs(y - wanted) <= 2e-6 * sizes).all()


@on_tiles
def test_weights_in_any_memory_order_are_packed_alike_on_tiles(wherever_it_fits):
    rng = np.random.default_rng(13)
    x, w = (
        rng.integers(-9, 10, (2, 34, 7, 6)).astype(np.float32),
        rng.integers(-9, 10, (36, 34, 3, 3)).astype(np.float32),
    )
    wanted, _ = reference.conv2d(x, w)
    wide = np.zeros((72, 34, 3, 3), np.float32)[::2]
    wide[...] = w
    last = np.ascontiguousarray(w.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    with at_level(WINOGRAD):
        for order in (w, np.asfortranarray(w), wide, last, w[::-1, ::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1, ::-1]):
            np.testing.assert_array_equal(functional.conv2d(x, order)[0], wanted)
    assert wherever_it_fits == [True] * 5


@on_tiles
def test_weights_of_other_windows_and_too_few_packed_ones_are_refused_on_tiles():
    kernels = _ext.load("amx_winograd", "amx")
    x, out, packed = np.ones((1, 6, 7, 33), np.float32), np.empty((1, 4, 5, 34), np.float32), np.empty(64, np.uint8)
    with pytest.raises(ValueError, match="3 x 3 numbers that lie together"):
        kernels.pack_weights(np.ones((34, 33, 3, 2), np.float32), False, packed, 3, 1)
    with pytest.raises(ValueError, match="3 x 3 numbers that lie together"):
        kernels.pack_weights(np.ones((34, 33, 3, 3), np.float32)[..., ::-1], False, packed, 3, 1)
    with pytest.raises(ValueError, match="too few"):
        kernels.correlate(
            x, np.zeros(2, np.intp), packed, np.empty(0, np.float32), out, None, None, np.empty((1, 1)), 3, 1
        )
