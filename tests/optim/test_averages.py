"""Averages of weights: closed forms, swapping, resuming."""

import contextlib

import numpy as np
import pytest

from fastnet import optim
from fastnet.parameters import Parameter


def net(dtype=np.float64):
    rng = np.random.default_rng(6)
    shapes = {"weight": (3, 5, 2), "bias": (7,), "long": (4099, 9)}
    return [Parameter(rng.standard_normal(s).astype(dtype), n, decay=n != "bias") for n, s in shapes.items()]


def walk(parameters, average, steps=6):
    """Random steps, with an update after each; the weights after each of them."""
    rng, seen = np.random.default_rng(7), []
    for _ in range(steps):
        for p in parameters:
            p.data = p.data + rng.standard_normal(p.shape).astype(p.data.dtype)
        average.update()
        seen.append([p.data.copy() for p in parameters])
    return seen


KINDS = {"EMA": lambda p: optim.EMA(p, 0.9), "SWA": optim.SWA, "Lookahead": lambda p: optim.Lookahead(p, 0.9, 2)}
EVERY = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_ema_weighs_older_weights_exponentially_less(dtype, tolerance):
    parameters = net(dtype)
    start = [p.data.copy() for p in parameters]
    average = optim.EMA(parameters, decay=0.8)
    seen = walk(parameters, average)
    for i, p in enumerate(parameters):
        expected = 0.8**6 * start[i] + sum(0.2 * 0.8 ** (5 - t) * weights[i] for t, weights in enumerate(seen))
        np.testing.assert_allclose(average.state_dict()["average"][p.name], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_swa_is_the_mean_of_the_weights_at_the_updates(dtype, tolerance):
    parameters = net(dtype)
    average = optim.SWA(parameters)
    seen = walk(parameters, average)
    for i, p in enumerate(parameters):
        expected = np.mean([weights[i] for weights in seen], axis=0)
        np.testing.assert_allclose(average.state_dict()["average"][p.name], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("theirs", ["ema", "swa"])
def test_averages_are_those_of_pytorch(theirs):
    torch = pytest.importorskip("torch")
    from torch.optim import swa_utils

    parameters = net()
    model = torch.nn.ParameterList([torch.tensor(np.array(p.data)) for p in parameters])
    function = {"ema": swa_utils.get_ema_multi_avg_fn(0.9), "swa": swa_utils.get_swa_multi_avg_fn()}[theirs]
    twin = swa_utils.AveragedModel(model, multi_avg_fn=function)
    twin.update_parameters(model)  # PyTorch copies at first
    average = optim.EMA(parameters, 0.9) if theirs == "ema" else optim.SWA(parameters)
    if theirs == "swa":
        average.update()
    rng = np.random.default_rng(1)
    for _ in range(5):
        for p, q in zip(parameters, model):
            p.data = p.data + rng.standard_normal(p.shape)
            q.data = torch.tensor(np.array(p.data))
        average.update()
        twin.update_parameters(model)
    tolerance = 1e-13 if theirs == "ema" else 1e-6  # PyTorch has the share 1 / n in float32
    for p, q in zip(parameters, twin.module):
        np.testing.assert_allclose(
            average.state_dict()["average"][p.name], q.detach().numpy(), rtol=1e-12, atol=tolerance
        )


def test_the_extreme_weights_are_exact():
    parameters = net(np.float32)
    still, copying, first = optim.EMA(parameters, 1.0), optim.EMA(parameters, 0.0), optim.SWA(parameters)
    start = [p.data.copy() for p in parameters]
    for p in parameters:
        p.data = p.data * np.float32(1.1)
    for average in (still, copying, first):
        average.update()
    for p, before in zip(parameters, start):
        np.testing.assert_array_equal(still.state_dict()["average"][p.name], before)
        np.testing.assert_array_equal(copying.state_dict()["average"][p.name], p.data)
        np.testing.assert_array_equal(first.state_dict()["average"][p.name], p.data)


@EVERY
def test_the_net_has_the_averages_inside_the_block_and_its_own_weights_after_it(kind):
    parameters = net()
    average = KINDS[kind](parameters)
    own = walk(parameters, average)[-1]
    mean = average.state_dict()["average"]
    with contextlib.suppress(KeyError), average.applied():
        for p in parameters:
            np.testing.assert_array_equal(p.data, mean[p.name])
        np.testing.assert_equal(average.state_dict()["average"], mean)
        raise KeyError("an error inside the block")
    for p, before in zip(parameters, own):
        np.testing.assert_array_equal(p.data, before)
    np.testing.assert_equal(average.state_dict()["average"], mean)


@EVERY
def test_nothing_is_averaged_while_the_averages_are_swapped_in(kind):
    parameters = net()
    average = KINDS[kind](parameters)
    state = average.state_dict()
    average.swap()
    for forbidden in (average.update, lambda: average.load_state_dict(state), lambda: average.applied().__enter__()):
        with pytest.raises(RuntimeError, match=rf"{kind}.* the averages are swapped in; swap\(\) back first"):
            forbidden()
    average.swap()
    average.update()


@EVERY
def test_a_resumed_average_has_the_bits_of_the_uninterrupted_one(kind):
    parameters = net()
    average = KINDS[kind](parameters)
    walk(parameters, average, steps=3)
    again = net()
    for p, q in zip(parameters, again):
        q.data = p.data
    resumed = KINDS[kind](again)
    resumed.load_state_dict(average.state_dict())
    for one in (average, resumed):
        one.update()
    np.testing.assert_equal(resumed.state_dict(), average.state_dict())
    assert resumed.updates == 4


@EVERY
def test_an_average_shares_the_rules_memory_and_follows_it(kind):
    parameters = net()
    rule = optim.SGD(parameters, 0.1)
    average = KINDS[kind](parameters)
    assert average.buffer.data.ctypes.data == rule.buffer.data.ctypes.data
    rule.step()
    average.update()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"updates": -1}, ValueError, "updates must be at least 0, found -1"),
        ({"more": 1}, ValueError, "unexpected ['more']"),
        ({"average": {}}, ValueError, "in 'average', missing ['bias', 'long', 'weight']"),
        ({"average": 1}, TypeError, "'average' must be a mapping"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, error, message):
    average = optim.SWA(net())
    before = average.state_dict()
    with pytest.raises(error) as caught:
        average.load_state_dict(before | change)
    assert message in str(caught.value)
    np.testing.assert_equal(average.state_dict(), before)


