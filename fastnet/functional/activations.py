"""Activation functions: y[i] = f(x[i]), over arrays of any shape, and maxout.

All float32 functions are within about 2 units in the last place, gelu and its slope within 2 and 4 parts in ten million of
its input and of 1 (PyTorch's: 4 and 3). NaN stays NaN. Backward needs the output (relu, sigmoid, tanh) or the input, never an
array of its own.
"""

from typing import Any, NamedTuple

import numpy as np

from .. import config, memory
from .._ext import elementwise as kernels
from ..memory import Array
from . import checks
from .elementwise import logical, ordered, same_order


class ActivationSaved(NamedTuple):
    """The memory of the output or the input, whether it is channels-last, and the parameter of the function."""

    memory: Array
    channels_last: bool
    a: float = 0.0


class PReLUSaved(NamedTuple):
    memory: Array
    channels_last: bool
    a: Array


class MaxoutSaved(NamedTuple):
    """Which of the pieces was the largest, in the order of the memory."""

    winner: Array
    channels_last: bool
    pieces: int
    dtype: np.dtype[Any]


def _forward(
    op: str, function: int, x: Any, *, a: float = 0.0, keep_output: bool = False
) -> tuple[Array, ActivationSaved]:
    source, images = ordered(checks.floats(op, x))
    out = memory.empty(source.shape, source.dtype)
    kernels.activate(function, source.reshape(-1), out.reshape(-1), a, config.get_num_threads())
    return logical(out, images), ActivationSaved(out if keep_output else source, images, a)


def _backward(op: str, function: int, dy: Any, saved: ActivationSaved) -> Array:
    kept, images, a = saved
    dy = same_order(checks.gradient(op, dy, logical(kept, images).shape, kept.dtype), images)
    dx = memory.empty(kept.shape, kept.dtype)
    kernels.activate_backward(function, kept.reshape(-1), dy.reshape(-1), dx.reshape(-1), a, config.get_num_threads())
    return logical(dx, images)


def relu(x: Any) -> tuple[Array, ActivationSaved]:
    """y = max(x, 0).  Nair & Hinton 2010."""
    return _forward("relu", kernels.RELU, x, keep_output=True)


def relu_backward(dy: Any, saved: ActivationSaved) -> Array:
    """dx = dy where y > 0, else 0; where y is NaN, dy."""
    return _backward("relu_backward", kernels.RELU, dy, saved)


def leaky_relu(x: Any, *, negative_slope: float = 0.01) -> tuple[Array, ActivationSaved]:
    """y = x if x > 0, else negative_slope * x.  Maas, Hannun & Ng 2013."""
    return _forward(
        "leaky_relu", kernels.LEAKY_RELU, x, a=checks.number("leaky_relu", negative_slope, "negative_slope")
    )


def leaky_relu_backward(dy: Any, saved: ActivationSaved) -> Array:
    """dx = dy if x > 0, else negative_slope * dy."""
    return _backward("leaky_relu_backward", kernels.LEAKY_RELU, dy, saved)


def elu(x: Any, *, alpha: float = 1.0) -> tuple[Array, ActivationSaved]:
    """y = x if x > 0, else alpha * (exp(x) - 1).  Clevert, Unterthiner & Hochreiter 2016."""
    return _forward("elu", kernels.ELU, x, a=checks.number("elu", alpha, "alpha"))


def elu_backward(dy: Any, saved: ActivationSaved) -> Array:
    """dx = dy if x > 0, else dy * alpha * exp(x)."""
    return _backward("elu_backward", kernels.ELU, dy, saved)


def sigmoid(x: Any) -> tuple[Array, ActivationSaved]:
    """y = 1 / (1 + exp(-x))."""
    return _forward("sigmoid", kernels.SIGMOID, x, keep_output=True)


def sigmoid_backward(dy: Any, saved: ActivationSaved) -> Array:
    """dx = dy * y * (1 - y)."""
    return _backward("sigmoid_backward", kernels.SIGMOID, dy, saved)


def tanh(x: Any) -> tuple[Array, ActivationSaved]:
    """y = tanh(x)."""
    return _forward("tanh", kernels.TANH, x, keep_output=True)


def tanh_backward(dy: Any, saved: ActivationSaved) -> Array:
    """dx = dy * (1 - y**2)."""
    return _backward("tanh_backward", kernels.TANH, dy, saved)


def gelu(x: Any) -> tuple[Array, ActivationSaved]:
    """y = x * Phi(x), Phi the distribution function of the normal distribution: the exact form.  Hendrycks & Gimpel 2016."""
    return _forward("gelu", kernels.GELU, x)


