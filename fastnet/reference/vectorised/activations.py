"""Activations: one number in, one number out; only maxout chooses among channels.

All take x of any shape and give y like x, saved; backward takes dy like y and gives dx like x. NaN stays NaN.
"""

import math

import numpy as np

from ..shapes import Array, Saved


def relu(x: Array) -> tuple[Array, Saved]:
    """y = max(0, x).  Nair & Hinton 2010."""
    return np.maximum(x, 0), (x,)


def relu_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy where x > 0, else 0."""
    (x,) = saved
    return np.where(x <= 0, 0, dy)


def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> tuple[Array, Saved]:
    """y = x where x > 0, else negative_slope x.  Maas, Hannun & Ng 2013."""
    return np.where(x > 0, x, x * negative_slope), (x, negative_slope)


def leaky_relu_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy where x > 0, else negative_slope dy."""
    x, negative_slope = saved
    return np.where(x > 0, dy, dy * negative_slope)


def elu(x: Array, *, alpha: float = 1.0) -> tuple[Array, Saved]:
    """y = x where x > 0, else alpha (exp(x) - 1).  Clevert, Unterthiner & Hochreiter 2016."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), (x, alpha)


def elu_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy where x > 0, else alpha exp(x) dy."""
    x, alpha = saved
    return np.where(x > 0, dy, dy * alpha * np.exp(np.minimum(x, 0)))


def _logistic(x: Array) -> Array:
    """1 / (1 + exp(-x)), with the exponential of a negative number only, which cannot overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def sigmoid(x: Array) -> tuple[Array, Saved]:
    """y = 1 / (1 + exp(-x))."""
    y = _logistic(x)
    return y, (y,)


def sigmoid_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy y (1 - y)."""
    (y,) = saved
    return dy * y * (1 - y)


def tanh(x: Array) -> tuple[Array, Saved]:
    """y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    y = np.tanh(x)
    return y, (y,)


def tanh_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy (1 - y^2)."""
    (y,) = saved
    return dy * (1 - y * y)


def maxout(x: Array, pieces: int) -> tuple[Array, Saved]:
    """y[n,f] = max over p of x[n, f*pieces + p].    x (N, C, …)  ->  y (N, C / pieces, …).  Goodfellow et al. 2013."""
    N, C, *rest = x.shape
    if C % pieces:
        raise ValueError(f"maxout: {pieces} pieces do not divide {C} channels")
    grouped = x.reshape(N, C // pieces, pieces, *rest)
    winner = grouped.argmax(axis=2)[:, :, None]  # the first of equal maxima
    return np.take_along_axis(grouped, winner, 2)[:, :, 0], (x.shape, grouped.shape, winner)


def maxout_backward(dy: Array, saved: Saved) -> Array:
    """dy goes to the piece that won, the others get 0.    dy (N, C / pieces, …)  ->  dx (N, C, …)."""
    shape, grouped, winner = saved
    dx = np.zeros(grouped, dy.dtype)
    np.put_along_axis(dx, winner, dy[:, :, None], 2)
    return dx.reshape(shape)


def prelu(x: Array, a: Array) -> tuple[Array, Saved]:
    """y = x where x > 0, else a x.    x (N, C, …), a (C,) or (1,) for all channels.  He et al. 2015."""
    slope = a.reshape(-1, *(1,) * (x.ndim - 2))
    return np.where(x > 0, x, slope * x), (x, slope)


def prelu_backward(dy: Array, saved: Saved) -> tuple[Array, Array]:
    """dx = dy where x > 0, else a dy;  da = sum of x dy over all places with x <= 0.    ->  dx like x, da like a."""
    x, slope = saved
    dslope = np.where(x > 0, 0, x * dy)
    da = dslope.sum(axis=(0, *range(2, x.ndim))) if slope.size > 1 else dslope.sum().reshape(1)
    return np.where(x > 0, dy, slope * dy), da


def _normal_below(x: Array) -> Array:
    """Phi(x), the probability that a standard normal number is below x: (1 + erf(x / sqrt 2)) / 2."""
    erf = np.array([math.erf(v / math.sqrt(2)) for v in x.ravel().tolist()], x.dtype)
    return (1 + erf.reshape(x.shape)) / 2


def gelu(x: Array) -> tuple[Array, Saved]:
    """y = x Phi(x), Phi the normal distribution (the exact form, by erf).  Hendrycks & Gimpel 2016."""
    below = _normal_below(x)
    return x * below, (x, below)


def gelu_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy (Phi(x) + x phi(x)), phi(x) = exp(-x^2 / 2) / sqrt(2 pi)."""
    x, below = saved
    return dy * (below + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def silu(x: Array) -> tuple[Array, Saved]:
    """y = x s(x), s the sigmoid.  Elfwing, Uchibe & Doya 2018."""
    s = _logistic(x)
    return x * s, (x, s)


def silu_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy s (1 + x (1 - s))."""
    x, s = saved
    return dy * s * (1 + x * (1 - s))


def softplus(x: Array) -> tuple[Array, Saved]:
    """y = log(1 + exp(x)); above 20 y = x, as in PyTorch (the difference is below 3e-9)."""
    return np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20)))), (x,)


def softplus_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy s(x), s the sigmoid; above 20 dx = dy."""
    (x,) = saved
    return np.where(x > 20, dy, dy * _logistic(x))
