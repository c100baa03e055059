"""Convolution layers: torch.nn's answers, slopes, any memory layout, and bad calls that change nothing."""

import numpy as np
import pytest
from layouts import broadcast, memory_layouts

from fastnet.layers import Conv2d, ConvTranspose2d

F32 = np.float32
X = np.random.default_rng(0).standard_normal((2, 6, 9, 7))

LAYERS = [
    (Conv2d, (6, 4, 3), {}),
    (Conv2d, (6, 4, (3, 2), (2, 1), (1, 0)), {}),
    (Conv2d, (6, 4, 3, 1, 2, 2, 2, False), {}),
    (Conv2d, (6, 4, (2, 5)), dict(padding="same", dilation=(3, 1))),
    (Conv2d, (6, 12, (3, 4)), dict(padding=(1, 2), groups=6)),
    (Conv2d, (6, 6, 3), dict(padding=1, groups=6, stride=(1, 2), bias=False)),
    (Conv2d, (6, 9, 1), dict(stride=(3, 2), groups=3)),
    (ConvTranspose2d, (6, 4, 3), {}),
    (ConvTranspose2d, (6, 4, (3, 2), (2, 3), (1, 0), (1, 2)), {}),
    (ConvTranspose2d, (6, 4, 3, 2, 1, 1, 2, False, 2), {}),
    (ConvTranspose2d, (6, 6, (2, 3)), dict(groups=6, stride=(2, 1), output_padding=(1, 0))),
    (ConvTranspose2d, (6, 3, (3, 2)), dict(groups=3, dilation=(2, 3), output_padding=(1, 2), padding=(2, 1))),
]
each_layer = pytest.mark.parametrize(("kind", "positional", "named"), LAYERS)


def built(kind, positional, named, dtype=np.float64):
    layer = kind(*positional, **named).astype(dtype)
    rng = np.random.default_rng(4)
    for p in layer.parameters():
        p.data = rng.standard_normal(p.shape)
    return layer


def everything(layer, x, dy):
    """[y, dx, then every gradient]."""
    y = layer.forward(x)
    dx = layer.backward(dy(y.shape).astype(y.dtype) if callable(dy) else dy)
    return [y, dx, *(p.grad.copy() for p in layer.parameters())]


def normal(shape):
    return np.random.default_rng(5).standard_normal(shape)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch warns of what it does with an even window
@each_layer
def test_a_layer_is_torchs_layer_of_the_same_name_and_arguments(kind, positional, named):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind.__name__)(*positional, **named).double()
    layer = kind(*positional, **named).astype(np.float64)
    state = theirs.state_dict()
    assert {name: a.shape for name, a in layer.state_dict().items()} == {n: tuple(a.shape) for n, a in state.items()}
    layer.load_state_dict({name: a.numpy() for name, a in state.items()})
    leaf = torch.tensor(X, requires_grad=True)
    wanted = theirs(leaf)
    dy = normal(tuple(wanted.shape))
    wanted.backward(torch.tensor(dy))
    found = everything(layer, X, dy)
    gradients = [p.grad for p in theirs.parameters()]
    for a, b in zip(found, (wanted.detach(), leaf.grad, *gradients), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12, atol=1e-12)


@each_layer
def test_gradients_are_the_slopes_at_sampled_coordinates_of_every_parameter(kind, positional, named):
    layer, rng = built(kind, positional, named), np.random.default_rng(6)
    y, dx, *_ = everything(layer, X, normal)
    dy = normal(y.shape)
    places = [(X.copy(), dx)]
    places += [(p.data, p.grad.copy()) for p in layer.parameters()]
    for k, (array, slope) in enumerate(places):
        for i in rng.choice(array.size, min(array.size, 5), replace=False):
            flat, values = array.reshape(-1), []
            was = flat[i]
            for step in (1e-5, -1e-5):
                flat[i] = was + step
                values.append((layer.forward(places[0][0]) * dy).sum())
            flat[i] = was
            assert slope.reshape(-1)[i] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6, abs=1e-8), k


def test_weights_start_uniform_within_one_over_the_root_of_the_fan_in():
    wide, back = Conv2d(50, 60, (3, 2), groups=5), ConvTranspose2d(50, 60, (3, 2), groups=5)
    for layer, fan_in in ((wide, 10 * 6), (back, 12 * 6)):
        for p in layer.parameters():
            assert np.abs(p.data).max() <= fan_in**-0.5
            assert np.abs(p.data).max() > 0.9 * fan_in**-0.5
    assert [p.decay for p in wide.parameters()] == [True, False]
    assert [p.name for p in wide.parameters()] == ["weight", "bias"]
    assert Conv2d(3, 4, 2, bias=False).bias is None


