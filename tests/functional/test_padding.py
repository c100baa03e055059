"""Padding, concatenation and flattening: copies, exact to the bit, in any memory layout."""

import math

import numpy as np
import pytest

from fastnet import _ext, functional, reference

LEVELS = _ext.available_levels()
X = np.random.default_rng(0).standard_normal((2, 3, 7, 5)).astype(np.float32)


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "channels-last": channels_last,
    "fortran": np.asfortranarray,
    "negative strides": lambda x: np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1],
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("padding", [0, 3, (1, 0, 2, 4), (0, 5, 0, 0)])
def test_padding_is_zeros_around_the_image_and_its_backward_the_cut_out(padding, layout):
    y, saved = functional.zero_pad2d(LAYOUTS[layout](X), padding)
    left, right, top, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    np.testing.assert_array_equal(y, np.pad(X, ((0, 0), (0, 0), (top, bottom), (left, right))))
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    dx = functional.zero_pad2d_backward(LAYOUTS[layout](dy), saved)
    np.testing.assert_array_equal(dx, dy[:, :, top : top + 7, left : left + 5])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tail", [(7, 5), ()])
def test_concat_is_numpys_and_its_backward_the_slices(tail, layout):
    rng = np.random.default_rng(2)
    parts = [rng.standard_normal((4, c, *tail)) for c in (3, 1, 6)]
    y, saved = functional.concat([LAYOUTS[layout](x) if tail else x for x in parts])
    np.testing.assert_array_equal(y, np.concatenate(parts, axis=1))
    dy = rng.standard_normal(y.shape)
    for found, wanted in zip(functional.concat_backward(dy, saved), np.split(dy, [3, 4], axis=1), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (3, 64, 9, 2), (2, 1, 6, 4), (4, 33, 1, 1), (3, 17, 31, 1)])
def test_flatten_has_the_order_of_channels_rows_and_columns(shape, layout):
    x = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    y, saved = functional.flatten(LAYOUTS[layout](x))
    np.testing.assert_array_equal(y, x.reshape(shape[0], -1))
    dx = functional.flatten_backward(np.asfortranarray(y), saved)
    np.testing.assert_array_equal(dx, x)
    assert dx.transpose(0, 2, 3, 1).flags.c_contiguous


def test_flatten_takes_any_rank_from_two_on():
    for shape in [(4, 6), (3, 4, 5), (2, 3, 4, 5, 6)]:
        x = np.random.default_rng(3).standard_normal(shape)
        y, saved = functional.flatten(np.asfortranarray(x))
        np.testing.assert_array_equal(y, x.reshape(shape[0], -1))
        np.testing.assert_array_equal(functional.flatten_backward(y, saved), x)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_layout_kernels_copy_exactly_at_every_level(level, dtype):
    kernels = _ext.load("layout", level)
    rng = np.random.default_rng(4)
    for n, a, b in [(1, 1, 1), (2, 15, 17), (3, 16, 32), (2, 100, 3), (5, 7, 200)]:
        x = rng.standard_normal((n, a, b)).astype(dtype)
        y = np.full((n, b, a), np.nan, dtype)
        kernels.transpose(x, y, 2)
        np.testing.assert_array_equal(y, x.transpose(0, 2, 1))
    x = rng.standard_normal((3, 20, 30, 9)).astype(dtype)
    y = np.full((3, 21, 33, 16), np.nan, dtype)
    kernels.copy_box(x[:, 1:, :, 2:], y[:, :19, 3:, 5:12], 2)
    np.testing.assert_array_equal(y[:, :19, 3:, 5:12], x[:, 1:, :, 2:])
    assert np.isnan(y).sum() == y.size - 3 * 19 * 30 * 7
    with pytest.raises(ValueError, match="side by side"):
        kernels.copy_box(x[..., ::2], y[:, :20, 3:, :5], 2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("zero_pad2d", (X, 2)), ("concat", ([X, 2 * X],)), ("flatten", (channels_last(X),)), ("flatten", (X[0],))],
)
def test_the_reference_agrees(name, arguments):
    for found, wanted in zip(getattr(functional, name)(*arguments)[:1], getattr(reference, name)(*arguments)[:1]):
        np.testing.assert_array_equal(found, wanted)


BAD = [
    ("zero_pad2d", (X, -1), ValueError, "padding must be at least 0, found -1"),
    ("zero_pad2d", (X, (1, 2, -3, 4)), ValueError, "padding must be at least 0, found -3"),
    ("zero_pad2d", (X, (1, 2)), ValueError, r"\(left, right, top, bottom\), found \(1, 2\)"),
    ("zero_pad2d", (X, 1.0), TypeError, "padding must be an integer, found 1.0"),
    ("zero_pad2d", (X, None), TypeError, "padding must be an integer"),
    ("zero_pad2d", (X, 2**40), ValueError, "at most 2147483647"),
    ("zero_pad2d", (X[0], 1), ValueError, "4 dimensions"),
    ("zero_pad2d", (X.astype(int), 1), TypeError, "float32 or float64"),
    ("zero_pad2d", (X[:, :0], 1), ValueError, "dimension of zero"),
    ("concat", ([],), TypeError, "at least one array"),
    ("concat", (X,), TypeError, "a list"),
    ("concat", ([X, X[:1]],), ValueError, r"xs\[0\] \(2, 3, 7, 5\) and xs\[1\] \(1, 3, 7, 5\)"),
    ("concat", ([X, X[..., :4]],), ValueError, "differ in more than their channels"),
    ("concat", ([X, X.astype(np.float64)],), TypeError, r"xs\[1\] is float64 but xs\[0\] is float32"),
    ("concat", ([X, X.tolist()],), TypeError, r"xs\[1\] must be a NumPy array"),
    ("concat", ([X[0]],), ValueError, "expected arrays"),
    ("flatten", (X[0, 0, 0],), ValueError, "at least 2 dimensions"),
    ("flatten", (X > 0,), TypeError, "found bool"),
    ("flatten", ([[1.0]],), TypeError, "NumPy array, found list"),
]


@pytest.mark.parametrize(("name", "arguments", "error", "message"), BAD)
def test_a_bad_call_is_refused_by_name_and_changes_nothing(name, arguments, error, message):
    before = X.copy()
    with pytest.raises(error, match=f"^{name}: .*{message}"):
        getattr(functional, name)(*arguments)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(("name", "arguments"), [("zero_pad2d", (X, 1)), ("concat", ([X, X],)), ("flatten", (X,))])
def test_a_bad_gradient_is_refused(name, arguments):
    y, saved = getattr(functional, name)(*arguments)
    backward = getattr(functional, f"{name}_backward")
    with pytest.raises(ValueError, match=f"^{name}_backward: dy must have the shape"):
        backward(np.ones((*y.shape[:-1], y.shape[-1] + 1), np.float32), saved)
    with pytest.raises(TypeError, match="dy is float64 but x is float32"):
        backward(np.ones(y.shape), saved)
    backward(np.ones(y.shape, np.float32), saved)
