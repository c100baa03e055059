"""Fused nets where it is easy to be wrong: random ones, and cases that were."""

import copy
import pickle

import numpy as np
import pytest
from nets_at_random import check, distance, taught

from fastnet import BatchNorm2d, Conv2d, Identity, Layer, LeakyReLU, MaxPool2d, ReLU, Residual, Sequential, memory


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_random_nets_give_the_same_however_they_are_run(first):
    for i in range(first, first + 20):
        check(np.random.default_rng((1, i)))


CASES = {
    "a norm of the input before a residual": lambda: [BatchNorm2d(3), Residual(Sequential(Conv2d(3, 3, 1)))],
    "an identity between the two": lambda: [BatchNorm2d(3), Identity(), Residual(Sequential(Conv2d(3, 3, 1)))],
    "a body that begins with an identity": lambda: [
        Conv2d(3, 4, 1), BatchNorm2d(4), LeakyReLU(0.3), Residual(Sequential(Identity(), Conv2d(4, 4, 1))),
    ],
    "an identity as a shortcut of what is rectified": lambda: [
        Conv2d(3, 4, 1), BatchNorm2d(4), LeakyReLU(0.3), Residual(Conv2d(4, 4, 1), Sequential(Identity())),
    ],
    "max-pooling as a shortcut of what is rectified": lambda: [
        Conv2d(3, 4, 1), LeakyReLU(0.3), Residual(Conv2d(4, 4, 2, stride=2), Sequential(MaxPool2d(2), BatchNorm2d(4))),
    ],
    "a body of nothing beside a shortcut": lambda: [
        Conv2d(3, 4, 1), BatchNorm2d(4), LeakyReLU(0.3), Residual(Sequential(), Residual(Identity())),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_passes_each_rectifier_once_and_brings_its_own_sums(name):
    net = Sequential(*CASES[name]()).astype(np.float64)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((5, 3, 8, 6))
    dy = rng.standard_normal(net.forward(x).shape)
    gap, where = distance(taught(net, x, dy), taught(net, x, dy, fuse=False))
    assert gap < 1e-12, where
    short = taught(net, x, dy, input_gradient=False)
    full = taught(net, x, dy)
    assert all(np.array_equal(value, full[key]) for key, value in short.items() if key != "dx")


class Stretched(Layer):
    """A user's layer whose gradient has another shape than its input."""

    def forward(self, x):
        return self._keep(x + 1, True)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        return np.ones((2, 4, 9, 9), dy.dtype)


@pytest.mark.parametrize("before", [[Conv2d(3, 4, 1)], [Conv2d(3, 4, 1), BatchNorm2d(4), ReLU()]])
def test_a_users_gradient_of_another_shape_is_refused(before):
    net = Sequential(*before, Stretched())
    y = net.forward(np.ones((2, 3, 5, 6), np.float32))
    with pytest.raises(ValueError, match="Stretched backward: expected a gradient of its input's shape"):
        net.backward(y)


def test_a_read_only_gradient_is_left_alone():
    net = Sequential(BatchNorm2d(3)).astype(np.float64)
    x = np.random.default_rng(3).standard_normal((4, 5, 6, 3)).transpose(0, 3, 1, 2)
    net.forward(x)
    dy = np.cos(np.arange(360.0)).reshape(4, 5, 6, 3).transpose(0, 3, 1, 2)
    wanted = net.backward(dy.copy())
    dy.flags.writeable = False
    np.testing.assert_allclose(net.backward(dy), wanted, rtol=1e-12, atol=1e-15)


class Moody(Layer):
    """A user's layer that raises when it is told to."""

    raises = False

    def forward(self, x):
        if self.raises:
            raise ValueError("not today")
        return self._keep(x * 1, True)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        return dy


def test_a_checkpoint_whose_second_forward_fails_leaves_statistics_and_mode_as_they_were():
    inner = Sequential(Conv2d(3, 4, 1), BatchNorm2d(4), Moody(), ReLU(), checkpoint=True)
    net = Sequential(inner, Conv2d(4, 2, 1))
    x = np.random.default_rng(4).standard_normal((5, 3, 6, 7)).astype(np.float32)
    y = net.forward(x)
    wanted = net.backward(y)
    before = net.state_dict()
    inner[2].raises = True
    with pytest.raises(ValueError, match="not today"):
        net.backward(y)
    inner[2].raises = False
    for name, value in net.state_dict().items():
        assert np.array_equal(value, before[name]), name
    assert np.array_equal(net.backward(y), wanted)
    net.eval()  # the inside is run again as it was
    assert np.array_equal(net.backward(y), wanted)
    assert not any(layer.training for layer in net.modules())


def test_folding_leaves_alone_what_is_looked_at_between_convolution_and_norm():
    class Peeking(Sequential):
        def forward(self, x):
            h = self[0].forward(x)
            return self[1].forward(h) + h

    one = Peeking(Conv2d(3, 4, 1), BatchNorm2d(4))
    other = Sequential(Conv2d(3, 4, 1), BatchNorm2d(4))
    other[0].forward = lambda x: Conv2d.forward(other[0], x) * 2
    x = np.random.default_rng(5).standard_normal((5, 3, 6, 7)).astype(np.float32)
    for net in (one, other):
        net.forward(x)
        net.eval()
        np.testing.assert_allclose(net.fold().forward(x), net.forward(x), rtol=1e-5, atol=1e-6)


def test_a_folded_net_can_be_copied_pickled_converted_and_given_other_weights():
    net = Sequential(Conv2d(3, 4, 3), BatchNorm2d(4), ReLU()).eval()
    x = np.random.default_rng(6).standard_normal((2, 3, 6, 7)).astype(np.float32)
    folded = net.fold()
    for _ in range(3):
        wanted = folded.forward(x)
    for other in (pickle.loads(pickle.dumps(folded)), copy.deepcopy(folded)):
        assert np.array_equal(other.forward(x), wanted)
    folded.load_state_dict({name: 2 * value for name, value in folded.state_dict().items()})
    np.testing.assert_allclose(folded.forward(x), 2 * wanted, rtol=1e-6)
    folded.astype(np.float64)
    with pytest.raises(TypeError, match="convert one"):
        folded.forward(x)


def kept(net, x):
    """Numbers that a forward leaves in memory, and its output."""
    net.free_after_backward().forward(x)  # the arrays of the step before are let go in this one
    net._forget()
    before = memory.statistics()["live"]
    y = net.forward(x)
    return (memory.statistics()["live"] - before) // x.itemsize, y


def test_of_a_convolution_a_rectifier_and_a_max_pooling_only_maxima_and_winners_are_kept():
    net = Sequential(Conv2d(3, 64, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(64, 5, 1))
    x = np.ascontiguousarray(np.random.default_rng(3).standard_normal((7, 3, 64, 32)), np.float32)
    found, y = kept(net, x)
    maxima = 7 * 64 * 32 * 16
    assert maxima * 5 / 4 + y.size <= found < maxima * 2


def test_of_residual_blocks_every_second_value_is_kept_and_the_others_are_made_again():
    def block():
        return Residual(Sequential(Conv2d(32, 32, 3, padding=1), BatchNorm2d(32)))

    def blocks(count):
        layers = [layer for _ in range(count) for layer in (block(), ReLU())]
        return Sequential(Conv2d(32, 32, 1), BatchNorm2d(32), ReLU(), *layers, Conv2d(32, 5, 1))

    x = np.random.default_rng(4).standard_normal((6, 32, 40, 48)).astype(np.float32)
    few, many = (kept(blocks(count), x)[0] for count in (2, 6))
    assert many - few == pytest.approx(4 * x.size * 1.5, rel=0.05)  # z of each, v of every second


def test_a_rectifier_alone_cannot_go_back_where_the_net_keeps_nothing_for_it():
    net = Sequential(Conv2d(3, 4, 1), ReLU(), Conv2d(4, 5, 1)).free_after_backward()
    y = net.forward(np.ones((2, 3, 6, 7), np.float32))
    with pytest.raises(RuntimeError, match="fuse = False"):
        net[1].backward(np.ones((2, 4, 6, 7), np.float32))
    net.backward(y)
