"""The results of a question as an aligned table, as Markdown, as JSON, and the means of its ratios."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .case import LOOPS, NUMPY
from .measure import Plan, Row
from .statistics import Spread, geometric_mean

BEST_TORCH = "torch, best float32 mode"
SCHEMA = 1


def seconds(t: float) -> str:
    """Three digits and a unit: 1.23 ms, 45.6 µs, 120 s."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if t >= 0.9995 * scale or unit == "µs":
            return f"{digits(t / scale)} {unit}"
    raise AssertionError


def digits(x: float) -> str:
    """x with three digits, without an exponent: 0.123, 1.23, 12.3, 123, 12345."""
    return f"{x:.3g}" if 0.001 <= x < 999.5 else f"{x:.0f}"


def times_as_fast(r: Spread) -> str:
    """The median ratio and, where there were several pairs, its quartiles."""
    return f"{digits(r.median)}×" + (f" ({digits(r.low)}–{digits(r.high)})" if r.count > 2 else "")


def columns(rows: list[Row]) -> list[str]:
    """The sides that have a time in some row, in the order of the first row that has them all."""
    found: dict[str, None] = {}
    for row in sorted(rows, key=lambda row: -len(row.times)):
        found.update(dict.fromkeys(row.times))
    return list(found)


def grid(rows: list[Row], level: str) -> list[list[str]]:
    """The table's cells, headings first."""
    sides = columns(rows)
    torch = any(row.best_torch for row in rows)
    flops = any(row.flops for row in rows)
    heads = ["", *sides, *(["GFLOP/s", "of peak"] if flops else ["of memory"])]
    naive = [side for side in (LOOPS, NUMPY) if side in sides and side != level]
    heads += [f"× {side}" for side in naive] + ["× best torch"] * torch
    table = [heads]
    for row in rows:
        cells = [row.case.key]
        for side in sides:
            cells.append(
                seconds(row.times[side].median) if side in row.times else "wrong" if side in row.wrong else "–"
            )
        if flops:
            cells.append(digits(row.flops / 1e9) if row.flops else "–")
        cells.append(f"{row.share:.0%}" if row.share else "–")
        cells += [f"{digits(row.against[side].median)}" if side in row.against else "–" for side in naive]
        if torch:
            cells.append(times_as_fast(row.against[row.best_torch]) if row.best_torch in row.against else "–")
        table.append(cells)
    return table


def means(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Group (and "all") -> side -> geometric mean of how many times as fast fastnet is."""
    groups = list(dict.fromkeys(row.case.group for row in rows))
    found = {}
    for group in [*groups, "all"] if len(groups) > 1 else groups:
        inside = [row for row in rows if group in ("all", row.case.group)]
        found[group] = {
            side: geometric_mean(row.against[side].median for row in inside if side in row.against)
            for side in columns(inside)
            if any(side in row.against for row in inside)
        }
        best = [row.against[row.best_torch].median for row in inside if row.best_torch in row.against]
        if best:
            found[group][BEST_TORCH] = geometric_mean(best)
    return found


def means_grid(found: dict[str, dict[str, float]]) -> list[list[str]]:
    sides = list(dict.fromkeys(side for means in found.values() for side in means))
    heads = ["geometric mean", *(f"× {side}" for side in sides)]
    return [heads] + [[group, *(digits(m[side]) if side in m else "–" for side in sides)] for group, m in found.items()]


def aligned(table: list[list[str]]) -> str:
    """Cells in columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) for row in table
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def markdown(table: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(table[0]) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [table[0], rule, *table[1:]])


def troubles(rows: list[Row]) -> list[str]:
    """One line for each side that has no time, and why; the same reason is said once."""
    said: dict[str, str] = {}
    for row in rows:
        for side, reason in row.absent.items():
            said.setdefault(f"{side}: {reason}", row.case.key)
        for side, away in row.wrong.items():
            said[f"WRONG ANSWER, not timed: {side} differs by {away:.1e} of the rms"] = row.case.key
    return [f"{line}  [{key}]" for line, key in said.items()]


def as_json(
    name: str, title: str, rows: list[Row], plan: Plan, machine: dict[str, Any], peaks: dict[str, Any]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "question": name,
        "title": title,
        "machine": machine,
        "peaks": peaks,
        "plan": {"size": plan.size, "rounds": plan.rounds, "seconds": plan.seconds},
        "rows": [
            {
                "group": row.case.group,
                "name": row.case.name,
                "dtype": row.case.dtype,
                "flops": row.case.flops,
                "bytes": row.case.nbytes,
                "seconds": {side: t._asdict() for side, t in row.times.items()},
                "times_as_fast_as": {side: r._asdict() for side, r in row.against.items()},
                "best_torch": row.best_torch,
                "flops_per_second": row.flops,
                "share_of_peak": row.share,
                "absent": row.absent,
                "wrong": {side: away if math.isfinite(away) else None for side, away in row.wrong.items()},
            }
            for row in rows
        ],
        "geometric_means": means(rows),
    }


def write(folder: Path, name: str, result: dict[str, Any], rows: list[Row], lines: list[str]) -> None:
    """NAME.json and NAME.md in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    level = result["machine"]["level"]
    parts = [f"# {result['title']}", "\n".join(f"- {line}" for line in lines), markdown(grid(rows, level))]
    if result["geometric_means"]:
        parts.append(markdown(means_grid(result["geometric_means"])))
    parts.append(LEGEND.format(level=level))
    parts += ["\n".join(f"- {line}" for line in troubles(rows))] * bool(troubles(rows))
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n")


LEGEND = (
    "Times are medians per call. GFLOP/s, the share of the peak (“of memory”: of the bandwidth, above 100 % where all fits "
    "into the caches) and the ratios are those of {level}: “× side” is how many times as fast it is, the median over pairs "
    "measured in turn, with their quartiles; above 1 fastnet is the faster one."
)
