"""The course's nets: the losses that the notebooks print, gradients, regularisation, modes."""

import numpy as np
import pytest
from course import draws, norm_error

from fastnet.cs231n.classifiers.cnn import ThreeLayerConvNet
from fastnet.cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from fastnet.cs231n.gradient_check import eval_numerical_gradient


def seed(n):
    np.random.seed(n)  # noqa: NPY002 (weights come from this generator, as in the course)


def test_the_two_layer_net_gives_the_notebook_s_losses():
    n, d, h, c = 3, 5, 50, 7
    net = TwoLayerNet(input_dim=d, hidden_dim=h, num_classes=c, weight_scale=1e-3)
    net.params["W1"] = np.linspace(-0.7, 0.3, num=d * h).reshape(d, h)
    net.params["b1"] = np.linspace(-0.1, 0.9, num=h)
    net.params["W2"] = np.linspace(-0.3, 0.4, num=h * c).reshape(h, c)
    net.params["b2"] = np.linspace(-0.9, 0.1, num=c)
    x, y = np.linspace(-5.5, 4.5, num=n * d).reshape(d, n).T, np.array([0, 5, 1])
    assert net.loss(x).shape == (n, c)
    assert net.loss(x, y)[0] == pytest.approx(3.4702243556, abs=1e-10)
    net.reg = 1.0
    assert net.loss(x, y)[0] == pytest.approx(26.5948426952, abs=1e-10)


def test_the_fully_connected_net_gives_the_notebook_s_initial_losses():
    seed(231)
    x, y = np.random.randn(2, 15), np.random.randint(10, size=2)  # noqa: NPY002
    for reg, wanted in ((0, 2.3004790897684924), (3.14, 7.052114776533016)):
        net = FullyConnectedNet([20, 30], input_dim=15, reg=reg, weight_scale=5e-2, dtype=np.float64)
        assert net.loss(x, y)[0] == pytest.approx(wanted, rel=1e-14)


def check_net(net, x, y, tolerance, h=1e-5):
    """Every gradient of a net against central differences."""
    _, grads = net.loss(x, y)
    assert set(grads) == set(net.params)
    for name, found in grads.items():
        wanted = eval_numerical_gradient(lambda _: net.loss(x, y)[0], net.params[name], verbose=False, h=h)
        small = max(np.abs(wanted).max(), np.abs(found).max()) < 1e-8  # the bias before a batch norm has no slope
        assert small or norm_error(found, wanted) < tolerance, name
        assert found.dtype == net.params[name].dtype


@pytest.mark.parametrize("reg", [0.0, 0.7])
def test_gradients_of_the_two_layer_net(reg):
    seed(1)
    net = TwoLayerNet(input_dim=12, hidden_dim=11, num_classes=7, weight_scale=0.5, reg=reg)
    check_net(net, draws(0)(3, 4, 3), np.array([0, 5, 1]), 1e-7)


@pytest.mark.parametrize("reg", [0.0, 3.14])
@pytest.mark.parametrize("keep", [1, 0.6])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_gradients_of_the_fully_connected_net(normalization, keep, reg):
    seed(231)
    net = FullyConnectedNet(
        [9, 8], input_dim=10, num_classes=7, dropout_keep_ratio=keep, normalization=normalization, reg=reg,
        weight_scale=5e-2, dtype=np.float64, seed=123
    )  # fmt: skip
    for name in ("b1", "b2"):
        # an example whose units are all dropped or off must not stand on the kink of the next ReLU
        net.params[name] = 0.1 * draws(6)(*net.params[name].shape)
    check_net(net, draws(3)(4, 2, 5), np.array([4, 0, 6, 1]), 1e-6)


@pytest.mark.parametrize("reg", [0.0, 0.5])
@pytest.mark.parametrize(("size", "filter_size"), [((3, 6, 8), 3), ((2, 7, 5), 2), ((1, 5, 6), 5)])
def test_gradients_of_the_three_layer_convnet(size, filter_size, reg):
    seed(231)
    net = ThreeLayerConvNet(
        size, num_filters=3, filter_size=filter_size, hidden_dim=7, weight_scale=0.2, reg=reg, dtype=np.float64
    )
    check_net(net, draws(4)(2, *size), np.array([3, 8]), 1e-6, h=1e-6)


def test_an_untrained_net_s_loss_is_at_chance_and_regularisation_raises_it():
    x, y = draws(1)(50, 3, 32, 32), np.random.default_rng(0).integers(0, 10, 50)
    for net in (ThreeLayerConvNet(), FullyConnectedNet([30, 20]), TwoLayerNet()):
        plain, _ = net.loss(x, y)
        assert plain == pytest.approx(np.log(10), abs=0.05)
        net.reg = 0.5
        l2 = sum(0.25 * (w.astype(float) ** 2).sum() for name, w in net.params.items() if name.startswith("W"))
        assert net.loss(x, y)[0] == pytest.approx(plain + l2, rel=1e-5)


def test_weights_come_from_numpy_s_generator_layer_by_layer():
    seed(5)
    net = FullyConnectedNet([4, 6], input_dim=3, num_classes=2, normalization="batchnorm", dtype=np.float64)
    seed(5)
    for name, shape in (("W1", (3, 4)), ("W2", (4, 6)), ("W3", (6, 2))):
        np.testing.assert_array_equal(net.params[name], 1e-2 * np.random.randn(*shape))  # noqa: NPY002
    assert not net.params["b2"].any()
    assert (net.params["gamma2"] == 1).all()
    assert "gamma3" not in net.params


def test_without_labels_a_net_is_in_test_mode():
    net = FullyConnectedNet([9], input_dim=6, num_classes=4, dropout_keep_ratio=0.5, normalization="batchnorm")
    x, y = draws(2)(8, 6), np.arange(8) % 4
    net.loss(x, y)
    before = {name: array.copy() for name, array in net.bn_params[0].items() if name != "mode"}
    np.testing.assert_array_equal(net.loss(x), net.loss(x))  # no mask is drawn
    np.testing.assert_array_equal(net.loss(x)[:1], net.loss(x[:1]))  # no statistics are taken
    for name, array in before.items():
        np.testing.assert_array_equal(net.bn_params[0][name], array)
    assert net.loss(x).dtype == np.float32


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"normalization must be one of .* found 'batch'"):
        FullyConnectedNet([5], normalization="batch")
    with pytest.raises(ValueError, match="probability to KEEP"):
        FullyConnectedNet([5], dropout_keep_ratio=0)
    with pytest.raises(ValueError, match="too small for filters of 6"):
        ThreeLayerConvNet((3, 2, 9), filter_size=6)
