"""The two losses of linear classification, each with its gradient."""

from typing import Any

from ... import functional
from ...memory import Array
from ..arrays import floats


def softmax_loss(x: Any, y: Any) -> tuple[float, Array]:
    """loss = mean over n of -log softmax(x[n])[y[n]].    x (N, C), labels y (N,)  ->  loss, dx (N, C)."""
    (x,) = floats("softmax_loss", x=x)
    loss, saved = functional.softmax_cross_entropy(x, y)
    return loss, functional.softmax_cross_entropy_backward(1.0, saved)


def svm_loss(x: Any, y: Any) -> tuple[float, Array]:
    """loss = mean over n of the sum over c != y[n] of max(0, x[n,c] - x[n,y[n]] + 1).

    x (N, C), labels y (N,)  ->  loss, dx (N, C).  Weston & Watkins 1999.
    """
    (x,) = floats("svm_loss", x=x)
    loss, saved = functional.multiclass_svm(x, y)
    return loss, functional.multiclass_svm_backward(1.0, saved)
