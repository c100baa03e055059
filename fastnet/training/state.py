"""The state of a training run: everything that decides how it goes on."""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..layers.base import Layer
from ..layers.volatile import Volatile, random_layers
from ..memory import Array
from .arguments import integer

if TYPE_CHECKING:
    from ..solver import Solver

__all__ = ["Best", "Volatile", "alone", "load_state", "random_layers", "state_of"]


class Best(NamedTuple):
    """The best epoch so far: its score and loss, its number from 1, and the net's state after it."""

    score: float
    loss: float
    epoch: int
    state: dict[str, Array]


_in_training: set[int] = set()
_lock = threading.Lock()


@contextlib.contextmanager
def alone(net: Layer) -> Iterator[None]:
    """RuntimeError if somebody else trains this net."""
    with _lock:
        if id(net) in _in_training:
            raise RuntimeError("Solver: this net is being trained already, by another Solver or thread")
        _in_training.add(id(net))
    try:
        yield
    finally:
        with _lock:
            _in_training.discard(id(net))


def state_of(solver: Solver) -> dict[str, Any]:
    """Everything that decides how training goes on, but for the net's own state."""
    return {
        "step": solver.step,
        "epoch": solver.epoch,
        "batch": solver.batch,
        "epochs": solver.epochs,
        "batch_size": solver.batch_size,
        "seed": solver.seed,
        "seconds": solver._seconds,
        "ratio": solver._ratio,
        "data": _fingerprint(solver),
        "history": solver.history.state_dict(),
        "best": None if solver._best is None else solver._best._asdict(),
        "random": {name: layer.rng.bit_generator.state for name, layer in random_layers(solver.net)},
        "optimizer": solver.optimizer.state_dict(),
        "average": None if solver.average is None else solver.average.state_dict(),
        "schedules": {name: s.state_dict() for name, s in solver.schedules.items() if hasattr(s, "state_dict")},
        "callbacks": [callback.state_dict() for callback in solver.callbacks],
    }


def _fingerprint(solver: Solver) -> list[Any]:
    """Enough to notice that the training data are others."""
    return [list(solver.x_train.shape), str(solver.x_train.dtype), zlib.crc32(solver.y_train.tobytes())]


def load_state(solver: Solver, state: Mapping[str, Any]) -> None:
    """Take the state of `state_of`. ValueError where it is of another run."""
    mine = {"seed": solver.seed, "batch_size": solver.batch_size, "data": _fingerprint(solver)}
    for name, value in mine.items():
        if state[name] != value:
            raise ValueError(f"Solver.resume: the checkpoint's {name} is {state[name]}, found {value}")
    if (solver.average is None) != (state["average"] is None):
        raise ValueError("Solver.resume: an average belongs to the one run and not to the other")
    if len(state["callbacks"]) != len(solver.callbacks):
        raise ValueError(f"Solver.resume: expected {len(state['callbacks'])} callbacks, found {len(solver.callbacks)}")
    stateful = {name for name, schedule in solver.schedules.items() if hasattr(schedule, "state_dict")}
    if state["schedules"].keys() != stateful:
        raise ValueError(f"Solver.resume: expected schedules of {list(state['schedules'])}, found {sorted(stateful)}")
    layers = dict(random_layers(solver.net))
    if layers.keys() != state["random"].keys():
        raise ValueError(f"Solver.resume: expected random layers {list(state['random'])}, found {list(layers)}")
    step, epoch, batch = (integer(name, state[name], 0) for name in ("step", "epoch", "batch"))
    solver.history.load_state_dict(state["history"])
    if (solver.history.steps, solver.history.epochs) != (step, epoch) or batch > solver.batches:
        raise ValueError(f"Solver.resume: the history does not belong to step {step}, epoch {epoch}, batch {batch}")
    solver.optimizer.load_state_dict(state["optimizer"])
    if solver.average is not None:
        solver.average.load_state_dict(state["average"])
    for name, schedule_state in state["schedules"].items():
        solver.schedules[name].load_state_dict(schedule_state)  # type: ignore[attr-defined]
    for callback, callback_state in zip(solver.callbacks, state["callbacks"]):
        callback.load_state_dict(callback_state)
    for name, layer in layers.items():
        layer.rng.bit_generator.state = state["random"][name]
    solver._best = None if state["best"] is None else Best(**state["best"])
    solver.step, solver.epoch, solver.batch = step, epoch, batch
    solver._seconds, solver._ratio = state["seconds"], state["ratio"]
    solver._saved_at = solver._position()
