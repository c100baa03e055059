"""Which classes a net takes for which: the confusion matrix, and the images it gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import Array
from .figure import Path, figure, finish
from .images import images

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    drawing = figure(side, side)
    axes: Any = drawing.subplots()
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
    return finish(drawing, path)


def confusion_matrix(scores: Array, y: Array, classes: int | None = None) -> Array:
    """matrix[i, j]: examples of class i that were taken for class j.

    scores (N, C), whose largest decides, or the decisions (N,); labels y (N,)  ->  (C, C) integers. classes is C where
    scores do not say it. ValueError for a label or a decision beyond C.
    """
    scores, y = np.asarray(scores), np.asarray(y)
    taken = scores.argmax(1) if scores.ndim == 2 else scores
    if taken.ndim != 1 or taken.shape != y.shape or taken.dtype.kind not in "iu" or y.dtype.kind not in "iu":
        raise ValueError(
            f"confusion_matrix: expected scores (N, C) or integers (N,) and labels (N,), found {scores.dtype} "
            f"{scores.shape} and {y.dtype} {y.shape}"
        )
    most = int(max(taken.max(initial=-1), y.max(initial=-1))) + 1
    size = classes or (scores.shape[1] if scores.ndim == 2 else most)
    if most > size or min(taken.min(initial=0), y.min(initial=0)) < 0:
        raise ValueError(f"confusion_matrix: classes must be from 0 to {size - 1}")
    matrix = np.zeros((size, size), np.int64)
    np.add.at(matrix, (y, taken), 1)
    return matrix


def misclassified(
    x: Array,
    scores: Array,
    y: Array,
    path: Path = None,
    *,
    names: Sequence[object] | None = None,
    count: int = 25,
) -> Figure:
    """The images x (N, C, H, W) whose highest score is not their label's, the surest errors first, `count` at most.

    scores (N, C), labels y (N,). Above each image stands what it is, what it was taken for and the softmax of that.
    ValueError if there is no error to show.
    """
    scores, y = np.asarray(scores, np.float64), np.asarray(y)
    if scores.ndim != 2 or y.shape != (len(scores),) or len(x) != len(y):
        raise ValueError(
            f"misclassified: expected as many images, rows of scores and labels, found {len(x)}, {scores.shape}, {y.shape}"
        )
    label = [str(name) for name in (range(scores.shape[1]) if names is None else names)]
    share = np.exp(scores - scores.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    taken = scores.argmax(1)
    wrong = np.flatnonzero(taken != y)
    if not wrong.size:
        raise ValueError(f"misclassified: all {len(y)} images are classified right")
    shown = wrong[np.argsort(-share[wrong, taken[wrong]], kind="stable")][:count]
    titles = [f"{label[y[i]]} → {label[taken[i]]} ({share[i, taken[i]]:.0%})" for i in shown]
    heading = f"{len(wrong)} of {len(y)} wrong ({len(wrong) / len(y):.2%}); class → taken for"
    return images(np.asarray(x)[shown], path, titles=titles, title=heading, tile=1.25)
