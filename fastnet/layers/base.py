"""What every layer has: parameters, buffers, children, modes, state."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from .. import memory
from ..memory import Array
from ..parameters import Parameter

if TYPE_CHECKING:
    from .summary import Summary


_modes = threading.Lock()  # guards the modes against two `evaluating` blocks that begin or end at once


class Layer:
    """A function with parameters: y = forward(x), dx = backward(dy).

    A subclass calls `self.add_parameter`, `self.add_buffer` and `self.add_child` in its constructor, and writes

        def forward(self, x):
            y, saved = functional.conv2d(x, self.weight.data, …)
            return self._keep(y, saved)

        def backward(self, dy, *, accumulate=False, input_gradient=True):
            dx, dw = functional.conv2d_backward(dy, self._kept(), input_gradient=input_gradient)
            self._give(self.weight, dw, accumulate)
            return dx

    backward belongs to the latest forward in training mode; in eval mode nothing is kept, so forward may run from several
    threads at once. `accumulate` adds to the gradients instead of writing them; with `input_gradient=False` the gradient of
    the input, which nobody needs of a net's first layer, may be left out (None).
    """

    training: bool = True
    _evaluations = 0  # blocks of `evaluating` that are open
    _restore: list[tuple[Layer, bool]]

    def __init__(self) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._buffers: dict[str, Array] = {}
        self._children: dict[str, Layer] = {}
        self._saved: Any = None

    # --- what a subclass writes ---------------------------------------------------------------------------------------

    def forward(self, x: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def multiply_adds(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        """Multiply-adds of one example, for `summary`: 0 where they do not count."""
        return 0

    # --- what it writes it with ----------------------------------------------------------------------------------------

    def add_parameter(self, name: str, data: Array, decay: bool = True) -> Parameter:
        """Register a learned array under this name, which becomes an attribute too."""
        self._parameters[name] = parameter = Parameter(data, name, decay)
        setattr(self, name, parameter)
        return parameter

    def add_buffer(self, name: str, data: Array) -> Array:
        """Register an array that is state but not learned (a running mean)."""
        self._buffers[name] = data
        return data

    def add_child(self, name: str, layer: Layer) -> Layer:
        """Register a layer inside this one; its parameters get this name as a prefix."""
        if not isinstance(layer, Layer):
            raise TypeError(f"{type(self).__name__}: {name!r} must be a Layer, found {type(layer).__name__}")
        self._children[name] = layer
        return layer

    def _keep(self, y: Array, saved: Any) -> Array:
        """Remember for backward in training mode; return y."""
        if self.training:
            self._saved = saved
        return y

    def _kept(self) -> Any:
        """What the latest forward in training mode kept."""
        if self._saved is None:
            raise RuntimeError(f"{type(self).__name__}: backward without a forward in training mode before it")
        return self._saved

    def _give(self, parameter: Parameter | None, gradient: Array | None, accumulate: bool) -> None:
        """Write or add a parameter's gradient."""
        if parameter is None or gradient is None:
            return
        if accumulate:
            np.add(parameter.grad, gradient, out=parameter.grad)
        else:
            np.copyto(parameter.grad, gradient)

    # --- what it gets --------------------------------------------------------------------------------------------------

    def __call__(self, x: Array) -> Array:
        return self.forward(x)

    def train(self, mode: bool = True) -> Layer:
        """Training mode for this layer and all inside it; returns the layer."""
        for layer in self.modules():
            layer.training = bool(mode)
        return self

    def eval(self) -> Layer:
        """Evaluation mode; returns the layer."""
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode inside the block, each layer's own mode after it. Blocks may overlap in several threads."""
        with _modes:
            if not self._evaluations:
                self._restore = [(layer, layer.training) for layer in self.modules()]
                for layer, _ in self._restore:
                    layer.training = False
            self._evaluations += 1
        try:
            yield
        finally:
            with _modes:
                self._evaluations -= 1
                if not self._evaluations:
                    for layer, mode in self._restore:
                        layer.training = mode
                    self._restore = []

    def predict(self, x: Array, batch_size: int = 256) -> Array:
        """forward(x) in evaluation mode, `batch_size` examples at a time: the scores of all of x (N, …).

        The mode the layer had is back afterwards. It may run in several threads at once, but not beside training.
        """
        if type(batch_size) is not int or batch_size < 1:
            raise ValueError(f"{type(self).__name__}.predict: batch_size must be at least 1, found {batch_size!r}")
        if not isinstance(x, np.ndarray) or not x.ndim:
            raise TypeError(f"{type(self).__name__}.predict: x must be an array of examples, found {type(x).__name__}")
        with self.evaluating():
            y = self.forward(x[:batch_size])
            if len(x) <= batch_size:
                return y
            whole = memory.empty((len(x), *y.shape[1:]), y.dtype)
            whole[:batch_size] = y
            for start in range(batch_size, len(x), batch_size):
                whole[start : start + batch_size] = self.forward(x[start : start + batch_size])
        return whole

    def children(self) -> list[Layer]:
        return list(self._children.values())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(dotted name, layer) of this layer (named "") and every one inside it, in the order of definition."""
        yield prefix, self
        for name, child in self._children.items():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Layer]:
        for _, layer in self.named_modules():
            yield layer

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """[(PyTorch's dotted name, Parameter)], each parameter once."""
        found: dict[int, tuple[str, Parameter]] = {}
        for prefix, layer in self.named_modules():
            for name, parameter in layer._parameters.items():
                found.setdefault(id(parameter), (f"{prefix}.{name}" if prefix else name, parameter))
        return list(found.values())

    def parameters(self) -> list[Parameter]:
        """All Parameters, each with its dotted name in this net as .name."""
        named = self.named_parameters()
        for name, parameter in named:
            parameter.name = name
        return [parameter for _, parameter in named]

    def named_buffers(self) -> list[tuple[str, Array]]:
        return [
            (f"{prefix}.{name}" if prefix else name, b)
            for prefix, layer in self.named_modules()
            for name, b in layer._buffers.items()
        ]

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad.fill(0)

    def state_dict(self) -> dict[str, Array]:
        """Name -> a copy of every parameter and buffer, with PyTorch's names and shapes."""
        state: dict[str, Array] = {}
        for prefix, layer in self.named_modules():
            for name, array in [(n, p.data) for n, p in layer._parameters.items()] + list(layer._buffers.items()):
                state[f"{prefix}.{name}" if prefix else name] = array.copy()
        return state

    def load_state_dict(self, mapping: Mapping[str, Array], strict: bool = True) -> Layer:
        """Copy arrays in by name. ValueError names what is missing, unexpected (unless strict=False) or of another shape;
        nothing is written then."""
        places = {}
        for prefix, layer in self.named_modules():
            for name, array in [(n, p.data) for n, p in layer._parameters.items()] + list(layer._buffers.items()):
                places[f"{prefix}.{name}" if prefix else name] = array
        missing, unexpected = sorted(places.keys() - mapping.keys()), sorted(mapping.keys() - places.keys())
        if strict and (missing or unexpected):
            raise ValueError(f"load_state_dict: missing {missing or 'nothing'}, unexpected {unexpected or 'nothing'}")
        values = {name: np.asarray(mapping[name]) for name in places if name in mapping}
        for name, value in values.items():
            if value.shape != places[name].shape:
                raise ValueError(f"load_state_dict: {name!r} must have shape {places[name].shape}, found {value.shape}")
            if value.dtype.kind not in "fiub":
                raise TypeError(f"load_state_dict: {name!r} must hold numbers, found dtype {value.dtype}")
        for name, value in values.items():
            np.copyto(places[name], value, casting="unsafe")
        return self

    def astype(self, dtype: DTypeLike) -> Layer:
        """Convert every floating-point parameter and buffer, in place; returns the layer. Build update rules afterwards."""
        kind = np.dtype(dtype)
        if kind not in (np.float32, np.float64):
            raise TypeError(f"astype: expected float32 or float64, found {kind}")
        for layer in self.modules():
            layer._saved = None
            for parameter in layer._parameters.values():
                parameter.move(memory.empty(parameter.shape, kind), memory.empty(parameter.shape, kind))
            for name, array in layer._buffers.items():
                if array.dtype.kind == "f":
                    layer._buffers[name] = array.astype(kind)
        return self

    def summary(self, input_shape: tuple[int, ...]) -> Summary:
        """The layers as a printable table (output shape, parameters, multiply-adds, activation bytes, per example of this
        shape, without the batch); .rows for programs."""
        from .summary import summarize

        return summarize(self, input_shape)

    def extra_repr(self) -> str:
        """What stands between the parentheses of repr()."""
        return ""

    def __repr__(self) -> str:
        if not self._children:
            return f"{type(self).__name__}({self.extra_repr()})"
        inside = [re.sub(r"(?m)^(?!\A)", "  ", f"({name}): {child!r}") for name, child in self._children.items()]
        return f"{type(self).__name__}(\n" + "".join(f"  {line}\n" for line in inside) + ")"
