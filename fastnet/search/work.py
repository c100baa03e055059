"""One run of a search: what a worker process does."""

from __future__ import annotations

import inspect
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import config, data, initializers, models
from ..callbacks import EarlyStopping
from ..layers.base import Layer
from ..memory import Array
from ..optim import Adam
from ..solver import Solver
from ..training.arguments import entry, split

__all__ = ["Recipe", "Task", "Trained", "Trial", "parts", "work"]

_building = threading.RLock()  # the package's generator is one for all threads, and so is their number
_counting = threading.Lock()
_counted: list[int] = []  # what `threads` found, of each block that is open

OF_SOLVER = ("batch_size", "regularization")  # settings that go to the Solver unless `build` says otherwise


@dataclass
class Recipe:
    """What all runs of a search have in common."""

    build: Any
    data: Any
    optimizer: Any
    arguments: dict[str, Any]
    seed: int
    folds: int | None
    patience: int | None
    threads: int

    def solver(
        self, settings: Mapping[str, Any], part: Any, seed: int, epochs: int, resume: str | None = None
    ) -> Solver:
        """The Solver of a run on one part of the data, its weights drawn from the seed."""
        with _building, seeded(seed):
            built = self.build(dict(settings))
        net, own = built if isinstance(built, tuple) else (built, {})
        if not isinstance(net, Layer) or not isinstance(own, Mapping):
            raise TypeError(f"search: build must return a net, or (net, Solver's arguments), found {built!r:.80}")
        arguments = {
            **self.arguments,
            **{name: settings[name] for name in OF_SOLVER if name in settings},
            "optimizer": _rule(self.optimizer, settings),
            **own,
        }
        callbacks = list(arguments.pop("callbacks", ()))
        if self.patience is not None:
            callbacks.append(EarlyStopping(patience=self.patience))
        arguments |= {"epochs": epochs, "seed": seed, "progress": False, "callbacks": callbacks}
        return Solver(net, part, **arguments) if resume is None else Solver.resume(resume, net, part, **arguments)

    def run_seed(self, index: int) -> int:
        """The seed of a run's weights, batches and dropout."""
        return int(np.random.SeedSequence([self.seed, 5, index]).generate_state(1)[0])


@dataclass
class Task:
    """A run to start, or to continue from what its Solvers saved."""

    index: int
    rung: int
    settings: dict[str, Any]
    epochs: int
    continued: list[bytes] | None = None
    keep: bool = False  # whether it may be continued later


@dataclass
class Trial:
    """A finished run. score is the best validation accuracy (without accuracies, minus the validation loss), of folds the
    mean; loss the validation loss of the same epoch. failed says why there is no score."""

    index: int
    rung: int
    settings: dict[str, Any]
    score: float = math.nan
    loss: float = math.nan
    scores: list[float] = field(default_factory=list)  # of each fold
    epochs: int = 0
    seconds: float = 0.0
    val_accuracy: list[float] = field(default_factory=list)  # after each epoch, of the first fold
    failed: str | None = None

    @property
    def rank(self) -> tuple[float, ...]:
        """Larger is better: a run that went on counts more than one that was stopped, and of equal scores the lower loss."""
        if self.failed is not None:
            return (-math.inf, -math.inf, -math.inf)
        return (self.rung, self.score, -self.loss)


