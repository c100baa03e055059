"""Normalisation, activation and dropout layers: state, modes, decay, PyTorch's numbers, refusals that change nothing."""

import numpy as np
import pytest

from fastnet import initializers, layers
from fastnet.layers import BatchNorm1d, BatchNorm2d, Dropout, Dropout2d, GroupNorm, LayerNorm, PReLU

X = np.random.default_rng(0).standard_normal((4, 6, 5, 3)).astype(np.float32)
DY = np.random.default_rng(1).standard_normal((4, 6, 5, 3)).astype(np.float32)
BUILT = [
    (layers.BatchNorm2d, (6,)),
    (layers.LayerNorm, ((6, 5, 3),)),
    (layers.GroupNorm, (2, 6)),
    (layers.ReLU, ()),
    (layers.LeakyReLU, ()),
    (layers.ELU, ()),
    (layers.Sigmoid, ()),
    (layers.Tanh, ()),
    (layers.PReLU, ()),
    (layers.PReLU, (6,)),
    (layers.GELU, ()),
    (layers.SiLU, ()),
    (layers.Softplus, ()),
]


@pytest.mark.parametrize(("kind", "arguments"), BUILT)
def test_a_layer_is_pytorchs_of_the_same_name(kind, arguments):
    torch = pytest.importorskip("torch")
    ours, theirs = kind(*arguments), getattr(torch.nn, kind.__name__)(*arguments)
    rng = np.random.default_rng(2)
    state = {name: v.numpy() for name, v in theirs.state_dict().items()}
    assert {name: v.shape for name, v in ours.state_dict().items()} == {name: v.shape for name, v in state.items()}
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, state[name])  # the same start
    for name in ("weight", "bias"):
        if name in state:
            state[name] = rng.standard_normal(state[name].shape).astype(np.float32)
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.tensor(v) for name, v in state.items()})
    for _ in range(3):
        theirs.zero_grad()
        given = torch.tensor(X, requires_grad=True)
        expected = theirs(given)
        expected.backward(torch.tensor(DY))
        np.testing.assert_allclose(ours.forward(X), expected.detach().numpy(), rtol=1e-5, atol=3e-6)
        np.testing.assert_allclose(ours.backward(DY), given.grad.numpy(), rtol=1e-5, atol=5e-6)
        for name, parameter in ours.named_parameters():
            np.testing.assert_allclose(
                parameter.grad, dict(theirs.named_parameters())[name].grad.numpy(), rtol=1e-5, atol=2e-5
            )
    for name, value in ours.state_dict().items():
        np.testing.assert_allclose(value, theirs.state_dict()[name].numpy(), rtol=1e-5, atol=1e-6)
    theirs.eval()
    np.testing.assert_allclose(ours.eval()(X), theirs(torch.tensor(X)).detach().numpy(), rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize(("kind", "arguments"), [*BUILT, (Dropout, ()), (Dropout2d, (0.3,)), (layers.Maxout, (2,))])
def test_backward_needs_a_forward_in_training_mode(kind, arguments):
    layer = kind(*arguments).eval()
    layer.forward(X)
    with pytest.raises(RuntimeError, match=f"^{kind.__name__}: backward without a forward in training mode"):
        layer.backward(DY)
    y = layer.train().forward(X)
    layer.eval().forward(X * 2)  # keeps nothing: backward belongs to the forward in training mode
    assert layer.backward(y).shape == X.shape


@pytest.mark.parametrize(
    "layer", [BatchNorm2d(6), BatchNorm1d(6), LayerNorm((6, 5, 3)), GroupNorm(3, 6), PReLU(6)], ids=repr
)
def test_normalisation_parameters_are_not_decayed_and_gradients_accumulate(layer):
    x, dy = (X, DY) if not isinstance(layer, BatchNorm1d) else (X[:, :, 0, 0], DY[:, :, 0, 0])
    assert [p.decay for p in layer.parameters()] == [False] * len(layer.parameters())
    layer.forward(x)
    layer.backward(dy)
    once = [p.grad.copy() for p in layer.parameters()]
    layer.backward(dy, accumulate=True)
    for parameter, gradient in zip(layer.parameters(), once, strict=True):
        assert gradient.any()
        np.testing.assert_array_equal(parameter.grad, 2 * gradient)


def test_batch_norm_without_affine_has_statistics_only():
    layer = BatchNorm2d(6, affine=False)
    assert list(layer.state_dict()) == ["running_mean", "running_var", "num_batches_tracked"]
    assert layer.parameters() == []
    layer.forward(X)
    assert layer.backward(DY).shape == X.shape
    assert layer.num_batches_tracked == 1
    np.testing.assert_allclose(layer.running_mean, 0.1 * X.mean((0, 2, 3)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(layer.running_var, 0.9 + 0.1 * X.var((0, 2, 3), ddof=1), rtol=1e-5)


def test_batch_norm_over_one_value_is_refused_and_changes_nothing():
    layer, x = BatchNorm1d(5), np.ones((1, 5), np.float32)
    before = layer.state_dict()
    with pytest.raises(ValueError, match="at least 2 values"):
        layer.forward(x)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert layer.eval().forward(x).shape == (1, 5)
    assert layer.train().forward(np.ones((2, 5), np.float32)).shape == (2, 5)


def test_layers_work_in_float64():
    net = layers.Sequential(BatchNorm2d(6), GroupNorm(2, 6), LayerNorm((6, 5, 3)), PReLU(), Dropout(0.2)).astype(
        np.float64
    )
    y = net.forward(X.astype(np.float64))
    assert y.dtype == net.backward(y).dtype == np.float64
    assert {name: v.dtype.kind for name, v in net.named_buffers()}["0.num_batches_tracked"] == "i"


# --- dropout ----------------------------------------------------------------------------------------------------------


def test_one_seed_gives_the_same_masks_again_and_each_step_a_new_one():
    runs = []
    for _ in range(2):
        initializers.manual_seed(5)
        layer = Dropout(0.5)
        runs.append([layer.forward(X), layer.forward(X)])
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert (runs[0][0] != runs[0][1]).any()


def test_the_state_of_the_generator_brings_the_mask_back():
    layer = Dropout2d(0.5)
    state = layer.rng.bit_generator.state
    y = layer.forward(X)
    layer.rng.bit_generator.state = state
    np.testing.assert_array_equal(layer.forward(X), y)


def test_evaluation_draws_nothing_and_changes_nothing():
    layer = Dropout(0.5).eval()
    state = layer.rng.bit_generator.state
    np.testing.assert_array_equal(layer.forward(X), X)
    assert layer.rng.bit_generator.state == state


@pytest.mark.parametrize("x", [X.astype(np.int32), X[:, :0], X[0], None], ids=["dtype", "zero", "rank", "none"])
def test_a_refused_input_draws_no_seed(x):
    layer = Dropout2d(0.5)
    state = layer.rng.bit_generator.state
    with pytest.raises((TypeError, ValueError), match=r"^Dropout2d: "):
        layer.forward(x)
    assert layer.rng.bit_generator.state == state


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSED = [
    *[(ValueError, kind, (n,)) for kind in (BatchNorm1d, BatchNorm2d) for n in (0, -3)],
    *[(TypeError, kind, (n,)) for kind in (BatchNorm1d, BatchNorm2d) for n in (2.0, "6", None, True)],
    *[(ValueError, kind, (6, -1e-5)) for kind in (BatchNorm1d, BatchNorm2d, LayerNorm)],
    *[(ValueError, kind, (6, 1e-5, m)) for kind in (BatchNorm1d, BatchNorm2d) for m in (-0.1, 1.1, np.nan)],
    *[(TypeError, kind, (6, 1e-5, m)) for kind in (BatchNorm1d, BatchNorm2d) for m in (None, "0.1")],
    *[(ValueError, LayerNorm, (s,)) for s in (0, (), (6, 0), [-1])],
    *[(TypeError, LayerNorm, (s,)) for s in (1.5, None, (6, 5.0), "6")],
    *[(ValueError, GroupNorm, s) for s in ((0, 6), (4, 6), (6, 0), (2, 6, np.nan))],
    *[(TypeError, GroupNorm, s) for s in ((2.0, 6), (2, None), (2, 6, "small"))],
    *[(ValueError, kind, (p,)) for kind in (Dropout, Dropout2d) for p in (-0.1, 1.5, np.nan)],
    *[(TypeError, kind, (p,)) for kind in (Dropout, Dropout2d) for p in ("0.5", None, True)],
    *[(ValueError, layers.Maxout, (p,)) for p in (0, -2)],
    *[(TypeError, layers.Maxout, (p,)) for p in (2.0, None)],
    (ValueError, layers.LeakyReLU, (np.inf,)),
    (TypeError, layers.LeakyReLU, ("0.1",)),
    (ValueError, layers.ELU, (np.nan,)),
    (TypeError, layers.ELU, (None,)),
    (ValueError, PReLU, (0,)),
    (TypeError, PReLU, (1.0,)),
    (ValueError, PReLU, (1, np.nan)),
]


@pytest.mark.parametrize(("error", "kind", "arguments"), REFUSED)
def test_bad_constructor_arguments_are_refused_by_name(error, kind, arguments):
    with pytest.raises(error, match=f"^{kind.__name__}: "):
        kind(*arguments)


@pytest.mark.parametrize(
    ("error", "layer", "x"),
    [
        (ValueError, BatchNorm2d(6), X[:, :5]),
        (ValueError, BatchNorm2d(6), X[..., 0]),
        (TypeError, BatchNorm2d(6), X.astype(np.float64)),
        (ValueError, BatchNorm1d(6), X),
        (TypeError, BatchNorm1d(6), X[:, :, 0, 0].astype(int)),
        (ValueError, LayerNorm(4), X),
        (TypeError, LayerNorm(3), X.astype(np.float64)),
        (ValueError, GroupNorm(2, 4), X),
        (ValueError, GroupNorm(2, 6), X[0]),
        (ValueError, layers.Maxout(4), X),
        (ValueError, PReLU(4), X),
        (TypeError, layers.ReLU(), X.astype(bool)),
    ],
    ids=repr,
)
def test_bad_inputs_are_refused_and_the_next_call_works(error, layer, x):
    before = layer.state_dict()
    with pytest.raises(error):
        layer.forward(x)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
