"""DropConnect: weights instead of activations are dropped."""

from typing import Any

import numpy as np

from .. import functional, initializers
from ..functional.dropout import probability
from ..memory import Array
from .linear import Linear


class DropConnect(Linear):
    """Linear with each weight kept with probability 1 - p and then scaled by 1 / (1 - p), else 0, in training.

    y = x (m * w)^T / (1 - p) + b with a mask m (out_features, in_features) that is drawn anew for every batch; in evaluation
    y = x w^T + b. p is the probability to DROP. The paper draws a mask per example, which no matrix product can share, and
    averages over the outputs' distribution at test time; here the mean weight stands for that.
    .rng draws the seeds, as in Dropout.  Wan, Zeiler, Zhang, LeCun & Fergus 2013.
    """

    _before: Any = None  # the generator's state before the latest forward in training mode

    def __init__(self, in_features: int, out_features: int, bias: bool = True, p: float = 0.5) -> None:
        super().__init__(in_features, out_features, bias)
        self.p = probability("DropConnect", p)
        self.rng = np.random.default_rng(initializers.generator().integers(1 << 63))

    def forward(self, x: Array) -> Array:
        if not self.training:
            return super().forward(x)
        before = self.rng.bit_generator.state
        w, mask = functional.dropout(self.weight.data, self.p, seed=int(self.rng.integers(1 << 63)))
        try:
            y, saved = functional.linear(x, w, None if self.bias is None else self.bias.data)
        except BaseException:
            self.rng.bit_generator.state = before  # a refusal changes nothing
            raise
        self._before = before
        return self._keep(y, (saved, mask))

    def _undo(self) -> None:
        super()._undo()
        self.rng.bit_generator.state = self._before

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        saved, mask = self._kept()
        dx, dw, db = functional.linear_backward(dy, saved, input_gradient=input_gradient)
        self._give(self.weight, functional.dropout_backward(dw, mask), accumulate)
        self._give(self.bias, db, accumulate)
        return dx

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}"
