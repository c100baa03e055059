"""Activations: accuracy at every level, gradients, special numbers as in PyTorch, layouts, threads, refusals."""

import math

import numpy as np
import pytest
from variants import LAYOUTS, numeric_gradients

from fastnet import _ext, functional
from fastnet.functional import maxout, maxout_backward, prelu, prelu_backward
from fastnet.functional.elementwise import add

PLAIN = ["relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "silu", "softplus"]


def normal(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def logistic(x):
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


# name: (the function, its slope, both in float64, the largest error in units of the last place)
EXACT = {
    "elu": (lambda x: x if x > 0 else math.expm1(x), lambda x: 1.0 if x > 0 else math.exp(x), 2),
    "sigmoid": (logistic, lambda x: logistic(x) * logistic(-x), 3),
    "tanh": (math.tanh, lambda x: 1 - math.tanh(x) ** 2, 3),
    "gelu": (
        lambda x: x * normal(x),
        lambda x: normal(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
        0,  # measured against x: Phi is good to 2e-7, as 1 + erf is
    ),
    "silu": (lambda x: x * logistic(x), lambda x: logistic(x) * (1 + x * logistic(-x)), 4),
    "softplus": (
        lambda x: x if x > 20 else max(x, 0) + math.log1p(math.exp(-abs(x))),
        lambda x: 1.0 if x > 20 else logistic(x),
        3,
    ),
}


@pytest.fixture(params=_ext.available_levels())
def level(request, monkeypatch):
    """Run the test with the kernels of each level."""
    kernels = _ext.load("elementwise", request.param)
    for module in (functional.activations, functional.elementwise):
        monkeypatch.setattr(module, "kernels", kernels)
    return request.param


def points():
    """Float32 numbers over the whole range of interest, dense around 0, with lengths that leave a rest behind the vectors."""
    rng = np.random.default_rng(0)
    wide, near, tiny = rng.uniform(-87, 88, 9000), rng.standard_normal(9001) * 2, rng.standard_normal(3000) * 1e-3
    return np.concatenate([wide, near, tiny, 10.0 ** rng.uniform(-30, 0, 997)]).astype(np.float32)


@pytest.mark.parametrize("name", EXACT)
def test_float32_functions_are_within_a_few_units_in_the_last_place(level, name):
    function, slope, ulps = EXACT[name]
    x = points()
    y, saved = getattr(functional, name)(x)
    wanted = np.array([function(float(v)) for v in x])
    with np.errstate(under="ignore"):
        unit = np.spacing(np.maximum(np.abs(wanted), 1e-37).astype(np.float32))
    allowed = 2.5e-7 * np.abs(x) if name == "gelu" else ulps * unit
    assert (np.abs(y - wanted) <= allowed).all()
    dx = getattr(functional, f"{name}_backward")(np.ones_like(x), saved)
    np.testing.assert_allclose(dx, [slope(float(v)) for v in x], rtol=1e-6, atol=4e-7)


@pytest.mark.parametrize("name", EXACT)
def test_float64_functions_are_the_librarys(level, name):
    function, slope, _ = EXACT[name]
    x = points().astype(np.float64)[::7]
    y, saved = getattr(functional, name)(x)
    wanted = np.array([function(v) for v in x])
    assert (np.abs(y - wanted) <= 1e-15 * (1 + x**2 / 2) * np.abs(wanted)).all()
    dx = getattr(functional, f"{name}_backward")(np.ones_like(x), saved)
    np.testing.assert_allclose(dx, [slope(v) for v in x], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_piecewise_linear_functions_are_exact(level, dtype):
    x = np.arange(-40, 41).astype(dtype)
    dy = np.arange(81)[::-1].astype(dtype)
    y, saved = functional.relu(x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(functional.relu_backward(dy, saved), np.where(x > 0, dy, 0))
    y, saved = functional.leaky_relu(x, negative_slope=0.25)
    np.testing.assert_array_equal(y, np.where(x > 0, x, x / 4))
    np.testing.assert_array_equal(functional.leaky_relu_backward(dy, saved), np.where(x > 0, dy, dy / 4))


@pytest.mark.parametrize("name", PLAIN)
def test_gradients_are_the_slopes_of_the_output(name):
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((2, 3, 2, 5, 4)) * 2
    settings = {"leaky_relu": {"negative_slope": 0.2}, "elu": {"alpha": 0.7}}.get(name, {})
    function = getattr(functional, name)
    dx = getattr(functional, f"{name}_backward")(dy, function(x, **settings)[1])
    (slopes,) = numeric_gradients(lambda v: function(v, **settings)[0], [x], dy)
    np.testing.assert_allclose(dx, slopes, atol=1e-7)


# --- PyTorch ----------------------------------------------------------------------------------------------------------

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 90, -90, 200, -200, 20, -20, 20.5, 1e30, -1e30]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("name", PLAIN)
def test_special_numbers_go_where_pytorch_sends_them(level, name, dtype):
    torch = pytest.importorskip("torch")
    x = np.array([*SPECIAL, *np.random.default_rng(0).standard_normal(27)], dtype)
    if name == "gelu":
        x = x[x != np.inf]  # Inf, where PyTorch's vectors make NaN of it
    given = torch.tensor(x, requires_grad=True)
    theirs = getattr(torch.nn.functional, name)(given)
    theirs.sum().backward()
    y, saved = getattr(functional, name)(x)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    dx = getattr(functional, f"{name}_backward")(np.ones_like(x), saved)
    np.testing.assert_allclose(dx, given.grad.numpy(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("slopes", [1, 6])
@pytest.mark.parametrize("shape", [(3, 6, 5, 4), (7, 6), (4, 6, 90, 31)], ids=str)
def test_prelu_is_pytorchs(level, shape, slopes):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape)).astype(np.float32)
    a = rng.standard_normal(slopes).astype(np.float32)
    given, slope = torch.tensor(x, requires_grad=True), torch.tensor(a, requires_grad=True)
    theirs = torch.nn.functional.prelu(given, slope)
    theirs.backward(torch.tensor(dy))
    y, saved = prelu(x, a)
    dx, da = prelu_backward(dy, saved)
    np.testing.assert_array_equal(y, theirs.detach().numpy())
    np.testing.assert_array_equal(dx, given.grad.numpy())
    wanted = np.where(x > 0, 0, x.astype(np.float64) * dy)
    wanted = wanted.sum(tuple(i for i in range(x.ndim) if i != 1)) if slopes > 1 else wanted.sum(keepdims=True).ravel()
    np.testing.assert_allclose(da, wanted, rtol=1e-6, atol=1e-5)


# --- prelu and maxout -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slopes", [1, 3])
def test_prelu_gradients_are_the_slopes_of_the_output(slopes):
    rng = np.random.default_rng(4)
    arrays = [rng.standard_normal((2, 3, 5, 4)), rng.standard_normal(slopes)]
    dy = rng.standard_normal((2, 3, 5, 4))
    found = prelu_backward(dy, prelu(*arrays)[1])
    for gradient, slope in zip(found, numeric_gradients(lambda x, a: prelu(x, a)[0], arrays, dy), strict=True):
        np.testing.assert_allclose(gradient, slope, atol=1e-7)


def test_prelu_with_one_slope_takes_any_shape():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6)).astype(np.float32)
    y, saved = prelu(x, np.array([0.5], np.float32))
    np.testing.assert_array_equal(y, np.where(x > 0, x, x / 2))
    dx, da = prelu_backward(np.ones_like(x), saved)
    assert dx.shape == x.shape
    np.testing.assert_allclose(da, x[x <= 0].sum(dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("pieces", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(3, 12, 5, 4), (7, 24)], ids=str)
def test_maxout_sends_the_gradient_to_the_first_of_equal_maxima(level, shape, pieces):
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, shape).astype(np.float32)
    y, saved = maxout(x, pieces)
    groups = x.reshape(shape[0], shape[1] // pieces, pieces, *shape[2:])
    np.testing.assert_array_equal(y, groups.max(2))
    dy = rng.integers(1, 9, y.shape).astype(np.float32)
    wanted = np.zeros_like(groups)
    np.put_along_axis(wanted, groups.argmax(2, keepdims=True), dy[:, :, None], 2)
    np.testing.assert_array_equal(maxout_backward(dy, saved), wanted.reshape(shape))


@pytest.mark.parametrize("pieces", [2, 3])
def test_maxout_lets_the_first_nan_win(level, pieces):
    x = np.arange(6, dtype=np.float32).reshape(1, 6)
    x[0, 1] = x[0, pieces - 1] = np.nan
    y, saved = maxout(x, pieces)
    assert np.isnan(y[0, 0])
    assert not np.isnan(y[0, 1:]).any()
    assert np.flatnonzero(maxout_backward(np.ones_like(y), saved))[0] == 1


def test_maxout_gradients_are_the_slopes_of_the_output():
    x, dy = (
        np.random.default_rng(1).standard_normal((2, 6, 5, 4)),
        np.random.default_rng(2).standard_normal((2, 2, 5, 4)),
    )
    (slopes,) = numeric_gradients(lambda v: maxout(v, 3)[0], [x], dy)
    np.testing.assert_allclose(maxout_backward(dy, maxout(x, 3)[1]), slopes, atol=1e-7)


# --- bits -------------------------------------------------------------------------------------------------------------


def outputs(x, dy):
    """What every activation computes, forward and backward."""
    found = []
    for name in PLAIN:
        y, saved = getattr(functional, name)(x)
        found += [y, getattr(functional, f"{name}_backward")(dy, saved)]
    y, saved = prelu(x, np.linspace(-1, 1, x.shape[1]).astype(y.dtype))
    found += [y, *prelu_backward(dy, saved), add(x, dy)]
    y, saved = maxout(x, 2)
    return [*found, y, maxout_backward(dy[:, : x.shape[1] // 2], saved)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_any_number_of_threads_gives_the_same_bits(threads, dtype):
    x, dy = np.random.default_rng(0).standard_normal((2, 3, 6, 61, 67)).astype(dtype)
    threads(1)
    wanted = outputs(x, dy)
    for n in (2, 5):
        threads(n)
        for found, one in zip(outputs(x, dy), wanted, strict=True):
            np.testing.assert_array_equal(found, one)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (7, 4), (2, 4, 3)], ids=str)
def test_any_layout_gives_the_same_numbers(shape, layout):
    x, dy = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    if len(shape) == 3:
        pairs = zip(
            (functional.gelu(LAYOUTS[layout](x))[0], add(LAYOUTS[layout](x), dy)), (functional.gelu(x)[0], add(x, dy))
        )
    else:
        pairs = zip(outputs(LAYOUTS[layout](x), LAYOUTS[layout](dy)), outputs(x, dy), strict=True)
    for found, wanted in pairs:  # the last unit: the same number may meet a vector or the rest behind the vectors
        np.testing.assert_allclose(found, wanted, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("name", PLAIN)
def test_contiguous_memory_keeps_its_order(name):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)
    assert getattr(functional, name)(x)[0].flags.c_contiguous
    assert getattr(functional, name)(LAYOUTS["channels last"](x))[0].transpose(0, 2, 3, 1).flags.c_contiguous


def test_a_gradient_in_another_order_than_the_output_is_matched_by_position():
    x, dy = np.random.default_rng(0).standard_normal((2, 2, 3, 5, 4)).astype(np.float32)
    for given, gradient in [(x, LAYOUTS["channels last"](dy)), (LAYOUTS["channels last"](x), dy)]:
        dx = functional.relu_backward(gradient, functional.relu(given)[1])
        np.testing.assert_array_equal(dx, np.where(x > 0, dy, 0))


@pytest.mark.parametrize("shape", [(0, 6, 5, 4), (0, 6)], ids=str)
def test_an_empty_batch_gives_empty_outputs(shape):
    x = np.zeros(shape, np.float32)
    for name in PLAIN:
        y, saved = getattr(functional, name)(x)
        assert y.shape == getattr(functional, f"{name}_backward")(x, saved).shape == shape
    y, saved = prelu(x, np.ones(6, np.float32))
    dx, da = prelu_backward(x, saved)
    assert y.shape == dx.shape == shape
    assert not da.any()
    y, saved = maxout(x, 3)
    assert y.shape == (0, 2, *shape[2:])
    assert maxout_backward(y, saved).shape == shape


# --- refusals ---------------------------------------------------------------------------------------------------------

X = np.ones((4, 6, 5, 3), np.float32)
A = np.ones(6, np.float32)


def refused():
    for name in PLAIN:
        function = getattr(functional, name)
        yield TypeError, function, ([1.0, -1.0],), {}
        yield TypeError, function, (np.arange(5),), {}
        yield TypeError, function, (X.astype(np.float16),), {}
        yield ValueError, function, (X[:, :0],), {}
        backward, saved = getattr(functional, f"{name}_backward"), function(X)[1]
        yield ValueError, backward, (X[:3], saved), {}
        yield ValueError, backward, (X.reshape(4, 6, 15), saved), {}
        yield TypeError, backward, (X.astype(np.float64), saved), {}
        yield TypeError, backward, (None, saved), {}
    yield ValueError, functional.leaky_relu, (X,), {"negative_slope": np.nan}
    yield TypeError, functional.leaky_relu, (X,), {"negative_slope": "0.1"}
    yield TypeError, functional.elu, (X,), {"alpha": None}
    yield TypeError, functional.elu, (X,), {"alpha": True}
    yield ValueError, functional.elu, (X,), {"alpha": np.inf}
    yield TypeError, prelu, (X, 0.25), {}
    yield TypeError, prelu, (X, A.astype(np.float64)), {}
    yield ValueError, prelu, (X, A[:5]), {}
    yield ValueError, prelu, (X, A[:0]), {}
    yield ValueError, prelu, (X, A[None]), {}
    yield ValueError, prelu, (X[0], A), {}
    yield ValueError, prelu_backward, (X[1:], prelu(X, A)[1]), {}
    yield TypeError, prelu_backward, (X.astype(np.float64), prelu(X, A)[1]), {}
    yield ValueError, maxout, (X, 4), {}
    yield ValueError, maxout, (X, 0), {}
    yield ValueError, maxout, (X, -1), {}
    yield ValueError, maxout, (X, 12), {}
    yield TypeError, maxout, (X, 2.0), {}
    yield TypeError, maxout, (X, True), {}
    yield ValueError, maxout, (X[0], 2), {}
    yield ValueError, maxout, (np.ones((2, 1 << 17), np.float32), 1 << 17), {}
    yield ValueError, maxout_backward, (X, maxout(X, 2)[1]), {}
    yield TypeError, maxout_backward, (X[:, :3].astype(np.float64), maxout(X, 2)[1]), {}
    yield ValueError, add, (X, X[:1]), {}
    yield TypeError, add, (X, X.astype(np.float64)), {}
    yield TypeError, add, (X, 1.0), {}


@pytest.mark.parametrize(("error", "operation", "arguments", "settings"), list(refused()))
def test_bad_arguments_are_refused_by_name(error, operation, arguments, settings):
    with pytest.raises(error, match=f"^{operation.__name__}: "):
        operation(*arguments, **settings)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_sums_and_multiples_may_be_written_in_place(level, dtype):
    kernels = _ext.load("elementwise", level)
    a, b = np.random.default_rng(0).standard_normal((2, 70001)).astype(dtype)
    wanted = (a + b) * dtype(0.3)
    kernels.add(a, b, a, 2)
    kernels.scale(a, 0.3, a, 2)
    np.testing.assert_array_equal(a, wanted)
