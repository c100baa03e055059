"""A net's layers as a table."""

from typing import Any, NamedTuple

import numpy as np

from ..memory import Array
from .base import Layer
from .containers import Sequential
from .plan import line_of_peaks


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
        foot = ("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", f"{self.activation_bytes:,}")
        widths = [max(len(line[i]) for line in (head, *body, foot)) for i in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))
            ).rstrip()
            for line in (head, *body, foot)
        ]
        rule = "-" * max(map(len, lines))
        table = [self.title, rule, lines[0], rule, *lines[1:-1], rule, lines[-1]]
        if self.peak is not None:
            table.append(f"a training step of {self.batch}: {self.peak / 1e6:,.0f} MB at its largest moment")
        return "\n".join(table)

    __repr__ = __str__


def summarize(net: Layer, input_shape: tuple[int, ...], batch: int | None = None) -> Summary:
    """Send one example of zeros through the net in eval mode and note what every leaf puts out."""
    rows: list[Row] = []
    leaves = [(name, layer) for name, layer in net.named_modules() if not layer.children()]
    modes = [(layer, layer.training) for layer in net.modules()]
    dtypes = {parameter.data.dtype for _, parameter in net.named_parameters()}
    chains = [layer for layer in net.modules() if isinstance(layer, Sequential)]
    fused = [chain.fuse for chain in chains]

    def watched(name: str, layer: Layer) -> Any:
        forward = layer.forward

        def call(x: Array) -> Array:
            y = forward(x)
            own = sum(parameter.size for parameter in layer._parameters.values())
            rows.append(
                Row(
                    name or "(net)",
                    type(layer).__name__,
                    y.shape[1:],
                    own,
                    layer.multiply_adds(x.shape, y.shape),
                    y.nbytes,
                )
            )
            return y

        return call

    net.eval()
    for chain in chains:
        chain.fuse = False  # the rows come in the order in which the net is written
    try:
        for name, layer in leaves:
            layer.__dict__["forward"] = watched(name, layer)
        net.forward(np.zeros((1, *input_shape), dtypes.pop() if dtypes else np.float32))
    finally:
        for chain, fuse in zip(chains, fused):
            chain.fuse = fuse
        for _, layer in leaves:
            layer.__dict__.pop("forward", None)
        for layer, mode in modes:
            layer.training = mode
    title = f"{type(net).__name__} on an input of {' x '.join(map(str, input_shape))}, per example"
    if batch is None:
        return Summary(title, rows)
    base, step = line_of_peaks(net, input_shape)
    return Summary(title, rows, batch, int(base + batch * step))
