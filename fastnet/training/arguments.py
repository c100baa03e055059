"""What a Solver is given: the splits of a data set, schedules, rules that are built or still to be built."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from ..layers.base import Layer
from ..memory import Array

__all__ = ["built", "check_scheduled", "entry", "integer", "schedules", "split"]


def entry(data: Any, name: str) -> Any:
    """An entry of a mapping, or an attribute; None if there is none."""
    return data[name] if isinstance(data, Mapping) and name in data else getattr(data, name, None)


def integer(name: str, value: Any, least: int) -> int:
    """An integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"Solver: {name} must be an integer of at least {least}, found {value!r}")
    return int(value)


def split(data: Any, name: str, needed: bool) -> tuple[Array, Array]:
    """x and y of a split; a missing one is empty, unless it is needed."""
    x, y = entry(data, f"x_{name}"), entry(data, f"y_{name}")
    if x is None and y is None and not needed:
        return np.empty((0,)), np.empty((0,))
    if x is None or y is None:
        raise ValueError(f"Solver: data needs x_{name} and y_{name}, found no {'x' if x is None else 'y'}_{name}")
    x, y = np.asarray(x), np.asarray(y)
    y = y.astype(np.int64) if y.dtype == bool else y
    if not x.ndim or not y.ndim or len(x) != len(y) or (needed and not len(x)):
        raise ValueError(f"Solver: x_{name} has shape {x.shape} and y_{name} has shape {y.shape}: no examples to pair")
    return x, y


def schedules(schedule: Any) -> dict[str, Callable[[int], float]]:
    """hyperparameter -> schedule, of one for the learning rate or of a mapping."""
    found = dict(schedule) if isinstance(schedule, Mapping) else {} if schedule is None else {"lr": schedule}
    for name, function in found.items():
        if not callable(function):
            raise TypeError(f"Solver: the schedule of {name!r} must be a function of the step, found {function!r}")
    return found


def check_scheduled(names: Collection[str], rule: Any) -> None:
    """ValueError unless the rule has these hyperparameters; one that names none may have any."""
    for name in names:
        if name not in getattr(rule, "hyperparameters", names):
            raise ValueError(
                f"Solver: {type(rule).__name__} has no {name!r} to schedule, only {', '.join(rule.hyperparameters)}"
            )


def built(what: str, given: Any, net: Layer, method: str) -> Any:
    """A rule or an average, built on the net's parameters if it is a class or another function of them."""
    if hasattr(given, method) and not isinstance(given, type):
        own = {id(p) for p in net.parameters()}
        if not all(id(p) in own for p in getattr(getattr(given, "buffer", None), "parameters", ())):
            raise ValueError(f"Solver: {what} was built on parameters that are not the net's, found {given!r}")
        return given
    if not callable(given):
        raise TypeError(f"Solver: {what} must be one of fastnet.optim, found {given!r}")
    return given(net.parameters())