def gelu_backward(dy: Any, saved: ActivationSaved) -> Array:
    """dx = dy * (Phi(x) + x * exp(-x**2 / 2) / sqrt(2 pi))."""
    return _backward("gelu_backward", kernels.GELU, dy, saved)


def silu(x: Any) -> tuple[Array, ActivationSaved]:
    """y = x / (1 + exp(-x)).  Elfwing, Uchibe & Doya 2018."""
    return _forward("silu", kernels.SILU, x)


def silu_backward(dy: Any, saved: ActivationSaved) -> Array:
    """dx = dy * s * (1 + x * (1 - s)), s = 1 / (1 + exp(-x))."""
    return _backward("silu_backward", kernels.SILU, dy, saved)


def softplus(x: Any) -> tuple[Array, ActivationSaved]:
    """y = log(1 + exp(x)); x itself above 20, as in PyTorch."""
    return _forward("softplus", kernels.SOFTPLUS, x)


def softplus_backward(dy: Any, saved: ActivationSaved) -> Array:
    """dx = dy / (1 + exp(-x)); dy above 20."""
    return _backward("softplus_backward", kernels.SOFTPLUS, dy, saved)


def prelu(x: Any, a: Any) -> tuple[Array, PReLUSaved]:
    """y = x if x > 0, else a * x, with one slope a (1,) or one per channel (C,).  He et al. 2015.

    x of any shape with one slope; (N, C) or (N, C, H, W) with several.
    """
    x = checks.floats("prelu", x)
    a = checks.same_dtype("prelu", checks.floats("prelu", a, 1, "a"), "a", x.dtype)
    if a.shape == (0,):
        raise ValueError("prelu: a must hold at least one slope, found shape (0,)")
    if a.shape != (1,):
        if x.ndim not in (2, 4):
            raise ValueError(f"prelu: {a.size} slopes need x of shape (N, C) or (N, C, H, W), found {x.shape}")
        if x.shape[1] != a.size:
            raise ValueError(
                f"prelu: expected {a.size} channels, one per slope, found {x.shape[1]} in x of shape {x.shape}"
            )
    images = x.ndim == 4
    source, a = same_order(x, images), np.ascontiguousarray(a)
    out = memory.empty(source.shape, source.dtype)
    kernels.prelu(source.reshape(-1), out.reshape(-1), a, config.get_num_threads())
    return logical(out, images), PReLUSaved(source, images, a)


def prelu_backward(dy: Any, saved: PReLUSaved) -> tuple[Array, Array]:
    """dx = dy if x > 0, else a * dy; da = sum of dy * x where x <= 0, over all that share the slope."""
    kept, images, a = saved
    dy = same_order(checks.gradient("prelu_backward", dy, logical(kept, images).shape, kept.dtype), images)
    dx, da = memory.empty(kept.shape, kept.dtype), np.empty_like(a)
    kernels.prelu_backward(kept.reshape(-1), dy.reshape(-1), dx.reshape(-1), a, da, config.get_num_threads())
    return logical(dx, images), da


def maxout(x: Any, pieces: int) -> tuple[Array, MaxoutSaved]:
    """y[n,f,…] = max over k of x[n, f*pieces+k, …].  Goodfellow et al. 2013.

    x (N, C) or (N, C, H, W), C = pieces * features  ->  y with features channels.  The first of equal maxima gets the
    gradient; NaN wins over every number.  ValueError if pieces does not divide C.
    """
    x = checks.floats("maxout", x)
    pieces = checks.integer("maxout", pieces, "pieces", 1)
    if x.ndim not in (2, 4):
        raise ValueError(f"maxout: x must have shape (N, C) or (N, C, H, W), found {x.shape}")
    if x.shape[1] % pieces or pieces > 1 << 16:
        raise ValueError(
            f"maxout: pieces {pieces} must divide the channels and be at most 65536, found x of shape {x.shape}"
        )
    images = x.ndim == 4
    source = same_order(x, images)
    out = memory.empty((*source.shape[:-1], source.shape[-1] // pieces), source.dtype)
    winner = memory.empty(out.shape, np.uint16)
    kernels.maxout(source.reshape(-1), out.reshape(-1), winner.reshape(-1), pieces, config.get_num_threads())
    return logical(out, images), MaxoutSaved(winner, images, pieces, source.dtype)


def maxout_backward(dy: Any, saved: MaxoutSaved) -> Array:
    """dx = dy at the piece that won, 0 at the others."""
    winner, images, pieces, dtype = saved
    dy = same_order(checks.gradient("maxout_backward", dy, logical(winner, images).shape, dtype), images)
    dx = memory.empty((*winner.shape[:-1], winner.shape[-1] * pieces), dtype)
    kernels.maxout_backward(dy.reshape(-1), winner.reshape(-1), dx.reshape(-1), pieces, config.get_num_threads())
    return logical(dx, images)
