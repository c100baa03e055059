"""Profiles of a training step: every layer is there, times and bytes add up, traces and pictures are what they should be."""

import json

import numpy as np
import pytest

import fastnet
from fastnet import diagnose, layers, losses, models, optim
from fastnet.diagnose import profile

SHAPE, BATCH = (3, 8, 10), 4


def batch(shape=SHAPE, n=BATCH, classes=7):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, *shape), dtype=np.float32), rng.integers(0, classes, n)


def net(fuse=True):
    fastnet.manual_seed(0)
    body = layers.Sequential(layers.Conv2d(5, 5, 3, padding=1, bias=False), layers.BatchNorm2d(5))
    branches = layers.Concat(
        layers.Conv2d(5, 2, 1), layers.Sequential(layers.Conv2d(5, 4, 3, padding=1), layers.ReLU())
    )
    stem = [layers.Conv2d(3, 5, 3, padding=1), layers.BatchNorm2d(5), layers.ReLU(), layers.MaxPool2d(2)]
    head = [layers.Flatten(), layers.Linear(6 * 4 * 5, 7)]
    found = layers.Sequential(*stem, layers.Residual(body), branches, *head)
    for layer in found.modules():
        if isinstance(layer, layers.Sequential):
            layer.fuse = fuse
    return found


@pytest.mark.parametrize("fuse", [True, False])
def test_every_layer_has_its_time_in_both_directions(fuse):
    found = net(fuse)
    made = diagnose.profile_step(found, *batch(), steps=3)
    leaves = {name for name, layer in found.named_modules() if not layer.children()}
    for direction in ("forward", "backward"):
        seen = {
            r.name
            for r in made.rows
            if r.direction in (direction, *(profile.PRODUCTS if direction == "backward" else ()))
        }
        assert leaves <= seen
    assert {"4", "5", "5.1", "(net)", ""} <= {row.name for row in made.rows}
    assert {row.direction for row in made.rows} == set(profile.PASSES)
    assert all(row.seconds >= 0 for row in made.rows)


def test_the_products_of_a_convolution_are_told_apart_and_its_input_gradient_is_left_out_where_nobody_needs_it():
    made = diagnose.profile_step(net(), *batch(), steps=2).layers()
    assert made["0 Conv2d"].keys() == {"forward", "weight gradient"}
    assert made["4.body.0 Conv2d"].keys() == {"forward", "weight gradient", "input gradient"}
    assert made["7 Linear"].keys() == {"forward", "backward"}


def test_the_times_of_one_step_add_up_to_it():
    made = diagnose.profile_step(net(), *batch(), steps=1)
    assert 0 < sum(row.seconds for row in made.rows) <= made.seconds
    inside = [event for event in made.events if event.name == "4.body.0" and event.direction == "forward"]
    around = next(event for event in made.events if event.name == "4" and event.direction == "forward")
    assert around.start <= inside[0].start
    assert inside[0].seconds <= around.seconds - around.own + 1e-9


def test_bytes_are_those_of_the_plan():
    made, planned = diagnose.profile_step(net(), *batch(), steps=1), fastnet.plan(net(), SHAPE)
    assert sum(row.bytes or 0 for row in made.rows) == BATCH * sum(r.reads + r.writes for r in planned.rows if r.name)


def test_the_net_stays_as_it_is():
    found = net()
    before = found.state_dict()
    diagnose.profile_step(found, *batch(), steps=1, optimizer=lambda parameters: optim.Adam(parameters, lr=0.1))
    assert all(np.array_equal(array, before[name]) for name, array in found.state_dict().items())
    for layer in found.modules():
        assert not {"forward", "backward", "carry", "carry_back"} & layer.__dict__.keys()
    with pytest.raises(RuntimeError, match="backward without a forward"):
        found.backward(np.zeros((BATCH, 7), np.float32))


def test_a_single_layer_and_another_loss_can_be_profiled():
    x, _ = batch((6,))
    made = diagnose.profile_step(layers.Linear(6, 5), x, np.zeros((BATCH, 5), np.float32), loss=losses.MSE(), steps=1)
    assert {(row.name, row.direction) for row in made.rows} == {
        ("(net)", "forward"),
        ("(net)", "backward"),
        ("", "loss"),
        ("", "update"),
    }


def test_a_layer_that_refuses_its_input_says_so():
    with pytest.raises(ValueError, match="Linear"):
        diagnose.profile_step(net(), *batch((3, 9, 13)), steps=1)
    with pytest.raises(ValueError, match="profile_step: steps"):
        diagnose.profile_step(net(), *batch(), steps=0)
    with pytest.raises(TypeError, match="profile_step: x must be an array of examples"):
        diagnose.profile_step(net(), [[1.0]], [0])


def test_the_table_has_a_line_per_layer_and_says_where_its_bytes_are_from():
    made = diagnose.profile_step(models.lenet(), *batch((1, 28, 28)), steps=1)
    lines = str(made).splitlines()
    assert "4 x 1 x 28 x 28" in lines[0]
    assert lines[2].split("  ")[0].strip() == "ms"
    for start in ("0 Conv2d", "9 Linear", "(net) Sequential", "loss", "update", "all layers", "a step: "):
        assert any(line.startswith(start) for line in lines), start
    assert "estimated from shapes" in lines[-1]


def test_counters_that_a_system_has_are_mentioned(tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "COUNTERS", tmp_path)
    assert profile._counters() == "this system has no counters of the memory's traffic"
    (tmp_path / "uncore_imc_0").mkdir()
    assert profile._counters() == "the memory's counters are not read"


def test_a_trace_has_complete_events_in_microseconds(tmp_path):
    made = diagnose.profile_step(net(), *batch(), steps=1)
    made.to_chrome_trace(tmp_path / "step.json")
    events = json.loads((tmp_path / "step.json").read_text())["traceEvents"]
    calls = [event for event in events if event["ph"] == "X"]
    assert len(calls) == len(made.events)
    assert [event["ph"] for event in events[:2]] == ["M", "M"]
    assert min(event["ts"] for event in calls) == 0
    assert max(event["ts"] + event["dur"] for event in calls) <= made.seconds * 1e6 + 1
    conv = next(event for event in calls if event["name"] == "0 Conv2d")
    assert conv["args"] == {"pass": "forward", "bytes": conv["args"]["bytes"]}
    assert conv["args"]["bytes"] > 0


def test_a_picture_stacks_the_passes_of_every_layer(tmp_path):
    pytest.importorskip("matplotlib")
    made = diagnose.profile_step(net(), *batch(), steps=1)
    axes = made.plot(tmp_path / "step.png").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(made.layers())
    assert axes.get_legend_handles_labels()[1] == list(profile.PASSES)
    width = sum(bar.get_width() for bar in axes.patches)
    assert width == pytest.approx(1e3 * sum(row.seconds for row in made.rows))
    assert (tmp_path / "step.png").stat().st_size > 5000
