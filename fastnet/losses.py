"""Losses: `value = loss.forward(scores, y)`, a Python float, and `dscores = loss.backward()`."""

from typing import Any

from . import functional
from .functional import checks
from .functional.losses import delta_of
from .memory import Array

__all__ = ["L1", "MSE", "BinaryCrossEntropyWithLogits", "Huber", "Loss", "MulticlassSVM", "SoftmaxCrossEntropy"]


class Loss:
    """The mean of a cost over the batch, and its gradient.

    backward() belongs to the latest forward; RuntimeError without one. A subclass keeps what its functional pair saved:

        def forward(self, scores, y):
            return self._keep(*functional.mse(scores, y))

        def backward(self):
            return functional.mse_backward(1.0, self._kept())
    """

    _saved: Any = None

    def forward(self, scores: Array, y: Array) -> float:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, scores: Array, y: Array) -> float:
        return self.forward(scores, y)

    def _keep(self, value: float, saved: Any) -> float:
        self._saved = saved
        return value

    def _kept(self) -> Any:
        if self._saved is None:
            raise RuntimeError(f"{type(self).__name__}: backward without a forward before it")
        return self._saved

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value:g}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({settings})"


class SoftmaxCrossEntropy(Loss):
    """value = mean over n of - sum over c of target[n,c] * log softmax(scores[n])[c]; the target is 1 at the label.

    scores (N, C), labels y (N,) in 0 … C - 1.  With label_smoothing e the target is 1 - e at the label plus e / C
    everywhere.  As torch.nn.CrossEntropyLoss.  Untrained, it is about ln C.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = checks.number("SoftmaxCrossEntropy", label_smoothing, "label_smoothing", 0, 1)

    def forward(self, scores: Array, y: Array) -> float:
        return self._keep(*functional.softmax_cross_entropy(scores, y, label_smoothing=self.label_smoothing))

    def backward(self) -> Array:
        return functional.softmax_cross_entropy_backward(1.0, self._kept())


class MulticlassSVM(Loss):
    """value = mean over n of the sum over c != y[n] of max(0, scores[n,c] - scores[n,y[n]] + margin).

    scores (N, C), labels y (N,).  Weston & Watkins 1999: the course's; torch.nn.MultiMarginLoss divides by C besides.
    Untrained, it is about (C - 1) * margin.
    """

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = checks.number("MulticlassSVM", margin, "margin")

    def forward(self, scores: Array, y: Array) -> float:
        return self._keep(*functional.multiclass_svm(scores, y, margin=self.margin))

    def backward(self) -> Array:
        return functional.multiclass_svm_backward(1.0, self._kept())


class BinaryCrossEntropyWithLogits(Loss):
    """value = mean of - y log s(x) - (1 - y) log(1 - s(x)) over all scores x, with s the sigmoid.

    scores and y of one shape, y in [0, 1].  As torch.nn.BCEWithLogitsLoss.
    """

    def forward(self, scores: Array, y: Array) -> float:
        return self._keep(*functional.binary_cross_entropy_with_logits(scores, y))

    def backward(self) -> Array:
        return functional.binary_cross_entropy_with_logits_backward(1.0, self._kept())


class MSE(Loss):
    """value = mean of (scores - y)^2, over all numbers.  scores and y of one shape.  As torch.nn.MSELoss."""

    def forward(self, scores: Array, y: Array) -> float:
        return self._keep(*functional.mse(scores, y))

    def backward(self) -> Array:
        return functional.mse_backward(1.0, self._kept())


class L1(Loss):
    """value = mean of |scores - y|, over all numbers.  scores and y of one shape.  As torch.nn.L1Loss."""

    def forward(self, scores: Array, y: Array) -> float:
        return self._keep(*functional.l1(scores, y))

    def backward(self) -> Array:
        return functional.l1_backward(1.0, self._kept())


class Huber(Loss):
    """value = mean of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = scores - y.

    scores and y of one shape; delta > 0.  As torch.nn.HuberLoss.  Huber 1964.
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = delta_of("Huber", delta)

    def forward(self, scores: Array, y: Array) -> float:
        return self._keep(*functional.huber(scores, y, delta=self.delta))

    def backward(self) -> Array:
        return functional.huber_backward(1.0, self._kept())
