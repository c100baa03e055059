"""Schedules: the value of a hyperparameter (the learning rate, the momentum, …) at every step of a training run.

A schedule is called with the count of steps done so far: `rule.lr = schedule(step)`. Steps may be batches or epochs,
whole or fractional, as long as the lengths in the schedule are given in the same unit.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from . import checks

STEP = checks.Real(0.0)


class Schedule:
    """value(t) of step t >= 0. A subclass writes `value`; one that learns from results writes `observe` and its state too."""

    def value(self, t: float) -> float:
        raise NotImplementedError(f"{type(self).__name__} has no value")

    def __call__(self, step: float) -> float:
        """The value at this step. ValueError if the step is negative or not finite."""
        return self.value(STEP(type(self).__name__, "step", step))

    def observe(self, metric: float) -> None:
        """Take note of a result, say of the validation loss after an epoch. Most schedules do not care."""

    def state_dict(self) -> dict[str, Any]:
        """What changes during a run, as JSON; {} for a schedule that depends on the step alone."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave. ValueError names what is missing or unexpected."""
        checks.keys(f"{type(self).__name__}.load_state_dict", state, set(self.state_dict()))

    def _keep(self, **values: tuple[checks.Check, Any]) -> None:
        """Check every argument and keep it as an attribute."""
        for name, (check, value) in values.items():
            setattr(self, name, check(type(self).__name__, name, value))

    def __repr__(self) -> str:
        public = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({public})"


class Constant(Schedule):
    """value(t) = initial."""

    initial: float

    def __init__(self, initial: float) -> None:
        self._keep(initial=(checks.ANY, initial))

    def value(self, t: float) -> float:
        return self.initial


class StepDecay(Schedule):
    """value(t) = initial gamma^floor(t / step_size): by half every few epochs, say.  CS231n, notes "neural-networks-3"."""

    initial: float
    step_size: float
    gamma: float

    def __init__(self, initial: float, step_size: float, gamma: float = 0.1) -> None:
        self._keep(
            initial=(checks.ANY, initial), step_size=(checks.POSITIVE, step_size), gamma=(checks.NOT_NEGATIVE, gamma)
        )

    def value(self, t: float) -> float:
        return self.initial * self.gamma ** math.floor(t / self.step_size)


class ExponentialDecay(Schedule):
    """value(t) = initial gamma^t; the course writes gamma as e^-k.  CS231n, notes "neural-networks-3"."""

    initial: float
    gamma: float

    def __init__(self, initial: float, gamma: float) -> None:
        self._keep(initial=(checks.ANY, initial), gamma=(checks.FRACTION, gamma))

    def value(self, t: float) -> float:
        return self.initial * math.pow(self.gamma, t)


class InverseTimeDecay(Schedule):
    """value(t) = initial / (1 + rate t): the 1/t decay of stochastic approximation.  Robbins & Monro 1951; CS231n."""

    initial: float
    rate: float

    def __init__(self, initial: float, rate: float) -> None:
        self._keep(initial=(checks.ANY, initial), rate=(checks.NOT_NEGATIVE, rate))

    def value(self, t: float) -> float:
        return self.initial / (1 + self.rate * t)


