"""Sequential, Residual and Concat: PyTorch's answers, slopes, names, what is kept, and refusals that change nothing."""

import numpy as np
import pytest

from fastnet.layers import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Tanh,
)
from fastnet.layers.base import Layer

X = np.random.default_rng(0).standard_normal((2, 3, 6, 5))


def inception():
    """Every container inside every other."""
    return Sequential(
        Conv2d(3, 4, (3, 2), padding="same"),
        Residual(Sequential(Conv2d(4, 4, 3, padding=1), Tanh()), Conv2d(4, 4, 1)),
        Concat(Conv2d(4, 2, 1), Sequential(Tanh(), Residual(Conv2d(4, 4, (1, 3), padding=(0, 1)))), Identity()),
        Sequential(),
        AvgPool2d((2, 1)),
        Flatten(),
        Linear(10 * 3 * 5, 7),
    )


def ready(net, seed=1):
    rng = np.random.default_rng(seed)
    net.astype(np.float64)
    for p in net.parameters():
        p.data = rng.standard_normal(p.shape) / np.sqrt(max(1, p.size / p.shape[0]))
    return net


def normal(shape, seed=2):
    return np.random.default_rng(seed).standard_normal(shape)


def gradients(net):
    return {name: p.grad.copy() for name, p in net.named_parameters()}


