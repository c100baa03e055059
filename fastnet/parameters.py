"""Parameters, and the one flat buffer in which all parameters of a net lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from . import memory
from .memory import Array

LINE = 64  # bytes: every parameter starts on a cache line


class Parameter:
    """An array that is learned: .data, its gradient .grad (same shape), .name, and how rules treat it.

    decay          whether weight decay applies to it; or a number: how many times the rule's weight decay
    lr_factor      its learning rate is so many times the rule's
    requires_grad  False freezes it: backward leaves its gradient out (where it can, unmade) and rules pass over it, until it
                   is True again. The gradient is 0 meanwhile.

    Assigning to .data or .grad copies the values into the place they have; the arrays themselves are views into the
    flat buffer of a ParameterBuffer once an update rule has been built on them.
    """

    __slots__ = ("_data", "_grad", "_requires_grad", "decay", "lr_factor", "name")

    def __init__(self, data: Array, name: str = "", decay: float = True) -> None:
        if data.dtype not in (np.float32, np.float64):
            raise TypeError(f"Parameter {name!r}: expected float32 or float64, found {data.dtype}")
        self._data = memory.empty(data.shape, data.dtype)
        self._data[...] = data
        self._grad = memory.zeros(data.shape, data.dtype)
        self.name = name
        self.decay = decay
        self.lr_factor = 1.0
        self._requires_grad = True

    @property
    def data(self) -> Array:
        return self._data

    @data.setter
    def data(self, value: Array) -> None:
        self._fill(self._data, value, "data")

    @property
    def grad(self) -> Array:
        return self._grad

    @grad.setter
    def grad(self, value: Array) -> None:
        self._fill(self._grad, value, "grad")

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not value:
            self._grad.fill(0)  # or what looks at all gradients at once would still see the last one
        self._requires_grad = bool(value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def size(self) -> int:
        return self._data.size

    def _fill(self, place: Array, value: Array, which: str) -> None:
        if np.shape(value) != place.shape:
            raise ValueError(f"Parameter {self.name!r}: .{which} has shape {place.shape}, found {np.shape(value)}")
        if value is not place:
            np.copyto(place, value, casting="same_kind")

    def move(self, data: Array, grad: Array) -> None:
        """Live in these arrays of the same shape from now on, with the present values."""
        data[...] = self._data
        grad[...] = self._grad
        self._data, self._grad = data, grad

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self.shape}, {self._data.dtype})"


class Run(NamedTuple):
    """A stretch of a flat buffer whose parameters learn alike: at lr_factor times a rule's rate, with decay times its decay."""

    start: int
    stop: int
    lr_factor: float
    decay: float


