"""ReLU and its kin, number by number. (A sigmoid in a loop would be `vectorised.sigmoid` with math for np.)"""

import numpy as np

from ..shapes import Array, Saved


def relu(x: Array) -> tuple[Array, Saved]:
    """y = max(0, x).    x of any shape  ->  y like x, saved."""
    y = x.copy()
    for p in np.ndindex(x.shape):
        if x[p] < 0:  # false for NaN, which stays
            y[p] = 0
    return y, (x,)


def relu_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy where x > 0, else 0.    dy like x  ->  dx like x."""
    (x,) = saved
    dx = dy.copy()
    for p in np.ndindex(x.shape):
        if x[p] <= 0:
            dx[p] = 0
    return dx


def prelu(x: Array, a: Array) -> tuple[Array, Saved]:
    """y[n,c] = x[n,c] where x > 0, else a[c] x[n,c].

    x (N, C, …), a (C,) or (1,) for all channels  ->  y like x, saved.
    """
    y = x.copy()
    for p in np.ndindex(x.shape):
        if not x[p] > 0:
            y[p] = x[p] * a[p[1] % len(a)]
    return y, (x, a)


def prelu_backward(dy: Array, saved: Saved) -> tuple[Array, Array]:
    """dx = dy where x > 0, else a dy;  da[c] += x dy where x <= 0.    dy like x  ->  dx like x, da like a."""
    x, a = saved
    dx, da = dy.copy(), np.zeros_like(a)
    for p in np.ndindex(x.shape):
        if not x[p] > 0:
            dx[p] = dy[p] * a[p[1] % len(a)]
            da[p[1] % len(a)] += dy[p] * x[p]
    return dx, da


def maxout(x: Array, pieces: int) -> tuple[Array, Saved]:
    """y[n,f] = max over p of x[n, f*pieces + p].

    x (N, C, …)  ->  y (N, C / pieces, …), saved.  Goodfellow et al. 2013.
    """
    N, C, *rest = x.shape
    if C % pieces:
        raise ValueError(f"maxout: {pieces} pieces do not divide {C} channels")
    y = np.zeros((N, C // pieces, *rest), x.dtype)
    winner = np.zeros(y.shape, int)
    for n, f, *place in np.ndindex(y.shape):
        best = f * pieces
        for c in range(f * pieces + 1, (f + 1) * pieces):
            here, there = x[(n, c, *place)], x[(n, best, *place)]
            if here > there or (np.isnan(here) and not np.isnan(there)):  # the first of equal maxima wins
                best = c
        y[(n, f, *place)] = x[(n, best, *place)]
        winner[(n, f, *place)] = best
    return y, (x.shape, winner)


def maxout_backward(dy: Array, saved: Saved) -> Array:
    """dy goes to the piece that won, the others get 0.    dy (N, C / pieces, …)  ->  dx (N, C, …)."""
    shape, winner = saved
    dx = np.zeros(shape, dy.dtype)
    for n, f, *place in np.ndindex(dy.shape):
        dx[(n, winner[(n, f, *place)], *place)] = dy[(n, f, *place)]
    return dx
