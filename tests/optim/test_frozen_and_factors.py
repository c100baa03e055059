"""Parameters with a rate of their own, and parameters that do not learn: layers, rules, limits and regularization agree."""

import numpy as np
import pytest

from fastnet import Conv2d, Linear, ReLU, Sequential, check_gradients, functional, manual_seed, optim, regularization
from fastnet.layers import BatchNorm2d, Flatten
from fastnet.layers.containers import learns
from fastnet.parameters import Parameter, ParameterBuffer, Run

RULES = [
    (optim.SGD, {"momentum": 0.9, "nesterov": True}, "SGD"),
    (optim.AdaGrad, {}, "Adagrad"),
    (optim.RMSProp, {"momentum": 0.5, "centered": True}, "RMSprop"),
    (optim.Adam, {}, "Adam"),
    (optim.AdamW, {"amsgrad": True}, "AdamW"),
]
FACTORS = {"a": (1.0, True), "b": (64.0, 1 / 64), "c": (0.5, False), "d": (1.0, 3)}


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"a": (3, 7), "b": (40,), "c": (5, 2), "d": (6,)}
    return [Parameter(rng.standard_normal(shape).astype(np.float32), name) for name, shape in shapes.items()]


def net():
    manual_seed(1)
    return Sequential(Conv2d(3, 4, 2), BatchNorm2d(4), ReLU(), Conv2d(4, 5, (2, 3)), ReLU(), Flatten(), Linear(40, 6))


X = np.random.default_rng(2).standard_normal((2, 3, 6, 5)).astype(np.float32)
DY = np.random.default_rng(3).standard_normal((2, 6)).astype(np.float32)


@pytest.mark.parametrize(("rule", "options", "theirs"), RULES, ids=[theirs for _, _, theirs in RULES])
def test_factors_of_parameters_are_the_groups_of_pytorch(rule, options, theirs):
    torch = pytest.importorskip("torch")
    ours, lr, decay = parameters(), 0.002, 0.1
    twins = [torch.tensor(p.data.copy(), requires_grad=True) for p in ours]
    groups = []
    for p, t in zip(ours, twins):
        p.lr_factor, p.decay = FACTORS[p.name]
        groups.append({"params": [t], "lr": lr * p.lr_factor, "weight_decay": decay * p.decay})
    built = rule(ours, lr=lr, weight_decay=decay, **options)
    other = getattr(torch.optim, theirs)(groups, lr=lr, **options)
    for seed in range(4):
        for p, t, g in zip(ours, twins, parameters(seed + 10)):
            p.grad, t.grad = g.data, torch.tensor(g.data)
        built.step(), other.step()
    for p, t in zip(ours, twins):
        np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=2e-5, atol=1e-6, err_msg=p.name)


@pytest.mark.parametrize(("rule", "options", "theirs"), RULES, ids=[theirs for _, _, theirs in RULES])
def test_a_frozen_parameter_stays_and_learns_again_when_it_is_asked_to(rule, options, theirs):
    ours = parameters()
    built = rule(ours, lr=0.1, weight_decay=0.1, **options)
    before = [p.data.copy() for p in ours]
    ours[1].requires_grad = False
    for p in ours:
        p.grad = np.ones(p.shape, np.float32)
    built.step()
    changed = [(p.data != old).any() for p, old in zip(ours, before)]
    assert changed == [True, False, True, True]
    assert all(not state["b"].any() for state in built.state_dict()["state"].values())
    ours[1].requires_grad = True
    built.step()
    assert (ours[1].data != before[1]).all()


def test_the_buffer_lists_what_learns_alike_in_runs_and_leaves_out_what_is_frozen():
    ours = parameters()
    buffer = ParameterBuffer(ours)
    assert buffer.runs() == [Run(0, 112, 1.0, 1.0)]  # 21, 40, 10 and 6 numbers, each up to a cache line
    ours[1].requires_grad = False
    assert buffer.runs() == [Run(0, 32, 1.0, 1.0), Run(80, 112, 1.0, 1.0)]
    ours[2].lr_factor, ours[3].decay = 2, 0.25
    assert buffer.runs() == [Run(0, 32, 1.0, 1.0), Run(80, 96, 2.0, 1.0), Run(96, 112, 1.0, 0.25)]
    ours[3].lr_factor = np.nan
    with pytest.raises(ValueError, match="'d': lr_factor must be finite and at least 0, found nan"):
        buffer.runs()


