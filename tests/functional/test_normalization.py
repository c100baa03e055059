"""Batch, layer and group norm: accuracy at every level, gradients, running statistics, layouts, threads, refusals."""

import numpy as np
import pytest
from variants import LAYOUTS, numeric_gradients

from fastnet import _ext, functional
from fastnet.functional import (
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
)

# channels: one, few, a power of two, more than a row of the kernel, many; pixels: few, and enough for several chunks
SHAPES = [
    (3, 1, 5, 4),
    (4, 3, 5, 7),
    (3, 16, 90, 31),
    (2, 270, 5, 11),
    (5, 68, 13, 31),
    (33, 10),
    (7, 300),
    (2, 5),
    (9000, 13),
]
TOLERANCE = {np.float32: 4e-7, np.float64: 4e-14}


def draw(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(shape) * 2 + 5).astype(dtype)
    gamma, beta = rng.standard_normal((2, shape[1])).astype(dtype)
    return x, gamma, beta, rng.standard_normal(shape).astype(dtype)


def axes(x):
    return (0, *range(2, x.ndim))


def spread(p, ndim):
    """A vector over the channels, to be broadcast over x."""
    return p.reshape(1, -1, *[1] * (ndim - 2))


def expected_batch_norm(x, gamma, beta, dy, eps=1e-5):
    """y, dx, dgamma, dbeta in float64, by the formulas; and the size of what dx is the difference of."""
    x, gamma, beta, dy = (a.astype(np.float64) for a in (x, gamma, beta, dy))
    over = {"axis": axes(x), "keepdims": True}
    inverse = 1 / np.sqrt(x.var(**over) + eps)
    xhat = (x - x.mean(**over)) * inverse
    dx = spread(gamma, x.ndim) * inverse * (dy - dy.mean(**over) - xhat * (dy * xhat).mean(**over))
    y = xhat * spread(gamma, x.ndim) + spread(beta, x.ndim)
    size = np.abs(spread(gamma, x.ndim) * inverse * dy).max()
    return {"y": y, "dx": dx, "dgamma": (dy * xhat).sum(axes(x)), "dbeta": dy.sum(axes(x))}, {"dx": size}


def assert_near(found, wanted, tolerance, what="", size=0.0):
    """No number is further off than tolerance times the largest."""
    assert np.abs(found - wanted).max() <= tolerance * max(np.abs(wanted).max(), size), what


@pytest.mark.parametrize("level", _ext.available_levels())
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: d.__name__)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_is_accurate_at_every_level(monkeypatch, level, dtype, shape):
    monkeypatch.setattr(functional.normalization, "kernels", _ext.load("norm", level))
    x, gamma, beta, dy = draw(shape, dtype)
    y, saved = batch_norm(x, gamma, beta)
    found = (y, *batch_norm_backward(dy, saved))
    wanted, sizes = expected_batch_norm(x, gamma, beta, dy)
    for what, one in zip(wanted, found, strict=True):
        assert one.dtype == dtype
        assert_near(one, wanted[what], TOLERANCE[dtype], what, sizes.get(what, 0))


@pytest.mark.parametrize("level", _ext.available_levels())
@pytest.mark.parametrize("shape", [(4, 3, 15, 17), (6, 20, 70, 63), (300, 7)], ids=str)
def test_a_mean_a_million_times_the_deviation_does_not_harm_batch_norm(monkeypatch, level, shape):
    monkeypatch.setattr(functional.normalization, "kernels", _ext.load("norm", level))
    x, gamma, beta, dy = draw(shape, np.float32)
    x = (1e4 + 1e-2 * (x - 5)).astype(np.float32)
    running = np.zeros(shape[1], np.float32), np.zeros(shape[1], np.float32)
    y, saved = batch_norm(x, gamma, beta, *running, momentum=1)
    found = (y, *batch_norm_backward(dy, saved))
    wanted, _ = expected_batch_norm(x, gamma, beta, dy)
    for what, one in zip(wanted, found, strict=True):
        assert_near(one, wanted[what], 1e-6, what)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(running[0], exact.mean(axes(x)), rtol=1e-7)
    np.testing.assert_allclose(running[1], exact.var(axes(x), ddof=1), rtol=1e-6)


