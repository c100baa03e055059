"""Arrays seen as flat memory: for operations on one number at a time, whatever order the numbers lie in."""

from typing import Any

from .. import config, memory
from .._ext import elementwise as kernels
from ..memory import Array
from . import checks


def ordered(x: Array) -> tuple[Array, bool]:
    """x's memory as a C-ordered array, and whether that is channels-last (N, H, W, C): a view where x is contiguous in
    either order, else a copy, channels-last for images."""
    if x.ndim == 4 and not (x.flags.c_contiguous and x.shape[1] > 1 and max(x.shape[2:]) > 1):
        return memory.channels_last(x), True
    return c_order(x), False


def c_order(x: Array) -> Array:
    """x in C order: itself, or a copy."""
    return x if x.flags.c_contiguous and x.flags.aligned else memory.copy(x)


def logical(m: Array, channels_last: bool) -> Array:
    """The (N, C, H, W) view of channels-last memory; any other memory as it is."""
    return m.transpose(0, 3, 1, 2) if channels_last else m


def same_order(x: Array, channels_last: bool) -> Array:
    """x's memory in the order that another array had: a view or a copy."""
    return memory.channels_last(x) if channels_last else c_order(x)


def add(a: Any, b: Any) -> Array:
    """a + b, both of one shape and dtype. The gradient of each is the gradient of the sum."""
    a = checks.floats("add", a, name="a")
    b = checks.floats("add", b, name="b")
    if a.shape != b.shape:
        raise ValueError(f"add: a and b must have one shape, found {a.shape} and {b.shape}")
    if a.dtype != b.dtype:
        raise TypeError(f"add: a and b must have one dtype, found {a.dtype} and {b.dtype}")
    first, images = ordered(a)
    second = same_order(b, images)
    out = memory.empty(first.shape, a.dtype)
    kernels.add(first.reshape(-1), second.reshape(-1), out.reshape(-1), config.get_num_threads())
    return logical(out, images)


def scale(x: Any, factor: float) -> Array:
    """x * factor. The gradient of x is that of the product times factor."""
    source, images = ordered(checks.floats("scale", x))
    out = memory.empty(source.shape, source.dtype)
    kernels.scale(source.reshape(-1), factor, out.reshape(-1), config.get_num_threads())
    return logical(out, images)
