"""What rules, schedules and averages ask of their settings: a check is called with (operation, name, value).

A check returns the value to keep, or raises TypeError or ValueError with the name, the value found and what it may be.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Check = Callable[[str, str, Any], Any]


@dataclass(frozen=True)
class Real:
    """A finite number between low and high; open=True leaves the two bounds themselves out."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __call__(self, op: str, name: str, value: Any) -> float:
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
            raise TypeError(f"{op}: {name} must be a number, found {value!r}")
        number = float(value)
        below = number <= self.low if self.open_low else number < self.low
        above = number >= self.high if self.open_high else number > self.high
        if below or above or not math.isfinite(number):
            raise ValueError(f"{op}: {name} must be {self}, found {value}")
        return number

    def __str__(self) -> str:
        bounds = []
        if self.low > -math.inf:
            bounds.append(f"{'above' if self.open_low else 'at least'} {self.low:g}")
        if self.high < math.inf:
            bounds.append(f"{'below' if self.open_high else 'at most'} {self.high:g}")
        return " and ".join(["finite", *bounds])


@dataclass(frozen=True)
class Integer:
    """An integer of at least low."""

    low: int = 0

    def __call__(self, op: str, name: str, value: Any) -> int:
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            raise TypeError(f"{op}: {name} must be an integer, found {value!r}")
        if value < self.low:
            raise ValueError(f"{op}: {name} must be at least {self.low}, found {value}")
        return int(value)


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def __call__(self, op: str, name: str, value: Any) -> Any:
        if not any(value is v or (type(value) is type(v) and value == v) for v in self.values):
            raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, self.values))}, found {value!r}")
        return value


def flag(op: str, name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{op}: {name} must be True or False, found {value!r}")
    return bool(value)


def keys(op: str, mapping: Any, wanted: set[str], optional: set[str] | None = None, what: str = "the state") -> None:
    """mapping must have the wanted keys, and none but these and the optional ones."""
    if not hasattr(mapping, "keys"):
        raise TypeError(f"{op}: {what} must be a mapping, found {type(mapping).__name__}")
    missing, unexpected = (
        sorted(wanted - mapping.keys()),
        sorted(map(str, mapping.keys() - wanted - (optional or set()))),
    )
    if missing or unexpected:
        raise ValueError(f"{op}: in {what}, missing {missing or 'nothing'}, unexpected {unexpected or 'nothing'}")


ANY = Real()
POSITIVE = Real(0.0, open_low=True)
NOT_NEGATIVE = Real(0.0)
FRACTION = Real(0.0, 1.0)
BELOW_ONE = Real(0.0, 1.0, open_high=True)
