"""RMSProp: AdaGrad with a memory that fades."""

from collections.abc import Iterable
from typing import ClassVar

from .._ext import update as kernels
from ..memory import Array
from ..parameters import Parameter
from . import checks
from .rule import Rule


class RMSProp(Rule):
    """d = g + weight_decay w;  a = alpha a + (1 - alpha) d^2;  u = d / (sqrt(a) + eps);  w -= lr u.

    With momentum: v = momentum v + u; w -= lr v. With centered: m = alpha m + (1 - alpha) d, and the variance a - m^2
    stands under the root (where rounding makes it negative it counts as 0; PyTorch would have NaN). With eps_inside the
    root is sqrt(a + eps), as some write it; outside, the default, is PyTorch's and the course's.
    Hinton 2012, lecture 6e; centered: Graves 2013, section 2.
    """

    hyperparameters: ClassVar = {
        "lr": checks.NOT_NEGATIVE,
        "alpha": checks.FRACTION,
        "eps": checks.POSITIVE,  # 0 would make 0 / 0 of a weight without gradients
        "weight_decay": checks.NOT_NEGATIVE,
        "momentum": checks.FRACTION,
        "centered": checks.flag,
        "eps_inside": checks.flag,
    }
    alpha: float
    eps: float
    weight_decay: float
    momentum: float
    centered: bool
    eps_inside: bool

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        eps_inside: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            eps_inside=eps_inside,
        )

    def arrays(self) -> tuple[str, ...]:
        return ("square_avg", *(["grad_avg"] if self.centered else []), *(["momentum_buffer"] if self.momentum else []))

    def may_hold(self, name: str) -> bool:
        return name in ("grad_avg", "momentum_buffer")

    def update(self, w: Array, g: Array, threads: int) -> None:
        outside, inside = (0.0, self.eps) if self.eps_inside else (self.eps, 0.0)
        kernels.rmsprop(
            w,
            g,
            self.array("square_avg"),
            self.optional_array("grad_avg") if self.centered else None,
            self.optional_array("momentum_buffer"),
            self.pieces(),
            self.lr,
            self.alpha,
            outside,
            inside,
            self.momentum,
            self.weight_decay,
            threads,
        )