@pytest.mark.parametrize("normalise", ["layer", "group"])
def test_a_mean_a_million_times_the_deviation_does_not_harm_the_others(normalise):
    x, *_ = draw((3, 6, 37, 41), np.float32)
    x = (1e4 + 1e-2 * (x - 5)).astype(np.float32)
    y = layer_norm(x, x.shape[1:])[0] if normalise == "layer" else group_norm(x, 2)[0]
    exact = x.astype(np.float64).reshape(3, 1 if normalise == "layer" else 2, -1)
    wanted = (exact - exact.mean(2, keepdims=True)) / np.sqrt(exact.var(2, keepdims=True) + 1e-5)
    assert_near(y, wanted.reshape(x.shape), 1e-6)


def test_squares_beyond_the_range_of_float32_do_no_harm():
    x, gamma, beta, dy = draw((40, 5, 9, 11), np.float32)
    large = (x * np.float32(1e30)).astype(np.float32)
    y, _ = batch_norm(large, gamma, beta)
    assert_near(y, expected_batch_norm(large, gamma, beta, dy)[0]["y"], 1e-6)


def test_a_first_pixel_far_off_does_not_spoil_the_variance():
    x, gamma, beta, dy = draw((30, 4, 20, 21), np.float32)
    x[0, :, 0, 0] = 1e5
    assert_near(batch_norm(x, gamma, beta)[0], expected_batch_norm(x, gamma, beta, dy)[0]["y"], 1e-6)


def test_a_constant_channel_gives_beta():
    x, gamma, beta, _ = draw((6, 4, 5, 3), np.float32)
    x[:, 2] = 0.1
    np.testing.assert_array_equal(batch_norm(x, gamma, beta)[0][:, 2], np.full((6, 5, 3), beta[2]))


CASES = [
    (batch_norm, batch_norm_backward, (5, 3, 2, 4), (3,), {}),
    (batch_norm, batch_norm_backward, (7, 4), (4,), {"eps": 1e-2}),
    (layer_norm, layer_norm_backward, (3, 4, 2, 5), (4, 2, 5), {"normalized_shape": (4, 2, 5)}),
    (layer_norm, layer_norm_backward, (3, 2, 7), (7,), {"normalized_shape": 7}),
    (layer_norm, layer_norm_backward, (4, 3, 2, 5), (2, 5), {"normalized_shape": [2, 5]}),
    (group_norm, group_norm_backward, (2, 6, 3, 4), (6,), {"num_groups": 3}),
    (group_norm, group_norm_backward, (5, 6), (6,), {"num_groups": 2, "eps": 1e-3}),
    (group_norm, group_norm_backward, (2, 5, 3, 4), (5,), {"num_groups": 1}),
]


@pytest.mark.parametrize(("forward", "backward", "shape", "weights", "settings"), CASES)
def test_gradients_are_the_slopes_of_the_output(forward, backward, shape, weights, settings):
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(s) for s in (shape, weights, weights)]
    dy = rng.standard_normal(shape)

    def output(x, gamma, beta):
        return forward(x, gamma=gamma, beta=beta, **settings)[0]

    found = backward(dy, forward(arrays[0], gamma=arrays[1], beta=arrays[2], **settings)[1])
    for gradient, slope in zip(found, numeric_gradients(output, arrays, dy), strict=True):
        assert_near(gradient, slope, 1e-7)


def test_gradients_with_given_statistics_are_the_slopes_of_the_output():
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(s) for s in ((4, 3, 2, 5), (3,), (3,))]
    mean, var, dy = rng.standard_normal(3), rng.uniform(0.5, 2, 3), rng.standard_normal((4, 3, 2, 5))

    def output(x, gamma, beta):
        return batch_norm(x, gamma, beta, mean, var, training=False)[0]

    found = batch_norm_backward(dy, batch_norm(*arrays, mean, var, training=False)[1])
    for gradient, slope in zip(found, numeric_gradients(output, arrays, dy), strict=True):
        assert_near(gradient, slope, 1e-7)


