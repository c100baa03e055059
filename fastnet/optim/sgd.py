"""Stochastic gradient descent: plain, with momentum, with Nesterov's."""

from collections.abc import Iterable
from typing import ClassVar

from .._ext import update as kernels
from ..memory import Array
from ..parameters import Parameter
from . import checks
from .rule import Rule


class SGD(Rule):
    """d = g + weight_decay w;  v = momentum v + d;  w -= lr v,  or with nesterov  w -= lr (d + momentum v).

    This is PyTorch's form: the learning rate stands outside the velocity. The course CS231n (and Sutskever) keeps it
    inside: v = momentum v - lr d; w += v. Both take the same steps while lr is constant; after a change of lr the
    course's velocity still holds steps of the old rate (`fastnet.cs231n.optim` has that form).
    v starts at 0, so that the first velocity is the first gradient, as in PyTorch. ValueError for nesterov without
    momentum. Polyak 1964; Nesterov 1983; Sutskever et al. 2013, section 2.
    """

    hyperparameters: ClassVar = {
        "lr": checks.NOT_NEGATIVE,
        "momentum": checks.FRACTION,
        "nesterov": checks.flag,
        "weight_decay": checks.NOT_NEGATIVE,
    }
    momentum: float
    nesterov: bool
    weight_decay: float

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if nesterov and momentum == 0:
            raise ValueError("SGD: nesterov needs a momentum above 0, found 0")
        super().__init__(params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    def arrays(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.momentum else ()

    def may_hold(self, name: str) -> bool:
        return name == "momentum_buffer"

    def update(self, w: Array, g: Array, threads: int) -> None:
        v = self.optional_array("momentum_buffer")
        kernels.sgd(w, g, v, self.buffer.decayed, self.lr, self.momentum, self.nesterov, self.weight_decay, threads)
