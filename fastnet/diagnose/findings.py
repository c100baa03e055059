"""What the doctor found: as text, as data and as a page."""

from __future__ import annotations

import json
import math
import os
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Diagnosis", "Finding"]

Severity = Literal["fault", "warning", "note"]
WIDTH = 100  # of the text


@dataclass
class Finding:
    """One thing that is wrong (fault), probably wrong (warning) or worth knowing (note).

    check     which check says so, a name that stays: "learning_rate", "gradients", …
    weight    findings are sorted by it, the heaviest first
    evidence  the measurement in words; numbers: the same by name
    reason    why it matters; advice: what to do
    """

    check: str
    severity: Severity
    weight: int
    title: str
    evidence: str
    reason: str
    advice: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass
class Passed:
    """A check that found nothing, with what it measured."""

    check: str
    sentence: str


@dataclass
class Picture:
    """A picture of the page: drawn only when it is asked for."""

    title: str
    draw: Callable[[], Figure]


class Diagnosis:
    """The result of `doctor`: print it, or take .findings (heaviest first), .to_json(path), .to_html(path).

    ok        nothing but notes was found
    passed    the checks that found nothing (.check, .sentence); skipped: those that could not be made, and why
    seconds   how long it took
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.findings: list[Finding] = []
        self.passed: list[Passed] = []
        self.skipped: list[Passed] = []
        self.pictures: list[Picture] = []
        self.seconds = 0.0

    @property
    def ok(self) -> bool:
        return not self.serious

    @property
    def serious(self) -> list[Finding]:
        """Faults and warnings."""
        return [finding for finding in self.findings if finding.severity != "note"]

    def __contains__(self, check: object) -> bool:
        """`"learning_rate" in diagnosis`: does a finding of this check exist?"""
        return any(finding.check == check for finding in self.findings)

    def add(self, finding: Finding) -> None:
        """Take a finding, in its place."""
        self.findings.append(finding)
        self.findings.sort(key=lambda one: -one.weight)

    def passes(self, check: str, sentence: str) -> None:
        self.passed.append(Passed(check, sentence))

    def skips(self, check: str, why: str) -> None:
        self.skipped.append(Passed(check, why))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, ready for json.dump."""
        return {
            "subject": self.subject,
            "ok": self.ok,
            "seconds": self.seconds,
            "findings": [asdict(finding) for finding in self.findings],
            "passed": [asdict(one) for one in self.passed],
            "skipped": [asdict(one) for one in self.skipped],
        }

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The same as JSON text, written to path if one is given; numbers that are none become null."""
        text = json.dumps(_plain(self.to_dict()), indent=1)
        if path is not None:
            replace_file(path, lambda file: file.write(text.encode()))
        return text

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """One page with everything in it, pictures too (they need matplotlib)."""
        from .page import page

        text = page(self)
        replace_file(path, lambda file: file.write(text.encode()))

    def headline(self) -> str:
        """The result in a line."""
        count = len(self.serious)
        if not count:
            return f"nothing wrong in {len(self.passed)} checks"
        return f"{count} finding{'s' if count > 1 else ''}: {self.serious[0].title}{' …' if count > 1 else ''}"

    def __str__(self) -> str:
        lines = [f"Doctor: {self.subject}", f"{self.headline()} ({self.seconds:.1f} s)"]
        for number, finding in enumerate(self.findings, 1):
            lines += ["", f"{number}. {finding.severity.upper()}: {finding.title}  [{finding.check}]"]
            for name, text in (("found", finding.evidence), ("why", finding.reason), ("do", finding.advice)):
                lines += textwrap.wrap(text, WIDTH, initial_indent=f"   {name:6s} ", subsequent_indent=" " * 10)
        if self.passed:
            lines += ["", "In order:"]
            lines += [f"   {one.check:16s} {one.sentence}" for one in self.passed]
        if self.skipped:
            lines += ["", "Not judged:"]
            lines += [f"   {one.check:16s} {one.sentence}" for one in self.skipped]
        return "\n".join(lines)

    __repr__ = __str__


def _plain(value: Any) -> Any:
    """Without numbers that JSON does not have, and NumPy's."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
