"""A net made ready for inference: batch norms folded into the weights in front of them, the kernels' calls recorded."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import config
from ..functional.capture import Program
from ..functional.deferred import Deferred, Finish, Value, place, result, stored_of
from ..memory import Array
from .activations import LeakyReLU, ReLU
from .base import Layer
from .calls import native
from .containers import Residual, Sequential
from .convolution import Conv2d
from .linear import Linear
from .normalization import BatchNorm1d, BatchNorm2d
from .pooling import MaxPool2d
from .shape import Identity

# Bytes of a program's arrays, packed weights included: beyond, calls are long and memory better shared.
LIMIT = 512 << 20
MANY = 16  # shapes that are remembered


class Folded(Layer):
    """What `net.fold()` returns: a copy of the net for inference, always in evaluation mode.

    y = w x + b, normalised with running statistics, is w' x + b', w' = w * gamma / sqrt(var + eps): a batch norm straight
    behind a convolution or a linear layer costs nothing. Rectifiers, and the addition of a Residual, are done to blocks of the
    output of the convolution before them. Of small inputs the calls of the kernels are recorded for every shape
    when it comes for the second time, and made again without the Python in between; larger ones run layer by layer. Weights
    are those of the moment of folding. forward may run from several threads at once; there is no backward.
    """

    def __init__(self, net: Layer) -> None:
        super().__init__()
        self.net = self.add_child("net", _folded(net))
        self._programs: dict[Any, Program | None] = {}
        self._seen: set[Any] = set()
        self._lock = threading.Lock()
        super().train(False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are of the net; what they record is their own."""
        return Folded, (self.net,)

    def astype(self, dtype: DTypeLike) -> Layer:
        self._forget_programs()
        return super().astype(dtype)

    def load_state_dict(self, mapping: Mapping[str, Array], strict: bool = True) -> Layer:
        self._forget_programs()
        return super().load_state_dict(mapping, strict)

    def _forget_programs(self) -> None:
        """They have the packed weights in them."""
        with self._lock:
            self._seen.clear()
            self._programs.clear()

    def train(self, mode: bool = True) -> Layer:
        """Evaluation mode stays, whatever is asked for."""
        return super().train(False)

    def forward(self, x: Array) -> Array:
        if not isinstance(x, np.ndarray) or not self._lock.acquire(blocking=False):
            return self.net.forward(x)
        try:
            key = x.shape, x.dtype, x.strides, config.get_num_threads(), config.get_float32_matmul_precision()
            if key in self._programs:
                program = self._programs[key]
                if program is not None and program.run(x):
                    return program.output.copy()
            elif key in self._seen:
                self._programs[key] = self._recorded(x)
            else:
                self._remember(key)
            return self.net.forward(x)
        finally:
            self._lock.release()

    def _remember(self, key: Any) -> None:
        self._seen.add(key)
        if len(self._seen) > MANY:
            self._seen = {key}
            self._programs.clear()

    def _recorded(self, x: Array) -> Program | None:
        """A program that is proven, or None where one would be of no use."""
        program = Program(self.net.forward, x)
        fits = program.nbytes <= LIMIT and not np.may_share_memory(program.output, program.input)
        return program if fits and program.proves(self.net.forward) else None


def _folded(net: Layer) -> Layer:
    """A copy of the net in which batch norms are folded, in evaluation mode."""
    new = copy.deepcopy(net).eval()
    chains = [chain for chain in new.modules() if isinstance(chain, Sequential) and _in_turn(chain)]
    for chain in chains:
        for before, name in pairwise(list(chain._children)):
            layer, norm = chain._children[before], chain._children[name]
            kinds = type(layer), type(norm)
            if kinds in ((Conv2d, BatchNorm2d), (Linear, BatchNorm1d)) and _own(layer) and _own(norm):
                chain._children[before] = _with(layer, norm)
                chain._children[name] = Identity().eval()
    for chain in chains:
        _rectify(chain)
    return new


