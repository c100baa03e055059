"""What `check_gradients` found, as text and as data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..tables import columns
from .slopes import GradientRow, named

__all__ = ["GradientReport"]

ADVICE = """\
How to read a relative error |a - n| / max(|a|, |n|), after the notes of CS231n:
  above 1e-2    the gradient is most likely wrong
  1e-2 to 1e-4  nothing to be content with: look for the reason
  1e-4 to 1e-7  fine where the loss has kinks (ReLU, max-pooling, SVM); a smooth net should do better
  below 1e-7    right
Errors grow with the depth of a net: 1e-2 behind ten layers may be rounding, behind one it is a mistake."""

ORDER = ("wrong", "poor", "fair", "good", "zero", "kink")


class GradientReport:
    """The result of `check_gradients`; print it.

    ok        no coordinate has an error above the tolerance (kinks and vanishing gradients aside), at least one was compared
    rows      every coordinate that was tried (GradientRow)
    kinks     those of them that stood on a kink: they say nothing of backward
    worst     the row with the largest error, kinks aside; None if there is nothing to compare
    suspects  dotted names of layers whose own backward disagrees though the layers inside them agree, first one first
    alone     the rows of those layers, each checked by itself
    notes     what limits the check
    """

    def __init__(
        self,
        rows: list[GradientRow],
        alone: list[GradientRow],
        suspects: list[str],
        notes: list[str],
        *,
        h: float,
        tolerance: float,
        burn_in: int,
    ) -> None:
        self.rows, self.alone, self.suspects, self.notes = rows, alone, suspects, notes
        self.h, self.tolerance, self.burn_in = h, tolerance, burn_in

    @property
    def kinks(self) -> list[GradientRow]:
        return [row for row in self.rows if row.verdict == "kink"]

    @property
    def compared(self) -> list[GradientRow]:
        """The rows that say something: no kinks, no gradients that vanish on both sides."""
        return [row for row in self.rows if row.verdict not in ("kink", "zero")]

    @property
    def worst(self) -> GradientRow | None:
        return max(self.compared, key=lambda row: row.error, default=None)

    @property
    def ok(self) -> bool:
        worst = self.worst
        return worst is not None and worst.error <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {
            "ok": self.ok,
            "h": self.h,
            "tolerance": self.tolerance,
            "burn_in": self.burn_in,
            "suspects": list(self.suspects),
            "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
        }

    def groups(self) -> list[tuple[tuple[str, str, str, str], list[GradientRow]]]:
        """Rows by (part, layer, kind, parameter), in the order in which they were checked."""
        groups: dict[tuple[str, str, str, str], list[GradientRow]] = {}
        for row in self.rows:
            groups.setdefault((row.part, row.layer, row.kind, row.parameter), []).append(row)
        return list(groups.items())

    def __str__(self) -> str:
        burnt = f", after {self.burn_in} steps of burn-in" if self.burn_in else ""
        lines = [
            f"Gradient check: {'right' if self.ok else 'NOT RIGHT' if self.worst else 'nothing to compare'}; "
            f"{len(self.rows)} coordinates in float64, centred differences, h = {self.h:g}{burnt}",
            "",
        ]
        lines += [_table(self.groups()), ""]
        for part in ("data", "regularization"):
            rows = [row for row in self.compared if row.part == part]
            if rows:
                lines.append(f"{part} part, worst: {_sentence(max(rows, key=lambda row: row.error))}")
        lines += self._conclusions()
        return "\n".join([*lines, "", ADVICE])

    def _conclusions(self) -> list[str]:
        lines = []
        if not self.compared:
            lines.append(
                "every gradient that was looked at vanishes: nothing flows back through this net at these weights"
            )
        if self.kinks:
            where = ", ".join(dict.fromkeys(row.kink.split(", ")[0] for row in self.kinks))
            lines.append(
                f"kinks: {len(self.kinks)} coordinates have a bend between the two sides (at {where}); the difference is "
                "the bend's, so they were replaced by others"
            )
        if self.suspects:
            worst = {
                name: max((r for r in self.alone if r.layer == name), key=lambda row: row.error)
                for name in self.suspects
            }
            lines.append("checked one by one, these layers have a wrong backward:")
            lines += [f"  {_sentence(row)}" for row in worst.values()]
        elif not self.ok and self.worst is not None:
            lines.append(
                "checked one by one, every layer is right: look at what lies between them, at the regularization or at the "
                "loss"
            )
        return [*lines, *(f"note: {note}" for note in self.notes)]

    __repr__ = __str__


def _sentence(row: GradientRow) -> str:
    return f"{row.place}: analytic {row.analytic:.6g}, numeric {row.numeric:.6g}, relative error {row.error:.1e}"


def _table(groups: list[tuple[tuple[str, str, str, str], list[GradientRow]]]) -> str:
    """One line per array."""
    lines = [("part", "layer", "array", "compared", "zero", "kinks", "worst error", "verdict")]
    for (part, layer, kind, parameter), rows in groups:
        good = [row for row in rows if row.verdict not in ("zero", "kink")]
        worst = max(good, key=lambda row: row.error, default=None)
        zeros, kinks = (str(sum(row.verdict == verdict for row in rows)) for verdict in ("zero", "kink"))
        verdict = min((row.verdict for row in rows), key=ORDER.index)
        error = "" if worst is None else f"{worst.error:.1e}"
        lines.append((part, named(layer, kind), parameter, str(len(good)), zeros, kinks, error, verdict))
    return "\n".join(columns(lines, {0, 1, 2, 7}))
