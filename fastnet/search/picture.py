"""A search as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plot.figure import BLUE, GREY, ORANGE, Path, figure, finish, frame
from .space import Range, Space
from .work import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scatter(runs: Sequence[Trial], space: Space, path: Path) -> Figure:
    """A panel per dimension: value against score; with two ranges or more, the first two against each other as well."""
    good = [trial for trial in runs if not trial.failed]
    if not good:
        raise ValueError("search: no run gave a score to draw")
    dimensions = {n: w for n, w in space.dimensions.items() if isinstance(w, Range) or len(w.values) > 1}
    ranges = [name for name, where in dimensions.items() if isinstance(where, Range)]
    panels = len(dimensions) + (len(ranges) > 1)
    columns = min(3, max(1, panels))
    rows = -(-max(1, panels) // columns)
    drawing = figure(4.2 * columns, 3.4 * rows)
    places: Any = drawing.subplots(rows, columns, squeeze=False).ravel()
    for axes in places[panels:]:
        axes.set_axis_off()
    scores = np.array([trial.score for trial in good])
    failed = [trial for trial in runs if trial.failed]
    low = float(scores.min())
    for axes, (name, where) in zip(places, dimensions.items()):
        if isinstance(where, Range):
            axes.scatter([t.settings[name] for t in good], scores, s=18, color=BLUE, alpha=0.7, linewidths=0)
            axes.scatter([good[0].settings[name]], [scores[0]], s=70, color=ORANGE, marker="*", zorder=3, label="best")
            if failed:
                values = [t.settings[name] for t in failed]
                axes.scatter(values, [low] * len(failed), marker="x", s=22, color=GREY, label=f"{len(failed)} failed")
            axes.set_xscale("log" if where.log else "linear")
            axes.set_xlim(where.low, where.high)
            axes.legend(frameon=False, fontsize=8)
        else:
            at = [
                next(i for i, v in enumerate(where.values) if v is t.settings[name] or v == t.settings[name])
                for t in good
            ]
            axes.scatter(at, scores, s=18, color=BLUE, alpha=0.7, linewidths=0)
            axes.scatter(at[:1], scores[:1], s=70, color=ORANGE, marker="*", zorder=3)
            axes.set_xticks(range(len(where.values)), [str(value)[:12] for value in where.values])
        frame(axes, name, name, "score")
    if len(ranges) > 1:
        axes = places[len(dimensions)]
        first, second = ranges[:2]
        order = np.argsort(scores)  # the best on top
        points = axes.scatter(
            [good[i].settings[first] for i in order],
            [good[i].settings[second] for i in order],
            c=scores[order],
            s=30,
            cmap="viridis",
        )
        for t in failed:
            axes.scatter([t.settings[first]], [t.settings[second]], marker="x", s=22, color=GREY)
        axes.set_xscale("log" if space.ranges()[first].log else "linear")
        axes.set_yscale("log" if space.ranges()[second].log else "linear")
        frame(axes, "score", first, second)
        drawing.colorbar(points, ax=axes)
    drawing.suptitle(f"{len(runs)} runs, best score {scores[0]:.4g}", fontsize=11, fontweight="bold", x=0.01, ha="left")
    return finish(drawing, path)
