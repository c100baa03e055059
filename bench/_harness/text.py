"""Numbers and tables as text."""

from __future__ import annotations


def seconds(t: float) -> str:
    """Three digits and a unit: 1.23 ms, 45.6 µs, 120 s."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if t >= 0.9995 * scale or unit == "µs":
            return f"{digits(t / scale)} {unit}"
    raise AssertionError


def digits(x: float) -> str:
    """x with three digits, without an exponent: 0.123, 1.23, 12.3, 123, 12345."""
    return f"{x:.3g}" if 0.001 <= x < 999.5 else f"{x:.0f}"


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
