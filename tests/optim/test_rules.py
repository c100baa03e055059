"""What every update rule does: goes downhill, decays what should decay, gives the same bits for any thread count."""

import numpy as np
import pytest

import fastnet.config
from fastnet import _ext, optim
from fastnet.optim import adagrad, adam, rmsprop, sgd
from fastnet.parameters import Parameter, ParameterBuffer
from fastnet.reference import vectorised as reference

# One line per way to build a rule: its class, arguments for a bowl, arguments for Rosenbrock's valley and the steps there.
CASES = {
    "SGD": (optim.SGD, {"lr": 0.1}, {"lr": 1e-3}, 20_000),
    "momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.5}, {"lr": 1e-3, "momentum": 0.9}, 3_000),
    "Nesterov": (
        optim.SGD,
        {"lr": 0.1, "momentum": 0.5, "nesterov": True},
        {"lr": 1e-3, "momentum": 0.9, "nesterov": True},
        3_000,
    ),
    "Nesterov looking ahead": (
        optim.NesterovLookAhead,
        {"lr": 0.1, "momentum": 0.5},
        {"lr": 1e-3, "momentum": 0.9},
        3_000,
    ),
    "AdaGrad": (optim.AdaGrad, {"lr": 0.5}, {"lr": 0.5}, 8_000),
    "AdaGrad inside": (
        optim.AdaGrad,
        {"lr": 0.5, "eps": 0.1, "eps_inside": True},
        {"lr": 0.5, "eps": 1e-3, "eps_inside": True},
        8_000,
    ),
    "RMSProp": (optim.RMSProp, {"lr": 0.02, "eps": 0.1}, {"lr": 3e-3, "eps": 1.0}, 8_000),
    "RMSProp centred": (
        optim.RMSProp,
        {"lr": 0.005, "eps": 1e-2, "centered": True, "momentum": 0.5},
        {"lr": 1e-3, "eps": 1.0, "centered": True, "momentum": 0.9},
        4_000,
    ),
    "RMSProp inside": (
        optim.RMSProp,
        {"lr": 0.02, "eps": 0.01, "eps_inside": True},
        {"lr": 3e-3, "eps": 1.0, "eps_inside": True},
        8_000,
    ),
    "Adam": (optim.Adam, {"lr": 0.05}, {"lr": 0.02}, 4_000),
    "Adam inside": (
        optim.Adam,
        {"lr": 0.05, "eps": 1e-4, "eps_inside": True},
        {"lr": 0.02, "eps": 1e-6, "eps_inside": True},
        4_000,
    ),
    "AMSGrad": (optim.Adam, {"lr": 0.05, "amsgrad": True}, {"lr": 0.02, "amsgrad": True}, 4_000),
    "AdamW": (optim.AdamW, {"lr": 0.05, "weight_decay": 1e-6}, {"lr": 0.02, "weight_decay": 0.0}, 4_000),
    "LBFGS": (optim.LBFGS, {"lr": 0.5}, {"line_search_fn": "strong_wolfe"}, 4),
}
EVERY = pytest.mark.parametrize("name", CASES)
# Those that take a step without calling for the loss.
DESCENDING = [name for name in CASES if not CASES[name][0].needs_closure]
SHAPES = {"weight": (5, 7, 2, 3), "bias": (11,), "long": (8209, 9), "scale": ()}


def net(dtype=np.float64, seed=3):
    """Parameters of a small net, one of them longer than a chunk; every other one without weight decay."""
    rng = np.random.default_rng(seed)
    return [
        Parameter(rng.standard_normal(shape).astype(dtype), name, decay=i % 2 == 0)
        for i, (name, shape) in enumerate(SHAPES.items())
    ]


