"""Parameters, and the one flat buffer in which all parameters of a net lie."""

from collections.abc import Sequence

import numpy as np

from . import memory
from .memory import Array

LINE = 64  # bytes: every parameter starts on a cache line


class Parameter:
    """An array that is learned: .data, its gradient .grad (same shape), .name, and .decay (weight decay applies to it).

    Assigning to .data or .grad copies the values into the place they have; the arrays themselves are views into the flat
    buffer of a ParameterBuffer once an update rule has been built on them.
    """

    __slots__ = ("_data", "_grad", "decay", "name")

    def __init__(self, data: Array, name: str = "", decay: bool = True) -> None:
        if data.dtype not in (np.float32, np.float64):
            raise TypeError(f"Parameter {name!r}: expected float32 or float64, found {data.dtype}")
        self._data = memory.empty(data.shape, data.dtype)
        self._data[...] = data
        self._grad = memory.zeros(data.shape, data.dtype)
        self.name = name
        self.decay = decay

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


class ParameterBuffer:
    """All parameters in one flat aligned array, their gradients in another: decayed ones first, each on its own cache line.

    .data and .grad (1-D) hold everything, padding included (zeros, and a zero gradient keeps them zero); .decayed is the
    length of the leading part that weight decay applies to; .spans gives (start, stop) per parameter in the given order.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("ParameterBuffer: no parameters: the net has nothing to learn")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError("ParameterBuffer: a parameter is listed twice")
        kinds = {p.data.dtype for p in self.parameters}
        if len(kinds) > 1:
            raise TypeError(f"ParameterBuffer: expected parameters of one dtype, found {sorted(map(str, kinds))}")
        dtype = kinds.pop()
        step = LINE // dtype.itemsize
        spans: dict[int, tuple[int, int]] = {}
        end = 0
        for wanted in (True, False):
            for p in self.parameters:
                if p.decay == wanted:
                    spans[id(p)] = (end, end + p.size)
                    end += -(-p.size // step) * step
            if wanted:
                self.decayed = end
        self.spans = [spans[id(p)] for p in self.parameters]
        self.data, self.grad = memory.zeros((end,), dtype), memory.zeros((end,), dtype)
        for p, (start, stop) in zip(self.parameters, self.spans):
            p.move(self.data[start:stop].reshape(p.shape), self.grad[start:stop].reshape(p.shape))

    def views(self, flat: Array) -> dict[str, Array]:
        """The part of a flat array of this layout (moments, averages) that belongs to each parameter, by name."""
        return {p.name: flat[i:j].reshape(p.shape) for p, (i, j) in zip(self.parameters, self.spans)}
