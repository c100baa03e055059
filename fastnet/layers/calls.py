"""What stands around a layer's forward and backward: refusals that bear its name, and a way back out of half a pass."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import functional
from ..functional.deferred import Deferred, Into, Value, deliver, place, whole
from ..memory import Array

if TYPE_CHECKING:
    from .base import Layer


class Pass(threading.local):
    """The layers that this thread's outermost forward has been through in training mode; None outside of one."""

    layers: list[Layer] | None = None


current = Pass()


def called(method: Callable[..., Any], what: str) -> Callable[..., Any]:
    """A forward or backward whose refusals bear the layer's name: "Conv2d: …" where the operation said "conv2d: …"."""

    @functools.wraps(method)
    def call(self: Layer, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except (TypeError, ValueError) as error:
            op, colon, rest = str(error).partition(":")
            if colon and op.removesuffix("_backward") in _OPERATIONS:
                error.args = (f"{self._title or type(self).__name__}{what}:{rest}",)
            raise

    return call


def undone(forward: Callable[..., Array]) -> Callable[..., Array]:
    """The forward of a layer of layers: if one of them refuses, those before it forget what they did."""

    @functools.wraps(forward)
    def call(self: Layer, *args: Any, **kwargs: Any) -> Array:
        if not (self._children and self.training):
            return forward(self, *args, **kwargs)
        outermost = current.layers is None
        done = current.layers = [] if current.layers is None else current.layers  # an empty one is the outermost's, too
        try:
            return forward(self, *args, **kwargs)
        except BaseException:
            if done:
                self._saved = None
            if outermost:
                for layer in reversed(done):
                    layer._undo()
            raise
        finally:
            if outermost:
                current.layers = None

    return call


_OPERATIONS = {*functional.__all__, "add"}


def native(x: Value) -> Value:
    """Images in the byte order of the machine, which what is computed of them has, too."""
    return x.astype(x.dtype.newbyteorder("=")) if isinstance(x, np.ndarray) and not x.dtype.isnative else x


def carry_array(layer: Layer, x: Value) -> Array:
    """`carry` by way of forward: of an array, to an array."""
    given = whole(x)
    y: Array = layer.forward(given)
    if layer.training:
        layer._entered = given.shape
    return y


def carry_array_back(layer: Layer, dy: Value, into: Into | None, accumulate: bool) -> Value | None:
    """`carry_back` by way of backward."""
    given = whole(dy)
    dx = layer.backward(given, accumulate=accumulate, input_gradient=into is not None)
    if into is None or dx is None:
        return None
    if not isinstance(dx, np.ndarray) or dx.shape != layer._entered:  # kernels that take it along look no more
        found = dx.shape if isinstance(dx, np.ndarray) else type(dx).__name__
        raise ValueError(
            f"{type(layer).__name__} backward: expected a gradient of its input's shape {layer._entered}, found {found}"
        )
    return deliver(dx, into, fresh=not np.may_share_memory(dx, given))


class Plain:
    """A layer that takes and gives arrays only, through its forward and backward."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        return carry_array(self.layer, x)

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        return carry_array_back(self.layer, dy, into, accumulate)

    def _remembers(self, x: Value) -> Deferred | None:
        return place(x)

    def wants_statistics(self) -> bool:
        return False

    def _forget(self) -> None:
        self.layer._forget()
