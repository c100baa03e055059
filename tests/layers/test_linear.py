"""The linear layer: torch.nn.Linear's answers, slopes, any memory layout, and bad calls that change nothing."""

import numpy as np
import pytest
from layouts import broadcast, memory_layouts

from fastnet.layers import Linear

F32 = np.float32
X = np.random.default_rng(0).standard_normal((5, 7))
DY = np.random.default_rng(1).standard_normal((5, 3))


def built(dtype=np.float64, bias=True):
    layer = Linear(7, 3, bias=bias).astype(dtype)
    for p in layer.parameters():
        p.data = np.random.default_rng(2).standard_normal(p.shape)
    return layer


def everything(layer, x, dy):
    y = layer.forward(x)
    return [y, layer.backward(dy), *(p.grad.copy() for p in layer.parameters())]


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_torchs_layer(bias):
    torch = pytest.importorskip("torch")
    theirs, layer = torch.nn.Linear(7, 3, bias).double(), Linear(7, 3, bias).astype(np.float64)
    layer.load_state_dict({name: a.numpy() for name, a in theirs.state_dict().items()})
    leaf = torch.tensor(X, requires_grad=True)
    y = theirs(leaf)
    y.backward(torch.tensor(DY))
    wanted = [y.detach(), leaf.grad, *(p.grad for p in theirs.parameters())]
    for a, b in zip(everything(layer, X, DY), wanted, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12, atol=1e-13)


def test_gradients_are_the_slopes_at_every_coordinate():
    layer, x = built(), X.copy()
    _, dx, dw, db = everything(layer, x, DY)
    for array, slope in ((x, dx), (layer.weight.data, dw), (layer.bias.data, db)):
        for i in np.ndindex(array.shape):
            was, values = array[i], []
            for step in (1e-5, -1e-5):
                array[i] = was + step
                values.append((layer.forward(x) * DY).sum())
            array[i] = was
            assert slope[i] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6, abs=1e-9)


def test_accumulate_adds_and_the_gradient_of_the_input_may_be_left_out():
    layer = built()
    dw, db = everything(layer, X, DY)[2:]
    layer.backward(DY, accumulate=True)
    np.testing.assert_allclose(layer.weight.grad, 2 * dw, rtol=1e-15)
    np.testing.assert_allclose(layer.bias.grad, 2 * db, rtol=1e-15)
    assert layer.backward(DY, input_gradient=False) is None
    np.testing.assert_array_equal(layer.weight.grad, dw)


def test_any_memory_layout_gives_the_bits_of_the_contiguous_copy(tmp_path):
    layer, x, dy = built(F32), X.astype(F32), DY.astype(F32)
    wanted = everything(layer, x, dy)
    slopes = dict(memory_layouts(dy, tmp_path))
    for what, other in memory_layouts(x, tmp_path):
        for a, b in zip(everything(layer, other, slopes[what]), wanted, strict=True):
            assert a.tobytes() == b.tobytes(), what
    (view, copy), (slope, slope_copy) = broadcast(x), broadcast(dy)
    for a, b in zip(everything(layer, view, slope), everything(layer, copy, slope_copy), strict=True):
        assert a.tobytes() == b.tobytes()


def test_an_empty_batch_gives_an_empty_output_and_zero_gradients():
    y, dx, dw, db = everything(built(), X[:0], DY[:0])
    assert y.shape == (0, 3)
    assert dx.shape == (0, 7)
    assert not dw.any()
    assert not db.any()


def test_parameters_summary_and_repr():
    layer = Linear(7, 3)
    assert [(p.name, p.shape, p.decay) for p in layer.parameters()] == [("weight", (3, 7), True), ("bias", (3,), False)]
    (row,) = layer.summary((7,)).rows
    assert row[1:] == ("Linear", (3,), 24, 21, 12)
    assert repr(layer) == "Linear(7, 3, bias=True)"
    assert all(np.abs(p.data).max() <= 7**-0.5 for p in layer.parameters())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 3), ValueError, "in_features must be at least 1, found 0"),
        ((7, -3), ValueError, "out_features must be at least 1, found -3"),
        ((7.0, 3), TypeError, "in_features must be an integer, found 7.0"),
        ((7, None), TypeError, "out_features must be an integer, found None"),
        ((7, True), TypeError, "out_features must be an integer, found True"),
        (("7", 3), TypeError, "in_features must be an integer, found '7'"),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments, error, message):
    with pytest.raises(error, match=f"^Linear: {message}"):
        Linear(*arguments)


BAD_ROWS = [
    (X[0], ValueError, "2 dimensions"),
    (X[None], ValueError, "2 dimensions"),
    (X[:, :6], ValueError, "expected 7 input features, found 6"),
    (X[:, :0], ValueError, "dimension of zero"),
    (X.astype(F32), TypeError, "w is float64 but x is float32"),
    (X.astype(int), TypeError, "found int64"),
    (X.astype(complex), TypeError, "found complex128"),
    (X.astype(object), TypeError, "found object"),
    (X > 0, TypeError, "found bool"),
    (X.tolist(), TypeError, "found list"),
]
BAD_GRADIENTS = [
    (DY[:4], ValueError, r"output \(5, 3\), found \(4, 3\)"),
    (DY[:, :2], ValueError, "found"),
    (DY.T, ValueError, "found"),
    (DY[..., None], ValueError, "found"),
    (DY.astype(F32), TypeError, "dy is float32 but x is float64"),
    (DY.astype(int), TypeError, "found int64"),
    (1.0, TypeError, "found float"),
]


def test_every_bad_call_is_refused_by_name_and_changes_nothing():
    layer = built()
    first, state = everything(layer, X, DY), layer.state_dict()
    for x, error, message in BAD_ROWS:
        with pytest.raises(error, match=f"^Linear: .*{message}"):
            layer.forward(x)
    for dy, error, message in BAD_GRADIENTS:
        with pytest.raises(error, match=f"^Linear backward: .*{message}"):
            layer.backward(dy)
    for p, g in zip(layer.parameters(), first[2:]):
        np.testing.assert_array_equal(p.grad, g)
        np.testing.assert_array_equal(p.data, state[p.name])
    np.testing.assert_array_equal(layer.backward(DY), first[1])
