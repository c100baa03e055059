"""Activations of what is Deferred: y = f(t) in one pass, and in another the gradient of t, with the sums for a batch norm.

Rectifiers need no pass at all (deferred.py). Which functions there are, and their formulas: activations.py.
"""

from .. import config, memory
from .._ext import channelwise as kernels
from ..memory import Array
from .deferred import Deferred, Into, Value, finish_into, memory_of


def activate(x: Deferred, function: int, alpha: float = 0.0) -> Array:
    """y = f(t), (N, C, H, W), of an x that is linear; `function`: one of _ext.elementwise's numbers."""
    y = memory.empty(x.a.shape, x.dtype)
    kernels.activate(function, x.a, x.map(), y, alpha, config.get_num_threads())
    return y.transpose(0, 3, 1, 2)


def activate_back(dy: Value, x: Deferred, into: Into, function: int, alpha: float = 0.0) -> Deferred:
    """The gradient of x's t, dy * f'(t), and what `into` wants of it."""
    finish = finish_into(into, gated=True)
    arguments, sums = (None, None) if finish is None else (finish.arguments(), finish.sums)
    out = memory.empty(x.a.shape, x.dtype)
    threads = config.get_num_threads()
    kernels.activate_backward(function, x.a, x.map(), memory_of(dy), out, alpha, arguments, sums, threads)
    return Deferred(out, sums=None if finish is None else finish.left)
