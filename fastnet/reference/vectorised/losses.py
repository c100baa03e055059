"""Losses: the mean over the batch as a Python float, and the gradient of dvalue times it.

Classification: scores (N, C), labels y (N,).  Regression and binary labels: scores and y of the same shape, and the
mean is over all numbers.
"""

import numpy as np

from ..shapes import Array, Saved


def softmax_cross_entropy(scores: Array, y: Array, *, label_smoothing: float = 0.0) -> tuple[float, Saved]:
    """value = mean over n of - sum over c of target[n,c] log softmax(scores[n])[c].

    scores (N, C), y (N,)  ->  value, saved.  target is 1 at the label; with label_smoothing e it is
    (1 - e) at the label plus e / C everywhere.  The largest score is subtracted first: no exponential overflows.
    """
    N, C = scores.shape
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    target = np.full((N, C), label_smoothing / C, scores.dtype)
    target[np.arange(N), y] += 1 - label_smoothing
    # where, because 0 * -inf would be NaN: a score of -inf costs nothing unless it is wanted
    value = -np.where(target > 0, target * log_p, 0).sum() / N
    return float(value), (log_p, target)


def softmax_cross_entropy_backward(dvalue: float, saved: Saved) -> Array:
    """dscores = dvalue (softmax(scores) - target) / N.    ->  (N, C)."""
    log_p, target = saved
    return (np.exp(log_p) - target) * (dvalue / len(target))


def multiclass_svm(scores: Array, y: Array, *, margin: float = 1.0) -> tuple[float, Saved]:
    """value = mean over n of the sum over c != y[n] of max(0, scores[n,c] - scores[n,y[n]] + margin).

    scores (N, C), y (N,)  ->  value, saved.  Weston & Watkins 1999.
    """
    rows = np.arange(len(y))
    margins = np.maximum(0, scores - scores[rows, y][:, None] + margin)
    margins[rows, y] = 0
    return float(margins.sum() / len(y)), (margins, y)


def multiclass_svm_backward(dvalue: float, saved: Saved) -> Array:
    """Every violated margin pulls its class down by 1/N and the right class up by 1/N.    ->  (N, C)."""
    margins, y = saved
    dscores = (margins > 0).astype(margins.dtype)
    dscores[np.arange(len(y)), y] = -dscores.sum(axis=1)
    return dscores * (dvalue / len(y))


def binary_cross_entropy_with_logits(scores: Array, y: Array) -> tuple[float, Saved]:
    """value = mean of - y log s(x) - (1 - y) log(1 - s(x)), s the sigmoid.

    scores and y (0 … 1) of the same shape  ->  value, saved.  Computed as max(x, 0) - x y + log(1 + exp(-|x|)).
    """
    y = y.astype(scores.dtype)
    value = (np.maximum(scores, 0) - scores * y + np.log1p(np.exp(-np.abs(scores)))).mean()
    return float(value), (scores, y)


def binary_cross_entropy_with_logits_backward(dvalue: float, saved: Saved) -> Array:
    """dscores = dvalue (s(scores) - y) / count."""
    scores, y = saved
    small = np.exp(-np.abs(scores))
    return (np.where(scores < 0, small, 1) / (1 + small) - y) * (dvalue / scores.size)


def mse(scores: Array, y: Array) -> tuple[float, Saved]:
    """value = mean of (scores - y)^2, over all numbers.    scores and y of the same shape  ->  value, saved."""
    difference = scores - y.astype(scores.dtype)
    return float((difference * difference).mean()), (difference,)


def mse_backward(dvalue: float, saved: Saved) -> Array:
    """dscores = dvalue 2 (scores - y) / count."""
    (difference,) = saved
    return difference * (2 * dvalue / difference.size)


def l1(scores: Array, y: Array) -> tuple[float, Saved]:
    """value = mean of |scores - y|, over all numbers.    scores and y of the same shape  ->  value, saved."""
    difference = scores - y.astype(scores.dtype)
    return float(np.abs(difference).mean()), (difference,)


def l1_backward(dvalue: float, saved: Saved) -> Array:
    """dscores = dvalue sign(scores - y) / count; 0 where they are equal."""
    (difference,) = saved
    return np.sign(difference) * (dvalue / difference.size)


def huber(scores: Array, y: Array, *, delta: float = 1.0) -> tuple[float, Saved]:
    """value = mean of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = scores - y.

    scores and y of the same shape  ->  value, saved.  Huber 1964: a parabola that goes on as its tangent.
    """
    difference = scores - y.astype(scores.dtype)
    size = np.abs(difference)
    value = np.where(size <= delta, difference * difference / 2, delta * (size - delta / 2)).mean()
    return float(value), (difference, delta)


def huber_backward(dvalue: float, saved: Saved) -> Array:
    """dscores = dvalue d / count, with d clipped to [-delta, delta]."""
    difference, delta = saved
    return np.clip(difference, -delta, delta) * (dvalue / difference.size)
