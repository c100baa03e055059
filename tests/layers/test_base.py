"""What every layer promises: modes, names, state, conversion, summary, concurrent evaluation, calls out of order."""

import copy
import pickle
import threading

import numpy as np
import pytest

from fastnet import layers
from fastnet.layers import (
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    MaxPool2d,
    PReLU,
    ReLU,
    Residual,
    Sequential,
)
from fastnet.layers.base import Layer

IMAGES = np.random.default_rng(0).standard_normal((4, 3, 8, 6)).astype(np.float32)
ROWS = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)

# every public layer, and what it is fed
EVERY = {
    "Conv2d": ((6, 5, 3), None), "ConvTranspose2d": ((6, 5, 3), None), "Linear": ((6, 5), ROWS),
    "MaxPool2d": ((2,), None), "AvgPool2d": ((2,), None), "AdaptiveAvgPool2d": ((1,), None),
    "BatchNorm2d": ((6,), None), "BatchNorm1d": ((6,), ROWS), "LayerNorm": (((6, 8, 7),), None),
    "GroupNorm": ((3, 6), None), "ReLU": ((), None), "LeakyReLU": ((), None), "ELU": ((), None), "Sigmoid": ((), None),
    "Tanh": ((), None), "Maxout": ((3,), None), "PReLU": ((), None), "GELU": ((), None), "SiLU": ((), None),
    "Softplus": ((), None), "Dropout": ((), None), "Dropout2d": ((), None), "VanillaDropout": ((), None),
    "DropConnect": ((6, 5), ROWS), "Flatten": ((), None),
    "Identity": ((), None), "ZeroPad2d": ((1,), None), "Scale": ((0.3,), None), "Sequential": ((Conv2d(6, 2, 1),), None),
    "Residual": ((Conv2d(6, 6, 1),), None), "Concat": ((Conv2d(6, 2, 1), Identity()), None),
}  # fmt: skip
MAPS = np.random.default_rng(2).standard_normal((4, 6, 8, 7)).astype(np.float32)
each = pytest.mark.parametrize("name", EVERY)


def one(name):
    """(layer, an input for it)."""
    arguments, x = EVERY[name]
    return copy.deepcopy(getattr(layers, name)(*arguments)), MAPS if x is None else x


def small():
    return Sequential(
        Conv2d(3, 5, 3, bias=False),
        BatchNorm2d(5),
        PReLU(),
        Residual(Sequential(Conv2d(5, 5, 1)), Conv2d(5, 5, 1)),
        MaxPool2d(2),
        Dropout(0.3),
        Flatten(),
        Linear(5 * 3 * 2, 7),
    )


def test_every_public_layer_is_in_the_table():
    kinds = {name for name in layers.__all__ if isinstance(getattr(layers, name), type)}
    assert kinds - {"Layer"} == EVERY.keys()


# --- one layer by itself ----------------------------------------------------------------------------------------------


@each
def test_backward_without_a_matching_forward_is_a_runtime_error_by_name(name):
    layer, x = one(name)
    with pytest.raises(RuntimeError, match=rf"^{name}: backward without a forward in training mode"):
        layer.backward(x)
    y = layer.eval().forward(x)
    with pytest.raises(RuntimeError, match=rf"^{name}: backward without a forward in training mode"):
        layer.backward(y)
    y = layer.train().forward(x)
    assert layer.backward(y).shape == x.shape


@each
def test_bad_images_and_gradients_are_refused_and_change_nothing(name):
    layer, x = one(name)
    y = layer.forward(x)
    dx = layer.backward(y)
    state = layer.state_dict()
    once = [p.grad.copy() for p in layer.parameters()]
    container = name in ("Sequential", "Residual", "Concat")
    prefix = "^[A-Z]" if container else f"^{name}: "  # a container passes on what its layer said
    for bad in (x.astype(int), x > 0, x.astype(complex), x.astype(object), x.astype(np.float16), x.tolist(), None):
        with pytest.raises(TypeError, match=prefix):
            layer.forward(bad)
    with pytest.raises(ValueError, match=prefix):
        layer.forward(x[:, :0])
    for bad in (y.astype(float), y.astype(int), y.tolist(), None, 1.0):
        with pytest.raises(TypeError, match="dy" if container else rf"^{name} backward: .*dy"):
            layer.backward(bad)
    for bad in (y[:1], y[..., None], y[..., :0]):
        with pytest.raises(ValueError, match="dy" if container else rf"^{name} backward: .*dy"):
            layer.backward(bad)
    for key, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, state[key], err_msg=key)
    for p, g in zip(layer.parameters(), once):
        np.testing.assert_array_equal(p.grad, g)
    np.testing.assert_array_equal(layer.backward(y), dx)


