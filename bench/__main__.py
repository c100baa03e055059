"""python -m bench: ask the questions of this folder, print and keep the answers. python -m bench profile: where time goes."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from bench import _profile
from bench._harness import chart, figures, machine, onnx_twin, report, roofline, summary
from bench._harness.case import names, questions
from bench._harness.measure import Plan, Row, ask
from bench._harness.text import aligned
from bench._harness.workers import Pool
from fastnet.cli import Parser

RESULTS = Path(__file__).parent / "results"


def arguments(words: list[str] | None) -> argparse.Namespace:
    from fastnet import _ext, config

    available = _ext.available_levels()
    listed = "\n".join(f"  {name:14} {asks}" for name, asks in questions().items())
    parser = Parser(
        prog="python -m bench",
        description="How fast fastnet is, and against what. Answers are compared before they are timed; all sides run in turn.",
        epilog=f"questions:\n{listed}\n\npython -m bench profile NET: where the time of a net's training step goes, by layer",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="few shapes and few pairs: all questions in about a minute"
    )
    parser.add_argument("--only", metavar="NAMES", help="comma-separated questions (default: all)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where JSON, Markdown and pictures go (default: bench/results, below AMX LEVEL/ and quick: quick/ in it)",
    )
    parser.add_argument(
        "--level", choices=available, help="highest instruction-set level, for PyTorch too (default: the best)"
    )
    parser.add_argument("--threads", type=int, help="threads, the same for every side (default: fastnet's)")
    parser.add_argument(
        "--match",
        metavar="REGEX",
        default="",
        help='only cases with it in their name, such as "resnet50.*1x1" or "batch 1$"',
    )
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument(
        "--no-compiled", action="store_true", help="leave PyTorch's compiled modes out: compiling takes long"
    )
    parser.add_argument("--no-naive", action="store_true", help="leave loops, NumPy and the lower levels out")
    parser.add_argument("--seconds", type=float, help="measuring time per side and case (default: 0.5, quick 0.1)")
    asked = parser.parse_args(words)
    asked.only = asked.only.split(",") if asked.only else names()
    unknown = [name for name in asked.only if name not in names()]
    if unknown:
        parser.error(f"no question {unknown[0]!r}; there are {', '.join(names())}")
    if asked.threads is not None and asked.threads < 1:
        parser.error(f"--threads must be at least 1, found {asked.threads}")
    if asked.seconds is not None and not 0 < asked.seconds < math.inf:
        parser.error(f"--seconds must be positive, found {asked.seconds:g}")
    try:
        re.compile(asked.match)
    except re.error as error:
        parser.error(f"--match: not a regular expression: {error}")
    asked.threads = asked.threads or config.get_num_threads()
    highest = asked.level or _ext.level
    asked.levels = available[: available.index(highest) + 1]
    asked.best = available[-1]
    # A part of the truth leaves the record alone, and levels below AMX have records of their own.
    record = RESULTS if highest == "amx" else RESULTS / highest
    asked.out = asked.out or (RESULTS / "quick" if asked.quick or asked.match else record)
    return asked


def main(words: list[str] | None = None) -> int:
    given = sys.argv[1:] if words is None else words
    if given[:1] == ["profile"]:
        return _profile.main(given[1:])
    asked = arguments(words)
    plan = Plan(
        size="quick" if asked.quick else "full",
        levels=asked.levels,
        torch=not asked.no_torch and find_spec("torch") is not None,
        onnx=onnx_twin.installed(),
        threads=asked.threads,
        rounds=3 if asked.quick else 7,
        seconds=asked.seconds or (0.1 if asked.quick else 0.5),
        slot=0.01 if asked.quick else 0.04,
        match=asked.match,
        naive=not asked.no_naive,
        float32=asked.levels[-1] != "amx",
        compiled=not asked.no_compiled,
    )
    wanted = [name for name in asked.only if plan.cases(name) or plan.figures(name)]
    if not wanted:
        print(f"no case has {asked.match!r} in its name", file=sys.stderr)
        return 2
    started, good, ends, took = time.perf_counter(), True, [], []
    described = machine.describe(plan.threads, plan.levels)
    with Pool(plan.threads, plan.levels, asked.best) as pool:
        if plan.torch:
            described |= pool.of("torch").do({"do": "torch"})
        peaks = pool.of(plan.level).do({"do": "peaks"})
        lines = machine.sentences(described, peaks)
        print(*lines, sep="\n")
        for name in wanted:
            begun = time.perf_counter()
            record = Record(name, asked.out, described, peaks, lines)
            if plan.figures(name):
                good &= answer_figures(record, plan, pool)
            else:
                rows = time_cases(record, plan.over(len(plan.cases(name))), pool)
                good &= not any(row.wrong or plan.level in row.absent for row in rows)
                ends.append((name, rows))
            took.append(f"{name} {time.perf_counter() - begun:.0f} s")
    for name, rows in ends:
        means = aligned(report.means_grid(report.means(rows)))
        print(f"\n{name}: how many times as fast fastnet at {plan.level} is\n{means}")
        if report.has_precisions(rows):
            print(f"\n{aligned(summary.duels_grid(summary.duels(rows)))}\n", *summary.sentences(rows), sep="\n")
    print(f"\n{time.perf_counter() - started:.0f} s ({', '.join(took)}); JSON, Markdown and pictures are in", end=" ")
    print(os.path.relpath(asked.out))
    return 0 if good else 1


class Record(NamedTuple):
    """Where a question's answers go, and the machine that gave them."""

    name: str
    folder: Path
    machine: dict[str, Any]
    peaks: dict[str, dict[str, float]]
    lines: list[str]


def time_cases(record: Record, plan: Plan, pool: Pool) -> list[Row]:
    """Ask a question that times cases: print and keep its table and pictures."""
    name, folder, described, peaks, lines = record
    title = questions()[name]
    rows = ask(name, plan, pool, peaks, progress)
    progress("")
    print(f"\n{title}\n\n{report.printed(rows, plan.level)}")
    print(*report.troubles(rows), sep="\n")
    report.write(folder, name, report.as_json(name, title, rows, plan, described, peaks), rows, lines)
    chart.draw(folder / f"{name}.png", title, rows, described)
    roofline.draw(folder / f"{name}_roofline.png", title, rows, described, peaks)
    return rows


def answer_figures(record: Record, plan: Plan, pool: Pool) -> bool:
    """Ask a question for its figures: print and keep them. False if one could not be measured; a mark may be missed."""
    title = questions()[record.name]
    answers = figures.ask(record.name, plan, pool, progress)
    progress("")
    print(f"\n{title}\n\n{figures.printed(answers)}")
    figures.write(record.folder, record.name, title, answers, record.machine, record.lines)
    return not any(answer.error for answer in answers)


def progress(line: str) -> None:
    """Overwrite the line at the bottom of a terminal; say nothing into a file."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
