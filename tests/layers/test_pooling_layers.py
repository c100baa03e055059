"""Pooling and shape layers: torch.nn's answers, and what every layer promises."""

import numpy as np
import pytest

from fastnet.layers import AdaptiveAvgPool2d, AvgPool2d, Flatten, Identity, MaxPool2d, Sequential, ZeroPad2d

X = np.random.default_rng(0).integers(-20, 21, (2, 3, 9, 7)).astype(np.float64) * 144

LAYERS = [
    (MaxPool2d, (2,), {}),
    (MaxPool2d, (3, 2, 1), {}),
    (MaxPool2d, ((3, 2),), dict(stride=(2, 1), padding=(1, 0), dilation=(1, 2), ceil_mode=True)),
    (AvgPool2d, (2,), {}),
    (AvgPool2d, (3, 2, 1), {}),
    (AvgPool2d, ((3, 4),), dict(stride=(2, 3), padding=(1, 2), ceil_mode=True, count_include_pad=False)),
    (AdaptiveAvgPool2d, ((3, 7),), {}),
    (AdaptiveAvgPool2d, ((9, None),), {}),
    (Flatten, (), {}),
    (Identity, (), {}),
    (ZeroPad2d, (2,), {}),
    (ZeroPad2d, ((1, 0, 3, 2),), {}),
]
POOLS = [case for case in LAYERS if "Pool" in case[0].__name__]


@pytest.mark.parametrize(("kind", "positional", "named"), LAYERS)
def test_a_layer_is_torchs_layer_of_the_same_name_and_arguments(kind, positional, named):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind.__name__)(*positional, **named)
    leaf = torch.tensor(X, requires_grad=True)
    wanted = theirs(leaf)
    dy = 144.0 * np.random.default_rng(1).integers(-9, 10, tuple(wanted.shape))
    wanted.backward(torch.tensor(dy))
    layer = kind(*positional, **named)
    np.testing.assert_array_equal(layer(X), wanted.detach().numpy())
    np.testing.assert_array_equal(layer.backward(dy), leaf.grad.numpy())
    assert layer.parameters() == []
    assert layer.state_dict() == {}


@pytest.mark.parametrize(("kind", "positional", "named"), LAYERS)
def test_evaluation_keeps_nothing_for_backward(kind, positional, named):
    layer = kind(*positional, **named).eval()
    y = layer.forward(X)
    with pytest.raises(RuntimeError, match=f"^{kind.__name__}: backward without a forward"):
        layer.backward(y)
    np.testing.assert_array_equal(layer.train().forward(X), y)
    assert layer.backward(y).shape == X.shape


@pytest.mark.parametrize(("kind", "positional", "named"), LAYERS)
def test_a_gradient_of_another_shape_or_dtype_is_refused(kind, positional, named):
    layer = kind(*positional, **named)
    y = layer.forward(X)
    with pytest.raises(ValueError, match="dy must have the shape"):
        layer.backward(y[:1])
    with pytest.raises(TypeError, match="dy is float32 but x is float64"):
        layer.backward(y.astype(np.float32))
    layer.backward(y)


@pytest.mark.parametrize(("kind", "positional", "named"), POOLS)
def test_repr_quotes_the_settings(kind, positional, named):
    text = repr(kind(*positional, **named))
    assert text.startswith(f"{kind.__name__}(")
    assert all(f"{name}={value}" in text for name, value in named.items())


def test_feature_maps_stay_channels_last_from_layer_to_layer():
    y = Sequential(ZeroPad2d(1), MaxPool2d(2), AvgPool2d(2), Identity()).forward(X)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous


def test_a_net_of_them_sends_each_gradient_back():
    net = Sequential(ZeroPad2d(1), MaxPool2d(3, 2), AdaptiveAvgPool2d(1), Flatten())
    assert net.forward(np.abs(X) + 1).shape == (2, 3)  # positive, so that no padded zero wins
    dx = net.backward(np.ones((2, 3)))
    np.testing.assert_allclose(dx.sum((2, 3)), 1, rtol=1e-14)


BAD = [
    *((kind, arguments, error, message)
      for kind in (MaxPool2d, AvgPool2d)
      for arguments, error, message in [
          ((0,), ValueError, "kernel_size must be at least 1, found 0"),
          (((2, 0),), ValueError, "kernel_size must be at least 1, found 0"),
          ((2.5,), TypeError, "kernel_size must be an integer, found 2.5"),
          ((2, 0), ValueError, "stride must be at least 1, found 0"),
          ((2, (1, 2, 3)), ValueError, "pair"),
          ((2, 2, -1), ValueError, "padding must be at least 0, found -1"),
          ((3, 1, 2), ValueError, r"padding must be at most half the window \(3, 3\), found \(2, 2\)"),
          ((2, 2, "same"), TypeError, "padding must be an integer"),
      ]),
    (MaxPool2d, (2, 2, 0, 0), ValueError, "dilation must be at least 1, found 0"),
    (AdaptiveAvgPool2d, (0,), ValueError, "output_size must be at least 1, found 0"),
    (AdaptiveAvgPool2d, ((1, 1, 1),), ValueError, "pair"),
    (AdaptiveAvgPool2d, (1.0,), TypeError, "output_size must be an integer, found 1.0"),
    (ZeroPad2d, (-1,), ValueError, "padding must be at least 0, found -1"),
    (ZeroPad2d, ((1, 2),), ValueError, "left, right, top, bottom"),
    (ZeroPad2d, (0.5,), TypeError, "padding must be an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments", "error", "message"), BAD)
def test_bad_arguments_are_refused_at_construction_by_the_layers_name(kind, arguments, error, message):
    with pytest.raises(error, match=f"^{kind.__name__}: .*{message}"):
        kind(*arguments)


def test_a_window_too_large_for_the_image_is_refused_with_both_sizes():
    for kind in (MaxPool2d, AvgPool2d):
        with pytest.raises(
            ValueError, match=rf"^{kind.__name__}: window \(4, 2\) is larger than the padded input \(3, 9\)"
        ):
            kind((4, 2)).forward(np.zeros((1, 2, 3, 9)))


@pytest.mark.parametrize("kind", [MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Identity])
def test_a_bad_image_is_refused_by_the_layers_name_and_the_last_forward_stays_good(kind):
    layer = kind(*(() if kind is Identity else (2,)))
    y = layer.forward(X)
    with pytest.raises(TypeError, match=f"^{kind.__name__}: x must be float32 or float64, found int64"):
        layer.forward(X.astype(int))
    assert layer.backward(y).shape == X.shape
