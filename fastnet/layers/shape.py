"""Layers that move numbers and change none."""

from typing import Any

from ..functional import checks, flatten, flatten_backward, zero_pad2d, zero_pad2d_backward
from ..functional.deferred import Deferred, Into, Value, deliver
from ..functional.padding import sides_of
from ..memory import Array
from .base import Layer


class Flatten(Layer):
    """y[n, (c*H + h)*W + w] = x[n,c,h,w]: each example as one row, in PyTorch's order.    x (N, …)  ->  y (N, the rest)."""

    def forward(self, x: Array) -> Array:
        return self._keep(*flatten(x))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        return flatten_backward(dy, self._kept())


class Identity(Layer):
    """y = x: a layer where none is wanted."""

    def forward(self, x: Array) -> Array:
        x = checks.floats("Identity", x)
        return self._keep(x, (x.shape, x.dtype))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        return checks.gradient("Identity backward", dy, *self._kept())

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        return self._keep(x, (x.shape, x.dtype)) if isinstance(x, Deferred) else super().carry(x)

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        return None if into is None else deliver(dy, into, gated=True)


class ZeroPad2d(Layer):
    """y[n, c, top + h, left + w] = x[n,c,h,w], and 0 around it.

    x (N, C, H, W)  ->  y (N, C, top + H + bottom, left + W + right).  padding: int or (left, right, top, bottom), as
    torch.nn.ZeroPad2d.  ValueError if one is negative.
    """

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = sides_of("ZeroPad2d", padding)

    def forward(self, x: Array) -> Array:
        return self._keep(*zero_pad2d(x, self.padding))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        return zero_pad2d_backward(dy, self._kept())

    def extra_repr(self) -> str:
        return f"{self.padding}"