class Twin:
    """inception() in PyTorch, with the same names of parameters."""

    def __init__(self, torch):
        nn = torch.nn

        class Sum(nn.Module):
            def __init__(self, body, shortcut=None):
                super().__init__()
                self.body, self.shortcut = body, shortcut

            def forward(self, x):
                return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

        class Side(nn.Sequential):
            def forward(self, x):
                return torch.cat([branch(x) for branch in self], 1)

        self.net = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, (3, 2), padding="same")),
            Sum(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh()), nn.Conv2d(4, 4, 1)),
            Side(nn.Conv2d(4, 2, 1), nn.Sequential(nn.Tanh(), Sum(nn.Conv2d(4, 4, (1, 3), padding=(0, 1)))), nn.Identity()),
            nn.Sequential(),
            nn.AvgPool2d((2, 1)),
            nn.Flatten(),
            nn.Linear(10 * 3 * 5, 7),
        ).double()  # fmt: skip
        self.net[0] = self.net[0][0]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_nested_containers_give_torchs_answers_under_torchs_names():
    torch = pytest.importorskip("torch")
    theirs, net = Twin(torch).net, inception().astype(np.float64)
    net.load_state_dict({name: a.numpy() for name, a in theirs.state_dict().items()})
    leaf = torch.tensor(X, requires_grad=True)
    wanted = theirs(leaf)
    dy = normal(tuple(wanted.shape))
    wanted.backward(torch.tensor(dy))
    np.testing.assert_allclose(net(X), wanted.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(net.backward(dy), leaf.grad.numpy(), rtol=1e-12, atol=1e-13)
    names = [name for name, _ in theirs.named_parameters()]
    assert [p.name for p in net.parameters()] == names
    assert "1.body.0.weight" in names
    assert "2.1.1.body.bias" in names
    for (name, p), q in zip(net.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-11, atol=1e-13, err_msg=name)


def test_backward_is_the_slope_of_forward_for_the_input_and_every_parameter():
    net = ready(inception())
    dy = normal(net.forward(X).shape)
    dx = net.backward(dy)
    places = [("x", x := X.copy(), dx)] + [(n, p.data, p.grad.copy()) for n, p in net.named_parameters()]
    for name, array, slope in places:
        start, direction = array.copy(), normal(array.shape, 3)
        values = []
        for step in (1e-6, -1e-6):
            array[...] = start + step * direction
            values.append((net.forward(x) * dy).sum())
        array[...] = start
        wanted = (values[0] - values[1]) / 2e-6
        assert (slope * direction).sum() == pytest.approx(wanted, rel=1e-6, abs=1e-8), name


def test_accumulate_adds_in_every_layer_and_the_default_writes():
    net = ready(inception())
    dy = normal(net.forward(X).shape)
    net.backward(dy)
    once = gradients(net)
    net.backward(dy, accumulate=True)
    for name, g in gradients(net).items():
        np.testing.assert_allclose(g, 2 * once[name], rtol=1e-13, err_msg=name)
    net.backward(dy)
    for name, g in gradients(net).items():
        np.testing.assert_array_equal(g, once[name], err_msg=name)
    net.zero_grad()
    assert not any(g.any() for g in gradients(net).values())


@pytest.mark.parametrize(
    "net",
    [
        inception(),
        Sequential(Tanh(), Sequential(Flatten(), Identity()), Linear(90, 4), Tanh()),
        Residual(Conv2d(3, 3, 1)),
        Residual(Tanh(), Conv2d(3, 3, 1)),
        Concat(Tanh(), Conv2d(3, 2, 1)),
        Concat(Conv2d(3, 2, 1), Tanh()),
        Sequential(Tanh(), Flatten()),
        Sequential(),
    ],
    ids=lambda net: type(net).__name__,
)
def test_without_the_gradient_of_the_input_all_parameters_get_theirs(net):
    dy = normal(ready(net).forward(X).shape)
    assert net.backward(dy).shape == X.shape
    full = gradients(net)
    net.zero_grad()
    assert net.backward(dy, input_gradient=False) is None
    for name, g in gradients(net).items():
        np.testing.assert_array_equal(g, full[name], err_msg=name)


def test_layers_in_front_of_the_first_that_learns_are_not_asked_for_gradients_nobody_reads():
    class Never(Identity):
        def backward(self, dy, *, accumulate=False, input_gradient=True):
            raise AssertionError("asked")

    net = ready(Sequential(Never(), Flatten(), Linear(90, 4)))
    net.backward(normal(net.forward(X).shape), input_gradient=False)
    assert net[2].weight.grad.any()
    with pytest.raises(AssertionError, match="asked"):
        net.backward(normal((2, 4)))


def test_names_of_parameters_survive_training_and_summaries():
    net = ready(inception())
    names = [p.name for p in net.parameters()]
    dy = normal(net.forward(X).shape)
    net.backward(dy, input_gradient=False)
    net[1].summary((4, 6, 5))
    net[1].zero_grad()
    assert [p.name for _, p in net.named_parameters()] == names


def test_a_sequential_is_indexed_sliced_counted_walked_and_extended():
    layers = [Conv2d(3, 4, 1), ReLU(), Flatten(), Linear(120, 2)]
    net = Sequential(*layers)
    assert len(net) == 4
    assert list(net) == layers
    assert net[0] is layers[0]
    assert net[-1] is layers[3]
    assert isinstance(net[1:3], Sequential)
    assert list(net[1:3]) == layers[1:3]
    assert list(net[::-2]) == [layers[3], layers[1]]
    for index, error in ((4, IndexError), (-5, IndexError), ("0", TypeError)):
        with pytest.raises(error):
            net[index]
    assert net.append(last := Tanh()) is net
    assert net[4] is last
    assert [name for name, _ in net.named_modules()] == ["", "0", "1", "2", "3", "4"]
    assert len(Sequential()) == 0


def test_a_part_of_a_net_is_the_same_layers_and_gives_the_same_features():
    net = ready(inception())
    features = net[:3].forward(X)
    np.testing.assert_array_equal(net[3:].forward(features), net.forward(X))
    net[0].weight.data[...] = 0
    assert not net[:1][0].weight.data.any()


def test_an_empty_sequential_is_the_identity_and_still_checks():
    net = Sequential()
    np.testing.assert_array_equal(net.forward(X), X)
    np.testing.assert_array_equal(net.backward(X), X)
    with pytest.raises(ValueError, match=r"^Sequential backward: dy must have the shape"):
        net.backward(X[:1])


def test_evaluation_keeps_nothing_in_any_layer():
    net = ready(inception()).eval()
    y = net.forward(X)
    assert all(layer._saved is None for layer in net.modules())
    with pytest.raises(RuntimeError, match="backward without a forward in training mode"):
        net.backward(y)
    for kind in (Sequential(Tanh()), Residual(Tanh()), Concat(Tanh())):
        with pytest.raises(RuntimeError, match=f"^{type(kind).__name__}: backward without"):
            kind.backward(X)


def test_forwards_in_evaluation_leave_the_training_forward_before_them_alone():
    net = ready(inception())
    y = net.forward(X)
    dy = normal(y.shape)
    dx, once = net.backward(dy), gradients(net)
    net.eval().forward(X[:1] + 1)
    with pytest.raises(ValueError, match=r"^Conv2d: expected 3 channels, found 2"):
        net.forward(X[:, :2])
    net.train()
    np.testing.assert_array_equal(net.backward(dy), dx)
    for name, g in gradients(net).items():
        np.testing.assert_array_equal(g, once[name])


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_shapes_that_do_not_meet_are_refused_with_both():
    with pytest.raises(ValueError, match=r"^Residual: .*\(2, 4, 6, 5\), the shortcut \(2, 3, 6, 5\)"):
        ready(Residual(Conv2d(3, 4, 1))).forward(X)
    with pytest.raises(ValueError, match=r"^Concat: xs\[0\] \(2, 4, 4, 3\) and xs\[1\] \(2, 3, 6, 5\) differ"):
        ready(Concat(Conv2d(3, 4, 3), Identity())).forward(X)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Sequential(ReLU(), 3), TypeError, "Sequential: '1' must be a Layer, found int"),
        (lambda: Sequential([ReLU()]), TypeError, "Sequential: '0' must be a Layer, found list"),
        (lambda: Sequential(ReLU), TypeError, "Sequential: '0' must be a Layer, found type"),
        (lambda: Sequential().append(None), TypeError, "Sequential: '0' must be a Layer, found NoneType"),
        (lambda: Residual(None), TypeError, "Residual: 'body' must be a Layer, found NoneType"),
        (lambda: Residual(ReLU(), 1), TypeError, "Residual: 'shortcut' must be a Layer, found int"),
        (lambda: Concat(), ValueError, "Concat: expected at least one branch"),
        (lambda: Concat(ReLU(), "x"), TypeError, "Concat: '1' must be a Layer, found str"),
    ],
)
def test_what_is_no_layer_is_refused(build, error, message):
    with pytest.raises(error, match=f"^{message}"):
        build()


