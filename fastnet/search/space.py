"""Where hyperparameters are looked for: ranges and choices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..optim import checks

__all__ = ["Choice", "Range", "Space", "choice", "integers", "log_uniform", "uniform"]


class Range:
    """The numbers from low to high, drawn evenly, or evenly in their logarithms (log=True); whole ones with whole=True."""

    def __init__(self, low: float, high: float, *, log: bool = False, whole: bool = False) -> None:
        name = "log_uniform" if log and not whole else "integers" if whole else "uniform"
        check = checks.Integer(-(2**62)) if whole else checks.ANY
        self.low, self.high = check(name, "low", low), check(name, "high", high)
        self.log, self.whole = bool(log), bool(whole)
        if self.low >= self.high:
            raise ValueError(f"{name}: low must be below high, found {low} and {high}")
        if log and self.low <= 0:
            raise ValueError(f"{name}: a logarithmic range must be of numbers above 0, found {low}")

    def position(self, value: float) -> float:
        """Where a value lies: 0 at low, 1 at high, on the range's own scale."""
        a, b, v = (math.log(x) if self.log else float(x) for x in (self.low, self.high, value))
        return (v - a) / (b - a)

    def at(self, position: float) -> float:
        """The value at a position; of whole ranges the nearest integer."""
        a, b = (math.log(x) if self.log else float(x) for x in (self.low, self.high))
        value = a + position * (b - a)
        value = min(max(math.exp(value) if self.log else value, self.low), self.high)
        return round(value) if self.whole else value

    def draw(self, rng: np.random.Generator) -> float:
        if self.whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high), endpoint=True))
        return self.at(float(rng.random()))

    def points(self, count: int) -> list[Any]:
        """So many values, evenly from low to high; the middle for one. Whole ranges may have fewer."""
        places = [0.5] if count == 1 else [i / (count - 1) for i in range(count)]
        return list(dict.fromkeys(self.at(place) for place in places))

    def around(self, centre: float, width: float) -> Range:
        """The range of this share of the width around a value, shifted to stay inside this one."""
        start = min(max(self.position(centre) - width / 2, 0.0), 1.0 - width)
        low, high = self.at(start), self.at(start + width)
        if self.whole and low >= high:
            low, high = (low, low + 1) if low < self.high else (low - 1, low)
        return Range(low, high, log=self.log, whole=self.whole)

    def edge(self, value: float) -> str | None:
        """ "lower" or "upper" if a value lies within a twentieth of the scale from that end."""
        position = self.position(value)
        return "lower" if position < 0.05 else "upper" if position > 0.95 else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Range) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.whole:
            return f"integers({self.low}, {self.high}{', log=True' if self.log else ''})"
        return f"{'log_uniform' if self.log else 'uniform'}({self.low:.6g}, {self.high:.6g})"


class Choice:
    """One of several values, each as likely as the others."""

    def __init__(self, values: Any) -> None:
        self.values = list(values)
        if not self.values:
            raise ValueError("choice: expected at least one value")

    def draw(self, rng: np.random.Generator) -> Any:
        return self.values[int(rng.integers(len(self.values)))]

    def points(self, count: int) -> list[Any]:
        return list(self.values)

    def __repr__(self) -> str:
        return f"choice({', '.join(getattr(value, '__name__', repr(value)) for value in self.values)})"


def uniform(low: float, high: float) -> Range:
    """Any number from low to high."""
    return Range(low, high)


def log_uniform(low: float, high: float) -> Range:
    """Numbers above 0 whose logarithm is uniform: for learning rates and strengths, whose factors count."""
    return Range(low, high, log=True)


def integers(low: int, high: int, log: bool = False) -> Range:
    """Whole numbers from low to high, both included."""
    return Range(low, high, log=log, whole=True)


def choice(*values: Any) -> Choice:
    """One of these values."""
    return Choice(values)


class Space:
    """Names of hyperparameters and where each is looked for; a list is a choice, any other value is fixed."""

    def __init__(self, space: Mapping[str, Any]) -> None:
        if not isinstance(space, Mapping) or not all(isinstance(name, str) for name in space):
            raise TypeError(f"search: space must be a mapping of names to ranges, found {space!r}")
        self.dimensions: dict[str, Range | Choice] = {}
        for name, values in space.items():
            if isinstance(values, Range | Choice):
                self.dimensions[name] = values
            else:
                self.dimensions[name] = Choice(values if isinstance(values, list | tuple) else [values])

    def random(self, seed: int, index: int) -> dict[str, Any]:
        """The settings of one run: the same for the same seed and index, whatever else was drawn."""
        rng = np.random.default_rng([seed, 4, index])
        return {name: where.draw(rng) for name, where in self.dimensions.items()}

    def grid(self, runs: int) -> list[dict[str, Any]]:
        """Every combination of as many points per range as give at most `runs` of them (two per range at least)."""
        points = 2
        while self._size(points + 1) <= runs and self._size(points + 1) > self._size(points):
            points += 1
        return [dict(zip(self.dimensions, values)) for values in self._product(points)]

    def _size(self, points: int) -> int:
        return math.prod(len(where.points(points)) for where in self.dimensions.values())

    def _product(self, points: int) -> Iterator[tuple[Any, ...]]:
        return itertools.product(*(where.points(points) for where in self.dimensions.values()))

    def ranges(self) -> dict[str, Range]:
        return {name: where for name, where in self.dimensions.items() if isinstance(where, Range)}

    def edges(self, settings: Mapping[str, Any]) -> list[str]:
        """A sentence for every range at whose end these settings lie."""
        found = []
        for name, where in self.ranges().items():
            if edge := where.edge(settings[name]):
                found.append(
                    f"the best {name}, {settings[name]:.3g}, lies at the {edge} end of {where!r}: look beyond it"
                )
        return found

    def narrowed(self, best: Sequence[Mapping[str, Any]], shrink: float) -> dict[str, Any]:
        """Ranges of `shrink` times the width around the first settings, wider if the others need it; choices that won."""
        space: dict[str, Any] = {}
        for name, where in self.dimensions.items():
            if isinstance(where, Choice):
                kept = [value for value in where.values if any(value is s[name] or value == s[name] for s in best)]
                space[name] = Choice(kept or where.values)
                continue
            places = [where.position(settings[name]) for settings in best]
            width = min(1.0, max(shrink, max(places) - min(places)) if len(best) > 1 else shrink)
            middle = (max(places) + min(places)) / 2 if width > shrink else places[0]
            space[name] = where.around(where.at(middle), width)
        return space

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: {where!r}" for name, where in self.dimensions.items()) + "}"
