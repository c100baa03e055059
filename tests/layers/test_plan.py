"""fastnet.plan: passes over memory, and the memory that a step needs."""

import numpy as np
import pytest

import fastnet
from fastnet import BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, memory, models
from fastnet._ext import level
from fastnet._ext import memory as pool
from fastnet.layers import plan as plan_of
from fastnet.layers.plan import peak_memory

tiles = pytest.mark.skipif(level != "amx", reason="maps and sums ride on AMX's products, which this machine has not")


def chain():
    fastnet.manual_seed(0)
    layers = [layer for _ in range(3) for layer in (Conv2d(32, 32, 3, padding=1, bias=False), BatchNorm2d(32), ReLU())]
    return Sequential(*layers)


@tiles
def test_a_block_of_convolution_norm_and_relu_makes_two_passes_forward_and_seven_back():
    found = fastnet.plan(chain(), (32, 10, 12))
    block = [sum(found.passes(name, direction) for name in "345") for direction in ("forward", "backward")]
    assert block == [2.0, 7.0]


@tiles
def test_at_medium_a_block_makes_as_many_passes_over_half_the_bytes():
    with fastnet.precision("medium"):
        halves = fastnet.plan(chain(), (32, 10, 12))
    whole = fastnet.plan(chain(), (32, 10, 12))
    assert sum(halves.passes(name, "backward") for name in "345") == 7.0
    moved = [sum(row.reads + row.writes for row in each.rows if row.name in "345") for each in (halves, whole)]
    assert 2 * moved[0] == moved[1]


@tiles
def test_layer_by_layer_the_same_block_makes_more_passes():
    net = chain()
    net.fuse = False
    found = fastnet.plan(net, (32, 10, 12))
    fused = fastnet.plan(chain(), (32, 10, 12))
    for direction in ("forward", "backward"):
        passes = [sum(each.passes(name, direction) for name in "345") for each in (fused, found)]
        assert passes[0] < passes[1]


def test_the_table_names_every_layer_and_what_rides_with_it():
    text = str(fastnet.plan(chain(), (32, 10, 12)))
    for word in ("Conv2d", "BatchNorm2d", "ReLU", "scale and shift, rectifier", "peak of a step", "total"):
        assert word in text


def test_an_inference_has_no_backward_rows_and_no_peak():
    found = fastnet.plan(chain(), (32, 10, 12), training=False)
    assert {row.direction for row in found.rows} == {"forward"}
    with pytest.raises(ValueError, match="training plan"):
        found.peak(3)


def test_the_net_is_as_it_was():
    net = chain().eval()
    for parameter in net.parameters():
        parameter.grad = np.full(parameter.shape, 7.0)
    before = net.state_dict()
    fastnet.plan(net, (32, 10, 12))
    assert not net.training
    assert all((parameter.grad == 7).all() for parameter in net.parameters())
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any({"carry", "carry_back"} & layer.__dict__.keys() for layer in net.modules())


def test_a_forward_that_was_put_onto_a_layer_is_called_and_stays():
    net, seen = chain(), []
    forward = net[2].forward
    net[2].forward = mine = lambda x: seen.append(x.shape[1:]) or forward(x)
    fastnet.plan(net, (32, 10, 12), training=False)
    net.summary((32, 10, 12))
    assert seen == [(32, 10, 12)] * 2
    assert net[2].forward is mine


@pytest.mark.parametrize("name", ["vgg_bn", "resnet20"])
def test_the_predicted_peak_is_that_of_a_larger_batch(name, monkeypatch):
    net = models.build(name, (3, 16, 16))
    found = peak_memory(net, (3, 16, 16), 80)
    assert fastnet.plan(net, (3, 16, 16)).peak(80) == pytest.approx(found, rel=0.01)
    monkeypatch.setattr(plan_of, "MOST", 64)
    monkeypatch.setattr(plan_of, "SMALL", 0)
    predicted = fastnet.plan(net, (3, 16, 16)).peak(80)
    assert net.summary((3, 16, 16), batch=80).peak == predicted
    assert "training step of 80" in str(net.summary((3, 16, 16), batch=80))
    # below AMX, larger batches let more maps ride
    assert predicted == pytest.approx(found, rel=0.1 if level == "amx" else 0.15)


@pytest.mark.parametrize("batch", [1, 5, 33])
def test_the_predicted_peak_is_that_of_a_step_of_a_net_that_learns(batch):
    net = models.build("lenet", (1, 28, 28)).free_after_backward()
    loss, rule = fastnet.losses.SoftmaxCrossEntropy(), fastnet.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    x = np.random.default_rng(2).standard_normal((batch, 1, 28, 28)).astype(np.float32)
    predicted = net.summary((1, 28, 28), batch=batch).peak
    for _ in range(2):
        before, _ = memory.statistics()["live"], pool.mark()
        loss.forward(net.forward(x), np.arange(batch) % 10)
        net.backward(loss.backward(), input_gradient=False)
        found = pool.mark() - before
        rule.step()
    assert predicted == pytest.approx(found, rel=0.1)


def test_after_the_first_steps_no_block_is_fresh():
    net = Sequential(*chain(), MaxPool2d(2), Flatten(), Linear(32 * 5 * 6, 10))
    x = np.random.default_rng(1).standard_normal((20, 32, 10, 12)).astype(np.float32)
    loss = fastnet.losses.SoftmaxCrossEntropy()
    rule = fastnet.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    fresh = []
    for _ in range(5):
        loss.forward(net.forward(x), np.arange(20) % 10)
        net.backward(loss.backward(), input_gradient=False)
        rule.step()
        fresh.append(memory.statistics()["fresh"])
    assert fresh[2:] == fresh[2:3] * 3


def test_an_input_shape_that_is_none_is_refused():
    with pytest.raises(TypeError, match="input_shape"):
        fastnet.plan(chain(), (32, 10, "12"))
