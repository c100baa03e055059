"""Several nets that decide together."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from .checkpoint import load
from .layers.base import Layer
from .memory import Array
from .optim import recompute_batch_norm
from .optim.statistics import batch_norms
from .solver import PREFIX

__all__ = ["Ensemble", "softmax"]


def softmax(scores: Array) -> Array:
    """exp(scores) / sum over classes of exp(scores), in float64.    (N, C)  ->  (N, C)."""
    share: Array = np.exp(scores - scores.max(axis=1, keepdims=True).astype(np.float64))
    share /= share.sum(axis=1, keepdims=True)
    return share


class Ensemble:
    """The mean of what several nets say.

    nets        Layers, Solvers, other Ensembles: whatever has predict(x, batch_size). Solvers normalize images as in training
    average     "probabilities": the mean of the nets' softmax, which lets a sure net outvote doubtful ones moderately;
                "scores": the mean of the scores themselves (for regression and for the SVM, whose scores are no logits)
    normalize   a fitted preprocessing that integer images go through first (nets know none; a Solver has its own)
    weights     one number per net, equal ones by default

    Where the nets come from: runs from other initial weights, the best of a search (`fastnet.search(…).ensemble(5)`), or
    snapshots of one run (`Ensemble.snapshots`). `Ensemble.mean_net` averages the weights instead of the answers.
    Course notes CS231n, "Model ensembles"; Hansen & Salamon 1990.
    """

    def __init__(
        self,
        nets: Iterable[Any],
        *,
        average: Literal["probabilities", "scores"] = "probabilities",
        normalize: Callable[[Array], Array] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        if isinstance(nets, Layer) or not isinstance(nets, Iterable):
            raise TypeError(f"Ensemble: expected a list of nets, found {type(nets).__name__}")
        self.nets = list(nets)
        if not self.nets:
            raise ValueError("Ensemble: expected at least one net, found none")
        for net in self.nets:
            if not callable(getattr(net, "predict", None)):
                raise TypeError(f"Ensemble: expected nets, Solvers or Ensembles, found {type(net).__name__}")
        if average not in ("probabilities", "scores"):
            raise ValueError(f"Ensemble: average must be 'probabilities' or 'scores', found {average!r}")
        if normalize is not None and not callable(normalize):
            raise TypeError(f"Ensemble: normalize must be a function of images, found {normalize!r}")
        shares = np.ones(len(self.nets)) if weights is None else np.asarray(weights, np.float64)
        if shares.shape != (len(self.nets),) or not (shares >= 0).all() or not 0 < shares.sum() < np.inf:
            raise ValueError(f"Ensemble: expected {len(self.nets)} weights of at least 0, found {weights!r}")
        self.average, self.normalize, self.weights = average, normalize, shares / shares.sum()

    @classmethod
    def snapshots(
        cls, net: Layer, files: Iterable[str | os.PathLike[str] | Mapping[str, Array]], **options: Any
    ) -> Ensemble:
        """The nets of several checkpoints of one run (or states): copies of net with the weights of each.

        options are those of the constructor. A schedule of `optim.WarmRestarts` makes snapshots that differ: take one at the
        end of every cycle.  Huang et al. 2017 ("Snapshot ensembles").
        """
        return cls([_copy(net, _state(file)) for file in files], **options)

    @staticmethod
    def mean_net(
        net: Layer, files: Iterable[str | os.PathLike[str] | Mapping[str, Array]], x: Array | None = None
    ) -> Layer:
        """One net, a copy of net with the mean of the weights of several checkpoints (or states) of ONE run.

        Weights of runs from different initial values mean nothing together. A net with batch norm needs x, training examples
        as the net gets them, from which its running statistics are computed anew; ValueError without them.
        """
        states = [_state(file) for file in files]
        if not states:
            raise ValueError("Ensemble.mean_net: expected at least one state, found none")
        mean = {name: np.asarray(np.mean([s[name] for s in states], axis=0, dtype=np.float64)) for name in states[0]}
        averaged = _copy(net, mean)
        if batch_norms(averaged):
            if x is None:
                raise ValueError(
                    "Ensemble.mean_net: the net has batch norm: give x, training examples, to recompute it"
                )
            recompute_batch_norm(averaged, x)
        return averaged

    def members(self, x: Array, batch_size: int = 256) -> Iterator[Array]:
        """What each net says of examples x: probabilities (N, C), or scores."""
        if self.normalize is not None and x.dtype.kind in "ui":
            x = self.normalize(x)
        for net in self.nets:
            scores = net.predict(x, batch_size)
            if self.average == "scores" or (isinstance(net, Ensemble) and net.average == "probabilities"):
                yield scores
            elif scores.ndim == 2:
                yield softmax(scores)
            else:
                raise ValueError(
                    f"Ensemble: probabilities are of scores (N, C), found {scores.shape}: average='scores'"
                )

    def predict(self, x: Array, batch_size: int = 256) -> Array:
        """The weighted mean over the nets, for examples x (N, …): probabilities (N, C), or scores."""
        total: Any = None
        for weight, values in zip(self.weights, self.members(x, batch_size)):
            if total is not None and values.shape != total.shape:
                raise ValueError(f"Ensemble: one net gives shape {values.shape}, those before it {total.shape}")
            total = weight * values if total is None else total + weight * values
        mean: Array = total
        return mean

    def evaluate(self, x: Array, y: Array, batch_size: int = 256) -> float:
        """The share of examples x whose highest value is that of the label y (N,)."""
        return accuracy(self.predict(x, batch_size), y)

    def evaluate_each(self, x: Array, y: Array, batch_size: int = 256) -> list[float]:
        """As `evaluate`, for every net by itself: what the ensemble is to be compared with."""
        return [accuracy(values, y) for values in self.members(x, batch_size)]

    def __len__(self) -> int:
        return len(self.nets)

    def __getitem__(self, index: int) -> Any:
        return self.nets[index]

    def __repr__(self) -> str:
        return f"Ensemble({len(self)} nets, average={self.average!r})"


def accuracy(scores: Array, y: Array) -> float:
    """The share of rows whose largest number is at the label."""
    y = np.asarray(y)
    if scores.ndim != 2 or y.dtype.kind not in "iu" or y.shape != (len(scores),):
        raise ValueError(
            f"Ensemble.evaluate: expected scores (N, C) and labels (N,), found {scores.shape} and {y.dtype} {y.shape}"
        )
    return float((scores.argmax(1) == y).mean())


def _state(file: Any) -> Mapping[str, Array]:
    """The net's own part of a checkpoint, or of what fastnet.save wrote."""
    state = file if isinstance(file, Mapping) else load(file)
    return {name: array for name, array in state.items() if not name.startswith(PREFIX + "/")}


def _copy(net: Layer, state: Mapping[str, Array]) -> Layer:
    return copy.deepcopy(net).load_state_dict(state)
