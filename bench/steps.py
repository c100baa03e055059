"""Training steps: how long does a whole one take, of seven nets?

Forward, loss, backward, SGD with momentum 0.9, on one batch in memory. NumPy and PyTorch train the same architecture from the
same weights. PyTorch is compiled too, and trains in bfloat16 (autocast) beside fastnet at "medium".
"""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from bench._harness import Case, Size, values
from bench._harness.case import BFLOAT16_MODES, FLOAT32_MODES, Call, Side, TorchSide
from bench._harness.twins import numpy_forward, torch_twin
from bench._nets import TRAINED, Trained

NAIVE = ["three_layer_convnet", "lenet", "resnet20"]  # NumPy and the lower levels train these in reasonable time
CHOSEN = {"toy": ["lenet", "resnet20"], "quick": NAIVE, "full": list(TRAINED)}
COMPILED = ("compiled NCHW", "compiled channels-last")
COMPILED_BFLOAT16 = ("compiled bf16 NCHW", "compiled bf16 channels-last")
LR, MOMENTUM = 1e-3, 0.9
TOLERANCE = {"resnet50": 1e-2}  # batch norm over 8 images: PyTorch's own layouts differ by 4e-4 at a tenth of the rate


def built(net: Trained) -> Any:
    """The model, with the same weights on every side."""
    from fastnet import manual_seed, models

    manual_seed(0)
    return models.build(net.model, net.shape, net.classes)


def batch(net: Trained, n: int) -> tuple[np.ndarray, np.ndarray]:
    return values((n, *net.shape)), np.random.default_rng(1).integers(0, net.classes, n)


def ours(trained: Trained, n: int, side: Side) -> Call:
    from fastnet import losses, optim

    net = built(trained)
    x, y = batch(trained, n)
    if not side.compiled:
        return numpy_step(net, x, y, side.ops)
    loss, rule = losses.SoftmaxCrossEntropy(), optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
    x = side.images(x)
    net.free_after_backward()  # as the Solver trains, and PyTorch

    def step() -> float:
        value = loss.forward(net.forward(x), y)
        net.backward(loss.backward(), input_gradient=False)
        rule.step()
        return value

    return third(step)


def numpy_step(net: Any, x: np.ndarray, y: np.ndarray, reference: ModuleType) -> Call:
    states: list[tuple[Any, dict]] = [(p, {}) for p in net.parameters()]

    def step() -> float:
        scores, backward = numpy_forward(net, x, reference)
        value, saved = reference.softmax_cross_entropy(scores, y)
        backward(reference.softmax_cross_entropy_backward(1.0, saved))
        for p, state in states:
            reference.sgd_step(p.data, p.grad, state, lr=LR, momentum=MOMENTUM)
        return value

    return third(step)


def third(step: Call) -> Call:
    """Two steps first: the loss of the third, which is compared, depends on all gradients and on the rule."""
    step(), step()
    return step


def torch_call(trained: Trained, n: int, side: TorchSide) -> Call:
    torch = side.torch
    net = torch_twin(built(trained))
    images, labels = batch(trained, n)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    if side.channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    rule = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, fused=True)
    run = torch.compile(net) if side.compiled else net

    def step() -> float:
        rule.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16) if side.bfloat16 else nullcontext():
            loss = torch.nn.functional.cross_entropy(run(x), y)
        loss.backward()
        rule.step()
        return loss.item()

    return third(step)


def cases(size: Size) -> Iterator[Case]:
    more = (*COMPILED, *BFLOAT16_MODES, *COMPILED_BFLOAT16) if size == "full" else ()
    for name in CHOSEN[size]:
        net = TRAINED[name]
        n = 2 if size == "toy" else net.batch
        yield Case(
            "step",
            net.name(n),
            partial(ours, net, n),
            partial(torch_call, net, n),
            modes=FLOAT32_MODES + more,
            flops=0 if size == "toy" else net.flops,
            numpy=name in NAIVE and (size != "quick" or name != "resnet20"),
            lower=name in NAIVE,
            precisions=("highest", "medium"),
            tolerance=TOLERANCE.get(name, 1e-3),
        )
