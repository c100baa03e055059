"""Convolution: how fast are its three products, on the shapes of the five nets?

float32, no bias. The gradient of the input is left out for a net's first layer, where nobody needs it.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from bench._harness import Case, Size, values
from bench._harness.case import BFLOAT16_MODES, FLOAT32_MODES, Call, Side, TorchSide

# batch, and (C, F, window, stride, height = width) of every different convolution, the first layer first; padding = window // 2
NETS = {
    "three_layer_convnet": (100, [(3, 32, 7, 1, 32)]),
    "lenet": (128, [(1, 16, 5, 1, 28), (16, 32, 5, 1, 14)]),
    "vgg_bn": (
        128,
        [(3, 64, 3, 1, 32), (64, 64, 3, 1, 32), (64, 128, 3, 1, 16), (128, 128, 3, 1, 16)]
        + [(128, 256, 3, 1, 8), (256, 256, 3, 1, 8)],
    ),
    "resnet20": (
        128,
        [(3, 16, 3, 1, 32), (16, 16, 3, 1, 32), (16, 32, 3, 2, 32), (32, 32, 3, 1, 16), (32, 64, 3, 2, 16)]
        + [(64, 64, 3, 1, 8), (16, 32, 1, 2, 32), (32, 64, 1, 2, 16)],
    ),
    "resnet18": (
        64,
        [(3, 64, 3, 1, 32), (64, 64, 3, 1, 32), (64, 128, 3, 2, 32), (128, 128, 3, 1, 16), (128, 256, 3, 2, 16)]
        + [(256, 256, 3, 1, 8), (256, 512, 3, 2, 8), (512, 512, 3, 1, 4)]
        + [(64, 128, 1, 2, 32), (128, 256, 1, 2, 16), (256, 512, 1, 2, 8)],
    ),
}
TOY = {"toy": (2, [(3, 5, 3, 1, 6), (4, 7, 3, 2, 9)])}


class Shape(NamedTuple):
    n: int
    c: int
    f: int
    k: int
    s: int
    size: int

    @property
    def out(self) -> int:
        return (self.size + 2 * (self.k // 2) - self.k) // self.s + 1

    @property
    def flops(self) -> int:
        return 2 * self.n * self.f * self.out**2 * self.c * self.k**2

    def arrays(self) -> tuple:
        """x, w, dy."""
        window = (self.f, self.c, self.k, self.k)
        x, dy = (self.n, self.c, self.size, self.size), (self.n, self.f, self.out, self.out)
        return values(x), values(window, 1) / (self.c * self.k**2) ** 0.5, values(dy, 2)


def forward(shape: Shape, side: Side) -> Call:
    x, w, _ = shape.arrays()
    x = side.images(x)
    return lambda: side.ops.conv2d(x, w, stride=shape.s, padding=shape.k // 2)[0]


def weight_gradient(shape: Shape, side: Side) -> Call:
    x, w, dy = shape.arrays()
    dy = side.images(dy)
    _, saved = side.ops.conv2d(side.images(x), w, stride=shape.s, padding=shape.k // 2)
    return lambda: side.ops.conv2d_backward(dy, saved, input_gradient=False)[1]


def input_gradient(shape: Shape, side: Side) -> Call:
    """Without the weights' gradient: as the transposed convolution of dy, which is the same product."""
    _, w, dy = shape.arrays()
    dy, p = side.images(dy), shape.k // 2
    rest = (shape.size + 2 * p - shape.k) % shape.s
    return lambda: side.ops.conv_transpose2d(dy, w, stride=shape.s, padding=p, output_padding=rest)[0]


def torch_call(shape: Shape, mask: list[bool] | None, side: TorchSide) -> Call:
    x, w, dy = map(side.images, shape.arrays())
    aten, s, p = side.torch.ops.aten, [shape.s] * 2, [shape.k // 2] * 2
    if mask is None:
        return lambda: aten.convolution(x, w, None, s, p, [1, 1], False, [0, 0], 1)
    wanted = mask.index(True)
    return lambda: aten.convolution_backward(dy, x, w, None, s, p, [1, 1], False, [0, 0], 1, mask)[wanted]


PRODUCTS = {
    "forward": (forward, None),
    "weight gradient": (weight_gradient, [False, True, False]),
    "input gradient": (input_gradient, [True, False, False]),
}


def cases(size: Size) -> Iterator[Case]:
    for product, (ours, mask) in PRODUCTS.items():
        for net, (n, layers) in (TOY if size == "toy" else NETS).items():
            shapes = [Shape(n, *layer) for layer in layers]
            for shape in [max(shapes, key=lambda shape: shape.flops)] if size == "quick" else shapes:
                if product == "input gradient" and shape == shapes[0]:
                    continue
                _, c, f, k, s, pixels = shape
                yield Case(
                    product,
                    f"{net} {c}→{f} {k}×{k}{'/2' if s == 2 else ''} {pixels}×{pixels}",
                    partial(ours, shape),
                    partial(torch_call, shape, mask),
                    modes=FLOAT32_MODES + BFLOAT16_MODES * (size == "full"),
                    flops=shape.flops,
                    family=net,
                    loops=1 if size == "toy" else 0,
                    numpy=size != "quick" or shape.flops < 2e9,
                    tolerance=1e-3,
                )