def test_the_decay_may_change_on_the_way_within_its_bounds():
    average = optim.EMA(net())
    average.decay = 0.5
    with pytest.raises(ValueError, match=r"EMA: decay must be finite and at least 0 and at most 1, found 1.5"):
        average.decay = 1.5
    assert average.decay == 0.5


def test_lookahead_puts_weights_and_buffers_back_to_their_average_every_few_steps():
    parameters, statistic = net(), np.arange(5.0)
    slow, steady = [p.data.copy() for p in parameters], statistic.copy()
    average = optim.Lookahead(parameters, decay=0.25, every=3, buffers=[statistic])
    for step in range(1, 8):
        for p in parameters:
            p.data = p.data + step
        statistic += step
        fast = [p.data.copy() for p in parameters], statistic.copy()
        average.update()
        if step % 3 == 0:
            slow = [0.25 * s + 0.75 * w for s, w in zip(slow, fast[0])]
            steady = 0.25 * steady + 0.75 * fast[1]
            fast = slow, steady
        for p, w in zip(parameters, fast[0]):
            np.testing.assert_allclose(p.data, w, rtol=1e-12)
        np.testing.assert_allclose(statistic, fast[1], rtol=1e-12)
    with average.applied():
        np.testing.assert_allclose(statistic, steady, rtol=1e-12)
    np.testing.assert_allclose(statistic, fast[1], rtol=1e-12)
    average.settle()
    np.testing.assert_allclose(parameters[0].data, slow[0], rtol=1e-12)
    np.testing.assert_allclose(statistic, steady, rtol=1e-12)


def test_lookahead_goes_on_from_its_state_buffers_included():
    parameters, statistic = net(), np.arange(5.0)
    average = optim.Lookahead(parameters, every=2, buffers=[statistic])
    statistic += 8
    walk(parameters, average, 3)
    other = optim.Lookahead(net(), every=2, buffers=[np.zeros(5)])
    with pytest.raises(ValueError, match=r"buffer 0 must have shape \(5,\), found \(4,\)"):
        other.load_state_dict({**average.state_dict(), "buffers": {"0": np.ones(4)}})
    other.load_state_dict(average.state_dict())
    assert other.updates == 3
    np.testing.assert_array_equal(other.state_dict()["buffers"]["0"], np.arange(5.0) + 4)
