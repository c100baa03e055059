"""The kernels' calls of one evaluation, recorded once and made again without the Python between them.

Every kernel writes into arrays that it is given, so its calls, with the very arrays, are the whole evaluation; new numbers go
into the array that was the input. What a recording misses (a layer that computes with NumPy) shows when it is proven:
the program must give what the net gives for other numbers, or it is not used.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _ext
from ..memory import Array

PRODUCTS = ["amx_correlate", "amx_winograd", "correlate", "depthwise", "rows", "winograd"]
PASSES = ["avg_pool", "channelwise", "elementwise", "layout", "max_pool", "norm"]
CONSTANT = ("pack", "vector_width")  # beginnings of names: of what is computed from weights and shapes alone
_recording = threading.Lock()
_replaced: list[tuple[Any, str, Any]] = []  # what stands behind recorders: (module, name, kernel)


def _forget() -> None:
    """In a forked child: the thread of the parent that was recording is not there to end it."""
    global _recording
    _recording = threading.Lock()
    _restore()


def _restore() -> None:
    while _replaced:
        setattr(*_replaced.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Program:
    """Calls of kernels that make `output` from what stands in `input`."""

    def __init__(self, forward: Callable[[Array], Array], x: Array) -> None:
        self.input = np.array(x, order="K", copy=True)  # in the same order: it decides which kernels run
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = []
        with _recording:
            try:
                self._listen()
                self.output = forward(self.input)
            finally:
                _restore()
        self._ready = [(_of_type(function, args), _views(args), result) for function, args, result in self.calls]

    def _listen(self) -> None:
        """Put a recorder in front of every kernel."""
        me = threading.get_ident()
        for family in PRODUCTS + PASSES:
            module = getattr(_ext, family, None)
            for name in dir(module) if module is not None else ():
                function = getattr(module, name)
                if name.startswith(("_", *CONSTANT)) or "function" not in type(function).__name__:
                    continue
                _replaced.append((module, name, function))

                def recorder(*args: Any, _function: Any = function) -> Any:
                    result = _function(*args)
                    if threading.get_ident() == me:
                        self.calls.append((_function, args, result))
                    return result

                setattr(module, name, recorder)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that the calls write and read, those of the weights included."""
        found: dict[int, int] = {}
        for _, args, _ in self.calls:
            for array in args:
                if isinstance(array, np.ndarray):
                    whole = array
                    while isinstance(whole.base, np.ndarray):
                        whole = whole.base
                    found[id(whole)] = whole.nbytes
        return sum(found.values())

    def run(self, x: Array) -> bool:
        """The output for x; False where a kernel answers otherwise than when it was recorded (numbers that do not split)."""
        np.copyto(self.input, x)
        return all(function(*args) == result for function, args, result in self._ready)

    def proves(self, forward: Callable[[Array], Array]) -> bool:
        """Does it give forward's bits for other numbers?"""
        other = np.empty_like(self.input)
        np.copyto(other, np.random.default_rng(0).standard_normal(other.shape), casting="same_kind")
        wanted = forward(other)
        return self.run(other) and np.array_equal(self.output, wanted, equal_nan=True)


def _of_type(function: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any]:
    """A kernel for the one type of number it was called with: that need not be found out again."""
    dtype = next((array.dtype.char for array in args if isinstance(array, np.ndarray)), "")
    name = {"f": "float", "d": "double"}.get(dtype, "")
    found: Callable[..., Any] = function[name] if name in getattr(function, "__signatures__", ()) else function  # type: ignore[index]
    return found


def _views(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arrays as views, which say faster than arrays what is in them: 14 us of the 485 of ResNet-20's calls."""
    return tuple(
        arg.data if isinstance(arg, np.ndarray) else _views(arg) if isinstance(arg, tuple) else arg for arg in args
    )
