"""Dropout layers. p is the probability to DROP; what is kept is scaled by 1 / (1 - p) in training, nothing happens after it.

(In VanillaDropout, which is there for contrast, it is the other way round.)
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .. import functional, initializers, memory
from ..functional.dropout import DropoutSaved, probability
from ..functional.elementwise import logical, same_order
from ..memory import Array
from .base import Layer


class _Dropout(Layer):
    """.rng, a NumPy Generator, draws a seed for each mask; it starts from the package's generator."""

    pair: ClassVar[tuple[Callable[..., tuple[Array, DropoutSaved]], Callable[[Any, DropoutSaved], Array]]]
    ndim: ClassVar[int | None] = None  # of the input, if it must be so
    _before: Any = None  # the generator's state before the latest forward in training mode

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = probability(type(self).__name__, p)
        self.rng = np.random.default_rng(initializers.generator().integers(1 << 63))

    def forward(self, x: Array) -> Array:
        if not self.training:
            return self.pair[0](x, self.p, training=False)[0]
        functional.checks.floats(type(self).__name__, x, self.ndim)  # before a seed is drawn: a refusal changes nothing
        self._before = self.rng.bit_generator.state
        return self._keep(*self.pair[0](x, self.p, seed=int(self.rng.integers(1 << 63))))

    def _undo(self) -> None:
        super()._undo()
        self.rng.bit_generator.state = self._before

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        return self.pair[1](dy, self._kept())

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(_Dropout):
    """y[i] = x[i] / (1 - p) with probability 1 - p, else 0, in training; y = x in evaluation.  Srivastava et al. 2014."""

    pair = functional.dropout, functional.dropout_backward


class Dropout2d(_Dropout):
    """As Dropout, for whole feature maps of x (N, C, H, W).  Tompson et al. 2015."""

    pair = functional.dropout2d, functional.dropout2d_backward
    ndim = 4


class VanillaDropout(_Dropout):
    """Dropout as it was first: y[i] = x[i] with probability 1 - p, else 0, in training; y = (1 - p) x in evaluation.

    It does what Dropout does, with the price paid at the wrong end: every prediction multiplies, and a net that forgets to
    is wrong by a factor. For comparing; use Dropout.  Hinton et al. 2012; course notes CS231n, "Dropout".
    """

    pair = functional.dropout, functional.dropout_backward

    def forward(self, x: Array) -> Array:
        if not self.training:
            return self._scaled(functional.checks.floats("VanillaDropout", x))
        return self._scaled(super().forward(x))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        return self._scaled(super().backward(dy))

    def _scaled(self, x: Array) -> Array:
        """(1 - p) x, which takes the inverted form's scale out again."""
        images = x.ndim == 4
        source = same_order(x, images)
        out = memory.empty(source.shape, source.dtype)
        return logical(np.multiply(source, source.dtype.type(1 - self.p), out=out), images)
