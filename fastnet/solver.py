"""Training: batches in, updates out, everything that happened written down, and exactly continued after a stop."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from .callbacks import Callback
from .checkpoint import Checkpoint, load_settings, pack, unpack
from .data import Loader, MixedLabels, Normalize
from .errors import FormatError
from .layers.base import Layer
from .losses import SoftmaxCrossEntropy
from .memory import Array
from .optim import EMA
from .regularization import Regularization, regularizer
from .training.arguments import built, check_scheduled, entry, integer, schedules, split
from .training.averaged import Averaged
from .training.history import History
from .training.interrupts import Interrupts
from .training.nonfinite import explain_gradients, explain_loss, finite
from .training.progress import choose as choose_progress
from .training.state import Best, Volatile, alone, load_state, random_layers, state_of

__all__ = ["Solver"]

PREFIX = "solver"  # arrays of a checkpoint that are not the net's own are named solver/…
SAMPLE = 1000  # training examples on which train_accuracy is measured


class Solver:
    """Trains a net by mini-batches: forward, loss, backward, update, and once an epoch a look at the validation split.

    net             a Layer; data: what fastnet.data.load gives, or any object or mapping with x_train, y_train, x_val, y_val
    optimizer       a rule of fastnet.optim built on net.parameters(), or what builds one from them (a class, a partial)
    loss            an object with forward(scores, y) and backward(); SoftmaxCrossEntropy() by default
    schedule        step -> learning rate, called before every update with 0, 1, 2 …; or {"lr": …, "momentum": …} of such
    augment         a transform of training batches (fastnet.data); checkpoint: a path or a Checkpoint
    callbacks       objects of fastnet.callbacks; progress: None (a bar or lines), False (silent), "bar", "lines"
    seed            fixes the order of the data, augmentation and dropout (initial weights: fastnet.manual_seed)
    on_nonfinite    a loss or gradient that is nan or infinite: "raise" FloatingPointError before the update, with the step,
                    the layer and the parameter; "skip" the update; "ignore" it
    regularization  a number (L2: 0.5 * number * sum w^2 of decayed parameters) or an object of fastnet.regularization; it is
                    part of the reported loss
    average         an EMA (updated every step) or SWA (updated after every epoch of the last quarter) of fastnet.optim, used
                    for every evaluation and for `best` from its first update on, with batch-norm statistics recomputed
                    from 1,000 training examples

    **Normalization.** `solver.normalize` prepares training images: data's own `normalize` (a fitted fastnet.data
    preprocessing) if it has one, else Normalize fitted on the training split if that is uint8, else nothing.
    `solver.predict` and `solver.evaluate` do the same to images of the kind of the training images; so after training on
    bytes, bytes are normalized and floats taken as they are. `net.predict` knows the net alone and takes floats.

    `train()` may be called again: it goes on where it stopped, up to `epochs`, which may be raised in between.
    """

    def __init__(
        self,
        net: Layer,
        data: Any,
        *,
        optimizer: Any,
        loss: Any = None,
        schedule: Any = None,
        batch_size: int = 128,
        epochs: int = 10,
        augment: Any = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
        seed: int = 0,
        progress: bool | str | None = None,
        on_nonfinite: Literal["raise", "skip", "ignore"] = "raise",
        regularization: Regularization | float | None = None,
        average: Any = None,
    ) -> None:
        if not isinstance(net, Layer):
            raise TypeError(f"Solver: net must be a Layer, found {type(net).__name__}")
        if on_nonfinite not in ("raise", "skip", "ignore"):
            raise ValueError(f'Solver: on_nonfinite must be "raise", "skip" or "ignore", found {on_nonfinite!r}')
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"Solver: expected callbacks of fastnet.callbacks, found {callback!r} (Lambda makes one)"
                )
        self.net = net
        self.x_train, self.y_train = split(data, "train", needed=True)
        self.x_val, self.y_val = split(data, "val", needed=False)
        self.schedules = schedules(schedule)
        self.batch_size = integer("batch_size", batch_size, 1)
        self.epochs, self.seed = integer("epochs", epochs, 0), integer("seed", seed, 0)
        self.loss = SoftmaxCrossEntropy() if loss is None else loss
        if not (callable(getattr(self.loss, "forward", None)) and callable(getattr(self.loss, "backward", None))):
            raise TypeError(f"Solver: loss must have forward(scores, y) and backward(), found {loss!r}")
        self.callbacks = list(callbacks)
        self.on_nonfinite = on_nonfinite
        self.regularization = regularizer(regularization)
        self.checkpoint = (
            checkpoint if isinstance(checkpoint, Checkpoint) or checkpoint is None else Checkpoint(checkpoint)
        )
        self.optimizer = built("optimizer", optimizer, net, "step")
        check_scheduled(self.schedules, self.optimizer)
        self.average: Any = None if average is None else built("average", average, net, "update")
        self.normalize = entry(data, "normalize")
        if self.normalize is None and self.x_train.dtype == np.uint8:
            self.normalize = Normalize().fit({"x_train": self.x_train})
        parameters = list(net.parameters()) if self.x_train.dtype == np.uint8 else []
        self._dtype = parameters[0].data.dtype if parameters else None  # that bytes become; None: examples have one
        self.loader = Loader(
            self.x_train,
            self.y_train,
            self.batch_size,
            seed=self.seed,
            augment=augment,
            normalize=self.normalize,
            dtype=self._dtype,
        )
        self.batches = len(self.loader)  # per epoch
        for i, (_, layer) in enumerate(random_layers(net)):
            layer.rng = np.random.default_rng([self.seed, 1, i])
        chosen = np.random.default_rng([self.seed, 2]).permutation(len(self.x_train))[:SAMPLE]
        self._sample = np.sort(chosen)
        self._averaged = Averaged(net, lambda: self._prepared(self.x_train[self._sample]))
        self.history = History()
        self.step = 0  # updates done
        self.epoch = 0  # epochs finished
        self.batch = 0  # batches done of the present epoch
        self.stopped = ""  # why `stop` was called
        self._ratio = math.nan
        self._seconds = 0.0
        self._best: Best | None = None
        self._interrupts = Interrupts()
        self._shown = choose_progress(progress)
        self._saved_at: int | None = None

    # --- training -------------------------------------------------------------------------------------------------

    def train(self) -> History:
        """Train up to `epochs` epochs; the history. Ctrl-C raises KeyboardInterrupt with all parameters wholly after a step,
        the history kept and a checkpoint written (if there is one to write); `train()` then goes on from there.

        RuntimeError if the net is being trained already, by another thread.
        """
        with alone(self.net), self._interrupts:
            self.stopped = ""
            if not self.net.training:
                self.net.train()
            freed = self.net._frees
            self.net.free_after_backward()
            self._began = time.perf_counter() - self._seconds
            try:
                self._call("on_train_begin")
                while self.epoch < self.epochs and not self.stopped:
                    self._run_epoch()
                if self.stopped:
                    self._shown.note(f"stopped after step {self.step}: {self.stopped}")
                self._write_checkpoint()
            except KeyboardInterrupt:
                self._shown.close()
                self._write_checkpoint()
                raise
            finally:
                self.net.free_after_backward(freed)
                self._shown.close()
                self._call("on_train_end")
        return self.history

    def stop(self, reason: str) -> None:
        """Let `train()` end after the present step: for callbacks."""
        self.stopped = reason

    def _run_epoch(self) -> None:
        """The rest of the present epoch."""
        batches: Any = self.loader.batches(self.epoch, self.batch)
        with contextlib.closing(batches):
            for x, y in batches:
                self._train_step(x, y)
                self._shown.step(self)
                self._call("on_step")
                if self.batch < self.batches and self.checkpoint and self.checkpoint.due(self.step, None):
                    self._write_checkpoint()
                if self.stopped and self.batch < self.batches:
                    return
        self._end_epoch()
        self._shown.epoch(self)
        self._call("on_epoch")
        if self.checkpoint and self.checkpoint.due(self.step, self.epoch):
            self._write_checkpoint()

    def _train_step(self, x: Array, y: Array | MixedLabels) -> None:
        """One update, wholly or not at all: whatever stops it, statistics and random states are as before it."""
        before = Volatile(self.net)
        try:
            value, problem = self._gradients(x, y)
            if problem is not None:
                where = f"step {self.step + 1} (epoch {self.epoch + 1}, batch {self.batch + 1} of {self.batches})"
                if self.on_nonfinite == "raise":
                    raise FloatingPointError(f"Solver: {where}: {problem}; nothing was updated")
                before.restore()
                self._shown.note(f"{where} skipped: {problem}")
            else:
                self._call("on_gradients")
            for name, schedule in self.schedules.items():
                setattr(self.optimizer, name, schedule(self.step))
        except BaseException:
            before.restore()
            raise
        with self._interrupts.held():
            if problem is None:
                self._update(x, y)
            self.history.loss.append(value)
            self.history.lr.append(float(self.optimizer.lr))
            self.step += 1
            self.batch += 1
            self._seconds = time.perf_counter() - self._began

    def _gradients(self, x: Array, y: Array | MixedLabels) -> tuple[float, str | None]:
        """The loss of a batch, with its gradients in the parameters, and what is wrong with them (None: nothing)."""
        buffer, watch = self.optimizer.buffer, self.on_nonfinite != "ignore"
        with np.errstate(all="ignore"):  # what is not finite gets a better message than NumPy's
            scores = self.net.forward(x)
            value, dscores = self._loss(scores, y)
            if self.regularization is not None:
                value += self.regularization.forward(buffer)
            if watch and not math.isfinite(value):
                return value, f"the loss is {value}: {explain_loss(self.net, x)}"
            self.net.backward(dscores(), input_gradient=False)
            if self.regularization is not None:
                self.regularization.backward(buffer)
        if watch and not finite(buffer.grad):
            return value, explain_gradients(self.net, buffer)
        return value, None

    def _loss(self, scores: Array, y: Array | MixedLabels) -> tuple[float, Callable[[], Array]]:
        """The loss and what gives its gradient; of mixed labels the same mixture of losses."""
        if not isinstance(y, MixedLabels):
            return self.loss.forward(scores, y), self.loss.backward
        losses = [(weight, copy.copy(self.loss), labels) for weight, labels in y.terms()]
        value = sum(weight * loss.forward(scores, labels) for weight, loss, labels in losses)
        return value, lambda: sum(scores.dtype.type(weight) * loss.backward() for weight, loss, _ in losses)

    def _update(self, x: Array, y: Array | MixedLabels) -> None:
        data = self.optimizer.buffer.data
        decayed = data[: self.optimizer.buffer.decayed]
        old = decayed.copy() if self.batch == self.batches - 1 else None  # once an epoch: for the update ratio
        if getattr(self.optimizer, "needs_closure", False):  # it looks at the batch several times
            self.optimizer.step(lambda: self._gradients(x, y)[0])
        else:
            self.optimizer.step()
        if isinstance(self.average, EMA):
            self.average.update()
        if old is not None:
            size = _norm(old)
            self._ratio = _norm(decayed - old) / size if size else math.nan

    def _end_epoch(self) -> None:
        """Measure, remember the best state, count the epoch."""
        history = self.history
        if self.average is not None and not isinstance(self.average, EMA) and 4 * (self.epoch + 1) > 3 * self.epochs:
            self.average.update()
        with self._averaged(self.average):
            _, train = self._measure(self.x_train[self._sample], self.y_train[self._sample])
            loss, accuracy = math.nan, math.nan
            if len(self.x_val):
                loss, accuracy = self._measure(self.x_val, self.y_val)
            mean = float(np.mean(history.loss[history.epoch_steps[-1] if history.epochs else 0 :]))
            candidates = (accuracy, -loss, train, -mean)  # the first of these that there is decides
            score = next((value for value in candidates if not math.isnan(value)), -math.inf)
            result = mean if math.isnan(loss) else loss
            rank = (score, -result)  # of equal accuracies the lower loss is the better: they are often equal
            better = self._best is None or rank > (self._best.score, -self._best.loss)
            best = Best(score, result, self.epoch + 1, self.net.state_dict()) if better else self._best
        for schedule in self.schedules.values():
            if hasattr(schedule, "observe"):  # ReduceOnPlateau looks at results
                rising = getattr(getattr(schedule, "schedule", schedule), "mode", "min") == "max"
                schedule.observe(score if rising else result)
        with self._interrupts.held():
            self._best = best
            self._seconds = time.perf_counter() - self._began
            history.epoch_steps.append(self.step)
            history.train_accuracy.append(train)
            history.val_accuracy.append(accuracy)
            history.val_loss.append(loss)
            history.update_ratio.append(self._ratio)
            history.seconds.append(self._seconds)
            self.epoch += 1
            self.batch = 0

    def _call(self, hook: str) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self)

    # --- looking ----------------------------------------------------------------------------------------------------

    def predict(self, x: Array, batch_size: int = 256) -> Array:
        """Scores of examples x, with the average's weights if there is one; uint8 images are normalized as in training."""
        with self._averaged(self.average):
            return self._scores(x, batch_size)

    def evaluate(self, x: Array, y: Array, batch_size: int = 256) -> float:
        """The share of examples x whose highest score is that of y; the mean loss where y are no class numbers."""
        with self._averaged(self.average):
            loss, accuracy = self._measure(x, y, batch_size)
        return loss if math.isnan(accuracy) else accuracy

    @property
    def best(self) -> dict[str, Array]:
        """The state (running statistics included) of the epoch with the best validation accuracy, and of equal ones with the
        lowest loss; without a validation split the best training accuracy decides, without accuracies the lowest loss.
        Before the first epoch: the present state.
        """
        return self.net.state_dict() if self._best is None else self._best.state

    @property
    def best_epoch(self) -> int:
        """The epoch (from 1) that `best` is of; 0 before the first."""
        return 0 if self._best is None else self._best.epoch

    def _scores(self, x: Array, batch_size: int) -> Array:
        if self.normalize is None or x.dtype.kind != self.x_train.dtype.kind:
            return self.net.predict(x, batch_size)
        pieces = [x[i : i + batch_size] for i in range(0, max(len(x), 1), batch_size)]
        with self.net.evaluating():
            return np.concatenate([self.net.forward(self._prepared(piece)) for piece in pieces])

    def _prepared(self, x: Array) -> Array:
        """Examples of the training split as the net gets them."""
        if self.normalize is None:
            return x
        made = np.asarray(self.normalize(x))
        return made if self._dtype is None else made.astype(self._dtype, copy=False)

    def _measure(self, x: Array, y: Array, batch_size: int = 256) -> tuple[float, float]:
        """(mean loss, accuracy) in evaluation mode; accuracy nan where y are no class numbers."""
        scores = self._scores(x, batch_size)
        with np.errstate(all="ignore"):
            loss = copy.copy(self.loss).forward(scores, y)  # a copy: the training step's own loss keeps its state
        y = np.asarray(y)
        if y.dtype.kind not in "iu" or y.ndim != 1 or scores.ndim != 2:
            return loss, math.nan
        return loss, float((scores.argmax(1) == y).mean())

    # --- stopping and going on ----------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint that `Solver.resume` reads: the net's state under its own names, everything else beside it."""
        Checkpoint(path).write(*self._file(), step=self.step, epoch=self.epoch)

    def _write_checkpoint(self) -> None:
        if self.checkpoint is not None and self._saved_at != self._position():
            self.checkpoint.write(*self._file(), step=self.step, epoch=self.epoch)
            self._saved_at = self._position()

    def _position(self) -> int:
        return self.step + self.epoch  # grows with every step and again at the end of an epoch

    def _file(self) -> tuple[dict[str, Array], dict[str, Any]]:
        tree, arrays = pack(state_of(self), PREFIX)
        return {**self.net.state_dict(), **arrays}, {PREFIX: tree}

    @classmethod
    def resume(cls, path: str | os.PathLike[str], net: Layer, data: Any, **arguments: Any) -> Solver:
        """The Solver of a checkpoint, which goes on bit for bit as the uninterrupted one would have.

        The arguments are those of Solver, and must be what they were (rule, schedule, loss …: they are code, and no file
        holds code); seed, batch_size and epochs may be left out. epochs may be raised to train longer. FormatError if the
        file is damaged or no checkpoint, ValueError if it belongs to another net, rule or data; the net is then unchanged.
        """
        arrays, settings = load_settings(path)
        tree = settings.get(PREFIX)
        if not isinstance(tree, dict) or not {"seed", "batch_size", "epochs"} <= tree.keys():
            raise FormatError(f"{os.fspath(path)}: this file holds no Solver's state; fastnet.load reads it")
        own = {name: array for name, array in arrays.items() if not name.startswith(PREFIX + "/")}
        state = unpack(tree, arrays)
        for name in ("seed", "batch_size", "epochs"):
            arguments.setdefault(name, state[name])
        before = net.state_dict()
        try:
            net.load_state_dict(own)
            solver = cls(net, data, **arguments)
            try:
                load_state(solver, state)
            except (KeyError, TypeError, AttributeError) as error:
                raise FormatError(f"{os.fspath(path)}: the Solver's state is malformed: {error!r}") from error
        except BaseException:
            net.load_state_dict(before)
            raise
        return solver


def _norm(array: Array) -> float:
    return math.sqrt(float(np.square(array, dtype=np.float64).sum()))
