"""Paths as an SVG that moves by itself, and a page of several: text and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape

import numpy as np

from ..files import replace_file
from ..memory import Array
from .picture import colour
from .trace import Trace

__all__ = ["animated", "contour", "page"]

WIDTH, HEIGHT, MARGIN, LEGEND = 720, 440, 34, 178
FRAMES = 160  # key points of an animation, at most


def contour(x: Array, y: Array, values: Array, level: float) -> Array:
    """Segments (n, 2, 2) of the line values = level on a grid, by marching squares: each cell's crossings, joined.

    x (columns,), y (rows,), values (rows, columns). A cell with four crossings gives two segments, paired as they come.
    """
    above = values > level
    segments = []
    rows, columns = np.nonzero(_mixed(above))
    for r, c in zip(rows.tolist(), columns.tolist()):
        corners = [(r, c), (r, c + 1), (r + 1, c + 1), (r + 1, c)]
        crossings = []
        for (r0, c0), (r1, c1) in zip(corners, corners[1:] + corners[:1]):
            if above[r0, c0] != above[r1, c1]:
                a, b = values[r0, c0], values[r1, c1]
                t = (level - a) / (b - a)
                crossings.append((x[c0] + t * (x[c1] - x[c0]), y[r0] + t * (y[r1] - y[r0])))
        segments += [crossings[i : i + 2] for i in range(0, len(crossings) - 1, 2)]
    return np.array(segments).reshape(-1, 2, 2)


def _mixed(above: Array) -> Array:
    """Cells whose corners do not agree."""
    count = above[:-1, :-1].astype(int) + above[1:, :-1] + above[:-1, 1:] + above[1:, 1:]
    mixed: Array = (count > 0) & (count < 4)
    return mixed


def animated(one: Trace, seconds: float = 8.0) -> str:
    """The trace as an SVG: paths grow step by step, again and again (SMIL). Where nothing moves, all is shown as it ends."""
    surface = one.surface
    left, right, bottom, top = surface.window
    plot_width, plot_height = WIDTH - MARGIN - LEGEND, HEIGHT - 2 * MARGIN

    def placed(points: Array) -> Array:
        scale = np.array([plot_width / (right - left), -plot_height / (top - bottom)])
        pixels: Array = (points - np.array([left, top])) * scale + MARGIN
        return pixels

    title = escape(f"{surface.name}: {surface.formula}")
    mark = f"clip-{surface.name}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<clipPath id="{mark}"><rect x="{MARGIN}" y="{MARGIN}" width="{plot_width}" height="{plot_height}"/></clipPath>',
        f'<text x="{MARGIN}" y="22" font-size="14" font-weight="bold">{title}</text>',
        f'<g clip-path="url(#{mark})" fill="none">',
    ]
    x, y, values = surface.grid(120, 80)
    lines = []
    for level in surface.levels():
        for (x0, y0), (x1, y1) in placed(contour(x, y, values, float(level)).reshape(-1, 2)).reshape(-1, 2, 2):
            lines.append(f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}")
    parts.append(f'<path d="{"".join(lines)}" stroke="#c3cad3" stroke-width="0.8"/>')
    if surface.minimum is not None:
        mx, my = placed(np.array(surface.minimum))
        parts.append(
            f'<path d="M{mx - 6:.1f} {my:.1f}h12M{mx:.1f} {my - 6:.1f}v12" stroke="black" stroke-width="1.6"/>'
        )
    shown = np.unique(np.linspace(0, one.steps, FRAMES).round().astype(int))
    for i, path in enumerate(one.paths.values()):
        parts += _moving(placed(path), shown, colour(i), seconds)
    parts.append("</g>")
    parts.append(
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{plot_width}" height="{plot_height}" fill="none" stroke="#6b7280"/>'
    )
    for i, name in enumerate(one.paths):
        at = MARGIN + 14 + 20 * i
        start = WIDTH - LEGEND + 12
        parts.append(f'<path d="M{start} {at - 4}h18" stroke="{colour(i)}" stroke-width="3"/>')
        parts.append(f'<text x="{start + 25}" y="{at}">{escape(name)}</text>')
    for value, where, anchor in ((left, MARGIN, "start"), (right, MARGIN + plot_width, "end")):
        parts.append(f'<text x="{where}" y="{HEIGHT - 14}" text-anchor="{anchor}" fill="#6b7280">{value:g}</text>')
    for value, where in ((top, MARGIN + 10), (bottom, HEIGHT - MARGIN)):
        parts.append(f'<text x="{MARGIN - 5}" y="{where}" text-anchor="end" fill="#6b7280">{value:g}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _moving(points: Array, shown: Array, stroke: str, seconds: float) -> list[str]:
    """A path that is uncovered to where it has come, and a dot at its head; the last fifth of the time it rests."""
    lengths = np.r_[0, np.hypot(*np.diff(points, axis=0).T).cumsum()]
    whole = max(float(lengths[-1]), 1e-6)
    times = ";".join(f"{0.8 * i / (len(shown) - 1):.4f}" for i in range(len(shown))) + ";1"

    def values(numbers: Array, digits: int) -> str:
        return ";".join(f"{v:.{digits}f}" for v in [*numbers[shown], numbers[-1]])

    def animate(attribute: str, text: str) -> str:
        return (
            f'<animate attributeName="{attribute}" dur="{seconds:g}s" repeatCount="indefinite" keyTimes="{times}" '
            f'values="{text}"/>'
        )

    steps = "".join(f"{'L' if i else 'M'}{px:.1f} {py:.1f}" for i, (px, py) in enumerate(points))
    covered = animate("stroke-dashoffset", values(whole - lengths, 1))
    moves = animate("cx", values(points[:, 0], 1)) + animate("cy", values(points[:, 1], 1))
    return [
        f'<path d="{steps}" stroke="{stroke}" stroke-width="1.8" stroke-linejoin="round" '
        f'stroke-dasharray="{whole:.1f} {whole:.1f}">{covered}</path>',
        f'<circle r="4.5" fill="{stroke}" stroke="white" cx="{points[-1, 0]:.1f}" cy="{points[-1, 1]:.1f}">{moves}</circle>',
    ]


def page(traces: Sequence[Trace], path: str | os.PathLike[str] | None = None, *, seconds: float = 8.0) -> str:
    """An HTML page that stands alone: every trace as a moving picture, and below it where each rule came. Returns the text."""
    if not traces:
        raise ValueError("page: expected at least one trace")
    body = "\n".join(f"<section>{animated(one, seconds)}<pre>{escape(one.table())}</pre></section>" for one in traces)
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Update rules at work</title>\n'
        "<style>body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "svg{width:100%;height:auto}pre{overflow-x:auto;font-size:.8rem}</style></head>\n"
        f"<body><h1>Update rules at work</h1>\n{body}\n</body></html>\n"
    )
    if path is not None:
        replace_file(path, lambda file: file.write(text.encode()))
    return text
