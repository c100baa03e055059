"""A net's layers as a table."""

from typing import NamedTuple

import numpy as np

from ..memory import Array
from ..tables import ruled
from .base import Layer
from .plan import peaks
from .watching import leaves, watched


class Row(NamedTuple):
    """One layer: its dotted name and kind, the shape it puts out for one example, the parameters it owns, the multiply-adds
    and the bytes of its output, both per example."""

    name: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int


class Summary:
    """What `layer.summary(shape)` returns: printable; .rows for programs, the totals, and .peak, the bytes of a training
    step, where a batch was given."""

    def __init__(self, title: str, rows: list[Row], batch: int | None = None, peak: int | None = None) -> None:
        self.batch, self.peak = batch, peak
        self.title = title
        self.rows = rows
        self.parameters = sum(row.parameters for row in rows)
        self.multiply_adds = sum(row.multiply_adds for row in rows)
        self.activation_bytes = sum(row.activation_bytes for row in rows)

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "multiply-adds", "activation bytes")
        body = [
            (
                r.name,
                r.layer,
                " x ".join(map(str, r.output_shape)),
                f"{r.parameters:,}",
                f"{r.multiply_adds:,}",
                f"{r.activation_bytes:,}",
            )
            for r in self.rows
        ]
        total = ("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", f"{self.activation_bytes:,}")
        foot = []
        if self.peak is not None:
            foot = [f"a training step of {self.batch}: {self.peak / 1e6:,.0f} MB at its largest moment"]
        return ruled(self.title, [head, *body, total], range(3), foot)

    __repr__ = __str__


def summarize(net: Layer, input_shape: tuple[int, ...], batch: int | None = None) -> Summary:
    """Send one example of zeros through the net in eval mode and note what every leaf puts out."""
    rows: list[Row] = []
    dtypes = {parameter.data.dtype for _, parameter in net.named_parameters()}

    def note(name: str, layer: Layer, x: Array, y: Array) -> None:
        own = sum(parameter.size for parameter in layer._parameters.values())
        work = layer.multiply_adds(x.shape, y.shape)
        rows.append(Row(name or "(net)", type(layer).__name__, y.shape[1:], own, work, y.nbytes))

    with net.evaluating(), watched(leaves(net), note, net=net):
        net.forward(np.zeros((1, *input_shape), dtypes.pop() if dtypes else np.float32))
    title = f"{type(net).__name__} on an input of {' x '.join(map(str, input_shape))}, per example"
    if batch is None:
        return Summary(title, rows)
    return Summary(title, rows, batch, peaks(net, input_shape)(batch))
