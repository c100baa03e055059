"""A rule's state: exact resume, JSON, and errors that change nothing."""

import copy
import json

import numpy as np
import pytest

from fastnet import optim
from fastnet.parameters import Parameter

RULES = {
    "SGD": (optim.SGD, {"lr": 0.1}),
    "momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "Nesterov looking ahead": (optim.NesterovLookAhead, {"lr": 0.1, "momentum": 0.8}),
    "AdaGrad": (optim.AdaGrad, {"lr": 0.1, "initial_accumulator_value": 0.2}),
    "RMSProp": (optim.RMSProp, {"lr": 0.1}),
    "RMSProp centred": (optim.RMSProp, {"lr": 0.1, "centered": True, "momentum": 0.5}),
    "Adam": (optim.Adam, {"lr": 0.1}),
    "AMSGrad": (optim.Adam, {"lr": 0.1, "amsgrad": True, "betas": (0.5, 0.9)}),
    "AdamW": (optim.AdamW, {"lr": 0.1}),
    "LBFGS": (optim.LBFGS, {"lr": 0.5, "max_iter": 2, "history_size": 3}),
    "LBFGS searching": (optim.LBFGS, {"max_iter": 1, "history_size": 2, "line_search_fn": "strong_wolfe"}),
}
EVERY = pytest.mark.parametrize("name", RULES)


class Valley:
    """Two parameters, a smooth loss with curved contours, and a closure for it."""

    def __init__(self, dtype=np.float64):
        rng = np.random.default_rng(5)
        self.w = Parameter(rng.standard_normal((3, 4)).astype(dtype), "w")
        self.b = Parameter(rng.standard_normal(5).astype(dtype), "b", decay=False)
        self.parameters = [self.w, self.b]

    def closure(self):
        w, b = self.w.data, self.b.data
        self.w.grad = 3 * w + w**3 + b[:4]
        self.b.grad = b.copy()
        self.b.grad[:4] += w.sum(0)
        return float(1.5 * (w**2).sum() + 0.25 * (w**4).sum() + 0.5 * (b**2).sum() + (w * b[:4]).sum())

    def bits(self):
        return [p.data.tobytes() for p in self.parameters]


def through_json(state):
    """The state as a checkpoint keeps it: numbers through JSON, arrays as they are."""
    arrays = state["state"]
    return json.loads(json.dumps({k: v for k, v in state.items() if k != "state"})) | {"state": arrays}


def test_every_rule_stands_in_the_table():
    rules = {getattr(optim, name) for name in optim.__all__ if isinstance(getattr(optim, name), type)}
    assert {r for r in rules if issubclass(r, optim.Rule)} - {optim.Rule} == {r for r, _ in RULES.values()}, (
        "add a case"
    )


@EVERY
@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_resumed_run_has_the_bits_of_the_uninterrupted_one(name, stop):
    rule, arguments = RULES[name]
    whole, first, second = Valley(), Valley(), Valley()
    uninterrupted, before = rule(whole.parameters, **arguments), rule(first.parameters, **arguments)
    for _ in range(8):
        uninterrupted.step(whole.closure)
    for _ in range(stop):
        before.step(first.closure)
    for p, q in zip(first.parameters, second.parameters):
        q.data = p.data
    after = rule(second.parameters, lr=0.7)  # other hyperparameters: the state brings its own
    after.load_state_dict(through_json(before.state_dict()))
    for _ in range(8 - stop):
        after.step(second.closure)
    assert second.bits() == whole.bits()
    assert after.steps == 8


@EVERY
def test_a_state_is_a_copy(name):
    rule, arguments = RULES[name]
    valley = Valley()
    optimiser = rule(valley.parameters, **arguments)
    optimiser.step(valley.closure)
    state = optimiser.state_dict()
    kept = copy.deepcopy(state)
    for _ in range(3):
        optimiser.step(valley.closure)
    np.testing.assert_equal(state, kept)


