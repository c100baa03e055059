"""Normalisation, number by number. The three differ only in which numbers are taken together.

With m, v the mean and the biased variance of those numbers:  x^ = (x - m) / sqrt(v + eps),  y = gamma x^ + beta.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..shapes import Array, Saved

Places = list[tuple[int, ...]]
Gradients = tuple[Array, Array | None, Array | None]


def _mean_and_variance(x: Array, places: Places) -> tuple[float, float]:
    """m = sum of x / count and v = sum of (x - m)^2 / count, over these places of x."""
    mean = 0.0
    for p in places:
        mean += float(x[p]) / len(places)
    variance = 0.0
    for p in places:
        variance += (float(x[p]) - mean) ** 2 / len(places)
    return mean, variance


def _normalise(x: Array, together: Iterable[Places], eps: float) -> tuple[Array, Array]:
    """x^ and 1 / sqrt(v + eps), both like x: every list of places is normalised by itself."""
    hat, inverse = np.zeros_like(x), np.zeros_like(x)
    for places in together:
        mean, variance = _mean_and_variance(x, places)
        for p in places:
            inverse[p] = 1 / math.sqrt(variance + eps)
            hat[p] = (x[p] - mean) * inverse[p]
    return hat, inverse


def _normalise_backward(dhat: Array, hat: Array, inverse: Array, together: Iterable[Places]) -> Array:
    """dx = (dx^ - mean(dx^) - x^ mean(dx^ x^)) / sqrt(v + eps): x moves its mean and its variance too."""
    dx = np.zeros_like(dhat)
    for places in together:
        mean_dhat = mean_product = 0.0
        for p in places:
            mean_dhat += float(dhat[p]) / len(places)
            mean_product += float(dhat[p] * hat[p]) / len(places)
        for p in places:
            dx[p] = inverse[p] * (dhat[p] - mean_dhat - hat[p] * mean_product)
    return dx


def _scale_shift(hat: Array, gamma: Array | None, beta: Array | None, axes: slice) -> Array:
    """y[p] = gamma[q] x^[p] + beta[q], where q is the part of the place p that `axes` cuts out."""
    y = hat.copy()
    for p in np.ndindex(y.shape):
        y[p] = y[p] * (1 if gamma is None else gamma[p[axes]]) + (0 if beta is None else beta[p[axes]])
    return y


def _scale_shift_backward(dy: Array, hat: Array, gamma: Array | None, beta: Array | None, axes: slice) -> Gradients:
    """dx^[p] = gamma[q] dy[p],  dgamma[q] += dy[p] x^[p],  dbeta[q] += dy[p]."""
    dhat = dy.copy()
    dgamma = None if gamma is None else np.zeros_like(gamma)
    dbeta = None if beta is None else np.zeros_like(beta)
    for p in np.ndindex(dy.shape):
        q = p[axes]
        if gamma is not None and dgamma is not None:
            dhat[p] = dy[p] * gamma[q]
            dgamma[q] += dy[p] * hat[p]
        if dbeta is not None:
            dbeta[q] += dy[p]
    return dhat, dgamma, dbeta


CHANNEL = slice(1, 2)


def _channels(shape: tuple[int, ...]) -> list[Places]:
    """The places of each channel, over the batch and over positions."""
    return [[(n, c, *rest) for n in range(shape[0]) for rest in np.ndindex(shape[2:])] for c in range(shape[1])]


def batch_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Saved]:
    """y = gamma (x - m) / sqrt(v + eps) + beta, per channel over the batch (and over positions).

    x (N, C) or (N, C, H, W), all others (C,)  ->  y like x, saved.  Training: m and v are the batch's, and the running
    ones become (1 - momentum) old + momentum new, in place, where the new variance is unbiased (divided by count - 1).
    Evaluation: m and v are the running ones.  Ioffe & Szegedy 2015.
    """
    together = _channels(x.shape)
    if training:
        count = x.size // x.shape[1]
        if count < 2:
            raise ValueError(f"batch_norm: expected at least 2 values per channel in training, found shape {x.shape}")
        hat, inverse = _normalise(x, together, eps)
        for c, places in enumerate(together):
            mean, variance = _mean_and_variance(x, places)
            if running_mean is not None:
                running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean
            if running_var is not None:
                running_var[c] = (1 - momentum) * running_var[c] + momentum * variance * count / (count - 1)
    else:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: evaluation needs running_mean and running_var")
        hat, inverse = np.zeros_like(x), np.zeros_like(x)
        for c, places in enumerate(together):
            for p in places:
                inverse[p] = 1 / math.sqrt(running_var[c] + eps)
                hat[p] = (x[p] - running_mean[c]) * inverse[p]
    return _scale_shift(hat, gamma, beta, CHANNEL), (hat, inverse, gamma, beta, training)


def batch_norm_backward(dy: Array, saved: Saved) -> Gradients:
    """dy like x  ->  dx like x, dgamma (C,) or None, dbeta (C,) or None.  In evaluation m and v are constants."""
    hat, inverse, gamma, beta, training = saved
    dhat, dgamma, dbeta = _scale_shift_backward(dy, hat, gamma, beta, CHANNEL)
    if training:
        return _normalise_backward(dhat, hat, inverse, _channels(dy.shape)), dgamma, dbeta
    dx = np.zeros_like(dhat)
    for p in np.ndindex(dx.shape):
        dx[p] = dhat[p] * inverse[p]
    return dx, dgamma, dbeta


def _rows(shape: tuple[int, ...], normalized: int) -> list[Places]:
    """The places that share all but the last `normalized` axes."""
    cut = len(shape) - normalized
    return [[(*front, *back) for back in np.ndindex(shape[cut:])] for front in np.ndindex(shape[:cut])]


def layer_norm(
    x: Array,
    normalized_shape: int | Sequence[int],
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-5,
) -> tuple[Array, Saved]:
    """y = gamma (x - m) / sqrt(v + eps) + beta, with m and v over the last axes, those of normalized_shape.

    x (N, …, *normalized_shape), gamma and beta normalized_shape  ->  y like x, saved.  Ba, Kiros & Hinton 2016.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if x.shape[x.ndim - len(shape) :] != shape:
        raise ValueError(f"layer_norm: expected x to end in {shape}, found shape {x.shape}")
    hat, inverse = _normalise(x, _rows(x.shape, len(shape)), eps)
    return _scale_shift(hat, gamma, beta, slice(-len(shape), None)), (hat, inverse, gamma, beta, len(shape))


