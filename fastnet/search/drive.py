"""The search itself: which runs, in which processes, until when."""

from __future__ import annotations

import os
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from ..layers.base import Layer
from ..training.arguments import entry, split
from .journal import Journal
from .result import SearchResult
from .space import Range, Space, log_uniform
from .work import Recipe, Task, Trial, loaded, named, work

__all__ = ["search"]

SPACE: dict[str, Range] = {"lr": log_uniform(1e-5, 1e-1), "weight_decay": log_uniform(1e-6, 1e-2)}


def search(
    build: Callable[[dict[str, Any]], Any] | str,
    data: Any,
    space: Mapping[str, Any] | None = None,
    runs: int = 20,
    *,
    epochs: int = 5,
    method: Literal["random", "grid"] = "random",
    folds: int | None = None,
    halving: int | None = None,
    patience: int | None = None,
    optimizer: Any = None,
    processes: int | None = 1,
    threads: int = 1,
    out: str | os.PathLike[str] | None = None,
    keep: int = 10,
    seed: int = 0,
    progress: bool = True,
    **arguments: Any,
) -> SearchResult:
    """Train many nets with other hyperparameters, and say which did best on the validation split.

        result = fastnet.search(
            lambda s: Sequential(Flatten(), Linear(784, s["hidden"]), ReLU(), Linear(s["hidden"], 10)),
            fastnet.data.load("mnist5k"),
            space={"lr": fastnet.log_uniform(1e-5, 1e-1), "hidden": fastnet.integers(16, 256, log=True)},
            runs=60, epochs=3, processes=2, out="searches/first",
        )
        print(result.table()); result.plot("first.png"); nets = result.ensemble(5); finer = result.narrow()

    build       settings -> net, or (net, {Solver arguments, which win}); or the name of a model of fastnet.models
    data        as for Solver, or a name for fastnet.data.load; the test split is never looked at
    space       name -> log_uniform, uniform, integers, choice, a list (a choice) or a fixed value; by default lr and
                weight_decay. Names that are arguments of the rule (lr, momentum …), batch_size and regularization are used
                by themselves; `build` gets all of them
    runs        how many settings; with method="grid" at most so many, as many points per range as that allows
    epochs      of each run; halving=3 gives all runs a few epochs, the best third three times as many, and so on up to
                `epochs` (Jamieson & Talwalkar 2016); patience=2 stops a run that has not improved for two epochs
    folds       k: every run is k runs, each on another k-th of training and validation examples; the score is their mean
    optimizer   a rule of fastnet.optim, or a function of (params, the settings it names); Adam by default
    processes   1: here and now, without joblib; n: in n processes of joblib; None: as the surrounding
                `joblib.parallel_config` says, so on Dask or Ray where there is one. Each run has `threads` threads
    out         a folder: every finished run is written at once, and the same call goes on after a kill. runs may be raised
    keep        of how many of the best runs the weights are kept
    seed        settings, weights and batches of run i depend on (seed, i) alone: not on processes, nor on interruptions
    arguments   anything else for Solver: schedule, augment, loss, regularization, batch_size, average …

    A run whose loss is not finite counts as failed, and the search goes on. Any other error ends the search.
    Warns if the best settings lie at the end of a range. Random beats a grid where only some of the dimensions matter:
    it tries as many values of each as there are runs.  Bergstra & Bengio 2012.
    """
    for name, value, least in (("runs", runs, 1), ("epochs", epochs, 1), ("threads", threads, 1), ("keep", keep, 0)):
        _integer(name, value, least)
    optional = (("folds", folds, 2), ("halving", halving, 2), ("patience", patience, 1), ("processes", processes, 1))
    for name, given, least in optional:
        if given is not None:
            _integer(name, given, least)
    if method not in ("random", "grid"):
        raise ValueError(f"search: method must be 'random' or 'grid', found {method!r}")
    own = sorted(arguments.keys() & {"epochs", "seed", "progress", "checkpoint"})
    if own:
        raise TypeError(f"search: {', '.join(own)} of the Solver is the search's own business")
    where = Space(SPACE if space is None else space)
    images = loaded(data)
    if folds is not None and entry(images, "normalize") is not None:
        raise ValueError(
            "search: data brings a preprocessing that was fitted to examples which folds validate on; leave it out, "
            "and every fold fits its own"
        )
    if isinstance(build, str):
        build = named(build, images)
    elif isinstance(build, Layer) or not callable(build):
        raise TypeError(f"search: build must be a function of the settings, or a model's name, found {build!r:.80}")
    recipe = Recipe(build, _plain(images), optimizer, arguments, _integer("seed", seed, 0), folds, patience, threads)
    settings = where.grid(runs) if method == "grid" else [where.random(seed, i) for i in range(runs)]
    journal = Journal(out, keep)
    about = {"space": repr(where), "method": method, "epochs": epochs, "folds": folds, "halving": halving}
    about |= {"patience": patience, "seed": seed, "optimizer": getattr(optimizer, "__name__", repr(optimizer))}
    journal.open(about | {"data": _fingerprint(recipe.data)}, len(settings))
    show = _Shown(progress, len(settings))
    chosen = list(range(len(settings)))
    rungs = _rungs(epochs, len(settings), halving)
    for rung, length in enumerate(rungs):
        last = rung == len(rungs) - 1
        tasks = []
        for index in chosen:
            done = journal.trials.get((index, rung))
            if done is not None:
                done.settings = settings[index]  # as they are, not as JSON has them
                continue
            continued = journal.continued(index, rung - 1, folds or 1) if rung else None
            tasks.append(Task(index, rung, settings[index], length, continued, keep=not last))
        show.rung(rung, len(rungs), len(chosen), length, len(chosen) - len(tasks))
        for trial, states, saved in _outcomes(recipe, tasks, processes):
            journal.add(trial, states, saved)
            show.trial(trial, journal)
        finished = [journal.trials[index, rung] for index in chosen]
        finished.sort(key=lambda t: (t.rank, -t.index), reverse=True)
        if not last:
            assert halving is not None
            chosen = [t.index for t in finished[: -(-len(finished) // halving)] if not t.failed]
    journal.drop_saved()
    result = SearchResult(recipe, where, journal)
    for sentence in result.warnings:
        warnings.warn(f"search: {sentence}", stacklevel=2)
    return result


def _rungs(epochs: int, runs: int, halving: int | None) -> list[int]:
    """Epochs of each rung: epochs / halving^k, as often as runs and epochs allow, the shortest first."""
    lengths, left = [epochs], runs
    while halving is not None and lengths[-1] >= halving and left >= halving:
        lengths.append(lengths[-1] // halving)
        left = -(-left // halving)
    return lengths[::-1]


def _outcomes(recipe: Recipe, tasks: list[Task], processes: int | None) -> Iterator[tuple[Trial, Any, Any]]:
    """What the workers give, in the order in which they finish."""
    if processes == 1:
        yield from (work(recipe, task) for task in tasks)
        return
    try:
        import joblib
    except ImportError as error:
        raise ImportError('fastnet.search needs joblib for several processes: pip install "fastnet[search]"') from error
    if not tasks:
        return
    parallel = joblib.Parallel(n_jobs=processes, return_as="generator_unordered", batch_size=1)
    found: Iterable[Any] = parallel(joblib.delayed(work)(recipe, task) for task in tasks)
    yield from found


def _plain(images: Any) -> dict[str, Any]:
    """What runs need of the data, as a mapping of arrays that joblib can map into every worker's memory."""
    names = ("x_train", "y_train", "x_val", "y_val", "normalize")
    return {name: value for name in names if (value := entry(images, name)) is not None}


def _fingerprint(images: Mapping[str, Any]) -> list[Any]:
    """Enough to notice that the data are others."""
    x, y = split(images, "train", needed=True)
    return [list(x.shape), str(x.dtype), zlib.crc32(y.tobytes())]


def _integer(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"search: {name} must be an integer of at least {least}, found {value!r}")
    return value


class _Shown:
    """Lines on stderr: one for every finished run."""

    def __init__(self, progress: bool, runs: int) -> None:
        self.on, self.runs, self.count = bool(progress), runs, 0

    def _print(self, text: str) -> None:
        if self.on:
            print(text, file=sys.stderr, flush=True)

    def rung(self, rung: int, rungs: int, runs: int, epochs: int, done: int) -> None:
        self.runs, self.count = runs, done
        if rungs > 1:
            self._print(f"rung {rung + 1} of {rungs}: {runs} runs of {epochs} epoch{'s' * (epochs > 1)}")
        if done:
            self._print(f"{done} of {runs} runs are finished already")

    def trial(self, trial: Trial, journal: Journal) -> None:
        self.count += 1
        inside = ", ".join(f"{n}={v:.3g}" if isinstance(v, float) else f"{n}={v}" for n, v in trial.settings.items())
        best = max(t.score for t in journal.trials.values() if not t.failed) if not trial.failed else 0.0
        found = f"failed ({trial.failed[:60]})" if trial.failed else f"{trial.score:.4f} (best so far {best:.4f})"
        self._print(f"run {self.count:{len(str(self.runs))}d}/{self.runs}: {found}  {inside}")