# --- PyTorch ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (9, 6)], ids=str)
def test_running_statistics_follow_pytorch_over_several_steps(dtype, shape):
    torch = pytest.importorskip("torch")
    x, gamma, beta, dy = draw(shape, dtype)
    mean, var = np.zeros(shape[1], dtype), np.ones(shape[1], dtype)
    their_mean, their_var = torch.zeros(shape[1], dtype=torch.float64), torch.ones(shape[1], dtype=torch.float64)
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    for step in range(6):
        x, training = x * dtype(1.1) - 1, step < 5
        y, saved = batch_norm(x, gamma, beta, mean, var, training=training, momentum=0.3)
        given = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in (x, gamma, beta)]
        theirs = torch.nn.functional.batch_norm(given[0], their_mean, their_var, *given[1:], training, 0.3)
        theirs.backward(torch.tensor(dy.astype(np.float64)))
        assert_near(y, theirs.detach().numpy(), tolerance)
        assert_near(mean, their_mean.numpy(), tolerance)
        assert_near(var, their_var.numpy(), tolerance)
        for found, other in zip(batch_norm_backward(dy, saved), given, strict=True):
            assert_near(found, other.grad.numpy(), 10 * tolerance)


LARGE = [
    (layer_norm, layer_norm_backward, (3, 16, 13, 29), (16, 13, 29), {"normalized_shape": (16, 13, 29)}),
    (layer_norm, layer_norm_backward, (700, 90), (90,), {"normalized_shape": 90}),
    (group_norm, group_norm_backward, (3, 20, 47, 41), (20,), {"num_groups": 4}),
]


@pytest.mark.parametrize("level", _ext.available_levels())
@pytest.mark.parametrize(("forward", "backward", "shape", "weights", "settings"), [*CASES[2:], *LARGE])
def test_layer_and_group_norm_are_pytorchs_at_every_level(
    monkeypatch, level, forward, backward, shape, weights, settings
):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(functional.normalization, "kernels", _ext.load("norm", level))
    rng = np.random.default_rng(1)
    x, gamma, beta, dy = (rng.standard_normal(s).astype(np.float32) for s in (shape, weights, weights, shape))
    y, saved = forward(x, gamma=gamma, beta=beta, **settings)
    given = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    eps = settings.get("eps", 1e-5)
    if forward is layer_norm:
        theirs = torch.nn.functional.layer_norm(given[0], weights, *given[1:], eps)
    else:
        theirs = torch.nn.functional.group_norm(given[0], settings["num_groups"], *given[1:], eps)
    theirs.backward(torch.tensor(dy))
    assert_near(y, theirs.detach().numpy(), 2e-6)
    for found, other in zip(backward(dy, saved), given, strict=True):
        assert_near(found, other.grad.numpy(), 4e-6)


# --- bits -------------------------------------------------------------------------------------------------------------


def outputs(x, dy, gamma, beta):
    """Everything that the three normalisations compute, forward and backward."""
    running = np.zeros(x.shape[1], x.dtype.newbyteorder("=")), np.ones(x.shape[1], x.dtype.newbyteorder("="))
    y, saved = batch_norm(x, gamma, beta, *running)
    found = [y, *running, *batch_norm_backward(dy, saved), batch_norm(x, gamma, beta, *running, training=False)[0]]
    y, saved = group_norm(x, 2, gamma, beta)
    found += [y, *group_norm_backward(dy, saved)]
    weights = np.full(x.shape[1:], 0.7, y.dtype)
    y, saved = layer_norm(x, x.shape[1:], weights, weights)
    return [*found, y, *layer_norm_backward(dy, saved)]


@pytest.mark.parametrize("shape", [(5, 6, 41, 67), (700, 90), (3, 128, 19, 17)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_any_number_of_threads_gives_the_same_bits(threads, shape, dtype):
    x, gamma, beta, dy = draw(shape, dtype)
    threads(1)
    wanted = outputs(x, dy, gamma, beta)
    for n in (2, 5):
        threads(n)
        for found, one in zip(outputs(x, dy, gamma, beta), wanted, strict=True):
            np.testing.assert_array_equal(found, one)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (7, 4)], ids=str)
def test_any_layout_gives_the_same_bits(shape, layout):
    x, gamma, beta, dy = draw(shape, np.float32)
    change = LAYOUTS[layout]
    found = outputs(change(x), change(dy), change(gamma), change(beta))
    for one, wanted in zip(found, outputs(x, dy, gamma, beta), strict=True):
        np.testing.assert_array_equal(one, wanted)