@each_layer
def test_accumulate_adds_and_the_default_writes(kind, positional, named):
    layer = built(kind, positional, named)
    once = everything(layer, X, normal)[2:]
    layer.backward(normal(layer.forward(X).shape), accumulate=True)
    for p, g in zip(layer.parameters(), once):
        np.testing.assert_allclose(p.grad, 2 * g, rtol=1e-14)
    for a, b in zip(everything(layer, X, normal)[2:], once):
        np.testing.assert_array_equal(a, b)
    assert layer.backward(normal(layer.forward(X).shape), input_gradient=False) is None
    for p, g in zip(layer.parameters(), once):
        np.testing.assert_array_equal(p.grad, g)


@each_layer
def test_any_memory_layout_gives_the_bits_of_the_contiguous_copy(kind, positional, named, tmp_path):
    layer, x = built(kind, positional, named, F32), X.astype(F32)
    wanted = everything(layer, x, normal)
    dy = normal(wanted[0].shape).astype(F32)
    for what, other in [*memory_layouts(x, tmp_path), ("broadcast", None)]:
        if other is None:
            other, copy = broadcast(x)
            slope, slope_copy = broadcast(dy)
            answer, found = everything(layer, copy, slope_copy), everything(layer, other, slope)
        else:
            slope = dict(memory_layouts(dy, tmp_path))[what]
            answer, found = wanted, everything(layer, other, slope)
        for a, b in zip(found, answer, strict=True):
            assert a.tobytes() == b.tobytes(), what
            assert a.dtype == F32, what


def test_maps_stay_channels_last_and_a_channels_last_image_is_not_copied():
    layer = Conv2d(6, 5, 3)
    y = layer.forward(X.astype(F32))
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert layer.backward(y).transpose(0, 2, 3, 1).flags.c_contiguous
    last = np.ascontiguousarray(X.transpose(0, 2, 3, 1)).astype(F32).transpose(0, 3, 1, 2)
    layer.forward(last)
    assert np.shares_memory(layer._saved.x, last)


def test_multiply_adds_are_those_of_one_example():
    def rows(layer, shape=(6, 9, 7)):
        (row,) = layer.summary(shape).rows
        return row.output_shape, row.parameters, row.multiply_adds, row.activation_bytes

    assert rows(Conv2d(6, 4, (3, 2), groups=2)) == ((4, 7, 6), 76, 7 * 6 * 4 * 18, 4 * 4 * 7 * 6)
    assert rows(ConvTranspose2d(6, 4, (3, 2), stride=2)) == ((4, 19, 14), 148, 9 * 7 * 6 * 24, 4 * 4 * 19 * 14)


# --- refusals ---------------------------------------------------------------------------------------------------------

BAD_ARGUMENTS = [
    (dict(in_channels=0), ValueError, "in_channels must be at least 1, found 0"),
    (dict(in_channels=-3), ValueError, "in_channels must be at least 1, found -3"),
    (dict(in_channels=6.0), TypeError, "in_channels must be an integer, found 6.0"),
    (dict(in_channels=True), TypeError, "in_channels must be an integer, found True"),
    (dict(in_channels=None), TypeError, "in_channels must be an integer, found None"),
    (dict(out_channels=0), ValueError, "out_channels must be at least 1, found 0"),
    (dict(out_channels="4"), TypeError, "out_channels must be an integer, found '4'"),
    (dict(kernel_size=0), ValueError, "kernel_size must be at least 1, found 0"),
    (dict(kernel_size=(3, -1)), ValueError, "kernel_size must be at least 1, found -1"),
    (dict(kernel_size=(3, 2, 1)), ValueError, "kernel_size must be an integer or a pair"),
    (dict(kernel_size=()), ValueError, "pair"),
    (dict(kernel_size=2.5), TypeError, "kernel_size must be an integer, found 2.5"),
    (dict(kernel_size=None), TypeError, "kernel_size must be an integer, found None"),
    (dict(stride=0), ValueError, "stride must be at least 1, found 0"),
    (dict(stride=(1, 0)), ValueError, "stride must be at least 1, found 0"),
    (dict(stride=None), TypeError, "stride must be an integer, found None"),
    (dict(stride=1.0), TypeError, "stride must be an integer, found 1.0"),
    (dict(stride=2**40), ValueError, "at most 2147483647"),
    (dict(padding=-1), ValueError, "padding must be at least 0, found -1"),
    (dict(padding=(0, -2)), ValueError, "padding must be at least 0, found -2"),
    (dict(padding="full"), TypeError, "padding must be an integer, found 'full'"),
    (dict(padding=(1, 2, 3, 4)), ValueError, "padding must be an integer or a pair"),
    (dict(padding=2**64), ValueError, "at most 2147483647"),
    (dict(dilation=0), ValueError, "dilation must be at least 1, found 0"),
    (dict(dilation=(1, 1.5)), TypeError, "dilation must be an integer, found 1.5"),
    (dict(groups=0), ValueError, "groups must be at least 1, found 0"),
    (dict(groups=4), ValueError, "groups 4 with 6 channels and 8 filters"),
    (dict(groups=3), ValueError, "groups 3 with 6 channels and 8 filters"),
    (dict(groups=2.0), TypeError, "groups must be an integer, found 2.0"),
]
BAD_CALLS = [
    *((kind, *bad) for kind in (Conv2d, ConvTranspose2d) for bad in BAD_ARGUMENTS),
    (Conv2d, dict(padding="same", stride=2), ValueError, r'padding="same" needs stride 1, found \(2, 2\)'),
    (ConvTranspose2d, dict(padding="same"), TypeError, "padding must be an integer, found 'same'"),
    (ConvTranspose2d, dict(output_padding=-1), ValueError, "output_padding must be at least 0, found -1"),
    (ConvTranspose2d, dict(output_padding=1), ValueError, r"output_padding must be below the stride .* found \(1, 1\)"),
    (ConvTranspose2d, dict(output_padding=(1, 3), stride=(2, 3)), ValueError, "output_padding must be below"),
    (ConvTranspose2d, dict(output_padding=0.5), TypeError, "output_padding must be an integer, found 0.5"),
]


