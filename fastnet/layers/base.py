"""What every layer has: parameters, buffers, children, modes, state."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from .. import memory
from ..functional import checks
from ..functional.deferred import Deferred, Into, Value, place
from ..memory import Array
from ..parameters import Parameter
from .calls import Plain, called, carry_array, carry_array_back, current, undone

if TYPE_CHECKING:
    from .summary import Summary


Kept = TypeVar("Kept")  # an array or what is Deferred

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

    What forward returns may be what backward goes by (of a ReLU, Sigmoid or Tanh it is): to change it in place, take a copy.
    """

    training: bool = True
    _frees = False  # what `free_after_backward` set
    _title = ""  # what errors call it, where that is not its class
    _plain = False  # has its class a forward or backward that its `carry` does not know of?
    _entered: tuple[int, ...] = ()  # the shape of what `carry` gave to the latest forward in training mode
    _evaluations = 0  # blocks of `evaluating` that are open
    _restore: list[tuple[Layer, bool]]

    def __init__(self) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._buffers: dict[str, Array] = {}
        self._children: dict[str, Layer] = {}
        self._saved: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__
        if "forward" in own:
            cls.forward = undone(called(cls.forward, ""))  # type: ignore[method-assign]
        if "backward" in own:
            cls.backward = called(cls.backward, " backward")  # type: ignore[method-assign]
        if "carry" in own:
            cls.carry = called(cls.carry, "")  # type: ignore[method-assign]
            cls.carry_back = called(cls.carry_back, " backward")  # type: ignore[method-assign]
            cls._plain = False
        elif "forward" in own or "backward" in own:  # what it inherits does not know of them
            cls._plain = cls.carry is not Layer.carry

    # --- what a subclass writes ---------------------------------------------------------------------------------------

    def forward(self, x: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    # --- what a subclass may write, to save passes over memory: see docs/fusion.md --------------------------------------

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        """forward of an array or of what is Deferred, to an array or what is Deferred; `statistics`: the next layer is a batch
        norm that could use those of y."""
        return carry_array(self, x)

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        """backward of the latest `carry`: dy is the gradient of y's t, and so is what is returned of x's, as `into` wants it;
        None: nobody needs it."""
        return carry_array_back(self, dy, into, accumulate)

    def _remembers(self, x: Value) -> Deferred | None:
        """What `carry_back` has to be told of the x of the latest `carry`."""
        return place(x)

    def wants_statistics(self) -> bool:
        """Is this a batch norm that will take its input's statistics?"""
        return False

    def _carrier(self) -> Layer | Plain:
        """What `carry` and `carry_back` are asked of: not of a layer whose class, or whose user, has put a forward or backward
        over them."""
        return Plain(self) if self._plain or {"forward", "backward"} & self.__dict__.keys() else self

    def _carries(self) -> bool:
        """Has it a `carry` of its own, by which it is run where layers carry?"""
        return type(self).carry is not Layer.carry and self._carrier() is self

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
        if {id(one) for one in self.modules()} & {id(one) for one in layer.modules()}:
            raise ValueError(
                f"{type(self).__name__}: {name!r} is or holds a layer that is in this one already; a layer remembers its "
                "latest forward, so each place needs a layer of its own"
            )
        self._children[name] = layer
        return layer

    def _keep(self, y: Kept, saved: Any) -> Kept:
        """Remember for backward in training mode; return y."""
        if self.training:
            self._saved = saved
            if current.layers is not None:
                current.layers.append(self)
        return y

    def _undo(self) -> None:
        """Be as before the latest forward, because a layer behind this one refused what it gave; what that forward kept for
        backward is lost. Layers whose forward changes more than that (running statistics) put it back here."""
        self._saved = None

    def _forget(self) -> None:
        """Let go of what this layer and those inside keep for backward."""
        for layer in self.modules():
            layer._saved = None

    def _kept(self) -> Any:
        """What the latest forward in training mode kept."""
        if self._saved is None:
            raise RuntimeError(f"{type(self).__name__}: backward without a forward in training mode before it")
        return self._saved

    def _give(self, parameter: Parameter | None, gradient: Array | None, accumulate: bool) -> None:
        """Write or add a parameter's gradient, if it is learning and not in its place already."""
        if parameter is None or gradient is None or not parameter.requires_grad or gradient is parameter.grad:
            return
        if accumulate:
            np.add(parameter.grad, gradient, out=parameter.grad)
        else:
            np.copyto(parameter.grad, gradient)

    def _target(self, parameter: Parameter, accumulate: bool) -> Array | None:
        """Where a product may write a parameter's gradient, so that it has no memory of its own; None: it is to be added."""
        return parameter.grad if parameter.requires_grad and not accumulate else None

    # --- what it gets --------------------------------------------------------------------------------------------------

    def __call__(self, x: Array) -> Array:
        return self.forward(x)

    def train(self, mode: bool = True) -> Layer:
        """Training mode for this layer and all inside it; returns the layer."""
        for layer in self.modules():
            layer.training = bool(mode)
        return self

    def free_after_backward(self, free: bool = True) -> Layer:
        """Let backward free what forward kept as it goes, as PyTorch's does: less memory, and one backward per forward.
        Returns the layer. The Solver trains so; by default backward may be called again."""
        for layer in self.modules():
            layer._frees = bool(free)
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
        batch_size = checks.integer(f"{type(self).__name__}.predict", batch_size, "batch_size", 1)
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

    def fold(self) -> Layer:
        """A copy for inference: batch norms in the weights in front of them, and small inputs without Python between the
        kernels (fastnet.layers.folding.Folded)."""
        from .folding import Folded

        return Folded(self)

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

    def requires_grad_(self, requires_grad: bool = True) -> Layer:
        """Freeze (False) or unfreeze all parameters of this layer, as in PyTorch; returns the layer."""
        for _, parameter in self.named_parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Set every gradient to 0. (backward writes them afresh unless told to accumulate.)"""
        for _, parameter in self.named_parameters():
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
        if not isinstance(mapping, Mapping):
            raise TypeError(f"load_state_dict: expected a mapping of names to arrays, found {type(mapping).__name__}")
        places = {}
        for prefix, layer in self.named_modules():
            for name, array in [(n, p.data) for n, p in layer._parameters.items()] + list(layer._buffers.items()):
                places[f"{prefix}.{name}" if prefix else name] = array
        missing = sorted(places.keys() - mapping.keys())
        unexpected = sorted(mapping.keys() - places.keys(), key=str)
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
        if dtype is None or kind not in (np.float32, np.float64):
            raise TypeError(f"{type(self).__name__}.astype: expected float32 or float64, found {dtype}")
        for layer in self.modules():
            layer._saved = None
            for parameter in layer._parameters.values():
                parameter.move(memory.empty(parameter.shape, kind), memory.empty(parameter.shape, kind))
            for name, array in layer._buffers.items():
                if array.dtype.kind == "f":
                    layer._buffers[name] = array.astype(kind)
        return self

    def summary(self, input_shape: tuple[int, ...], batch: int | None = None) -> Summary:
        """The layers as a printable table (output shape, parameters, multiply-adds, activation bytes, per example of this
        shape, without the batch); .rows for programs. Given a batch size, also .peak: the bytes that a training step of so
        many examples takes at its largest moment, from two small ones that are run; without the parameters. What shares a pass
        over memory with what: fastnet.plan."""
        from .summary import summarize

        op = f"{type(self).__name__}.summary"
        if not isinstance(input_shape, tuple | list):
            raise TypeError(f"{op}: input_shape must be a tuple such as (C, H, W), found {input_shape!r}")
        shape = tuple(checks.integer(op, size, "input_shape", 1) for size in input_shape)
        return summarize(self, shape, None if batch is None else checks.integer(op, batch, "batch", 1))

    def extra_repr(self) -> str:
        """What stands between the parentheses of repr()."""
        return ""

    def __repr__(self) -> str:
        if not self._children:
            return f"{type(self).__name__}({self.extra_repr()})"
        inside = [re.sub(r"(?m)^(?!\A)", "  ", f"({name}): {child!r}") for name, child in self._children.items()]
        return f"{type(self).__name__}(\n" + "".join(f"  {line}\n" for line in inside) + ")"
