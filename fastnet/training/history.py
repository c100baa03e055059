"""What a training run wrote down: one number per step or per epoch."""

import csv
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..files import replace_file
from ..memory import Array

__all__ = ["History"]

PER_STEP = ("loss", "lr")
PER_EPOCH = ("epoch_steps", "train_accuracy", "val_accuracy", "val_loss", "update_ratio", "seconds")


class History:
    """Lists of numbers, one per step or one per finished epoch.

    loss            per step: the loss of that batch, regularization included, before the update
    lr              per step: the learning rate of the update
    epoch_steps     per epoch: how many steps were done at its end
    train_accuracy  per epoch: on 1,000 fixed training examples, in evaluation mode and without augmentation
    val_accuracy, val_loss    per epoch: on the validation split (nan without one; accuracy nan where y are no classes)
    update_ratio    per epoch: ||change|| / ||w|| of the weights in its last step; about 1e-3 is healthy
    seconds         per epoch: time trained so far, evaluation included
    """

    def __init__(self) -> None:
        self.loss: list[float] = []
        self.lr: list[float] = []
        self.epoch_steps: list[int] = []
        self.train_accuracy: list[float] = []
        self.val_accuracy: list[float] = []
        self.val_loss: list[float] = []
        self.update_ratio: list[float] = []
        self.seconds: list[float] = []

    @property
    def steps(self) -> int:
        """Steps done."""
        return len(self.loss)

    @property
    def epochs(self) -> int:
        """Epochs finished."""
        return len(self.epoch_steps)

    def epoch_loss(self) -> list[float]:
        """The mean loss of each finished epoch's steps."""
        starts = [0, *self.epoch_steps[:-1]]
        return [float(np.mean(self.loss[i:j])) for i, j in zip(starts, self.epoch_steps)]

    def to_dict(self) -> dict[str, list[Any]]:
        """Every list by name: plain numbers, ready for json.dump."""
        return {name: list(getattr(self, name)) for name in (*PER_STEP, *PER_EPOCH)}

    def state_dict(self) -> dict[str, Array]:
        """Every list as an array, for checkpoints."""
        return {
            name: np.array(values, np.int64 if name == "epoch_steps" else np.float64)
            for name, values in self.to_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take the lists of `state_dict`. ValueError, and nothing taken, if one is missing or lengths do not agree."""
        names = (*PER_STEP, *PER_EPOCH)
        if state.keys() != set(names):
            raise ValueError(f"History: expected {', '.join(names)}, found {', '.join(map(str, state))}")
        for group in (PER_STEP, PER_EPOCH):
            lengths = {name: np.shape(state[name]) for name in group}
            if len(set(lengths.values())) > 1 or len(lengths[group[0]]) != 1:
                raise ValueError(f"History: expected lists of one length, found {lengths}")
        for name in names:
            setattr(self, name, np.asarray(state[name]).tolist())

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """One row per step; the columns that belong to an epoch are filled in its last row and empty in the others."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        columns = [name for name in PER_EPOCH if name != "epoch_steps"]
        rows.writerow(["step", "epoch", *PER_STEP, *columns])
        epoch = 0
        for step in range(1, self.steps + 1):
            row: list[Any] = [step, epoch + 1, self.loss[step - 1], self.lr[step - 1]]
            if epoch < self.epochs and step == self.epoch_steps[epoch]:
                row += [getattr(self, name)[epoch] for name in columns]
                epoch += 1
            else:
                row += [""] * len(columns)
            rows.writerow(row)
        replace_file(path, lambda file: file.write(text.getvalue().encode()))

    def table(self) -> str:
        """One line of text per epoch."""
        lines = [" epoch   steps     loss   train acc   val acc        lr   |dw|/|w|   seconds"]
        for i, loss in enumerate(self.epoch_loss()):
            end = self.epoch_steps[i]
            lines.append(
                f"{i + 1:6d} {end:7d} {loss:8.4f} {self.train_accuracy[i]:11.2%} {self.val_accuracy[i]:9.2%}"
                f" {self.lr[end - 1]:9.2e} {self.update_ratio[i]:10.1e} {self.seconds[i]:9.1f}"
            )
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The picture of `fastnet.plot.curves`: a matplotlib Figure, saved to path if one is given."""
        from .. import plot  # an extra: only when it is asked for

        return plot.curves(self, path)

    def __repr__(self) -> str:
        best = max((value for value in self.val_accuracy if value == value), default=None)
        ending = "" if best is None else f", best validation accuracy {best:.2%}"
        return f"History({self.steps} steps, {self.epochs} epochs{ending})"
