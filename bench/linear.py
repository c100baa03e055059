"""Linear layers: how fast and how exact are their products, on the shapes of eight nets?

No bias. Forward is one matrix product, backward two: the gradients of the weights and of the input. With few rows a layer reads
its weights once and multiplies little, so memory is the limit.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from bench import _nets
from bench._harness import Case, Size, values
from bench._harness.case import PRECISIONS, Call, Side, TorchSide, shared


def arrays(n: int, c: int, f: int, side: Side | TorchSide) -> tuple:
    """x (N, C), w (F, C), dy (N, F)."""

    def made() -> tuple:
        given = values((n, c)), values((f, c), 1) / np.float32(c**0.5), values((n, f), 2)
        return tuple(side.weights(array) for array in given)

    return shared(side, (n, c, f), made)


def forward(n: int, c: int, f: int, side: Side) -> Call:
    x, w, _ = arrays(n, c, f, side)
    return lambda: side.ops.linear(x, w)[0]


def backward(n: int, c: int, f: int, side: Side) -> Call:
    x, w, dy = arrays(n, c, f, side)
    _, saved = side.ops.linear(x, w)
    return lambda: side.ops.linear_backward(dy, saved)[:2]


def torch_call(n: int, c: int, f: int, back: bool, side: TorchSide) -> Call:
    x, w, dy = arrays(n, c, f, side)
    return (lambda: (dy.mm(w), dy.t().mm(x))) if back else (lambda: side.torch.ops.aten.linear(x, w))


def cases(size: Size) -> Iterator[Case]:
    for group, ours in (("forward", forward), ("backward", backward)):
        for net, (batches, _, layers) in _nets.TABLES[size].items():
            for n in batches:
                for c, f in layers:
                    products = 2 if group == "backward" else 1
                    yield Case(
                        group,
                        f"{net} {c}→{f}, batch {n}",
                        partial(ours, n, c, f),
                        partial(torch_call, n, c, f, group == "backward"),
                        modes=("float32", "bf16") if size == "full" else ("float32",),
                        flops=2 * n * c * f * products,
                        nbytes=4 * (n * c + c * f + n * f) * products,
                        family=net if len(batches) == 1 else f"{net}, batch {n}",
                        loops=1 if size == "toy" else 0,
                        numpy=net not in _nets.LARGE,
                        lower=net not in _nets.LARGE and size != "quick",
                        precisions=PRECISIONS,
                        exact=1,
                        tolerance=1e-3,
                    )
