"""Nesterov's momentum: the form that looks ahead and the one with transformed variables take the same way."""

import numpy as np
import pytest

import fastnet
from fastnet import optim
from fastnet.parameters import Parameter


class Valley:
    """loss = sum of steep * w^2 / 2 + w^4 / 4, and which places were looked at."""

    def __init__(self, dtype=np.float64):
        rng = np.random.default_rng(3)
        self.steep = np.logspace(0, 2, 35).reshape(5, 7).astype(dtype)
        self.w = Parameter(rng.standard_normal((5, 7)).astype(dtype), "w")
        self.b = Parameter(rng.standard_normal(3).astype(dtype), "b", decay=False)
        self.parameters, self.looked = [self.w, self.b], []

    def closure(self):
        self.looked.append((self.w.data.copy(), self.b.data.copy()))
        self.w.grad, self.b.grad = self.steep * self.w.data + self.w.data**3, self.b.data.copy()
        return float((self.steep * self.w.data**2).sum() / 2 + (self.w.data**4).sum() / 4 + (self.b.data**2).sum() / 2)


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_both_forms_look_at_the_same_places_for_a_hundred_steps(momentum, weight_decay):
    ahead, here = Valley(), Valley()
    first = optim.NesterovLookAhead(ahead.parameters, 2e-3, momentum, weight_decay)
    second = optim.SGD(here.parameters, 2e-3, momentum, nesterov=True, weight_decay=weight_decay)
    for _ in range(100):
        assert first.step(ahead.closure) == pytest.approx(second.step(here.closure), rel=1e-9)
    for places in zip(ahead.looked, here.looked):
        for a, b in zip(*places):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    v = first.array("momentum_buffer")
    np.testing.assert_allclose(first.buffer.data - 2e-3 * momentum * v, second.buffer.data, rtol=1e-9, atol=1e-12)


def test_without_momentum_it_is_gradient_descent():
    ahead, plain = Valley(np.float32), Valley(np.float32)
    first, second = optim.NesterovLookAhead(ahead.parameters, 1e-3, 0.0), optim.SGD(plain.parameters, 1e-3)
    for _ in range(5):
        first.step(ahead.closure)
        second.step(plain.closure)
    for p, q in zip(ahead.parameters, plain.parameters):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-5)


def test_an_error_in_the_closure_leaves_weights_and_velocity():
    valley = Valley()
    rule = optim.NesterovLookAhead(valley.parameters, 1e-3)
    for _ in range(3):
        rule.step(valley.closure)
    before = rule.state_dict(), [p.data.copy() for p in valley.parameters]

    def refuse():
        raise KeyError("no gradients today")

    with pytest.raises(KeyError, match="today"):
        rule.step(refuse)
    np.testing.assert_equal(rule.state_dict(), before[0])
    np.testing.assert_equal([p.data for p in valley.parameters], before[1])
    with pytest.raises(TypeError, match=r"^NesterovLookAhead: step needs a closure"):
        rule.step()


def test_a_solver_trains_with_it():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6)).astype(np.float32)
    data = {"x_train": x, "y_train": (x[:, 0] > 0).astype(np.int64)}
    net = fastnet.Sequential(fastnet.Linear(6, 2))
    rule = optim.NesterovLookAhead(net.parameters(), 0.1)
    history = fastnet.Solver(net, data, optimizer=rule, batch_size=20, epochs=10, progress=False).train()
    assert history.loss[-1] < 0.5 * history.loss[0]


@pytest.mark.parametrize("rule", [optim.SGD, optim.NesterovLookAhead])
def test_the_momentum_is_annealed_by_a_schedule_as_the_course_does(rule):
    data = {"x_train": np.ones((10, 3), np.float32), "y_train": np.zeros(10, np.int64)}
    net = fastnet.Sequential(fastnet.Linear(3, 2))
    seen = []
    fastnet.Solver(
        net,
        data,
        optimizer=rule(net.parameters(), 0.01, momentum=0.5),
        schedule={"momentum": optim.PiecewiseLinear([(0, 0.5), (8, 0.99)])},
        batch_size=5,
        epochs=5,
        callbacks=[fastnet.callbacks.Lambda(on_step=lambda s: seen.append(s.optimizer.momentum))],
        progress=False,
    ).train()
    np.testing.assert_allclose(seen, [*np.linspace(0.5, 0.99, 9), 0.99])
