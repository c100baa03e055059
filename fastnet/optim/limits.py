"""Limits on gradients, before a step, and on weights, after one."""

import math
from collections.abc import Iterable

from .. import config
from .._ext import flat as kernels
from ..parameters import Parameter, flat_gradients, parameter_list
from . import checks


def clip_grad_norm(params: Iterable[Parameter], max_norm: float, *, error_if_nonfinite: bool = False) -> float:
    """All gradients times min(1, max_norm / (norm + 1e-6)); returns norm, the Euclidean norm of all gradients together.

    As torch.nn.utils.clip_grad_norm_: a norm that is NaN makes every gradient NaN, an infinite one makes the finite gradients
    0; with error_if_nonfinite both raise ValueError before anything is written. Summed in double, in an order that does not
    depend on the threads.  Pascanu, Mikolov & Bengio 2013, algorithm 1.
    """
    flats = flat_gradients(parameter_list("clip_grad_norm", params))
    checks.flag("clip_grad_norm", "error_if_nonfinite", error_if_nonfinite)
    if max_norm != math.inf:  # infinity measures the norm and limits nothing
        max_norm = checks.NOT_NEGATIVE("clip_grad_norm", "max_norm", max_norm)
    threads = config.get_num_threads()
    norm = math.sqrt(sum(kernels.dot(flat, flat, threads) for flat in flats))
    if error_if_nonfinite and not math.isfinite(norm):
        raise ValueError(f"clip_grad_norm: the norm of the gradients is {norm}")
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1 and max_norm != math.inf:
        for flat in flats:
            kernels.limit(flat, factor, math.inf, threads)
    return norm


def clip_grad_value(params: Iterable[Parameter], value: float) -> None:
    """Every element of the gradients into [-value, value]; NaN stays NaN. As torch.nn.utils.clip_grad_value_."""
    flats = flat_gradients(parameter_list("clip_grad_value", params))
    value = checks.NOT_NEGATIVE("clip_grad_value", "value", value)
    for flat in flats:
        kernels.limit(flat, 1.0, value, config.get_num_threads())


class MaxNorm:
    """||w[f]|| <= c for every output unit f: longer incoming weight vectors are scaled down to norm c. Apply after a step:

        rule.step()
        limit.apply()           # in a Solver: callbacks=[Lambda(on_step=lambda solver: limit.apply())]

    Works on the parameters with .decay True and two or more dimensions (weights, not biases and norms), along their first
    axis, which is the output unit of Conv2d (F, C/groups, KH, KW) and Linear (out, in). Typical c: 3 or 4.
    Srebro & Shraibman 2005; Srivastava et al. 2014, section 5.1.
    """

    def __init__(self, params: Iterable[Parameter], c: float) -> None:
        self.parameters = [p for p in parameter_list("MaxNorm", params) if p.decay and p.data.ndim > 1 and p.size]
        self.c = c

    @property
    def c(self) -> float:
        return self._c

    @c.setter
    def c(self, value: float) -> None:
        self._c = checks.POSITIVE("MaxNorm", "c", value)

    def apply(self) -> None:
        """Scale down what is too long, in place."""
        for p in filter(lambda p: p.requires_grad, self.parameters):
            kernels.max_norm(p.data.reshape(p.shape[0], -1), self._c, config.get_num_threads())
