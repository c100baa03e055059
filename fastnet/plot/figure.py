"""What all pictures share: figures without a window, frames, colours, grids of tiles."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..memory import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Path = str | os.PathLike[str] | None
BLUE, ORANGE, GREY = "#2563a8", "#d9731a", "#6b7280"


def figure(width: float, height: float) -> Figure:
    """A figure that belongs to no window. ImportError names the extra that brings matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('fastnet.plot needs matplotlib: pip install "fastnet[plot]"') from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def finish(figure: Figure, path: Path) -> Figure:
    if path is not None:
        figure.savefig(os.fspath(path), dpi=144)
    return figure


def frame(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)


def grid(
    tiles: Array,
    title: str | None,
    titles: Sequence[object] | None,
    columns: int | None,
    low: float,
    high: float,
    tile: float = 0.9,
) -> Figure:
    """Tiles (N, H, W) or (N, H, W, 3) of so many inches, side by side and as square a grid as they give."""
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    rows = -(-len(tiles) // columns)
    drawing = figure(max(2.0, min(14.0, tile * columns)), max(2.0, min(14.0, (tile + (0.25 if titles else 0)) * rows)))
    places = drawing.subplots(rows, columns, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for i, (axes, image) in enumerate(zip(places, tiles)):
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        if titles is not None:
            axes.set_title(str(titles[i]), fontsize=9)
    if title:
        drawing.suptitle(title, fontsize=11, fontweight="bold")
    return drawing
