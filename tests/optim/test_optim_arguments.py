"""Bad arguments of rules, schedules, averages and limits: the error names the argument, the value found and wanted."""

import math

import numpy as np
import pytest

from fastnet import optim
from fastnet.parameters import Parameter


def w():
    return [Parameter(np.ones((2, 3)), "w")]


BAD = [
    (lambda: optim.SGD(w(), lr=-0.1), ValueError, "SGD: lr must be finite and at least 0, found -0.1"),
    (lambda: optim.SGD(w(), lr=math.nan), ValueError, "SGD: lr must be finite and at least 0, found nan"),
    (lambda: optim.SGD(w(), lr=math.inf), ValueError, "SGD: lr must be finite and at least 0, found inf"),
    (lambda: optim.SGD(w(), lr="0.1"), TypeError, "SGD: lr must be a number, found '0.1'"),
    (lambda: optim.SGD(w(), lr=None), TypeError, "SGD: lr must be a number, found None"),
    (lambda: optim.SGD(w(), lr=True), TypeError, "SGD: lr must be a number, found True"),
    (lambda: optim.SGD(w()), TypeError, "lr"),
    (lambda: optim.SGD(w(), 0.1, momentum=1.5), ValueError,
     "SGD: momentum must be finite and at least 0 and at most 1, found 1.5"),
    (lambda: optim.SGD(w(), 0.1, momentum=-0.9), ValueError, "SGD: momentum must be"),
    (lambda: optim.SGD(w(), 0.1, nesterov=True), ValueError, "SGD: nesterov needs a momentum above 0, found 0"),
    (lambda: optim.SGD(w(), 0.1, 0.9, nesterov=1), TypeError, "SGD: nesterov must be True or False, found 1"),
    (lambda: optim.SGD(w(), 0.1, weight_decay=-1), ValueError, "SGD: weight_decay must be finite and at least 0, found -1"),
    (lambda: optim.SGD(w(), 0.1, dampening=0.5), TypeError, "dampening"),
    (lambda: optim.SGD([], 0.1), ValueError, "no parameters: the net has nothing to learn"),
    (lambda: optim.SGD(w() * 2, 0.1), ValueError, "a parameter is listed twice"),
    (lambda: optim.SGD(3, 0.1), TypeError, "expected a list of Parameters (layer.parameters()), found int"),
    (lambda: optim.SGD([np.ones(3)], 0.1), TypeError, "expected Parameters (layer.parameters()), found ndarray"),
    (lambda: optim.SGD([*w(), Parameter(np.ones(2, np.float32))], 0.1), TypeError, "one dtype, found ['float32', 'float64']"),
    (lambda: optim.AdaGrad(w(), lr=-1), ValueError, "AdaGrad: lr must be"),
    (lambda: optim.AdaGrad(w(), eps=0.0), ValueError, "AdaGrad: eps must be finite and above 0, found 0.0"),
    (lambda: optim.AdaGrad(w(), initial_accumulator_value=-1), ValueError, "AdaGrad: initial_accumulator_value must be"),
    (lambda: optim.RMSProp(w(), alpha=1.01), ValueError, "RMSProp: alpha must be finite and at least 0 and at most 1"),
    (lambda: optim.RMSProp(w(), eps=-1e-8), ValueError, "RMSProp: eps must be finite and above 0, found -1e-08"),
    (lambda: optim.RMSProp(w(), momentum=2), ValueError, "RMSProp: momentum must be"),
    (lambda: optim.RMSProp(w(), centered="yes"), TypeError, "RMSProp: centered must be True or False, found 'yes'"),
    (lambda: optim.Adam(w(), betas=(1.0, 0.999)), ValueError,
     "Adam: beta1 must be finite and at least 0 and below 1, found 1.0"),
    (lambda: optim.Adam(w(), betas=(0.9, -0.1)), ValueError, "Adam: beta2 must be finite and at least 0 and below 1"),
    (lambda: optim.Adam(w(), betas=0.9), ValueError, "Adam: betas must be a pair of numbers, found 0.9"),
    (lambda: optim.Adam(w(), betas=(0.9, 0.99, 0.999)), ValueError, "Adam: betas must be a pair of numbers"),
    (lambda: optim.Adam(w(), eps=0), ValueError, "Adam: eps must be finite and above 0, found 0"),
    (lambda: optim.Adam(w(), amsgrad=None), TypeError, "Adam: amsgrad must be True or False, found None"),
    (lambda: optim.AdamW(w(), weight_decay=-0.01), ValueError,
     "AdamW: weight_decay must be finite and at least 0, found -0.01"),
    (lambda: optim.AdamW(w(), betas=("a", 0.9)), TypeError, "AdamW: beta1 must be a number, found 'a'"),
    (lambda: optim.LBFGS(w(), max_iter=0), ValueError, "LBFGS: max_iter must be at least 1, found 0"),
    (lambda: optim.LBFGS(w(), max_eval=1.5), TypeError, "LBFGS: max_eval must be an integer, found 1.5"),
    (lambda: optim.LBFGS(w(), history_size=0), ValueError, "LBFGS: history_size must be at least 1, found 0"),
    (lambda: optim.LBFGS(w(), line_search_fn="wolfe"), ValueError, "LBFGS: line_search_fn must be one of None, 'strong_wolfe'"),
    (lambda: optim.LBFGS(w(), tolerance_grad=-1), ValueError, "LBFGS: tolerance_grad must be"),
    (lambda: optim.Constant("x"), TypeError, "Constant: initial must be a number, found 'x'"),
    (lambda: optim.StepDecay(0.1, 0), ValueError, "StepDecay: step_size must be finite and above 0, found 0"),
    (lambda: optim.StepDecay(0.1, 5, -0.5), ValueError, "StepDecay: gamma must be finite and at least 0, found -0.5"),
    (lambda: optim.StepDecay(math.nan, 5), ValueError, "StepDecay: initial must be finite, found nan"),
    (lambda: optim.ExponentialDecay(0.1, 1.1), ValueError, "ExponentialDecay: gamma must be"),
    (lambda: optim.InverseTimeDecay(0.1, -1), ValueError, "InverseTimeDecay: rate must be finite and at least 0, found -1"),
    (lambda: optim.CosineDecay(0.1, 0), ValueError, "CosineDecay: steps must be finite and above 0, found 0"),
    (lambda: optim.PiecewiseLinear([]), ValueError, "PiecewiseLinear: points must be pairs (step, value), at least one"),
    (lambda: optim.PiecewiseLinear([1, 2]), ValueError, "PiecewiseLinear: points must be pairs (step, value), found 1"),
    (lambda: optim.PiecewiseLinear([(3, 1), (3, 2)]), ValueError, "the steps of the points must increase, found [3.0, 3.0]"),
    (lambda: optim.PiecewiseLinear([(-1, 1)]), ValueError, "PiecewiseLinear: a step must be finite and at least 0, found -1"),
    (lambda: optim.Triangular(0.1, 0.2, -5), ValueError, "Triangular: half must be finite and above 0, found -5"),
    (lambda: optim.OneCycle(0.1, 0), ValueError, "OneCycle: steps must be at least 1, found 0"),
    (lambda: optim.OneCycle(0.1, 10, pct_start=30), ValueError, "OneCycle: pct_start must be"),
    (lambda: optim.OneCycle(0.1, 10.5), TypeError, "OneCycle: steps must be an integer, found 10.5"),
    (lambda: optim.WarmUp(0.1, -1), ValueError, "WarmUp: steps must be at least 0, found -1"),
    (lambda: optim.WarmUp("slow", 5), TypeError, "Constant: initial must be a number, found 'slow'"),
    (lambda: optim.ReduceOnPlateau(0.1, factor=1.0), ValueError,
     "ReduceOnPlateau: factor must be finite and at least 0 and below 1, found 1.0"),
    (lambda: optim.ReduceOnPlateau(0.1, patience=-1), ValueError, "ReduceOnPlateau: patience must be at least 0, found -1"),
    (lambda: optim.ReduceOnPlateau(0.1, mode="up"), ValueError,
     "ReduceOnPlateau: mode must be one of 'min', 'max', found 'up'"),
    (lambda: optim.ReduceOnPlateau(0.1, threshold_mode="both"), ValueError,
     "threshold_mode must be one of 'rel', 'abs', found 'both'"),
    (lambda: optim.EMA(w(), decay=1.1), ValueError, "EMA: decay must be finite and at least 0 and at most 1, found 1.1"),
    (lambda: optim.EMA([], 0.9), ValueError, "no parameters"),
    (lambda: optim.SWA(7), TypeError, "expected a list of Parameters (layer.parameters()), found int"),
    (lambda: optim.clip_grad_norm(w(), -1.0), ValueError, "clip_grad_norm: max_norm must be finite and at least 0, found -1.0"),
    (lambda: optim.clip_grad_norm(w() * 2, 1.0), ValueError, "clip_grad_norm: a parameter is listed twice"),
    (lambda: optim.clip_grad_norm(np.ones(3), 1.0), TypeError, "clip_grad_norm: expected Parameters"),
    (lambda: optim.clip_grad_norm(w(), 1.0, error_if_nonfinite=1), TypeError,
     "error_if_nonfinite must be True or False, found 1"),
    (lambda: optim.clip_grad_value(w(), "1"), TypeError, "clip_grad_value: value must be a number, found '1'"),
    (lambda: optim.clip_grad_value(w(), math.nan), ValueError,
     "clip_grad_value: value must be finite and at least 0, found nan"),
    (lambda: optim.MaxNorm(w(), 0), ValueError, "MaxNorm: c must be finite and above 0, found 0"),
    (lambda: optim.MaxNorm(None, 3), TypeError, "MaxNorm: expected a list of Parameters (layer.parameters()), found NoneType"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_a_bad_argument_is_named_with_what_was_found_and_wanted(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_a_rule_with_a_bad_argument_does_not_move_the_parameters():
    parameters = [Parameter(np.ones(3), "a"), Parameter(np.ones(2), "b")]
    places = [p.data.ctypes.data for p in parameters]
    for bad in ({"lr": -1}, {"lr": 0.1, "betas": (0.9, 2)}):
        with pytest.raises(ValueError):
            optim.Adam(parameters, **bad)
    assert [p.data.ctypes.data for p in parameters] == places


@pytest.mark.parametrize(
    ("name", "value"), [("lr", -1), ("lr", math.nan), ("momentum", 2), ("nesterov", 1), ("weight_decay", "0")]
)
def test_a_hyperparameter_set_to_nonsense_keeps_its_value(name, value):
    rule = optim.SGD(w(), 0.1, 0.9)
    before = getattr(rule, name)
    with pytest.raises((ValueError, TypeError), match=f"SGD: {name} must be"):
        setattr(rule, name, value)
    assert getattr(rule, name) == before


def test_betas_are_set_together_or_not_at_all():
    rule = optim.Adam(w())
    rule.betas = (0.5, 0.6)
    assert (rule.beta1, rule.beta2, rule.betas) == (0.5, 0.6, (0.5, 0.6))
    with pytest.raises(ValueError, match="beta2"):
        rule.betas = (0.7, 1.0)
    assert rule.betas == (0.5, 0.6)