@each
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(name):
    layer, x = one(name)
    full, state = layer.forward(x), layer.state_dict()
    y = layer.forward(x[:0])
    assert y.shape == (0, *full.shape[1:])
    assert layer.backward(y).shape == x[:0].shape
    assert not any(p.grad.any() for p in layer.parameters())
    for key, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, state[key])


@each
def test_a_read_only_input_is_served_and_stays_as_it_is(name):
    layer, x = one(name)
    fixed = x.copy()
    fixed.flags.writeable = False
    y = layer.forward(fixed)
    layer.backward(y)
    np.testing.assert_array_equal(fixed, x)


@each
def test_float64_in_gives_float64_out(name):
    layer, x = one(name)
    y = layer.astype(np.float64).forward(x.astype(np.float64))
    assert y.dtype == np.float64
    assert layer.backward(y).dtype == np.float64
    assert {p.grad.dtype for p in layer.parameters()} <= {np.dtype(np.float64)}


@each
def test_a_copy_and_a_pickle_are_the_layer_and_no_longer_connected(name):
    layer, x = one(name)
    wanted = layer.eval().forward(x).copy()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin.forward(x), wanted)
        for p in twin.parameters():
            p.data[...] = 9
    np.testing.assert_array_equal(layer.forward(x), wanted)


@each
def test_calling_a_layer_is_its_forward_and_modes_return_the_layer(name):
    layer, x = one(name)
    assert layer.training
    assert layer.eval() is layer
    assert not layer.training
    np.testing.assert_array_equal(layer(x), layer.forward(x))
    assert layer.train() is layer
    assert layer.training
    assert repr(layer).startswith(f"{name}(")


# --- modes, names, state ----------------------------------------------------------------------------------------------


def test_modes_reach_every_layer_inside():
    net = small()
    net.eval()
    assert not any(layer.training for layer in net.modules())
    net.train(True)
    assert all(layer.training for layer in net.modules())
    net.train(False)
    net[3].train()
    assert [layer.training for layer in net.children()] == [False] * 3 + [True] + [False] * 4
    with net.evaluating():
        assert not net[3].body.training
    assert net[3].body.training


def test_parameters_have_torchs_dotted_names_and_gradients_of_their_shape():
    net = small()
    names = ["0.weight", "1.weight", "1.bias", "2.weight", "3.body.0.weight", "3.body.0.bias", "3.shortcut.weight",
             "3.shortcut.bias", "7.weight", "7.bias"]  # fmt: skip
    assert [p.name for p in net.parameters()] == names
    assert [name for name, _ in net.named_parameters()] == names
    assert [p.name for p in net.parameters() if p.decay] == [n for n in names if n.endswith("weight") and n[0] in "037"]
    for p in net.parameters():
        assert p.grad.shape == p.data.shape == p.shape
        assert p.grad.dtype == p.data.dtype == np.float32
        assert not p.grad.any()


def test_state_is_a_copy_with_the_running_statistics_under_torchs_names():
    net = small()
    state = net.state_dict()
    buffers = {"1.running_mean": (5,), "1.running_var": (5,), "1.num_batches_tracked": ()}
    shapes = {name: p.shape for name, p in net.named_parameters()} | buffers
    assert {name: a.shape for name, a in state.items()} == shapes
    assert state["1.num_batches_tracked"].dtype == np.int64
    before = {name: a.copy() for name, a in state.items()}
    net.forward(IMAGES)
    net[7].weight.data[...] = 0
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name])
    assert net.state_dict()["1.num_batches_tracked"] == 1


