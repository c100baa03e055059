"""Things to do while a Solver trains: stop early, write a file, whatever a function does."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .solver import Solver

__all__ = ["Callback", "CsvLogger", "EarlyStopping", "Lambda"]

Hook = Callable[["Solver"], object]


class Callback:
    """Called by the Solver, which it gets whole: solver.net, .optimizer, .history, .step, .epoch, .stop(reason) …

    A callback with a memory of its own gives it in `state_dict` and takes it in `load_state_dict`: a resumed run then goes
    on as the uninterrupted one.
    """

    def on_train_begin(self, solver: Solver) -> object:
        """Before the first step of every `train()`."""

    def on_gradients(self, solver: Solver) -> object:
        """Between backward and the update: the place to limit gradients."""

    def on_step(self, solver: Solver) -> object:
        """After every update; solver.step counts it."""

    def on_epoch(self, solver: Solver) -> object:
        """After every epoch, when its accuracies are in solver.history."""

    def on_train_end(self, solver: Solver) -> object:
        """When `train()` ends, also by an error or Ctrl-C."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__}: expected no state, found {', '.join(state)}")


class Lambda(Callback):
    """Functions of the solver as a callback: Lambda(on_gradients=lambda s: clip_grad_norm(s.net.parameters(), 1.0))."""

    def __init__(
        self,
        *,
        on_train_begin: Hook | None = None,
        on_gradients: Hook | None = None,
        on_step: Hook | None = None,
        on_epoch: Hook | None = None,
        on_train_end: Hook | None = None,
    ) -> None:
        hooks = {
            "on_train_begin": on_train_begin,
            "on_gradients": on_gradients,
            "on_step": on_step,
            "on_epoch": on_epoch,
            "on_train_end": on_train_end,
        }
        for name, hook in hooks.items():
            if hook is not None:
                if not callable(hook):
                    raise TypeError(f"Lambda: {name} must be a function of the solver, found {type(hook).__name__}")
                setattr(self, name, hook)


class EarlyStopping(Callback):
    """Stop when a column of the history has not improved by more than min_delta for `patience` epochs.

    Accuracies should rise, anything else should fall; nan is no improvement. `solver.best` still holds the best state.
    """

    def __init__(self, monitor: str = "val_accuracy", patience: int = 5, min_delta: float = 0.0) -> None:
        if type(patience) is not int or patience < 1:
            raise ValueError(f"EarlyStopping: patience must be an integer of at least 1, found {patience!r}")
        if not min_delta >= 0:
            raise ValueError(f"EarlyStopping: min_delta must be at least 0, found {min_delta!r}")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.sign = 1 if monitor.endswith("accuracy") else -1
        self.best, self.waited = -math.inf, 0

    def on_train_begin(self, solver: Solver) -> None:
        if not isinstance(getattr(solver.history, self.monitor, None), list):
            raise ValueError(f"EarlyStopping: the history has no column {self.monitor!r}")

    def on_epoch(self, solver: Solver) -> None:
        value = self.sign * getattr(solver.history, self.monitor)[-1]
        if value > self.best + self.min_delta:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            solver.stop(f"{self.monitor} did not improve for {self.waited} epochs")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.waited = float(state["best"]), int(state["waited"])


class CsvLogger(Callback):
    """Write the history to a CSV file after every epoch. The file is always whole, and a resumed run repeats no row."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def on_epoch(self, solver: Solver) -> None:
        solver.history.to_csv(self.path)
