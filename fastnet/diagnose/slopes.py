"""Centred differences at single coordinates, and what they say of an analytic gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ..memory import Array
from .kinks import Sides, first_difference

__all__ = ["GradientRow", "Slot", "Value", "relative_error", "rows_of"]

WRONG, POOR, GOOD = 1e-2, 1e-4, 1e-7  # the course's thresholds
BENT = 1e-2  # of the slope: two sides that differ by more stand at a kink, whichever layer's
SHRINK = (1.0, 0.1, 0.01)  # of the step, where a coordinate does not agree at once
JITTERS = 3  # evaluations with all numbers moved by a unit in the last place: how much rounding moves the value

Verdict = Literal["good", "fair", "poor", "wrong", "zero", "kink"]


class Value(NamedTuple):
    """A function's value, which side of its kinks it was found on, and how far rounding may have moved it."""

    value: float
    sides: Sides
    rounding: float = 0.0


@dataclass
class Slot:
    """One array that a function depends on, and the gradient that backward gave for it."""

    part: str  # "data" or "regularization"
    layer: str  # dotted name; "" for the net, "loss" for the loss
    kind: str  # class of the layer
    parameter: str  # "weight", …, or "input"
    array: Array
    gradient: Array


@dataclass
class GradientRow:
    """One coordinate: the analytic slope, the numeric one, and the verdict on the two.

    "good" up to 1e-7, "fair" up to 1e-4, "poor" up to 1e-2, "wrong" above; "zero" where both vanish, or are too
    small to differ by more than rounding; "kink" where the function bends between the two sides, at every step tried.
    """

    part: str
    layer: str
    kind: str
    parameter: str
    coordinate: tuple[int, ...]
    analytic: float
    numeric: float
    error: float
    h: float
    verdict: Verdict
    kink: str = ""

    @property
    def place(self) -> str:
        """The coordinate in words: layer '3' (Linear), weight[7, 41]."""
        where = f"[{', '.join(map(str, self.coordinate))}]"
        return f"{named(self.layer, self.kind)}, {self.parameter}{where}"


def named(layer: str, kind: str) -> str:
    """A layer as reports call it."""
    if layer in ("", "loss"):
        return f"the {layer or 'net'} ({kind})"
    return f"layer {layer!r} ({kind})"


def relative_error(analytic: float, numeric: float) -> float:
    """|a - n| / max(|a|, |n|); 0 where both are 0, and infinite where one is no number."""
    size = max(abs(analytic), abs(numeric))
    if not np.isfinite(analytic) or not np.isfinite(numeric):
        return float("inf")
    return abs(analytic - numeric) / size if size else 0.0


def _measure(slot: Slot, place: tuple[int, ...], evaluate: Callable[[], Value], base: Value, h: float) -> GradientRow:
    """One coordinate with one step."""
    before, analytic = slot.array[place], float(slot.gradient[place])
    try:
        slot.array[place] = high = before + h
        above = evaluate()
        slot.array[place] = low = before - h
        below = evaluate()
    finally:
        slot.array[place] = before
    width = float(high - low)  # what was really stepped, after rounding
    numeric = (above.value - below.value) / width
    error = relative_error(analytic, numeric)
    noise = 4 * base.rounding / width
    # How much the slopes of the two sides differ: of a smooth function that is about h times as much as its second slope,
    # of one that bends here as much as it bends, for every h.
    bend = abs(above.value + below.value - 2 * base.value) / h
    verdict: Verdict
    kink = ""
    if error <= POOR:
        verdict = "good" if error <= GOOD else "fair"
        if max(abs(analytic), abs(numeric)) <= noise:
            verdict = "zero"
    elif abs(analytic - numeric) <= noise:
        verdict = "zero"
    else:
        verdict = "poor" if error <= WRONG else "wrong"
        kink = first_difference(above.sides, below.sides)
        if kink or bend > max(BENT * max(abs(analytic), abs(numeric)), 4 * noise):
            verdict, kink = "kink", kink or "a layer whose kinks are not known"
    about = (slot.part, slot.layer, slot.kind, slot.parameter)
    return GradientRow(*about, tuple(map(int, place)), analytic, numeric, error, h, verdict, kink)


def _row(slot: Slot, place: tuple[int, ...], evaluate: Callable[[], Value], base: Value, h: float) -> GradientRow:
    """One coordinate; where it does not agree, with smaller steps, which leave kinks outside: the smallest that still has
    one stands on it. Of steps without kinks the best counts."""
    rows = []
    for factor in SHRINK:
        rows.append(_measure(slot, place, evaluate, base, h * factor * max(1.0, abs(float(slot.array[place])))))
        if rows[-1].verdict in ("good", "fair", "zero"):
            return rows[-1]
    return min(rows, key=lambda row: (row.verdict == "kink", row.error))


def _places(slot: Slot, samples: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Coordinates to try, in turn: one of all, one of those whose gradient is not zero; more than wanted, for kinks."""
    size, most = slot.array.size, 3 * samples
    flat = slot.gradient.reshape(-1)
    anywhere = rng.choice(size, min(size, most), replace=False)
    alive = np.flatnonzero(flat)
    chosen = rng.choice(alive, min(alive.size, most), replace=False) if alive.size else anywhere[:0]
    turns = [int(i) for pair in zip(anywhere, chosen) for i in pair]
    order = dict.fromkeys([*turns, *map(int, anywhere[len(chosen) :]), *map(int, chosen[len(anywhere) :])])
    return [tuple(map(int, np.unravel_index(i, slot.array.shape))) for i in list(order)[:most]]


def _draw(
    slot: Slot, evaluate: Callable[[], Value], base: Value, samples: int, h: float, rng: np.random.Generator
) -> Iterator[GradientRow]:
    """Rows of a slot, until `samples` coordinates stood on no kink."""
    good = 0
    for place in _places(slot, samples, rng) if slot.array.size else ():
        row = _row(slot, place, evaluate, base, h)
        good += row.verdict != "kink"
        yield row
        if good == samples:
            return


def _with_rounding(slots: list[Slot], evaluate: Callable[[], Value]) -> Value:
    """The value, and how far it moves when every number moves by a unit in its last place: about as far as the rounding of
    a pass through the net, however ill-conditioned."""
    base, rng, eps = evaluate(), np.random.default_rng(0), np.finfo(np.float64).eps
    moved = 0.0
    kept = [slot.array.copy() for slot in slots]
    for _ in range(JITTERS):
        for slot, array in zip(slots, kept):
            slot.array[...] = array * (1 + eps * rng.choice([-1.0, 1.0], array.shape))
        moved = max(moved, abs(evaluate().value - base.value))
    for slot, array in zip(slots, kept):
        slot.array[...] = array
    return base._replace(rounding=max(moved, 4 * eps * abs(base.value)))


def rows_of(
    slots: list[Slot],
    evaluate: Callable[[], Value],
    *,
    samples: int,
    h: float,
    seed: Any,
    more: Callable[[], bool] = lambda: True,
) -> list[GradientRow]:
    """Rows of every slot, a coordinate of each in turn, until each has its samples or `more()` says no."""
    base = _with_rounding(slots, evaluate)
    open_ = [
        _draw(slot, evaluate, base, samples, h, np.random.default_rng([*np.atleast_1d(seed), i]))
        for i, slot in enumerate(slots)
    ]
    found: list[list[GradientRow]] = [[] for _ in slots]
    waiting = list(range(len(slots)))
    while waiting:
        for i in list(waiting):
            row = next(open_[i], None) if more() else None
            if row is None:
                waiting.remove(i)
            else:
                found[i].append(row)
    return [row for rows in found for row in rows]
