"""Initial weights: the variances the papers ask for, and one generator behind all of them."""

import math

import numpy as np
import pytest

import fastnet
from fastnet import initializers

LINEAR, CONV = (300, 500), (64, 48, 5, 3)  # fans (500, 300) and (720, 960)
RANDOM = [
    "gaussian",
    "xavier_normal",
    "xavier_uniform",
    "he_normal",
    "he_uniform",
    "torch_uniform",
    "sparse",
    "orthogonal",
]


def draw(name, shape, **options):
    return getattr(initializers, name)(shape, np.random.default_rng(0), **options)


def test_fans_of_linear_and_convolution_weights():
    assert initializers.fans(LINEAR) == (500, 300)
    assert initializers.fans(CONV) == (48 * 15, 64 * 15)
    assert initializers.fans((64, 1, 5, 3), groups=32) == (15, 2 * 15)


@pytest.mark.parametrize("shape", [(7,), (), (3, 0)])
def test_fans_refuse_what_is_not_a_weight(shape):
    with pytest.raises(ValueError, match="two or more positive dimensions"):
        initializers.fans(shape)


@pytest.mark.parametrize(
    ("name", "options", "variance"),
    [
        ("gaussian", {}, lambda fan_in, fan_out: 1e-4),
        ("gaussian", {"std": 0.5}, lambda fan_in, fan_out: 0.25),
        ("xavier_normal", {}, lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        ("xavier_normal", {"mode": "fan_in"}, lambda fan_in, fan_out: 1 / fan_in),
        ("xavier_normal", {"gain": 5 / 3}, lambda fan_in, fan_out: 25 / 9 * 2 / (fan_in + fan_out)),
        ("xavier_uniform", {}, lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        ("xavier_uniform", {"mode": "fan_in"}, lambda fan_in, fan_out: 1 / fan_in),
        ("he_normal", {}, lambda fan_in, fan_out: 2 / fan_in),
        ("he_normal", {"mode": "fan_out"}, lambda fan_in, fan_out: 2 / fan_out),
        ("he_normal", {"negative_slope": 0.5}, lambda fan_in, fan_out: 2 / (1.25 * fan_in)),
        ("he_uniform", {}, lambda fan_in, fan_out: 2 / fan_in),
        ("torch_uniform", {}, lambda fan_in, fan_out: 1 / (3 * fan_in)),
    ],
)
@pytest.mark.parametrize("shape", [LINEAR, CONV])
def test_variance_is_the_one_of_the_paper(name, options, variance, shape):
    w = draw(name, shape, **options).astype(np.float64)
    wanted = variance(*initializers.fans(shape))
    spread = math.sqrt(2 / w.size)  # of the estimate of a Gaussian's variance
    assert w.var() == pytest.approx(wanted, rel=5 * spread)
    assert abs(w.mean()) < 5 * math.sqrt(wanted / w.size)


@pytest.mark.parametrize(
    ("name", "bound"),
    [("torch_uniform", 1), ("he_uniform", math.sqrt(6)), ("xavier_uniform", math.sqrt(3 * 720 / 840))],
)
def test_uniform_draws_fill_their_interval_and_stay_inside(name, bound):
    w = np.abs(draw(name, CONV)) * math.sqrt(720) / bound
    assert 0.999 < w.max() <= 1 + 1e-6


def test_torch_uniform_of_a_bias_takes_its_weights_fan():
    b = draw("torch_uniform", (4001,), fan_in=720)
    assert np.abs(b).max() == pytest.approx(1 / math.sqrt(720), rel=1e-2)


@pytest.mark.parametrize("shape", [(40, 700), (30, 7, 5, 3), (6, 2, 3, 1)])
def test_sparse_leaves_fifteen_inputs_per_output_or_all_of_fewer(shape):
    w = draw("sparse", shape)
    assert ((w.reshape(shape[0], -1) != 0).sum(axis=1) == min(15, initializers.fans(shape)[0])).all()


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (24, 7, 5, 3)])
def test_orthogonal_rows_or_columns(shape):
    w = draw("orthogonal", shape, gain=1.5).reshape(shape[0], -1).astype(np.float64)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 2.25 * np.eye(len(product)), atol=1e-5)