def test_a_layer_stands_in_one_place_only():
    """It remembers its latest forward: a second place would make the first one's gradient wrong without a word."""
    relu = ReLU()
    inner = Sequential(relu)
    net = Sequential(inner)
    for build in (
        lambda: Sequential(relu, relu),
        lambda: Residual(relu, relu),
        lambda: Concat(inner, Tanh(), relu),
        lambda: net.append(relu),
        lambda: net.append(net),
    ):
        with pytest.raises(ValueError, match="needs a layer of its own"):
            build()
    assert len(net) == 1


def test_a_bad_gradient_is_refused_before_any_gradient_is_written():
    for net in (
        inception(),
        Residual(Conv2d(3, 3, 1)),
        Concat(Conv2d(3, 2, 1), Identity()),
        Sequential(Conv2d(3, 2, 1)),
    ):
        y = ready(net).forward(X)
        dx, once = net.backward(y), gradients(net)
        bad = [y[:1], y[..., :-1], y.reshape(-1), y.astype(np.float32), y.astype(int), y.tolist(), None]
        for dy in bad:
            with pytest.raises((ValueError, TypeError), match="dy"):
                net.backward(dy)
        for name, g in gradients(net).items():
            np.testing.assert_array_equal(g, once[name], err_msg=name)
        np.testing.assert_array_equal(net.backward(y), dx)


def halfway():
    """A net whose last layer refuses images of another size, after others have changed their statistics."""
    block = Sequential(BatchNorm2d(4), Dropout(0.4))
    return ready(
        Sequential(Conv2d(3, 4, 1), Residual(block), Concat(BatchNorm2d(4), ReLU()), Flatten(), Linear(240, 2))
    )


def volatile(net):
    states = [layer.rng.bit_generator.state for layer in net.modules() if hasattr(layer, "rng")]
    return {name: a.copy() for name, a in net.named_buffers()}, states


def test_a_forward_that_is_refused_halfway_leaves_statistics_and_random_states_as_they_were():
    net = halfway()
    net.forward(X)
    buffers, states = volatile(net)
    with pytest.raises(ValueError, match=r"^Linear: expected 240 input features, found 320"):
        net.forward(normal((2, 3, 8, 5)))
    found, found_states = volatile(net)
    for name, array in found.items():
        np.testing.assert_array_equal(array, buffers[name], err_msg=name)
    assert found_states == states
    other = halfway()
    for layer, twin in zip(net.modules(), other.modules()):
        if hasattr(layer, "rng"):
            twin.rng.bit_generator.state = layer.rng.bit_generator.state
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(net.forward(X), other.forward(X))


def test_after_a_forward_that_is_refused_halfway_there_is_nothing_to_go_back_through():
    net = halfway()
    y = net.forward(X)
    net.backward(y)
    once = gradients(net)
    with pytest.raises(ValueError, match=r"^Linear"):
        net.forward(normal((2, 3, 8, 5)))
    with pytest.raises(RuntimeError, match=r"^Sequential: backward without a forward"):
        net.backward(y)
    for name, g in gradients(net).items():
        np.testing.assert_array_equal(g, once[name], err_msg=name)
    net.backward(net.forward(X))


