"""Which pixels a score depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers import Layer
from ..layers.watching import frozen
from ..memory import Array
from .figure import Path, figure, finish
from .images import as_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def slopes(net: Layer, x: Array, y: Array | None = None) -> tuple[Array, Array]:
    """(max over c of |d scores[n, y[n]] / d x[n, c]|, the classes y) of images x (N, C, H, W) as the net gets them.

    As the net is in evaluation mode. y (N,) is by default the class with the highest score. The net is left alone.
    """
    twin = frozen(net)
    scores = twin.forward(x)
    if scores.ndim != 2:
        raise ValueError(f"saliency: expected a net that gives scores (N, C), found shape {scores.shape}")
    classes = scores.argmax(1) if y is None else np.asarray(y)
    if classes.shape != (len(x),) or classes.dtype.kind not in "iu":
        raise ValueError(
            f"saliency: expected one class for each of {len(x)} images, found {classes.dtype} {classes.shape}"
        )
    if len(classes) and (classes.min() < 0 or classes.max() >= scores.shape[1]):
        raise ValueError(f"saliency: classes must be from 0 to {scores.shape[1] - 1}")
    chosen = np.zeros_like(scores)
    chosen[np.arange(len(x)), classes] = 1
    dx = twin.backward(chosen)
    assert dx is not None
    return np.abs(dx).max(1), classes


def saliency(
    net: Layer, x: Array, y: Array | None = None, path: Path = None, *, names: Any = None, title: str | None = None
) -> Figure:
    """Images x (N, C, H, W), prepared as the net gets them, and below each how much its class's score depends on each pixel.

    The slope's largest magnitude over the channels, bright where it is large, each image on its own scale. y are the
    classes whose scores are meant, by default those the net decides for.  Simonyan, Vedaldi & Zisserman 2014.
    """
    x = np.asarray(x)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"saliency: expected images (N, C, H, W) with 1 or 3 channels, found shape {x.shape}")
    found, classes = slopes(net, x, y)
    n = len(x)
    drawing = figure(max(2.0, min(14.0, 1.2 * n)), 2.9)
    rows = drawing.subplots(2, n, squeeze=False)
    for i, tile in enumerate(as_tiles(x)):
        upper, lower = rows[0, i], rows[1, i]
        upper.imshow(tile, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        upper.set_title(str(classes[i] if names is None else names[classes[i]]), fontsize=9)
        lower.imshow(found[i], cmap="inferno", vmin=0, interpolation="nearest")
        upper.set_axis_off()
        lower.set_axis_off()
    drawing.suptitle(title or "Saliency: the slope of a class's score at each pixel", fontsize=11, fontweight="bold")
    return finish(drawing, path)
