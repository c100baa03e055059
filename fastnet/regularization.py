"""Terms that keep weights small: added to the loss and to the gradients, on decayed parameters only.

Those are weights: no biases, no norms; and nothing frozen.
"""

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from . import config, memory
from ._ext import flat as kernels
from .memory import Array
from .parameters import ParameterBuffer

__all__ = ["L1", "L2", "ElasticNet", "Regularization", "regularizer"]


class Regularization(Protocol):
    """What a Solver asks of a regularization."""

    def forward(self, buffer: ParameterBuffer) -> float:
        """The value to add to the loss."""

    def backward(self, buffer: ParameterBuffer) -> None:
        """Add the term's gradients to the parameters'."""


class ElasticNet:
    """l1 * sum |w| + 0.5 * l2 * sum w^2; the gradient is l1 * sign(w) + l2 * w (0 at w = 0).

    Zou & Hastie 2005. With plain SGD the l2 part is the rule's weight_decay; with adaptive rules it is not (see AdamW).
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        for name, value in (("l1", l1), ("l2", l2)):
            if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
                raise TypeError(f"{type(self).__name__}: the strength {name} must be a number, found {value!r}")
            if not 0 <= value < math.inf:
                raise ValueError(f"{type(self).__name__}: the strength {name} must be at least 0, found {value!r}")
        self.l1, self.l2 = float(l1), float(l2)

    def forward(self, buffer: ParameterBuffer) -> float:
        value = 0.0
        for decay, w, _ in _decayed(buffer):
            if self.l2:
                value += 0.5 * decay * self.l2 * kernels.dot(w, w, config.get_num_threads())
            if self.l1:
                value += decay * self.l1 * float(np.abs(w, out=memory.empty(w.shape, w.dtype)).sum(dtype=np.float64))
        return value

    def backward(self, buffer: ParameterBuffer) -> None:
        for decay, w, g in _decayed(buffer):
            if self.l2:
                kernels.axpy(g, w, decay * self.l2, 1.0, config.get_num_threads())
            if self.l1:
                sign = np.sign(w, out=memory.empty(w.shape, w.dtype))
                kernels.axpy(g, sign, decay * self.l1, 1.0, config.get_num_threads())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(l1={self.l1}, l2={self.l2})"


def _decayed(buffer: ParameterBuffer) -> Iterator[tuple[float, Array, Array]]:
    """(factor, weights, gradients) of each run of parameters that learn and decay."""
    for run in buffer.runs():
        if run.decay:
            yield run.decay, buffer.data[run.start : run.stop], buffer.grad[run.start : run.stop]


class L2(ElasticNet):
    """0.5 * strength * sum w^2."""

    def __init__(self, strength: float) -> None:
        super().__init__(l2=strength)


class L1(ElasticNet):
    """strength * sum |w|."""

    def __init__(self, strength: float) -> None:
        super().__init__(l1=strength)


def regularizer(value: Any) -> Regularization | None:
    """None for None and 0, L2 for another number, anything with forward and backward as it is."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return L2(value) if value else None
    if not (callable(getattr(value, "forward", None)) and callable(getattr(value, "backward", None))):
        raise TypeError(f"regularization: expected None, a number (L2) or L1/L2/ElasticNet, found {value!r}")
    term: Regularization = value
    return term
