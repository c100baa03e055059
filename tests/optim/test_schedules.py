"""Schedules against their closed forms, against PyTorch, and on hyperparameters."""

import json
import math

import numpy as np
import pytest

from fastnet import optim
from fastnet.parameters import Parameter

STEPS = [0, 1, 2, 7, 10, 11, 19.5, 20, 33, 1000]

FORMS = {
    "Constant": (optim.Constant(0.3), lambda t: 0.3),
    "StepDecay": (optim.StepDecay(0.5, 10, 0.5), lambda t: 0.5 * 0.5 ** (t // 10)),
    "ExponentialDecay": (optim.ExponentialDecay(0.5, math.exp(-0.02)), lambda t: 0.5 * math.exp(-0.02 * t)),
    "InverseTimeDecay": (optim.InverseTimeDecay(0.5, 0.1), lambda t: 0.5 / (1 + 0.1 * t)),
    "CosineDecay": (
        optim.CosineDecay(0.5, 20, final=0.1),
        lambda t: 0.1 + 0.4 * 0.5 * (1 + math.cos(math.pi * t / 20)) if t < 20 else 0.1,
    ),
    "PiecewiseLinear": (
        optim.PiecewiseLinear([(2, 0.1), (12, 1.1), (22, 0.6)]),
        lambda t: float(np.interp(t, [2, 12, 22], [0.1, 1.1, 0.6])),
    ),
    "Triangular": (
        optim.Triangular(0.1, 0.9, 10),
        lambda t: 0.1 + 0.8 * (t % 20 / 10 if t % 20 <= 10 else 2 - t % 20 / 10),
    ),
    "OneCycle": (
        optim.OneCycle(0.5, 21, pct_start=11 / 21, start=0.1, final=0.0),
        lambda t: 0.3 - 0.2 * math.cos(math.pi * t / 10) if t <= 10
        else 0.25 + 0.25 * math.cos(math.pi * (t - 10) / 10) if t < 20
        else 0.0,
    ),
    "WarmRestarts": (
        optim.WarmRestarts(0.5, 3, final=0.1, factor=2),
        lambda t: next(
            0.3 + 0.2 * math.cos(math.pi * (t - start) / length)
            for start, length in ((3 * (2**n - 1), 3 * 2**n) for n in range(9, -1, -1))
            if t >= start
        ),
    ),
    "WarmUp": (optim.WarmUp(optim.StepDecay(0.5, 10), 9), lambda t: 0.05 * (t + 1) if t < 9 else 0.5 * 0.1 ** ((t - 9) // 10)),
    "ReduceOnPlateau": (optim.ReduceOnPlateau(0.5), lambda t: 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_schedule_has_its_closed_form(name):
    schedule, form = FORMS[name]
    for t in STEPS:
        value = schedule(t)
        assert type(value) is float
        assert value == pytest.approx(form(t), rel=1e-12, abs=1e-15), t
    assert schedule(np.int64(7)) == schedule(7)


def test_every_schedule_stands_in_the_table():
    found = {getattr(optim, name) for name in optim.__all__ if isinstance(getattr(optim, name), type)}
    found = {cls.__name__ for cls in found if issubclass(cls, optim.Schedule)} - {"Schedule"}
    assert found == set(FORMS), "add a case for the new schedule to FORMS"


@pytest.mark.parametrize("name", FORMS)
def test_a_schedule_refuses_steps_before_the_first(name):
    schedule, _ = FORMS[name]
    for step in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"{name}: step must be finite and at least 0"):
            schedule(step)
    with pytest.raises(TypeError, match=f"{name}: step must be a number"):
        schedule("1")


def rates(make, steps, metric=None):
    """The rates that a PyTorch scheduler gives, for lr 0.4 at the start."""
    torch = pytest.importorskip("torch")
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.4)
    scheduler, found = make(torch.optim.lr_scheduler, optimiser), []
    for t in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step(*([] if metric is None else [metric(t)]))
    return found


TWINS = {
    "StepDecay": (optim.StepDecay(0.4, 7, 0.3), lambda s, o: s.StepLR(o, 7, 0.3)),
    "ExponentialDecay": (optim.ExponentialDecay(0.4, 0.93), lambda s, o: s.ExponentialLR(o, 0.93)),
    "CosineDecay": (optim.CosineDecay(0.4, 39, 0.01), lambda s, o: s.CosineAnnealingLR(o, 39, 0.01)),
    "OneCycle": (optim.OneCycle(0.4, 40), lambda s, o: s.OneCycleLR(o, 0.4, 40)),
    "OneCycle, other phases": (
        optim.OneCycle(0.4, 40, 0.1, start=0.02, final=0.002),
        lambda s, o: s.OneCycleLR(o, 0.4, 40, pct_start=0.1, div_factor=20, final_div_factor=10),
    ),
    "Triangular": (optim.Triangular(0.1, 0.8, 6), lambda s, o: s.CyclicLR(o, 0.1, 0.8, 6, cycle_momentum=False)),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_schedule_gives_the_rates_of_its_twin_in_pytorch(name):
    schedule, make = TWINS[name]
    np.testing.assert_allclose([schedule(t) for t in range(40)], rates(make, 40), rtol=1e-9)


PLATEAUS = [
    {"factor": 0.5, "patience": 2},
    {"factor": 0.1, "patience": 0, "threshold": 0.0},
    {"factor": 0.5, "patience": 1, "mode": "max", "threshold": 0.05},
    {"factor": 0.5, "patience": 1, "threshold": 0.1, "threshold_mode": "abs", "cooldown": 3},
    {"factor": 0.5, "patience": 1, "mode": "max", "threshold": 0.1, "threshold_mode": "abs", "cooldown": 1},
]


@pytest.mark.parametrize("arguments", PLATEAUS)
@pytest.mark.parametrize("metric", [
    lambda t: math.cos(t / 3) + 2,
    lambda t: 1 / (1 + t),
    lambda t: math.nan if t % 4 else 1 - t / 100,
    lambda t: math.sin(t / 5),
])  # fmt: skip
def test_a_plateau_counts_as_pytorch_does(arguments, metric):
    schedule, found = optim.ReduceOnPlateau(0.4, **arguments, minimum=0.001), []
    for t in range(60):
        found.append(schedule(t))
        schedule.observe(metric(t))
    twin = rates(lambda s, o: s.ReduceLROnPlateau(o, **arguments, min_lr=0.001, eps=0.0), 60, metric)
    np.testing.assert_allclose(found, twin, rtol=1e-12)


def test_a_plateau_resumes_where_it_was():
    metrics = [1.0, 0.9, 0.95, 0.95, 0.94, 0.8, 0.8, 0.8, 0.8, 0.8]
    whole = optim.ReduceOnPlateau(0.4, 0.5, patience=1, cooldown=1)
    for stop in range(len(metrics)):
        first, second = (optim.ReduceOnPlateau(0.4, 0.5, patience=1, cooldown=1) for _ in range(2))
        whole = optim.ReduceOnPlateau(0.4, 0.5, patience=1, cooldown=1)
        for t, metric in enumerate(metrics):
            whole.observe(metric)
            if t == stop:
                second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
            (first if t < stop else second).observe(metric)
        assert second.state_dict() == whole.state_dict()
    assert whole(0) < 0.2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"best": "good"}, TypeError, "best must be a number"),
        ({"bad": -1}, ValueError, "bad must be at least 0"),
        ({"rest": 0.5}, TypeError, "rest must be an integer"),
        ({"current": -1.0}, ValueError, "current must be finite and at least 0"),
        ({"more": 1}, ValueError, "unexpected ['more']"),
    ],
)
def test_a_plateaus_state_that_does_not_fit_changes_nothing(change, error, message):
    schedule = optim.ReduceOnPlateau(0.4)
    schedule.observe(3.0)
    before = schedule.state_dict()
    with pytest.raises(error) as caught:
        schedule.load_state_dict(before | change)
    assert message in str(caught.value)
    assert schedule.state_dict() == before


def test_a_plateau_takes_numbers_only():
    with pytest.raises(TypeError, match="metric must be a number, found 'good'"):
        optim.ReduceOnPlateau(0.1).observe("good")


def test_schedules_of_the_step_alone_have_no_state():
    schedule = optim.WarmUp(0.1, 5)
    assert schedule.state_dict() == {}
    schedule.observe(1.0)
    schedule.load_state_dict({})
    with pytest.raises(ValueError, match=r"unexpected \['best'\]"):
        schedule.load_state_dict({"best": 1})


def test_a_warm_up_passes_results_and_state_on():
    schedule = optim.WarmUp(optim.ReduceOnPlateau(0.4, 0.5, patience=0), 3)
    schedule.observe(1.0)
    schedule.observe(2.0)
    assert schedule(2) == pytest.approx(0.2 * 3 / 4)
    assert schedule(3) == 0.2
    again = optim.WarmUp(optim.ReduceOnPlateau(0.4, 0.5, patience=0), 3)
    again.load_state_dict(schedule.state_dict())
    assert again(9) == 0.2


def test_a_cycle_for_the_momentum_runs_the_other_way():
    schedule = optim.OneCycle(0.85, 100, start=0.95, final=0.95)
    values = [schedule(t) for t in range(100)]
    assert values[0] == values[-1] == 0.95
    assert min(values) == values[29] == 0.85


def test_a_schedule_drives_any_hyperparameter():
    w = Parameter(np.ones(3), "w")
    rule = optim.SGD([w], lr=1.0, momentum=0.5)
    drives = {"lr": optim.InverseTimeDecay(1.0, 1.0), "momentum": optim.PiecewiseLinear([(0, 0.5), (10, 0.9)])}
    for t in range(11):
        for name, schedule in drives.items():
            setattr(rule, name, schedule(t))
    assert (rule.lr, rule.momentum) == (1 / 11, 0.9)


def test_one_step_is_a_whole_cycle_at_least():
    assert optim.OneCycle(0.5, 1)(0) == pytest.approx(0.5 / 25 / 1e4)
    assert optim.OneCycle(0.5, 2, 0.5)(0) == 0.5
    assert optim.WarmUp(0.3, 0)(0) == 0.3