def _cosine(start: float, end: float, share: float) -> float:
    """Half a cosine from start (share 0) to end (share 1)."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


class CosineDecay(Schedule):
    """value(t) = final + (initial - final) (1 + cos(pi t / steps)) / 2 up to t = steps, then final.

    Loshchilov & Hutter 2017, equation 5, without restarts.
    """

    initial: float
    steps: float
    final: float

    def __init__(self, initial: float, steps: float, final: float = 0.0) -> None:
        self._keep(initial=(checks.ANY, initial), steps=(checks.POSITIVE, steps), final=(checks.ANY, final))

    def value(self, t: float) -> float:
        return _cosine(self.initial, self.final, min(1.0, t / self.steps))


class WarmRestarts(Schedule):
    """CosineDecay of `steps` steps, again and again; every cycle is `factor` times as long as the one before.

    Within a cycle at u of its length T:  value = final + (initial - final) (1 + cos(pi u / T)) / 2. A checkpoint at the end
    of every cycle gives the nets of a snapshot ensemble (fastnet.Ensemble.snapshots) for the price of one run.
    Loshchilov & Hutter 2017, equation 5; Huang et al. 2017 for the ensemble.
    """

    initial: float
    steps: float
    final: float
    factor: float

    def __init__(self, initial: float, steps: float, final: float = 0.0, factor: float = 1.0) -> None:
        self._keep(initial=(checks.ANY, initial), steps=(checks.POSITIVE, steps), final=(checks.ANY, final))
        self._keep(factor=(checks.Real(1.0), factor))

    def value(self, t: float) -> float:
        if self.factor == 1:
            return _cosine(self.initial, self.final, t % self.steps / self.steps)
        # 1 + factor + … + factor^(n-1) cycles' lengths are over at t; n from the sum of the geometric series
        n = math.floor(math.log1p(t / self.steps * (self.factor - 1)) / math.log(self.factor) + 1e-12)
        start = self.steps * (self.factor**n - 1) / (self.factor - 1)
        return _cosine(self.initial, self.final, max(0.0, t - start) / (self.steps * self.factor**n))


class PiecewiseLinear(Schedule):
    """Straight lines through the points (t, value); the first value before them, the last one after them.

    `PiecewiseLinear([(0, 0.5), (1000, 0.99)])` anneals a momentum as the course describes.
    """

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        name = type(self).__name__
        if not isinstance(points, Sequence) or not points:
            raise ValueError(f"{name}: points must be pairs (step, value), at least one, found {points!r}")
        for point in points:
            if not isinstance(point, tuple | list) or len(point) != 2:
                raise ValueError(f"{name}: points must be pairs (step, value), found {point!r}")
        self.points = [(STEP(name, "a step", t), checks.ANY(name, "a value", v)) for t, v in points]
        self._steps = [t for t, _ in self.points]
        if any(later <= earlier for earlier, later in zip(self._steps, self._steps[1:])):
            raise ValueError(f"{name}: the steps of the points must increase, found {self._steps}")

    def value(self, t: float) -> float:
        right = bisect_right(self._steps, t)
        if right in (0, len(self.points)):
            return self.points[0 if right == 0 else -1][1]
        (t0, v0), (t1, v1) = self.points[right - 1 : right + 1]
        return v0 + (v1 - v0) * (t - t0) / (t1 - t0)


class Triangular(Schedule):
    """From low to high in half a cycle of so many steps, back in the next, again and again.

    With u = t / half:  value(t) = low + (high - low) (1 - |u - 2 floor(u / 2) - 1|).  Smith 2017, "triangular".
    """

    low: float
    high: float
    half: float

    def __init__(self, low: float, high: float, half: float) -> None:
        self._keep(low=(checks.ANY, low), high=(checks.ANY, high), half=(checks.POSITIVE, half))

    def value(self, t: float) -> float:
        return self.low + (self.high - self.low) * (1 - abs(t / self.half % 2 - 1))


class OneCycle(Schedule):
    """Half a cosine from start to peak over the first pct_start of the steps, another one from peak to final.

    start is peak / 25 and final start / 10^4 unless given: PyTorch's values and its phases, which end with the steps
    pct_start steps - 1 and steps - 1. The momentum that goes with it: OneCycle(0.85, steps, start=0.95, final=0.95).
    Smith & Topin 2018.
    """

    peak: float
    steps: int
    pct_start: float
    start: float
    final: float

    def __init__(
        self,
        peak: float,
        steps: int,
        pct_start: float = 0.3,
        *,
        start: float | None = None,
        final: float | None = None,
    ) -> None:
        self._keep(peak=(checks.ANY, peak), steps=(checks.Integer(1), steps), pct_start=(checks.FRACTION, pct_start))
        self._keep(start=(checks.ANY, self.peak / 25 if start is None else start))
        self._keep(final=(checks.ANY, self.start / 1e4 if final is None else final))

    def value(self, t: float) -> float:
        top, end = self.pct_start * self.steps - 1, self.steps - 1
        if t <= top:
            return _cosine(self.start, self.peak, t / top) if top > 0 else self.peak
        return _cosine(self.peak, self.final, (t - top) / (end - top)) if t < end else self.final


class WarmUp(Schedule):
    """value(t) = schedule(0) (t + 1) / (steps + 1) for t < steps, then schedule(t - steps).

    The first step is not lost to a rate of 0, and the warm-up meets the schedule without a repetition. A number stands
    for a constant schedule.  Goyal et al. 2017, section 2.2.
    """

    steps: int

    def __init__(self, schedule: Schedule | float, steps: int) -> None:
        self.schedule = schedule if isinstance(schedule, Schedule) else Constant(schedule)
        self._keep(steps=(checks.Integer(0), steps))

    def value(self, t: float) -> float:
        if t < self.steps:
            return self.schedule.value(0.0) * (t + 1) / (self.steps + 1)
        return self.schedule.value(t - self.steps)

    def observe(self, metric: float) -> None:
        self.schedule.observe(metric)

    def state_dict(self) -> dict[str, Any]:
        return self.schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.schedule.load_state_dict(state)
