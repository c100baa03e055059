"""The schedule that looks at results: lower the rate when they stop improving."""

import math
from collections.abc import Mapping
from typing import Any

from . import checks
from .schedules import Schedule


class ReduceOnPlateau(Schedule):
    """value(t) = initial, times factor after every more than `patience` results in a row without improvement.

    `observe(metric)` reports a result, once an epoch say; the step itself does not matter. A result improves on the best
    so far if it is below best (1 - threshold) for mode "min" (above best (1 + threshold) for "max"), or, with
    threshold_mode "abs", better by threshold. For `cooldown` results after a reduction none counts as bad; the value never
    falls below `minimum`. Arguments, defaults and counting as in PyTorch's ReduceLROnPlateau; NaN is no improvement.
    factor=0.5 is the course's "halve when the validation error stops improving" (Krizhevsky et al. 2012, section 5).
    """

    initial: float
    factor: float
    patience: int
    mode: str
    threshold: float
    threshold_mode: str
    cooldown: int
    minimum: float

    def __init__(
        self,
        initial: float,
        factor: float = 0.1,
        patience: int = 10,
        *,
        mode: str = "min",
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        minimum: float = 0.0,
    ) -> None:
        self._keep(
            initial=(checks.NOT_NEGATIVE, initial),
            factor=(checks.BELOW_ONE, factor),
            patience=(checks.Integer(0), patience),
            mode=(checks.Choice(("min", "max")), mode),
            threshold=(checks.NOT_NEGATIVE, threshold),
            threshold_mode=(checks.Choice(("rel", "abs")), threshold_mode),
            cooldown=(checks.Integer(0), cooldown),
            minimum=(checks.NOT_NEGATIVE, minimum),
        )
        self._current = self.initial
        self._best = math.inf if mode == "min" else -math.inf
        self._bad = self._rest = 0

    def value(self, t: float) -> float:
        return self._current

    def observe(self, metric: float) -> None:
        """Report a result, better if smaller (or larger, by mode). TypeError if it is no number."""
        if isinstance(metric, bool) or not hasattr(metric, "__float__"):
            raise TypeError(f"ReduceOnPlateau.observe: metric must be a number, found {metric!r}")
        metric = float(metric)
        if self._improves(metric):
            self._best, self._bad = metric, 0
        else:
            self._bad += 1
        if self._rest > 0:
            self._rest, self._bad = self._rest - 1, 0
        if self._bad > self.patience:
            self._current = max(self._current * self.factor, min(self.minimum, self._current))
            self._rest, self._bad = self.cooldown, 0

    def _improves(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        if math.isinf(self._best):
            return sign * metric < sign * self._best
        margin = self.threshold * (self._best if self.threshold_mode == "rel" else 1.0) * sign
        return sign * metric < sign * (self._best - margin)

    def state_dict(self) -> dict[str, Any]:
        """{"current", "best" (None before the first result), "bad" results in a row, "rest" of the cooldown}."""
        best = None if math.isinf(self._best) else self._best
        return {"current": self._current, "best": best, "bad": self._bad, "rest": self._rest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        op = "ReduceOnPlateau.load_state_dict"
        current = checks.NOT_NEGATIVE(op, "current", state["current"])
        best = None if state["best"] is None else checks.ANY(op, "best", state["best"])
        bad, rest = (checks.Integer(0)(op, name, state[name]) for name in ("bad", "rest"))
        worst = math.inf if self.mode == "min" else -math.inf
        self._current, self._bad, self._rest, self._best = current, bad, rest, worst if best is None else best
