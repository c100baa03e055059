"""What many rows say together: means, the worst entry by name, and how errors compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .case import ONNX
from .measure import Row
from .statistics import geometric_mean
from .text import digits

DUELS = {
    "highest": "highest × torch float32",
    "high": "high × highest",
    "medium": "medium × torch bf16",
    ONNX: f"highest × {ONNX}",
}


def scopes(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each group, of each family, and all of them."""
    found: dict[str, list[Row]] = {}
    for of in (lambda case: case.group, lambda case: case.family, lambda case: "all"):
        for row in rows:
            if of(row.case):
                found.setdefault(of(row.case), []).append(row)
    return found


def duels(rows: list[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Scope -> precision -> geometric mean, worst entry and its name, how many entries and how many of them below 1."""
    return {scope: _precisions(inside) for scope, inside in scopes(rows).items() if _precisions(inside)}


def _precisions(rows: list[Row]) -> dict[str, dict[str, Any]]:
    found = {}
    for precision in DUELS:
        known = {row.case.key: row.duels[precision].ratio.median for row in rows if precision in row.duels}
        if known:
            name, worst = min(known.items(), key=lambda entry: entry[1])
            below = sum(ratio < 1 for ratio in known.values())
            mean = geometric_mean(known.values())
            found[precision] = {"mean": mean, "worst": worst, "name": name, "count": len(known), "below_one": below}
    return found


def errors(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Precision -> the largest error of its column and where; beside PyTorch: on how many entries it is larger than that
    of the mode it is held against, and the worst ratio of the two."""
    found: dict[str, dict[str, Any]] = {}
    for precision in DUELS:
        known = {row.case.key: row.errors[side] for row in rows if (side := _column(row, precision)) in row.errors}
        if not known:
            continue
        name, largest = _largest(known.items())
        found[precision] = {"largest": largest, "name": name, "count": len(known)}
        beside = {row.case.key: ratio for row in rows if (ratio := against_torch(row, precision)) is not None}
        if beside:
            name, worst = _largest(beside.items())
            above = sum(ratio > 1 for ratio in beside.values())
            found[precision] |= {"beside": len(beside), "above": above, "worst_ratio": worst, "worst_name": name}
            found[precision]["mean_ratio"] = geometric_mean(beside.values())
    return found


def _largest(entries: Iterable[tuple[str, float]]) -> tuple[str, float]:
    return max(entries, key=lambda entry: entry[1])


def _column(row: Row, precision: str) -> str:
    """The column of ours at that precision: the one that counts is at "highest"."""
    level = next((side.split(" ")[0] for side in row.errors if not side.startswith("torch")), "")
    return level if precision == "highest" else f"{level} {precision}"


def against_torch(row: Row, precision: str) -> float | None:
    """Our error over that of the PyTorch mode which the precision is held against."""
    duel = row.duels.get(precision)
    if duel is None or not duel.other.startswith("torch") or not row.errors.get(duel.other):
        return None
    return row.errors[duel.ours] / row.errors[duel.other] if duel.ours in row.errors else None


def duels_grid(found: dict[str, dict[str, dict[str, Any]]]) -> list[list[str]]:
    """A row per scope; in a cell the geometric mean and the worst entry."""
    known = [p for p in DUELS if any(p in precisions for precisions in found.values())]
    rows = [[scope, *(_cell(of[p]) if p in of else "–" for p in known)] for scope, of in found.items()]
    return [["geometric mean", *(DUELS[p] for p in known)], *rows]


def _cell(of: dict[str, Any]) -> str:
    return f"{digits(of['mean'])} (worst {digits(of['worst'])})"


def sentences(rows: list[Row]) -> list[str]:
    """The figures of all rows, with the names of the worst entries."""
    lines = []
    for precision, of in duels(rows).get("all", {}).items():
        lines.append(
            f"{DUELS[precision]}: geometric mean {digits(of['mean'])} of {of['count']} entries, {of['below_one']} below 1; "
            f"worst {digits(of['worst'])}: {of['name']}"
        )
    for precision, of in errors(rows).items():
        line = f"largest error at {precision}: {of['largest']:.1e} of the rms of the answer: {of['name']}"
        if "above" in of:
            line += (
                f"; larger than PyTorch's on {of['above']} of {of['beside']} entries, in geometric mean "
                f"{of['mean_ratio']:.2g} of it, at worst {of['worst_ratio']:.3g}: {of['worst_name']}"
            )
        lines.append(line)
    return lines
