"""Every rule against PyTorch's, over 100 steps."""

import numpy as np
import pytest

from fastnet import optim
from fastnet.parameters import Parameter

torch = pytest.importorskip("torch")

SHAPES = {"weight": (5, 7, 2, 3), "bias": (11,), "long": (4099, 9), "scale": ()}

CASES = [  # rule, its arguments, PyTorch's rule, PyTorch's arguments where they differ
    ("SGD", {"lr": 0.05}, "SGD", {}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}, "SGD", {}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}, "SGD", {}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}, "SGD", {}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.01}, "SGD", {}),
    ("AdaGrad", {}, "Adagrad", {}),
    ("AdaGrad", {"lr": 0.1, "weight_decay": 0.01, "initial_accumulator_value": 0.3, "eps": 1e-6}, "Adagrad", {}),
    ("RMSProp", {}, "RMSprop", {}),
    ("RMSProp", {"lr": 0.002, "alpha": 0.9, "weight_decay": 0.01, "momentum": 0.7}, "RMSprop", {}),
    ("RMSProp", {"lr": 0.002, "alpha": 0.9, "centered": True}, "RMSprop", {}),
    ("RMSProp", {"alpha": 0.9, "centered": True, "momentum": 0.7, "weight_decay": 0.01, "eps": 1e-3}, "RMSprop", {}),
    ("Adam", {}, "Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}, "Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.3, 0.95), "amsgrad": True, "weight_decay": 0.1}, "Adam", {}),
    ("AdamW", {}, "AdamW", {}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}, "AdamW", {}),
]


@pytest.fixture(autouse=True)
def one_thread_each(one_thread):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pair(dtype, case):
    """The same parameters and the same rule here and in PyTorch; half of them without weight decay."""
    rule, arguments, theirs, different = case
    rng = np.random.default_rng(7)
    ours, tensors = [], []
    for i, (name, shape) in enumerate(SHAPES.items()):
        ours.append(Parameter(rng.standard_normal(shape).astype(dtype), name, decay=i % 2 == 0))
        tensors.append(torch.tensor(np.array(ours[-1].data)))
    groups = [{"params": tensors[0::2]}, {"params": tensors[1::2], "weight_decay": 0.0}]
    return (
        ours,
        getattr(optim, rule)(ours, **arguments),
        tensors,
        getattr(torch.optim, theirs)(groups, **arguments | different),
    )


def largest_difference(dtype, case, gradient, steps=100, each=None):
    """Relative to the largest weight at the start, whose rounding stays in those that shrink, over all parameters after some
    steps with gradients gradient(w, rng)."""
    ours, rule, tensors, theirs = pair(dtype, case)
    largest = [float(np.abs(p.data).max()) for p in ours]
    rng = np.random.default_rng(8)
    for t in range(steps):
        if each:
            each(t, rule, theirs)
        for p, q in zip(ours, tensors):
            noise = rng.standard_normal(p.shape)
            # Of PyTorch's weights: differences do not feed themselves.
            p.grad = gradient(q.numpy(), noise).astype(dtype)
            q.grad = torch.tensor(np.array(p.grad))
        rule.step()
        theirs.step()
    return max(float(np.abs(p.data - q.numpy()).max() / size) for p, q, size in zip(ours, tensors, largest))


def noisy_bowl(w, noise):
    return 0.5 * w + 0.1 * noise


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{'-'.join(c[1])}")
def test_a_rule_takes_the_steps_of_its_twin_in_pytorch(case):
    assert largest_difference(np.float64, case, noisy_bowl) < 1e-13
    assert largest_difference(np.float32, case, noisy_bowl) < 5e-6


def test_every_rule_stands_in_the_table():
    first_order = {name for name in optim.__all__ if isinstance(getattr(optim, name), type)}
    first_order = {n for n in first_order if issubclass(getattr(optim, n), optim.Rule)} - {"Rule"}
    first_order = {n for n in first_order if not getattr(optim, n).needs_closure}
    assert first_order == {case[0] for case in CASES}, "add a case for the new rule"


def test_hyperparameters_may_change_on_the_way_as_in_pytorch():
    def anneal(t, rule, theirs):
        rule.lr, rule.momentum = 0.1 / (1 + t), 0.5 + t / 250
        for group in theirs.param_groups:
            group["lr"], group["momentum"] = rule.lr, rule.momentum

    case = ("SGD", {"lr": 0.1, "momentum": 0.5}, "SGD", {})
    assert largest_difference(np.float64, case, noisy_bowl, each=anneal) < 1e-13

    def cycle(t, rule, theirs):
        rule.betas = (0.85 + 0.1 * np.cos(t) ** 2, 0.99)
        for group in theirs.param_groups:
            group["betas"] = rule.betas

    assert largest_difference(np.float64, ("Adam", {}, "Adam", {}), noisy_bowl, each=cycle) < 1e-13


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{'-'.join(c[1])}")
def test_denormal_gradients_are_not_flushed_to_zero(case):
    """Gradients below the smallest normal number move the weights as in PyTorch, which keeps them too."""
    tiny = {np.float32: 1e-41, np.float64: 1e-310}
    for dtype, size in tiny.items():
        assert largest_difference(dtype, case, lambda w, noise, size=size: size * np.sign(noise), steps=5) < 1e-6


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{'-'.join(c[1])}")
def test_nan_and_infinity_spread_as_in_pytorch(case):
    ours, rule, tensors, theirs = pair(np.float64, case)
    for t in range(3):
        for p, q in zip(ours, tensors):
            g = np.full(p.shape, 0.1)
            if t == 1 and g.size > 4:
                g.reshape(-1)[1:4] = np.nan, np.inf, -np.inf
            p.grad = g
            q.grad = torch.tensor(g)
        rule.step()
        theirs.step()
    for p, q in zip(ours, tensors):
        np.testing.assert_array_equal(np.isnan(p.data), np.isnan(q.numpy()))
        np.testing.assert_array_equal(np.isposinf(p.data), np.isposinf(q.numpy()))
        np.testing.assert_array_equal(np.isneginf(p.data), np.isneginf(q.numpy()))
        assert np.isnan(p.data).any() or np.isinf(p.data).any() or p.size <= 4
