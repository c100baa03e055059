"""Winograd's products: exact on integers, no less exact than a chain of multiply-adds, NaN and infinity where they belong."""

import numpy as np
import pytest
from kernels.exactness import at_level, compare, threads
from kernels.geometries import Convolution

from fastnet import _ext, functional, reference
from fastnet.functional import winograd

LEVELS = [level for level in _ext.available_levels() if level != "amx"]  # whose convolutions take AMX's tiles
each_level = pytest.mark.parametrize("level", LEVELS)


@pytest.fixture
def wherever_it_fits(monkeypatch):
    """Winograd's kernels also where they do not pay; a list with an entry for each of their calls."""
    calls, correlate = [], winograd.correlate

    def counted(*args, **kwargs):
        calls.append(correlate(*args, **kwargs))
        return calls[-1]

    monkeypatch.setattr(winograd, "pays", lambda images, rows, columns: True)
    monkeypatch.setattr(winograd, "correlate", counted)
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
    rng = np.random.default_rng(groups)
    for _ in range(30):
        compare(random_geometry(rng, groups), rng, LEVELS)
    assert sum(wherever_it_fits) == 2 * 30 * len(LEVELS)  # in float32, forward and the gradient of the input


@each_level
def test_hundreds_of_channels_take_several_turns_and_are_exact(level, wherever_it_fits):
    compare(Convolution(3, 530, 4, 5, 290, 3, 3, (1, 1), (1, 0), (1, 1), 1, True), np.random.default_rng(4), [level])
    assert sum(wherever_it_fits) == 2


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
    with at_level(LEVELS[-1]):
        _, saved = functional.conv2d(x, w, **options)
        out = np.empty((saved.shape[0], *saved.shape[2:], saved.shape[1]), np.float32)
        assert not winograd.correlate(saved.x, w, None, out, saved.geometry, scatter=False)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "dilation": 2},  # neighbours under the window, and every other pixel of the output
        {"stride": 2, "dilation": 2, "padding": 1},
        {"stride": 3, "dilation": 3, "padding": 2, "output_padding": 2},
    ],
    ids=str,
)
def test_a_scattered_product_that_leaves_pixels_out_is_none_of_its_kind(options, wherever_it_fits):
    rng = np.random.default_rng(6)
    x, w = (
        rng.integers(-9, 10, (2, 17, 7, 5)).astype(np.float32),
        rng.integers(-9, 10, (17, 16, 3, 3)).astype(np.float32),
    )
    with at_level(LEVELS[-1]):
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
    assert wherever_it_fits == [True, True]
    turned = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    for found, source, weights in ((y, x, w), (dx, y, turned)):
        wanted, _ = reference.conv2d(source.astype(np.float64), weights.astype(np.float64), padding=1)
        error, worst = np.abs(found - wanted), np.abs(chain(source, weights) - wanted)
        assert error.max() <= worst.max()
        assert np.square(error).mean() <= 1.1 * np.square(worst).mean()


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
        slopes = reference.conv2d_backward(given["dy"], saved)[0]
    with at_level(level):
        y, saved = functional.conv2d(given["x"], given["w"], **options)
        dx = functional.conv2d_backward(given["dy"], saved)[0]
    assert False in wherever_it_fits
    for a, b in ((y, wanted), (dx, slopes)):
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
    x = rng.standard_normal((2, 40, 23, 21)).astype(np.float32)
    w = rng.standard_normal((130, 40, 3, 3)).astype(np.float32)
    found = set()
    for n in (1, 2, 3, 5):
        with at_level(level), threads(n):
            found.add(functional.conv2d(x, w, padding=1)[0].tobytes())
    assert wherever_it_fits == [True] * 4
    assert len(found) == 1


def test_too_few_channels_for_a_vector_are_refused():
    kernels = _ext.load("winograd", LEVELS[-1])
    out, packed = np.empty((1, 4, 5, 1), np.float32), np.empty(kernels.packed_size(1, 1), np.float32)
    zero = np.zeros(2, np.intp)
    if kernels.packed_size(1, 1) == 16:
        pytest.skip("a vector of one number is never too wide")
    with pytest.raises(ValueError, match="channels and filters, found 1 and 1"):
        kernels.correlate(
            np.ones((1, 6, 7, 1), np.float32), 0, 1, zero, packed, packed[:0], out, 0, 1, None, None, None, 1
        )
