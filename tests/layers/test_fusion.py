"""Layers that hand on Deferred values give what the same layers give one by one."""

import copy

import numpy as np
import pytest
from nets_at_random import taught

import fastnet
from fastnet import losses, models
from fastnet.layers import (
    ELU,
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout2d,
    Flatten,
    Identity,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)


class Doubled(Layer):
    """A user's own layer, which knows of arrays only."""

    def forward(self, x):
        return self._keep(2 * x, True)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        return 2 * dy


def block(c, f, stride=1, slope=None):
    return [
        Conv2d(c, f, 3, stride=stride, padding=1, bias=False),
        BatchNorm2d(f),
        ReLU() if slope is None else LeakyReLU(slope),
    ]


NETS = {
    "conv, norm, relu": lambda: Sequential(*block(3, 5), *block(5, 4)),
    "conv and relu without a norm": lambda: Sequential(Conv2d(3, 5, 3), ReLU(), Conv2d(5, 4, 2, padding=1), ReLU()),
    "leaky": lambda: Sequential(*block(3, 5, slope=0.2), *block(5, 4, slope=0.0)),
    "a slope that does not rectify": lambda: Sequential(*block(3, 5, slope=-0.5), *block(5, 4, slope=1.5)),
    "other activations": lambda: Sequential(
        *block(3, 5)[:2],
        GELU(),
        *block(5, 4)[:2],
        SiLU(),
        Conv2d(4, 6, 1),
        BatchNorm2d(6),
        ELU(0.5),
        *block(6, 5)[:2],
        Tanh(),
    ),
    "an activation behind a residual": lambda: Sequential(
        *block(3, 5)[:2], Residual(Sequential(Sigmoid(), *block(5, 5)[:2])), Softplus(), Conv2d(5, 4, 1)
    ),
    "stride": lambda: Sequential(*block(3, 5, 2), *block(5, 4, 3)),
    "max-pooling behind a relu": lambda: Sequential(*block(3, 5), MaxPool2d(2), *block(5, 4), MaxPool2d(3, 2, 1)),
    "relu behind max-pooling": lambda: Sequential(*block(3, 5)[:2], MaxPool2d(2), ReLU(), *block(5, 4)),
    "average pooling": lambda: Sequential(*block(3, 5), AvgPool2d(2), *block(5, 4), AdaptiveAvgPool2d(1)),
    "a linear layer behind": lambda: Sequential(*block(3, 5), Flatten(), Linear(5 * 9 * 7, 6), BatchNorm1d(6), ReLU()),
    "two norms in a row": lambda: Sequential(*block(3, 5)[:2], BatchNorm2d(5), ReLU(), BatchNorm2d(5), Conv2d(5, 4, 1)),
    "norm of the input": lambda: Sequential(BatchNorm2d(3), ReLU(), *block(3, 5)),
    "residual with identity": lambda: Sequential(
        *block(3, 5), Residual(Sequential(*block(5, 5), *block(5, 5)[:2])), ReLU()
    ),
    "residual with projection": lambda: Sequential(
        *block(3, 5),
        Residual(Sequential(*block(5, 6, 2), *block(6, 6)[:2]), Sequential(Conv2d(5, 6, 1, stride=2), BatchNorm2d(6))),
        ReLU(),
        Residual(Sequential(*block(6, 4), *block(4, 6)[:2])),
        ReLU(),
        *block(6, 2),
    ),
    "residual before activation": lambda: Sequential(
        Conv2d(3, 5, 3),
        Residual(Sequential(BatchNorm2d(5), ReLU(), Conv2d(5, 5, 3, padding=1), BatchNorm2d(5), ReLU())),
        Residual(Sequential(BatchNorm2d(5), LeakyReLU(0.1), Conv2d(5, 5, 1)), Conv2d(5, 5, 1)),
        BatchNorm2d(5),
    ),
    "residual in residual": lambda: Sequential(
        *block(3, 5), Residual(Sequential(Residual(Sequential(*block(5, 5))), ReLU(), Residual(Identity()))), ReLU()
    ),
    "residual of rows": lambda: Sequential(
        *block(3, 5),
        Residual(
            Sequential(Flatten(), Linear(5 * 9 * 7, 4)), Sequential(AdaptiveAvgPool2d(1), Flatten(), Linear(5, 4))
        ),
        ReLU(),
        Residual(Linear(4, 4)),
    ),
    "residual of nothing": lambda: Sequential(
        *block(3, 5), Residual(Sequential()), ReLU(), Residual(ReLU(), Sequential())
    ),
    "nested": lambda: Sequential(Sequential(*block(3, 5)), Sequential(Sequential(*block(5, 4)), ReLU())),
    "branches": lambda: Sequential(
        *block(3, 5), Concat(Sequential(*block(5, 2)), Sequential(*block(5, 4)[:2])), *block(6, 3)
    ),
    "transposed": lambda: Sequential(*block(3, 5), ConvTranspose2d(5, 4, 2, stride=2), BatchNorm2d(4), ReLU()),
    "depthwise": lambda: Sequential(
        *block(3, 5), Conv2d(5, 5, 3, padding=1, groups=5), BatchNorm2d(5), ReLU(), *block(5, 4)
    ),
    "dropout between": lambda: Sequential(*block(3, 5), Dropout2d(0.3), *block(5, 4)),
    "a user's layer between": lambda: Sequential(*block(3, 5), Doubled(), *block(5, 4)[:2], Doubled()),
    "without gamma and beta": lambda: Sequential(
        Conv2d(3, 5, 3), BatchNorm2d(5, affine=False), ReLU(), Conv2d(5, 4, 1)
    ),
    "nothing that learns in front": lambda: Sequential(ReLU(), MaxPool2d(2), *block(3, 5)),
}