def _rule(optimizer: Any, settings: Mapping[str, Any]) -> Callable[[Any], Any]:
    """The rule of params, with the settings that it has arguments for."""
    optimizer = Adam if optimizer is None else optimizer
    known = list(inspect.signature(optimizer).parameters)[1:]
    taken = {name: value for name, value in settings.items() if name in known}
    return lambda params: optimizer(params, **taken)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The package's generator seeded inside the block, as it was after it."""
    before = initializers.generator()
    initializers.manual_seed(seed)
    try:
        yield
    finally:
        initializers._generator = before


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads inside the block, as before when the last of several overlapping blocks ends."""
    with _counting:
        _counted.append(config.get_num_threads())
        config.set_num_threads(count)
    try:
        yield
    finally:
        with _counting:
            if len(_counted) == 1:
                config.set_num_threads(_counted[0])
                _counted.clear()
            else:
                _counted.pop()  # the first one is what was there before all of them


def parts(whole: Any, folds: int | None) -> Iterator[Any]:
    """The data as they are, or k times: a k-th of training and validation examples to validate, the others to train.

    Examples are dealt out in turn, so that data sorted by class give folds that are alike.
    """
    if folds is None:
        yield whole
        return
    (x, y), (x_val, y_val) = split(whole, "train", needed=True), split(whole, "val", needed=False)
    if len(x_val):
        x, y = np.concatenate([x, x_val]), np.concatenate([y, y_val])
    order = np.random.default_rng(0).permutation(len(y))
    if y.dtype.kind in "iu" and y.ndim == 1:
        order = order[np.argsort(y[order], kind="stable")]  # each class is dealt out evenly
    for fold in range(folds):
        held, others = np.sort(order[fold::folds]), np.sort(np.delete(order, np.s_[fold::folds]))
        yield {"x_train": x[others], "y_train": y[others], "x_val": x[held], "y_val": y[held]}


def named(build: str, images: Any) -> Callable[[dict[str, Any]], Layer]:
    """The model of that name for the shape and the classes of the data, with the settings that it has options for."""
    x, y = split(images, "train", needed=True)
    classes = len(entry(images, "classes") or ()) or int(y.max()) + 1
    if build not in models.names():
        raise ValueError(f"search: there is no model {build!r}; there are {', '.join(models.names())}")
    known = inspect.signature(getattr(models, build)).parameters
    shape = tuple(x.shape[1:])

    def made(settings: dict[str, Any]) -> Layer:
        options = {name: value for name, value in settings.items() if name in known}
        return models.build(build, shape, classes, **options)

    return made


def work(recipe: Recipe, task: Task) -> tuple[Trial, list[dict[str, Array]], list[bytes]]:
    """(the finished run, the best state of each fold, what its Solvers saved if the run may be continued)."""
    trial = Trial(task.index, task.rung, task.settings)
    states, saved, losses = [], [], []
    began = time.perf_counter()
    seed = recipe.run_seed(task.index)
    with threads(recipe.threads), tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "run.safetensors")
        try:
            for fold, part in enumerate(parts(recipe.data, recipe.folds)):
                if task.continued is not None:
                    with open(path, "wb") as file:
                        file.write(task.continued[fold])
                solver = recipe.solver(task.settings, part, seed, task.epochs, path if task.continued else None)
                if not len(solver.x_val):
                    raise ValueError("search: data needs x_val and y_val, by which runs are compared; or use folds=5")
                with np.errstate(all="ignore"):
                    history = solver.train()
                best = solver.best_epoch - 1
                accuracy, loss = history.val_accuracy[best], history.val_loss[best]
                trial.scores.append(-loss if math.isnan(accuracy) else accuracy)
                losses.append(loss)
                trial.epochs = history.epochs
                if not fold:
                    trial.val_accuracy = list(history.val_accuracy)
                states.append(solver.best)
                if task.keep:
                    solver.save(path)
                    with open(path, "rb") as file:
                        saved.append(file.read())
            trial.score, trial.loss = float(np.mean(trial.scores)), float(np.mean(losses))
            if math.isnan(trial.score):
                trial.failed = "the score is nan"
        except FloatingPointError as error:
            trial.failed = str(error)
    trial.seconds = time.perf_counter() - began
    return trial, ([] if trial.failed else states), ([] if trial.failed else saved)


class Trained:
    """A net of a finished run with its preprocessing: predict(x) as its Solver did."""

    def __init__(self, recipe: Recipe, trial: Trial, part: Any, state: Mapping[str, Array]) -> None:
        solver = recipe.solver(trial.settings, part, recipe.run_seed(trial.index), 0)
        solver.net.load_state_dict(state)
        solver.average = None  # its weights are in the state already
        self.settings, self.net, self.normalize = trial.settings, solver.net.eval(), solver.normalize
        self._solver = solver

    def predict(self, x: Array, batch_size: int = 256) -> Array:
        """Scores; images of the kind of the training images are prepared as in training."""
        return self._solver.predict(x, batch_size)

    def evaluate(self, x: Array, y: Array, batch_size: int = 256) -> float:
        """The share of examples x that it puts into their class y."""
        return self._solver.evaluate(x, y, batch_size)

    def __repr__(self) -> str:
        return f"Trained({self.settings})"


def loaded(images: Any) -> Any:
    """A data set by its name, or what is given."""
    return data.load(images) if isinstance(images, str) else images
