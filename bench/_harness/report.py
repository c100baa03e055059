"""The results of a question as an aligned table, as Markdown, as JSON, and the means of its ratios."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from . import summary
from .case import LOOPS, NUMPY
from .measure import Plan, Row
from .statistics import Spread, geometric_mean
from .text import aligned, digits, markdown, seconds

BEST_TORCH = "torch, best float32 mode"
SCHEMA = 2
MANY = 40  # rows from which each family has a table of its own


def times_as_fast(r: Spread) -> str:
    """The median ratio and, where there were several pairs, its quartiles."""
    return f"{digits(r.median)}×" + (f" ({digits(r.low)}–{digits(r.high)})" if r.count > 2 else "")


def columns(rows: list[Row]) -> list[str]:
    """The sides that have a time in some row, in the order of the first row that has them all."""
    found: dict[str, None] = {}
    for row in sorted(rows, key=lambda row: -len(row.times)):
        found.update(dict.fromkeys(row.times))
    return list(found)


def sections(rows: list[Row]) -> dict[str, list[Row]]:
    """Heading -> rows of one table: where they are many, a table for each family."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.case.family if len(rows) >= MANY else "", []).append(row)
    return found


def grid(rows: list[Row], level: str) -> list[list[str]]:
    """The table's cells, headings first."""
    sides = columns(rows)
    torch = any(row.best_torch for row in rows)
    flops = any(row.flops for row in rows)
    heads = ["", *sides, *(["GFLOP/s", "of peak"] if flops else ["of memory"])]
    naive = [side for side in (LOOPS, NUMPY) if side in sides and side != level]
    heads += [f"× {side}" for side in naive] + ["× best torch"] * torch
    reduced = [precision for precision in summary.DUELS if any(precision in row.duels for row in rows)]
    reduced = [precision for precision in reduced if precision != "highest"]  # which is "× best torch"
    heads += [summary.DUELS[precision] for precision in reduced]
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
        cells += [times_as_fast(row.duels[p].ratio) if p in row.duels else "–" for p in reduced]
        table.append(cells)
    return table


def errors_grid(rows: list[Row]) -> list[list[str]]:
    """Largest errors as shares of the answer's root mean square, and those at "highest" over PyTorch's; [] without any."""
    rows = [row for row in rows if row.errors]
    sides = list(dict.fromkeys(side for row in rows for side in row.errors))
    table = [["largest error", *sides, "highest / best torch"]]
    for row in rows:
        ratio = summary.against_torch(row, "highest")
        cells = [f"{row.errors[side]:.1e}" if side in row.errors else "–" for side in sides]
        table.append([row.case.key, *cells, "–" if ratio is None else f"{ratio:.3g}"])
    return table if rows else []


def tables(rows: list[Row], level: str) -> dict[str, list[list[list[str]]]]:
    """Heading -> its tables: times, errors where they are known."""
    return {
        heading: [table for table in (grid(inside, level), errors_grid(inside)) if table]
        for heading, inside in sections(rows).items()
    }


def printed(rows: list[Row], level: str) -> str:
    parts = []
    for heading, found in tables(rows, level).items():
        parts += [heading] * bool(heading) + [aligned(table) for table in found]
    return "\n\n".join(parts)


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
                "errors": {side: _finite(error) for side, error in row.errors.items()},
                "duels": {
                    precision: {"ours": duel.ours, "other": duel.other, **duel.ratio._asdict()}
                    for precision, duel in row.duels.items()
                },
                "flops_per_second": row.flops,
                "share_of_peak": row.share,
                "absent": row.absent,
                "wrong": {side: _finite(away) for side, away in row.wrong.items()},
            }
            for row in rows
        ],
        "geometric_means": means(rows),
        "duels": summary.duels(rows),
        "errors": summary.errors(rows),
    }


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def write(folder: Path, name: str, result: dict[str, Any], rows: list[Row], lines: list[str]) -> None:
    """NAME.json and NAME.md in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    level = result["machine"]["level"]
    parts = [f"# {result['title']}", "\n".join(f"- {line}" for line in lines)]
    said = summary.sentences(rows) if has_precisions(rows) else []
    parts += ["\n".join(f"- {line}" for line in said), markdown(summary.duels_grid(result["duels"]))] if said else []
    for heading, found in tables(rows, level).items():
        parts += [f"## {heading}"] * bool(heading) + [markdown(table) for table in found]
    if result["geometric_means"]:
        parts += ["## All"] * (len(rows) >= MANY) + [markdown(means_grid(result["geometric_means"]))]
    parts.append(LEGEND.format(level=level))
    parts += ["\n".join(f"- {line}" for line in troubles(rows))] * bool(troubles(rows))
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n")


def has_precisions(rows: list[Row]) -> bool:
    """Whether the question is about precisions: then they are compared one by one, and the worst entries named."""
    return any(row.errors or len(row.case.precisions) > 1 for row in rows)


LEGEND = (
    "Times are medians per call. GFLOP/s, the share of the peak (“of memory”: of the bandwidth, above 100 % where all fits "
    "into the caches) and the ratios are those of {level}: “× side” is how many times as fast it is, the median over pairs "
    "measured in turn, with their quartiles; above 1 fastnet is the faster one."
)
