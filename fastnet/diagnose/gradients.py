"""`check_gradients`: every backward of a net against centred differences, with the care that the course asks for."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..functional import checks
from ..layers.base import Layer
from ..layers.watching import detached, leaves, watched
from ..losses import SoftmaxCrossEntropy
from ..memory import Array
from ..parameters import ParameterBuffer
from ..regularization import Regularization, regularizer
from ..training.state import Volatile
from .gradient_report import GradientReport
from .kinks import Sides, of_layer, of_loss
from .slopes import POOR, GradientRow, Slot, Value, rows_of

__all__ = ["check_gradients"]

OP = "check_gradients"


def check_gradients(
    net: Layer,
    x: Array,
    y: Any,
    loss: Any = None,
    *,
    regularization: Regularization | float | None = None,
    samples: int = 12,
    h: float = 1e-5,
    tolerance: float = POOR,
    burn_in: int = 0,
    burn_in_lr: float = 1e-2,
    seed: int = 0,
    seconds: float | None = None,
) -> GradientReport:
    """Compare backward with (f(w + h) - f(w - h)) / 2h at sampled coordinates of every parameter, of the input and of the
    scores; a report: .ok, .rows, .worst, .suspects (names of layers whose own backward is wrong), readable as text.

    net             a Layer; it is not touched: the check runs on a float64 copy, in training mode, and every evaluation has
                    the same dropout masks and running statistics
    x, y            a small batch, as the net and the loss take them: 2 to 10 examples, since few numbers cross few kinks
    loss            as in Solver; SoftmaxCrossEntropy() by default
    regularization  as in Solver; checked apart, because its gradient can be so much larger that it hides the data's
    samples         coordinates of each array (half of them where the gradient is not zero), drawn by `seed`
    h, tolerance    the step, for numbers up to 1, else in proportion; the relative error from which on .ok is False
    burn_in         steps of plain gradient descent (rate burn_in_lr) before: at the first weights a net is a special place
    seconds         stop drawing coordinates after so long (the first coordinates of all arrays come first)

    The error is |a - n| / max(|a|, |n|), 0 where both vanish. Where ReLU signs, winners of max-pooling and maxout, or margins
    differ between the two sides and account for the difference, the coordinate is a "kink": tried with smaller steps,
    then reported and replaced by another one. If a coordinate is wrong, every layer is checked by itself, inner ones first.
    ValueError or TypeError for arguments that do not fit; FloatingPointError if the loss is not finite. CS231n, notes
    "Neural Networks, part 3".
    """
    if not isinstance(net, Layer):
        raise TypeError(f"{OP}: net must be a Layer, found {type(net).__name__}")
    x = checks.floats(OP, x)
    if not len(x):
        raise ValueError(f"{OP}: expected at least one example, found x of shape {x.shape}")
    samples = checks.integer(OP, samples, "samples", 1)
    burn_in = checks.integer(OP, burn_in, "burn_in", 0)
    h = checks.number(OP, h, "h", 1e-12, 1.0)
    tolerance = checks.number(OP, tolerance, "tolerance", 0.0, 1.0)
    began = time.perf_counter()
    twin = detached(net, np.float64).requires_grad_()  # what is frozen has a backward to check, too
    trial = _Trial(twin, np.array(x, np.float64), y, loss, regularizer(regularization))
    trial.burn(burn_in, burn_in_lr)
    notes = trial.notes()

    def more() -> bool:
        return seconds is None or time.perf_counter() - began < seconds

    drawing: dict[str, Any] = {"samples": samples, "h": h, "more": more}
    rows = rows_of(trial.score_slots(), trial.loss_of_scores, seed=[seed, 0], **drawing)
    rows += rows_of(trial.data_slots(), trial.data_part, seed=[seed, 1], **drawing)
    if trial.buffer is not None and trial.term is not None:
        rows += rows_of(trial.term_slots(), trial.term_part, seed=[seed, 2], **drawing)
    suspects: list[str] = []
    alone: list[GradientRow] = []
    if any(_bad(row, tolerance) for row in rows if row.part == "data" and row.layer != "loss"):
        suspects, alone = _suspects(trial, samples, h, tolerance, seed)
    reached = {(row.part, row.layer, row.parameter) for row in rows}
    missed = [s for s in trial.data_slots() if (s.part, s.layer, s.parameter) not in reached and s.array.size]
    if missed:
        notes.append(f"time ran out before {len(missed)} of {len(trial.data_slots())} arrays had a coordinate checked")
    return GradientReport(rows, alone, suspects, notes, h=h, tolerance=tolerance, burn_in=burn_in)


def _bad(row: GradientRow, tolerance: float) -> bool:
    return row.verdict not in ("zero", "kink") and row.error > tolerance


class _Trial:
    """The float64 copy at work: values and gradients of the data part and of the regularization part."""

    def __init__(self, net: Layer, x: Array, y: Any, loss: Any, term: Regularization | None) -> None:
        self.net, self.x, self.y, self.term = net, x, y, term
        self.loss = SoftmaxCrossEntropy() if loss is None else copy.deepcopy(loss)
        if not (callable(getattr(self.loss, "forward", None)) and callable(getattr(self.loss, "backward", None))):
            raise TypeError(f"{OP}: loss must have forward(scores, y) and backward(), found {loss!r}")
        parameters = net.parameters()
        self.buffer = ParameterBuffer.of(parameters) if parameters else None
        self.before = Volatile(net)
        self.leaves = leaves(net)
        self.scores = np.array(self._forward(), np.float64)

    def _forward(self) -> Array:
        self.before.restore()
        with np.errstate(all="ignore"):
            return self.net.forward(self.x)

    def data_part(self) -> Value:
        sides: Sides = {}

        def note(name: str, layer: Layer, x: Array, y: Array) -> None:
            chosen = of_layer(layer, x, y)
            if chosen is not None:
                sides[f"layer {name!r} ({type(layer).__name__})"] = chosen

        with watched(self.leaves, note, net=self.net):
            scores = self._forward()
        return self._valued(self.loss.forward(scores, self.y), sides)

    def loss_of_scores(self) -> Value:
        return self._valued(self.loss.forward(self.scores, self.y), {})

    def _valued(self, value: float, sides: Sides) -> Value:
        chosen = of_loss(self.loss)
        if chosen is not None:
            sides[f"the loss ({type(self.loss).__name__})"] = chosen
        return Value(value, sides)

    def term_part(self) -> Value:
        assert self.buffer is not None
        assert self.term is not None
        return Value(self.term.forward(self.buffer), {})

    def gradients(self) -> Array:
        """Backward of the data part; the gradient of the input."""
        self.net.zero_grad()
        value = self.loss.forward(self._forward(), self.y)
        if not np.isfinite(value):
            raise FloatingPointError(f"{OP}: the loss is {value}; there is no gradient to check")
        dx = self.net.backward(self.loss.backward())
        if dx is None or dx.shape != self.x.shape:
            found = "None" if dx is None else f"shape {dx.shape}"
            raise ValueError(f"{OP}: backward must give the input's gradient of shape {self.x.shape}, found {found}")
        return np.array(dx, np.float64)

    def burn(self, steps: int, lr: float) -> None:
        for _ in range(steps):
            self.gradients()
            if self.buffer is not None:
                if self.term is not None:
                    self.term.backward(self.buffer)
                self.buffer.data -= lr * self.buffer.grad
        if steps:
            self.scores = np.array(self._forward(), np.float64)

    def data_slots(self) -> list[Slot]:
        dx = self.gradients()
        slots = [_slot(self.net, "data", name, p.data, p.grad.copy()) for name, p in self.net.named_parameters()]
        return [*slots, Slot("data", "", type(self.net).__name__, "input", self.x, dx)]

    def score_slots(self) -> list[Slot]:
        self.loss.forward(self.scores, self.y)
        gradient = np.array(self.loss.backward(), np.float64)
        return [Slot("data", "loss", type(self.loss).__name__, "scores", self.scores, gradient)]

    def term_slots(self) -> list[Slot]:
        assert self.buffer is not None
        assert self.term is not None
        self.net.zero_grad()
        self.term.backward(self.buffer)
        return [
            _slot(self.net, "regularization", name, p.data, p.grad.copy())
            for name, p in self.net.named_parameters()
            if p.decay
        ]

    def notes(self) -> list[str]:
        """What spoils a check before it begins: a function that is none, numbers of less than 64 bits, modes."""
        found: dict[str, str] = {}

        def note(name: str, layer: Layer, x: Array, y: Array) -> None:
            if x.dtype == np.float64 and y.dtype != np.float64:
                found[name] = f"layer {name!r} ({type(layer).__name__}) computes in {y.dtype}: the check is as coarse"

        with watched(self.leaves, note, net=self.net):
            one = self.loss.forward(self._forward(), self.y)
        two = self.loss.forward(self._forward(), self.y)
        notes = list(found.values())
        if one != two and not (np.isnan(one) and np.isnan(two)):
            notes.append(
                f"the loss is no function of its inputs: twice the same pass gave {one:.10g} and {two:.10g} "
                "(a layer that draws random numbers must draw them from self.rng)"
            )
        return notes


def _slot(net: Layer, part: str, name: str, array: Array, gradient: Array) -> Slot:
    layer, _, parameter = name.rpartition(".")
    kind = type(dict(net.named_modules())[layer]).__name__
    return Slot(part, layer, kind, parameter, array, gradient)


# --- layer by layer -----------------------------------------------------------------------------------------------


def _inner_first(net: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    for name, child in net._children.items():
        yield from _inner_first(child, f"{prefix}.{name}" if prefix else name)
    yield prefix, net


def _suspects(
    trial: _Trial, samples: int, h: float, tolerance: float, seed: int
) -> tuple[list[str], list[GradientRow]]:
    """The layers whose backward is wrong though those inside them are right, and their rows."""
    inputs: dict[str, Array] = {}

    def keep(name: str, layer: Layer, x: Array, y: Array) -> None:
        inputs[name] = np.array(x, np.float64)

    order = list(_inner_first(trial.net))
    with watched(order, keep, net=trial.net):
        trial._forward()
    wrong: list[str] = []
    found: list[GradientRow] = []
    for i, (name, layer) in enumerate(order):
        inside = [other for other in wrong if not name or other.startswith(name + ".")]
        if inside or name not in inputs:
            continue
        rows = _alone(name, layer, inputs[name], samples, h, [seed, 3, i])
        if any(_bad(row, tolerance) for row in rows):
            wrong.append(name)
            found += rows
    return wrong, found


def _alone(name: str, layer: Layer, x: Array, samples: int, h: float, seed: Any) -> list[GradientRow]:
    """Rows of one layer by itself: f = sum of y * dy, for a dy at random."""
    before = Volatile(layer)
    inner = leaves(layer)

    def forward() -> Array:
        before.restore()
        return layer.forward(x)

    shape = forward().shape
    dy = np.random.default_rng(seed).standard_normal(shape)
    layer.zero_grad()
    dx = layer.backward(dy)
    if dx is None or dx.shape != x.shape:
        found = "None" if dx is None else f"shape {dx.shape}"
        raise ValueError(f"{OP}: layer {name!r}: backward must give a gradient of shape {x.shape}, found {found}")
    kind = type(layer).__name__
    slots = [Slot("data", name, kind, own, p.data, p.grad.copy()) for own, p in layer._parameters.items()]
    slots.append(Slot("data", name, kind, "input", x, np.array(dx, np.float64)))

    def evaluate() -> Value:
        sides: Sides = {}

        def note(inner_name: str, one: Layer, given: Array, y: Array) -> None:
            chosen = of_layer(one, given, y)
            if chosen is not None:
                sides[f"{inner_name or name} ({type(one).__name__})"] = chosen

        with watched(inner, note, net=layer):
            return Value(float(np.sum(forward() * dy)), sides)

    return rows_of(slots, evaluate, samples=samples, h=h, seed=seed)
