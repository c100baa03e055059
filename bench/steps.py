"""Training steps: how long does a whole one take, of the five nets?

Forward, loss, backward, SGD with momentum 0.9, on one batch in memory. NumPy's column runs the same layers with the plain
NumPy functions in place of the compiled ones. PyTorch trains the same architecture from the same weights.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from bench._harness import Case, Size, values
from bench._harness.case import BFLOAT16_MODES, FLOAT32_MODES, Call, Side, TorchSide
from bench._harness.peer import torch_twin

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
    net, loss = models.build(name, shape), losses.SoftmaxCrossEntropy()
    x, y = batch(shape, n)
    x = side.images(x)
    if side.compiled:
        update, path = optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM).step, nullcontext
    else:
        update, path = numpy_update(net, side.ops), partial(instead_of_compiled, side.ops)

    def step() -> float:
        with path():
            value = loss.forward(net.forward(x), y)
            net.backward(loss.backward(), input_gradient=False)
            update()
        return value

    return third(step)


def third(step: Call) -> Call:
    """Two steps first: the loss of the third, which is compared, depends on all gradients and on the rule."""
    step(), step()
    return step


def numpy_update(net: Any, reference: ModuleType) -> Callable[[], None]:
    states: list[tuple[Any, dict]] = [(p, {}) for p in net.parameters()]

    def update() -> None:
        for p, state in states:
            reference.sgd_step(p.data, p.grad, state, lr=LR, momentum=MOMENTUM)

    return update


@contextmanager
def instead_of_compiled(reference: ModuleType) -> Iterator[None]:
    """Inside, layers and losses call the reference's functions, which have the names of the compiled ones."""
    theirs = {name: getattr(reference, name) for name in reference.__all__}
    before = []
    for name, module in list(sys.modules.items()):
        if name.startswith(("fastnet.layers", "fastnet.losses")):
            found = {function: getattr(module, function) for function in vars(module).keys() & theirs.keys()}
            before.append((module, {name: f for name, f in found.items() if callable(f)}))
    try:
        for module, found in before:
            vars(module).update({name: theirs[name] for name in found})
        yield
    finally:
        for module, found in before:
            vars(module).update(found)


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