def made(name, dtype):
    fastnet.manual_seed(3)
    net = NETS[name]().astype(dtype)
    rng = np.random.default_rng(5)
    for _, parameter in net.named_parameters():
        parameter.data += rng.uniform(-0.3, 0.3, parameter.shape).astype(dtype)
    return net


def given(dtype, rng, net):
    x = (rng.standard_normal((6, 3, 9, 7)) + 0.5).astype(dtype)
    y = copy.deepcopy(net).forward(x)
    return x, rng.standard_normal(y.shape).astype(dtype)


def assert_close(one, other, bound):
    """Of the largest number of all: the bias in front of a norm has the gradient 0, but for rounding."""
    scale = max(np.abs(value).max() for value in other.values() if value is not None)
    for name, value in one.items():
        if value is None:
            assert other[name] is None
            continue
        assert np.abs(value - other[name]).max() / scale < bound, name


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", NETS)
def test_a_fused_net_gives_what_its_layers_give_one_by_one(name, dtype, bound):
    net = made(name, dtype)
    x, dy = given(dtype, np.random.default_rng(7), net)
    assert_close(taught(net, x, dy, True), taught(net, x, dy, False), bound)


@pytest.mark.parametrize("name", NETS)
def test_without_the_input_gradient_the_parameters_gradients_are_the_same(name):
    net = made(name, np.float64)
    x, dy = given(np.float64, np.random.default_rng(8), net)
    full, short = taught(net, x, dy, True), taught(net, x, dy, True, input_gradient=False)
    assert short.pop("dx") is None
    full.pop("dx")
    for key, value in short.items():
        assert np.array_equal(value, full[key]), key


@pytest.mark.parametrize("name", NETS)
def test_evaluation_mode_gives_what_the_layers_give_one_by_one(name):
    net = made(name, np.float64)
    x, _ = given(np.float64, np.random.default_rng(9), net)
    net.forward(x)
    net.eval()
    fused = net.forward(x)
    for layer in net.modules():
        if isinstance(layer, Sequential):
            layer.fuse = False
    np.testing.assert_allclose(fused, net.forward(x), rtol=0, atol=1e-11 * np.abs(fused).max())


