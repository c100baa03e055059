"""The doctor's pictures; drawn only for the page, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .checks_activations import LayerView
from .findings import Picture
from .subject import Run, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["of_examples", "of_layers", "of_runs"]

MOST = 40  # layers in a picture: of a deeper net, as many spread over it
ACTIVATIONS = ("ReLU", "LeakyReLU", "PReLU", "ELU", "Sigmoid", "Tanh", "Maxout", "GELU", "SiLU", "Softplus")


def _spread(views: list[LayerView], most: int) -> list[LayerView]:
    if len(views) <= most:
        return views
    return [views[i] for i in np.unique(np.linspace(0, len(views) - 1, most).astype(int))]


def of_layers(views: list[LayerView]) -> list[Picture]:
    """Sizes of outputs and gradients along the net, and histograms of the activations."""

    def sizes() -> Figure:
        from ..plot.figure import BLUE, ORANGE, figure, frame

        shown = _spread([v for v in views if v.finite], MOST)
        picture = figure(9, 3.8)
        left, right = picture.subplots(1, 2)
        places = np.arange(len(shown))
        for axes, values, colour, title, label in (
            (left, [v.std for v in shown], BLUE, "Forward", "deviation of the output"),
            (right, [v.gradient for v in shown], ORANGE, "Backward", "root mean square of the gradient"),
        ):
            axes.plot(places, values, marker="o", markersize=3.5, color=colour)
            if any(value > 0 for value in values):
                axes.set_yscale("log")
            step = max(1, len(shown) // 12)
            axes.set_xticks(places[::step], [f"{v.name} {v.kind}" for v in shown][::step], rotation=90, fontsize=7)
            frame(axes, title, "", label)
        return picture

    def histograms() -> Figure:
        from ..plot.figure import BLUE, figure

        chosen = [v for v in views if v.kind in ACTIVATIONS and v.finite] or [v for v in views if v.finite]
        chosen = _spread(chosen, 8)
        picture = figure(max(3.0, 2.2 * len(chosen)), 2.3)
        for axes, view in zip(picture.subplots(1, len(chosen), squeeze=False)[0], chosen):
            axes.hist(view.values, bins=40, color=BLUE)
            axes.set_title(
                f"{view.name} {view.kind}\nmean {view.mean:.2g}, dev. {view.std:.2g}", fontsize=8, loc="left"
            )
            axes.set_yticks([])
            axes.tick_params(labelsize=7)
            for side in ("top", "right", "left"):
                axes.spines[side].set_visible(False)
        return picture

    if not any(v.finite for v in views):
        return []
    return [Picture("Sizes along the net, at the first weights", sizes), Picture("Activations", histograms)]


def of_examples(subject: Subject) -> list[Picture]:
    """Training images with their labels, as they are given."""
    x, y = subject.raw_train
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not subject.labelled:
        return []
    rows = np.sort(np.random.default_rng([subject.seed, 12]).permutation(len(x))[:20])
    clean = [i for i in rows if np.isfinite(x[i]).all()]
    names = getattr(subject.data, "classes", None)
    titles: list[Any] = [names[y[i]] if names is not None and 0 <= y[i] < len(names) else y[i] for i in clean]

    def draw() -> Figure:
        from .. import plot

        return plot.images(x[clean], titles=titles, columns=10)

    return [Picture("Training images and their labels", draw)] if clean else []


def of_runs(runs: list[Run], few: list[Run], rule: str) -> list[Picture]:
    """Losses of the short runs."""

    def draw() -> Figure:
        from ..plot.figure import figure, frame

        picture = figure(9, 3.6)
        left, right = picture.subplots(1, 2)
        for axes, group, title in (
            (left, runs, f"Training with {rule}"),
            (right, few, "A few examples by heart, Adam"),
        ):
            colours = ["#2563a8", "#d9731a", "#6b7280", "#3f8f5f", "#8a5aa8"]
            for run, colour in zip(group, colours):
                loss = np.asarray(run.loss)
                axes.plot(np.arange(len(loss)), loss, color=colour, linewidth=1.3, label=f"{run.lr:.1e}")
            starts = [run.start for run in group if np.isfinite(run.start)]
            if starts:
                axes.set_ylim(0, 2 * max(starts))
                axes.legend(frameon=False, title="rate", fontsize=8)
            frame(axes, title, "step", "loss")
        return picture

    return [Picture("Short runs on copies of the net", draw)]
