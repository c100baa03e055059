"""Batch normalisation: what does it cost on its own, forward and backward?

Forward must read x twice (sums, then scale and shift) and write y; backward reads x and dy twice and writes dx: memory again.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from bench._harness import Case, Size, values
from bench._harness.case import Call, Side, TorchSide

SHAPES = {"toy": [(4, 6, 5, 3)], "quick": [(128, 64, 32, 32)]}
SHAPES["full"] = [(128, 16, 32, 32), *SHAPES["quick"], (128, 128, 16, 16), (64, 512, 4, 4)]


def parameters(channels: int) -> tuple[np.ndarray, ...]:
    """gamma, beta, running mean and variance."""
    return 1 + values((channels,), 1) / 4, values((channels,), 2), np.zeros(channels, "f"), np.ones(channels, "f")


def forward(shape: tuple[int, ...], side: Side) -> Call:
    x, norm = side.images(values(shape)), side.ops.batch_norm
    given = parameters(shape[1])
    return lambda: norm(x, *given, training=True)[0]


def backward(shape: tuple[int, ...], side: Side) -> Call:
    _, saved = side.ops.batch_norm(side.images(values(shape)), *parameters(shape[1]), training=True)
    dy, norm_backward = side.images(values(shape, 3)), side.ops.batch_norm_backward
    return lambda: norm_backward(dy, saved)


def torch_call(shape: tuple[int, ...], back: bool, side: TorchSide) -> Call:
    aten, x = side.torch.ops.aten, side.images(values(shape))
    gamma, beta, mean, variance = map(side.tensor, parameters(shape[1]))
    _, batch_mean, scale = aten.native_batch_norm(x, gamma, beta, mean, variance, True, 0.1, 1e-5)
    if not back:
        return lambda: aten.native_batch_norm(x, gamma, beta, mean, variance, True, 0.1, 1e-5)[0]
    dy, all_three = side.images(values(shape, 3)), [True, True, True]
    given = (gamma, mean, variance, batch_mean, scale, True, 1e-5, all_three)
    return lambda: aten.native_batch_norm_backward(dy, x, *given)


def cases(size: Size) -> Iterator[Case]:
    for shape in SHAPES[size]:
        n, c, h, w = shape
        for group, ours, passes in (("forward", forward, 3), ("backward", backward, 5)):
            theirs = partial(torch_call, shape, group == "backward")
            yield Case(
                group,
                f"{n}×{c}×{h}×{w}",
                partial(ours, shape),
                theirs,
                nbytes=4 * passes * n * c * h * w,
                loops=1 if size == "toy" else 0,
                tolerance=1e-3,
            )
