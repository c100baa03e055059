"""The roofline: operations per second over operations per byte, beneath the ceilings of the machine (Williams et al. 2009).

A point is a case. Its bytes are those that must move, every array once and as float32, so a case whose arrays stay in the
caches may lie above the slope of the memory; nothing lies above the ceiling of its arithmetic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .measure import TILE_PRODUCTS, Row, ceiling

PANELS = {"highest": "torch float32", "medium": "torch bf16"}  # precision -> what the other points are
MARKERS = "o^sDvP"  # of the groups, in their order
OURS, THEIRS, LINE = "#1f6fb4", "#d1603d", "#555555"
SAID = {1: "one product", 3: "three products", 6: "six products"}


def points(rows: list[Row], precision: str, level: str) -> list[tuple[str, float, float, float | None]]:
    """(group, operations per byte, ours and PyTorch's operations per second) of every row with a time at that precision."""
    found = []
    for row in rows:
        side = level if precision == "highest" else f"{level} {precision}"
        if side in row.times and row.case.flops and row.case.nbytes:
            duel = row.duels.get(precision)
            other = row.case.flops / row.times[duel.other].median if duel else None
            at = row.case.flops / row.case.nbytes
            found.append((row.case.group, at, row.case.flops / row.times[side].median, other))
    return found


def ceilings(peaks: dict[str, dict[str, Any]], precision: str) -> dict[str, float]:
    """What is written at a horizontal line -> operations per second."""
    floats = peaks["float32"]
    found = {"vector units, float32": float(floats["all_threads"])}
    if floats.get("tiles_all_threads"):
        parts = {"highest": (6, 3), "medium": (1,)}.get(precision, tuple(TILE_PRODUCTS.values()))
        found |= {f"tiles, {SAID[n]}": floats["tiles_all_threads"] / n for n in parts}
    return found


def draw(file: Path, title: str, rows: list[Row], machine: dict[str, Any], peaks: dict[str, dict[str, Any]]) -> bool:
    """Write the picture; False without matplotlib or without cases that have both operations and bytes."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
        from matplotlib.lines import Line2D
    except ImportError:
        return False
    level = machine["level"]
    panels = {precision: found for precision in PANELS if (found := points(rows, precision, level))}
    if not panels:
        return False
    groups = dict(zip(dict.fromkeys(row.case.group for row in rows), MARKERS))
    figure, row = pyplot.subplots(
        1, len(panels), figsize=(6 * len(panels), 5), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for axes, (precision, found) in zip(row[0], panels.items()):
        axes.set_title(f"{precision}, beside {PANELS[precision]}", fontsize=9)
        for group, at, ours, theirs in found:
            axes.plot(at, ours / 1e9, groups[group], color=OURS, markersize=4, alpha=0.8, markeredgewidth=0, zorder=3)
            if theirs:
                axes.plot(at, theirs / 1e9, groups[group], color=THEIRS, markersize=4, fillstyle="none", alpha=0.6)
        _roof(axes, peaks, precision, [at for _, at, _, _ in found])
    row[0][0].set_ylabel("GFLOP/s", fontsize=8)
    figure.suptitle(title, fontsize=11)
    handles = [Line2D([], [], color=OURS, marker=m, linestyle="", markersize=5, label=g) for g, m in groups.items()]
    handles.append(Line2D([], [], color=THEIRS, marker="o", fillstyle="none", linestyle="", label="PyTorch, best mode"))
    said = f"fastnet at {level} ({machine['processor']}, {machine['threads']} threads, {machine['date'][:10]})"
    style: dict[str, Any] = {"title": said, "frameon": False, "fontsize": 8, "title_fontsize": 8}
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), **style)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)
    return True


def _roof(axes: Any, peaks: dict[str, dict[str, Any]], precision: str, places: list[float]) -> None:
    """The slope of the memory up to the ceiling that counts, and every ceiling."""
    slope, top = peaks["float32"]["bandwidth"] / 1e9, ceiling(peaks, "float32", precision) / 1e9
    left, right = min(places) / 1.5, max(*places, 1.5 * top / slope) * 1.5
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot([left, top / slope], [slope * left, top], color=LINE, linewidth=1)
    style: dict[str, Any] = {"fontsize": 7, "color": LINE, "va": "bottom"}
    middle = (left * top / slope) ** 0.5
    axes.text(middle * 0.95, slope * middle, f"memory: {slope:.0f} GB/s", ha="right", **style)
    for said, height in ceilings(peaks, precision).items():
        axes.axhline(height / 1e9, color=LINE, linewidth=1, linestyle="-" if height / 1e9 == top else ":")
        axes.text(left * 1.1, height / 1e9, f"{said}: {height / 1e9:.0f}", **style)
    axes.set_xlim(left, right)
    axes.set_xlabel("floating-point operations per byte of the arrays", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
