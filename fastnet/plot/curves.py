"""Curves of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figure import BLUE, GREY, ORANGE, Path, figure, finish, frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..training.history import History


def curves(history: History | Mapping[str, Sequence[float]], path: Path = None) -> Figure:
    """Loss per step with its running mean, and training and validation accuracy per epoch.

    history is a History or what its to_dict() gives. ValueError if not one step was made.
    """
    values = history if isinstance(history, Mapping) else history.to_dict()
    loss = np.asarray(values["loss"], float)
    if not loss.size:
        raise ValueError("curves: the history has no steps")
    drawing = figure(10, 4)
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    left, right = drawing.subplots(1, 2)
    steps = np.arange(1, loss.size + 1)
    window = max(1, loss.size // 40)
    left.plot(steps, loss, color=BLUE, alpha=0.3, linewidth=0.8, label="each step")
    if window > 1:
        smooth = np.convolve(loss, np.ones(window) / window, "valid")
        left.plot(
            steps[window // 2 :][: smooth.size], smooth, color=BLUE, linewidth=1.8, label=f"mean of {window} steps"
        )
    frame(left, "Loss", "step", "loss")
    finite = loss[np.isfinite(loss)]
    if finite.size:
        left.set_ylim(min(0.0, finite.min()), max(np.quantile(finite, 0.98) * 1.15, 1e-6))
    left.legend(frameon=False)

    train, val = (np.asarray(values[name], float) for name in ("train_accuracy", "val_accuracy"))
    epochs = np.arange(1, train.size + 1)
    for name, accuracy, colour in (("training", train, GREY), ("validation", val, ORANGE)):
        if np.isfinite(accuracy).any():
            last = accuracy[np.isfinite(accuracy)][-1]
            right.plot(epochs, accuracy, color=colour, marker="o", markersize=4, label=f"{name}: {last:.2%} at the end")
    frame(right, "Accuracy", "epoch", "accuracy")
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    if right.lines:
        right.legend(frameon=False, loc="lower right")
    return finish(drawing, path)
