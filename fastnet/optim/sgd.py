"""Stochastic gradient descent: plain, with momentum, with Nesterov's in its two forms."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from .. import config, memory
from .._ext import flat
from .._ext import update as kernels
from ..memory import Array
from ..parameters import Parameter
from . import checks
from .rule import Closure, Rule


class SGD(Rule):
    """d = g + weight_decay w;  v = momentum v + d;  w -= lr v,  or with nesterov  w -= lr (d + momentum v).

    This is PyTorch's form: the learning rate stands outside the velocity. The course CS231n (and Sutskever) keeps it
    inside: v = momentum v - lr d; w += v. Both take the same steps while lr is constant; after a change of lr the
    course's velocity still holds steps of the old rate (`fastnet.cs231n.optim` has that form).
    Nesterov's gradient belongs to the place where the velocity leads; here w IS that place (the variables are transformed),
    so that one gradient at w is enough. `NesterovLookAhead` is the form as it is drawn; both take the same way.
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
        kernels.sgd(w, g, v, self.pieces(), self.lr, self.momentum, self.nesterov, self.weight_decay, threads)


class NesterovLookAhead(Rule):
    """v = momentum v + g(w - lr momentum v) + weight_decay (w - lr momentum v);  w -= lr v.

    Nesterov's momentum as it is drawn: look where the velocity leads, and take the gradient of that place. `step(closure)`
    moves the weights there, calls the closure for gradients and loss (which it returns), and puts the weights at their
    new place. SGD with nesterov=True is this with its variables transformed: its weights are the places looked at,
    w - lr momentum v, as long as lr and momentum stay, and it needs no closure. Sutskever et al. 2013, section 2;
    Bengio, Boulanger-Lewandowski & Pascanu 2013, section 3.5, for the transformation.
    """

    needs_closure = True
    hyperparameters: ClassVar = {
        "lr": checks.NOT_NEGATIVE,
        "momentum": checks.FRACTION,
        "weight_decay": checks.NOT_NEGATIVE,
    }
    momentum: float
    weight_decay: float

    def __init__(
        self, params: Iterable[Parameter], lr: float, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def arrays(self) -> tuple[str, ...]:
        return ("momentum_buffer",)

    def step(self, closure: Closure | None = None) -> float:
        if closure is None:
            raise TypeError("NesterovLookAhead: step needs a closure that computes all gradients and returns the loss")
        self.buffer.check("NesterovLookAhead")
        w, g, v = self.buffer.data, self.buffer.grad, self.array("momentum_buffer")
        runs, threads = self.buffer.runs(), config.get_num_threads()
        parts = [(w[r.start : r.stop], g[r.start : r.stop], v[r.start : r.stop], r.lr_factor, r.decay) for r in runs]
        here = memory.empty(w.shape, w.dtype)
        here[...] = w
        try:
            for w, _, v, rate, _ in parts:
                flat.axpy(w, v, -self.lr * rate * self.momentum, 1.0, threads)
            loss = float(closure())
            for w, g, v, _, decay in parts:
                flat.axpy(v, g, 1.0, self.momentum, threads)
                if self.weight_decay * decay:
                    flat.axpy(v, w, self.weight_decay * decay, 1.0, threads)
        finally:
            np.copyto(self.buffer.data, here)
        for w, _, v, rate, _ in parts:
            flat.axpy(w, v, -self.lr * rate, 1.0, threads)
        self.steps += 1
        return loss
