"""Initial weights, and the generator from which they are drawn.

`initialize(net, he_normal)` draws all weights of a net anew, `lsuv(net, x)` draws and scales them by what x does in it.

Every function is `name(shape, rng=None, *, options) -> float32 array` for weights (out, in) of a linear layer
or (F, C/groups, KH, KW) of a convolution; rng is a NumPy Generator, by default the package's (`manual_seed` sets it).
The question they answer: which variance keeps activations and gradients of the same size from layer to layer?
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .memory import Array

if TYPE_CHECKING:
    from .layers.base import Layer

Rng = np.random.Generator | None
Mode = Literal["fan_in", "fan_out", "average"]

_generator = np.random.default_rng()


def generator() -> np.random.Generator:
    """The generator that new layers draw from, seeded by the operating system until `manual_seed` is called."""
    return _generator


def manual_seed(n: int) -> np.random.Generator:
    """Seed the package's generator, so that the nets built from here on get the same weights every time; returns it."""
    global _generator
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"manual_seed: expected an integer, found {type(n).__name__}")
    if n < 0:
        raise ValueError(f"manual_seed: expected at least 0, found {n}")
    _generator = np.random.default_rng(int(n))
    return _generator


def fans(shape: tuple[int, ...], groups: int = 1) -> tuple[int, int]:
    """(fan_in, fan_out): how many inputs one output sums up, how many outputs one input reaches.

    in, out for (out, in); C/groups*KH*KW, F/groups*KH*KW for (F, C/groups, KH, KW). PyTorch counts fan_out as if groups
    were 1, and so does every function here unless it is told.  ValueError for a shape of less than two dimensions.
    """
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"initializers: expected a weight shape of two or more positive dimensions, found {shape}")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] // groups * window


def _fan(shape: tuple[int, ...], mode: Mode, groups: int) -> float:
    fan_in, fan_out = fans(shape, groups)
    try:
        return {"fan_in": fan_in, "fan_out": fan_out, "average": (fan_in + fan_out) / 2}[mode]
    except KeyError:
        raise ValueError(f"initializers: mode must be 'fan_in', 'fan_out' or 'average', found {mode!r}") from None


def _normal(shape: tuple[int, ...], rng: Rng, std: float) -> Array:
    drawn = (rng or _generator).standard_normal(shape, np.float32)
    drawn *= np.float32(std)
    return drawn


def _uniform(shape: tuple[int, ...], rng: Rng, bound: float) -> Array:
    """Uniform in [-bound, bound): its standard deviation is bound / sqrt(3)."""
    drawn = (rng or _generator).random(shape, np.float32)
    drawn -= np.float32(0.5)
    drawn *= np.float32(2 * bound)
    return drawn


def gaussian(shape: tuple[int, ...], rng: Rng = None, *, std: float = 0.01) -> Array:
    """w ~ N(0, std^2), whatever the fans: fine for a few layers, and the activations of a deep net die of it.

    CS231n, lecture 5 (weight initialisation): the example that fails.
    """
    return _normal(shape, rng, std)


def xavier_normal(
    shape: tuple[int, ...], rng: Rng = None, *, gain: float = 1.0, mode: Mode = "average", groups: int = 1
) -> Array:
    """w ~ N(0, gain^2 / fan): variance 2 / (in + out), or 1 / in with mode="fan_in".

    For layers that are nearly linear around zero (tanh).  Glorot & Bengio 2010, equation 12; 1/in is the form of the
    course note "Neural Networks, part 2".
    """
    return _normal(shape, rng, gain / math.sqrt(_fan(shape, mode, groups)))


def xavier_uniform(
    shape: tuple[int, ...], rng: Rng = None, *, gain: float = 1.0, mode: Mode = "average", groups: int = 1
) -> Array:
    """With the variance of `xavier_normal`, uniform in +- gain sqrt(3 / fan).  Glorot & Bengio 2010, equation 16."""
    return _uniform(shape, rng, gain * math.sqrt(3 / _fan(shape, mode, groups)))


def he_normal(
    shape: tuple[int, ...], rng: Rng = None, *, negative_slope: float = 0.0, mode: Mode = "fan_in", groups: int = 1
) -> Array:
    """w ~ N(0, 2 / ((1 + a^2) fan)) before a ReLU of negative slope a, which passes on (1 + a^2) / 2 of the variance.

    He, Zhang, Ren & Sun 2015 ("Delving deep into rectifiers"), equations 10 and 15.
    """
    return _normal(shape, rng, math.sqrt(2 / ((1 + negative_slope**2) * _fan(shape, mode, groups))))


def he_uniform(
    shape: tuple[int, ...], rng: Rng = None, *, negative_slope: float = 0.0, mode: Mode = "fan_in", groups: int = 1
) -> Array:
    """With the variance of `he_normal`, uniform in +- sqrt(6 / ((1 + a^2) fan))."""
    return _uniform(shape, rng, math.sqrt(6 / ((1 + negative_slope**2) * _fan(shape, mode, groups))))


