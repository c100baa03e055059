"""Normalisation: activations brought to mean 0 and variance 1, then scaled by gamma and shifted by beta, both learned.

Batch norm takes the statistics of each channel over the batch, layer norm those of each example, group norm those of each
group of channels of each example. All variances are biased; sums are accumulated in float64, about a shift, so that a mean
much larger than the deviation costs nothing.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .. import config, memory
from .._ext import norm as kernels
from ..memory import Array
from . import checks
from .elementwise import c_order, logical, same_order


class BatchNormSaved(NamedTuple):
    """The rows (N * H * W, C) of x, and the statistics that it was normalised with: mean and 1 / sqrt(var + eps) in float64."""

    rows: Array
    shape: tuple[int, ...]
    gamma: Array | None
    beta: bool
    mean: Array
    inverse: Array
    training: bool


class GroupNormSaved(NamedTuple):
    """x as (N, pixels, C), and mean and 1 / sqrt(var + eps), (N, groups), in float64."""

    rows: Array
    shape: tuple[int, ...]
    gamma: Array | None
    beta: bool
    mean: Array
    inverse: Array


class LayerNormSaved(NamedTuple):
    """x as (rows, size), in channels-last order if it is images; gamma (or ones) in the same order; which of gamma and beta
    were given."""

    rows: Array
    shape: tuple[int, ...]
    normalized_shape: tuple[int, ...]
    gamma: Array
    given: tuple[bool, bool]
    mean: Array
    inverse: Array
    channels_last: bool


def positive(op: str, value: Any, name: str, least: float = 0.0, most: float = math.inf) -> float:
    """A number from least to most, finite."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{op}: {name} must be a number, found {value!r}")
    if not (least <= value <= most and math.isfinite(value)):
        limit = f"from {least:g} to {most:g}" if math.isfinite(most) else f"finite and at least {least:g}"
        raise ValueError(f"{op}: {name} must be {limit}, found {value}")
    return float(value)


def _vector(op: str, p: Any, name: str, size: int, dtype: np.dtype[Any]) -> Array | None:
    return None if p is None else c_order(checks.parameter(op, p, name, (size,), dtype))


def _running(op: str, p: Any, name: str, size: int, dtype: np.dtype[Any], written: bool) -> Array:
    """A running statistic; one that is to be written must be so in place."""
    if isinstance(p, np.ndarray) and written and not (p.flags.writeable and p.flags.c_contiguous and p.dtype.isnative):
        raise ValueError(f"{op}: {name} is updated in place and must be contiguous, writable and native")
    return c_order(checks.parameter(op, p, name, (size,), dtype))


def _rows(x: Array) -> Array:
    """x (N, C) or (N, C, H, W) as (rows, C)."""
    return same_order(x, x.ndim == 4).reshape(-1, x.shape[1])


