"""Update rules: what does one step over all parameters of a net cost?

Memory again: a rule reads weights, gradients and moments and writes weights and moments. fastnet does it in one pass over flat
arrays, NumPy and PyTorch go from parameter to parameter (PyTorch's "fused" does several in one call).
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from bench._harness import Case, Size, values
from bench._harness.case import Call, Side, TorchSide

# parameters of a net: how many arrays, how many numbers in each
NETS = {"toy": {"toy": (3, 50)}, "quick": {"resnet20": (65, 4_150)}}
NETS["full"] = {**NETS["quick"], "resnet18": (62, 180_226)}
# fastnet's class, NumPy's function, its options for fastnet, the same for PyTorch, numbers moved per weight
RULES: list[tuple[str, str, dict[str, Any], str, int]] = [
    ("SGD", "sgd_step", {"momentum": 0.9, "weight_decay": 5e-4}, "SGD", 5),
    ("AdaGrad", "adagrad_step", {}, "Adagrad", 5),
    ("RMSProp", "rmsprop_step", {}, "RMSprop", 5),
    ("Adam", "adam_step", {}, "Adam", 7),
]
MODES = ("loop", "foreach", "fused")
LR = 0.01


def gradients(arrays: int, size: int) -> list[np.ndarray]:
    return [values((size,), seed) for seed in range(arrays)]


def warmed_up(step: Call) -> Call:
    """Two steps first, so that the answer has seen the moments. (Weights start at 0: the answer is all update.)"""
    step(), step()
    return step


def ours(rule: str, function: str, options: dict[str, Any], net: tuple[int, int], side: Side) -> Call:
    found = gradients(*net)
    if not side.compiled:
        weights, states = [np.zeros_like(g) for g in found], [{} for _ in found]
        update = getattr(side.ops, function)

        def step() -> tuple:
            for w, g, state in zip(weights, found, states):
                update(w, g, state, lr=LR, **options)
            return weights[0], weights[-1]

        return warmed_up(step)
    from fastnet import optim
    from fastnet.parameters import Parameter

    parameters = [Parameter(np.zeros_like(g), str(i)) for i, g in enumerate(found)]
    built = getattr(optim, rule)(parameters, lr=LR, **options)
    for parameter, g in zip(parameters, found):
        parameter.grad = g
    return warmed_up(lambda: (built.step(), parameters[0].data, parameters[-1].data)[1:])


def torch_call(rule: str, options: dict[str, Any], net: tuple[int, int], side: TorchSide) -> Call:
    weights = [side.torch.zeros(len(g), requires_grad=True) for g in gradients(*net)]
    for w, g in zip(weights, gradients(*net)):
        w.grad = side.tensor(g)
    how = {} if side.mode == "loop" else {side.mode: True}
    built = getattr(side.torch.optim, rule)(weights, lr=LR, **options, **how)
    return warmed_up(lambda: (built.step(), weights[0], weights[-1])[1:])


def cases(size: Size) -> Iterator[Case]:
    for name, net in NETS[size].items():
        for rule, function, options, theirs, moved in RULES:
            yield Case(
                f"{net[0] * net[1]:,} parameters",
                f"{rule} ({name})",
                partial(ours, rule, function, options, net),
                partial(torch_call, theirs, options, net),
                modes=MODES[: 2 if rule == "RMSProp" else 3],
                nbytes=4 * moved * net[0] * net[1],
            )
