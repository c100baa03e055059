"""Looking into a net: what goes through its layers, copies of it to look into, and slopes as they are in evaluation."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..memory import Array
from .base import Layer
from .containers import Sequential
from .dropconnect import DropConnect
from .dropout import VanillaDropout, _Dropout
from .normalization import _BatchNorm

Told = Callable[[str, Layer, Array, Any], None]


class Method(NamedTuple):
    """By which method (its name) a layer in a net is run in a direction, "forward" or "backward"."""

    name: str
    layer: Layer
    direction: str
    method: str


def methods(net: Layer) -> list[Method]:
    """Those by which the layers of a net, and whoever calls the net, run the layers. Nobody else knows how layers do that."""
    around = {id(child): layer for layer in net.modules() for child in layer.children()}
    found = []
    for name, layer in net.named_modules():
        parent = around.get(id(layer))
        carries = parent is not None and parent._carries() and getattr(parent, "fuse", True)
        carries = carries and layer._carrier() is layer
        pair = ("carry", "carry_back") if carries else ("forward", "backward")
        found += [Method(name, layer, *way) for way in zip(("forward", "backward"), pair)]
    return found


@contextlib.contextmanager
def wrapped(
    found: Iterable[Method], wrap: Callable[[Method, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Inside the block, `wrap(one, function)` stands in the place of each of these methods' functions."""
    before: list[tuple[Method, Any]] = []
    try:
        for one in found:
            before.append((one, one.layer.__dict__.get(one.method)))
            one.layer.__dict__[one.method] = wrap(one, getattr(one.layer, one.method))
        yield
    finally:
        for one, function in before:
            del one.layer.__dict__[one.method]
            if function is not None:
                one.layer.__dict__[one.method] = function


def leaves(net: Layer) -> list[tuple[str, Layer]]:
    """(dotted name, layer) of the layers that hold no others."""
    return [(name, layer) for name, layer in net.named_modules() if not layer.children()]


@contextlib.contextmanager
def watched(
    named: Iterable[tuple[str, Layer]], forward: Told | None = None, backward: Told | None = None, *, net: Layer
) -> Iterator[None]:
    """Inside the block, `forward(name, layer, x, y)` is called after each forward of these layers of the net, and
    `backward(name, layer, dy, dx)` after each backward.

    Sequentials run as written meanwhile: where layers change places, or are done at once, there is nothing to see between
    them.
    """
    chains = [(layer, layer.fuse) for layer in net.modules() if isinstance(layer, Sequential)]
    tell = {"forward": forward, "backward": backward}
    found = [Method(name, layer, way, way) for name, layer in named for way in tell if tell[way] is not None]

    def telling(one: Method, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(array: Array, **options: Any) -> Any:
            result = function(array, **options)
            told(one.name, one.layer, array, result)
            return result

        told: Any = tell[one.direction]
        return call

    try:
        for chain, _ in chains:
            chain.fuse = False
        with wrapped(found, telling):
            yield
    finally:
        for chain, fuse in chains:
            chain.fuse = fuse


def detached(net: Layer, dtype: DTypeLike | None = None) -> Layer:
    """A copy of the net that shares nothing with it (parameters, buffers, random states), in training mode.

    What its layers kept for backward is not copied: it may be as large as a batch's activations.
    """
    memo: dict[int, Any] = {id(layer._saved): None for layer in net.modules() if layer._saved is not None}
    twin: Layer = copy.deepcopy(net, memo)
    if dtype is not None:
        twin.astype(dtype)
    return twin.train()


class Watched:
    """A copy of a net in training mode that remembers every layer's latest output and its gradient, by dotted name.

        watched = Watched(net)
        scores = watched.net.forward(x)
        watched.net.backward(loss.backward())
        watched.outputs["3"], watched.gradients["3"], watched.layers["3"]

    Layers of layers are left out. The net itself, its running statistics and its random states stay as they are.
    """

    def __init__(self, net: Layer) -> None:
        self.net = detached(net)
        self.layers = dict(leaves(self.net))
        self.outputs: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self._watch = watched(self.layers.items(), self._forward, self._backward, net=self.net)
        self._watch.__enter__()  # for as long as it lives

    def _forward(self, name: str, layer: Layer, x: Array, y: Array) -> None:
        self.outputs[name] = np.array(y)

    def _backward(self, name: str, layer: Layer, dy: Array, dx: Any) -> None:
        self.gradients[name] = np.array(dy)


def frozen(net: Layer) -> Layer:
    """A copy that computes as the net does in evaluation mode, but whose backward works: for gradients of the input.

    Batch norms use their running statistics, nothing is dropped. Gradients of batch norms' own parameters are not computed.
    """
    twin = detached(net)
    for layer in twin.modules():
        if isinstance(layer, _BatchNorm):
            _multiply(layer, *_affine(layer))
        elif isinstance(layer, VanillaDropout):
            _multiply(layer, np.float64(1 - layer.p), np.float64(0))
        elif isinstance(layer, _Dropout | DropConnect):
            layer.p = 0.0
    return twin


def _affine(layer: _BatchNorm) -> tuple[Array, Array]:
    """Scale and shift per channel of a batch norm in evaluation."""
    scale = 1 / np.sqrt(layer.running_var.astype(np.float64) + layer.eps)
    if layer.weight is not None:
        scale = scale * layer.weight.data
    shift = -layer.running_mean * scale
    if layer.bias is not None:
        shift = shift + layer.bias.data
    tail = (1,) * (layer.ndim - 2)
    return scale.reshape(-1, *tail), shift.reshape(-1, *tail)


def _multiply(layer: Layer, scale: Any, shift: Any) -> None:
    """Let this object of a layer be y = scale x + shift."""

    def forward(x: Array) -> Array:
        y: Array = x * scale.astype(x.dtype) + shift.astype(x.dtype)
        return y

    def backward(dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        dx: Array = dy * scale.astype(dy.dtype)
        return dx

    layer.forward, layer.backward = forward, backward  # type: ignore[method-assign]
