"""How far to go along a direction: a line search for the strong Wolfe conditions."""

import math
from collections.abc import Callable
from typing import NamedTuple


class Point(NamedTuple):
    """phi(t) = loss(w + t d) and its slope phi'(t)."""

    t: float
    value: float
    slope: float


def strong_wolfe(
    phi: Callable[[float], tuple[float, float]],
    t: float,
    start: Point,
    *,
    c1: float = 1e-4,
    c2: float = 0.9,
    evaluations: int = 25,
    width: float = 0.0,
) -> Point:
    """A t with phi(t) <= phi(0) + c1 t phi'(0) and |phi'(t)| <= c2 |phi'(0)|, tried from the given t on.

    start is the point t = 0, where the slope must be negative. After so many evaluations, or when the bracket is
    narrower than width, the best point that decreases enough is returned: start itself if there is none. A value that is
    not finite counts as too far.  Nocedal & Wright 2006, algorithms 3.5 and 3.6, with cubic interpolation.
    """

    def enough(p: Point) -> bool:
        return p.value <= start.value + c1 * p.t * start.slope  # False for NaN

    def flat(p: Point) -> bool:
        return abs(p.slope) <= -c2 * start.slope

    low, high = start, None
    while evaluations > 0 and high is None:
        p, evaluations = Point(t, *phi(t)), evaluations - 1
        if not enough(p) or (low is not start and p.value >= low.value):
            high = p
        elif flat(p):
            return p
        elif p.slope >= 0:
            low, high = p, low
        else:
            guess = _cubic(low, p)
            t = min(max(guess, p.t + 0.01 * (p.t - low.t)), 10 * p.t) if guess > p.t else 10 * p.t
            low = p
    while evaluations > 0 and high is not None and abs(high.t - low.t) > width:
        margin = 0.1 * abs(high.t - low.t)  # so that the bracket shrinks by a tenth at least
        t = min(max(_cubic(low, high), min(low.t, high.t) + margin), max(low.t, high.t) - margin)
        p, evaluations = Point(t, *phi(t)), evaluations - 1
        if not enough(p) or p.value >= low.value:
            high = p
        elif flat(p):
            return p
        else:
            low, high = p, (low if p.slope * (high.t - low.t) >= 0 else high)
    return low


def _cubic(a: Point, b: Point) -> float:
    """The minimum of the cubic through two points and their slopes; the middle where there is none.

    Nocedal & Wright 2006, equation 3.59.
    """
    middle = (a.t + b.t) / 2
    if not all(map(math.isfinite, (*a, *b))) or a.t == b.t:
        return middle
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return middle
    d2 = math.copysign(math.sqrt(square), b.t - a.t)
    bottom = b.slope - a.slope + 2 * d2
    return b.t - (b.t - a.t) * (b.slope + d2 - d1) / bottom if bottom else middle
