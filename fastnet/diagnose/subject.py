"""What the diagnosis works on: a net, its data prepared as a Solver prepares them, and short runs on copies of it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data import Normalize
from ..layers.base import Layer
from ..layers.watching import detached
from ..losses import SoftmaxCrossEntropy
from ..memory import Array
from ..optim import Adam, Rule
from ..parameters import ParameterBuffer
from ..regularization import Regularization, regularizer
from ..training.arguments import entry, split

__all__ = ["Run", "Subject", "rule_of"]

EXAMPLES = 2000  # of the training split, and half as many of the validation split, that the checks work with
LR = 1e-3  # of the Adam that stands in where no rule is given


def rule_of(op: str, optimizer: Any, net: Layer, lr: float | None) -> Any:
    """A rule on the net's parameters: of an optimizer class, of what builds one, or like a rule that was built on another net.

    None is Adam. lr, if given, is what it starts with. TypeError for anything else.
    """
    parameters = net.parameters()
    if optimizer is None:
        return Adam(parameters, lr=LR if lr is None else lr)
    if isinstance(optimizer, Rule):
        rule: Any = type(optimizer)(parameters, lr=optimizer.lr)  # all take params and lr
        for name in optimizer.hyperparameters:
            setattr(rule, name, getattr(optimizer, name))
    elif callable(optimizer):
        rule = _built(op, optimizer, parameters, lr)
    else:
        raise TypeError(f"{op}: optimizer must be one of fastnet.optim, found {optimizer!r}")
    if not callable(getattr(rule, "step", None)) or not hasattr(rule, "lr"):
        raise TypeError(f"{op}: optimizer must give a rule with step() and lr, found {rule!r}")
    if lr is not None:
        rule.lr = lr
    return rule


def _built(op: str, optimizer: Any, parameters: Any, lr: float | None) -> Any:
    try:
        return optimizer(parameters)
    except TypeError as error:
        if "lr" not in str(error):
            raise
        if lr is None:
            raise TypeError(
                f"{op}: {getattr(optimizer, '__name__', optimizer)} needs a learning rate: pass lr"
            ) from None
        return optimizer(parameters, lr=lr)


@dataclass
class Run:
    """A short training: the loss before each update, ||change|| / ||w|| of the updates, and the net after them."""

    lr: float
    net: Layer
    loss: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    problem: str = ""

    @property
    def start(self) -> float:
        return self.loss[0] if self.loss else math.nan

    @property
    def end(self) -> float:
        """The mean of the last losses; infinite if the run broke off."""
        return math.inf if self.problem or not self.loss else float(np.mean(self.loss[-max(3, len(self.loss) // 8) :]))

    @property
    def gain(self) -> float:
        """The share of the first loss that is gone at the end; negative if it grew."""
        return (self.start - self.end) / abs(self.start) if self.start else 0.0


class Subject:
    """The net as it was given (`net`), and prepared arrays: x, y of training examples, x_val, y_val, in the net's dtype.

    The raw splits are raw_train, raw_val, raw_test as (x, y). Everything is done on copies of the net.
    """

    def __init__(
        self,
        op: str,
        net: Layer,
        data: Any,
        loss: Any,
        optimizer: Any,
        lr: float | None,
        regularization: Regularization | float | None,
        batch_size: int,
        seed: int,
    ) -> None:
        if not isinstance(net, Layer):
            raise TypeError(f"{op}: net must be a Layer, found {type(net).__name__}")
        self.op, self.net, self.data, self.seed = op, net, data, seed
        self.loss: Any = SoftmaxCrossEntropy() if loss is None else copy.deepcopy(loss)
        if not (callable(getattr(self.loss, "forward", None)) and callable(getattr(self.loss, "backward", None))):
            raise TypeError(f"{op}: loss must have forward(scores, y) and backward(), found {loss!r}")
        self.optimizer, self.given_lr, self.term = optimizer, lr, regularizer(regularization)
        self.raw_train = split(data, "train", needed=True)
        self.raw_val, self.raw_test = (split(data, name, needed=False) for name in ("val", "test"))
        self.normalize: Any = entry(data, "normalize")
        self.own_normalize = self.normalize is not None
        if self.normalize is None and self.raw_train[0].dtype == np.uint8:
            self.normalize = Normalize().fit({"x_train": self.raw_train[0]})
        self.dtype = next((p.data.dtype for _, p in net.named_parameters()), np.dtype(np.float32))
        rng = np.random.default_rng([seed, 7])
        train = np.sort(rng.permutation(len(self.raw_train[0]))[:EXAMPLES])
        val = np.sort(rng.permutation(len(self.raw_val[0]))[: EXAMPLES // 2])
        self.x, self.y = self.prepare(self.raw_train[0][train]), self.raw_train[1][train]
        self.x_val, self.y_val = self.prepare(self.raw_val[0][val]), self.raw_val[1][val]
        self.batch_size = min(batch_size, len(self.x))
        # Rows without nan: what is wrong with the others is the business of one check alone.
        self.clean = np.flatnonzero(np.isfinite(self.x.reshape(len(self.x), -1)).all(1))
        self.labelled = self.y.ndim == 1 and self.y.dtype.kind in "iu"
        rule = rule_of(op, optimizer, detached(net), lr) if net.parameters() else None
        self.lr = float(rule.lr) if rule is not None else math.nan
        self.rule_name = type(rule).__name__ if rule is not None else ""
        self.weight_decay = float(getattr(rule, "weight_decay", 0.0) or 0.0)

    def prepare(self, x: Array) -> Array:
        """Images as training sees them."""
        if len(x) == 0:
            return x
        if self.normalize is not None and x.dtype.kind == self.raw_train[0].dtype.kind:
            x = self.normalize(x)
        return np.asarray(x, self.dtype)

    def net_copy(self) -> Layer:
        """The net as it came, on its own."""
        return detached(self.net)

    def batch(self, size: int) -> tuple[Array, Array]:
        """The first clean examples."""
        rows = self.clean[:size]
        return self.x[rows], self.y[rows]

    def batches(self, rows: Array | None = None) -> Iterator[tuple[Array, Array]]:
        """Batches without end, the same ones at every call."""
        rows = self.clean if rows is None else rows
        rng = np.random.default_rng([self.seed, 8])
        while True:
            order = rng.permutation(rows)
            for i in range(0, max(1, len(order) - self.batch_size + 1), self.batch_size):
                chosen = order[i : i + self.batch_size]
                yield self.x[chosen], self.y[chosen]

    @property
    def classes(self) -> int:
        """How many scores the net gives; 0 if y are no class numbers."""
        if not self.labelled or not len(self.clean):
            return 0
        with np.errstate(all="ignore"):
            scores = detached(self.net).predict(self.x[self.clean[:2]])
        return scores.shape[1] if scores.ndim == 2 else 0

    def accuracy(self, net: Layer, x: Array, y: Array) -> float:
        """The share of highest scores that are right; nan without labels."""
        if not self.labelled or not len(x):
            return math.nan
        with np.errstate(all="ignore"):
            return float((net.predict(x).argmax(1) == y).mean())

    def run(
        self,
        steps: int,
        *,
        optimizer: Any = None,
        lr: float | None = None,
        batches: Iterator[tuple[Array, Array]] | None = None,
        seconds: float = math.inf,
        plain: bool = False,
        until: float = -math.inf,
    ) -> Run:
        """Train a copy for so many steps, or until the loss is below `until` (`plain`: without the regularization)."""
        net = detached(self.net)
        for i, layer in enumerate(net.modules()):
            if isinstance(getattr(layer, "rng", None), np.random.Generator):
                layer.rng = np.random.default_rng([self.seed, 9, i])  # type: ignore[attr-defined]
        rule = rule_of(self.op, optimizer, net, lr)
        buffer: ParameterBuffer = rule.buffer
        term = None if plain else self.term
        loss = copy.deepcopy(self.loss)
        run, began = Run(float(rule.lr), net), time.perf_counter()
        with np.errstate(all="ignore"):
            for (x, y), step in zip(batches or self.batches(), range(steps)):

                def gradients(x: Array = x, y: Array = y) -> float:
                    value = float(loss.forward(net.forward(x), y))
                    net.backward(loss.backward(), input_gradient=False)
                    if term is not None:
                        value += term.forward(buffer)
                        term.backward(buffer)
                    return value

                value = gradients()
                run.loss.append(value)
                if not math.isfinite(value) or not np.isfinite(buffer.grad).all():
                    run.problem = f"step {step + 1}: the {'gradient' if math.isfinite(value) else 'loss'} is not finite"
                    break
                if value < until or time.perf_counter() - began > seconds:
                    break
                old = buffer.data[: buffer.decayed].copy()
                if getattr(rule, "needs_closure", False):
                    rule.step(gradients)
                else:
                    rule.step()
                size = float(np.linalg.norm(old))
                if size:
                    run.ratio.append(float(np.linalg.norm(buffer.data[: buffer.decayed] - old)) / size)
        return run
