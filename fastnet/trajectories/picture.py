"""Paths over contour lines: the still picture, and the moving one as a GIF."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import replace_file
from ..memory import Array
from ..plot.figure import GREY, Path, figure, finish, frame
from .trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# colours that stay apart on white, for colour-blind eyes, too (after Okabe & Ito); rules beyond them begin anew
COLOURS = ("#000000", "#e69f00", "#56b4e9", "#0a6ea8", "#009e73", "#d55e00", "#cc3388", "#7a4fbf", "#8a6d00", "#777777")
FRAMES = 90  # at most


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def overview(traces: Sequence[Trace], path: Path = None) -> Figure:
    """A panel for each trace: every rule's path over the contour lines; crosses mark the minima. A matplotlib Figure."""
    if not traces:
        raise ValueError("overview: expected at least one trace")
    columns = min(2, len(traces))
    rows = math.ceil(len(traces) / columns)
    drawing = figure(6.2 * columns, 4.4 * rows)
    places = drawing.subplots(rows, columns, squeeze=False).ravel()
    for axes in places[len(traces) :]:
        axes.set_axis_off()
    for axes, one in zip(places, traces):
        _ground(axes, one)
        for i, (name, places_of) in enumerate(one.paths.items()):
            axes.plot(places_of[:, 0], places_of[:, 1], color=colour(i), linewidth=1.4, label=name, alpha=0.9)
            axes.plot(*places_of[-1], "o", color=colour(i), markersize=5)
        axes.legend(fontsize=7, framealpha=0.85, loc=one.surface.legend)
    return finish(drawing, path)


def _ground(axes: Axes, one: Trace) -> None:
    """Contour lines, start and minimum."""
    surface = one.surface
    x, y, values = surface.grid()
    axes.contour(x, y, values, levels=surface.levels(), colors="#c3cad3", linewidths=0.8)
    axes.plot(*surface.start, "s", color=GREY, markersize=5)
    if surface.minimum is not None:
        axes.plot(*surface.minimum, "+", color="black", markersize=11, markeredgewidth=1.6)
    frame(axes, f"{surface.name}: {surface.formula}", "x", "y")
    axes.grid(False)
    axes.set_xlim(*surface.window[:2])
    axes.set_ylim(*surface.window[2:])


def gif(one: Trace, path: str | os.PathLike[str], *, seconds: float, width: int) -> None:
    """The ground is drawn once by matplotlib, the paths frame by frame by Pillow at twice the size, then halved."""
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise ImportError('an animation needs Pillow: pip install "fastnet[images]"') from error
    drawing = figure(7.2, 5.0)
    drawing.set_dpi(2 * width / 7.2)
    axes: Any = drawing.subplots()
    _ground(axes, one)
    for i, name in enumerate(one.paths):
        axes.plot([], [], color=colour(i), linewidth=2.2, label=name)
    axes.legend(fontsize=8, framealpha=0.85, loc=one.surface.legend)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(drawing)
    canvas.draw()
    ground = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())
    height = ground.height
    lines = {name: _pixels(axes, path_of, height) for name, path_of in one.paths.items()}
    ends = np.unique(np.linspace(0, one.steps, FRAMES).round().astype(int))
    stroke = max(2, width // 240)
    box = tuple(int(v) for v in axes.bbox.extents)  # the paths are cut off at the frame
    clip = (box[0], height - box[3], box[2], height - box[1])
    frames = []
    for end in ends:
        image = ground.crop(clip)
        pen = ImageDraw.Draw(image)
        for i, points in enumerate(lines.values()):
            shifted = [(x - clip[0], y - clip[1]) for x, y in points[: end + 1]]
            if len(shifted) > 1:
                pen.line(shifted, fill=colour(i), width=stroke, joint="curve")
            x, y = shifted[-1]
            r = 2.2 * stroke
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour(i), outline="white", width=stroke // 2)
        whole = ground.copy()
        whole.paste(image, clip[:2])
        frames.append(whole.resize((ground.width // 2, height // 2), Image.Resampling.LANCZOS))
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette(len(lines)))
    indexed = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in frames]
    times = [int(1000 * seconds / len(indexed))] * (len(indexed) - 1) + [2000]  # it rests at the end
    replace_file(
        path,
        lambda file: indexed[0].save(
            file, "GIF", save_all=True, append_images=indexed[1:], duration=times, loop=0, optimize=True
        ),
    )


def _palette(rules: int) -> list[int]:
    """Greys, and each rule's colour in eight steps to white: a palette found by counting would merge thin lines' colours."""
    greys = np.linspace(0, 255, 256 - 8 * min(rules, len(COLOURS)))[:, None].repeat(3, 1)
    pure = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS[:rules]], float)
    steps = np.arange(8)[:, None, None] / 8
    return np.concatenate([greys, (pure + steps * (255 - pure)).reshape(-1, 3)]).round().astype(int).ravel().tolist()


def _pixels(axes: Axes, places: Array, height: int) -> list[tuple[float, float]]:
    """Places as pixels of the drawn figure, counted from its top."""
    points = axes.transData.transform(places)
    return [(float(x), float(height - y)) for x, y in points]
