"""net.fold(): the same scores, without batch norms and without Python between the kernels."""

import threading

import numpy as np
import pytest
from kernels.exactness import at_level, threads

import fastnet
from fastnet import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    _ext,
    models,
)
from fastnet.layers import folding


def trained(net, shape, dtype=np.float32):
    """The net with statistics of its own."""
    rng = np.random.default_rng(2)
    net.astype(dtype)
    for parameter in net.parameters():
        parameter.data += rng.uniform(-0.2, 0.2, parameter.shape).astype(dtype)
    for _ in range(3):
        net.forward(rng.standard_normal((5, *shape)).astype(dtype))
    return net.eval()


def small():
    fastnet.manual_seed(1)
    body = Sequential(Conv2d(6, 6, 3, padding=1), BatchNorm2d(6), ReLU(), Conv2d(6, 6, 1, bias=False), BatchNorm2d(6))
    return Sequential(
        Conv2d(3, 6, 3, bias=False), BatchNorm2d(6, affine=False), ReLU(), MaxPool2d(2), Residual(body), ReLU(),
        Flatten(), Linear(6 * 4 * 3, 7), BatchNorm1d(7), ReLU(), Linear(7, 4),
    )  # fmt: skip


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_a_folded_net_gives_the_nets_scores(dtype, bound):
    net = trained(small(), (3, 10, 9), dtype)
    x = np.random.default_rng(3).standard_normal((4, 3, 10, 9)).astype(dtype)
    wanted, folded = net.forward(x), net.fold()
    for _ in range(4):  # the first time layer by layer, then recorded, then made again
        np.testing.assert_allclose(folded.forward(x), wanted, rtol=0, atol=bound * np.abs(wanted).max())
    assert not any(isinstance(layer, BatchNorm1d | BatchNorm2d) for layer in folded.modules())


@pytest.mark.parametrize("name", ["lenet", "resnet20", "mobilenet_v1"])
def test_a_program_gives_the_bits_of_the_layers(name):
    shape = (1, 28, 28) if name == "lenet" else (3, 32, 32)
    folded = trained(models.build(name, shape), shape).fold()
    rng = np.random.default_rng(4)
    for _ in range(2):
        folded.forward(rng.standard_normal((2, *shape)).astype(np.float32))
    (program,) = folded._programs.values()
    assert program is not None
    assert program.calls
    for _ in range(3):
        x = rng.standard_normal((2, *shape)).astype(np.float32)
        assert np.array_equal(folded.forward(x), folded.net.forward(x))


def ends(width, slope, short):
    """A block of two convolutions whose shortcut is a convolution, or not there."""
    body = Sequential(Conv2d(6, 8, 3, padding=1), LeakyReLU(slope), Conv2d(8, width, 3, padding=1), BatchNorm2d(width))
    return Sequential(Conv2d(3, 6, 3), ReLU(), Residual(body, short), LeakyReLU(slope), Conv2d(width, 2, 1), ReLU())


