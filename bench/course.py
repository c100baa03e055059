"""The course's question: how much faster than plain loops are the compiled layers?

CS231n, assignment 2, compares its naive loops with its Cython layers on these shapes, in float64: a convolution of 25 filters
3×3 with stride 2 and padding 1 on 100 images 3×31×31, and 2×2 max-pooling of 100 images 3×32×32. Arrays are in the course's
memory order (N, C, H, W) on every side.
"""

from collections.abc import Iterator
from functools import partial

from bench._harness import Case, Size, values
from bench._harness.case import Call, Side, TorchSide

PART = 25  # with --quick the loops run on 4 of the 100 images


def conv(n: int, back: bool, side: Side) -> Call:
    x, w, b, dy = arrays(side.batch(n))
    run = partial(side.ops.conv2d, x, w, b, stride=2, padding=1)
    saved = run()[1] if back else None
    return (lambda: side.ops.conv2d_backward(dy, saved)) if back else (lambda: run()[0])


def pool(n: int, back: bool, side: Side) -> Call:
    n = side.batch(n)
    x, dy = values((n, 3, 32, 32), dtype="float64"), values((n, 3, 16, 16), 1, "float64")
    saved = side.ops.max_pool2d(x, 2)[1] if back else None
    return (lambda: side.ops.max_pool2d_backward(dy, saved)) if back else (lambda: side.ops.max_pool2d(x, 2)[0])


def arrays(n: int) -> tuple:
    """x, w, b, dy of the convolution."""
    shapes = (n, 3, 31, 31), (25, 3, 3, 3), (25,), (n, 25, 16, 16)
    return tuple(values(shape, seed, "float64") for seed, shape in enumerate(shapes))


def torch_conv(n: int, back: bool, side: TorchSide) -> Call:
    x, w, b, dy = map(side.tensor, arrays(n))
    aten, rest = side.torch.ops.aten, ([2, 2], [1, 1], [1, 1], False, [0, 0], 1)
    if back:
        return lambda: aten.convolution_backward(dy, x, w, [25], *rest, [True, True, True])
    return lambda: aten.convolution(x, w, b, *rest)


def torch_pool(n: int, back: bool, side: TorchSide) -> Call:
    x, dy = side.tensor(values((n, 3, 32, 32), dtype="float64")), side.tensor(values((n, 3, 16, 16), 1, "float64"))
    aten, window, rest = side.torch.ops.aten, ([2, 2], [2, 2], [0, 0], [1, 1], False), None
    rest = aten.max_pool2d_with_indices(x, *window)[1]
    if back:
        return lambda: aten.max_pool2d_with_indices_backward(dy, x, *window, rest)
    return lambda: aten.max_pool2d_with_indices(x, *window)[0]


def cases(size: Size) -> Iterator[Case]:
    n = 3 if size == "toy" else 100
    flops = 2 * n * 25 * 16 * 16 * 27
    for group, back in (("forward", False), ("backward", True)):
        rest = {"modes": ("NCHW",), "dtype": "float64", "loops": PART, "tolerance": 1e-9}
        products = 2 * flops if back else flops
        yield Case(
            group,
            "conv 25 of 3×3, stride 2",
            partial(conv, n, back),
            partial(torch_conv, n, back),
            flops=products,
            **rest,
        )
        traffic = 8 * n * 3 * 32 * 32 * 5 // 4
        yield Case(group, "max-pool 2×2", partial(pool, n, back), partial(torch_pool, n, back), nbytes=traffic, **rest)