def _like(rows: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """A new array of this logical shape in the order of the rows: its memory in their shape, and its logical view."""
    y = memory.empty(rows.shape, rows.dtype)
    if len(shape) != 4:
        return y, y.reshape(shape)
    n, c, h, w = shape
    return y, logical(y.reshape(n, h, w, c), True)


def batch_norm(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    running_mean: Any = None,
    running_var: Any = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, BatchNormSaved]:
    """y = (x - mean[c]) / sqrt(var[c] + eps) * gamma[c] + beta[c], as torch.nn.functional.batch_norm.

    x (N, C) or (N, C, H, W); gamma, beta, running_mean, running_var (C,) or None.  In training, mean and biased variance
    are those of the batch, and running = (1 - momentum) * running + momentum * new, in place, the variance unbiased; else
    they are the running ones.  ValueError for one value per channel in training.  Ioffe & Szegedy 2015, algorithm 1.
    """
    op = "batch_norm"
    x = checks.floats(op, x)
    if x.ndim not in (2, 4):
        raise ValueError(f"{op}: x must have shape (N, C) or (N, C, H, W), found {x.shape}")
    channels = x.shape[1]
    gamma, beta = (_vector(op, p, name, channels, x.dtype) for p, name in ((gamma, "gamma"), (beta, "beta")))
    momentum = positive(op, momentum, "momentum", 0, 1)
    eps = positive(op, eps, "eps")
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{op}: running_mean and running_var must both be given, or neither")
    if running_mean is not None:
        running_mean = _running(op, running_mean, "running_mean", channels, x.dtype, training)
        running_var = _running(op, running_var, "running_var", channels, x.dtype, training)
    elif not training:
        raise ValueError(f"{op}: without training, running_mean and running_var are needed, found None")
    values = x.size // channels
    if training and values == 1:
        raise ValueError(f"{op}: training needs at least 2 values per channel, found 1 in x of shape {x.shape}")
    rows = _rows(x)
    y, result = _like(rows, x.shape)
    mean, inverse = np.zeros(channels), np.zeros(channels)
    threads = config.get_num_threads()
    if training and values:
        kernels.batch_norm(rows, y, gamma, beta, running_mean, running_var, momentum, eps, mean, inverse, threads)
    elif not training:
        np.copyto(mean, running_mean)
        inverse = 1 / np.sqrt(running_var.astype(np.float64) + eps)
        if values:
            kernels.batch_norm_eval(rows, y, gamma, beta, mean, inverse, threads)
    return result, BatchNormSaved(rows, x.shape, gamma, beta is not None, mean, inverse, bool(training))


def batch_norm_backward(dy: Any, saved: BatchNormSaved) -> tuple[Array, Array | None, Array | None]:
    """With xhat = (x - mean) / sqrt(var + eps): dx = gamma / sqrt(var + eps) * (dy - mean of dy - xhat * mean of dy * xhat);

    without training only the first term.  dgamma = sum of dy * xhat, dbeta = sum of dy, over all but the channels; None
    without gamma, beta.
    """
    rows, shape, gamma, beta, mean, inverse, training = saved
    dy = _rows(checks.gradient("batch_norm_backward", dy, shape, rows.dtype))
    dx, result = _like(rows, shape)
    dgamma, dbeta = np.zeros(shape[1], rows.dtype), np.zeros(shape[1], rows.dtype)
    if rows.size:
        threads = config.get_num_threads()
        kernels.batch_norm_backward(rows, dy, dx, gamma, mean, inverse, dgamma, dbeta, training, threads)
    return result, None if gamma is None else dgamma, dbeta if beta else None


def group_norm(
    x: Any, num_groups: int, gamma: Any = None, beta: Any = None, *, eps: float = 1e-5
) -> tuple[Array, GroupNormSaved]:
    """y = (x - mean[n,g]) / sqrt(var[n,g] + eps) * gamma[c] + beta[c], g the group of C / num_groups channels that c is in.

    x (N, C) or (N, C, H, W), gamma and beta (C,) or None.  ValueError if num_groups does not divide C.  Wu & He 2018.
    """
    op = "group_norm"
    x = checks.floats(op, x)
    if x.ndim not in (2, 4):
        raise ValueError(f"{op}: x must have shape (N, C) or (N, C, H, W), found {x.shape}")
    groups = checks.integer(op, num_groups, "num_groups", 1)
    n, channels = x.shape[:2]
    if channels % groups:
        raise ValueError(f"{op}: num_groups {groups} does not divide the {channels} channels of x of shape {x.shape}")
    gamma, beta = (_vector(op, p, name, channels, x.dtype) for p, name in ((gamma, "gamma"), (beta, "beta")))
    eps = positive(op, eps, "eps")
    rows = _rows(x)
    y, result = _like(rows, x.shape)
    mean, inverse = np.zeros((n, groups)), np.zeros((n, groups))
    rows = rows.reshape(n, rows.size // max(n * channels, 1), channels)
    if n:
        kernels.group_norm(rows, y.reshape(rows.shape), gamma, beta, eps, mean, inverse, config.get_num_threads())
    return result, GroupNormSaved(rows, x.shape, gamma, beta is not None, mean, inverse)


def group_norm_backward(dy: Any, saved: GroupNormSaved) -> tuple[Array, Array | None, Array | None]:
    """With g = dy * gamma: dx = (g - mean of g - xhat * mean of g * xhat) / sqrt(var + eps), the means over the group;

    dgamma = sum of dy * xhat, dbeta = sum of dy, over all but the channels; None without gamma, beta.
    """
    rows, shape, gamma, beta, mean, inverse = saved
    dy = _rows(checks.gradient("group_norm_backward", dy, shape, rows.dtype)).reshape(rows.shape)
    dx, result = _like(rows.reshape(-1, shape[1]), shape)
    parts = np.zeros((2, *shape[:2]))
    if shape[0]:
        kernels.group_norm_backward(
            rows, dy, dx.reshape(rows.shape), gamma, mean, inverse, parts[0], parts[1], config.get_num_threads()
        )
    dgamma, dbeta = parts.sum(axis=1).astype(rows.dtype)
    return result, None if gamma is None else dgamma, dbeta if beta else None


def _shape(op: str, normalized_shape: Any, x: Array) -> tuple[int, ...]:
    """normalized_shape as a tuple, which must be the last dimensions of x."""
    given = normalized_shape if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
    shape = tuple(checks.integer(op, size, "normalized_shape", 1) for size in given)
    if not shape or x.shape[-len(shape) :] != shape or len(shape) >= x.ndim:
        raise ValueError(f"{op}: x must have shape (N, …, {', '.join(map(str, shape))}), found {x.shape}")
    return shape


def _weights(
    op: str, p: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], images: bool, default: int
) -> Array:
    """gamma or beta of this shape, flat in the order of the memory."""
    if p is None:
        return np.full(int(np.prod(shape)), default, dtype)
    p = checks.parameter(op, p, name, shape, dtype)
    return np.ascontiguousarray(p.transpose(1, 2, 0) if images else p).reshape(-1)


def layer_norm(
    x: Any, normalized_shape: Any, gamma: Any = None, beta: Any = None, *, eps: float = 1e-5
) -> tuple[Array, LayerNormSaved]:
    """y = (x - mean) / sqrt(var + eps) * gamma + beta, mean and variance over the last dimensions, `normalized_shape`.

    x (N, …, *normalized_shape), gamma and beta of normalized_shape or None.  Ba, Kiros & Hinton 2016.
    """
    op = "layer_norm"
    x = checks.floats(op, x)
    shape = _shape(op, normalized_shape, x)
    images = x.ndim == 4 and len(shape) == 3
    weight = _weights(op, gamma, "gamma", shape, x.dtype, images, 1)
    bias = _weights(op, beta, "beta", shape, x.dtype, images, 0)
    eps = positive(op, eps, "eps")
    rows = same_order(x, images).reshape(-1 if x.size else 0, weight.size)
    y = memory.empty(rows.shape, rows.dtype)
    mean, inverse = np.zeros(len(rows)), np.zeros(len(rows))
    if rows.size:
        kernels.layer_norm(rows, y, weight, bias, eps, mean, inverse, config.get_num_threads())
    return _unflatten(y, x.shape, images), LayerNormSaved(
        rows, x.shape, shape, weight, (gamma is not None, beta is not None), mean, inverse, images
    )


def layer_norm_backward(dy: Any, saved: LayerNormSaved) -> tuple[Array, Array | None, Array | None]:
    """With g = dy * gamma: dx = (g - mean of g - xhat * mean of g * xhat) / sqrt(var + eps), the means over the example;

    dgamma = sum of dy * xhat, dbeta = sum of dy, over the examples; None without gamma, beta.
    """
    rows, shape, normalized_shape, gamma, given, mean, inverse, images = saved
    dy = same_order(checks.gradient("layer_norm_backward", dy, shape, rows.dtype), images).reshape(rows.shape)
    dx = memory.empty(rows.shape, rows.dtype)
    # Parts of the sums over examples: by shape, so that they are the same for any thread count.
    chunks = max(1, min(32, len(rows), rows.size // 4096))
    parts = np.zeros((2, chunks, gamma.size))
    if rows.size:
        kernels.layer_norm_backward(rows, dy, dx, gamma, mean, inverse, parts[0], parts[1], config.get_num_threads())
    sums = parts.sum(axis=1).astype(rows.dtype)
    dgamma, dbeta = (_shaped(p, normalized_shape, images) if wanted else None for p, wanted in zip(sums, given))
    return _unflatten(dx, shape, images), dgamma, dbeta


def _shaped(p: Array, shape: tuple[int, ...], images: bool) -> Array:
    """A weight that is flat in the order of the memory, in its own shape."""
    if not images:
        return p.reshape(shape)
    c, h, w = shape
    return np.ascontiguousarray(p.reshape(h, w, c).transpose(2, 0, 1))


def _unflatten(y: Array, shape: tuple[int, ...], images: bool) -> Array:
    if not images:
        return y.reshape(shape)
    n, c, h, w = shape
    return logical(y.reshape(n, h, w, c), True)
