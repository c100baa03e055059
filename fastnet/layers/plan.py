"""What a training step or an inference of a net does to memory: which layers share a pass, and the bytes it moves."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import memory
from .._ext import memory as pool
from ..functional import checks, packed, trace
from ..functional.deferred import Deferred, Value
from ..tables import ruled
from .base import Layer
from .volatile import Volatile
from .watching import Method, methods, wrapped

__all__ = ["Plan", "Row", "peak_memory", "peaks", "plan"]

NUMBERS, MOST = 400_000, 128  # of the input, and examples: up to so many a step is run to see its peak
LEAST = 4  # examples, in any case
SMALL = 100 << 20  # bytes: a peak below is seen quickly, whatever the batch


class Row(NamedTuple):
    """One layer in one direction: its dotted name and kind, what it did, with what riding along, and bytes per example.

    passes: those bytes in units of the layer's output; 0 for a layer that has no pass of its own.
    """

    name: str
    layer: str
    direction: str
    does: str
    reads: int
    writes: int
    output: int

    @property
    def passes(self) -> float:
        return (self.reads + self.writes) / self.output if self.output else 0.0


class Plan:
    """What `fastnet.plan` returns: printable; .rows for programs, and the bytes of all rows per example."""

    def __init__(self, title: str, rows: list[Row], peak: Callable[[int], int] | None) -> None:
        self.title = title
        self.rows = rows
        self.reads = sum(row.reads for row in rows)
        self.writes = sum(row.writes for row in rows)
        self._peak = peak

    def peak(self, batch: int) -> int:
        """Bytes that a step of so many examples needs at its largest moment: activations, gradients and scratch, without
        the parameters."""
        if self._peak is None:
            raise ValueError("plan: the peak is known of a training plan only")
        return self._peak(checks.integer("plan.peak", batch, "batch", 1))

    def passes(self, name: str, direction: str) -> float:
        """Passes over its output that a layer makes in a direction ("forward" or "backward"), its inside included."""
        found = [row for row in self.rows if row.direction == direction]
        return sum(row.passes for row in found if row.name == name or row.name.startswith(f"{name}."))

    def __str__(self) -> str:
        head = ("layer", "kind", "direction", "what it does, with what riding along", "reads", "writes", "passes")
        body = [
            (r.name, r.layer, r.direction, r.does, f"{r.reads:,}", f"{r.writes:,}", f"{r.passes:.1f}" if r.does else "")
            for r in self.rows
        ]
        total = ("total", "", "", "bytes per example", f"{self.reads:,}", f"{self.writes:,}", "")
        foot = []
        if self._peak is not None:
            foot = [f"peak of a step, without the parameters: {self.peak(128) / 1e6:,.0f} MB at batch 128"]
        return ruled(self.title, [head, *body, total], range(4), foot)

    __repr__ = __str__


def plan(net: Layer, input_shape: tuple[int, ...], *, training: bool = True) -> Plan:
    """Run a few examples of zeros through the net (and back, in training) and note every pass over memory.

    input_shape: that of one example, (C, H, W). The net is as before afterwards, gradients and running statistics included.
    Packed weights and what a kernel reads several times from the cache are not counted.  ValueError as the net's own.
    """
    shape = tuple(checks.integer("plan", size, f"every size of input_shape {input_shape}", 1) for size in input_shape)
    many = max(2, min(MOST, NUMBERS // math.prod(shape)))
    rows, _ = _run(net, shape, min(many, 16), training)
    peak = peaks(net, shape) if training else None
    what = "a training step" if training else "an inference"
    return Plan(f"{type(net).__name__} on an input of {' x '.join(map(str, shape))}: {what}", rows, peak)


def peaks(net: Layer, input_shape: tuple[int, ...]) -> Callable[[int], int]:
    """The peak of a training step as a function of the batch: that of a step, or for batches that take long from two smaller
    ones. The memory in use at each moment grows by the example, but another moment may be the largest then."""
    most = max(LEAST, min(MOST, NUMBERS // math.prod(input_shape)))
    known = lru_cache(lambda batch: _moments(net, input_shape, batch))

    def peak(batch: int) -> int:
        many = most
        while many < batch and max(known(many)) < SMALL:
            many *= 2
        if batch <= many:
            return max(known(batch))
        few = many // 2
        return max(int(b + (batch - many) * (b - a) / (many - few)) for a, b in zip(known(few), known(many)))

    return peak


def peak_memory(net: Layer, input_shape: tuple[int, ...], batch: int) -> int:
    """Bytes that a training step of so many examples has in use at its largest moment, beyond those before it."""
    return max(_moments(net, input_shape, batch))


def _moments(net: Layer, input_shape: tuple[int, ...], batch: int) -> list[int]:
    """The same for each layer's forward and backward."""
    packed.clear()
    gc.collect()  # what would be freed in between counts neither before nor after
    memory.empty_cache()
    before = memory.statistics()["live"]
    _, moments = _run(net, input_shape, batch, True)
    memory.empty_cache()
    return [moment - before for moment in moments]


