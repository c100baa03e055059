"""The learning-rate range test: one short run in which the rate grows from step to step."""

from __future__ import annotations

import copy
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..functional import checks
from ..layers.base import Layer
from ..layers.watching import detached
from ..memory import Array
from .subject import Subject, rule_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RangeTest", "lr_range_test"]

SMOOTH = 0.9  # of the running mean of the losses


class RangeTest:
    """What `lr_range_test` found: .lr and .loss per step, .smooth (the loss's running mean), .suggestion, .low and .high.

    suggestion   where the smoothed loss falls most steeply: a good constant rate
    low, high    between them the loss falls: the bounds of a one-cycle or triangular schedule (Smith's base and maximum)
    nan where the loss never falls.
    """

    def __init__(self, lr: Array, loss: Array) -> None:
        self.lr, self.loss = lr, loss
        weight = SMOOTH ** np.arange(len(loss))[::-1]
        self.smooth = np.array([np.average(loss[: i + 1], weights=weight[-i - 1 :]) for i in range(len(loss))])
        self.suggestion = self.low = self.high = math.nan
        lowest = int(np.argmin(self.smooth)) if len(loss) else 0
        fall = self.smooth[0] - self.smooth[lowest] if len(loss) else 0.0
        if lowest >= 2 and fall > 0.02 * abs(self.smooth[0]):
            slope = np.gradient(self.smooth[: lowest + 1], np.log(lr[: lowest + 1]))
            self.suggestion = float(lr[int(np.argmin(slope))])
            self.low = float(lr[int(np.argmax(self.smooth[0] - self.smooth[: lowest + 1] > 0.1 * fall))])
            self.high = float(lr[lowest])

    def plot(self, path: Any = None) -> Figure:
        """Loss over rate with the suggestion: a matplotlib Figure, saved to path if one is given."""
        from ..plot.figure import BLUE, ORANGE, figure, finish, frame  # an extra: only when it is asked for

        picture = figure(7, 4)
        axes: Any = picture.subplots()
        axes.plot(self.lr, self.loss, color=BLUE, alpha=0.3, linewidth=0.8, label="each step")
        axes.plot(self.lr, self.smooth, color=BLUE, linewidth=1.8, label="running mean")
        axes.set_xscale("log")
        if math.isfinite(self.suggestion):
            axes.axvspan(self.low, self.high, color=ORANGE, alpha=0.1, label="the loss falls")
            axes.axvline(self.suggestion, color=ORANGE, label=f"steepest: {self.suggestion:.1e}")
        finite = self.smooth[np.isfinite(self.smooth)]
        if finite.size:
            low, high = float(finite.min()), float(finite[0])
            axes.set_ylim(low - 0.1 * abs(high - low) - 1e-9, high + 0.7 * abs(high - low) + 1e-9)
        frame(axes, "Learning-rate range test", "learning rate", "loss")
        axes.legend(frameon=False)
        return finish(picture, path)

    def __repr__(self) -> str:
        if not math.isfinite(self.suggestion):
            return f"RangeTest({len(self.lr)} steps; the loss falls at no learning rate)"
        bounds = f"it falls from {self.low:.1e} to {self.high:.1e}"
        return f"RangeTest({len(self.lr)} steps; the loss falls most steeply at {self.suggestion:.1e}, {bounds})"


def lr_range_test(
    net: Layer,
    data: Any,
    *,
    optimizer: Any = None,
    loss: Any = None,
    lr_min: float = 1e-6,
    lr_max: float = 10.0,
    steps: int = 200,
    batch_size: int = 64,
    regularization: Any = None,
    seed: int = 0,
) -> RangeTest:
    """Train a copy of the net while the rate grows from lr_min to lr_max in equal factors; what the loss did.

    net, data, loss, regularization   as in Solver (uint8 images are normalized); the net is not touched
    optimizer   a class of fastnet.optim, what builds a rule from parameters, or a rule (it lends its settings); by default Adam
    The run ends early when the smoothed loss is over four times its lowest, or no number.  Smith 2017, "Cyclical learning
    rates for training neural networks", section 3.3.
    """
    op = "lr_range_test"
    steps = checks.integer(op, steps, "steps", 3)
    batch_size = checks.integer(op, batch_size, "batch_size", 1)
    lr_min = checks.number(op, lr_min, "lr_min", 1e-12)
    lr_max = checks.number(op, lr_max, "lr_max", lr_min)
    if lr_max == lr_min:
        raise ValueError(f"{op}: lr_max must be above lr_min, found {lr_min:g} and {lr_max:g}")
    subject = Subject(op, net, data, loss, optimizer, lr_min, regularization, batch_size, seed)
    copied = detached(net)
    rule = rule_of(op, optimizer, copied, lr_min)
    rates = np.geomspace(lr_min, lr_max, steps)
    losses: list[float] = []
    smooth, lowest, norm = 0.0, math.inf, 0.0
    cost = copy.deepcopy(subject.loss)
    with np.errstate(all="ignore"):
        for lr, (x, y) in zip(rates, itertools.islice(subject.batches(), steps)):
            value = float(cost.forward(copied.forward(x), y))
            if subject.term is not None:
                value += subject.term.forward(rule.buffer)
            smooth, norm = SMOOTH * smooth + (1 - SMOOTH) * value, SMOOTH * norm + 1 - SMOOTH
            mean = smooth / norm
            if not math.isfinite(mean) or (losses and mean > 4 * lowest):
                break
            losses.append(value)
            lowest = min(lowest, mean)
            copied.backward(cost.backward(), input_gradient=False)
            if subject.term is not None:
                subject.term.backward(rule.buffer)
            if not np.isfinite(rule.buffer.grad).all():
                break
            rule.lr = float(lr)
            rule.step()
    return RangeTest(rates[: len(losses)], np.array(losses))
