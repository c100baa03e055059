"""What every update rule has: one flat buffer, state in flat arrays, hyperparameters, state dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import config, memory
from .._ext import update as kernels
from ..memory import Array
from ..parameters import Parameter, ParameterBuffer, Run
from . import checks

Closure = Callable[[], float]


class Rule:
    """A way to learn: `step()` changes every parameter's .data by its .grad, in one pass over flat memory.

    Building a rule lays the parameters out in one ParameterBuffer, or takes the one they fill already. A subclass is

        class SGD(Rule):
            hyperparameters: ClassVar = {"lr": checks.NOT_NEGATIVE, "momentum": checks.FRACTION}   # what each may be

            def __init__(self, params, lr, momentum=0.0):
                super().__init__(params, lr=lr, momentum=momentum)

            def arrays(self):                    # the state arrays that these hyperparameters call for
                return ("momentum_buffer",)

            def update(self, w, g, threads):     # one compiled pass; self.steps counts from 1
                kernels.sgd(w, g, self.array("momentum_buffer"), self.pieces(), self.lr, self.momentum, threads)

    Hyperparameters are plain attributes, checked whenever they are set, so a schedule may drive any of them. Weight
    decay applies to the parameters with .decay True alone (weights, not biases and norms). A Parameter may have a rate of
    its own, as a multiple of the rule's (.lr_factor, .decay), or be frozen (.requires_grad): looked up at every step.
    """

    hyperparameters: ClassVar[Mapping[str, checks.Check]] = {"lr": checks.NOT_NEGATIVE}
    needs_closure: ClassVar[bool] = False  # step asks for gradients at places of its own choice
    lr: float

    def __init__(self, params: Iterable[Parameter], **hyperparameters: Any) -> None:
        for name, value in hyperparameters.items():  # all are checked before a parameter moves
            setattr(self, name, value)
        self.buffer = ParameterBuffer.of(params)
        self.steps = 0
        self._arrays: dict[str, Array] = {}
        self._runs: list[Run] = []
        self._pieces = pieces([])

    def __setattr__(self, name: str, value: Any) -> None:
        check = self.hyperparameters.get(name)
        object.__setattr__(self, name, value if check is None else check(type(self).__name__, name, value))

    # --- what a subclass writes ---------------------------------------------------------------------------------------

    def arrays(self) -> tuple[str, ...]:
        """The names of the state arrays that the present hyperparameters call for."""
        return ()

    def initial(self, name: str) -> float:
        """What a state array holds before the first step."""
        return 0.0

    def update(self, w: Array, g: Array, threads: int) -> None:
        """Change the flat weights w by the flat gradients g."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    # --- what it writes it with ---------------------------------------------------------------------------------------

    def array(self, name: str) -> Array:
        """A flat state array, made when first asked for."""
        if name not in self._arrays:
            self._arrays[name] = memory.empty(self.buffer.data.shape, self.buffer.data.dtype)
            self._arrays[name].fill(self.initial(name))
        return self._arrays[name]

    def pieces(self) -> Array:
        """What a kernel asks for: the stretches of the buffer that learn, with their factors of lr and decay."""
        runs = self.buffer.runs()
        if runs is not self._runs:
            self._runs, self._pieces = runs, pieces(runs)
        return self._pieces

    def optional_array(self, name: str) -> Array | None:
        """As `array`, but None as long as the hyperparameters have not called for it.

        Once made it stays in use: a momentum that a schedule takes through 0 is an ordinary momentum of 0.
        """
        return self.array(name) if name in self._arrays or name in self.arrays() else None

    # --- what it gets -------------------------------------------------------------------------------------------------

    def step(self, closure: Closure | None = None) -> float | None:
        """Update the parameters once. A closure, if given, first computes gradients and loss; step returns the loss.

        RuntimeError if the parameters have moved to other memory since the rule was built.
        """
        self.buffer.check(type(self).__name__)
        loss = None if closure is None else float(closure())
        self.steps += 1
        self.update(self.buffer.data, self.buffer.grad, config.get_num_threads())
        return loss

    def zero_grad(self) -> None:
        """Set every gradient to 0. (A layer's backward writes them afresh unless told to accumulate.)"""
        self.buffer.check(type(self).__name__)
        self.buffer.grad.fill(0)

    def numbers(self) -> dict[str, Any]:
        """State of this rule that is neither a hyperparameter nor an array, for JSON."""
        return {}

    def held(self) -> dict[str, Array]:
        """All state arrays, flat, by name."""
        return {name: self.array(name) for name in dict.fromkeys([*self.arrays(), *self._arrays])}

    def take(self, op: str, arrays: dict[str, Array], numbers: Mapping[str, Any]) -> None:
        """Go on with these arrays and numbers, whose names have been checked. An error comes before anything changes."""
        self._arrays = arrays

    def may_hold(self, name: str) -> bool:
        """Whether a state array of this name can belong to this rule, whatever its hyperparameters."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """{"rule": class name, "steps": count, "hyperparameters": {name: number}, "numbers": {…},
        "state": {array name: {parameter name: copy}}}: all but "state" goes through JSON as it is. The arrays have PyTorch's
        names (momentum_buffer, exp_avg, …). ValueError if two parameters have the same name.
        """
        return {
            "rule": type(self).__name__,
            "steps": self.steps,
            "hyperparameters": {name: getattr(self, name) for name in self.hyperparameters},
            "numbers": self.numbers(),
            "state": {
                name: {p: view.copy() for p, view in self.buffer.views(flat).items()}
                for name, flat in self.held().items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, hyperparameters included. ValueError or TypeError names what is missing,
        unexpected, of another rule or of another shape; nothing is changed then."""
        op = f"{type(self).__name__}.load_state_dict"
        checks.keys(op, state, {"rule", "steps", "hyperparameters", "numbers", "state"})
        if state["rule"] != type(self).__name__:
            raise ValueError(f"{op}: expected the state of {type(self).__name__}, found that of {state['rule']}")
        steps = checks.Integer(0)(op, "steps", state["steps"])
        checks.keys(op, state["hyperparameters"], set(self.hyperparameters), what="the hyperparameters")
        checks.keys(op, state["numbers"], set(self.numbers()), what="the numbers")
        loaded = {name: check(op, name, state["hyperparameters"][name]) for name, check in self.hyperparameters.items()}
        before = {name: getattr(self, name) for name in self.hyperparameters}
        try:
            self.__dict__.update(loaded)  # what the arrays must be depends on them
            optional = {name for name in getattr(state["state"], "keys", tuple)() if self.may_hold(name)}
            checks.keys(op, state["state"], set(self.arrays()), optional)
            arrays = {
                name: load_flat(op, self.buffer, name, values, self.initial(name))
                for name, values in state["state"].items()
            }
            self.take(op, arrays, state["numbers"])
        except BaseException:
            self.__dict__.update(before)
            raise
        self.steps = steps

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.hyperparameters)
        return f"{type(self).__name__}({len(self.buffer.parameters)} parameters, {inside})"


def pieces(runs: Iterable[Run]) -> Array:
    """Runs as rows (start, stop, factor of lr, factor of decay), cut by their length alone so that threads can share them."""
    step = kernels.PIECE
    cut = [
        (i, min(i + step, run.stop), run.lr_factor, run.decay) for run in runs for i in range(run.start, run.stop, step)
    ]
    return np.array(cut, np.float64).reshape(-1, 4)


def load_flat(op: str, buffer: ParameterBuffer, which: str, values: Mapping[str, Any], padding: float = 0.0) -> Array:
    """{parameter name: values} as a new flat array of the buffer's layout."""
    flat = memory.empty(buffer.data.shape, buffer.data.dtype)
    flat.fill(padding)
    views = buffer.views(flat)
    checks.keys(op, values, set(views), what=repr(which))
    for name, view in views.items():
        value = np.asarray(values[name])
        if value.dtype.kind not in "fiu":
            raise TypeError(f"{op}: {which!r} of {name!r} must hold numbers, found dtype {value.dtype}")
        if value.shape != view.shape:
            raise ValueError(f"{op}: {which!r} of {name!r} must have shape {view.shape}, found {value.shape}")
        view[...] = value
    return flat
