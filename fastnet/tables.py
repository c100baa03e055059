"""Tables as text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

__all__ = ["columns", "ruled"]

Rows = Iterable[Sequence[str]]


def columns(rows: Rows, left: Collection[int] = ()) -> list[str]:
    """The rows, all of one length, as lines whose cells stand below each other: those of the columns `left` flush left."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]


def ruled(title: str, rows: Rows, left: Collection[int], foot: Iterable[str] = ()) -> str:
    """A title, the first row as a head, the others and the last as a total between rules, then the lines of a foot."""
    head, *body, total = columns(rows, left)
    rule = "-" * max(map(len, (head, *body, total)))
    return "\n".join([title, rule, head, rule, *body, rule, total, *foot])