def test_loading_a_state_gives_its_answers_in_the_arrays_that_were_there():
    net, other = small(), small()
    net.forward(IMAGES)
    places = [p.data for p in other.parameters()] + [b for _, b in other.named_buffers()]
    assert other.load_state_dict(net.state_dict()) is other
    for a, b in zip(places, [p.data for p in other.parameters()] + [b for _, b in other.named_buffers()]):
        assert a is b
    np.testing.assert_array_equal(other.predict(IMAGES), net.predict(IMAGES))
    other.load_state_dict({name: a.astype(np.float64).tolist() for name, a in net.state_dict().items()})
    np.testing.assert_array_equal(other.predict(IMAGES), net.predict(IMAGES))
    other.load_state_dict(other.state_dict() | dict(other.named_buffers()))  # its own arrays


def test_without_strict_what_is_there_is_loaded():
    net = small()
    state = net.state_dict()
    new = np.full((7,), 3.0)
    net.load_state_dict({"7.bias": new, "nobody": new}, strict=False)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, new if name == "7.bias" else state[name])
    with pytest.raises(ValueError, match=r"'7.bias' must have shape"):
        net.load_state_dict({"7.bias": np.ones(8)}, strict=False)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("0.weight"), ValueError, r"missing \['0.weight'\], unexpected nothing"),
        (lambda s: s.update(more=np.ones(2)), ValueError, r"missing nothing, unexpected \['more'\]"),
        (lambda s: s.update({3: np.ones(2)}), ValueError, r"unexpected \[3\]"),
        (lambda s: s.update({"7.bias": np.ones(8)}), ValueError, r"'7.bias' must have shape \(7,\), found \(8,\)"),
        (lambda s: s.update({"7.bias": np.ones((7, 1))}), ValueError, r"found \(7, 1\)"),
        (lambda s: s.update({"7.bias": 1.0}), ValueError, r"found \(\)"),
        (lambda s: s.update({"7.bias": np.ones(7, complex)}), TypeError, "'7.bias' must hold numbers, found dtype complex"),
        (lambda s: s.update({"7.bias": np.array(["a"] * 7)}), TypeError, "'7.bias' must hold numbers"),
        (lambda s: s.update({"7.bias": np.array([None] * 7)}), TypeError, "'7.bias' must hold numbers, found dtype object"),
        (lambda s: s.update({"1.num_batches_tracked": np.ones(1)}), ValueError, r"must have shape \(\), found \(1,\)"),
    ],
)  # fmt: skip
def test_a_bad_state_is_refused_by_name_and_nothing_is_written(change, error, message):
    net = small()
    before, state = net.state_dict(), {name: a + 1 for name, a in net.state_dict().items()}
    change(state)
    with pytest.raises(error, match=f"^load_state_dict: .*{message}"):
        net.load_state_dict(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("state", [None, 3, "state", [("7.bias", np.ones(7))]])
def test_a_state_that_is_no_mapping_is_refused(state):
    with pytest.raises(TypeError, match="load_state_dict: expected a mapping"):
        small().load_state_dict(state)


def test_conversion_keeps_the_values_and_the_integers():
    net = small()
    net.forward(IMAGES)
    before = net.state_dict()
    assert net.astype("float64") is net
    after = net.state_dict()
    for name, array in after.items():
        assert array.dtype == (np.int64 if name.endswith("tracked") else np.float64)
        np.testing.assert_array_equal(array, before[name])
    assert {p.grad.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    with pytest.raises(RuntimeError, match="backward without a forward"):
        net[0].backward(IMAGES)
    net.forward(IMAGES.astype(np.float64))
    net.astype(np.float32).forward(IMAGES)
    for bad in (np.float16, int, complex, None, "nonsense", object):
        with pytest.raises(TypeError):
            net.astype(bad)


# --- summary ----------------------------------------------------------------------------------------------------------


def test_the_summary_counts_what_one_example_costs():
    net = small()
    before, modes = net.state_dict(), [layer.training for layer in net.modules()]
    summary = net.summary((3, 8, 6))
    assert [tuple(row) for row in summary.rows] == [
        ("0", "Conv2d", (5, 6, 4), 135, 135 * 24, 480),
        ("1", "BatchNorm2d", (5, 6, 4), 10, 0, 480),
        ("2", "PReLU", (5, 6, 4), 1, 0, 480),
        ("3.body.0", "Conv2d", (5, 6, 4), 30, 25 * 24, 480),
        ("3.shortcut", "Conv2d", (5, 6, 4), 30, 25 * 24, 480),
        ("4", "MaxPool2d", (5, 3, 2), 0, 0, 120),
        ("5", "Dropout", (5, 3, 2), 0, 0, 120),
        ("6", "Flatten", (30,), 0, 0, 120),
        ("7", "Linear", (7,), 217, 210, 28),
    ]
    assert summary.parameters == sum(p.size for p in net.parameters()) == 423
    assert summary.multiply_adds == 135 * 24 + 50 * 24 + 210
    text = str(summary)
    assert all(
        word in text for word in ("3.shortcut", "5 x 6 x 4", "3,240", "423", "multiply-adds", "activation bytes")
    )
    assert [layer.training for layer in net.modules()] == modes
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert not any("forward" in vars(layer) for layer in net.modules())


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (3, TypeError, "must be a tuple"),
        (None, TypeError, "must be a tuple"),
        ("CHW", TypeError, "must be a tuple"),
        ((3, 8, 6.0), TypeError, "must be an integer, found 6.0"),
        ((3, 8, 0), ValueError, "must be at least 1, found 0"),
        ((3, -8, 6), ValueError, "must be at least 1, found -8"),
        ((3, 8), ValueError, "4 dimensions"),
        ((2, 8, 6), ValueError, "expected 3 channels, found 2"),
    ],
)
def test_a_bad_shape_for_the_summary_is_refused_and_the_net_is_as_before(shape, error, message):
    net = small()
    with pytest.raises(error, match=message):
        net.summary(shape)
    assert all(layer.training for layer in net.modules())
    assert not any("forward" in vars(layer) for layer in net.modules())
    net.backward(net.forward(IMAGES))


