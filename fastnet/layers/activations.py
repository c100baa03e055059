"""Activation layers: a call of functional each, with the argument that PyTorch gives them."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .. import functional
from .._ext import elementwise
from ..functional import checks
from ..functional.deferred import Deferred, Into, Value, deliver, whole
from ..functional.deferred_activation import activate, activate_back
from ..memory import Array
from .base import Layer

Forward = Callable[..., tuple[Array, Any]]
Backward = Callable[[Array, Any], Array]


class _Activation(Layer):
    """What all but PReLU share: y = function(x, **settings)."""

    pair: ClassVar[tuple[Forward, Backward]]

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, x: Array) -> Array:
        return self._keep(*self.pair[0](x, **self.settings))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        return self.pair[1](dy, self._kept())

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())


class _Rectifier(_Activation):
    """y = x if x > 0, else slope * x: what a Deferred takes along."""

    slope: float

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        kept = self._kept()
        if isinstance(kept, Deferred):
            checks.gradient(type(self).__name__, dy, kept.shape, kept.dtype)
            if self._frees:
                raise RuntimeError(
                    f"{type(self).__name__} backward: in a net that frees what forward kept, the backward of a fused layer "
                    "is the net's own; set fuse = False or free_after_backward(False)"
                )
            return whole(deliver(dy, Into(kept)))  # type: ignore[no-any-return]
        return super().backward(dy)

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        if not (isinstance(x, Deferred) and x.linear and 0 <= self.slope < 1):
            return super().carry(x)
        y = x.rectified(self.slope)
        return self._keep(y, y.outline() if self._frees else y)  # else this layer may be asked for its backward alone

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        if not isinstance(self._kept(), Deferred):
            return super().carry_back(dy, into, accumulate=accumulate)
        return None if into is None else deliver(dy, into, gated=True)


class _Smooth(_Activation):
    """The others whose y is a function of x alone: one pass over what is Deferred, and one over its gradient."""

    function: ClassVar[int]

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        kept = self._kept()
        if not isinstance(kept, Deferred):
            return super().backward(dy)
        checks.gradient(type(self).__name__, dy, kept.shape, kept.dtype)
        return activate_back(dy, kept, Into(), self.function, self._alpha()).array()

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        if not isinstance(x, Deferred) or not x.linear or x.made:
            return super().carry(x)
        return self._keep(activate(x, self.function, self._alpha()), x)

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        kept = self._kept()
        if not isinstance(kept, Deferred):
            return super().carry_back(dy, into, accumulate=accumulate)
        return None if into is None else activate_back(dy, kept, into, self.function, self._alpha())

    def _alpha(self) -> float:
        return float(self.settings.get("alpha", 0))


class ReLU(_Rectifier):
    """y = max(x, 0).  Nair & Hinton 2010."""

    pair = functional.relu, functional.relu_backward
    slope = 0.0

    def __init__(self) -> None:
        super().__init__()


class LeakyReLU(_Rectifier):
    """y = x if x > 0, else negative_slope * x.  Maas, Hannun & Ng 2013."""

    pair = functional.leaky_relu, functional.leaky_relu_backward

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__(negative_slope=checks.number("LeakyReLU", negative_slope, "negative_slope"))
        self.slope = self.settings["negative_slope"]


class ELU(_Smooth):
    """y = x if x > 0, else alpha * (exp(x) - 1).  Clevert, Unterthiner & Hochreiter 2016."""

    pair = functional.elu, functional.elu_backward
    function = elementwise.ELU

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha=checks.number("ELU", alpha, "alpha"))


class Sigmoid(_Smooth):
    """y = 1 / (1 + exp(-x))."""

    pair = functional.sigmoid, functional.sigmoid_backward
    function = elementwise.SIGMOID

    def __init__(self) -> None:
        super().__init__()


class Tanh(_Smooth):
    """y = tanh(x)."""

    pair = functional.tanh, functional.tanh_backward
    function = elementwise.TANH

    def __init__(self) -> None:
        super().__init__()


class GELU(_Smooth):
    """y = x * Phi(x), Phi the normal distribution function.  Hendrycks & Gimpel 2016."""

    pair = functional.gelu, functional.gelu_backward
    function = elementwise.GELU

    def __init__(self) -> None:
        super().__init__()


class SiLU(_Smooth):
    """y = x / (1 + exp(-x)).  Elfwing, Uchibe & Doya 2018."""

    pair = functional.silu, functional.silu_backward
    function = elementwise.SILU

    def __init__(self) -> None:
        super().__init__()


class Softplus(_Smooth):
    """y = log(1 + exp(x)); x itself above 20."""

    pair = functional.softplus, functional.softplus_backward
    function = elementwise.SOFTPLUS

    def __init__(self) -> None:
        super().__init__()


class Maxout(_Activation):
    """y[n,f,…] = max over k of x[n, f*pieces+k, …]: C channels become C / pieces.

    x (N, C) or (N, C, H, W).  ValueError if pieces does not divide C.  Goodfellow et al. 2013.
    """

    pair = functional.maxout, functional.maxout_backward

    def __init__(self, pieces: int) -> None:
        super().__init__(pieces=checks.integer("Maxout", pieces, "pieces", 1))


class PReLU(Layer):
    """y = x if x > 0, else weight * x, with one learned slope or one per channel.  He et al. 2015 (who do not decay it).

    .weight (num_parameters,), at first `init`.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.num_parameters = checks.integer("PReLU", num_parameters, "num_parameters", 1)
        slope = np.full(num_parameters, checks.number("PReLU", init, "init"), np.float32)
        self.weight = self.add_parameter("weight", slope, decay=False)

    def forward(self, x: Array) -> Array:
        return self._keep(*functional.prelu(x, self.weight.data))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        dx, da = functional.prelu_backward(dy, self._kept())
        self._give(self.weight, da, accumulate)
        return dx

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"
