"""The nets that are trained, and the layers whose shapes are timed: of five small nets, and three for images of 224×224."""

from typing import NamedTuple


class Layer(NamedTuple):
    """A convolution of square images, with square windows and padding = window // 2."""

    c: int  # 1 or 3 where it is a net's first layer
    f: int
    k: int
    s: int
    size: int
    groups: int = 1


class Net(NamedTuple):
    """Every different convolution, the first layer first, and every different linear layer (in, out)."""

    batches: tuple[int, ...]
    convolutions: list[Layer]
    linear: list[tuple[int, int]]


class Trained(NamedTuple):
    """A model of fastnet.models whose training step is timed, on one batch of images (C, H, W)."""

    model: str
    shape: tuple[int, int, int]
    batch: int
    classes: int
    multiply_adds: int  # of one image's forward pass
    first: int  # those of the first layer, where the images' gradient is left out

    @property
    def flops(self) -> int:
        """Floating-point operations of the products of a step: forward, weight gradients, input gradients."""
        return 2 * self.batch * (3 * self.multiply_adds - self.first)

    def name(self, batch: int) -> str:
        return f"{self.model} {'×'.join(map(str, self.shape))}, batch {batch}"


TRAINED = {
    net.model: net
    for net in (
        Trained("three_layer_convnet", (3, 32, 32), 100, 10, 5_637_096, 4_816_896),
        Trained("lenet", (1, 28, 28), 128, 10, 3_024_384, 313_600),
        Trained("resnet20", (3, 32, 32), 128, 10, 40_813_184, 442_368),
        Trained("mobilenet_v1", (3, 32, 32), 128, 10, 46_354_432, 884_736),
        Trained("vgg_bn", (3, 32, 32), 128, 10, 152_805_376, 1_769_472),
        Trained("resnet18", (3, 32, 32), 64, 10, 555_422_720, 1_769_472),
        Trained("resnet50", (3, 224, 224), 8, 1000, 4_089_184_256, 118_013_952),
    )
}


def _net(batches: tuple[int, ...], rows: list[tuple[int, ...]], linear: list[tuple[int, int]]) -> Net:
    return Net(batches, [Layer(*row) for row in rows], linear)


def _separable(*blocks: tuple[int, int, int, int]) -> list[tuple[int, ...]]:
    """(C, F, stride, size) -> a depthwise 3×3 convolution of C channels and a 1×1 convolution to F."""
    pairs = [((c, c, 3, s, size, c), (c, f, 1, 1, size // s)) for c, f, s, size in blocks]
    return [row for pair in pairs for row in pair]


SMALL = {
    "three_layer_convnet": _net((100,), [(3, 32, 7, 1, 32)], [(8192, 100), (100, 10)]),
    "lenet": _net((128,), [(1, 16, 5, 1, 28), (16, 32, 5, 1, 14)], [(1568, 128), (128, 10)]),
    "vgg_bn": _net(
        (128,),
        [(3, 64, 3, 1, 32), (64, 64, 3, 1, 32), (64, 128, 3, 1, 16), (128, 128, 3, 1, 16)]
        + [(128, 256, 3, 1, 8), (256, 256, 3, 1, 8)],
        [(4096, 10)],
    ),
    "resnet20": _net(
        (128,),
        [(3, 16, 3, 1, 32), (16, 16, 3, 1, 32), (16, 32, 3, 2, 32), (32, 32, 3, 1, 16), (32, 64, 3, 2, 16)]
        + [(64, 64, 3, 1, 8), (16, 32, 1, 2, 32), (32, 64, 1, 2, 16)],
        [(64, 10)],
    ),
    "resnet18": _net(
        (64,),
        [(3, 64, 3, 1, 32), (64, 64, 3, 1, 32), (64, 128, 3, 2, 32), (128, 128, 3, 1, 16), (128, 256, 3, 2, 16)]
        + [(256, 256, 3, 1, 8), (256, 512, 3, 2, 8), (512, 512, 3, 1, 4)]
        + [(64, 128, 1, 2, 32), (128, 256, 1, 2, 16), (256, 512, 1, 2, 8)],
        [(512, 10)],
    ),
}

LARGE = {
    "resnet50": _net(
        (16, 1),
        [(3, 64, 7, 2, 224)]
        + [(64, 64, 1, 1, 56), (64, 64, 3, 1, 56), (64, 256, 1, 1, 56), (256, 64, 1, 1, 56)]
        + [(256, 128, 1, 1, 56), (128, 128, 3, 2, 56), (128, 512, 1, 1, 28), (256, 512, 1, 2, 56)]
        + [(512, 128, 1, 1, 28), (128, 128, 3, 1, 28)]
        + [(512, 256, 1, 1, 28), (256, 256, 3, 2, 28), (256, 1024, 1, 1, 14), (512, 1024, 1, 2, 28)]
        + [(1024, 256, 1, 1, 14), (256, 256, 3, 1, 14)]
        + [(1024, 512, 1, 1, 14), (512, 512, 3, 2, 14), (512, 2048, 1, 1, 7), (1024, 2048, 1, 2, 14)]
        + [(2048, 512, 1, 1, 7), (512, 512, 3, 1, 7)],
        [(2048, 1000)],
    ),
    "mobilenet_v1": _net(
        (16, 1),
        [(3, 32, 3, 2, 224)]
        + _separable((32, 64, 1, 112), (64, 128, 2, 112), (128, 128, 1, 56), (128, 256, 2, 56), (256, 256, 1, 28))
        + _separable((256, 512, 2, 28), (512, 512, 1, 14), (512, 1024, 2, 14), (1024, 1024, 1, 7)),
        [(1024, 1000)],
    ),
    "vgg16": _net(
        (16, 1),
        [(3, 64, 3, 1, 224), (64, 64, 3, 1, 224), (64, 128, 3, 1, 112), (128, 128, 3, 1, 112)]
        + [(128, 256, 3, 1, 56), (256, 256, 3, 1, 56), (256, 512, 3, 1, 28), (512, 512, 3, 1, 28)]
        + [(512, 512, 3, 1, 14)],
        [(25088, 4096), (4096, 4096), (4096, 1000)],
    ),
}
NETS = SMALL | LARGE
TOY = {"toy": _net((2,), [(3, 5, 3, 1, 6), (4, 7, 3, 2, 9), (6, 6, 3, 2, 7, 6), (6, 4, 1, 1, 5, 2)], [(7, 5)])}


def _work(layer: Layer) -> int:
    return layer.c * layer.f * layer.k**2 * (layer.size // layer.s) ** 2


# Of each small net the shape with the most work, of two large ones a usual one.
QUICK = {
    net: Net(found.batches, [max(found.convolutions, key=_work)], found.linear[:1]) for net, found in SMALL.items()
} | {
    "resnet50": _net((1,), [(128, 128, 3, 1, 28)], []),
    "mobilenet_v1": _net((1,), [(256, 256, 3, 1, 28, 256)], []),
}
TABLES = {"toy": TOY, "quick": QUICK, "full": NETS}