# --- use ---------------------------------------------------------------------------------------------------------------


def test_predict_in_batches_is_forward_in_evaluation():
    net = small()
    net.forward(IMAGES)
    wanted = net.eval().forward(IMAGES)
    net.train()
    for size in (1, 3, np.int64(4), 100):
        np.testing.assert_array_equal(net.predict(IMAGES, batch_size=size), wanted)
    assert net.training
    assert net.predict(IMAGES[:0]).shape == (0, 7)
    for bad, error in ((0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError), (None, TypeError)):
        with pytest.raises(error, match=r"^Sequential.predict: batch_size"):
            net.predict(IMAGES, batch_size=bad)


def test_eight_threads_evaluate_one_net_to_equal_bits():
    net = small()
    net.forward(IMAGES)
    net.eval()
    x = np.random.default_rng(5).standard_normal((9, 3, 8, 6)).astype(np.float32)
    wanted, found, start = net.forward(x).tobytes(), [], threading.Barrier(8)

    def work():
        start.wait()
        found.extend(net.forward(x).tobytes() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert set(found) == {wanted}


def test_a_layer_without_forward_or_backward_says_so():
    class Nothing(Layer):
        pass

    with pytest.raises(NotImplementedError, match="Nothing has no forward"):
        Nothing().forward(IMAGES)
    with pytest.raises(NotImplementedError, match="Nothing has no backward"):
        Nothing().backward(IMAGES)


def test_a_subclass_bears_its_own_name_in_errors():
    class Stem(Conv2d):
        pass

    with pytest.raises(ValueError, match=r"^Stem: expected 3 channels, found 6"):
        Stem(3, 2, 1).forward(MAPS)
    with pytest.raises(ValueError, match=r"^Stem: in_channels"):
        Stem(0, 2, 1)


def test_errors_of_ones_own_layers_stay_as_they_are():
    class Picky(Layer):
        def forward(self, x):
            raise ValueError("reason: none")

    with pytest.raises(ValueError, match=r"^reason: none$"):
        Concat(Sequential(ReLU(), Picky())).forward(IMAGES)