def test_freezing_clears_the_gradient_so_that_limits_do_not_count_it():
    ours = parameters()
    for p in ours:
        p.grad = np.ones(p.shape, np.float32)
    ours[0].requires_grad = False
    assert optim.clip_grad_norm(ours, 100.0) == pytest.approx(np.sqrt(40 + 10 + 6))


def test_regularization_and_the_limit_of_norms_leave_frozen_weights_alone():
    ours = parameters()
    buffer = ParameterBuffer(ours)
    ours[0].requires_grad = False
    ours[2].decay = False
    before = ours[0].data.copy()
    term = regularization.ElasticNet(0.5, 0.25)
    learning = [ours[1].data, ours[3].data]
    value = sum(0.5 * np.abs(w).sum() + 0.125 * (w**2).sum() for w in learning)
    assert term.forward(buffer) == pytest.approx(value, rel=1e-6)
    term.backward(buffer)
    assert not ours[0].grad.any()
    assert not ours[2].grad.any()
    assert ours[1].grad.all()
    optim.MaxNorm(ours, 1e-3).apply()
    np.testing.assert_array_equal(ours[0].data, before)


def test_lbfgs_refuses_what_does_not_learn_with_the_rest():
    ours = parameters()
    rule = optim.LBFGS(ours)
    ours[3].requires_grad = False
    with pytest.raises(ValueError, match="'d' with requires_grad False"):
        rule.step(lambda: 1.0)


def test_backward_leaves_out_the_gradient_of_frozen_weights_and_does_not_make_it(monkeypatch):
    full, part = net(), net()
    part[0].weight.requires_grad = False
    part[3].requires_grad_(False)
    part[6].weight.requires_grad = False
    made = []
    real = functional.convolution.products.weight_gradient
    monkeypatch.setattr(functional.convolution.products, "weight_gradient", lambda *a: made.append(a) or real(*a))
    part.forward(X)
    dx = part.backward(DY)
    assert not made
    full.forward(X)
    np.testing.assert_array_equal(full.backward(DY), dx)
    frozen = {"0.weight", "3.weight", "3.bias", "6.weight"}
    for (name, p), (_, q) in zip(part.named_parameters(), full.named_parameters()):
        assert p.requires_grad == (name not in frozen)
        np.testing.assert_array_equal(p.grad, 0 * q.grad if name in frozen else q.grad, err_msg=name)


def test_layers_in_front_of_the_first_that_learns_have_no_backward_pass():
    part = net()
    for layer in part[:3]:
        layer.requires_grad_(False)
    assert not learns(part[:3])
    assert learns(part)
    part.forward(X)
    for layer in part[:3]:
        layer.backward = None
    assert part.backward(DY, input_gradient=False) is None
    assert part[3].weight.grad.any()


def test_a_net_with_a_frozen_beginning_trains_the_rest_only():
    part = net()
    part[0].requires_grad_(False)
    before = part.state_dict()
    rule = optim.SGD(part.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    part.forward(X)
    part.backward(DY, input_gradient=False)
    rule.step()
    same = {name for name, p in part.named_parameters() if (p.data == before[name]).all()}
    assert same == {"0.weight", "0.bias"}


def test_a_gradient_check_looks_at_frozen_layers_too_and_leaves_them_frozen():
    part = net()
    part[0].requires_grad_(False)
    report = check_gradients(part, X, np.array([4, 1]))
    assert report.ok
    assert {("0", "weight"), ("0", "bias")} <= {(row.layer, row.parameter) for row in report.rows if row.error > 0}
    assert not part[0].weight.requires_grad
