"""L-BFGS and its line search."""

import math

import numpy as np
import pytest

from fastnet import optim
from fastnet.optim.line_search import Point, strong_wolfe
from fastnet.parameters import Parameter


class Logistic:
    """Logistic regression with a little L2: convex, 60 examples, 7 features."""

    def __init__(self, dtype=np.float64):
        rng = np.random.default_rng(2)
        self.x, self.y = rng.standard_normal((60, 7)).astype(dtype), (rng.random(60) < 0.4).astype(dtype)
        self.w, self.b = Parameter(np.zeros(7, dtype), "w"), Parameter(np.zeros(1, dtype), "b", decay=False)
        self.calls = 0

    def closure(self):
        self.calls += 1
        scores = self.x @ self.w.data + self.b.data
        p = 1 / (1 + np.exp(-scores))
        self.w.grad = self.x.T @ (p - self.y) / 60 + 0.01 * self.w.data
        self.b.grad = (p - self.y).mean(keepdims=True)
        return float(np.logaddexp(0, scores).mean() - (self.y * scores).mean() + 0.005 * (self.w.data**2).sum())


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize(("dtype", "largest"), [(np.float64, 1e-7), (np.float32, 1e-4)])
def test_it_solves_a_convex_problem(search, dtype, largest):
    problem = Logistic(dtype)
    optimiser = optim.LBFGS(
        [problem.w, problem.b], max_iter=60, tolerance_change=0.0, tolerance_grad=largest / 2, line_search_fn=search
    )
    first = optimiser.step(problem.closure)
    assert first == pytest.approx(math.log(2))
    assert problem.closure() < first
    assert np.abs(problem.w.grad).max() < largest
    assert problem.calls < 45


@pytest.mark.parametrize("history", [1, 3, 100])
def test_without_a_line_search_it_takes_pytorchs_steps(history):
    torch = pytest.importorskip("torch")
    problem = Logistic()
    optimiser = optim.LBFGS([problem.w, problem.b], lr=0.5, max_iter=3, history_size=history)
    w, b = (torch.zeros(n, dtype=torch.float64, requires_grad=True) for n in (7, 1))
    theirs = torch.optim.LBFGS([w, b], lr=0.5, max_iter=3, history_size=history)
    x, y = torch.tensor(problem.x), torch.tensor(problem.y)

    def closure():
        theirs.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ w + b, y) + 0.005 * (w**2).sum()
        loss.backward()
        return loss

    for _ in range(5):
        assert optimiser.step(problem.closure) == pytest.approx(float(theirs.step(closure).detach()), rel=1e-9)
        np.testing.assert_allclose(problem.w.data, w.detach().numpy(), rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(problem.b.data, b.detach().numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("start", [(-1.2, 1.0), (0.0, 0.0), (-3.0, -4.0), (5.0, 5.0)])
def test_rosenbrocks_valley_is_solved_within_sixty_evaluations(start):
    w, values = Parameter(np.array(start), "w"), []

    def closure():
        x, y = w.data.tolist()
        w.grad = np.array([-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)])
        values.append(100 * (y - x * x) ** 2 + (1 - x) ** 2)
        return values[-1]

    optimiser = optim.LBFGS([w], max_iter=100, tolerance_change=0.0, line_search_fn="strong_wolfe")
    optimiser.step(closure)
    assert values[-1] < 1e-8
    assert len(values) <= 60
    np.testing.assert_allclose(w.data, [1.0, 1.0], rtol=1e-6)


def test_it_leaves_the_gradient_of_the_place_where_it_stops():
    problem = Logistic()
    optim.LBFGS([problem.w, problem.b], max_iter=4, line_search_fn="strong_wolfe").step(problem.closure)
    left = problem.w.grad.copy()
    problem.closure()
    np.testing.assert_array_equal(left, problem.w.grad)


def test_it_stops_where_the_gradient_is_zero_already():
    w = Parameter(np.ones(3), "w")
    optimiser = optim.LBFGS([w])
    assert optimiser.step(lambda: 7.0) == 7.0
    np.testing.assert_array_equal(w.data, np.ones(3))


def test_it_does_not_move_along_gradients_that_are_nan():
    w = Parameter(np.ones(3), "w")

    def closure():
        w.grad = np.array([1.0, np.nan, 2.0])
        return math.nan

    optimiser = optim.LBFGS([w], line_search_fn="strong_wolfe")
    for _ in range(2):
        assert math.isnan(optimiser.step(closure))
    np.testing.assert_array_equal(w.data, np.ones(3))


def test_it_needs_a_closure():
    with pytest.raises(TypeError, match="LBFGS: step needs a closure"):
        optim.LBFGS([Parameter(np.ones(2), "w")]).step()


def test_max_eval_limits_the_calls():
    problem = Logistic()
    optim.LBFGS([problem.w, problem.b], max_iter=50, max_eval=6, tolerance_change=0.0).step(problem.closure)
    assert problem.calls == 6


FUNCTIONS = {
    "a parabola": (lambda t: ((t - 3) ** 2, 2 * (t - 3)), 0.01),
    "a parabola from beyond": (lambda t: ((t - 3) ** 2, 2 * (t - 3)), 100.0),
    "a cosine": (lambda t: (math.cos(t), -math.sin(t)), 0.3),
    "a wall": (lambda t: (-t, -1.0) if t < 0.9 else (math.inf, math.nan), 1.0),
    "More and Thuente 1": (lambda t: (-t / (t**2 + 2), (t**2 - 2) / (t**2 + 2) ** 2), 10.0),
    "More and Thuente 2": (
        lambda t: ((t + 0.004) ** 5 - 2 * (t + 0.004) ** 4, 5 * (t + 0.004) ** 4 - 8 * (t + 0.004) ** 3),
        1e-3,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_line_search_meets_the_strong_wolfe_conditions(name):
    phi, t = FUNCTIONS[name]
    shift = 0.2 if name == "a cosine" else 0.0
    value, slope = phi(shift)
    found = strong_wolfe(lambda t: phi(t + shift), t, Point(0.0, value, slope))
    assert (found.value, found.slope) == phi(found.t + shift)
    assert found.value <= value + 1e-4 * found.t * slope
    assert abs(found.slope) <= 0.9 * abs(slope) or name == "a wall"
    assert found.t > 0


def test_the_line_search_stays_where_nothing_is_better():
    start = Point(0.0, 0.0, -1.0)
    assert strong_wolfe(lambda t: (1.0, 1.0), 1.0, start) == start