def train(parameters, rule, steps=5, seed=4):
    """Steps with random gradients, the same for the same seed."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p in parameters:
            p.grad = rng.standard_normal(p.shape).astype(p.data.dtype)
        rule.step()
    return [p.data.copy() for p in parameters]


def subclasses(cls):
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_rule_stands_in_the_table():
    found = {rule for rule in subclasses(optim.Rule) if rule.__module__.startswith("fastnet.")} - {optim.Rule}
    assert found == {case[0] for case in CASES.values()}, "add a case for the new rule to CASES"


@EVERY
def test_it_finds_the_bottom_of_a_bowl(name):
    rule, arguments, _, _ = CASES[name]
    steepness = np.linspace(0.5, 2.0, 6).reshape(2, 3)
    w = Parameter(np.array([[3.0, -2.0, 1.0], [0.5, -4.0, 2.0]]), "w")
    optimiser = rule([w], **arguments)

    def closure():
        w.grad = steepness * w.data
        return 0.5 * float((steepness * w.data**2).sum())

    for _ in range(600):
        optimiser.step(closure)
    assert np.abs(w.data).max() < 0.02


@EVERY
def test_it_goes_through_rosenbrocks_valley(name):
    rule, _, arguments, steps = CASES[name]
    w = Parameter(np.array([-1.2, 1.0]), "w")
    optimiser = rule([w], **arguments)

    def closure():
        x, y = w.data.tolist()
        w.grad = np.array([-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)])
        return 100 * (y - x * x) ** 2 + (1 - x) ** 2

    assert optimiser.step(closure) == pytest.approx(24.2)
    for _ in range(steps):
        optimiser.step(closure)
    np.testing.assert_allclose(w.data, [1.0, 1.0], atol=0.05)


@pytest.mark.parametrize("name", DESCENDING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_gives_the_same_bits_for_any_thread_count(name, dtype):
    rule, arguments, _, _ = CASES[name]
    results = []
    for n in (1, 2, 3, 7):
        fastnet.config.set_num_threads(n)
        parameters = net(dtype)
        results.append(train(parameters, rule(parameters, **arguments | weight_decay(rule))))
    for others in results[1:]:
        for first, other in zip(results[0], others):
            np.testing.assert_array_equal(first, other)


def weight_decay(rule, value=0.01):
    return {"weight_decay": value} if "weight_decay" in rule.hyperparameters else {}


@pytest.mark.parametrize("name", DESCENDING)
def test_every_instruction_set_level_takes_the_same_steps(name, monkeypatch):
    rule, arguments, _, _ = CASES[name]
    for dtype, tolerance in ((np.float32, 2e-6), (np.float64, 1e-14)):
        results = []
        for level in _ext.available_levels():
            for module in (adagrad, adam, rmsprop, sgd):
                monkeypatch.setattr(module, "kernels", _ext.load("update", level))
            parameters = net(dtype)
            results.append(train(parameters, rule(parameters, **arguments | weight_decay(rule))))
        for others in results[1:]:
            for first, other in zip(results[0], others):
                np.testing.assert_allclose(first, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [n for n in DESCENDING if weight_decay(CASES[n][0])])
def test_weight_decay_shrinks_the_parameters_that_decay_and_no_others(name):
    rule, arguments, _, _ = CASES[name]
    plain, decayed = net(), net()
    without = train(plain, rule(plain, **arguments | weight_decay(rule, 0.0)))
    with_decay = train(decayed, rule(decayed, **arguments | weight_decay(rule, 0.5)))
    for p, a, b in zip(plain, without, with_decay):
        if p.decay:
            assert not np.isclose(a, b, rtol=1e-6).any() or p.size > 1000
            assert np.abs(a - b).max() > 1e-4
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", DESCENDING)
def test_an_infinite_weight_without_weight_decay_does_not_become_nan(name):
    rule, arguments, _, _ = CASES[name]
    w = Parameter(np.array([np.inf, 1.0, -np.inf]), "w")
    optimiser = rule([w], **arguments | weight_decay(rule, 0.0))
    w.grad = np.array([1.0, 1.0, 1.0])
    optimiser.step()
    np.testing.assert_array_equal(w.data[[0, 2]], [np.inf, -np.inf])


REFERENCE = {
    "SGD": (optim.SGD, reference.rules.sgd_step, {"lr": 0.1, "weight_decay": 0.02}),
    "momentum": (optim.SGD, reference.rules.sgd_step, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.02}),
    "Nesterov": (optim.SGD, reference.rules.sgd_step, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "AdaGrad": (optim.AdaGrad, reference.rules.adagrad_step, {"lr": 0.1, "weight_decay": 0.02}),
    "RMSProp": (optim.RMSProp, reference.rules.rmsprop_step, {"lr": 0.1, "alpha": 0.9, "weight_decay": 0.02}),
    "Adam": (optim.Adam, reference.rules.adam_step, {"lr": 0.1, "weight_decay": 0.02}),
    "AdamW": (optim.AdamW, reference.rules.adam_step, {"lr": 0.1, "weight_decay": 0.02}),
    "AdaGrad inside": (optim.AdaGrad, reference.rules.adagrad_step, {"lr": 0.1, "eps": 0.1, "eps_inside": True}),
    "RMSProp inside": (optim.RMSProp, reference.rules.rmsprop_step, {"lr": 0.1, "eps": 0.1, "eps_inside": True}),
    "Adam inside": (optim.Adam, reference.rules.adam_step, {"lr": 0.1, "eps": 0.1, "eps_inside": True}),
}


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_it_takes_the_steps_of_the_reference(name, dtype, tolerance):
    rule, twin, arguments = REFERENCE[name]
    parameters = net(dtype)
    weights, states = [p.data.copy() for p in parameters], [{} for _ in parameters]
    optimiser = rule(parameters, **arguments)
    rng = np.random.default_rng(4)
    for _ in range(20):
        for p, w, state in zip(parameters, weights, states):
            p.grad = rng.standard_normal(p.shape).astype(dtype)
            own = arguments | ({} if p.decay else {"weight_decay": 0.0} if "weight_decay" in arguments else {})
            twin(w, p.grad.copy(), state, **own, **({"decoupled": True} if name == "AdamW" else {}))
        optimiser.step()
    for p, w in zip(parameters, weights):
        np.testing.assert_allclose(p.data, w, rtol=tolerance, atol=tolerance)


def test_a_centred_variance_that_rounding_makes_negative_counts_as_zero():
    w = Parameter(np.array([1.0, 2.0, 3.0], np.float32), "w")
    optimiser = optim.RMSProp([w], lr=1e-6, alpha=0.5, eps=1.0, centered=True)
    for _ in range(200):
        w.grad = np.array([0.1, 0.7, 1e-3], np.float32)
        optimiser.step()
    assert np.isfinite(w.data).all()


def test_a_momentum_that_starts_later_starts_from_rest():
    a, b = net(), net()
    late, plain = optim.SGD(a, lr=0.1), optim.SGD(b, lr=0.1)
    train(a, late, steps=2)
    train(b, plain, steps=2)
    late.momentum = 0.9
    for first, second in zip(train(a, late, steps=1), train(b, plain, steps=1)):
        np.testing.assert_allclose(first, second, rtol=1e-15)
    assert train(a, late, steps=1)[0].flat[0] != train(b, plain, steps=1)[0].flat[0]


def test_a_closure_runs_before_the_step_and_its_loss_is_returned():
    w = Parameter(np.array([2.0, 1.0]), "w")
    optimiser = optim.SGD([w], lr=0.5)

    def closure():
        w.grad = np.array([1.0, 2.0])
        return 42

    assert optimiser.step(closure) == 42.0
    np.testing.assert_array_equal(w.data, [1.5, 0.0])
    assert optimiser.step() is None


def test_zero_grad_clears_every_gradient():
    parameters = net()
    optimiser = optim.SGD(parameters, lr=0.1)
    train(parameters, optimiser, steps=1)
    optimiser.zero_grad()
    assert all((p.grad == 0).all() for p in parameters)


def test_the_padding_between_parameters_stays_zero():
    for rule, arguments, _, _ in CASES.values():
        if not rule.needs_closure:
            parameters = net()
            optimiser = rule(parameters, **arguments)
            train(parameters, optimiser)
            buffer = optimiser.buffer
            inside = np.zeros(buffer.data.shape, bool)
            for start, stop in buffer.spans:
                inside[start:stop] = True
            assert (buffer.data[~inside] == 0).all()
            assert (~inside).any()


def test_a_second_rule_on_the_same_parameters_shares_the_first_ones_memory():
    parameters = net()
    first = optim.SGD(parameters, lr=0.1)
    second = optim.Adam(parameters[::-1], lr=0.1)
    assert second.buffer.data.ctypes.data == first.buffer.data.ctypes.data
    before = parameters[0].data.copy()
    train(parameters, second, steps=1)
    assert (parameters[0].data != before).all()
    train(parameters, first, steps=1)  # and neither has lost its parameters


def test_a_rule_whose_parameters_have_moved_says_so():
    parameters = net()
    whole = optim.SGD(parameters, lr=0.1)
    part = optim.SGD(parameters[1:3], lr=0.1)
    with pytest.raises(RuntimeError, match=r"SGD: parameter 'bias' has moved .* build SGD anew"):
        whole.step()
    part.step()
    with pytest.raises(RuntimeError, match="has moved"):
        whole.zero_grad()


def test_zero_sized_parameters_are_harmless():
    empty, w = Parameter(np.zeros((0, 3)), "empty"), Parameter(np.ones(2), "w")
    optimiser = optim.Adam([empty, w])
    w.grad = np.ones(2)
    optimiser.step()
    assert (w.data < 1).all()
    optim.Adam([Parameter(np.zeros((0, 3)), "empty")]).step()


def test_a_rule_reads_as_its_hyperparameters():
    rule = optim.SGD(net(), 0.1, 0.9)
    assert repr(rule) == "SGD(4 parameters, lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)"


def test_buffers_of_are_shared_only_when_the_parameters_fill_them():
    parameters = net()
    buffer = ParameterBuffer(parameters)
    again = ParameterBuffer.of(parameters)
    assert again.data.ctypes.data == buffer.data.ctypes.data
    assert (again.spans, again.decayed, again.names) == (buffer.spans, buffer.decayed, list(SHAPES))
    part = ParameterBuffer.of(parameters[:2])
    assert part.data.ctypes.data != buffer.data.ctypes.data
    with pytest.raises(RuntimeError, match="'weight' has moved"):
        again.check("test")


def test_a_parameter_that_no_longer_decays_gets_a_new_place():
    parameters = net()
    first = ParameterBuffer(parameters)
    parameters[0].decay = False
    second = ParameterBuffer.of(parameters)
    assert second.decayed < first.decayed
    assert second.data.ctypes.data != first.data.ctypes.data
