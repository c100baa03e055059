"""The course's update rules against their formulas written out, and against each other."""

import numpy as np
import pytest
from course import draws

import fastnet
from fastnet.cs231n import optim
from fastnet.parameters import Parameter

RULES = optim.__all__


def written_out(rule, w, gradients, rates, mu=0.9):
    """The steps of a rule with its defaults, one formula a line."""
    v, m = np.zeros_like(w), np.zeros_like(w)
    for t, (g, lr) in enumerate(zip(gradients, rates), 1):
        if rule == "sgd":
            w = w - lr * g
        elif rule == "sgd_momentum":
            v = mu * v - lr * g
            w = w + v
        elif rule == "nesterov":
            before, v = v, mu * v - lr * g
            w = w - mu * before + (1 + mu) * v
        elif rule == "adagrad":
            v = v + g**2
            w = w - lr * g / (np.sqrt(v) + 1e-7)
        elif rule == "rmsprop":
            v = 0.99 * v + 0.01 * g**2
            w = w - lr * g / (np.sqrt(v) + 1e-8)
        elif rule == "adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            w = w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_its_formula_while_the_learning_rate_changes(rule):
    draw = draws(1)
    w, gradients, rates = draw(4, 5, 3), [draw(4, 5, 3) for _ in range(6)], [0.1, 0.1, 0.05, 0.05, 0.2, 0.01]
    found, config = w, None
    for g, lr in zip(gradients, rates):
        config = {} if config is None else config
        config["learning_rate"] = lr
        found, config = getattr(optim, rule)(found, g, config)
    np.testing.assert_allclose(found, written_out(rule, w, gradients, rates), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_fills_in_its_defaults_and_leaves_its_arguments(rule):
    draw = draws(2)
    w, dw = draw(4, 5), draw(4, 5)
    first, config = getattr(optim, rule)(w, dw)
    before = {name: np.copy(value) for name, value in config.items()}
    held = dict(config)
    w_before, dw_before = w.copy(), dw.copy()
    second, same = getattr(optim, rule)(w, dw, config)
    assert same is config
    assert second.flags.c_contiguous
    np.testing.assert_array_equal(w, w_before)
    np.testing.assert_array_equal(dw, dw_before)
    for name, value in held.items():  # the arrays of the first step are as they were
        np.testing.assert_array_equal(value, before[name])
    assert config["learning_rate"] == (1e-3 if rule == "adam" else 1e-2)
    assert (first != w).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_takes_any_memory_order_and_keeps_the_dtype_of_the_weights(rule):
    draw, function = draws(3), getattr(optim, rule)
    w, dw = draw(6, 5), draw(6, 5)
    wanted, config = function(w, dw)
    for other in (np.asfortranarray(w), np.flip(np.flip(w).copy())):
        np.testing.assert_array_equal(function(other, np.asfortranarray(dw))[0], wanted)
    single, config = function(w.astype(np.float32), dw)
    assert {a.dtype for a in (single, *config.values()) if isinstance(a, np.ndarray)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(single, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_finds_the_bottom_of_a_bowl(rule):
    w, config = draws(4)(7, 3), {"learning_rate": 0.5 if rule == "adagrad" else 0.02}
    for _ in range(400):
        w, config = getattr(optim, rule)(w, w, config)
    assert np.abs(w).max() < 0.05


def test_both_forms_of_momentum_agree_until_the_learning_rate_changes():
    draw = draws(6)
    w, gradients = draw(5, 4), [draw(5, 4) for _ in range(4)]
    for rule, nesterov in (("sgd_momentum", False), ("nesterov", True)):
        p = Parameter(w.copy(), "w")
        torch_form = fastnet.optim.SGD([p], 0.1, momentum=0.9, nesterov=nesterov)
        course, config = w, {"learning_rate": 0.1}
        for step, g in enumerate(gradients):
            if step == 3:
                torch_form.lr = config["learning_rate"] = 0.01
            p.grad[...] = g
            torch_form.step()
            course, config = getattr(optim, rule)(course, g, config)
            agree = np.allclose(p.data, course, rtol=1e-12)
            assert agree == (step < 3)


def test_bad_arguments_are_refused_before_anything_is_written():
    w, config = np.ones((3, 4)), {"velocity": np.ones((4, 3))}
    with pytest.raises(ValueError, match=r"velocity must have the shape of w \(3, 4\), found \(4, 3\)"):
        optim.sgd_momentum(w, w, config)
    with pytest.raises(ValueError, match=r"dw must have the shape of w \(3, 4\), found \(4,\)"):
        optim.adam(w, np.ones(4))
    with pytest.raises(TypeError, match="real numbers"):
        optim.sgd(w, w.astype(complex))
    assert (w == 1).all()