@pytest.mark.parametrize("name", [name for name in NETS if "dropout" not in name])  # whose second mask is another
def test_gradients_are_added_when_they_accumulate(name):
    net = made(name, np.float64)
    x, dy = given(np.float64, np.random.default_rng(10), net)
    once = taught(net, x, dy, True)
    net.forward(x)
    net.backward(dy)
    net.forward(x)
    net.backward(dy, accumulate=True)
    for key, parameter in net.named_parameters():
        np.testing.assert_allclose(parameter.grad, 2 * once[key], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_a_checkpoint_keeps_nothing_of_the_inside_and_gives_the_same_bits(name):
    net = made(name, np.float32)
    x, dy = given(np.float32, np.random.default_rng(16), net)
    half = len(net) // 2
    plain = Sequential(copy.deepcopy(net[:half]), copy.deepcopy(net[half:]))
    frugal = Sequential(
        Sequential(*copy.deepcopy(list(net)[:half]), checkpoint=True),
        Sequential(*copy.deepcopy(list(net)[half:]), checkpoint=True),
    )
    one, other = taught(plain, x, dy, True), taught(frugal, x, dy, True)
    for key, value in one.items():
        assert np.array_equal(value, other[key]), key
    frugal.forward(x)
    assert all(layer._saved is None for part in frugal for layer in part)


@pytest.mark.parametrize("name", NETS)
def test_backward_frees_what_forward_kept_if_it_is_told_to(name):
    net = made(name, np.float32)
    x, dy = given(np.float32, np.random.default_rng(17), net)
    one, other = taught(net, x, dy), taught(net, x, dy, free=True)
    for key, value in one.items():
        assert np.array_equal(value, other[key]), key
    net.free_after_backward().forward(x)
    net.backward(dy)
    assert all(layer._saved is None for layer in net.modules())
    with pytest.raises(RuntimeError, match="without a forward"):
        net.backward(dy)


def test_a_forward_that_was_put_onto_a_layer_is_called():
    net = made("conv, norm, relu", np.float64)
    x, _ = given(np.float64, np.random.default_rng(11), net)
    seen = []
    forward = net[2].forward
    net[2].forward = lambda x: seen.append(x.shape) or forward(x)
    net.forward(x)
    assert seen == [(6, 5, 9, 7)]


def test_a_subclass_with_a_forward_of_its_own_is_called():
    class Shifted(ReLU):
        def forward(self, x):
            return super().forward(x) + 1

    one, other = made("conv, norm, relu", np.float64), made("conv, norm, relu", np.float64)
    x, _ = given(np.float64, np.random.default_rng(12), one)
    np.testing.assert_allclose(Sequential(*one[:5], Shifted()).forward(x), other.forward(x) + 1, rtol=1e-12)


@pytest.mark.parametrize("kind", [Sequential, Residual])
def test_a_subclass_of_a_container_may_call_the_forward_it_overrides(kind):
    class Doubled(kind):
        def forward(self, x):
            return 2 * super().forward(x)

        def backward(self, dy, **options):
            return super().backward(2 * dy, **options)

    fastnet.manual_seed(4)
    plain = Sequential(*block(3, 5), kind(Sequential(*block(5, 5))))
    one = Sequential(*copy.deepcopy(plain[:3]), Doubled(copy.deepcopy(plain[3].children()[0])))
    x, dy = given(np.float32, np.random.default_rng(18), plain)
    once, twice = taught(plain, x, dy, True), taught(one, x, dy, True)
    np.testing.assert_allclose(twice["y"], 2 * once["y"], rtol=1e-5)
    np.testing.assert_allclose(twice["dx"], 2 * once["dx"], rtol=0, atol=1e-5 * np.abs(twice["dx"]).max())


def test_every_layer_can_be_asked_for_its_backward_alone():
    net = made("conv, norm, relu", np.float64)
    x, dy = given(np.float64, np.random.default_rng(13), net)
    net.forward(x)
    gradient = dy
    for layer in reversed(list(net)):
        gradient = layer.backward(gradient)
    np.testing.assert_allclose(gradient, taught(net, x, dy, False)["dx"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_come_out_where_they_do_layer_by_layer(value):
    net = made("residual with projection", np.float32)
    x, dy = given(np.float32, np.random.default_rng(14), net)
    x[1, 2, 3, 4] = value
    with np.errstate(all="ignore"):
        fused, single = taught(net, x, dy, True), taught(net, x, dy, False)
    for key in ("y", "dx", "0.weight"):
        assert np.array_equal(np.isnan(fused[key]), np.isnan(single[key])), key


@pytest.mark.parametrize("name", ["resnet20", "vgg_bn", "resnet18", "mobilenet_v1"])
def test_the_models_learn_alike_fused_or_not(name):
    x, y = np.random.default_rng(1).standard_normal((6, 3, 32, 32)), np.arange(6)
    grads = []
    for fuse in (True, False):
        fastnet.manual_seed(0)
        net = models.build(name, (3, 32, 32)).astype(np.float64)
        for layer in net.modules():
            if isinstance(layer, Sequential):
                layer.fuse = fuse
        loss = losses.SoftmaxCrossEntropy()
        loss.forward(net.forward(x), y)
        net.backward(loss.backward(), input_gradient=False)
        grads.append({key: parameter.grad for key, parameter in net.named_parameters()})
    assert_close(*grads, 1e-9)


def test_threads_do_not_change_the_bits(threads):
    net = made("residual with projection", np.float32)
    x, dy = given(np.float32, np.random.default_rng(15), net)
    found = []
    for n in (1, 3):
        threads(n)
        found.append(taught(net, x, dy))
    for key, value in found[0].items():
        assert np.array_equal(value, found[1][key]), key