def test_a_forward_that_is_refused_at_the_door_leaves_the_last_one_good():
    net = halfway()
    y = net.forward(X)
    dx = net.backward(y)
    for bad in (X[:, :2], X.astype(int), X[0], None):
        with pytest.raises((ValueError, TypeError), match=r"^Conv2d: "):
            net.forward(bad)
    np.testing.assert_array_equal(net.backward(y), dx)


def test_a_layer_of_ones_own_works_inside_the_containers():
    class Twice(Layer):
        def forward(self, x):
            return self._keep(2 * x, True)

        def backward(self, dy, *, accumulate=False, input_gradient=True):
            self._kept()
            return 2 * dy

    net = Concat(Residual(Twice()), Sequential(Twice(), Twice()))
    np.testing.assert_array_equal(net.forward(X), np.concatenate([3 * X, 4 * X], 1))
    np.testing.assert_array_equal(net.backward(np.ones((2, 6, 6, 5))), np.full(X.shape, 7.0))


def test_repr_shows_the_tree():
    text = repr(Sequential(Residual(Sequential(ReLU())), Concat(Tanh())))
    assert text == (
        "Sequential(\n  (0): Residual(\n    (body): Sequential(\n      (0): ReLU()\n    )\n  )\n"
        "  (1): Concat(\n    (0): Tanh()\n  )\n)"
    )


@pytest.mark.parametrize(
    "pool", [MaxPool2d(2), MaxPool2d((3, 2), stride=(1, 2), padding=1)], ids=["2x2", "overlapping"]
)
def test_a_relu_behind_a_max_pooling_gives_the_bits_of_the_net_as_it_is_written(pool):
    x = np.random.default_rng(5).integers(-3, 3, (2, 5, 8, 6)).astype(np.float32)  # many ties, many windows below zero
    x[0, 1, 2, 3] = np.nan
    net = Sequential(Conv2d(5, 3, 1, bias=False), ReLU(), pool)
    net[0].weight.data = np.eye(3, 5, dtype=np.float32)[:, :, None, None]
    results = []
    for net.fuse in (False, True):
        y = net.forward(x)
        dy = np.random.default_rng(6).standard_normal(y.shape).astype(np.float32)
        results.append((y, net.backward(dy), net[0].weight.grad.copy()))
    for written, run in zip(*results):
        np.testing.assert_array_equal(run, written)
    assert np.isnan(y).any()
    assert (y == 0).any()
    assert [row.layer for row in net.summary((5, 8, 6)).rows] == ["Conv2d", "ReLU", "MaxPool2d"]


def test_residual_of_rows_adds_the_gradients_of_both_ways():
    net = Residual(Linear(4, 4), Sequential(Linear(4, 4)))
    x = np.ones((3, 4), np.float32)
    net.forward(x)
    dx = net.backward(np.ones((3, 4), np.float32))
    expected = (net.body.weight.data + net.shortcut[0].weight.data).sum(0)
    np.testing.assert_allclose(dx, np.broadcast_to(expected, (3, 4)), rtol=1e-5)
    assert net.backward(np.ones((3, 4), np.float32), input_gradient=False) is None


def test_a_forward_that_is_refused_undoes_the_layers_of_nested_containers():
    """The outermost call's list of layers is empty, and yet the inner containers' too."""
    inner = BatchNorm2d(3)
    net = Concat(Sequential(inner, Dropout(0.5)), Conv2d(4, 4, 1))
    before = net.state_dict()
    with pytest.raises(ValueError, match="Conv2d: expected 4 channels, found 3"):
        net(np.ones((2, 3, 6, 6), np.float32))
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    assert inner.num_batches_tracked == 0


def test_swapped_bytes_take_the_same_path_through_a_residual():
    rng = np.random.default_rng(4)
    body = Sequential(Conv2d(4, 4, 3, padding=1), BatchNorm2d(4), ReLU(), Conv2d(4, 4, 3, padding=1), BatchNorm2d(4))
    net = Sequential(Residual(body), ReLU())
    x = rng.standard_normal((3, 4, 7, 5), np.float32)
    swapped = x.astype(x.dtype.newbyteorder())
    dy = rng.standard_normal((3, 4, 7, 5), np.float32)
    y, dx = net(x).copy(), net.backward(dy).copy()
    np.testing.assert_array_equal(net(swapped), y)
    np.testing.assert_array_equal(net.backward(dy), dx)
    folded = net.eval().fold()
    np.testing.assert_array_equal(folded(swapped), folded(x))
