"""Functions of two numbers on which rules show their character."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..memory import Array

__all__ = ["SURFACES", "Surface"]


@dataclass(frozen=True)
class Surface:
    """value(x, y) and slope(x, y) -> (df/dx, df/dy), for numbers and arrays; where paths start, and what is drawn.

    window is (left, right, bottom, top). minimum is None where there is none. steps are about as many as the story takes;
    legend is the corner where it stands in nobody's way.
    """

    name: str
    formula: str
    value: Callable[[Any, Any], Any]
    slope: Callable[[Any, Any], tuple[Any, Any]]
    start: tuple[float, float]
    window: tuple[float, float, float, float]
    minimum: tuple[float, float] | None
    steps: int
    legend: str = "upper right"

    def grid(self, columns: int = 300, rows: int = 200) -> tuple[Array, Array, Array]:
        """x (columns,), y (rows,) over the window and the values (rows, columns)."""
        left, right, bottom, top = self.window
        x, y = np.linspace(left, right, columns), np.linspace(bottom, top, rows)
        return x, y, np.asarray(self.value(x[None, :], y[:, None]))

    def levels(self, count: int = 14) -> Array:
        """Heights for contour lines: closer together where the surface is flat."""
        values = self.grid()[2]
        low, high = values.min(), values.max()
        if self.minimum is None:  # both sides of the saddle's height
            return np.asarray(np.linspace(low, high, count + 2)[1:-1])
        floor = max(low, (high - low) * 1e-4)
        return np.geomspace(floor, high, count + 1)[:-1] if low >= 0 else np.linspace(low, high, count + 2)[1:-1]


def _beale(x: Any, y: Any) -> Any:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _beale_slope(x: Any, y: Any) -> tuple[Any, Any]:
    dx = dy = 0.0
    for power, constant in ((1, 1.5), (2, 2.25), (3, 2.625)):
        term = constant - x + x * y**power
        dx = dx + 2 * term * (y**power - 1)
        dy = dy + 2 * term * x * power * y ** (power - 1)
    return dx, dy


SURFACES = {
    surface.name: surface
    for surface in (
        Surface(
            "valley",
            "(x² + 40 y²) / 2",
            lambda x, y: (x**2 + 40 * y**2) / 2,
            lambda x, y: (x, 40 * y),
            start=(-9.0, 1.6),
            window=(-10.0, 4.0, -2.6, 2.6),
            minimum=(0.0, 0.0),
            steps=100,
        ),
        Surface(
            "saddle",
            "x² - y²",
            lambda x, y: x**2 - y**2,
            lambda x, y: (2 * x, -2 * y),
            start=(-1.2, 0.002),
            window=(-1.5, 1.1, -0.6, 1.4),
            minimum=None,
            steps=100,
        ),
        Surface(
            "beale",
            "(1.5 - x + xy)² + (2.25 - x + xy²)² + (2.625 - x + xy³)²",
            _beale,
            _beale_slope,
            start=(1.0, 1.5),
            window=(-0.5, 4.2, -2.0, 2.0),
            minimum=(3.0, 0.5),
            steps=200,
            legend="lower right",
        ),
        Surface(
            "rosenbrock",
            "(1 - x)² + 100 (y - x²)²",
            lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
            lambda x, y: (-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)),
            start=(-1.2, 1.0),
            window=(-1.8, 1.8, -0.8, 2.2),
            minimum=(1.0, 1.0),
            steps=400,
        ),
    )
}
