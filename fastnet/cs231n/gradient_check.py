"""`cs231n.gradient_check`: gradients by central differences, (f(x + h) - f(x - h)) / 2h.

x is changed in place and put back, so f may look at x through a closure instead of its argument. Use float64.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..memory import Array

__all__ = [
    "eval_numerical_gradient",
    "eval_numerical_gradient_array",
    "eval_numerical_gradient_blobs",
    "eval_numerical_gradient_net",
    "grad_check_sparse",
]

Place = tuple[int, ...]


@contextmanager
def _moved(x: Array, place: Place, by: float) -> Iterator[None]:
    """x with one number changed, for as long as the block lasts."""
    before = x[place]
    x[place] = before + by
    try:
        yield
    finally:
        x[place] = before


def _sides(f: Callable[[], Any], x: Array, place: Place, h: float) -> tuple[Any, Any]:
    """f() with x[place] moved up and down by h; copies, since f may return the same array twice."""
    with _moved(x, place, h):
        above = np.array(f(), copy=True)
    with _moved(x, place, -h):
        below = np.array(f(), copy=True)
    return above, below


def _check(op: str, x: Any) -> None:
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"{op}: x must be an array of floats, to be moved by h in place, found {found}")


def eval_numerical_gradient(f: Callable[[Any], Any], x: Array, verbose: bool = True, h: float = 1e-5) -> Array:
    """The gradient of a number f(x) at x, of any shape; verbose prints every place and its slope."""
    _check("eval_numerical_gradient", x)
    slopes = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        above, below = _sides(lambda: f(x), x, place, h)
        slopes[place] = (above - below) / (2 * h)
        if verbose:
            print(place, slopes[place])
    return slopes


def eval_numerical_gradient_array(f: Callable[[Any], Any], x: Array, df: Any, h: float = 1e-5) -> Array:
    """The gradient at x of sum(f(x) * df), for an f that returns an array: df is the gradient from above, like f(x)."""
    _check("eval_numerical_gradient_array", x)
    slopes = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        above, below = _sides(lambda: f(x), x, place, h)
        slopes[place] = np.sum((above - below) * df) / (2 * h)
    return slopes


def eval_numerical_gradient_blobs(
    f: Callable[..., Any], inputs: Sequence[Any], output: Any, h: float = 1e-5
) -> list[Array]:
    """The gradients of sum(output.vals * output.diffs) at every input, for an f(*inputs, output) that fills output.vals.

    A blob has .vals (its numbers) and .diffs (the gradient at them).
    """

    def run() -> Any:
        f(*inputs, output)
        return output.vals

    gradients = []
    for blob in inputs:
        _check("eval_numerical_gradient_blobs", blob.vals)
        slopes = np.zeros_like(blob.vals)
        for place in np.ndindex(slopes.shape):
            above, below = _sides(run, blob.vals, place, h)
            slopes[place] = np.sum((above - below) * output.diffs) / (2 * h)
        gradients.append(slopes)
    return gradients


def eval_numerical_gradient_net(net: Any, inputs: Sequence[Any], output: Any, h: float = 1e-5) -> list[Array]:
    """The same for a net of blobs, whose net.forward() fills output.vals from the inputs."""
    return eval_numerical_gradient_blobs(lambda *_: net.forward(), inputs, output, h=h)


def grad_check_sparse(
    f: Callable[[Any], Any], x: Array, analytic_grad: Any, num_checks: int = 10, h: float = 1e-5
) -> None:
    """Print slope, analytic gradient and relative error |a - b| / (|a| + |b|) at a few random places of x.

    The places come from NumPy's global generator. The error is 0 where both gradients are.
    """
    _check("grad_check_sparse", x)
    for _ in range(num_checks):
        place = tuple(int(np.random.randint(size)) for size in x.shape)  # noqa: NPY002 (the one that notebooks seed)
        above, below = _sides(lambda: f(x), x, place, h)
        slope, analytic = float((above - below) / (2 * h)), float(analytic_grad[place])
        size = abs(slope) + abs(analytic)
        error = abs(slope - analytic) / size if size else 0.0
        print(f"numerical: {slope:f} analytic: {analytic:f}, relative error: {error:e}")
