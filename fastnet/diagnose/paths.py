"""`compare_paths`: a layer by the kernels beside the same layer by the reference, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import layers, reference
from ..functional import checks
from ..layers.base import Layer
from ..layers.watching import detached, leaves, watched
from ..memory import Array
from ..tables import columns

__all__ = ["PathReport", "PathRow", "compare_paths"]

# Relative to the largest number of an array: where sums of many terms may differ by the order in which they are added.
TOLERANCE = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-10}
CANCELLED = 1e-2  # a sum that is smaller than so much of its terms is measured by them

Call = tuple[str, list[Any], dict[str, Any], list[str]]  # operation, arrays behind x, settings, names of the gradients


def _data(*parameters: Any) -> list[Any]:
    return [None if p is None else p.data for p in parameters]


def _settings(layer: Any) -> dict[str, Any]:
    return dict(layer.settings)


def _weighted(op: str) -> Callable[[Any, Any], Call]:
    return lambda layer, _: (
        op,
        _data(layer.weight, layer.bias),
        _settings(layer) if op != "linear" else {},
        ["weight", "bias"],
    )


def _simple(op: str) -> Callable[[Any, Any], Call]:
    return lambda layer, _: (op, [], _settings(layer), [])


def _dropped(op: str) -> Callable[[Any, Any], Call]:
    return lambda layer, _: (op, [], {"p": layer.p, "seed": layer._saved.seed}, [])


def _max_pool(layer: Any, _: Any) -> Call:
    _, kernel, stride, padding, dilation = layer.window
    settings = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return "max_pool2d", [], {**settings, "ceil_mode": layer.ceil_mode}, []


def _avg_pool(layer: Any, _: Any) -> Call:
    _, kernel, stride, padding, _ = layer.window
    settings = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": layer.ceil_mode}
    return "avg_pool2d", [], {**settings, "count_include_pad": layer.count_include_pad}, []


def _adaptive(layer: Any, x: Array) -> Call:
    size = layer.output_size if isinstance(layer.output_size, tuple | list) else (layer.output_size,) * 2
    return (
        "adaptive_avg_pool2d",
        [],
        {"output_size": tuple(n if o is None else o for o, n in zip(size, x.shape[2:]))},
        [],
    )


def _batch_norm(layer: Any, _: Any) -> Call:
    statistics = [layer._before.get(name, layer._buffers[name]).copy() for name in ("running_mean", "running_var")]
    settings = {"training": True, "momentum": layer.momentum, "eps": layer.eps}
    return "batch_norm", [*_data(layer.weight, layer.bias), *statistics], settings, ["weight", "bias"]


def _layer_norm(layer: Any, _: Any) -> Call:
    settings = {"normalized_shape": layer.normalized_shape, "eps": layer.eps}
    settings |= dict(zip(("gamma", "beta"), _data(layer.weight, layer.bias)))
    return "layer_norm", [], settings, ["weight", "bias"]


def _group_norm(layer: Any, _: Any) -> Call:
    settings = {"num_groups": layer.num_groups, "eps": layer.eps}
    settings |= dict(zip(("gamma", "beta"), _data(layer.weight, layer.bias)))
    return "group_norm", [], settings, ["weight", "bias"]


CALLS: dict[type[Layer], Callable[[Any, Any], Call]] = {
    layers.Conv2d: _weighted("conv2d"),
    layers.ConvTranspose2d: _weighted("conv_transpose2d"),
    layers.Linear: _weighted("linear"),
    layers.MaxPool2d: _max_pool,
    layers.AvgPool2d: _avg_pool,
    layers.AdaptiveAvgPool2d: _adaptive,
    layers.BatchNorm2d: _batch_norm,
    layers.BatchNorm1d: _batch_norm,
    layers.LayerNorm: _layer_norm,
    layers.GroupNorm: _group_norm,
    layers.ReLU: _simple("relu"),
    layers.LeakyReLU: _simple("leaky_relu"),
    layers.ELU: _simple("elu"),
    layers.Sigmoid: _simple("sigmoid"),
    layers.Tanh: _simple("tanh"),
    layers.GELU: _simple("gelu"),
    layers.SiLU: _simple("silu"),
    layers.Softplus: _simple("softplus"),
    layers.Maxout: _simple("maxout"),
    layers.PReLU: lambda layer, _: ("prelu", _data(layer.weight), {}, ["weight"]),
    layers.Dropout: _dropped("dropout"),
    layers.Dropout2d: _dropped("dropout2d"),
    layers.Flatten: lambda layer, _: ("flatten", [], {}, []),
    layers.ZeroPad2d: lambda layer, _: ("zero_pad2d", [], {"padding": layer.padding}, []),
}


def _drop_connect(layer: Any, x: Array, dy: Array) -> tuple[Array, list[Any], list[str]]:
    mask = layer._saved[1]
    w, dropped = reference.dropout(layer.weight.data, layer.p, seed=mask.seed)
    y, saved = reference.linear(x, w, *_data(layer.bias))
    dx, dw, db = reference.linear_backward(dy, saved)
    return y, [dx, reference.dropout_backward(dw, dropped), db], ["weight", "bias"]


def _vanilla(layer: Any, x: Array, dy: Array) -> tuple[Array, list[Any], list[str]]:
    y, saved = reference.dropout(x, layer.p, seed=layer._saved.seed)
    return y * (1 - layer.p), [reference.dropout_backward(dy * (1 - layer.p), saved)], []


# Layers of more than one call: (y, [dx, gradients …], names of the gradients).
COMPOSED: dict[type[Layer], Callable[[Any, Array, Array], tuple[Array, list[Any], list[str]]]] = {
    layers.Identity: lambda layer, x, dy: (x, [dy], []),
    layers.Scale: lambda layer, x, dy: (x * x.dtype.type(layer.factor), [dy * dy.dtype.type(layer.factor)], []),
    layers.DropConnect: _drop_connect,
    layers.VanillaDropout: _vanilla,
}


@dataclass
class PathRow:
    """One array of one layer: its largest difference between the paths, and that in units of the reference's largest number.

    what: "y", "dx", or "d" and the parameter's name. difference and error are None where there is no reference.
    """

    layer: str
    kind: str
    what: str
    difference: float | None
    error: float | None


class PathReport:
    """What `compare_paths` found: .ok, .rows, .worst, .tolerance; print it."""

    def __init__(self, rows: list[PathRow], tolerance: float) -> None:
        self.rows, self.tolerance = rows, tolerance

    @property
    def worst(self) -> PathRow | None:
        """The row of the largest error; None if nothing could be compared."""
        compared = [row for row in self.rows if row.error is not None]
        return max(compared, key=lambda row: row.error or 0.0, default=None)

    @property
    def ok(self) -> bool:
        return self.worst is not None and (self.worst.error or 0.0) <= self.tolerance

    def __str__(self) -> str:
        lines = [("layer", "kind", "array", "largest difference", "of the largest")]
        for row in self.rows:
            known = row.difference is not None and row.error is not None
            numbers = (f"{row.difference:.1e}", f"{row.error:.1e}") if known else ("no reference", "")
            lines.append((row.layer or "(net)", row.kind, row.what, *numbers))
        verdict = "agree" if self.ok else "DIFFER" if self.worst else "could not be compared"
        return "\n".join(
            [f"Kernels and reference {verdict} (tolerance {self.tolerance:g})", "", *columns(lines, range(3))]
        )

    __repr__ = __str__


def compare_paths(layer: Layer, x: Array, dy: Array | None = None, *, seed: int = 0) -> PathReport:
    """Forward and backward of a layer (or of every layer in a net) by the kernels, beside fastnet.reference; a report.

    x is what the layer takes; dy (of the output's shape) is drawn by `seed` if it is not given. The layer is not touched: a
    copy runs, in training mode and in the dtype of x. Every inner layer is given what it gets in the net, so differences do
    not add up. Layers without a twin (a user's own) are listed as such; containers are compared by what they hold.
    """
    x = checks.floats("compare_paths", x)
    if not isinstance(layer, Layer):
        raise TypeError(f"compare_paths: layer must be a Layer, found {type(layer).__name__}")
    net = detached(layer, x.dtype).requires_grad_()
    given: dict[str, tuple[Array, Array]] = {}
    received: dict[str, tuple[Array, Any]] = {}
    gradients: dict[str, dict[str, Array]] = {}

    def forward(name: str, one: Layer, x: Array, y: Array) -> None:
        given[name] = x.copy(), y.copy()

    def backward(name: str, one: Layer, dy: Array, dx: Any) -> None:
        received[name] = dy.copy(), None if dx is None else dx.copy()
        gradients[name] = {own: p.grad.copy() for own, p in one._parameters.items()}

    inner = leaves(net)
    with watched(inner, forward, backward, net=net):
        y = net.forward(x)
        if dy is None:
            dy = np.random.default_rng([seed, 1]).standard_normal(y.shape).astype(y.dtype)
        net.backward(dy)
    rows: list[PathRow] = []
    for name, one in inner:
        if name in given and name in received:
            rows += _compare(name, one, *given[name], *received[name], gradients[name])
    return PathReport(rows, TOLERANCE[x.dtype])


def _compare(
    name: str, layer: Layer, x: Array, y: Array, dy: Array, dx: Any, gradients: dict[str, Array]
) -> list[PathRow]:
    kind = type(layer).__name__
    if type(layer) in COMPOSED:
        expected, slopes, names = COMPOSED[type(layer)](layer, x, dy)
    elif type(layer) in CALLS:
        op, arrays, settings, names = CALLS[type(layer)](layer, x)
        expected, saved = getattr(reference, op)(x, *arrays, **settings)
        back = getattr(reference, op + "_backward")(dy, saved)
        slopes = list(back) if isinstance(back, tuple) else [back]
    else:
        return [PathRow(name, kind, what, None, None) for what in ("y", "dx", *("d" + own for own in gradients))]
    pairs = [("y", y, expected, 0.0), ("dx", dx, slopes[0], 0.0)]
    for own, slope in zip(names, slopes[1:]):
        pairs.append(("d" + own, gradients.get(own), slope, _terms(dy, slope)))
    return [
        PathRow(name, kind, what, *_distance(found, wanted, terms))
        for what, found, wanted, terms in pairs
        if found is not None and wanted is not None
    ]


def _terms(dy: Array, slope: Any) -> float:
    """About the size of the terms that a bias's gradient sums, which cancel in front of a batch norm: what is left is rounding,
    and nothing to measure a difference by."""
    if np.ndim(slope) != 1 or dy.ndim < 2 or dy.shape[1] != len(slope):
        return 0.0
    with np.errstate(all="ignore"):
        sums = np.abs(dy).sum(axis=(0, *range(2, dy.ndim)))
    return CANCELLED * float(sums[np.isfinite(sums)].max(initial=0))


def _distance(found: Array, wanted: Array, terms: float) -> tuple[float, float]:
    """The largest difference, absolute and relative to the largest number or to `terms`; infinite where one is no number."""
    with np.errstate(all="ignore"):
        difference = np.where((found == wanted) | (np.isnan(found) & np.isnan(wanted)), 0.0, np.abs(found - wanted))
    if np.isnan(difference).any():
        return float("inf"), float("inf")
    largest = float(difference.max(initial=0.0))
    size = max(terms, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)))
    return largest, largest / size if size else largest
