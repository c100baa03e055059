"""Activations of what is Deferred: y = f(t) in one pass, and in another the gradient of t, with the sums for a batch norm.

Rectifiers need no pass at all (deferred.py). Which functions there are, and their formulas: activations.py.
"""

from .. import config, memory
from .._ext import channelwise as kernels
from .deferred import Deferred, Into, Value, finish_into, finished, riding, stored_as, stored_of


def activate(x: Deferred, function: int, alpha: float = 0.0) -> Deferred:
    """y = f(t) of an x that is linear; `function`: one of _ext.elementwise's numbers."""
    y = memory.empty(x.a.shape, x.a.dtype)
    kernels.activate(function, x.a, x.map(), y, alpha, config.get_num_threads())
    return Deferred(y)


def activate_back(dy: Value, x: Deferred, into: Into, function: int, alpha: float = 0.0) -> Deferred:
    """The gradient of x's t, dy * f'(t), and what `into` wants of it."""
    finish = finish_into(into, gated=True)
    out = memory.empty(x.a.shape, x.a.dtype)
    arguments, sums = riding(finish, out)
    dy = stored_as(stored_of(dy), out.dtype)
    kernels.activate_backward(function, x.a, x.map(), dy, out, alpha, arguments, sums, config.get_num_threads())
    return finished(out, finish)
