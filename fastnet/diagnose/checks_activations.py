"""The doctor looks at what passes through the net: saturation, dead units, vanishing signals, dropout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import layers as zoo
from ..layers.base import Layer
from ..layers.watching import detached, leaves, watched
from ..memory import Array
from ..training.state import Volatile
from .findings import Diagnosis, Finding
from .subject import Subject

__all__ = ["LayerView", "activations", "dropout", "look"]

BATCH = 256
SATURATED, DEAD, VANISHED = 0.5, 0.5, 1e-4  # shares and ratio from which on it is worth a warning


@dataclass
class LayerView:
    """What one layer put out for a batch, and the gradient that came back to it."""

    name: str
    kind: str
    mean: float
    std: float
    zeros: float  # share of units (features, channels) that are 0 for the whole batch
    saturated: float  # share of numbers at the flat ends of tanh or sigmoid
    denormal: float
    finite: bool
    values: Array  # some of them, for a histogram
    gradient: float = math.nan  # its root mean square

    @property
    def called(self) -> str:
        return f"layer {self.name!r} ({self.kind})"


def look(subject: Subject) -> list[LayerView]:
    """Every leaf's output for a batch in training mode, in the order in which they run."""
    net = detached(subject.net)
    x, y = subject.batch(BATCH)
    views: dict[str, LayerView] = {}

    def forward(name: str, layer: Layer, x: Array, y: Array) -> None:
        flat = y.reshape(-1)
        units = np.abs(y).max(axis=tuple(i for i in range(y.ndim) if i != 1)) if y.ndim > 1 else np.abs(y)
        saturated = 0.0
        if isinstance(layer, zoo.Tanh):
            saturated = float((np.abs(flat) > 0.97).mean())
        elif isinstance(layer, zoo.Sigmoid):
            saturated = float((np.abs(flat - 0.5) > 0.48).mean())
        tiny = np.finfo(y.dtype).tiny
        denormal = float(((flat != 0) & (np.abs(flat) < tiny)).mean())
        some = flat[:: max(1, flat.size // 4000)].copy()
        numbers = float(flat.mean(dtype=np.float64)), float(flat.std(dtype=np.float64))
        finite = bool(np.isfinite(numbers).all())
        views[name] = LayerView(
            name, type(layer).__name__, *numbers, float((units == 0).mean()), saturated, denormal, finite, some
        )

    def backward(name: str, layer: Layer, dy: Array, dx: Any) -> None:
        if name in views:
            views[name].gradient = float(np.sqrt(np.mean(np.square(dy, dtype=np.float64))))

    with watched(leaves(net), forward, backward, net=net), np.errstate(all="ignore"):
        scores = net.forward(x)
        subject.loss.forward(scores, y)
        net.backward(subject.loss.backward(), input_gradient=False)
    return list(views.values())


def activations(subject: Subject, report: Diagnosis, views: list[LayerView]) -> None:
    """Saturation, dead units, signals that vanish or explode, denormals."""
    ends = [v for v in views if v.kind in ("Tanh", "Sigmoid")]
    flat = [v for v in ends if v.saturated > SATURATED]
    if flat:
        worst = max(flat, key=lambda v: v.saturated)
        report.add(
            Finding(
                "saturation",
                "fault",
                75,
                f"{worst.kind.lower()} is saturated",
                f"{worst.called} puts out {worst.saturated:.0%} of its numbers at its flat ends; {len(flat)} of "
                f"{len(ends)} such layers are over {SATURATED:.0%}",
                "Where tanh or sigmoid is flat its slope is near 0: the gradient is multiplied by that, and the "
                "layers before learn nothing. It comes from weights or inputs that are too large.",
                "Xavier's initial weights, normalised inputs, batch norm before the activation, or ReLU.",
                {v.name: v.saturated for v in ends},
            )
        )
    elif ends:
        report.passes("saturation", f"at most {max(v.saturated for v in ends):.0%} of the numbers of a tanh or sigmoid")
    relus = [v for v in views if v.kind == "ReLU"]
    dead = [v for v in relus if v.zeros > DEAD]
    if dead:
        worst = max(dead, key=lambda v: v.zeros)
        report.add(
            Finding(
                "dead_relus",
                "fault",
                74,
                "dead ReLUs",
                f"{worst.zeros:.0%} of the units of {worst.called} are 0 for all {min(BATCH, len(subject.clean))} "
                f"examples of a batch; {len(dead)} of {len(relus)} ReLU layers are over {DEAD:.0%}",
                "A unit that is 0 for every example gets no gradient and never comes back. It dies of a learning "
                "rate that was too high, or of biases that are far below zero.",
                "Draw the weights anew (He), biases 0 or slightly positive, a lower rate; or LeakyReLU, which never "
                "dies.",
                {v.name: v.zeros for v in relus},
            )
        )
    elif relus:
        report.passes("dead_relus", f"at most {max(v.zeros for v in relus):.0%} of the units of a ReLU layer")
    _signal(subject, report, views)


def _signal(subject: Subject, report: Diagnosis, views: list[LayerView]) -> None:
    check = "signal"
    finite = [v for v in views if v.finite]
    if len(finite) < len(views):
        first = next(v for v in views if not v.finite)
        return report.add(
            Finding(
                "not_finite",
                "fault",
                92,
                "numbers that are none arise inside the net",
                f"{first.called} is the first whose output is not finite",
                "They make the loss, and with the first update every parameter, NaN.",
                "Look at this layer's forward, and at the size of its weights.",
                {"layer": first.name},
            )
        )
    hidden = [v for v in finite[:-1] if v.kind not in ("Flatten", "Identity")]
    if not hidden:
        return report.skips(check, "no hidden layer")
    size = float(np.abs(subject.x[subject.clean[:BATCH]]).max(initial=0))
    stds = [v.std for v in hidden]
    denormal = max(v.denormal for v in finite)
    low, high = min(stds), max(stds)
    if low < VANISHED * min(size, 1.0) or high > 1e4 * max(size, 1.0):
        extreme = hidden[stds.index(low if low < VANISHED * min(size, 1.0) else high)]
        word = "vanishes" if extreme.std == low else "explodes"
        report.add(
            Finding(
                check,
                "warning",
                70,
                f"the signal {word} on its way through the net",
                f"deviations of the layers' outputs go from {stds[0]:.2g} to {stds[-1]:.2g}; {extreme.called} has "
                f"{extreme.std:.2g}",
                "Each layer multiplies the size of what passes by a factor; over many layers that is a power of it, "
                "forward and backward.",
                "He's weights before ReLU (variance 2 / fan-in), Xavier's before tanh, or batch norm; "
                "initializers.lsuv measures.",
                {v.name: v.std for v in hidden},
            )
        )
    elif denormal > 0.01:
        report.add(
            Finding(
                check,
                "warning",
                30,
                "many activations are denormal",
                f"{denormal:.1%} of the numbers of a layer are below the smallest normal float",
                "They carry no information, and arithmetic on them can be many times slower.",
                "Larger initial weights, or batch norm.",
                {v.name: v.denormal for v in finite},
            )
        )
    else:
        report.passes(check, f"deviations of the layers' outputs are between {low:.2g} and {high:.2g}")


REPEATS = 12


def dropout(subject: Subject, report: Diagnosis) -> None:
    """Is the mean of what a layer puts out the same in training and in evaluation?"""
    check = "dropout"
    ours = {getattr(zoo, name) for name in zoo.__all__} - {
        zoo.Dropout,
        zoo.Dropout2d,
        zoo.VanillaDropout,
        zoo.DropConnect,
    }
    net = detached(subject.net)
    given: dict[str, Array] = {}
    candidates = [
        (name, layer) for name, layer in leaves(net) if type(layer) not in ours and "running_mean" not in layer._buffers
    ]
    if not candidates:
        return report.skips(check, "no layer behaves differently in training")

    def keep(name: str, layer: Layer, x: Array, y: Array) -> None:
        given[name] = x.copy()

    with watched(candidates, keep, net=net), np.errstate(all="ignore"):
        net.forward(subject.batch(BATCH)[0])
    different = 0
    for name, layer in candidates:
        if name not in given:
            continue
        ratio, error = _ratio(layer, given[name])
        different += ratio != 1.0
        if abs(ratio - 1) > max(0.1, 5 * error):
            report.add(
                Finding(
                    check,
                    "fault",
                    65,
                    "a layer's outputs have another size in training than in evaluation",
                    f"layer {name!r} ({type(layer).__name__}): in training they are {ratio:.3g} times those in "
                    f"evaluation (mean of {REPEATS} passes, ± {error:.2g})",
                    "The layers behind learn to read the training size and are then shown another one. Inverted "
                    "dropout divides by 1 - p in training and does nothing afterwards; vanilla dropout multiplies "
                    "by 1 - p in evaluation. Who does both, or one of them twice, is off by that factor.",
                    "Scale once. layers.Dropout(p) is the inverted form, p the probability to drop.",
                    {"layer": name, "ratio": ratio},
                )
            )
    if check not in report:
        report.passes(check, f"{different} layers behave differently in training; their mean outputs agree")


def _ratio(layer: Layer, x: Array) -> tuple[float, float]:
    """Size of a layer's outputs in training, in units of those in evaluation, and its standard error."""
    before = Volatile(layer)
    layer.eval()
    with np.errstate(all="ignore"):
        still = np.asarray(layer.forward(x), np.float64)
        layer.train()
        scale = float((still**2).sum())
        if not scale or not math.isfinite(scale):
            return 1.0, 0.0
        ratios = [float((np.asarray(layer.forward(x), np.float64) * still).sum()) / scale for _ in range(REPEATS)]
    before.restore()
    return float(np.mean(ratios)), float(np.std(ratios)) / math.sqrt(REPEATS)
