"""Dropout: how often, which, and always the same."""

import sys

import numpy as np
import pytest
from variants import LAYOUTS

from fastnet import _ext
from fastnet.functional import dropout, dropout2d, dropout2d_backward, dropout_backward


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_rest_scaled_up(p):
    y, _ = dropout(np.ones((400, 1000), np.float32), p, seed=3)
    dropped = (y == 0).mean()
    assert abs(dropped - p) < 5 * np.sqrt(p * (1 - p) / y.size)
    np.testing.assert_array_equal(y[y != 0], np.float32(1 / (1 - p)))


def test_neighbours_rows_and_seeds_are_independent():
    size = 1 << 18
    x = np.ones(size, np.float32)
    a, b = dropout(x, seed=1)[0] - 1, dropout(x, seed=2)[0] - 1
    limit = 5 / np.sqrt(size)
    for lag in (1, 2, 16, 1000, 1 << 14):
        assert abs((a[lag:] * a[:-lag]).mean()) < limit
    assert abs((a * b).mean()) < limit


def test_bits_of_neighbouring_seeds_are_balanced_at_every_position():
    kept = np.mean([dropout(np.ones(50, np.float32), seed=s)[0] for s in range(2000)], axis=0)
    assert np.abs(kept - 1).max() < 5 / np.sqrt(2000)


@pytest.mark.parametrize("pair", [(dropout, dropout_backward), (dropout2d, dropout2d_backward)])
def test_the_gradient_goes_through_the_same_mask(pair):
    forward, backward = pair
    x = np.ones((5, 6, 4, 3))
    y, saved = forward(x, 0.3, seed=11)
    np.testing.assert_array_equal(backward(x, saved), y)


def test_maps_are_dropped_whole():
    y, _ = dropout2d(np.ones((90, 70, 2, 3), np.float32), 0.4, seed=5)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :, :1, :1], y.shape))
    assert abs((y == 0).mean() - 0.4) < 0.03


@pytest.mark.parametrize("forward", [dropout, dropout2d])
def test_without_training_or_with_p_0_the_input_comes_back(forward):
    x = np.ones((5, 6, 4, 3), np.float32)
    assert forward(x, training=False)[0] is x
    assert forward(x, 0)[0] is x


@pytest.mark.parametrize("forward", [dropout, dropout2d])
def test_p_1_drops_everything(forward):
    assert not forward(np.ones((5, 6, 4, 3)), 1)[0].any()


def test_what_is_not_a_number_stays_so_even_dropped():
    x = np.full(1000, np.nan, np.float32)
    x[500:] = np.inf
    y, _ = dropout(x, 0.5)
    assert np.isnan(y[:500]).all()
    assert 150 < np.isnan(y[500:]).sum() < 350


@pytest.mark.parametrize("level", _ext.available_levels())
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_levels_threads_and_dtypes_draw_the_same_mask(monkeypatch, threads, level, dtype):
    x = np.ones((3, 5, 71, 67), dtype)
    wanted = dropout(x, 0.25, seed=(1 << 64) - 1)[0]
    monkeypatch.setattr(sys.modules[dropout.__module__], "kernels", _ext.load("elementwise", level))
    for n in (1, 3):
        threads(n)
        found = dropout(x, 0.25, seed=(1 << 64) - 1)[0]
        np.testing.assert_array_equal(found, wanted)
        single = dropout(x.astype(np.float32), 0.25, seed=(1 << 64) - 1)[0]
        np.testing.assert_array_equal(single > 0, wanted > 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (7, 4), (2, 3, 5)], ids=str)
def test_any_layout_gives_the_same_bits(shape, layout):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(dropout(LAYOUTS[layout](x), seed=9)[0], dropout(x, seed=9)[0])
    if x.ndim == 4:
        np.testing.assert_array_equal(dropout2d(LAYOUTS[layout](x), seed=9)[0], dropout2d(x, seed=9)[0])


@pytest.mark.parametrize("forward", [dropout, dropout2d])
def test_an_empty_batch_gives_an_empty_output(forward):
    assert forward(np.zeros((0, 3, 4, 5)))[0].shape == (0, 3, 4, 5)


X = np.ones((4, 6, 5, 3), np.float32)


@pytest.mark.parametrize("operation", [dropout, dropout2d])
@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (TypeError, {"x": [1.0]}),
        (TypeError, {"x": X.astype(np.int32)}),
        (TypeError, {"x": X.astype(bool)}),
        (TypeError, {"x": X.astype(complex)}),
        (TypeError, {"x": None}),
        (ValueError, {"x": X[:, :0]}),
        (ValueError, {"x": X, "p": -0.1}),
        (ValueError, {"x": X, "p": 1.1}),
        (ValueError, {"x": X, "p": np.nan}),
        (ValueError, {"x": X, "p": np.inf}),
        (TypeError, {"x": X, "p": "0.5"}),
        (TypeError, {"x": X, "p": None}),
        (TypeError, {"x": X, "p": True}),
        (ValueError, {"x": X, "seed": -1}),
        (ValueError, {"x": X, "seed": 1 << 64}),
        (TypeError, {"x": X, "seed": 1.0}),
        (TypeError, {"x": X, "seed": None}),
        (TypeError, {"x": X, "seed": True}),
    ],
)
def test_bad_arguments_are_refused_by_name(operation, error, arguments):
    with pytest.raises(error, match=f"^{operation.__name__}: "):
        operation(**arguments)


@pytest.mark.parametrize("pair", [(dropout, dropout_backward), (dropout2d, dropout2d_backward)])
def test_bad_gradients_are_refused(pair):
    saved = pair[0](X)[1]
    for error, dy in [(ValueError, X[:3]), (TypeError, X.astype(np.float64)), (TypeError, [1.0])]:
        with pytest.raises(error, match=f"^{pair[1].__name__}: "):
            pair[1](dy, saved)
    with pytest.raises(ValueError, match=r"^dropout2d: x must have 4 dimensions"):
        dropout2d(X[0])
