"""compare_paths: every layer has its reference beside it, and a wrong kernel would be seen."""

import numpy as np
import pytest
from faulty import Scale

import fastnet
from fastnet import compare_paths, functional, layers
from fastnet.diagnose import paths
from fastnet.layers import Concat, Conv2d, Flatten, Layer, Linear, ReLU, Residual, Sequential

MAKE = {
    "Conv2d": (lambda: Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, groups=2), (3, 4, 8, 7)),
    "ConvTranspose2d": (lambda: layers.ConvTranspose2d(4, 5, 3, stride=2), (3, 4, 6, 5)),
    "Linear": (lambda: Linear(7, 5), (3, 7)),
    "MaxPool2d": (lambda: layers.MaxPool2d(3, stride=2, padding=1), (3, 4, 8, 7)),
    "AvgPool2d": (lambda: layers.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (3, 4, 8, 7)),
    "AdaptiveAvgPool2d": (lambda: layers.AdaptiveAvgPool2d((3, None)), (3, 4, 8, 7)),
    "BatchNorm2d": (lambda: layers.BatchNorm2d(4), (3, 4, 8, 7)),
    "BatchNorm1d": (lambda: layers.BatchNorm1d(4, affine=False), (3, 4)),
    "LayerNorm": (lambda: layers.LayerNorm(7), (3, 4, 8, 7)),
    "GroupNorm": (lambda: layers.GroupNorm(2, 4), (3, 4, 8, 7)),
    "Maxout": (lambda: layers.Maxout(2), (3, 4, 8, 7)),
    "PReLU": (lambda: layers.PReLU(4), (3, 4, 8, 7)),
    "ZeroPad2d": (lambda: layers.ZeroPad2d((1, 2, 0, 3)), (3, 4, 8, 7)),
    "Dropout": (lambda: layers.Dropout(0.4), (3, 4, 8, 7)),
    "Scale": (lambda: layers.Scale(0.3), (3, 4, 8, 7)),
    "DropConnect": (lambda: layers.DropConnect(7, 5, p=0.3), (3, 7)),
    "VanillaDropout": (lambda: layers.VanillaDropout(0.4), (3, 4, 8, 7)),
    "Dropout2d": (lambda: layers.Dropout2d(0.4), (3, 4, 8, 7)),
}
CONTAINERS = {"Layer", "Sequential", "Residual", "Concat"}
NAMES = sorted(name for name in layers.__all__ if isinstance(getattr(layers, name), type) and name not in CONTAINERS)


def numbers(shape, dtype):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_kernels_and_reference_agree(name, dtype):
    make, shape = MAKE.get(name, (getattr(layers, name), (3, 4, 8, 7)))
    report = compare_paths(make(), numbers(shape, dtype))
    assert report.ok, str(report)
    assert {row.what for row in report.rows} >= {"y", "dx"}


def test_a_net_is_compared_layer_by_layer_with_the_users_own_marked():
    net = Sequential(
        Concat(Conv2d(2, 3, 3, padding=1), Conv2d(2, 2, 1)), Residual(ReLU()), Flatten(), Linear(60, 7), Scale(7)
    )
    report = compare_paths(net, numbers((2, 2, 3, 4), np.float32))
    assert report.ok
    kinds = [row.kind for row in report.rows if row.what == "y"]
    assert kinds == ["Conv2d", "Conv2d", "ReLU", "Flatten", "Linear", "Scale"]
    assert {row.what for row in report.rows if row.kind == "Linear"} == {"y", "dx", "dweight", "dbias"}
    assert all(row.error is None for row in report.rows if row.kind == "Scale")
    assert "no reference" in str(report)


def test_a_layer_that_goes_wrong_is_seen(monkeypatch):
    right = layers.Tanh.pair
    monkeypatch.setattr(layers.Tanh, "pair", (right[0], lambda dy, saved: functional.tanh_backward(dy, saved) * 1.001))
    report = compare_paths(Sequential(Linear(5, 4), layers.Tanh()), numbers((3, 5), np.float32))
    assert not report.ok
    assert (report.worst.kind, report.worst.what) == ("Tanh", "dx")
    assert "DIFFER" in str(report)


def test_the_layer_is_untouched():
    layer = layers.BatchNorm2d(4)
    before = layer.state_dict()
    compare_paths(layer, numbers((3, 4, 8, 7), np.float64))
    assert all(np.array_equal(array, before[name]) for name, array in layer.state_dict().items())
    assert layer._saved is None


def test_every_layer_of_the_package_has_its_call():
    ours = {getattr(layers, name) for name in NAMES}
    assert ours <= {*paths.CALLS, *paths.COMPOSED}, "add the missing layers to CALLS in fastnet/diagnose/paths.py"


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="must be a Layer"):
        compare_paths(3, numbers((2, 3), np.float32))
    with pytest.raises(TypeError, match="float32 or float64"):
        compare_paths(Linear(3, 2), np.zeros((2, 3), int))
    assert issubclass(fastnet.Linear, Layer)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bias_whose_gradient_cancels_is_measured_by_its_terms(dtype):
    """In front of a batch norm it is zero but for rounding; a difference of its terms' size is seen all the same."""
    net = Sequential(Conv2d(3, 8, 3), layers.BatchNorm2d(8), ReLU()).astype(dtype)
    x = numbers((8, 3, 16, 16), dtype)
    report = compare_paths(net, x)
    assert report.ok, report
    dy = np.ones((4, 2, 3, 3), dtype)
    assert paths._terms(dy, np.zeros(2, dtype)) == paths.CANCELLED * 36
    assert paths._distance(np.full(2, 1.0), np.zeros(2), paths._terms(dy, np.zeros(2)))[1] > 1
