"""`cs231n.solver`: the course's training loop.

A model is anything with .params (name -> array) and .loss(X, y=None) that gives scores without labels and (loss, gradients
by name) with them. `fastnet.Solver` is the package's own, with resume, schedules and callbacks.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import checkpoint
from ..functional import checks
from ..memory import Array
from . import optim
from .classifiers.net import running_statistics, set_running_statistics

__all__ = ["Solver", "load_checkpoint"]


class Solver:
    """Trains model on data, a mapping with X_train, y_train, X_val, y_val.

    update_rule         a name in `fastnet.cs231n.optim` (or a function like those there), default "sgd"
    optim_config        its numbers, as {"learning_rate": 1e-3}; every parameter gets a copy of its own
    lr_decay            every learning rate is multiplied by this after each epoch, default 1
    batch_size, num_epochs                      100, 10; a batch is drawn WITH replacement by NumPy's global generator
    num_train_samples, num_val_samples          how many examples the accuracies are taken on: 1000, None (all)
    print_every, verbose                        10, True: the loss every so many steps, the accuracies every epoch
    checkpoint_name     None, or the beginning of a file name: NAME_epoch_3.safetensors after epoch 3, for `load_checkpoint`

    After train(): loss_history (one loss per step), train_acc_history and val_acc_history (at the first step and after each
    epoch), best_val_acc, and best_params, which the model has been given back. best_params holds the running statistics
    of batch norm too, as running_mean1, running_var1 for model.bn_params[0] and so on: without them the best weights
    would be tested with the last statistics.
    """

    def __init__(self, model: Any, data: Mapping[str, Any], **kwargs: Any) -> None:
        self.model = model
        self.X_train, self.y_train = np.asarray(data["X_train"]), np.asarray(data["y_train"])
        self.X_val, self.y_val = np.asarray(data["X_val"]), np.asarray(data["y_val"])
        self.update_rule = kwargs.pop("update_rule", "sgd")
        self.optim_config: dict[str, Any] = kwargs.pop("optim_config", {})
        self.lr_decay = kwargs.pop("lr_decay", 1.0)
        self.batch_size = checks.integer("Solver", kwargs.pop("batch_size", 100), "batch_size", 1)
        self.num_epochs = checks.integer("Solver", kwargs.pop("num_epochs", 10), "num_epochs", 0)
        self.num_train_samples = kwargs.pop("num_train_samples", 1000)
        self.num_val_samples = kwargs.pop("num_val_samples", None)
        self.checkpoint_name = kwargs.pop("checkpoint_name", None)
        self.print_every = checks.integer("Solver", kwargs.pop("print_every", 10), "print_every", 1)
        self.verbose = kwargs.pop("verbose", True)
        if kwargs:
            raise ValueError(f"Solver: unknown arguments {', '.join(sorted(kwargs))}")
        for x, y, split in ((self.X_train, self.y_train, "train"), (self.X_val, self.y_val, "val")):
            if len(x) != len(y) or not len(x):
                raise ValueError(f"Solver: found {len(x)} images X_{split} and {len(y)} labels y_{split}")
        if not callable(self.update_rule):
            if self.update_rule not in optim.__all__:
                raise ValueError(
                    f"Solver: update_rule must be one of {', '.join(optim.__all__)}, found {self.update_rule!r}"
                )
            self.update_rule = getattr(optim, self.update_rule)
        self._reset()

    def _reset(self) -> None:
        self.epoch = 0
        self.best_val_acc = 0.0
        self.best_params: dict[str, Array] = {}
        self.loss_history: list[float] = []
        self.train_acc_history: list[float] = []
        self.val_acc_history: list[float] = []
        self.optim_configs = {name: dict(self.optim_config) for name in self.model.params}

    def _step(self) -> None:
        """One step on one batch."""
        batch = np.random.choice(len(self.X_train), self.batch_size)  # noqa: NPY002 (the generator that notebooks seed)
        loss, grads = self.model.loss(self.X_train[batch], self.y_train[batch])
        self.loss_history.append(loss)
        for name, w in self.model.params.items():
            next_w, self.optim_configs[name] = self.update_rule(w, grads[name], self.optim_configs[name])
            self.model.params[name] = next_w

    def _bn_params(self) -> list[dict[str, Any]]:
        return getattr(self.model, "bn_params", None) or []

    def _save_checkpoint(self) -> None:
        if self.checkpoint_name is None:
            return
        state, arrays = checkpoint.pack(
            {
                "params": self.model.params,
                "running_statistics": running_statistics(self._bn_params()),
                "optim_configs": self.optim_configs,
                "lr_decay": self.lr_decay,
                "batch_size": self.batch_size,
                "num_train_samples": self.num_train_samples,
                "num_val_samples": self.num_val_samples,
                "epoch": self.epoch,
                "loss_history": self.loss_history,
                "train_acc_history": self.train_acc_history,
                "val_acc_history": self.val_acc_history,
            },
            "solver",
        )
        path = Path(f"{self.checkpoint_name}_epoch_{self.epoch}.safetensors")
        if self.verbose:
            print(f"Saving checkpoint to {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(arrays, path, state)

    def check_accuracy(self, X: Any, y: Any, num_samples: int | None = None, batch_size: int = 100) -> float:
        """The share of X that the model puts into class y; of num_samples of them, drawn with replacement, if that is fewer."""
        X, y = np.asarray(X), np.asarray(y)
        if num_samples is not None and len(X) > num_samples:
            some = np.random.choice(len(X), num_samples)  # noqa: NPY002
            X, y = X[some], y[some]
        if not len(X):
            raise ValueError("check_accuracy: there is no accuracy of no examples")
        right = 0
        for start in range(0, len(X), batch_size):
            scores = self.model.loss(X[start : start + batch_size])
            right += int((np.argmax(scores, axis=1) == y[start : start + batch_size]).sum())
        return right / len(X)

    def _keep_if_best(self, val_acc: float) -> None:
        # The first state counts even at accuracy 0, so that there is always one to give back.
        if self.best_params and val_acc <= self.best_val_acc:
            return
        self.best_val_acc = val_acc
        self.best_params = {name: np.array(w, copy=True) for name, w in self.model.params.items()}
        self.best_params |= running_statistics(self._bn_params())

    def train(self) -> None:
        """num_epochs epochs of max(len(X_train) // batch_size, 1) steps; then the model has its best_params."""
        per_epoch = max(len(self.X_train) // self.batch_size, 1)
        steps = self.num_epochs * per_epoch
        for t in range(steps):
            self._step()
            if self.verbose and t % self.print_every == 0:
                print(f"(Iteration {t + 1} / {steps}) loss: {self.loss_history[-1]:f}")
            epoch_end = (t + 1) % per_epoch == 0
            if epoch_end:
                self.epoch += 1
                for name, config in self.optim_configs.items():
                    rate = config.get("learning_rate")
                    if rate is None:
                        raise KeyError(f'Solver: the update rule left no "learning_rate" in the config of {name}')
                    config["learning_rate"] = rate * self.lr_decay
            if t == 0 or epoch_end:
                train_acc = self.check_accuracy(self.X_train, self.y_train, num_samples=self.num_train_samples)
                val_acc = self.check_accuracy(self.X_val, self.y_val, num_samples=self.num_val_samples)
                self.train_acc_history.append(train_acc)
                self.val_acc_history.append(val_acc)
                self._save_checkpoint()
                if self.verbose:
                    print(
                        f"(Epoch {self.epoch} / {self.num_epochs}) train acc: {train_acc:f}; val_acc: {val_acc:f}",
                    )
                self._keep_if_best(val_acc)
        if self.best_params:
            self.model.params = {name: self.best_params[name] for name in self.model.params}
            set_running_statistics(self._bn_params(), self.best_params)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a Solver saved under checkpoint_name: params, running_statistics, optim_configs, epoch, loss_history and so on.

    `model.params = {**saved["params"], **saved["running_statistics"]}` brings one of `fastnet.cs231n.classifiers` back.
    FormatError if the file is damaged or another's.
    """
    arrays, settings = checkpoint.load_settings(path)
    state: dict[str, Any] = checkpoint.unpack(settings, arrays)
    return state