def _run(net: Layer, shape: tuple[int, ...], batch: int, training: bool) -> tuple[list[Row], list[int]]:
    """The rows of a step of so many examples, and the bytes in use at each layer's largest moment; the net is left as it
    was."""
    volatile, modes = Volatile(net), [(layer, layer.training) for layer in net.modules()]
    gradients = [(p, p.grad.copy()) for _, p in net.named_parameters()]
    dtypes = {p.data.dtype for _, p in net.named_parameters()}
    x = np.random.default_rng(0).standard_normal((batch, *shape)).astype(dtypes.pop() if dtypes else np.float32)
    net.train(training)
    packed.clear()  # a step finds weights that are new
    rows: list[Row] = []
    moments: list[int] = []
    # A layer of layers that knows of arrays only takes part as a whole, too.
    parts = [one for one in methods(net) if not (one.layer.children() and one.layer._carries())]
    pool.mark()
    try:
        with trace.recording() as passes, wrapped(parts, (watch := _Watch(passes, rows, moments, batch)).noting):
            y = net.forward(x)
            watch.note("", net, "forward")
            if training:
                net.backward(np.ones_like(y), input_gradient=False)
                watch.note("", net, "backward")
            moments.append(pool.mark())
    finally:
        net._forget()
        packed.clear()  # or the next pass would find weights that it has seen before, and keep their packed form
        volatile.restore()
        for parameter, gradient in gradients:
            np.copyto(parameter.grad, gradient)
        for layer, mode in modes:
            layer.training = mode
    return rows, moments


class _Watch:
    """Carries on what layers do, and writes a row about each call."""

    def __init__(self, passes: list[trace.Pass], rows: list[Row], moments: list[int], batch: int) -> None:
        self.passes, self.rows, self.moments, self.batch, self.seen = passes, rows, moments, batch, 0
        self.outputs: dict[str, int] = {}

    def noting(self, one: Method, method: Callable[..., Any]) -> Callable[..., Any]:
        name, layer, direction, _ = one

        def call(x: Value, *into: Any, **more: Any) -> Value | None:
            self.note("", layer, direction)  # what a layer around it did before
            given = x.stored() if isinstance(x, Deferred) and x.made else x
            y: Value | None = method(x, *into, **more)
            if y is not None and direction == "forward":
                self.outputs[name] = y.a.nbytes if isinstance(y, Deferred) else y.nbytes
            self._generic(given, y, direction)
            self.note(name, layer, direction)
            return y

        return call

    def _generic(self, x: Value, y: Value | None, direction: str) -> None:
        """A layer that noted nothing, and made an array: it read one and wrote one."""
        deferred = isinstance(y, Deferred) and y.coefficients is not None
        if len(self.passes) == self.seen and y is not None and not deferred:
            old, new = (value.a if isinstance(value, Deferred) else value for value in (x, y))
            if not np.may_share_memory(old, new):
                trace.note(direction, [x], [new])

    def note(self, name: str, layer: Layer, direction: str) -> None:
        """A row of what has been done since the last one, and the most memory that it had in use."""
        if name:
            self.moments.append(pool.mark())
        new, self.seen = self.passes[self.seen :], len(self.passes)
        if not new and not name:
            return
        does = "; ".join(one.what + (f" ({' + '.join(one.rides)})" if any(one.rides) else "") for one in new)
        reads, writes = sum(one.reads for one in new), sum(one.writes for one in new)
        kind = type(layer).__name__ if name else "(between layers)"
        output = self.outputs.get(name, 0) // self.batch
        self.rows.append(Row(name, kind, direction, does, reads // self.batch, writes // self.batch, output))