def torch_uniform(shape: tuple[int, ...], rng: Rng = None, *, fan_in: int | None = None) -> Array:
    """w uniform in +- 1 / sqrt(fan_in): what PyTorch's layers start with, weights and biases, and so what ours do.

    PyTorch calls it kaiming_uniform(a=sqrt(5)). A bias (F,) has no fan of its own: pass `fans(w.shape)[0]`.
    LeCun, Bottou, Orr & Müller 1998 ("Efficient backprop"), section 4.6, with a third of its variance.
    """
    return _uniform(shape, rng, 1 / math.sqrt(fans(shape)[0] if fan_in is None else fan_in))


def sparse(shape: tuple[int, ...], rng: Rng = None, *, connections: int = 15, std: float = 1.0) -> Array:
    """Every output gets `connections` inputs at random (all of them if it has fewer), with weights ~ N(0, std^2); the
    others are zero, so that the units' inputs stay apart and of one size whatever the width.  Martens 2010, section 5.
    """
    if connections < 1:
        raise ValueError(f"sparse: connections must be at least 1, found {connections}")
    rng = rng or _generator
    fan_in = fans(shape)[0]
    w = _normal((shape[0], fan_in), rng, std)
    rank = rng.random(w.shape, np.float32).argsort(axis=1).argsort(axis=1)
    w[rank >= connections] = 0
    return w.reshape(shape)


def orthogonal(shape: tuple[int, ...], rng: Rng = None, *, gain: float = 1.0) -> Array:
    """w, seen as a matrix (out, fan_in), is gain times a random matrix of orthonormal rows (columns, if out > fan_in).

    A linear net of such layers keeps the length of what passes, at any depth.  Saxe, McClelland & Ganguli 2014.
    """
    rows, columns = shape[0], fans(shape)[0]
    drawn = (rng or _generator).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # without the signs the draw favours some rotations (Mezzadri 2007)
    return np.ascontiguousarray(gain * (q if rows >= columns else q.T), np.float32).reshape(shape)


def dirac(shape: tuple[int, ...], rng: Rng = None, *, groups: int = 1) -> Array:
    """The identity: output f of a group copies its input f (an odd window's centre); surplus outputs are zero.

    rng is there for the common form and not used.  ValueError if groups do not divide the outputs.
    Zagoruyko & Komodakis 2017 ("DiracNets").
    """
    fans(shape)
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"dirac: groups {groups} must divide the {shape[0]} outputs")
    w = np.zeros(shape, np.float32)
    per_group = shape[0] // groups
    centre = tuple(size // 2 for size in shape[2:])
    for f in range(min(per_group, shape[1])):
        index: tuple[slice | int, ...] = (slice(f, None, per_group), f, *centre)
        w[index] = 1
    return w


def weighted(net: Layer) -> list[Layer]:
    """The layers of a net with a decayed .weight of two or more dimensions, in order: convolutions and linear layers."""
    found = [(layer, layer._parameters.get("weight")) for layer in net.modules()]
    return [layer for layer, w in found if w is not None and w.decay and w.data.ndim > 1]


def initialize(net: Layer, initializer: Callable[..., Array] = he_normal, rng: Rng = None, **options: Any) -> Layer:
    """Draw every weight of the net's convolutions and linear layers anew, set their biases to 0; returns the net.

    initialize(net, xavier_normal, mode="fan_in"); the options are the initializer's.
    """
    for layer in weighted(net):
        w = layer._parameters["weight"]
        w.data = initializer(w.shape, rng, **options).astype(w.data.dtype, copy=False)
        if "bias" in layer._parameters:
            layer._parameters["bias"].data.fill(0)
    return net


class _Reached(Exception):
    """The output that `_output` looks for."""


def _output(net: Layer, layer: Layer, x: Array) -> Array:
    """What this layer of the net gives for x in evaluation mode; what follows it does not run."""
    forward = layer.forward

    def stop(x: Array) -> Array:
        raise _Reached(forward(x))

    layer.forward = stop  # type: ignore[method-assign]  # on the object, in front of the class's
    try:
        with net.evaluating():
            net.forward(x)
    except _Reached as reached:
        y: Array = reached.args[0]
        return y
    finally:
        del layer.forward
    raise ValueError(f"lsuv: the net does not run its {type(layer).__name__}({layer.extra_repr()})")


def lsuv(net: Layer, x: Array, rng: Rng = None, *, tolerance: float = 0.01, iterations: int = 10) -> Layer:
    """Layer-sequential unit variance: orthogonal weights, then w /= std of the layer's own output for x; returns the net.

    The layers are taken in their order, each scaled until |std - 1| < tolerance (`iterations` times at most), so that x
    (N, …), some dozens of training examples as the net gets them, makes outputs of variance 1 in every layer, whatever
    the activations between them do. Biases are set to 0. ValueError if a layer's output for x does not vary.
    Mishkin & Matas 2016 ("All you need is a good init"), algorithm 1.
    """
    initialize(net, orthogonal, rng)
    for layer in weighted(net):
        w = layer._parameters["weight"].data
        for _ in range(iterations):
            std = float(_output(net, layer, x).std(dtype=np.float64))
            if not 0 < std < math.inf:
                raise ValueError(f"lsuv: the output of {layer!r} has the standard deviation {std}")
            if abs(std - 1) < tolerance:
                break
            w /= w.dtype.type(std)
    return net
