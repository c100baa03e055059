"""Copies of a net to look into: what goes through its layers, and slopes as they are in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ..memory import Array
from .base import Layer
from .containers import Sequential
from .dropconnect import DropConnect
from .dropout import VanillaDropout, _Dropout
from .normalization import _BatchNorm


def as_written(net: Layer) -> Layer:
    """A deep copy in training mode whose layers run as they are written, none through another."""
    twin = copy.deepcopy(net).train()
    for layer in twin.modules():
        layer._saved = None
        if isinstance(layer, Sequential):
            layer.fuse = False
    return twin


class Watched:
    """A copy of a net in training mode that remembers every layer's latest output and its gradient, by dotted name.

        watched = Watched(net)
        scores = watched.net.forward(x)
        watched.net.backward(loss.backward())
        watched.outputs["3"], watched.gradients["3"], watched.layers["3"]

    Layers of layers are left out. The net itself, its running statistics and its random states stay as they are.
    """

    def __init__(self, net: Layer) -> None:
        self.net = as_written(net)
        self.layers = {name: layer for name, layer in self.net.named_modules() if not layer.children()}
        self.outputs: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        for name, layer in self.layers.items():
            layer.forward = self._noting(layer.forward, name)  # type: ignore[method-assign]
            layer.backward = self._noting(layer.backward, name, self.gradients)  # type: ignore[method-assign]

    def _noting(
        self, method: Callable[..., Any], name: str, gradients: dict[str, Array] | None = None
    ) -> Callable[..., Any]:
        def call(x: Array, **options: Any) -> Any:
            if gradients is not None:
                gradients[name] = np.array(x)
                return method(x, **options)
            y = method(x)
            self.outputs[name] = np.array(y)
            return y

        return call


def frozen(net: Layer) -> Layer:
    """A copy that computes as the net does in evaluation mode, but whose backward works: for gradients of the input.

    Batch norms use their running statistics, nothing is dropped. Gradients of batch norms' own parameters are not computed.
    """
    twin = as_written(net)
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
