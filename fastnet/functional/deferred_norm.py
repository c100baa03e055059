"""Batch norm of images without a pass of its own: a Deferred forward, a Deferred gradient.

What normalization.batch_norm computes, with the statistics that the product before it left, or those of one reading pass.
"""

import numpy as np

from ..memory import Array
from .deferred import ROWS, Deferred, Into, Value, deliver, dtype_of, statistics_wanted, stored_as, stored_of
from .normalization import BatchNormSaved


def normalized(
    x: Value,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array,
    running_var: Array,
    *,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Deferred, BatchNormSaved] | None:
    """batch_norm(x) of images x (N, C, H, W), with its arguments; None where sums leave the range."""
    z = stored_of(x)
    channels = z.shape[3]
    if training:
        given = x.statistics if isinstance(x, Deferred) and x.plain else None
        if given is None:
            finish = statistics_wanted(channels)
            finish.apply(z)
            given = finish.sums
        mean, squares = given
        values = z.size // channels
        if not np.isfinite(squares).all():
            return None
        inverse = 1 / np.sqrt(squares / values + eps)
        running_mean[...] = (1 - momentum) * running_mean.astype(np.float64) + momentum * mean
        running_var[...] = (1 - momentum) * running_var.astype(np.float64) + momentum / (values - 1) * squares
    else:
        mean = running_mean.astype(np.float64)
        inverse = 1 / np.sqrt(running_var.astype(np.float64) + eps)
    scale = inverse if gamma is None else gamma * inverse
    coefficients = np.zeros((ROWS, channels), x.dtype)
    coefficients[0] = mean
    coefficients[1] = scale
    coefficients[2] = (coefficients[0] - mean) * scale + (0 if beta is None else beta)
    saved = BatchNormSaved(z.reshape(-1, channels), x.shape, gamma, beta is not None, mean, inverse, training)
    return Deferred(z, coefficients), saved


def normalized_back(dy: Value, saved: BatchNormSaved) -> tuple[Deferred, Array | None, Array | None]:
    """batch_norm_backward of the gradient of a Deferred's t: dx is Deferred, too.

    The sums over pixels came with dy, or cost one reading pass.
    """
    rows, (n, channels, h, w), gamma, beta, mean, inverse, training = saved
    z = rows.reshape(n, h, w, channels)
    dtype = dtype_of(z.dtype)
    center = mean.astype(dtype)
    if not (isinstance(dy, Deferred) and dy.summed):
        coefficients = np.zeros((ROWS, channels), dtype)
        coefficients[0] = center
        ours = isinstance(dy, Deferred) or dy.flags.writeable
        dy = deliver(dy, Into(Deferred(z, coefficients)), gated=True, fresh=ours)
    assert isinstance(dy, Deferred)
    assert dy.sums is not None
    total, dot = dy.sums[0], dy.sums[1]
    dot = (dot + (center - mean) * total) * inverse
    dgamma, dbeta = dot.astype(dtype), total.astype(dtype)
    scale = inverse if gamma is None else gamma * inverse
    values = n * h * w
    coefficients = np.zeros((ROWS, channels), dtype)
    coefficients[0] = center
    if training:
        slope = -scale * inverse * dot / values
        coefficients[1] = slope
        coefficients[2] = slope * (center - mean) - scale * total / values
    coefficients[4] = scale
    dx = Deferred(z, coefficients, dy.stored())
    return dx, None if gamma is None else dgamma, dbeta if beta else None


def widened(saved: BatchNormSaved) -> BatchNormSaved:
    """For batch_norm_backward, which knows arrays in their dtype alone."""
    n, channels, h, w = saved.shape
    images = saved.rows.reshape(n, h, w, channels)
    return saved._replace(rows=stored_as(images, dtype_of(images.dtype)).reshape(-1, channels))
