"""Losses: the mean over the batch as a Python float, and dvalue times its gradient.

Scores are small (N x classes), so this is NumPy; values are summed in float64 whatever the scores are.
"""

from typing import Any, NamedTuple

import numpy as np

from ..memory import Array
from . import checks


class SoftmaxSaved(NamedTuple):
    """log softmax (N, C), the labels, the smoothing."""

    log_p: Array
    y: Array
    label_smoothing: float


class SvmSaved(NamedTuple):
    """Which margins are violated (N, C), the labels, the dtype."""

    violated: Array
    y: Array
    dtype: np.dtype[Any]


class SigmoidSaved(NamedTuple):
    """The scores and their targets, of one shape."""

    scores: Array
    y: Array


class DifferenceSaved(NamedTuple):
    """scores - y, and Huber's delta (0 for the other losses)."""

    difference: Array
    delta: float


def _classification(op: str, scores: Any, y: Any) -> tuple[Array, Array]:
    """Scores (N, C) and labels (N,); ValueError for an empty batch or a bad label, named by its row."""
    scores = checks.floats(op, scores, 2, "scores")
    _not_empty(op, scores)
    return scores, checks.labels(op, y, *scores.shape)


def _not_empty(op: str, scores: Array) -> None:
    if not scores.size:
        raise ValueError(f"{op}: the batch is empty: scores have shape {scores.shape}, and there is no mean of nothing")


def _regression(op: str, scores: Any, y: Any) -> tuple[Array, Array]:
    """Scores and targets of one shape (no broadcasting), the targets in the dtype of the scores."""
    scores = checks.floats(op, scores, name="scores")
    _not_empty(op, scores)
    y = np.asarray(y)
    if y.dtype.kind not in "fiub":
        raise TypeError(f"{op}: y must hold numbers, found {y.dtype}")
    if y.shape != scores.shape:
        raise ValueError(f"{op}: y must have the shape of the scores {scores.shape}, found {y.shape}")
    return scores, y.astype(scores.dtype, copy=False)


def _mean(terms: Array, count: int) -> float:
    return float(terms.sum(dtype=np.float64)) / count


