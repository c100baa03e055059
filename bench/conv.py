"""Convolution: how fast and how exact are its three products, on the shapes of eight nets?

At `medium`, images are held as the layers of a net hold them there, in bfloat16, and so are PyTorch's beside it; at the other
precisions, and on the levels below AMX, they are float32 arrays. No bias. The five small nets have their training batch;
ResNet-50, MobileNet and VGG-16 see images of 224×224, 16 and one at a time. The gradient of the input is left out for a net's
first layer, where nobody needs it. Errors are against float64: of one image of the batch for the first and the last product,
of everything for the weights' gradient, which sums over the batch.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from bench import _nets
from bench._harness import Case, Size, values
from bench._harness.case import BFLOAT16_MODES, FLOAT32_MODES, PRECISIONS, Call, Side, TorchSide, shared


class Shape(NamedTuple):
    n: int
    layer: _nets.Layer

    @property
    def padding(self) -> int:
        return self.layer.k // 2

    @property
    def out(self) -> int:
        return (self.layer.size + 2 * self.padding - self.layer.k) // self.layer.s + 1

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Of x, w, dy."""
        c, f, k, _, size, groups = self.layer
        return (self.n, c, size, size), (f, c // groups, k, k), (self.n, f, self.out, self.out)

    @property
    def flops(self) -> int:
        """The same for the three products."""
        c, f, k, _, _, groups = self.layer
        return 2 * self.n * f * self.out**2 * c // groups * k**2

    @property
    def nbytes(self) -> int:
        """Two of x, w, dy are read and the third is written: float32 numbers, each once."""
        n, c, h, w = self.sizes[0]
        _, f, oh, ow = self.sizes[2]
        return 4 * (n * c * h * w + n * f * oh * ow + f * self.sizes[1][1] * self.layer.k**2)

    @property
    def name(self) -> str:
        c, f, k, s, size, groups = self.layer
        depthwise = groups == c == f
        channels = f"{c} depthwise" if depthwise else f"{c}→{f}" + (f" in {groups} groups" if groups > 1 else "")
        return f"{channels} {k}×{k}{'/2' if s == 2 else ''} {size}×{size}"

    def arrays(self, side: Side | TorchSide) -> tuple:
        """x, w, dy, of the part of the batch that the side wants."""
        x, w, dy = self.sizes
        n, fan_in = side.batch(self.n), w[1] * w[2] * w[3]

        def made() -> tuple:
            weights = values(w, 1) / np.float32(fan_in**0.5)
            return side.images(values(x, first=n)), side.weights(weights), side.images(values(dy, 2, first=n))

        return shared(side, self, made)

    def carried(self, side: Side) -> tuple | None:
        """x, w, dy as the layers of a net hand them on where they store bfloat16, and the geometry; None where they do not."""
        from fastnet.functional import deferred
        from fastnet.functional.geometry import Geometry

        stored = deferred.storage(np.float32)
        if not side.compiled or side.dtype or stored == np.float32:
            return None
        x, w, dy = self.arrays(side)
        _, _, k, s, _, groups = self.layer

        def made() -> tuple:
            return tuple(deferred.Deferred(deferred.stored_as(deferred.stored_of(a), stored)) for a in (x, dy))

        image, gradient = shared(side, (self, "carried"), made)
        return image, w, gradient, Geometry((k, k), (s, s), (self.padding, self.padding), (1, 1), groups)


def forward(shape: Shape, side: Side) -> Call:
    if (given := shape.carried(side)) is not None:
        from fastnet.functional import convolution, deferred

        image, weights, _, geometry = given
        return lambda: deferred.Deferred(convolution.convolve(image, weights, None, geometry, False, carried=True)[0])
    x, w, _ = shape.arrays(side)
    options = {"stride": shape.layer.s, "padding": shape.padding, "groups": shape.layer.groups}
    return lambda: side.ops.conv2d(x, w, **options)[0]


def weight_gradient(shape: Shape, side: Side) -> Call:
    if (given := shape.carried(side)) is not None:
        from fastnet.functional import products

        image, _, gradient, geometry = given
        return lambda: products.weight_gradient(image, gradient, geometry)
    x, w, dy = shape.arrays(side)
    _, saved = side.ops.conv2d(x, w, stride=shape.layer.s, padding=shape.padding, groups=shape.layer.groups)
    return lambda: side.ops.conv2d_backward(dy, saved, input_gradient=False)[1]


def input_gradient(shape: Shape, side: Side) -> Call:
    """Without the weights' gradient: as the transposed convolution of dy, which is the same product."""
    if (given := shape.carried(side)) is not None:
        from fastnet import memory
        from fastnet.functional import deferred, products

        image, weights, gradient, geometry = given
        return lambda: deferred.Deferred(
            products.scatter(gradient, weights, None, memory.empty(image.a.shape, image.a.dtype), geometry)
        )
    _, w, dy = shape.arrays(side)
    s, p, groups = shape.layer.s, shape.padding, shape.layer.groups
    rest = (shape.layer.size + 2 * p - shape.layer.k) % s
    return lambda: side.ops.conv_transpose2d(dy, w, stride=s, padding=p, output_padding=rest, groups=groups)[0]


def torch_call(shape: Shape, mask: list[bool] | None, side: TorchSide) -> Call:
    x, w, dy = shape.arrays(side)
    aten, rest = side.torch.ops.aten, ([1, 1], False, [0, 0], shape.layer.groups)
    move = [shape.layer.s] * 2, [shape.padding] * 2
    if mask is None:
        return lambda: aten.convolution(x, w, None, *move, *rest)
    wanted = mask.index(True)
    return lambda: aten.convolution_backward(dy, x, w, None, *move, *rest, mask)[wanted]


PRODUCTS = {
    "forward": (forward, None),
    "weight gradient": (weight_gradient, [False, True, False]),
    "input gradient": (input_gradient, [True, False, False]),
}


def cases(size: Size) -> Iterator[Case]:
    for product, (ours, mask) in PRODUCTS.items():
        for net, (batches, layers, _) in _nets.TABLES[size].items():
            for n in batches:
                for layer in layers:
                    if product == "input gradient" and layer.c <= 3:
                        continue
                    shape = Shape(n, layer)
                    small = net not in _nets.LARGE
                    yield Case(
                        product,
                        f"{net} {shape.name}, batch {n}",
                        partial(ours, shape),
                        partial(torch_call, shape, mask),
                        modes=FLOAT32_MODES + BFLOAT16_MODES * (size == "full"),
                        flops=shape.flops,
                        nbytes=shape.nbytes,
                        family=net if small else f"{net}, batch {n}",
                        loops=1 if size == "toy" else 0,
                        numpy=small and (size != "quick" or shape.flops < 2e9),
                        lower=small and size != "quick",
                        precisions=PRECISIONS,
                        exact=1 if product == "weight gradient" else n,
                        tolerance=1e-3,
                    )
