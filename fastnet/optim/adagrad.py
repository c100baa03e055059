"""AdaGrad: every weight's own rate, falling with what its gradients have summed up to."""

from collections.abc import Iterable
from typing import ClassVar

from .._ext import update as kernels
from ..memory import Array
from ..parameters import Parameter
from . import checks
from .rule import Rule


class AdaGrad(Rule):
    """d = g + weight_decay w;  a += d^2;  w -= lr d / (sqrt(a) + eps).

    a starts at initial_accumulator_value. With eps_inside the root is sqrt(a + eps). PyTorch's defaults; the course's has
    eps 1e-7.
    Duchi, Hazan & Singer 2011, figure 1 (the diagonal form).
    """

    hyperparameters: ClassVar = {
        "lr": checks.NOT_NEGATIVE,
        "eps": checks.POSITIVE,  # 0 would make 0 / 0 of a weight without gradients
        "weight_decay": checks.NOT_NEGATIVE,
        "initial_accumulator_value": checks.NOT_NEGATIVE,
        "eps_inside": checks.flag,
    }
    eps: float
    weight_decay: float
    initial_accumulator_value: float
    eps_inside: bool

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 0.01,
        *,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps_inside: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            eps=eps,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps_inside=eps_inside,
        )

    def arrays(self) -> tuple[str, ...]:
        return ("sum",)

    def initial(self, name: str) -> float:
        return self.initial_accumulator_value

    def update(self, w: Array, g: Array, threads: int) -> None:
        outside, inside = (0.0, {"inside": self.eps}) if self.eps_inside else (self.eps, {})
        kernels.adagrad(w, g, self.array("sum"), self.pieces(), self.lr, outside, self.weight_decay, threads, **inside)
