"""Training steps: how long does a whole one take, of the five nets?

Forward, loss, backward, SGD with momentum 0.9, on one batch in memory. NumPy and PyTorch train the same architecture from the
same weights.
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

NETS = {  # input (C, H, W), batch, forward and backward work in floating-point operations
    "three_layer_convnet": ((3, 32, 32), 100, 2.4e9),
    "lenet": ((1, 28, 28), 128, 2.3e9),
    "resnet20": ((3, 32, 32), 128, 31e9),
    "vgg_bn": ((3, 32, 32), 128, 117e9),
    "resnet18": ((3, 32, 32), 64, 213e9),
}
CHOSEN = {"toy": ["lenet", "resnet20"], "quick": ["three_layer_convnet", "lenet", "resnet20"], "full": list(NETS)}
LR, MOMENTUM = 1e-3, 0.9


def batch(shape: tuple[int, int, int], n: int) -> tuple[np.ndarray, np.ndarray]:
    return values((n, *shape)), np.random.default_rng(1).integers(0, 10, n)


def ours(name: str, shape: tuple[int, int, int], n: int, side: Side) -> Call:
    from fastnet import losses, manual_seed, models, optim

    manual_seed(0)
    net = models.build(name, shape)
    x, y = batch(shape, n)
    if not side.compiled:
        return numpy_step(net, x, y, side.ops)
    loss, rule = losses.SoftmaxCrossEntropy(), optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
    x = side.images(x)

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


def torch_call(name: str, shape: tuple[int, int, int], n: int, side: TorchSide) -> Call:
    from fastnet import manual_seed, models

    torch = side.torch
    manual_seed(0)
    net = torch_twin(models.build(name, shape))
    images, labels = batch(shape, n)
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
    more = ("compiled NCHW", "compiled channels-last", *BFLOAT16_MODES) if size == "full" else ()
    for name in CHOSEN[size]:
        shape, n, flops = NETS[name]
        n = 2 if size == "toy" else n
        yield Case(
            "step",
            f"{name} {shape[0]}×{shape[1]}×{shape[2]}, batch {n}",
            partial(ours, name, shape, n),
            partial(torch_call, name, shape, n),
            modes=FLOAT32_MODES + more,
            flops=0 if size == "toy" else flops,
            numpy=size != "quick" or name != "resnet20",
            tolerance=1e-3,
        )
