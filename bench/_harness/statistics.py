"""Medians, quartiles, ratios of pairs, geometric means; and whether two answers agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

SAMPLES = 2000  # numbers of an answer that are compared one by one; the rest is compared through its root mean square


class Spread(NamedTuple):
    """The median of some measurements, their quartiles and how many there were."""

    median: float
    low: float
    high: float
    count: int


def spread(measured: Sequence[float]) -> Spread:
    low, median, high = (float(q) for q in np.quantile(np.asarray(measured, dtype=float), [0.25, 0.5, 0.75]))
    return Spread(median, low, high, len(measured))


def ratios(other: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times as fast `ours` is: the spread of other[i] / ours[i] over the rounds in which both ran.

    The two of a round were measured within moments of each other, so what slows the machine for a while slows both.
    """
    return spread([a / b for a, b in zip(other, ours, strict=False)])


def geometric_mean(ratios: Iterable[float]) -> float:
    """exp of the mean logarithm; NaN of nothing."""
    logs = [math.log(r) for r in ratios]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def fingerprint(answer: Any) -> list[dict[str, Any] | None]:
    """What is compared of an answer: of each array its shape, its root mean square and up to 2,000 of its numbers."""
    return [None if part is None else _one(part) for part in (answer if isinstance(answer, list | tuple) else [answer])]


def _one(part: Any) -> dict[str, Any]:
    array = _array(part)
    places = np.random.default_rng(array.size).integers(0, max(array.size, 1), min(SAMPLES, array.size))
    sample = array[np.unravel_index(places, array.shape)] if array.ndim else array.reshape(1)
    size = float(np.sqrt(np.mean(np.square(array), dtype=np.float64))) if array.size else 0.0
    return {"shape": list(array.shape), "rms": size, "sample": [float(v) for v in sample]}


def disagreement(found: Sequence[dict[str, Any] | None], wanted: Sequence[dict[str, Any] | None]) -> float:
    """The largest difference between two answers, as a share of the root mean square of the wanted array.

    A part that one side did not compute (None) is not compared. Infinite where shapes differ or one alone is not a number.
    """
    if len(found) != len(wanted):
        return math.inf
    worst = 0.0
    for a, b in zip(found, wanted):
        if a is None or b is None:
            continue
        if a["shape"] != b["shape"]:
            return math.inf
        scale = max(b["rms"], 1e-30)
        away = np.abs(np.subtract([a["rms"], *a["sample"]], [b["rms"], *b["sample"]])) / scale
        worst = max(worst, float(np.nan_to_num(away, nan=math.inf).max()))
    return worst


def largest_error(answer: Any, exact: Any) -> float:
    """max |answer - exact| / rms(exact), over the beginning of the answer for which the exact one was computed; of several
    arrays the worst."""
    if isinstance(exact, tuple):
        return max(largest_error(*pair) for pair in zip(answer, exact))
    found, right = _array(answer), _array(exact)
    scale, worst = float(np.sqrt(np.mean(np.square(right)))) if right.size else 1.0, 0.0
    for one, other in zip(found[: len(right)], right):  # by rows: no second copy of the whole
        worst = max(worst, float(np.nan_to_num(np.abs(one - other), nan=math.inf).max(initial=0)))
    return worst / max(scale, 1e-300)


def _array(part: Any) -> np.ndarray:
    if hasattr(part, "stored"):  # what fastnet's layers hand on
        part = part.array()
    if hasattr(part, "detach"):  # a tensor, without importing torch
        part = part.detach().float().numpy() if part.element_size() < 4 else part.detach().numpy()
    return np.asarray(part)