def test_a_broadcast_input_is_read_as_what_it_looks_like():
    _, gamma, beta, dy = draw((4, 6, 5, 3), np.float32)
    x = np.broadcast_to(np.arange(30, dtype=np.float32).reshape(1, 6, 5, 1), dy.shape)
    for one, wanted in zip(outputs(x, dy, gamma, beta), outputs(x.copy(), dy, gamma, beta), strict=True):
        np.testing.assert_array_equal(one, wanted)


def test_feature_maps_stay_channels_last():
    x, gamma, beta, dy = draw((4, 6, 5, 3), np.float32)
    for y in outputs(x, dy, gamma, beta):
        assert y.ndim != 4 or y.transpose(0, 2, 3, 1).flags.c_contiguous


# --- NaN and Inf ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pixels", [(5, 3), (70, 65)], ids=str)
def test_a_number_that_is_none_spoils_its_own_statistics_only(bad, pixels):
    x, gamma, beta, _ = draw((4, 6, *pixels), np.float32)
    x[2, 3, 4, 1] = bad
    mean, var = np.zeros(6, np.float32), np.ones(6, np.float32)
    y, _ = batch_norm(x, gamma, beta, mean, var)
    assert np.isnan(y[:, 3]).all()
    assert np.isfinite(np.delete(y, 3, axis=1)).all()
    assert list(np.flatnonzero(~np.isfinite(mean))) == list(np.flatnonzero(np.isnan(var))) == [3]
    assert np.isnan(bad) or mean[3] == bad
    y, _ = group_norm(x, 3, gamma, beta)
    assert np.isnan(y[2, 2:4]).all()
    assert np.isnan(y).sum() == y[2, 2:4].size
    y, _ = layer_norm(x, x.shape[1:])
    assert np.isnan(y[2]).all()
    assert np.isnan(y).sum() == y[2].size


# --- edges and refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 6, 5, 4), (0, 6)], ids=str)
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(shape):
    x, gamma, beta = np.zeros(shape, np.float32), np.ones(6, np.float32), np.ones(6, np.float32)
    mean, var = np.full(6, 3, np.float32), np.full(6, 2, np.float32)
    for y, saved, backward in [
        (*batch_norm(x, gamma, beta, mean, var), batch_norm_backward),
        (*group_norm(x, 2, gamma, beta), group_norm_backward),
        (*layer_norm(x, shape[1:], np.ones(shape[1:], np.float32)), layer_norm_backward),
    ]:
        assert y.shape == shape
        dx, *gradients = backward(x, saved)
        assert dx.shape == shape
        assert not any(g.any() for g in gradients if g is not None)
    assert (mean == 3).all()
    assert (var == 2).all()


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)], ids=str)
def test_batch_norm_over_one_value_is_refused_and_changes_nothing(shape):
    x, mean, var = np.ones(shape), np.full(3, 2.0), np.full(3, 4.0)
    with pytest.raises(ValueError, match=r"batch_norm: training needs at least 2 values per channel, found 1"):
        batch_norm(x, None, None, mean, var)
    assert (mean == 2).all()
    assert (var == 4).all()
    np.testing.assert_allclose(batch_norm(x, None, None, mean, var, training=False)[0], -0.5, rtol=1e-5)


X = np.ones((4, 6, 5, 3), np.float32)
R = np.ones((4, 6), np.float32)
V = np.ones(6, np.float32)


def fixed(v):
    """A vector that cannot be written."""
    v = v.copy()
    v.flags.writeable = False
    return v