class ParameterBuffer:
    """All parameters in one flat aligned array, their gradients in another: decayed ones first, each on its own line.

    .data and .grad (1-D) hold everything, padding included (zeros, and a zero gradient keeps them zero); .decayed is
    the length of the leading part that weight decay applies to; .spans gives (start, stop) per parameter in the given
    order, .names their names at this moment. The constructor moves the parameters; `of` moves them only if it must.
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self._list(parameters)
        end = self._lay_out(self.parameters)
        dtype = self.parameters[0].data.dtype
        self.data, self.grad = memory.zeros((end,), dtype), memory.zeros((end,), dtype)
        for p, (start, stop) in zip(self.parameters, self.spans):
            p.move(self.data[start:stop].reshape(p.shape), self.grad[start:stop].reshape(p.shape))
        self._settle()

    @classmethod
    def of(cls, parameters: Iterable[Parameter]) -> ParameterBuffer:
        """The buffer that these parameters fill already, in whatever order they are given, or else a new one.

        So a second rule, or an average, on the same net shares the memory of the first.
        """
        buffer = cls.__new__(cls)
        buffer._list(parameters)
        data, grad = (_filled([getattr(p, which) for p in buffer.parameters]) for which in ("data", "grad"))
        if data is not None and grad is not None:
            buffer.data, buffer.grad = data, grad
            end = buffer._lay_out(sorted(buffer.parameters, key=lambda p: p.data.ctypes.data))
            views = buffer._views(data), buffer._views(grad)
            at_home = all(
                p.data.ctypes.data == v.ctypes.data and p.grad.ctypes.data == u.ctypes.data
                for p, v, u in zip(buffer.parameters, *views)
            )
            if end == data.size == grad.size and at_home:
                buffer._settle()
                return buffer
        return cls(buffer.parameters)

    def _list(self, parameters: Iterable[Parameter]) -> None:
        self.parameters = parameter_list("ParameterBuffer", parameters)
        if not self.parameters:
            raise ValueError("ParameterBuffer: no parameters: the net has nothing to learn")
        kinds = {p.data.dtype for p in self.parameters}
        if len(kinds) > 1:
            raise TypeError(f"ParameterBuffer: expected parameters of one dtype, found {sorted(map(str, kinds))}")
        self.names = [p.name for p in self.parameters]

    def _lay_out(self, order: Sequence[Parameter]) -> int:
        """Find every parameter's span, placed one after the other in this order; the end of the last."""
        spans: dict[int, tuple[int, int]] = {}
        end = 0
        for wanted in (True, False):
            for p in order:
                if bool(p.decay) == wanted:
                    spans[id(p)] = (end, end + p.size)
                    end += _padded(p.data)
            if wanted:
                self.decayed = end
        self.spans = [spans[id(p)] for p in self.parameters]
        return end

    def _settle(self) -> None:
        self._places = [(p.data, p.grad) for p in self.parameters]
        self._key: tuple[tuple[bool, float, float], ...] | None = None  # what `_runs` belong to
        self._runs: list[Run] = []

    def check(self, op: str) -> None:
        """RuntimeError if a parameter has left this buffer: an update of the buffer would no longer reach it."""
        for p, name, (data, grad) in zip(self.parameters, self.names, self._places):
            if p.data is not data or p.grad is not grad:
                raise RuntimeError(
                    f"{op}: parameter {name!r} has moved to other memory since (the net was converted, or a rule was "
                    f"built on another selection of parameters): build {op} anew"
                )

    def runs(self) -> list[Run]:
        """The parts that learn, in order: what is frozen is left out, neighbours that learn alike are one.

        ValueError for a decay or lr_factor that is negative or not finite.
        """
        key = tuple((p._requires_grad, p.lr_factor, p.decay) for p in self.parameters)
        if key == self._key:
            return self._runs
        found: list[Run] = []
        for (start, _), p in sorted(zip(self.spans, self.parameters), key=lambda item: item[0]):
            for what, value in (("decay", p.decay), ("lr_factor", p.lr_factor)):
                if not 0 <= value < math.inf:
                    raise ValueError(f"Parameter {p.name!r}: {what} must be finite and at least 0, found {value}")
            run = Run(start, start + _padded(p.data), float(p.lr_factor), float(p.decay))
            if not p._requires_grad or not p.size:
                continue
            if found and found[-1].stop == run.start and found[-1][2:] == run[2:]:
                run = found.pop()._replace(stop=run.stop)
            found.append(run)
        self._key, self._runs = key, found
        return found

    def _views(self, flat: Array) -> list[Array]:
        return [flat[i:j].reshape(p.shape) for p, (i, j) in zip(self.parameters, self.spans)]

    def views(self, flat: Array) -> dict[str, Array]:
        """The part of a flat array of this layout (moments, averages) that belongs to each parameter, by name."""
        if len(set(self.names)) < len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"ParameterBuffer: expected parameters of different names, found {twice} more than once")
        return dict(zip(self.names, self._views(flat)))


def parameter_list(op: str, parameters: Iterable[Parameter]) -> list[Parameter]:
    """Parameters as a list; TypeError if something else is among them, ValueError if one is listed twice."""
    if not isinstance(parameters, Iterable):
        raise TypeError(f"{op}: expected a list of Parameters (layer.parameters()), found {type(parameters).__name__}")
    found = list(parameters)
    for p in found:
        if not isinstance(p, Parameter):
            raise TypeError(f"{op}: expected Parameters (layer.parameters()), found {type(p).__name__}")
    if len({id(p) for p in found}) < len(found):
        raise ValueError(f"{op}: a parameter is listed twice")
    return found


def flat_gradients(parameters: Sequence[Parameter]) -> list[Array]:
    """The gradients as 1-D views: a single one if these parameters fill a ParameterBuffer, else one for each."""
    whole = _filled([p.grad for p in parameters])
    return [p.grad.reshape(-1) for p in parameters] if whole is None else [whole]


def _padded(array: Array) -> int:
    """The elements an array takes in a ParameterBuffer: up to the end of its last cache line."""
    step = LINE // array.itemsize
    return -(-array.size // step) * step


def _filled(arrays: Sequence[Array]) -> Array | None:
    """The 1-D array that these different arrays are views of, if they fill it but for the padding."""
    whole = arrays[0].base if arrays else None
    if not isinstance(whole, np.ndarray) or whole.ndim != 1 or whole.dtype != arrays[0].dtype:
        return None
    if any(a.base is not whole for a in arrays) or sum(map(_padded, arrays)) != whole.size:
        return None
    return whole