@pytest.mark.parametrize(("kind", "arguments", "error", "message"), BAD_CALLS)
def test_bad_arguments_are_refused_at_construction_by_the_layers_name(kind, arguments, error, message):
    with pytest.raises(error, match=f"^{kind.__name__}: .*{message}"):
        kind(**dict(in_channels=6, out_channels=8, kernel_size=3) | arguments)


BAD_IMAGES = [
    (X[0], ValueError, r"4 dimensions, found shape \(6, 9, 7\)"),
    (X[None], ValueError, "4 dimensions"),
    (X[:, :5], ValueError, "expected 6 channels, found 5"),
    (X[:, :0], ValueError, "dimension of zero"),
    (X[:, :, :0], ValueError, "dimension of zero"),
    (X.astype(F32), TypeError, "w is float64 but x is float32"),
    (X.astype(int), TypeError, "float32 or float64, found int64"),
    (X.astype(complex), TypeError, "found complex128"),
    (X.astype(np.float16), TypeError, "found float16"),
    (X.astype(object), TypeError, "found object"),
    (X > 0, TypeError, "found bool"),
    (X.tolist(), TypeError, "NumPy array, found list"),
    (None, TypeError, "NumPy array, found NoneType"),
]
BAD_GRADIENTS = [
    (lambda y: y[:1], ValueError, r"dy must have the shape .* found \(1, "),
    (lambda y: y[:, :-1], ValueError, "dy must have the shape"),
    (lambda y: y.transpose(0, 1, 3, 2), ValueError, "dy must have the shape"),
    (lambda y: y.reshape(len(y), -1), ValueError, "dy must have the shape"),
    (lambda y: y[0, 0, 0, 0], TypeError, "dy must be a NumPy array, found float64"),
    (lambda y: y.astype(F32), TypeError, "dy is float32 but x is float64"),
    (lambda y: y.astype(int), TypeError, "dy must be float32 or float64, found int64"),
    (lambda y: None, TypeError, "dy must be a NumPy array, found NoneType"),
]


@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
def test_every_bad_call_is_refused_by_name_and_changes_nothing(kind):
    layer = built(kind, (6, 4, (3, 2)), {})
    first = everything(layer, X, normal)
    outputs, state = first[0].copy(), layer.state_dict()
    dy = normal(first[0].shape)
    for x, error, message in BAD_IMAGES:
        with pytest.raises(error, match=f"^{kind.__name__}: .*{message}"):
            layer.forward(x)
    for change, error, message in BAD_GRADIENTS:
        with pytest.raises(error, match=f"^{kind.__name__} backward: .*{message}"):
            layer.backward(change(dy))
    np.testing.assert_array_equal(first[0], outputs)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    for p, g in zip(layer.parameters(), first[2:]):
        np.testing.assert_array_equal(p.grad, g)
    np.testing.assert_array_equal(layer.backward(dy), first[1])  # still of the last forward that was accepted


def test_the_table_of_bad_calls_is_long_enough():
    assert len(BAD_CALLS) + len(BAD_IMAGES) + len(BAD_GRADIENTS) >= 40


def test_a_window_larger_than_the_image_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"^Conv2d: window \(4, 2\) .* larger than the padded input \(3, 9\)"):
        Conv2d(6, 4, (4, 2)).forward(np.zeros((1, 6, 3, 9), F32))
    with pytest.raises(ValueError, match=r"^ConvTranspose2d: the output would have size \(-1, 5\)"):
        ConvTranspose2d(6, 4, (1, 3), padding=(2, 0)).forward(np.zeros((1, 6, 3, 3), F32))


def test_weights_too_many_for_any_memory_are_refused():
    with pytest.raises((MemoryError, ValueError)):
        Conv2d(2**31, 2**31, 3)
