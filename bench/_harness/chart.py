"""The picture of a question: how fast each side is, where one of them is 1. A panel per group, bars per row or family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .case import LOOPS, NUMPY, ONNX
from .measure import Row
from .report import BEST_TORCH, columns
from .statistics import geometric_mean
from .text import digits

BFLOAT16 = "torch, best bf16 mode"
COLOURS = {LOOPS: "#9a9a9a", NUMPY: "#c8b273", "generic": "#b9d4ea", "avx2": "#6fa8d6", "avx512": "#1f6fb4"}
COLOURS |= {"amx": "#0b3c68", BEST_TORCH: "#d1603d", BFLOAT16: "#e8b49d", ONNX: "#7a5195"}
PRECISIONS = {"high": "#2a9d8f", "medium": "#8bc99a"}
GREY = "#777777"
Panel = dict[str, dict[str, float]]  # label -> side -> times as fast as the side that is 1


def baseline(rows: list[Row]) -> str:
    """The side that is 1: plain loops where they were timed, else PyTorch, else the slowest kind there is."""
    if any(LOOPS in row.times for row in rows):
        return LOOPS
    if any(row.best_torch for row in rows):
        return BEST_TORCH
    return columns(rows)[0] if columns(rows) else ""


def speeds(row: Row) -> dict[str, float]:
    """Speed of each side relative to ours, by the table's ratios; PyTorch's modes as one, the best."""
    if len(row.against) < len(row.times) - 1:  # ours has no time
        return {}
    relative = {side: 1 / row.against[side].median if side in row.against else 1.0 for side in row.times}
    found = {side: speed for side, speed in relative.items() if not side.startswith("torch")}
    if row.best_torch:
        found[BEST_TORCH] = relative[row.best_torch]
    half = [speed for side, speed in relative.items() if "bf16" in side]
    return found | ({BFLOAT16: max(half)} if half else {})


def panels(rows: list[Row]) -> dict[str, Panel]:
    """Group -> label -> side -> how many times as fast as the baseline; a family's rows as their geometric mean."""
    one = baseline(rows)
    known: dict[str, dict[str, list[dict[str, float]]]] = {}
    for row in rows:
        found = speeds(row)
        if one in found:
            relative = {side: speed / found[one] for side, speed in found.items()}
            known.setdefault(row.case.group, {}).setdefault(row.case.family or row.case.name, []).append(relative)
    return {group: {label: _mean(found) for label, found in labels.items()} for group, labels in known.items()}


def _mean(found: list[dict[str, float]]) -> dict[str, float]:
    sides = dict.fromkeys(side for speeds in found for side in speeds)
    return {side: geometric_mean(speeds[side] for speeds in found if side in speeds) for side in sides}


def draw(file: Path, title: str, rows: list[Row], machine: dict[str, Any]) -> bool:
    """Write the picture; False without matplotlib or without anything to draw."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
        from matplotlib.patches import Patch
    except ImportError:
        return False
    one, found = baseline(rows), panels(rows)
    labels = list(dict.fromkeys(label for panel in found.values() for label in panel))
    drawn = {side for panel in found.values() for bars in panel.values() for side in bars}
    sides = [side for side in dict.fromkeys([*columns(rows), BEST_TORCH, BFLOAT16]) if side in drawn and side != one]
    if not labels or not sides:
        return False
    height = 1.4 + len(labels) * (0.16 + 0.16 * len(sides))
    figure, row = pyplot.subplots(
        1, len(found), figsize=(10, height), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for axes, (group, panel) in zip(row[0], found.items()):
        axes.set_title(group, fontsize=9)
        _panel(axes, panel, labels, sides)
    low, high = row[0][0].get_xlim()
    stretch = max(high / low, 4) ** 0.12  # room for the figures at the ends
    row[0][0].set_xlim(low / stretch, high * stretch)
    figure.suptitle(title, fontsize=11)
    said = f"times as fast as {one}, which is 1 ({machine['processor']}, {machine['threads']} threads, {machine['date'][:10]})"
    handles = [Patch(color=_colour(side), label=side) for side in sides]
    figure.legend(
        handles=handles,
        title=said,
        loc="outside lower center",
        ncols=len(sides),
        frameon=False,
        fontsize=8,
        title_fontsize=8,
    )
    figure.savefig(file, dpi=130)
    pyplot.close(figure)
    return True


def _colour(side: str) -> str:
    return COLOURS.get(side) or PRECISIONS.get(side.split(" ")[-1], GREY)


def _panel(axes: Any, panel: Panel, labels: list[str], sides: list[str]) -> None:
    """Horizontal bars that start at 1, to the right where a side is faster than the baseline."""
    thick = 0.84 / len(sides)
    for k, side in enumerate(sides):
        here = [(i, panel[label][side]) for i, label in enumerate(labels) if side in panel.get(label, {})]
        places = [i + (k - (len(sides) - 1) / 2) * thick for i, _ in here]
        bars = axes.barh(places, [v - 1 for _, v in here], thick * 0.9, left=1, color=_colour(side))
        axes.bar_label(bars, [digits(v) for _, v in here], padding=3, fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda v, _: f"{digits(v)}×")
    axes.xaxis.set_minor_formatter("")
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
