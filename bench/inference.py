"""Inference: how long do the scores of one image and of 64 take, of seven nets?

Evaluation mode, no gradients; batch norms folded into the weights (`net.fold()`), as the others fold them: PyTorch is compiled
with frozen weights too, ONNX Runtime optimises its graph. Products in float32 and, at "medium" and in PyTorch's autocast, of
bfloat16. Running statistics are not those of a new net, so that batch norm has something to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

from bench import steps
from bench._harness import Case, Size
from bench._harness.case import BFLOAT16_MODES, FLOAT32_MODES, Call, Side, TorchSide
from bench._harness.onnx_twin import onnx_call
from bench._harness.twins import numpy_forward, torch_twin
from bench._nets import TRAINED, Trained

BATCHES = {"toy": (2,), "quick": (1, 64), "full": (1, 64)}
CHOSEN = {"toy": ["lenet", "resnet20"], "quick": ["lenet", "resnet20"], "full": list(TRAINED)}
COMPILED = ("compiled NCHW", "compiled channels-last", "compiled bf16 channels-last")


def built(trained: Trained) -> Any:
    """The net in evaluation mode, with running statistics as after training, the same on every side."""
    net, rng = steps.built(trained), np.random.default_rng(2)
    for name, array in net.named_buffers():
        if name.endswith("running_mean"):
            array[...] = rng.normal(0, 0.1, array.shape)
        if name.endswith("running_var"):
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    return net.eval()


def ours(trained: Trained, n: int, side: Side) -> Call:
    net, images = built(trained), side.images(steps.batch(trained, n)[0])
    if not side.compiled:
        return lambda: numpy_forward(net, images, side.ops, training=False)[0]
    folded = net.fold()
    return lambda: folded.forward(images)


def torch_call(trained: Trained, n: int, side: TorchSide) -> Call:
    torch = side.torch
    net, x = torch_twin(built(trained)).eval(), torch.from_numpy(steps.batch(trained, n)[0])
    if side.channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    run = torch.compile(net, options={"freezing": True}) if side.compiled else net

    def scores() -> Any:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16) if side.bfloat16 else nullcontext():
            return run(x)

    return scores


def onnx(trained: Trained, n: int, threads: int) -> Call:
    return onnx_call(built(trained), steps.batch(trained, n)[0], threads)


def cases(size: Size) -> Iterator[Case]:
    more = BFLOAT16_MODES + COMPILED if size == "full" else ()
    for n in BATCHES[size]:
        for name in CHOSEN[size]:
            net = TRAINED[name]
            yield Case(
                f"batch {n}",
                f"{name} {'×'.join(map(str, net.shape))}",
                partial(ours, net, n),
                partial(torch_call, net, n),
                modes=FLOAT32_MODES + more,
                onnx=partial(onnx, net, n),
                flops=0 if size == "toy" else 2 * n * net.multiply_adds,
                numpy=name in steps.NAIVE and size != "quick",
                lower=False,
                precisions=("highest", "medium"),
                tolerance=1e-3,
            )
