"""Measure a case: prove the answers, then time all sides in turn, A B C A B C, and compare within each round."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from . import onnx_twin
from .case import LOOPS, ONNX, TORCH, Case, Size, cases, figures
from .figures import Figure
from .statistics import Spread, disagreement, ratios, spread
from .workers import Pool

TILE_PRODUCTS = {"highest": 6, "high": 3, "medium": 1}  # bfloat16 products for one of float32


@dataclass(frozen=True)
class Plan:
    """What is measured and how long. Every compiled and PyTorch side runs at least `rounds` times; beyond that, and for the
    naive sides, what fits into `seconds` per side."""

    size: Size
    levels: list[str]
    torch: bool
    threads: int
    rounds: int
    seconds: float
    slot: float  # a round of short calls takes this long
    patience: float = 300  # seconds in which a side must be ready
    match: str = ""  # only cases whose key has this regular expression
    naive: bool = True  # time loops, NumPy and lower levels too
    float32: bool = False  # leave out the modes that compute in bfloat16: not held to the level, or slow without AMX
    onnx: bool = False  # ONNX Runtime is there
    compiled: bool = True  # PyTorch's compiled modes too: they take long to compile

    @property
    def level(self) -> str:
        return self.levels[-1]

    def cases(self, question: str) -> list[Case]:
        """The cases of a question that are asked for."""
        return [case for case in cases(question, self.size) if self.wants(case.key)]

    def figures(self, question: str) -> list[Figure]:
        return [figure for figure in figures(question, self.size) if self.wants(figure.key)]

    def wants(self, key: str) -> bool:
        """Whether `match` is found. One may write -> for → and 3x3 for 3×3."""
        return bool(re.search(re.sub(r"(?<=\d)x(?=\d)", "×", self.match.replace("->", "→")), key))

    def over(self, count: int) -> Plan:
        """The plan for that many cases: where they are hundreds, each has a quarter of the time, still in all its rounds."""
        return replace(self, seconds=self.seconds / 4, slot=self.slot / 2) if count > 200 else self

    def columns(self, case: Case) -> list[str]:
        found = case.columns(self.levels, self.torch, self.naive, self.float32, self.onnx)
        return [column for column in found if self.compiled or "compiled" not in column]


class Duel(NamedTuple):
    """How many times as fast the column `ours` is as `other`."""

    ours: str
    other: str
    ratio: Spread


@dataclass
class Row:
    """The measurement of one case: seconds per call of each column, and how many times as fast ours is."""

    case: Case
    times: dict[str, Spread] = field(default_factory=dict)
    against: dict[str, Spread] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)  # column -> why it has no time
    wrong: dict[str, float] = field(default_factory=dict)  # column -> how far its answer is off
    errors: dict[str, float] = field(default_factory=dict)  # column -> largest error, as a share of the answer's rms
    duels: dict[str, Duel] = field(default_factory=dict)  # precision -> what it is held against
    best_torch: str | None = None  # the fastest float32 mode
    flops: float | None = None  # per second, at the level that counts
    share: float | None = None  # of the peak that limits: arithmetic where the case has flops, memory where it has none


def measure(question: str, case: Case, plan: Plan, pool: Pool, peaks: dict[str, dict[str, float]]) -> Row:
    """One row. Wrong answers are not timed."""
    row = Row(case)
    if case.onnx and not plan.onnx:
        row.absent[ONNX] = onnx_twin.MISSING
    part = case.loops if plan.size == "quick" else 1
    answers: dict[str, Any] = {}

    def opened(column: str) -> dict[str, Any]:
        exact = bool(case.exact) and _counts(column, plan)
        request = {"do": "open", "question": question, "size": plan.size, "case": case.key, "column": column}
        return pool.of(column).do({**request, "part": part if column == LOOPS else 1, "exact": exact}, plan.patience)

    columns = plan.columns(case)
    replies = _at_once(opened, [column for column in columns if "compiled" in column], plan.threads)
    for column in columns:
        reply = replies.get(column) or opened(column)
        if "error" in reply:
            row.absent[column] = reply["error"]
            continue
        answers[column] = reply
        if "off" in reply:
            row.errors[column] = reply["off"]
    _check(row, answers)
    times = _rounds({c: a["seconds"] for c, a in answers.items() if c not in row.wrong}, plan, pool)
    for worker in pool.workers.values():
        worker.do({"do": "close"})
    return summarise(row, times, plan.level, peaks)


def _at_once(do: Callable[[str], dict[str, Any]], columns: list[str], threads: int) -> dict[str, dict[str, Any]]:
    """The replies of columns whose preparation is work for one thread: compiling. As many at once as there are threads."""
    with ThreadPoolExecutor(threads) as workers:
        return dict(zip(columns, workers.map(do, columns)))


def _check(row: Row, answers: dict[str, Any]) -> None:
    """Compare every answer with the first whole one: the slowest path is the one most easily read."""
    whole = {column: a["answer"] for column, a in answers.items() if a["answer"]}
    wanted = next(iter(whole.values()), [])
    for column, answer in whole.items():
        loose = 200 if "bf16" in column or "medium" in column else 1  # bfloat16 has 8 significant bits
        away = disagreement(answer, wanted)
        if not away <= row.case.tolerance * loose:
            row.wrong[column] = away


def _rounds(first: dict[str, float], plan: Plan, pool: Pool) -> dict[str, list[float]]:
    """Seconds per call of each column, per round. `first` are the seconds of the first, cold call."""

    def run(column: str, calls: int) -> float:
        reply = pool.of(column).do({"do": "run", "column": column, "calls": calls})
        if "error" in reply:
            raise RuntimeError(f"{column}: {reply['error']}")
        return float(reply["seconds"])

    # A cold call that takes longer than the whole budget is its own measurement.
    once = {c: t for c, t in first.items() if t > plan.seconds and not _counts(c, plan)}
    warm = {column: min(run(column, 1), run(column, 1)) for column in first if column not in once}
    calls = {column: max(1, round(plan.slot / max(t, 1e-7))) for column, t in warm.items()}
    wanted = {column: _how_often(column, t * calls[column], plan) for column, t in warm.items()}
    times: dict[str, list[float]] = {column: [once[column]] if column in once else [] for column in first}
    for turn in range(max(wanted.values(), default=0)):
        for column in warm:
            if turn < wanted[column]:
                times[column].append(run(column, calls[column]))
    return times


def _counts(column: str, plan: Plan) -> bool:
    """Whether a column must have its full number of pairs: the level that counts and what it is held against."""
    return column == ONNX or column.split(" ")[0] in (plan.level, TORCH)


def _how_often(column: str, seconds: float, plan: Plan) -> int:
    affordable = int(plan.seconds / max(seconds, 1e-7))
    return min(25, max(plan.rounds, affordable)) if _counts(column, plan) else max(1, min(25, affordable))


def summarise(row: Row, times: dict[str, list[float]], level: str, peaks: dict[str, dict[str, float]]) -> Row:
    """Fill a row from the seconds of each column's rounds."""
    row.times = {column: spread(t) for column, t in times.items() if t}
    if level not in row.times:
        return row
    row.against = {column: ratios(t, times[level]) for column, t in times.items() if t and column != level}
    float32 = [column for column in row.times if column.startswith(TORCH) and "bf16" not in column]
    row.best_torch = _fastest(row, float32)
    bfloat16 = _fastest(row, [column for column in row.times if "bf16" in column])
    held = {
        "highest": (level, row.best_torch),
        "medium": (f"{level} medium", bfloat16),
        "high": (f"{level} high", level),
        ONNX: (level, ONNX if ONNX in row.times else None),
    }
    for precision, (ours, other) in held.items():
        if ours in row.times and other is not None:
            row.duels[precision] = Duel(ours, other, ratios(times[other], times[ours]))
    seconds = row.times[level].median
    if row.case.flops:
        row.flops = row.case.flops / seconds
        row.share = row.flops / ceiling(peaks, row.case.dtype)
    elif row.case.nbytes:
        row.share = row.case.nbytes / seconds / peaks[row.case.dtype]["bandwidth"]
    return row


def ceiling(peaks: dict[str, dict[str, float]], dtype: str = "float32", precision: str = "highest") -> float:
    """Operations per second of all threads: of the vector units, or of the tiles that split float32 into bfloat16."""
    tiles = peaks[dtype].get("tiles_all_threads") or 0.0
    return max(peaks[dtype]["all_threads"], tiles / TILE_PRODUCTS[precision] if dtype == "float32" else 0.0)


def _fastest(row: Row, columns: list[str]) -> str | None:
    return min(columns, key=lambda column: row.times[column].median, default=None)


def ask(
    question: str, plan: Plan, pool: Pool, peaks: dict[str, dict[str, float]], tell: Callable[[str], None]
) -> list[Row]:
    """The rows of a question. `tell` hears which case is being measured."""
    found = plan.cases(question)
    rows = []
    for i, case in enumerate(found, 1):
        tell(f"{question} {i}/{len(found)}  {case.key}")
        rows.append(measure(question, case, plan, pool, peaks))
    return rows