REFUSED = [
    (TypeError, batch_norm, ([[1.0, 2.0]],), {}),
    (TypeError, batch_norm, (X.astype(np.int64),), {}),
    (TypeError, batch_norm, (X.astype(bool),), {}),
    (TypeError, batch_norm, (X.astype(complex),), {}),
    (TypeError, batch_norm, (X.astype(object),), {}),
    (TypeError, batch_norm, (X.astype(np.float16),), {}),
    (ValueError, batch_norm, (X[0],), {}),
    (ValueError, batch_norm, (V,), {}),
    (ValueError, batch_norm, (X[None],), {}),
    (ValueError, batch_norm, (X[:, :0],), {}),
    (ValueError, batch_norm, (X[:, :, :0],), {}),
    (ValueError, batch_norm, (X, V[:5]), {}),
    (ValueError, batch_norm, (X, None, V[:5]), {}),
    (ValueError, batch_norm, (X, V[None]), {}),
    (TypeError, batch_norm, (X, V.astype(np.float64)), {}),
    (TypeError, batch_norm, (X, [1.0] * 6), {}),
    (TypeError, batch_norm, (X, None, V.astype(np.int32)), {}),
    (ValueError, batch_norm, (X, V, V, V), {}),
    (ValueError, batch_norm, (X, V, V, None, V), {}),
    (ValueError, batch_norm, (X, V, V), {"training": False}),
    (ValueError, batch_norm, (X, V, V, V[:3].copy(), V.copy()), {}),
    (ValueError, batch_norm, (X, V, V, V.copy(), V[:3].copy()), {}),
    (TypeError, batch_norm, (X, V, V, V.astype(np.float64), V.copy()), {}),
    (ValueError, batch_norm, (X, V, V, fixed(V), V.copy()), {}),
    (ValueError, batch_norm, (X, V, V, V.copy(), fixed(V)), {}),
    (ValueError, batch_norm, (X, V, V, np.ones(12, np.float32)[::2], V.copy()), {}),
    (ValueError, batch_norm, (X,), {"momentum": 1.5}),
    (ValueError, batch_norm, (X,), {"momentum": -0.1}),
    (TypeError, batch_norm, (X,), {"momentum": None}),
    (ValueError, batch_norm, (X,), {"eps": -1e-5}),
    (ValueError, batch_norm, (X,), {"eps": np.nan}),
    (ValueError, batch_norm, (X,), {"eps": np.inf}),
    (TypeError, batch_norm, (X,), {"eps": "small"}),
    (TypeError, batch_norm, (X,), {"eps": True}),
    (TypeError, layer_norm, (None, 3), {}),
    (ValueError, layer_norm, (X, 4), {}),
    (ValueError, layer_norm, (X, (6, 5)), {}),
    (ValueError, layer_norm, (X, ()), {}),
    (ValueError, layer_norm, (X, X.shape), {}),
    (ValueError, layer_norm, (V, 6), {}),
    (TypeError, layer_norm, (X, 3.0), {}),
    (ValueError, layer_norm, (X, 0), {}),
    (ValueError, layer_norm, (X, 3, V[:2]), {}),
    (TypeError, layer_norm, (X, 3, V[:3], np.ones(3)), {}),
    (ValueError, layer_norm, (X, 3), {"eps": -1}),
    (TypeError, group_norm, (X.astype(np.uint8), 2), {}),
    (ValueError, group_norm, (X[0], 2), {}),
    (ValueError, group_norm, (X, 4), {}),
    (ValueError, group_norm, (X, 0), {}),
    (ValueError, group_norm, (X, -2), {}),
    (ValueError, group_norm, (X, 12), {}),
    (TypeError, group_norm, (X, 2.0), {}),
    (ValueError, group_norm, (X, 2, V[:2]), {}),
    (TypeError, group_norm, (X, 2, V, V.astype(np.float64)), {}),
    (ValueError, group_norm, (X, 2), {"eps": np.inf}),
    (ValueError, batch_norm_backward, (X[:2], batch_norm(X)[1]), {}),
    (ValueError, batch_norm_backward, (R, batch_norm(X)[1]), {}),
    (TypeError, batch_norm_backward, (X.astype(np.float64), batch_norm(X)[1]), {}),
    (ValueError, layer_norm_backward, (X[:, :3], layer_norm(X, 3)[1]), {}),
    (TypeError, layer_norm_backward, (X.astype(np.float64), layer_norm(X, 3)[1]), {}),
    (ValueError, group_norm_backward, (X[..., :2], group_norm(X, 2)[1]), {}),
    (TypeError, group_norm_backward, (X.tolist(), group_norm(X, 2)[1]), {}),
]


@pytest.mark.parametrize(("error", "operation", "arguments", "settings"), REFUSED)
def test_bad_arguments_are_refused_by_name_and_change_nothing(error, operation, arguments, settings):
    before = [np.copy(a) for a in arguments if isinstance(a, np.ndarray)]
    with pytest.raises(error, match=f"^{operation.__name__}: "):
        operation(*arguments, **settings)
    for array, kept in zip([a for a in arguments if isinstance(a, np.ndarray)], before, strict=True):
        np.testing.assert_array_equal(array, kept)