def test_a_state_has_pytorchs_names_and_the_parameters_shapes():
    valley = Valley()
    optimiser = optim.Adam(valley.parameters, amsgrad=True)
    optimiser.step(valley.closure)
    state = optimiser.state_dict()
    assert state["rule"] == "Adam"
    assert state["steps"] == 1
    assert state["hyperparameters"] == {
        "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "amsgrad": True, "eps_inside": False
    }  # fmt: skip
    assert set(state["state"]) == {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
    assert {name: array.shape for name, array in state["state"]["exp_avg"].items()} == {"w": (3, 4), "b": (5,)}
    np.testing.assert_allclose(state["state"]["exp_avg"]["b"], 0.1 * valley.b.grad)


def test_names_are_those_the_parameters_had_when_the_rule_was_built():
    valley = Valley()
    optimiser = optim.SGD(valley.parameters, 0.1, 0.9)
    valley.w.name = valley.b.name = "renamed"
    assert set(optimiser.state_dict()["state"]["momentum_buffer"]) == {"w", "b"}


def test_parameters_of_one_name_have_no_state_dict():
    optimiser = optim.SGD([Parameter(np.ones(2), "w"), Parameter(np.ones(3), "w")], 0.1, 0.9)
    with pytest.raises(ValueError, match=r"different names, found \['w'\]"):
        optimiser.state_dict()


def spoil(state, path, value):
    """A deep copy of the state with one place changed, or taken out (value is None)."""
    state = copy.deepcopy(state)
    place = state
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return state


@pytest.mark.parametrize(
    ("path", "value", "error", "message"),
    [
        (("rule",), "SGD", ValueError, "expected the state of Adam, found that of SGD"),
        (("rule",), None, ValueError, "missing ['rule']"),
        (("surplus",), 1, ValueError, "unexpected ['surplus']"),
        (("steps",), -1, ValueError, "steps must be at least 0, found -1"),
        (("steps",), 1.5, TypeError, "steps must be an integer"),
        (("hyperparameters", "lr"), None, ValueError, "missing ['lr']"),
        (("hyperparameters", "lr"), -1.0, ValueError, "lr must be finite and at least 0"),
        (("hyperparameters", "lr"), "fast", TypeError, "lr must be a number"),
        (("hyperparameters", "mu"), 0.5, ValueError, "unexpected ['mu']"),
        (("hyperparameters",), 3, TypeError, "the hyperparameters must be a mapping, found int"),
        (("hyperparameters", "amsgrad"), True, ValueError, "missing ['max_exp_avg_sq']"),
        (("numbers", "x"), 1, ValueError, "unexpected ['x']"),
        (("state",), 3, TypeError, "the state must be a mapping, found int"),
        (("state", "exp_avg"), None, ValueError, "missing ['exp_avg']"),
        (("state", "sum"), {}, ValueError, "unexpected ['sum']"),
        (("state", "exp_avg", "w"), None, ValueError, "in 'exp_avg', missing ['w']"),
        (("state", "exp_avg", "v"), np.ones(2), ValueError, "in 'exp_avg', missing nothing, unexpected ['v']"),
        (("state", "exp_avg", "w"), np.ones((4, 3)), ValueError, "'exp_avg' of 'w' must have shape (3, 4), found (4, 3)"),
        (("state", "exp_avg", "w"), np.full((3, 4), "x"), TypeError, "'exp_avg' of 'w' must hold numbers"),
        (("state", "exp_avg"), 3, TypeError, "'exp_avg' must be a mapping"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_changes_nothing(path, value, error, message):
    valley = Valley()
    optimiser = optim.Adam(valley.parameters, lr=0.1)
    for _ in range(3):
        optimiser.step(valley.closure)
    before = optimiser.state_dict()
    with pytest.raises(error) as caught:
        optimiser.load_state_dict(spoil(before, path, value))
    assert message in str(caught.value)
    assert str(caught.value).startswith("Adam.load_state_dict: ")
    np.testing.assert_equal(optimiser.state_dict(), before)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("state", "s0"), None, "missing"),
        (("state", "s01"), {}, "unexpected ['s01']"),
        (("state", "gradient"), None, "missing ['gradient']"),
        (("numbers", "scale"), -1.0, "scale must be finite and above 0"),
        (("hyperparameters", "line_search_fn"), "armijo", "line_search_fn must be one of None, 'strong_wolfe'"),
    ],
)
def test_a_state_of_lbfgs_that_does_not_fit_changes_nothing(path, value, message):
    valley = Valley()
    optimiser = optim.LBFGS(valley.parameters, lr=0.5, max_iter=4)
    optimiser.step(valley.closure)
    before = optimiser.state_dict()
    assert {"s0", "y0", "s1", "y1", "step", "gradient"} <= before["state"].keys()
    with pytest.raises(ValueError) as caught:
        optimiser.load_state_dict(spoil(before, path, value))
    assert message in str(caught.value)
    np.testing.assert_equal(optimiser.state_dict(), before)


def test_loading_a_state_without_momentum_forgets_the_momentum():
    a, b = Valley(), Valley()
    plain, moving = optim.SGD(a.parameters, 0.1), optim.SGD(b.parameters, 0.1, 0.9)
    moving.step(b.closure)
    moving.load_state_dict(plain.state_dict())
    assert moving.state_dict()["state"] == {}
    assert moving.momentum == 0.0
