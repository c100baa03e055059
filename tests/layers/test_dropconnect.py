"""DropConnect, and dropout as it was first: masks, means, slopes, and what p says."""

import numpy as np
import pytest

from fastnet import initializers
from fastnet.layers import DropConnect, Dropout, Linear, Sequential, VanillaDropout

X = np.random.default_rng(0).standard_normal((5, 7))
DY = np.random.default_rng(1).standard_normal((5, 3))


def built(p=0.4, dtype=np.float64):
    initializers.manual_seed(4)
    return DropConnect(7, 3, p=p).astype(dtype)


def test_one_mask_over_the_weights_serves_the_whole_batch_and_the_next_one_has_another():
    layer = built()
    layer.bias.data.fill(0)
    masks = []
    for _ in range(2):
        state = layer.rng.bit_generator.state
        w = layer.forward(np.eye(7)).T
        np.testing.assert_allclose(w[w != 0], (layer.weight.data / 0.6)[w != 0])
        layer.rng.bit_generator.state = state
        np.testing.assert_allclose(layer.forward(X), X @ w.T)
        masks.append(w != 0)
    assert (masks[0] != masks[1]).any()


def test_a_share_p_of_the_weights_is_dropped_and_the_mean_stays():
    layer = DropConnect(300, 200, p=0.7)
    w = layer.forward(np.eye(300, dtype=np.float32)).T - layer.bias.data[:, None]
    assert abs((w == 0).mean() - 0.7) < 0.01
    x = np.random.default_rng(2).standard_normal((1, 300)).astype(np.float32)
    drawn = np.array([layer.forward(x)[0] for _ in range(300)])
    away = (drawn.mean(0) - layer.eval().forward(x)[0]) / (drawn.std(0) / np.sqrt(300))
    assert np.abs(away).max() < 4.5


def test_gradients_are_the_slopes_under_the_same_mask():
    layer, x = built(), X.copy()
    state = layer.rng.bit_generator.state

    def value():
        layer.rng.bit_generator.state = state
        return (layer.forward(x) * DY).sum()

    value()
    dx = layer.backward(DY)
    slopes = [dx, *(p.grad.copy() for p in layer.parameters())]
    for array, slope in zip([x, *(p.data for p in layer.parameters())], slopes):
        for i in np.ndindex(array.shape):
            was, values = array[i], []
            for step in (1e-5, -1e-5):
                array[i] = was + step
                values.append(value())
            array[i] = was
            assert slope[i] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6, abs=1e-8)
    assert (layer.weight.grad == 0).any()


def test_in_evaluation_it_is_a_linear_layer_and_draws_nothing():
    layer, twin = built().eval(), Linear(7, 3).astype(np.float64)
    twin.load_state_dict(layer.state_dict())
    state = layer.rng.bit_generator.state
    np.testing.assert_array_equal(layer.forward(X), twin.forward(X))
    assert layer.rng.bit_generator.state == state
    assert repr(layer) == "DropConnect(7, 3, bias=True, p=0.4)"


def test_a_refused_input_draws_no_seed_wherever_the_refusal_comes_from():
    layer = built()
    net = Sequential(layer, Linear(4, 2).astype(np.float64))
    state = layer.rng.bit_generator.state
    for run in (lambda: layer.forward(X[:, :6]), lambda: net.forward(X)):
        with pytest.raises(ValueError, match="expected"):
            run()
        assert layer.rng.bit_generator.state == state


@pytest.mark.parametrize("kind", [DropConnect, VanillaDropout])
@pytest.mark.parametrize(("p", "error"), [(-0.1, ValueError), (1.5, ValueError), ("0.5", TypeError), (True, TypeError)])
def test_p_is_a_probability(kind, p, error):
    with pytest.raises(error, match=f"^{kind.__name__}: p must be"):
        kind(p=p) if kind is VanillaDropout else kind(2, 3, p=p)


@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (7, 9), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_vanilla_dropout_is_inverted_dropout_times_what_is_kept(shape, p):
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    before = x.copy()
    initializers.manual_seed(1)
    inverted = Dropout(p)
    initializers.manual_seed(1)
    vanilla = VanillaDropout(p)
    y, z = inverted.forward(x), vanilla.forward(x)
    np.testing.assert_allclose(z, (1 - p) * y, rtol=1e-6)
    np.testing.assert_allclose(vanilla.backward(x), (1 - p) * inverted.backward(x), rtol=1e-6)
    assert set(np.unique((z == 0) | np.isclose(z, x))) == {True}  # what is kept comes through as it is
    np.testing.assert_allclose(vanilla.eval().forward(x), (1 - p) * x, rtol=1e-6)
    np.testing.assert_array_equal(x, before)
