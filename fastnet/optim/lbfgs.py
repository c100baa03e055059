"""L-BFGS: a quasi-Newton method for the full batch, which remembers curvature from its latest steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import config, memory
from .._ext import flat as kernels
from ..memory import Array
from ..parameters import Parameter
from . import checks
from .line_search import Point, strong_wolfe
from .rule import Closure, Rule


def _whole_or_none(op: str, name: str, value: Any) -> int | None:
    return None if value is None else checks.Integer(1)(op, name, value)


class LBFGS(Rule):
    """w += t d,  d = -H g, where H is the inverse Hessian as the latest steps s and gradient changes y tell it.

    `step(closure)` makes up to max_iter iterations; the closure computes the loss of the FULL batch and all gradients,
    and returns the loss. It is called once or more per iteration, at most max_eval times (None: 5/4 max_iter) and the few
    more that a line search needs to finish. t is lr (in the very first iteration lr min(1, 1 / ||g||_1)), or with
    line_search_fn="strong_wolfe", which is the robust choice, what the line search finds from there. Stops early when
    no gradient exceeds tolerance_grad, or step or loss change by less than tolerance_change. step returns the loss it
    found at first. Arguments, defaults and stopping as in PyTorch.
    Nocedal 1980; Nocedal & Wright 2006, algorithm 7.4.
    """

    needs_closure = True
    hyperparameters: ClassVar = {
        "lr": checks.NOT_NEGATIVE,
        "max_iter": checks.Integer(1),
        "max_eval": _whole_or_none,
        "tolerance_grad": checks.NOT_NEGATIVE,
        "tolerance_change": checks.NOT_NEGATIVE,
        "history_size": checks.Integer(1),
        "line_search_fn": checks.Choice((None, "strong_wolfe")),
    }
    max_iter: int
    max_eval: int | None
    tolerance_grad: float
    tolerance_change: float
    history_size: int
    line_search_fn: str | None

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            max_iter=max_iter,
            max_eval=max_eval,
            tolerance_grad=tolerance_grad,
            tolerance_change=tolerance_change,
            history_size=history_size,
            line_search_fn=line_search_fn,
        )
        self._pairs: list[tuple[Array, Array]] = []  # (s, y), the oldest first
        self._scale = 1.0  # H before the first pair is applied: a multiple of the identity
        self._iterations = 0

    def step(self, closure: Closure | None = None) -> float:
        if closure is None:
            raise TypeError("LBFGS: step needs a closure that computes all gradients and returns the loss")
        self.buffer.check("LBFGS")
        for p in self.buffer.parameters:  # its curvatures are of all weights together
            if not p.requires_grad or p.lr_factor != 1:
                state = f"lr_factor {p.lr_factor}" if p.requires_grad else "requires_grad False"
                raise ValueError(f"LBFGS: all its parameters learn at one rate, found {p.name!r} with {state}")
        most = self.max_iter * 5 // 4 if self.max_eval is None else self.max_eval
        calls = 0

        def evaluate() -> float:
            nonlocal calls
            calls += 1
            return float(closure())

        first = loss = evaluate()
        self.steps += 1
        w, g = self.buffer.data, self.buffer.grad
        for iteration in range(1, self.max_iter + 1):
            if self._largest(g) <= self.tolerance_grad:
                break
            self._iterations += 1
            d = self._direction(g)
            slope, before = self._dot(g, d), loss
            if not slope < -self.tolerance_change:  # no way down, or NaN
                break
            t = self.lr * (min(1.0, 1 / float(np.abs(g).sum())) if self._iterations == 1 else 1.0)
            np.copyto(self.array("gradient"), g)
            if self.line_search_fn is not None:
                t, loss = self._search(evaluate, t, Point(0.0, loss, slope), d)
            else:
                self._add(w, d, t)
                if iteration < self.max_iter:
                    loss = evaluate()
            np.multiply(d, t, out=self.array("step"))  # it becomes a pair when the gradient at its end is known
            if calls >= most or t * self._largest(d) <= self.tolerance_change:
                break
            if iteration < self.max_iter and abs(loss - before) < self.tolerance_change:
                break
        return first

    def _search(self, evaluate: Closure, t: float, start: Point, d: Array) -> tuple[float, float]:
        """Move the weights to where the strong Wolfe conditions hold, with the gradient of that place; (t, loss there)."""
        w, origin = self.buffer.data, memory.empty(d.shape, d.dtype)
        origin[...] = w
        last = 0.0

        def phi(t: float) -> tuple[float, float]:
            nonlocal last
            last = t
            np.copyto(w, origin)
            self._add(w, d, t)
            return evaluate(), self._dot(self.buffer.grad, d)

        found = strong_wolfe(phi, t, start, width=self.tolerance_change / max(self._largest(d), 1e-300))
        if found.t != last:
            phi(found.t)
        return found.t, found.value

    def _direction(self, g: Array) -> Array:
        """-H g by the two loops over the pairs, after the latest step has become a pair."""
        if "step" in self._arrays:
            y = memory.empty(g.shape, g.dtype)
            self._remember(self._arrays.pop("step"), np.subtract(g, self._arrays["gradient"], out=y))
        d = memory.empty(g.shape, g.dtype)
        np.negative(g, out=d)
        pairs = [(s, y, 1 / self._dot(s, y)) for s, y in self._pairs]
        shares = []
        for s, y, rho in reversed(pairs):
            shares.append(rho * self._dot(s, d))
            self._add(d, y, -shares[-1])
        d *= self._scale
        for (s, y, rho), share in zip(pairs, reversed(shares)):
            self._add(d, s, share - rho * self._dot(y, d))
        return d

    def _remember(self, s: Array, y: Array) -> None:
        curvature = self._dot(s, y)
        if curvature > 1e-10:  # else H would not stay positive definite
            self._pairs = [*self._pairs, (s, y)][-self.history_size :]
            self._scale = curvature / self._dot(y, y)

    @staticmethod
    def _dot(a: Array, b: Array) -> float:
        return kernels.dot(a, b, config.get_num_threads())

    @staticmethod
    def _add(y: Array, x: Array, a: float) -> None:
        kernels.axpy(y, x, a, 1.0, config.get_num_threads())

    @staticmethod
    def _largest(x: Array) -> float:
        return float(max(x.max(initial=0), -x.min(initial=0)))

    # --- state ----------------------------------------------------------------------------------------------------------

    def may_hold(self, name: str) -> bool:
        return name in ("step", "gradient") or re.fullmatch(r"[sy](0|[1-9]\d*)", name) is not None

    def held(self) -> dict[str, Array]:
        pairs = {f"{letter}{i}": a for i, pair in enumerate(self._pairs) for letter, a in zip("sy", pair)}
        return super().held() | pairs

    def numbers(self) -> dict[str, Any]:
        return {"iterations": self._iterations, "scale": self._scale}

    def take(self, op: str, arrays: dict[str, Array], numbers: Mapping[str, Any]) -> None:
        iterations = checks.Integer(0)(op, "iterations", numbers["iterations"])
        scale = checks.POSITIVE(op, "scale", numbers["scale"])
        rest: dict[str, Array] = {name: arrays[name] for name in ("step", "gradient") if name in arrays}
        count = (len(arrays) - len(rest)) // 2
        checks.keys(op, arrays, {f"{letter}{i}" for letter in "sy" for i in range(count)} | rest.keys())
        if "step" in rest and "gradient" not in rest:
            raise ValueError(f"{op}: in the state, missing ['gradient'], unexpected nothing")
        self._arrays, self._iterations, self._scale = rest, iterations, scale
        self._pairs = [(arrays[f"s{i}"], arrays[f"y{i}"]) for i in range(count)]
