"""Normalisation over the batch, over a layer, over groups of channels: one formula, three choices of axes.

With m, v the mean and the biased variance over the axes:  x^ = (x - m) / sqrt(v + eps),  y = gamma x^ + beta.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..shapes import Array, Saved

Axes = tuple[int, ...]
Gradients = tuple[Array, Array | None, Array | None]


def _normalise(x: Array, axes: Axes, eps: float) -> tuple[Array, Array]:
    """x^ and 1 / sqrt(v + eps), the latter with axes of length 1."""
    inverse = 1 / np.sqrt(x.var(axes, keepdims=True) + x.dtype.type(eps))
    return (x - x.mean(axes, keepdims=True)) * inverse, inverse


def _normalise_backward(dhat: Array, hat: Array, inverse: Array, axes: Axes) -> Array:
    """dx = (dx^ - mean(dx^) - x^ mean(dx^ x^)) / sqrt(v + eps): x moves its mean and its variance too."""
    return inverse * (dhat - dhat.mean(axes, keepdims=True) - hat * (dhat * hat).mean(axes, keepdims=True))


def _scale_shift(hat: Array, gamma: Array | None, beta: Array | None, shape: Sequence[int]) -> Array:
    """gamma x^ + beta, with gamma and beta brought to this shape first."""
    y = hat if gamma is None else hat * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def _scale_shift_backward(
    dy: Array, hat: Array, gamma: Array | None, beta: Array | None, shape: Sequence[int], axes: Axes
) -> Gradients:
    """dx^ = gamma dy,  dgamma = sum of dy x^,  dbeta = sum of dy: over all axes along which one gamma serves."""
    dhat = dy if gamma is None else dy * gamma.reshape(shape)
    dgamma = None if gamma is None else (dy * hat).sum(axes).reshape(gamma.shape)
    dbeta = None if beta is None else dy.sum(axes).reshape(beta.shape)
    return dhat, dgamma, dbeta


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
    axes: Axes = (0,) if x.ndim == 2 else (0, 2, 3)
    shape = (1, -1, 1, 1)[: x.ndim]  # how a (C,) vector lies along x
    if training:
        count = x.size // x.shape[1]
        if count < 2:
            raise ValueError(f"batch_norm: expected at least 2 values per channel in training, found shape {x.shape}")
        hat, inverse = _normalise(x, axes, eps)
        if running_mean is not None:
            running_mean[...] = (1 - momentum) * running_mean + momentum * x.mean(axes)
        if running_var is not None:
            running_var[...] = (1 - momentum) * running_var + momentum * x.var(axes, ddof=1)
    else:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: evaluation needs running_mean and running_var")
        inverse = 1 / np.sqrt(running_var + x.dtype.type(eps)).reshape(shape)
        hat = (x - running_mean.reshape(shape)) * inverse
    return _scale_shift(hat, gamma, beta, shape), (hat, inverse, gamma, beta, shape, axes, training)


def batch_norm_backward(dy: Array, saved: Saved) -> Gradients:
    """dy like x  ->  dx like x, dgamma (C,) or None, dbeta (C,) or None.  In evaluation m and v are constants."""
    hat, inverse, gamma, beta, shape, axes, training = saved
    dhat, dgamma, dbeta = _scale_shift_backward(dy, hat, gamma, beta, shape, axes)
    return _normalise_backward(dhat, hat, inverse, axes) if training else dhat * inverse, dgamma, dbeta


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
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    hat, inverse = _normalise(x, axes, eps)
    return _scale_shift(hat, gamma, beta, shape), (hat, inverse, gamma, beta, shape, axes)


def layer_norm_backward(dy: Array, saved: Saved) -> Gradients:
    """dy like x  ->  dx like x, dgamma and dbeta normalized_shape or None."""
    hat, inverse, gamma, beta, shape, axes = saved
    dhat, dgamma, dbeta = _scale_shift_backward(dy, hat, gamma, beta, shape, tuple(range(axes[0])))
    return _normalise_backward(dhat, hat, inverse, axes), dgamma, dbeta


def group_norm(
    x: Array, num_groups: int, gamma: Array | None = None, beta: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, Saved]:
    """y = gamma (x - m) / sqrt(v + eps) + beta, with m and v over each example's groups of C / num_groups channels.

    x (N, C, …), gamma and beta (C,)  ->  y like x, saved.  Wu & He 2018.
    """
    C = x.shape[1]
    if C % num_groups:
        raise ValueError(f"group_norm: {num_groups} groups do not divide {C} channels")
    grouped = x.reshape(len(x), num_groups, math.prod(x.shape[1:]) // num_groups)
    hat, inverse = _normalise(grouped, (2,), eps)
    hat = hat.reshape(x.shape)
    shape = (C, *(1,) * (x.ndim - 2))
    return _scale_shift(hat, gamma, beta, shape), (hat, inverse, gamma, beta, shape, num_groups)


def group_norm_backward(dy: Array, saved: Saved) -> Gradients:
    """dy like x  ->  dx like x, dgamma (C,) or None, dbeta (C,) or None."""
    hat, inverse, gamma, beta, shape, num_groups = saved
    dhat, dgamma, dbeta = _scale_shift_backward(dy, hat, gamma, beta, shape, (0, *range(2, dy.ndim)))
    grouped = len(dy), num_groups, math.prod(dy.shape[1:]) // num_groups
    dx = _normalise_backward(dhat.reshape(grouped), hat.reshape(grouped), inverse, (2,))
    return dx.reshape(dy.shape), dgamma, dbeta