def layer_norm_backward(dy: Array, saved: Saved) -> Gradients:
    """dy like x  ->  dx like x, dgamma and dbeta normalized_shape or None."""
    hat, inverse, gamma, beta, normalized = saved
    dhat, dgamma, dbeta = _scale_shift_backward(dy, hat, gamma, beta, slice(-normalized, None))
    return _normalise_backward(dhat, hat, inverse, _rows(dy.shape, normalized)), dgamma, dbeta


def _groups(shape: tuple[int, ...], num_groups: int) -> list[Places]:
    """The places of each group of channels of each example."""
    size = shape[1] // num_groups
    return [
        [(n, c, *rest) for c in range(g * size, (g + 1) * size) for rest in np.ndindex(shape[2:])]
        for n in range(shape[0])
        for g in range(num_groups)
    ]


def group_norm(
    x: Array, num_groups: int, gamma: Array | None = None, beta: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, Saved]:
    """y = gamma (x - m) / sqrt(v + eps) + beta, with m and v over each example's groups of C / num_groups channels.

    x (N, C, …), gamma and beta (C,)  ->  y like x, saved.  Wu & He 2018.
    """
    if x.shape[1] % num_groups:
        raise ValueError(f"group_norm: {num_groups} groups do not divide {x.shape[1]} channels")
    hat, inverse = _normalise(x, _groups(x.shape, num_groups), eps)
    return _scale_shift(hat, gamma, beta, CHANNEL), (hat, inverse, gamma, beta, num_groups)


def group_norm_backward(dy: Array, saved: Saved) -> Gradients:
    """dy like x  ->  dx like x, dgamma (C,) or None, dbeta (C,) or None."""
    hat, inverse, gamma, beta, num_groups = saved
    dhat, dgamma, dbeta = _scale_shift_backward(dy, hat, gamma, beta, CHANNEL)
    return _normalise_backward(dhat, hat, inverse, _groups(dy.shape, num_groups)), dgamma, dbeta