def softmax_cross_entropy(scores: Array, y: Array, *, label_smoothing: float = 0.0) -> tuple[float, SoftmaxSaved]:
    """value = mean over n of - sum over c of target[n,c] * log softmax(scores[n])[c].

    scores (N, C), labels y (N,)  ->  value, saved.  The target is 1 at the label; with label_smoothing e it is
    1 - e at the label plus e / C everywhere (Szegedy et al. 2016, section 7).  The largest score is subtracted first, so no
    exponential overflows.  ValueError for an empty batch, a label outside 0 … C - 1, e outside [0, 1].
    """
    e = checks.number("softmax_cross_entropy", label_smoothing, "label_smoothing", 0, 1)
    scores, y = _classification("softmax_cross_entropy", scores, y)
    with np.errstate(invalid="ignore", divide="ignore"):  # Inf - Inf is NaN here as it is in the loss
        log_p = scores - scores.max(axis=1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
        value = -_mean(log_p[np.arange(len(y)), y], len(y)) if e < 1 else 0.0
        if e:  # kept apart, because 0 * -Inf would be NaN
            value = (1 - e) * value - e * _mean(log_p, log_p.size)
    return value, SoftmaxSaved(log_p, y, e)


def softmax_cross_entropy_backward(dvalue: float, saved: SoftmaxSaved) -> Array:
    """dscores = dvalue * (softmax(scores) - target) / N.    ->  (N, C)."""
    log_p, y, e = saved
    dvalue = checks.number("softmax_cross_entropy_backward", dvalue, "dvalue")
    n, c = log_p.shape
    dscores: Array = np.exp(log_p)
    if e:
        dscores -= e / c
    dscores[np.arange(n), y] -= 1 - e
    dscores *= dvalue / n
    return dscores


def multiclass_svm(scores: Array, y: Array, *, margin: float = 1.0) -> tuple[float, SvmSaved]:
    """value = mean over n of the sum over c != y[n] of max(0, scores[n,c] - scores[n,y[n]] + margin).

    scores (N, C), labels y (N,)  ->  value, saved.  Weston & Watkins 1999; the course's SVM loss, which is PyTorch's
    multi-margin loss times the number of classes.  ValueError for an empty batch or a label outside 0 … C - 1.
    """
    margin = checks.number("multiclass_svm", margin, "margin")
    scores, y = _classification("multiclass_svm", scores, y)
    rows = np.arange(len(y))
    with np.errstate(invalid="ignore"):
        margins = np.maximum(scores - scores[rows, y][:, None] + scores.dtype.type(margin), 0)
        margins[rows, y] = 0
        return _mean(margins, len(y)), SvmSaved(margins > 0, y, scores.dtype)


def multiclass_svm_backward(dvalue: float, saved: SvmSaved) -> Array:
    """Each violated margin pulls its class down by dvalue / N and the right class up by as much.    ->  (N, C)."""
    violated, y, dtype = saved
    dvalue = checks.number("multiclass_svm_backward", dvalue, "dvalue")
    dscores = violated.astype(dtype)
    dscores[np.arange(len(y)), y] = -violated.sum(axis=1)
    dscores *= dvalue / len(y)
    return dscores


def binary_cross_entropy_with_logits(scores: Array, y: Array) -> tuple[float, SigmoidSaved]:
    """value = mean of - y log s(x) - (1 - y) log(1 - s(x)) over all scores x, with s the sigmoid.

    scores and y of one shape, y in [0, 1]  ->  value, saved.  Computed as |x| times the target's share of the other side,
    plus log(1 + exp(-|x|)): nothing overflows and nothing cancels.  ValueError for an empty batch, another shape of y, or a
    y outside [0, 1].
    """
    scores, y = _regression("binary_cross_entropy_with_logits", scores, y)
    good = (y >= 0) & (y <= 1)
    if not good.all():
        place = np.unravel_index(int(np.argmin(good)), y.shape)
        raise ValueError(
            f"binary_cross_entropy_with_logits: y must be in [0, 1], found {y[place]} at {tuple(map(int, place))}"
        )
    with np.errstate(invalid="ignore"):  # Inf * 0 is NaN here as in PyTorch
        size = np.abs(scores)
        terms = np.where(scores < 0, y, 1 - y) * size + np.log1p(np.exp(-size))
    return _mean(terms, scores.size), SigmoidSaved(scores, y)


def binary_cross_entropy_with_logits_backward(dvalue: float, saved: SigmoidSaved) -> Array:
    """dscores = dvalue * (s(scores) - y) / count, with s(x) from exp(-|x|) <= 1.    ->  the shape of the scores."""
    scores, y = saved
    dvalue = checks.number("binary_cross_entropy_with_logits_backward", dvalue, "dvalue")
    small = np.exp(-np.abs(scores))
    dscores: Array = np.where(scores < 0, small, scores.dtype.type(1)) / (1 + small)
    dscores -= y
    dscores *= dvalue / scores.size
    return dscores


def _difference(op: str, scores: Any, y: Any) -> Array:
    scores, y = _regression(op, scores, y)
    with np.errstate(invalid="ignore"):
        return np.asarray(scores - y)


def mse(scores: Array, y: Array) -> tuple[float, DifferenceSaved]:
    """value = mean of (scores - y)^2, over all numbers.    scores and y of one shape  ->  value, saved."""
    d = _difference("mse", scores, y)
    with np.errstate(over="ignore"):
        return _mean(d * d, d.size), DifferenceSaved(d, 0.0)


def mse_backward(dvalue: float, saved: DifferenceSaved) -> Array:
    """dscores = dvalue * 2 (scores - y) / count."""
    d = saved.difference
    return np.asarray(d * d.dtype.type(2 * checks.number("mse_backward", dvalue, "dvalue") / d.size))


def l1(scores: Array, y: Array) -> tuple[float, DifferenceSaved]:
    """value = mean of |scores - y|, over all numbers.    scores and y of one shape  ->  value, saved."""
    d = _difference("l1", scores, y)
    return _mean(np.abs(d), d.size), DifferenceSaved(d, 0.0)


def l1_backward(dvalue: float, saved: DifferenceSaved) -> Array:
    """dscores = dvalue * sign(scores - y) / count; 0 where they are equal."""
    d = saved.difference
    return np.asarray(np.sign(d) * d.dtype.type(checks.number("l1_backward", dvalue, "dvalue") / d.size))


def huber(scores: Array, y: Array, *, delta: float = 1.0) -> tuple[float, DifferenceSaved]:
    """value = mean of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = scores - y.

    scores and y of one shape  ->  value, saved.  ValueError unless delta > 0.  Huber 1964: a parabola that goes on as its
    tangent.
    """
    delta = delta_of("huber", delta)
    d = _difference("huber", scores, y)
    size = np.abs(d)
    # d^2 / 2 inside, delta |d| - delta^2 / 2 outside, without an overflow.
    inner = np.minimum(size, d.dtype.type(delta))
    return _mean(inner * (size - inner / 2), d.size), DifferenceSaved(d, delta)


def delta_of(op: str, delta: Any) -> float:
    """A number above 0: where Huber's parabola ends."""
    end = checks.number(op, delta, "delta", 0)
    if not end:
        raise ValueError(f"{op}: delta must be above 0, found {delta}")
    return end


def huber_backward(dvalue: float, saved: DifferenceSaved) -> Array:
    """dscores = dvalue * d / count, with d clipped to [-delta, delta]."""
    d, delta = saved
    dvalue = checks.number("huber_backward", dvalue, "dvalue")
    return np.asarray(np.clip(d, -delta, delta) * d.dtype.type(dvalue / d.size))
