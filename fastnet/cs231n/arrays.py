"""Arrays as a student has them: of any memory order and any real dtype on the way in, C-ordered on the way out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import functional, memory
from ..memory import Array

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def floats(op: str, **arrays: Any) -> list[Array]:
    """The arrays in their common dtype, as NumPy's arithmetic would have it: float32 if all are, else float64.

    TypeError for anything but real numbers.
    """
    found = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in found.items():
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{op}: {name} must hold real numbers, found dtype {array.dtype}")
    common = np.result_type(*found.values())
    dtype = common if common in FLOATS else FLOATS[1]
    return [array.astype(dtype, copy=False) for array in found.values()]


def gradient(op: str, dout: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """dout in the dtype of the forward pass; ValueError unless it has the output's shape."""
    dout = np.asarray(dout)
    if dout.shape != shape:
        raise ValueError(f"{op}: dout must have the shape of the forward pass's output {shape}, found {dout.shape}")
    return floats(op, dout=dout)[0].astype(dtype, copy=False)


def ordinary(y: Array) -> Array:
    """y in C order: itself or a copy. Images come out of the kernels channels-last."""
    if y.flags.c_contiguous:
        return y
    return functional.flatten(y)[0].reshape(y.shape) if y.ndim == 4 and y.size else memory.copy(y)


def own(y: Array) -> Array:
    """y in C order and memory of its own, for a kernel's output that a cache keeps: the caller may change it in place."""
    return memory.copy(y) if y.flags.c_contiguous else ordinary(y)


def rows(x: Array) -> Array:
    """x (N, …) as (N, D), where D is the product of the rest."""
    return x.reshape(x.shape[0], int(np.prod(x.shape[1:])))


def setting(op: str, given: Mapping[str, Any], what: str, name: str) -> Any:
    """given[name]; KeyError says which dictionary lacks it."""
    if name not in given:
        raise KeyError(f"{op}: {what} needs {name!r}, found {sorted(given)}")
    return given[name]


def is_training(op: str, given: Mapping[str, Any], what: str) -> bool:
    """Whether the dictionary's "mode" is "train"; ValueError unless that or "test"."""
    mode = setting(op, given, what, "mode")
    if mode not in ("train", "test"):
        raise ValueError(f'{op}: {what}["mode"] must be "train" or "test", found {mode!r}')
    return bool(mode == "train")
