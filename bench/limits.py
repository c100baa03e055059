"""Limits: how near do convolutions come to what the machine can do, and what do they take beside time?

Shares of the peak that is measured in the same moment; what the second thread gives; what the first call of a shape costs more
than the next; and the memory that a convolution needs beside its arrays: for each thread, and for all of them together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np

from bench import _nets, conv
from bench._harness import Size
from bench._harness.case import Call, Side, forget
from bench._harness.figures import Figure, Found
from bench._harness.measure import ceiling
from bench._harness.workers import settle

PEAK_LAYER = conv.Shape(128, _nets.Layer(128, 128, 3, 1, 32))
SHARES: dict[str, dict[str, tuple[float | None, str]]] = {  # level -> precision -> the share of its peak that is wanted
    "avx2": {"highest": (None, "")},
    "avx512": {"highest": (0.80, "")},
    "amx": {"highest": (0.65, ", six products"), "high": (None, ", three products"), "medium": (0.45, ", one product")},
}
SECONDS = {"toy": 0.001, "quick": 0.05, "full": 0.2}  # of calls, or of a peak, in a measurement
MIDDLE = {  # shapes of some milliseconds
    "vgg_bn": conv.Shape(128, _nets.Layer(128, 128, 3, 1, 16)),
    "resnet20": conv.Shape(128, _nets.Layer(32, 32, 3, 1, 16)),
    "resnet50": conv.Shape(16, _nets.Layer(256, 256, 3, 1, 14)),
    "resnet50, 1×1": conv.Shape(16, _nets.Layer(512, 128, 1, 1, 28)),
    "mobilenet_v1": conv.Shape(16, _nets.Layer(256, 256, 3, 1, 28, 256)),
}
TOY = conv.Shape(3, _nets.Layer(4, 6, 3, 1, 8))
Prepare = Callable[[conv.Shape, Side], Call]


def share(
    prepare: Prepare, shape: conv.Shape, level: str, precision: str, budget: float, threads: int, turn: int
) -> Found:
    """Operations per second over the peak of the level at that precision, which is measured just before and after."""
    import fastnet
    from fastnet import peaks

    fastnet.set_num_threads(threads)
    call = prepare(shape, Side(level))
    before = peaks.measure(threads, seconds=budget, megabytes=1)._asdict()
    with fastnet.precision(precision):  # type: ignore[arg-type]
        seconds = timed(call, budget)
    after = peaks.measure(threads, seconds=budget, megabytes=1)._asdict()
    top = max(ceiling({"float32": peak}, "float32", precision) for peak in (before, after))
    return Found(shape.flops / seconds / top)


def second_thread(prepare: Prepare, shape: conv.Shape, precision: str, budget: float, threads: int, turn: int) -> Found:
    """The time of one thread over that of two."""
    import fastnet

    call, seconds = prepare(shape, Side("fastnet")), {}
    with fastnet.precision(precision):  # type: ignore[arg-type]
        for n in (1, 2) if turn % 2 else (2, 1):
            fastnet.set_num_threads(n)
            settle()
            seconds[n] = timed(call, budget / 4)
    return Found(seconds[1] / seconds[2])


def first_call(prepare: Prepare, shape: conv.Shape, threads: int, turn: int) -> Found:
    """The first call of a shape over the median of the next ones. Each turn has a height of its own, so that the shape is
    new; the pool of memory and the threads are warm."""
    import fastnet
    from fastnet import memory

    fastnet.set_num_threads(threads)
    tall = shape._replace(layer=shape.layer._replace(size=shape.layer.size + 1 + turn))
    prepare(shape, Side("fastnet"))()
    for size in tall.sizes:
        memory.zeros(size)
    call = prepare(tall, Side("fastnet"))
    times = [timed(call, 0) for _ in range(8)]
    return Found(times[0] / float(np.median(times[1:])))


def timed(call: Call, seconds: float) -> float:
    """Seconds per call: of one, or of what fits into `seconds` after a first one."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    if not seconds:
        return first
    n = max(1, round(seconds / first))
    start = time.perf_counter()
    for _ in range(n):
        call()
    return (time.perf_counter() - start) / n


@lru_cache
def scratch(product: str, size: Size) -> tuple[Found, Found]:
    """The most that any shape takes beside its arrays: (for each thread, for all of them together), in bytes.

    All of it comes from the pool, which knows the largest moment. What two threads take more than one is each thread's own;
    what is left are weights in the kernels' order, and partial sums.
    """
    most = [Found(0.0), Found(0.0)]
    for net, (batches, layers, _) in _nets.TABLES[size].items():
        for n in batches:
            for layer in layers:
                shape = conv.Shape(n, layer)
                one, two = (beside_the_arrays(product, shape, threads) for threads in (1, 2))
                forget()
                name = f"{net} {shape.name}, batch {n}"
                most = [max(a, Found(float(b), name)) for a, b in zip(most, (two - one, 2 * one - two))]
    return most[0], most[1]


def beside_the_arrays(product: str, shape: conv.Shape, threads: int) -> int:
    """Bytes at the call's largest moment, without its inputs and what it returns."""
    import fastnet
    from fastnet import memory
    from fastnet.functional import packed

    fastnet.set_num_threads(threads)
    packed.clear()  # what is kept from call to call is no scratch
    call = conv.PRODUCTS[product][0](shape, Side("fastnet"))
    memory.empty_cache()  # the largest moment is now
    answer = call()
    found = memory.statistics()
    del answer
    return int(found["peak"] - found["live"])


def taken(product: str, size: Size, which: int, threads: int, turn: int) -> Found:
    return scratch(product, size)[which]


def figures(size: Size) -> Iterator[Figure]:
    layer, middle, budget = PEAK_LAYER, MIDDLE, SECONDS[size]
    if size == "toy":
        layer, middle = TOY, {"toy": TOY}
    if size == "quick":
        layer, middle = layer._replace(n=16), {"resnet20": MIDDLE["resnet20"]}
    for level, precisions in SHARES.items():
        for precision, (wanted, said) in precisions.items():
            for product, (prepare, _) in conv.PRODUCTS.items():
                find = partial(share, prepare, layer, level, precision, budget)
                name = f"{level}{said}: {product} of {layer.name}, batch {layer.n}"
                yield Figure("share of the peak", name, find, "%", wanted, level=level)
    each = [
        (f"{product} of {net} {shape.name}, batch {shape.n}", prepare, shape)
        for net, shape in middle.items()
        for product, (prepare, _) in conv.PRODUCTS.items()
    ]
    for precision in ("highest", "medium"):
        for name, prepare, shape in each:
            find = partial(second_thread, prepare, shape, precision, budget)
            yield Figure("second thread", f"{precision}: {name}", find, "×", 1.8, threads=2)
    for name, prepare, shape in each:
        yield Figure("first call", name, partial(first_call, prepare, shape), "×", 2, at_most=True)
    for which, (whose, wanted) in enumerate({"for each thread": 4e6, "for all threads together": None}.items()):
        for product in conv.PRODUCTS:
            find = partial(taken, product, size, which)
            yield Figure("memory", f"{whose}, {product}", find, "MB", wanted, at_most=True, turns=1)
