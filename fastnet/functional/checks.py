"""What every operation asks of its arguments, before anything is written."""

import math
from typing import Any

import numpy as np

from .. import memory
from ..memory import Array

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def floats(op: str, x: Any, ndim: int | None = None, name: str = "x") -> Array:
    """x as a native float32 or float64 array; TypeError for any other dtype, ValueError for another rank or a zero dimension
    behind the first."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{op}: {name} must be a NumPy array, found {type(x).__name__}")
    if x.dtype not in FLOATS and x.dtype.newbyteorder("=") not in FLOATS:
        raise TypeError(f"{op}: {name} must be float32 or float64, found {x.dtype}")
    if ndim is not None and x.ndim != ndim:
        raise ValueError(f"{op}: {name} must have {ndim} dimensions, found shape {x.shape}")
    if 0 in x.shape[1:]:
        raise ValueError(f"{op}: {name} has a dimension of zero, found shape {x.shape}")
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def images(op: str, x: Any, channels: int | None = None) -> Array:
    """The channels-last memory (N, H, W, C) of images x (N, C, H, W); ValueError unless they have that many channels."""
    x = floats(op, x, 4)
    if channels is not None and x.shape[1] != channels:
        raise ValueError(f"{op}: expected {channels} channels, found {x.shape[1]} in x of shape {x.shape}")
    return memory.channels_last(x)


def parameter(op: str, p: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """p, which must have this shape and the dtype of x."""
    p = floats(op, p, name=name)
    if p.shape != shape:
        raise ValueError(f"{op}: {name} must have shape {shape}, found {p.shape}")
    return same_dtype(op, p, name, dtype)


def same_dtype(op: str, p: Array, name: str, dtype: np.dtype[Any]) -> Array:
    """p, which must have the dtype of x."""
    if p.dtype != dtype:
        raise TypeError(f"{op}: {name} is {p.dtype} but x is {dtype}; convert one with .astype")
    return p


def gradient(op: str, dy: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """dy, which must have the forward pass's output shape (N, C, H, W …) and dtype."""
    dy = floats(op, dy, name="dy")
    if dy.shape != shape:
        raise ValueError(f"{op}: dy must have the shape of the forward pass's output {shape}, found {dy.shape}")
    return same_dtype(op, dy, "dy", dtype)


def integer(op: str, value: Any, name: str, least: int) -> int:
    """An integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{op}: {name} must be an integer, found {value!r}")
    if value < least:
        raise ValueError(f"{op}: {name} must be at least {least}, found {value}")
    return int(value)


def number(op: str, value: Any, name: str, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite real number between `least` and `most`, as a float."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{op}: {name} must be a number, found {value!r}")
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{op}: {name} must be a finite number between {least:g} and {most:g}, found {value}")
    return float(value)


def pair(op: str, value: Any, name: str, least: int) -> tuple[int, int]:
    """(height, width) of an integer or a pair of integers, each at least `least`."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{op}: {name} must be an integer or a pair (height, width), found {value!r}")
    return integer(op, both[0], name, least), integer(op, both[1], name, least)


def finite(array: Array) -> bool:
    """Are all values finite? The sum answers in one pass without a copy; only if it overflows each value is asked."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def labels(op: str, y: Any, rows: int, classes: int) -> Array:
    """Labels y (N,) as int64, each in [0, classes); the error names the first bad row."""
    y = np.asarray(y)
    if y.dtype.kind == "f" and y.ndim == 1 and (y % 1 != 0).any():
        row = int((y % 1 != 0).argmax())
        raise ValueError(f"{op}: label {y[row]} in row {row} is not an integer")
    if y.dtype.kind not in "iu":
        raise TypeError(f"{op}: labels must be integers, found {y.dtype}")
    if y.shape != (rows,):
        raise ValueError(f"{op}: expected {rows} labels of shape ({rows},), found shape {y.shape}")
    bad = (y < 0) | (y >= classes)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{op}: label {y[row]} in row {row} is outside 0 … {classes - 1}")
    return np.asarray(y, np.int64)
