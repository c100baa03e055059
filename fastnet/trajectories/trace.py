"""The ways that update rules take on a surface."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import optim
from ..files import replace_file
from ..memory import Array
from ..parameters import Parameter
from .surfaces import SURFACES, Surface

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RULES", "Trace", "trace"]

Make = Callable[[list[Parameter]], Any]

LBFGS = partial(optim.LBFGS, max_iter=1, tolerance_change=0.0, line_search_fn="strong_wolfe")  # an iteration a step
KINDS: dict[str, Any] = {
    "SGD": optim.SGD,
    "momentum": partial(optim.SGD, momentum=0.9),
    "Nesterov": partial(optim.SGD, momentum=0.9, nesterov=True),
    "Nesterov, looking ahead": partial(optim.NesterovLookAhead, momentum=0.9),
    "AdaGrad": optim.AdaGrad,
    "RMSProp": partial(optim.RMSProp, alpha=0.9),
    "Adam": optim.Adam,
    "AdamW": partial(optim.AdamW, weight_decay=0.1),
    "L-BFGS": LBFGS,
}
# the learning rates of these rules on each surface, in their order: such that each shows what it can and cannot do
RATES = {
    "valley": (0.045, 0.015, 0.015, 0.015, 1.0, 0.2, 0.4, 0.4, 1.0),
    "saddle": (0.03, 0.01, 0.01, 0.01, 0.1, 0.02, 0.03, 0.03, 0.1),
    "beale": (0.01, 0.003, 0.003, 0.003, 0.3, 0.03, 0.1, 0.1, 1.0),
    "rosenbrock": (0.001, 0.0005, 0.0005, 0.0005, 0.3, 0.01, 0.05, 0.05, 1.0),
}
# surface -> name of the rule -> a function of the parameters that builds it
RULES: dict[str, dict[str, Make]] = {
    surface: {name: partial(kind, lr=rate) for (name, kind), rate in zip(KINDS.items(), rates)}
    for surface, rates in RATES.items()
}


class Trace:
    """.paths: name of the rule -> places (steps + 1, 2), the start first; .values: the surface's height at each of them.

    A path that leaves the drawn window by more than half its size, or all bounds, stays where it was last inside.
    """

    def __init__(self, surface: Surface, paths: Mapping[str, Array]) -> None:
        self.surface, self.paths = surface, dict(paths)
        self.values = {name: np.asarray(surface.value(path[:, 0], path[:, 1])) for name, path in self.paths.items()}

    @property
    def steps(self) -> int:
        return max((len(path) - 1 for path in self.paths.values()), default=0)

    def table(self) -> str:
        """Where each rule ended, and at which step it first came within 1 % of the way to the minimum."""
        width = max(map(len, self.paths))
        lines = [f"{'rule':{width}s}       x         y         height   first near the minimum"]
        for name, path in self.paths.items():
            near = self.arrival(name)
            x, y = path[-1]
            step = "-" if near is None else f"step {near}"
            lines.append(f"{name:{width}s} {x:9.4f} {y:9.4f} {self.values[name][-1]:14.4g}   {step}")
        return "\n".join(lines)

    def arrival(self, name: str) -> int | None:
        """The first step from which on the path stays within a hundredth of the distance between start and minimum."""
        if self.surface.minimum is None:
            return None
        away = np.hypot(*(self.paths[name] - self.surface.minimum).T)
        far = np.flatnonzero(away > 0.01 * away[0])
        return None if far[-1] == len(away) - 1 else int(far[-1] + 1)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """A row per rule and step: rule, step, x, y, value."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["rule", "step", "x", "y", "value"])
        for name, places in self.paths.items():
            for step, ((x, y), value) in enumerate(zip(places.tolist(), self.values[name].tolist())):
                rows.writerow([name, step, x, y, value])
        replace_file(path, lambda file: file.write(text.getvalue().encode()))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """All paths over the contour lines, as a matplotlib Figure."""
        from .picture import overview

        return overview([self], path)

    def to_gif(self, path: str | os.PathLike[str], *, seconds: float = 6.0, width: int = 720) -> None:
        """An animation, drawn with matplotlib and Pillow."""
        from .picture import gif

        gif(self, path, seconds=seconds, width=width)

    def to_svg(self, path: str | os.PathLike[str] | None = None, *, seconds: float = 8.0) -> str:
        """An animated SVG, which a browser plays: one file of text, made without any library; the text."""
        from .svg import animated

        text = animated(self, seconds)
        if path is not None:
            replace_file(path, lambda file: file.write(text.encode()))
        return text


def trace(
    surface: str | Surface = "valley",
    rules: Mapping[str, Make] | None = None,
    *,
    joined_by: Mapping[str, Make] | None = None,
    steps: int | None = None,
    start: tuple[float, float] | None = None,
) -> Trace:
    """Let every rule go its way on a surface: "valley", "saddle", "beale", "rosenbrock" (Rosenbrock 1960), or your own.

        trace("beale", joined_by={"mine": lambda params: MyRule(params, lr=0.1)}).to_gif("beale.gif")

    rules           name -> a function of the parameters that builds the rule; by default all of fastnet.optim, at rates that
                    suit the surface. joined_by adds to them
    steps, start    the surface's own by default

    A rule has step(closure), as those of fastnet.optim do; the closure puts the gradient into the parameter's .grad and
    returns the height. After the animations of Alec Radford that CS231n shows.
    """
    if isinstance(surface, str):
        if surface not in SURFACES:
            raise ValueError(f"trace: surface must be one of {', '.join(SURFACES)} or a Surface, found {surface!r}")
        surface = SURFACES[surface]
    if rules is None:
        rules = RULES.get(surface.name, RULES["valley"])
    chosen = {**rules, **(joined_by or {})}
    count = surface.steps if steps is None else steps
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"trace: steps must be an integer of at least 1, found {count!r}")
    if not chosen:
        raise ValueError("trace: expected at least one rule")
    return Trace(surface, {name: _path(surface, make, count, start or surface.start) for name, make in chosen.items()})


def _path(surface: Surface, make: Make, steps: int, start: tuple[float, float]) -> Array:
    w = Parameter(np.array(start, np.float64), "w")
    rule = make([w])
    left, right, bottom, top = surface.window
    spread = np.array([right - left, top - bottom])
    lowest, highest = np.array([left, bottom]) - spread / 2, np.array([right, top]) + spread / 2

    def closure() -> float:
        x, y = w.data.tolist()
        w.grad = np.array(surface.slope(x, y))
        return float(surface.value(x, y))

    path = np.empty((steps + 1, 2))
    path[0] = w.data
    with np.errstate(all="ignore"):
        for step in range(1, steps + 1):
            try:
                rule.step(closure)
            except OverflowError:
                w.data = np.full(2, np.nan)
            if not ((lowest < w.data) & (w.data < highest)).all():  # nan, too
                path[step:] = path[step - 1]
                break
            path[step] = w.data
    return path
