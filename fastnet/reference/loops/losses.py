"""Losses, example by example: the mean over the batch as a Python float, and the gradient of dvalue times it."""

import math

import numpy as np

from ..shapes import Array, Saved


def softmax_cross_entropy(scores: Array, y: Array, *, label_smoothing: float = 0.0) -> tuple[float, Saved]:
    """value = mean over n of - sum over c of target[n,c] log softmax(scores[n])[c].

    scores (N, C), y (N,)  ->  value, saved.  target is 1 at the label; with label_smoothing e it is
    (1 - e) at the label plus e / C everywhere.  The largest score is subtracted first: no exponential overflows.
    """
    N, C = scores.shape
    p = np.zeros((N, C), scores.dtype)
    target = np.zeros((N, C), scores.dtype)
    value = 0.0
    for n in range(N):
        largest = max(scores[n])
        total = 0.0
        for c in range(C):
            total += math.exp(scores[n, c] - largest)
        for c in range(C):
            log_p = scores[n, c] - largest - math.log(total)
            p[n, c] = math.exp(log_p)
            target[n, c] = label_smoothing / C + (1 - label_smoothing if c == y[n] else 0)
            if target[n, c] > 0:  # 0 * -inf would be NaN
                value -= float(target[n, c] * log_p) / N
    return value, (p, target)


def softmax_cross_entropy_backward(dvalue: float, saved: Saved) -> Array:
    """dscores[n,c] = dvalue (softmax(scores[n])[c] - target[n,c]) / N.    ->  (N, C)."""
    p, target = saved
    dscores = np.zeros_like(p)
    for n, c in np.ndindex(p.shape):
        dscores[n, c] = dvalue * (p[n, c] - target[n, c]) / len(p)
    return dscores


def multiclass_svm(scores: Array, y: Array, *, margin: float = 1.0) -> tuple[float, Saved]:
    """value = mean over n of the sum over c != y[n] of max(0, scores[n,c] - scores[n,y[n]] + margin).

    scores (N, C), y (N,)  ->  value, saved.  Weston & Watkins 1999.
    """
    N, C = scores.shape
    value = 0.0
    for n in range(N):
        for c in range(C):
            if c != y[n]:
                value += max(0.0, float(scores[n, c] - scores[n, y[n]]) + margin) / N
    return value, (scores, y, margin)


def multiclass_svm_backward(dvalue: float, saved: Saved) -> Array:
    """Every violated margin pulls its class down by 1/N and the right class up by 1/N.    ->  (N, C)."""
    scores, y, margin = saved
    N, C = scores.shape
    dscores = np.zeros_like(scores)
    for n in range(N):
        for c in range(C):
            if c != y[n] and float(scores[n, c] - scores[n, y[n]]) + margin > 0:
                dscores[n, c] += dvalue / N
                dscores[n, y[n]] -= dvalue / N
    return dscores


def binary_cross_entropy_with_logits(scores: Array, y: Array) -> tuple[float, Saved]:
    """value = mean of - y log s(x) - (1 - y) log(1 - s(x)), s the sigmoid.

    scores and y (0 … 1) of the same shape  ->  value, saved.  Computed as max(x, 0) - x y + log(1 + exp(-|x|)).
    """
    value = 0.0
    for p in np.ndindex(scores.shape):
        x = float(scores[p])
        value += (max(x, 0.0) - x * float(y[p]) + math.log1p(math.exp(-abs(x)))) / scores.size
    return value, (scores, y)


def binary_cross_entropy_with_logits_backward(dvalue: float, saved: Saved) -> Array:
    """dscores = dvalue (s(scores) - y) / count."""
    scores, y = saved
    dscores = np.zeros_like(scores)
    for p in np.ndindex(scores.shape):
        small = math.exp(-abs(scores[p]))
        sigmoid = (small if scores[p] < 0 else 1) / (1 + small)
        dscores[p] = dvalue * (sigmoid - y[p]) / scores.size
    return dscores


def mse(scores: Array, y: Array) -> tuple[float, Saved]:
    """value = mean of (scores - y)^2, over all numbers.    scores and y of the same shape  ->  value, saved."""
    value = 0.0
    for p in np.ndindex(scores.shape):
        value += float(scores[p] - y[p]) ** 2 / scores.size
    return value, (scores, y)


def mse_backward(dvalue: float, saved: Saved) -> Array:
    """dscores = dvalue 2 (scores - y) / count."""
    scores, y = saved
    dscores = np.zeros_like(scores)
    for p in np.ndindex(scores.shape):
        dscores[p] = dvalue * 2 * (scores[p] - y[p]) / scores.size
    return dscores


def l1(scores: Array, y: Array) -> tuple[float, Saved]:
    """value = mean of |scores - y|, over all numbers.    scores and y of the same shape  ->  value, saved."""
    value = 0.0
    for p in np.ndindex(scores.shape):
        value += abs(float(scores[p] - y[p])) / scores.size
    return value, (scores, y)


def l1_backward(dvalue: float, saved: Saved) -> Array:
    """dscores = dvalue sign(scores - y) / count; 0 where they are equal."""
    scores, y = saved
    dscores = np.zeros_like(scores)
    for p in np.ndindex(scores.shape):
        if scores[p] > y[p]:
            dscores[p] = dvalue / scores.size
        elif scores[p] < y[p]:
            dscores[p] = -dvalue / scores.size
    return dscores


def huber(scores: Array, y: Array, *, delta: float = 1.0) -> tuple[float, Saved]:
    """value = mean of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = scores - y.

    scores and y of the same shape  ->  value, saved.  Huber 1964: a parabola that goes on as its tangent.
    """
    value = 0.0
    for p in np.ndindex(scores.shape):
        d = abs(float(scores[p] - y[p]))
        value += (d * d / 2 if d <= delta else delta * (d - delta / 2)) / scores.size
    return value, (scores, y, delta)


def huber_backward(dvalue: float, saved: Saved) -> Array:
    """dscores = dvalue d / count, with d clipped to [-delta, delta]."""
    scores, y, delta = saved
    dscores = np.zeros_like(scores)
    for p in np.ndindex(scores.shape):
        dscores[p] = dvalue * min(max(scores[p] - y[p], -delta), delta) / scores.size
    return dscores