@pytest.mark.parametrize("level", _ext.available_levels())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rectifiers_and_additions_are_done_by_the_convolutions_before_them(dtype, level):
    for net in (ends(6, 0.25, None), ends(33, 0.0, Conv2d(6, 33, 1))):
        x = np.random.default_rng(6).standard_normal((2, 3, 10, 19)).astype(dtype)
        net, found = trained(net, (3, 10, 19), dtype), []
        wanted, folded = net.forward(x), net.fold()
        assert not any(isinstance(layer, ReLU | LeakyReLU) for layer in folded.net[2:])
        with at_level(level):
            for count in (1, 2, 5):
                with threads(count):
                    found.append(folded.net.forward(x))
        assert all(np.array_equal(y, found[0]) for y in found)
        np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
        folded.net.fuse = False
        np.testing.assert_allclose(folded.net.forward(x), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_numbers_that_are_not_finite_stay_so_in_a_folded_block():
    net = trained(ends(6, 0.25, None), (3, 9, 8))
    x = np.random.default_rng(7).standard_normal((1, 3, 9, 8)).astype(np.float32)
    x[0, 1, 4, 4] = np.nan
    assert np.array_equal(np.isnan(net.fold().forward(x)), np.isnan(net.forward(x)))


def test_a_rectifier_in_front_of_a_pool_is_left_to_it_and_those_of_a_user_alone():
    class Own(ReLU):
        pass

    net = Sequential(Conv2d(3, 4, 3), ReLU(), MaxPool2d(2), Conv2d(4, 5, 1), Own(), Linear(2, 3), ReLU()).fold().net
    assert [type(layer) for layer in net] == [Conv2d, ReLU, MaxPool2d, Conv2d, Own, Linear, ReLU]


def test_a_shortcut_of_another_shape_is_refused():
    net = Sequential(Residual(Sequential(Conv2d(3, 4, 3, padding=1), ReLU(), Conv2d(4, 3, 3))), ReLU()).fold()
    with pytest.raises(ValueError, match=r"the output has shape .1, 3, 4, 3., what is added to it .1, 5, 6, 3."):
        net.forward(np.zeros((1, 3, 5, 6), np.float32))


def test_results_stay_when_the_next_ones_are_computed():
    folded = trained(small(), (3, 10, 9)).fold()
    x = np.random.default_rng(5).standard_normal((3, 2, 3, 10, 9)).astype(np.float32)
    for _ in range(2):
        folded.forward(x[0])
    first = folded.forward(x[1])
    kept = first.copy()
    folded.forward(x[2])
    assert np.array_equal(first, kept)


def test_numbers_that_do_not_split_are_computed_layer_by_layer():
    folded = trained(models.build("resnet20", (3, 32, 32)), (3, 32, 32)).fold()
    x = np.random.default_rng(6).standard_normal((2, 3, 32, 32)).astype(np.float32)
    for _ in range(3):
        folded.forward(x)
    x[0, 1, 2, 3] = np.nan
    assert np.isnan(folded.forward(x)[0]).all()
    assert np.isfinite(folded.forward(x)[1]).all()


def test_a_layer_that_computes_with_numpy_is_never_replayed_wrongly():
    class Halved(Layer):
        def forward(self, x):
            return self._keep(x * np.float32(0.5), True)

    folded = trained(Sequential(Conv2d(3, 6, 3), Halved(), Conv2d(6, 2, 1)), (3, 10, 9)).fold()
    rng = np.random.default_rng(7)
    for _ in range(4):
        x = rng.standard_normal((2, 3, 10, 9)).astype(np.float32)
        assert np.array_equal(folded.forward(x), folded.net.forward(x))


def test_large_inputs_are_not_recorded(monkeypatch):
    monkeypatch.setattr(folding, "LIMIT", 4 << 20)
    folded = trained(models.build("vgg_bn", (3, 32, 32)), (3, 32, 32)).fold()
    x = np.zeros((8, 3, 32, 32), np.float32)
    for _ in range(2):
        folded.forward(x)
    assert list(folded._programs.values()) == [None]


def test_several_threads_may_ask_at_once():
    folded = trained(small(), (3, 10, 9)).fold()
    xs = np.random.default_rng(8).standard_normal((4, 2, 3, 10, 9)).astype(np.float32)
    wanted = [folded.net.forward(x) for x in xs]
    wrong = []

    def ask(i):
        for _ in range(30):
            if not np.array_equal(folded.forward(xs[i]), wanted[i]):
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_folded_net_stays_in_evaluation_mode_and_has_no_backward():
    folded = trained(small(), (3, 10, 9)).fold()
    assert not any(layer.training for layer in folded.train().modules())
    with pytest.raises(NotImplementedError, match="Folded"):
        folded.backward(np.zeros((2, 4), np.float32))


def test_the_net_itself_is_not_touched():
    net = trained(small(), (3, 10, 9))
    before = net.state_dict()
    net.fold().forward(np.zeros((2, 3, 10, 9), np.float32))
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())
