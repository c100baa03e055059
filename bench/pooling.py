"""Pooling: what do max and average pooling cost?

Pooling multiplies nothing: forward reads x and writes y, backward reads dy and writes dx, so memory is the limit.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from bench._harness import Case, Size, values
from bench._harness.case import Call, Side, TorchSide

WINDOWS = {"toy": [((3, 5, 8, 6), 2)], "quick": [((128, 64, 32, 32), 2)]}  # (N, C, H, W), window = stride
WINDOWS["full"] = [((128, 16, 28, 28), 2), *WINDOWS["quick"], ((64, 256, 12, 12), 3)]


def forward(op: str, shape: tuple[int, ...], size: int, side: Side) -> Call:
    x, pool = side.images(values(shape)), getattr(side.ops, op)
    return lambda: pool(x, size)[0]


def backward(op: str, shape: tuple[int, ...], size: int, side: Side) -> Call:
    y, saved = getattr(side.ops, op)(side.images(values(shape)), size)
    dy, pool_backward = side.images(values(y.shape, 1)), getattr(side.ops, f"{op}_backward")
    return lambda: pool_backward(dy, saved)


def torch_call(op: str, shape: tuple[int, ...], size: int, back: bool, side: TorchSide) -> Call:
    aten, x = side.torch.ops.aten, side.images(values(shape))
    window: list[Any] = [[size, size], [size, size], [0, 0]]
    if op == "avg_pool2d":
        dy = side.images(values(tuple(aten.avg_pool2d(x, *window).shape), 1))
        average: list[Any] = [*window, False, True, None]
        return (lambda: aten.avg_pool2d_backward(dy, x, *average)) if back else (lambda: aten.avg_pool2d(x, *window))
    y, where = aten.max_pool2d_with_indices(x, *window)
    dy, dilation = side.images(values(tuple(y.shape), 1)), [1, 1]
    if back:
        return lambda: aten.max_pool2d_with_indices_backward(dy, x, *window, dilation, False, where)
    return lambda: aten.max_pool2d_with_indices(x, *window)[0]


def cases(size: Size) -> Iterator[Case]:
    for op in ("max_pool2d", "avg_pool2d"):
        for shape, window in WINDOWS[size]:
            n, c, h, w = shape
            name = f"{op} {window}×{window} of {n}×{c}×{h}×{w}"
            nbytes = 4 * n * c * h * w * (1 + 1 / window**2)
            for group, ours in (("forward", forward), ("backward", backward)):
                theirs = partial(torch_call, op, shape, window, group == "backward")
                yield Case(
                    group,
                    name,
                    partial(ours, op, shape, window),
                    theirs,
                    nbytes=nbytes,
                    loops=1 if size == "toy" else 0,
                )
