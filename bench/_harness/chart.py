"""The picture of a question: how fast each side is, where one of them is 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .case import LOOPS, NUMPY
from .measure import Row
from .report import BEST_TORCH, columns, digits
from .statistics import geometric_mean

MOST_BARS = 14  # groups of bars; more rows than that are put together by family
COLOURS = {
    LOOPS: "#9a9a9a",
    NUMPY: "#c8b273",
    "generic": "#b9d4ea",
    "avx2": "#6fa8d6",
    "avx512": "#1f6fb4",
    "amx": "#0b3c68",
}
BFLOAT16 = "torch, best bf16 mode"


def baseline(rows: list[Row]) -> str:
    """The side that is 1: PyTorch where it was measured, else plain loops, else NumPy, else the lowest level."""
    if any(LOOPS in row.times for row in rows):
        return LOOPS
    if any(row.best_torch for row in rows):
        return BEST_TORCH
    return columns(rows)[0] if columns(rows) else ""


def speeds(row: Row) -> dict[str, float]:
    """Calls per second of each side; PyTorch's modes as one, the best."""
    found = {side: 1 / t.median for side, t in row.times.items() if not side.startswith("torch")}
    if row.best_torch:
        found[BEST_TORCH] = 1 / row.times[row.best_torch].median
    half = [1 / t.median for side, t in row.times.items() if "bf16" in side]
    if half:
        found[BFLOAT16] = max(half)
    return found


def bars(rows: list[Row]) -> tuple[str, dict[str, dict[str, float]]]:
    """(the side that is 1, label -> side -> how many times as fast as it): geometric means where rows share a family."""
    one = baseline(rows)
    crowded = len(rows) > MOST_BARS
    labels: dict[str, list[Row]] = {}
    for row in rows:
        label = (
            f"{row.case.family or row.case.group} · {row.case.group}" if crowded and row.case.family else row.case.key
        )
        labels.setdefault(label, []).append(row)
    found: dict[str, dict[str, float]] = {}
    for label, inside in labels.items():
        known = [s for s in map(speeds, inside) if one in s]
        sides = list(dict.fromkeys(side for s in known for side in s))
        found[label] = {side: geometric_mean(s[side] / s[one] for s in known if side in s) for side in sides}
    return one, {label: sides for label, sides in found.items() if sides}


def draw(file: Path, title: str, rows: list[Row], machine: dict[str, Any]) -> bool:
    """Write the picture; False without matplotlib or without anything to draw."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    one, found = bars(rows)
    if not found:
        return False
    sides = [s for s in [*columns(rows), BEST_TORCH, BFLOAT16] if s != one and any(s in b for b in found.values())]
    height = 0.8 / len(sides)
    inches = 1.5 + len(found) * (0.2 + 0.19 * len(sides))
    figure, axes = pyplot.subplots(figsize=(9, inches), layout="constrained")
    for k, side in enumerate(sides):
        places = [i + (k - (len(sides) - 1) / 2) * height for i, b in enumerate(found.values()) if side in b]
        lengths = [b[side] for b in found.values() if side in b]
        colour = COLOURS.get(side, "#d1603d" if side == BEST_TORCH else "#e8b49d")
        drawn = axes.barh(places, [v - 1 for v in lengths], height * 0.92, left=1, color=colour, label=side)
        axes.bar_label(drawn, [f" {digits(v)} " for v in lengths], fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.25, high * 1.25)
    axes.xaxis.set_major_formatter(lambda v, _: f"{digits(v)}×")
    axes.xaxis.set_minor_formatter("")
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlabel(f"times as fast as {one}, which is 1")
    axes.set_title(f"{title}\n", fontsize=11, loc="left")
    axes.text(
        0,
        1.0,
        f"{machine['processor']}, {machine['threads']} threads, {machine['date'][:10]}\n",
        transform=axes.transAxes,
        fontsize=8,
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12 if inches < 4 else -0.07),
        ncols=len(sides),
        frameon=False,
        fontsize=8,
    )
    figure.savefig(file, dpi=130)
    pyplot.close(figure)
    return True
