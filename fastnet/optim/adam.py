"""Adam and AdamW: momentum and RMSProp together, corrected for their start at zero."""

import math
from collections.abc import Iterable
from typing import Any, ClassVar

from .._ext import update as kernels
from ..memory import Array
from ..parameters import Parameter
from . import checks
from .rule import Rule


class Adam(Rule):
    """d = g + weight_decay w;  m = beta1 m + (1 - beta1) d;  v = beta2 v + (1 - beta2) d^2;
    w -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps),  t = 1, 2, …

    weight_decay is L2 regularisation: it passes through m and v, so weights with large gradients decay less (in AdamW
    they do not). With amsgrad the largest v so far stands under the root. With eps_inside the root is
    sqrt(v / (1 - beta2^t) + eps). `betas` reads and sets beta1 and beta2, which
    are the attributes that a schedule drives.
    Kingma & Ba 2015, algorithm 1; amsgrad: Reddi, Kale & Kumar 2018, algorithm 2.
    """

    hyperparameters: ClassVar = {
        "lr": checks.NOT_NEGATIVE,
        "beta1": checks.BELOW_ONE,
        "beta2": checks.BELOW_ONE,
        "eps": checks.POSITIVE,  # 0 would make 0 / 0 of a weight without gradients
        "weight_decay": checks.NOT_NEGATIVE,
        "amsgrad": checks.flag,
        "eps_inside": checks.flag,
    }
    decoupled: ClassVar[bool] = False  # weight decay beside the gradient instead of in it
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    amsgrad: bool
    eps_inside: bool

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        eps_inside: bool = False,
    ) -> None:
        beta1, beta2 = self._pair(betas)
        super().__init__(
            params,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            eps_inside=eps_inside,
        )

    def _pair(self, betas: Any) -> tuple[float, float]:
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"{type(self).__name__}: betas must be a pair of numbers, found {betas!r}")
        return betas[0], betas[1]

    @property
    def betas(self) -> tuple[float, float]:
        return self.beta1, self.beta2

    @betas.setter
    def betas(self, betas: tuple[float, float]) -> None:
        op = type(self).__name__
        first, second = self._pair(betas)
        second = self.hyperparameters["beta2"](op, "beta2", second)  # both or none
        self.beta1, self.beta2 = first, second

    def arrays(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if self.amsgrad else []))

    def may_hold(self, name: str) -> bool:
        return name == "max_exp_avg_sq"

    def update(self, w: Array, g: Array, threads: int) -> None:
        unbiased = 1 - self.beta2**self.steps  # sqrt(v / unbiased + eps) = sqrt(v + eps unbiased) / sqrt(unbiased)
        outside, inside = (0.0, {"inside": self.eps * unbiased}) if self.eps_inside else (self.eps, {})
        kernels.adam(
            w,
            g,
            self.array("exp_avg"),
            self.array("exp_avg_sq"),
            self.optional_array("max_exp_avg_sq") if self.amsgrad else None,
            self.pieces(),
            self.lr / (1 - self.beta1**self.steps),
            self.beta1,
            self.beta2,
            1 / math.sqrt(unbiased),
            outside,
            0.0 if self.decoupled else self.weight_decay,
            self.lr * self.weight_decay if self.decoupled else 0.0,
            threads,
            **inside,
        )


class AdamW(Adam):
    """w *= 1 - lr weight_decay, then Adam's step with the bare gradient (d = g).

    The decay is decoupled from m and v: every weight shrinks at the same rate. Loshchilov & Hutter 2019, algorithm 2.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        eps_inside: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, eps_inside=eps_inside)
