"""Pictures: training curves, filters, confusion matrices, images.

Needs matplotlib (`pip install "fastnet[plot]"`). Every function returns a matplotlib Figure, which a notebook shows,
and saves it if it gets a path; no window system is needed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .memory import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .training.history import History

__all__ = ["confusion", "curves", "filters", "images"]

Path = str | os.PathLike[str] | None
BLUE, ORANGE, GREY = "#2563a8", "#d9731a", "#6b7280"


def _figure(width: float, height: float) -> Figure:
    """A figure that belongs to no window. ImportError names the extra that brings matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('fastnet.plot needs matplotlib: pip install "fastnet[plot]"') from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _finish(figure: Figure, path: Path) -> Figure:
    if path is not None:
        figure.savefig(os.fspath(path), dpi=144)
    return figure


def _frame(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)


def curves(history: History | Mapping[str, Sequence[float]], path: Path = None) -> Figure:
    """Loss per step with its running mean, and training and validation accuracy per epoch.

    history is a History or what its to_dict() gives. ValueError if not one step was made.
    """
    values = history if isinstance(history, Mapping) else history.to_dict()
    loss = np.asarray(values["loss"], float)
    if not loss.size:
        raise ValueError("curves: the history has no steps")
    figure = _figure(10, 4)
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    left, right = figure.subplots(1, 2)
    steps = np.arange(1, loss.size + 1)
    window = max(1, loss.size // 40)
    left.plot(steps, loss, color=BLUE, alpha=0.3, linewidth=0.8, label="each step")
    if window > 1:
        smooth = np.convolve(loss, np.ones(window) / window, "valid")
        left.plot(
            steps[window // 2 :][: smooth.size], smooth, color=BLUE, linewidth=1.8, label=f"mean of {window} steps"
        )
    _frame(left, "Loss", "step", "loss")
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
    _frame(right, "Accuracy", "epoch", "accuracy")
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    if right.lines:
        right.legend(frameon=False, loc="lower right")
    return _finish(figure, path)


def filters(w: Array, path: Path = None, *, columns: int | None = None) -> Figure:
    """The filters w (F, C, KH, KW) of a convolution as tiles: in colour for C = 3, else one grey tile per channel.

    Grey tiles show negative weights dark and positive ones bright, all on one scale; colours are scaled per filter.
    """
    w = np.asarray(w, np.float64)
    if w.ndim != 4 or 0 in w.shape:
        raise ValueError(f"filters: expected weights (F, C, KH, KW), found shape {w.shape}")
    f, c = w.shape[:2]
    if c == 3:
        low = w.min((1, 2, 3), keepdims=True)
        span = w.max((1, 2, 3), keepdims=True) - low
        tiles = ((w - low) / np.where(span > 0, span, 1)).transpose(0, 2, 3, 1)
        title = f"{f} filters"
    else:
        tiles = w.reshape(f * c, *w.shape[2:])
        title = f"{f} filters" if c == 1 else f"{f} filters of {c} channels"
        columns = columns or (c if c > 1 else None)
    scale = float(np.abs(w).max()) or 1.0
    return _finish(_grid(tiles, title, None, columns, -scale, scale), path)


def images(
    x: Array, path: Path = None, *, titles: Sequence[object] | None = None, columns: int | None = None
) -> Figure:
    """Images x (N, C, H, W) of 1 or 3 channels as a grid; uint8 as they are, other numbers scaled to their range."""
    x = np.asarray(x)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"images: expected (N, C, H, W) with 1 or 3 channels, found shape {x.shape}")
    if titles is not None and len(titles) != len(x):
        raise ValueError(f"images: expected {len(x)} titles, found {len(titles)}")
    if x.dtype == np.uint8:
        values = x / 255.0
    else:
        low, high = float(x.min()), float(x.max())
        values = (x - low) / ((high - low) or 1.0)
    tiles = values[:, 0] if x.shape[1] == 1 else values.transpose(0, 2, 3, 1)
    return _finish(_grid(tiles, None, titles, columns, 0.0, 1.0), path)


def _grid(
    tiles: Array, title: str | None, titles: Sequence[object] | None, columns: int | None, low: float, high: float
) -> Figure:
    """Tiles (N, H, W) or (N, H, W, 3), side by side and as square a grid as they give."""
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    rows = -(-len(tiles) // columns)
    figure = _figure(max(2.0, min(14.0, 0.9 * columns)), max(2.0, min(14.0, (1.15 if titles else 0.9) * rows)))
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for i, (axes, tile) in enumerate(zip(places, tiles)):
        axes.imshow(tile, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        if titles is not None:
            axes.set_title(str(titles[i]), fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def confusion(matrix: Array, path: Path = None, *, names: Sequence[object] | None = None) -> Figure:
    """A confusion matrix: matrix[i, j] examples of class i were taken for class j. Colours are shares of each row."""
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"confusion: expected a square matrix, found shape {matrix.shape}")
    k = len(matrix)
    labels = [str(name) for name in (range(k) if names is None else names)]
    if len(labels) != k:
        raise ValueError(f"confusion: expected {k} names, found {len(labels)}")
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = max(4.0, min(14.0, 0.55 * k + 1.5))
    figure = _figure(side, side)
    axes: Any = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    slanted = max(map(len, labels)) > 3
    axes.set_xticks(range(k), labels, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(k), labels)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    right = np.trace(matrix) / max(matrix.sum(), 1)
    axes.set_title(f"Confusion: {right:.2%} right", loc="left", fontsize=11, fontweight="bold")
    if k <= 20:  # beyond that the numbers no longer fit their squares
        for i, j in np.argwhere(matrix != 0):
            axes.text(
                j,
                i,
                f"{matrix[i, j]}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[i, j] > 0.5 else "black",
            )
    return _finish(figure, path)
