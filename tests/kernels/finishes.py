"""Every kind of Finish on random images, and how near its sums must come to those of another order of adding."""

import numpy as np

from fastnet.functional import deferred
from fastnet.functional.deferred import GRADIENT, RESULT, STATISTICS, Deferred, Finish, result


def images(rng, shape, dtype):
    """Channels-last memory of logical (N, C, H, W)."""
    n, c, h, w = shape
    return rng.standard_normal((n, h, w, c)).astype(dtype)


def later(rng, shape, dtype, *, slope=1.0, two=False):
    """A Deferred of random numbers."""
    a, b = images(rng, shape, dtype), images(rng, shape, dtype) if two else None
    return Deferred(a, rng.standard_normal((deferred.ROWS, shape[1])).astype(dtype), b, slope)


def settled(x):
    """The same numbers as an array (N, C, H, W), made by a pass of its own; x stays as it is."""
    return Deferred(x.a, x.coefficients, x.b, x.slope).array()


def finishes(rng, shape, dtype):
    """What may be done to outputs of that shape, each as a function that makes it anew."""
    kept, other, add = (images(rng, shape, dtype) for _ in range(3))
    coefficients = rng.standard_normal((deferred.ROWS, shape[1])).astype(dtype)
    value = Deferred(kept, coefficients, other, 0.1).memory()
    sums = (3, shape[1])
    return [
        lambda: Finish(STATISTICS, np.zeros((2, shape[1]))),
        lambda: Finish(GRADIENT, np.zeros(sums), add),
        lambda: Finish(GRADIENT, np.zeros(sums), None, None, kept, None, coefficients),
        lambda: Finish(GRADIENT, np.zeros(sums), add, None, kept, None, coefficients, 0.0),
        lambda: Finish(GRADIENT, np.zeros(sums), add, value, kept, other, coefficients, 0.1),
        lambda: result(0.1, add),
        lambda: result(0.0),
    ]


def sums_of(finish, out):
    """In float64, of what a finished output holds; and the sums of the magnitudes that were added."""
    pixels = out.reshape(-1, out.shape[3]).astype(np.float64)
    if finish.kind == RESULT:
        return np.zeros((2, 1, 1))
    if finish.kind == STATISTICS:
        mean = pixels.sum(0) / max(1, len(pixels))
        squares = (pixels - mean) ** 2
        sums, magnitudes = [mean, squares.sum(0)], [abs(pixels).mean(0) if len(pixels) else mean, squares.sum(0)]
        return np.stack(sums), np.stack(magnitudes)
    factors = [np.ones_like(pixels)] + [np.zeros_like(pixels)] * 2
    for i, kept in ((1, finish.a), (2, finish.b)):
        if kept is not None:
            center = finish.coefficients[0 if i == 1 else 3]
            factors[i] = kept.reshape(pixels.shape).astype(np.float64) - center
    return np.stack([(pixels * f).sum(0) for f in factors]), np.stack([abs(pixels * f).sum(0) for f in factors])
