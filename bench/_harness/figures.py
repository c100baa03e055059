"""Questions whose answers are single figures with a mark to reach, measured in fastnet's own process: see `bench/limits.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .statistics import Spread, spread
from .text import aligned, digits, markdown

if TYPE_CHECKING:
    from .measure import Plan
    from .workers import Pool

UNITS: dict[str, Callable[[float], str]] = {
    "%": lambda x: f"{x:.0%}",
    "×": lambda x: f"{digits(x)}×",
    "MB": lambda x: f"{x / 1e6:.2f} MB",
    "blocks": lambda x: f"{digits(x)} blocks",
}


class Found(NamedTuple):
    value: float
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """One figure: `find(threads, turn)` measures it once, in the process of `level` (empty: the one that counts), and is
    asked `turns` times. It should be at least `wanted`, or at most, or is only told (None). It takes `threads` to
    measure, and PyTorch, if `torch`."""

    group: str
    name: str
    find: Callable[[int, int], Found]
    unit: str
    wanted: float | None = None
    at_most: bool = False
    level: str = ""
    turns: int = 7
    threads: int = 1
    torch: bool = False

    @property
    def key(self) -> str:
        return f"{self.group}: {self.name}"

    @property
    def mark(self) -> str:
        return "–" if self.wanted is None else f"{'≤' if self.at_most else '≥'} {UNITS[self.unit](self.wanted)}"


@dataclass
class Answer:
    figure: Figure
    found: Spread | None = None
    note: str = ""
    error: str = ""

    @property
    def met(self) -> bool | None:
        if self.found is None or self.figure.wanted is None:
            return None
        value, wanted = self.found.median, self.figure.wanted
        return value <= wanted if self.figure.at_most else value >= wanted


def ask(question: str, plan: Plan, pool: Pool, tell: Callable[[str], None]) -> list[Answer]:
    """The answers to the figures that this machine and this run can give."""
    wanted = [
        f
        for f in plan.figures(question)
        if (f.level or plan.level) in plan.levels and f.threads <= plan.threads and (plan.torch or not f.torch)
    ]
    answers = []
    for i, figure in enumerate(wanted, 1):
        tell(f"{question} {i}/{len(wanted)}  {figure.key}")
        worker, values, answer = pool.of(figure.level or plan.level), [], Answer(figure)
        for turn in range(min(figure.turns, plan.rounds)):
            request = {"do": "figure", "question": question, "size": plan.size, "figure": figure.key, "turn": turn}
            reply = worker.do(request, plan.patience)
            if "error" in reply:
                answer.error = reply["error"]
                break
            values.append(reply["value"])
            answer.note = reply["note"]
        worker.do({"do": "close"})
        if values and not answer.error:
            answer.found = spread(values)
        answers.append(answer)
    return answers


def grid(answers: list[Answer]) -> list[list[str]]:
    table = [["", "found", "wanted", ""]]
    for a in answers:
        show, met = UNITS[a.figure.unit], {True: "met", False: "missed", None: ""}[a.met]
        value = a.error or "–"
        if a.found is not None:
            between = f" ({show(a.found.low)}–{show(a.found.high)})" if a.found.count > 2 else ""
            value = show(a.found.median) + between + (f", {a.note}" if a.note else "")
        table.append([a.figure.key, value, a.figure.mark, met])
    return table


def printed(answers: list[Answer]) -> str:
    return aligned(grid(answers))


def write(
    folder: Path, name: str, title: str, answers: list[Answer], machine: dict[str, Any], lines: list[str]
) -> None:
    """NAME.json and NAME.md in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "group": a.figure.group,
            "name": a.figure.name,
            "unit": a.figure.unit,
            "found": a.found and a.found._asdict(),
            "note": a.note,
            "wanted": a.figure.wanted,
            "at_most": a.figure.at_most,
            "met": a.met,
            "error": a.error,
        }
        for a in answers
    ]
    result = {"schema": 2, "question": name, "title": title, "machine": machine, "figures": rows}
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    said = "\n".join(f"- {line}" for line in lines)
    legend = "Medians of the turns, with their quartiles."
    (folder / f"{name}.md").write_text("\n\n".join([f"# {title}", said, markdown(grid(answers)), legend]) + "\n")
