"""Averages of the weights along a training run, which often generalise better than the last weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import config, memory
from .._ext import flat as kernels
from ..memory import Array
from ..parameters import Parameter, ParameterBuffer
from . import checks
from .rule import load_flat


class Average:
    """A running average of the parameters, in a flat array beside theirs: `update()` after every step of the rule.

        with average.applied():      # the net has the averaged weights inside the block
            solver.evaluate(x, y)

    `swap()` exchanges weights and average, and exchanges them back. Running statistics of batch norm are no parameters:
    recompute them with the averaged weights before evaluating (a few batches in training mode).
    A subclass writes `weight()`, the share of the present weights in the new average.
    """

    updates: int

    def __init__(self, params: Iterable[Parameter]) -> None:
        self.buffer = ParameterBuffer.of(params)
        self.average = memory.empty(self.buffer.data.shape, self.buffer.data.dtype)
        self.average[...] = self.buffer.data
        self.updates = 0
        self.swapped = False

    def weight(self) -> float:
        raise NotImplementedError(f"{type(self).__name__} has no weight")

    def update(self) -> None:
        """average += weight (w - average), in one pass. RuntimeError while the averages are swapped in."""
        self._ready("update")
        kernels.lerp(self.average, self.buffer.data, self.weight(), config.get_num_threads())
        self.updates += 1

    def swap(self) -> None:
        """Exchange the weights of the net and the average."""
        self.buffer.check(type(self).__name__)
        kernels.swap(self.buffer.data, self.average, config.get_num_threads())
        self.swapped = not self.swapped

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The net has the averaged weights inside the `with` block, its own again after it."""
        self._ready("applied")
        self.swap()
        try:
            yield
        finally:
            if self.swapped:
                self.swap()

    def _ready(self, op: str) -> None:
        op = f"{type(self).__name__}.{op}"
        self.buffer.check(type(self).__name__)
        if self.swapped:
            raise RuntimeError(f"{op}: the averages are swapped in; swap() back first")

    def state_dict(self) -> dict[str, Any]:
        """{"updates": count, "average": {parameter name: copy}}; the same whether swapped or not."""
        flat = self.buffer.data if self.swapped else self.average
        return {
            "updates": self.updates,
            "average": {name: view.copy() for name, view in self.buffer.views(flat).items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. ValueError or TypeError names what does not fit; nothing is changed then."""
        self._ready("load_state_dict")
        op = f"{type(self).__name__}.load_state_dict"
        checks.keys(op, state, {"updates", "average"})
        updates = checks.Integer(0)(op, "updates", state["updates"])
        self.average = load_flat(op, self.buffer, "average", state["average"])
        self.updates = updates


class EMA(Average):
    """average = decay average + (1 - decay) w: the exponential moving average, which starts at the weights it is built on.

    decay may be changed on the way, by a schedule too.  Polyak & Juditsky 1992; Tarvainen & Valpola 2017.
    """

    def __init__(self, params: Iterable[Parameter], decay: float = 0.999) -> None:
        self.decay = decay
        super().__init__(params)

    @property
    def decay(self) -> float:
        return self._decay

    @decay.setter
    def decay(self, value: float) -> None:
        self._decay = checks.FRACTION("EMA", "decay", value)

    def weight(self) -> float:
        return 1 - self._decay


class Lookahead(EMA):
    """Every `every`-th update:  average = decay average + (1 - decay) w,  and the weights go on from there:  w = average.

    The rule explores, the average decides; in between `update()` only counts. buffers: arrays that are averaged and put back
    with the weights, such as a net's running statistics. `settle()` ends a run whose length is no multiple of `every`: what
    came after the last average is forgotten.  Zhang, Lucas, Hinton & Ba 2019, algorithm 1 (alpha = 1 - decay).
    """

    def __init__(
        self, params: Iterable[Parameter], decay: float = 0.5, every: int = 5, buffers: Iterable[Array] = ()
    ) -> None:
        self.every = checks.Integer(1)("Lookahead", "every", every)
        super().__init__(params, decay)
        self._pairs = [(array, memory.copy(array)) for array in buffers]  # as they are now, and their averages

    def update(self) -> None:
        """Count, and at every `every`-th count average and settle. RuntimeError while the averages are swapped in."""
        self._ready("update")
        if (self.updates + 1) % self.every:
            self.updates += 1
            return
        super().update()
        for now, average in self._pairs:
            kernels.lerp(average.reshape(-1), now.reshape(-1), self.weight(), config.get_num_threads())
        self.settle()

    def settle(self) -> None:
        """Let the net go on from the average."""
        self._ready("settle")
        np.copyto(self.buffer.data, self.average)
        for now, average in self._pairs:
            np.copyto(now, average)

    def swap(self) -> None:
        super().swap()
        for now, average in self._pairs:
            kernels.swap(now.reshape(-1), average.reshape(-1), config.get_num_threads())

    def state_dict(self) -> dict[str, Any]:
        """That of every average, and "buffers": {their number: copy}."""
        arrays = [pair[0 if self.swapped else 1].copy() for pair in self._pairs]
        return {**super().state_dict(), "buffers": {str(i): array for i, array in enumerate(arrays)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        op = f"{type(self).__name__}.load_state_dict"
        checks.keys(op, state, {"updates", "average", "buffers"})
        checks.keys(op, state["buffers"], {str(i) for i in range(len(self._pairs))}, what="the buffers")
        for i, (_, average) in enumerate(self._pairs):
            if np.shape(state["buffers"][str(i)]) != average.shape:
                found = np.shape(state["buffers"][str(i)])
                raise ValueError(f"{op}: buffer {i} must have shape {average.shape}, found {found}")
        super().load_state_dict({name: state[name] for name in ("updates", "average")})
        for i, (_, average) in enumerate(self._pairs):
            np.copyto(average, state["buffers"][str(i)])


class SWA(Average):
    """average = the mean of the weights at every update() so far: update once an epoch, late in training.

    The first update replaces what the average was built on.  Izmailov et al. 2018, algorithm 1.
    """

    def weight(self) -> float:
        return 1 / (self.updates + 1)