def _rectify(chain: Sequential) -> None:
    """Put rectifiers onto the products in front of them."""
    names = [name for name, layer in chain._children.items() if type(layer) is not Identity]
    for before, name, after in zip(names, names[1:], [*names[2:], ""]):
        layer, slope = chain._children[before], _slope(chain._children[name])
        if slope is None or not _own(layer):
            continue
        # Max-pooling hands a rectifier on, for a quarter of the numbers.
        if type(layer) is Conv2d and not isinstance(chain._children.get(after), MaxPool2d):
            chain._children[before] = _Rectified(layer, slope)
        elif type(layer) is Residual and _last(layer.body) is not None:
            chain._children[before] = _Joined(layer, slope)
        else:
            continue
        chain._children[name] = Identity().eval()


def _slope(layer: Any) -> float | None:
    """That of a rectifier which nobody has changed."""
    usual = type(layer) in (ReLU, LeakyReLU) and _own(layer) and 0 <= layer.slope < 1
    return float(layer.slope) if usual else None


def _last(body: Layer) -> Any:
    """The convolution that a body ends with, to which the rest can be done."""
    if not (type(body) is Sequential and _in_turn(body)):
        return None
    ends = [layer for layer in body if type(layer) is not Identity][-1:]
    return ends[0] if ends and type(ends[0]) is Conv2d and _own(ends[0]) else None


class _Rectified(Conv2d):
    """y = act(the convolution's output), done to blocks of it."""

    _title = "Conv2d"

    def __init__(self, layer: Conv2d, slope: float) -> None:
        self.__dict__.update(layer.__dict__)
        self.slope = slope

    def _finish(self) -> Finish:
        return result(self.slope)

    def _keep(self, y: Any, saved: Any) -> Any:
        """Nothing is kept: backward would be that of the convolution alone."""
        return y


class _Joined(Residual):
    """y = act(body(x) + shortcut(x)), done to blocks of the output of the body's last convolution."""

    _title = "Residual"

    def __init__(self, layer: Residual, slope: float) -> None:
        self.__dict__.update(layer.__dict__)
        self.slope = slope

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        x = native(x)
        last, y = _last(self.body), x
        entered = place(x)
        if entered is not None:
            entered.stored()  # it is needed more than once
        short = x if self.shortcut is None else self.shortcut._carrier().carry(x)
        for layer in self.body.children():
            if layer is not last and type(layer) is not Identity:
                y = layer._carrier().carry(y)
        if y.dtype != short.dtype or len(short.shape) != 4:
            raise ValueError(f"Residual: the body has {y.dtype}, the shortcut {short.dtype}, of shape {short.shape}")
        z, _ = last._convolve(y, result(self.slope, stored_of(short)), carried=True)
        return Deferred(z)


def _own(layer: Layer) -> bool:
    """Has nobody put a forward onto this very layer?"""
    return not {"forward", "carry"} & layer.__dict__.keys()


def _in_turn(chain: Sequential) -> bool:
    """Does it run its layers one after the other? A subclass may look at what comes out between two of them."""
    kind = type(chain)
    return kind.forward is Sequential.forward and kind.carry is Sequential.carry and _own(chain)


def _with(layer: Any, norm: Any) -> Layer:
    """The convolution or linear layer with the norm in its weights."""
    inverse = 1 / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    scale = inverse if norm.weight is None else norm.weight.data * inverse
    bias = -norm.running_mean * scale + (0 if norm.bias is None else norm.bias.data)
    if layer.bias is not None:
        bias = bias + layer.bias.data * scale
    weight = layer.weight.data * scale.reshape(-1, *[1] * (layer.weight.data.ndim - 1))
    dtype = layer.weight.data.dtype
    layer.weight = layer.add_parameter("weight", weight.astype(dtype))
    layer.bias = layer.add_parameter("bias", bias.astype(dtype), decay=False)
    new: Layer = layer
    return new