@pytest.mark.parametrize(("outputs", "inputs", "groups"), [(7, 5, 1), (5, 7, 1), (6, 4, 2), (6, 2, 3)])
def test_dirac_convolution_copies_its_input(outputs, inputs, groups):
    w = initializers.dirac((outputs, inputs, 5, 3), groups=groups)
    x = np.random.default_rng(1).standard_normal((groups, inputs))
    y = np.einsum("gfc,gc->gf", w[:, :, 2, 1].reshape(groups, -1, inputs), x)
    copied = min(inputs, outputs // groups)
    np.testing.assert_array_equal(y[:, :copied], x[:, :copied])
    assert not y[:, copied:].any()
    assert w.sum() == copied * groups


@pytest.mark.parametrize("name", [*RANDOM, "dirac"])
def test_every_initializer_gives_float32_of_the_shape_that_was_asked(name):
    w = getattr(initializers, name)((12, 5, 3, 2))
    assert w.dtype == np.float32
    assert w.shape == (12, 5, 3, 2)
    assert w.flags.c_contiguous


@pytest.mark.parametrize("name", RANDOM)
def test_manual_seed_repeats_every_draw(name):
    function = getattr(initializers, name)
    assert fastnet.manual_seed(3) is initializers.generator()
    first, second = function(CONV), function(CONV)
    fastnet.manual_seed(3)
    np.testing.assert_array_equal(function(CONV), first)
    assert (first != second).any()


@pytest.mark.parametrize(("bad", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError), (None, TypeError)])
def test_manual_seed_refuses_bad_seeds_and_keeps_its_generator(bad, error):
    before = initializers.generator()
    with pytest.raises(error, match="manual_seed: expected"):
        fastnet.manual_seed(bad)
    assert initializers.generator() is before


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="'sideways'"):
        initializers.he_normal((3, 4), mode="sideways")
    with pytest.raises(ValueError, match="groups 4 must divide the 6 outputs"):
        initializers.dirac((6, 2, 3, 3), groups=4)
    with pytest.raises(ValueError, match="connections must be at least 1, found 0"):
        initializers.sparse((6, 2), connections=0)


def test_same_distribution_as_torch_when_installed():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Conv2d(48, 64, (5, 3))
    bound = 1 / math.sqrt(720)
    for theirs, ours in [
        (layer.weight, draw("torch_uniform", CONV)),
        (layer.bias, draw("torch_uniform", (64,), fan_in=720)),
    ]:
        assert theirs.detach().abs().max().item() <= bound
        assert np.abs(ours).max() <= bound
    assert np.std(draw("torch_uniform", CONV)) == pytest.approx(layer.weight.std().item(), rel=0.02)


# --- whole nets -------------------------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(5).standard_normal((30, 3, 9, 8)).astype(np.float32)


def deep(activation=fastnet.Tanh):
    return fastnet.Sequential(
        fastnet.Conv2d(3, 8, 3),
        fastnet.BatchNorm2d(8),
        activation(),
        fastnet.Residual(fastnet.Sequential(fastnet.Conv2d(8, 8, 3, padding=1), activation())),
        fastnet.Dropout(0.5),
        fastnet.Flatten(),
        fastnet.LayerNorm((8 * 7 * 6,)),
        fastnet.Linear(8 * 7 * 6, 50),
        activation(),
        fastnet.Linear(50, 7),
    )


def outputs(net, x):
    """What every convolution and linear layer gives."""
    return {id(layer): initializers._output(net, layer, x) for layer in initializers.weighted(net)}


def test_initialize_draws_weights_and_zeroes_biases_and_leaves_the_rest():
    net = deep()
    before = net.state_dict()
    assert initializers.initialize(net, initializers.gaussian, np.random.default_rng(0), std=0.5) is net
    changed = {name for name, value in net.state_dict().items() if (value != before[name]).any()}
    weights = {"0", "3.body.0", "7", "9"}
    assert changed == {f"{name}.{which}" for name in weights for which in ("weight", "bias")}
    assert net[7].weight.data.std() == pytest.approx(0.5, rel=0.05)
    assert not net[7].bias.data.any()


@pytest.mark.parametrize("activation", [fastnet.Tanh, fastnet.ReLU, fastnet.Sigmoid])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lsuv_gives_every_layer_outputs_of_unit_variance(activation, dtype):
    net, x = deep(activation).astype(dtype), IMAGES.astype(dtype)
    assert initializers.lsuv(net, x, np.random.default_rng(0)) is net
    found = outputs(net, x)
    assert len(found) == 4
    for y in found.values():
        assert y.std() == pytest.approx(1, abs=0.01)
    w = net[9].weight.data.astype(np.float64)
    product = w @ w.T
    np.testing.assert_allclose(product / product[0, 0], np.eye(7), atol=1e-4)  # scaled, but still orthogonal


def test_lsuv_leaves_modes_statistics_and_random_states():
    net = deep()
    state, random = net[1].state_dict(), net[4].rng.bit_generator.state
    initializers.lsuv(net, IMAGES)
    assert all(layer.training for layer in net.modules())
    assert net[4].rng.bit_generator.state == random
    assert not any("forward" in vars(layer) for layer in net.modules())
    for name, value in net[1].state_dict().items():
        np.testing.assert_array_equal(value, state[name])


def test_lsuv_says_what_it_cannot_scale():
    with pytest.raises(ValueError, match=r"the output of Conv2d\(3, 8.* has the standard deviation 0"):
        initializers.lsuv(deep(), 0 * IMAGES)

    class Forgets(fastnet.Layer):
        def __init__(self):
            super().__init__()
            self.add_child("unused", fastnet.Linear(3, 4))

        def forward(self, x):
            return x

    with pytest.raises(ValueError, match="the net does not run its Linear"):
        initializers.lsuv(Forgets(), IMAGES)
