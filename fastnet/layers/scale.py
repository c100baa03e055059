"""A layer that multiplies by a constant."""

from ..functional import checks
from ..functional.elementwise import scale
from ..memory import Array
from .base import Layer


class Scale(Layer):
    """y = factor x: with a factor below 1 in front of a softmax, milder scores, as with a temperature above 1."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = checks.number("Scale", factor, "factor")

    def forward(self, x: Array) -> Array:
        x = checks.floats("Scale", x)
        return self._keep(scale(x, self.factor), (x.shape, x.dtype))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        return scale(checks.gradient("Scale backward", dy, *self._kept()), self.factor)

    def extra_repr(self) -> str:
        return f"{self.factor}"
