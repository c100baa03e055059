"""Batches for training, prepared ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import config, memory
from ..functional import checks
from ..memory import Array
from .augment import as_augments
from .batch import Batch
from .labels import MixedLabels
from .preprocess import Preprocessing, Unit, as_images

Item = tuple[Array, "Array | MixedLabels"]


class Loader:
    """Iterates over (x, y) batches of one epoch: x (N, C, H, W), augmented and preprocessed, y its labels (N,).

    x: uint8, float32 or float64 images (N, C, H, W) or features (N, D); y: labels or targets (N, …). `normalize` is a
    fitted Preprocessing; without one bytes become 0 … 1. `augment` is a list of transforms. Each `for` is the next
    epoch, in a new order if `shuffle`; the last batch is smaller, or left out with `drop_last`. `prefetch` batches
    are made ahead in a thread; 0 makes them when they are asked for. x comes as `dtype`: float64 if it was float64,
    else float32.

    Order and random changes follow from (seed, epoch, number of the batch) alone: `batches(epoch, start)` gives what
    the uninterrupted run would have had from there on, whatever the timing of the thread and with or without it.
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        augment: Any = None,
        normalize: Preprocessing | None = None,
        drop_last: bool = False,
        prefetch: int = 2,
        dtype: DTypeLike | None = None,
    ) -> None:
        images = as_images("Loader", x)
        y = np.asarray(y)
        if y.ndim < 1 or len(y) != len(images):
            raise ValueError(f"Loader: expected {len(images)} labels, found shape {y.shape}")
        if normalize is not None and not isinstance(normalize, Preprocessing):
            raise TypeError(f"Loader: normalize must be a Preprocessing such as Normalize, found {normalize!r}")
        if normalize is not None and not normalize.fitted:
            raise RuntimeError(f"Loader: {type(normalize).__name__} is not fitted; call its fit(data) first")
        self.x = memory.channels_last(images)
        self.y = y.astype(np.int64, copy=False) if y.dtype.kind in "iub" else y
        self.batch_size = checks.integer("Loader", batch_size, "batch_size", 1)
        self.seed = checks.integer("Loader", seed, "seed", 0)
        self.prefetch = checks.integer("Loader", prefetch, "prefetch", 0)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.augment = as_augments(augment)
        self.normalize: Preprocessing = Unit() if normalize is None else normalize
        self.dtype = np.dtype(dtype or (np.float64 if self.x.dtype == np.float64 else np.float32))
        if self.dtype not in checks.FLOATS:
            raise TypeError(f"Loader: dtype must be float32 or float64, found {self.dtype}")
        self.epoch = 0
        self._features = np.ndim(x) == 2

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.x) // self.batch_size if self.drop_last else -(-len(self.x) // self.batch_size)

    def __iter__(self) -> Iterator[Item]:
        """The batches of the next epoch; `self.epoch` counts them."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self.batches(epoch)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Item]:
        """The batches of this epoch from number `start` on. Closing the iterator, or losing it, stops its thread."""
        epoch = checks.integer("Loader.batches", epoch, "epoch", 0)
        start = checks.integer("Loader.batches", start, "start", 0)
        if start > len(self):
            raise ValueError(
                f"Loader.batches: start must be at most {len(self)}, the batches of an epoch, found {start}"
            )
        order = self.order(epoch)
        if not self.prefetch:
            return (self._make(epoch, k, order, config.get_num_threads()) for k in range(start, len(self)))
        # one thread for its kernels: the others are at work on the batch before
        return _ahead(lambda k: self._make(epoch, k, order, 1), start, len(self), self.prefetch)

    def order(self, epoch: int) -> Array:
        """The order (N,) in which this epoch takes the images."""
        if not self.shuffle:
            return np.arange(len(self.x))
        return self._generator(epoch, 0).permutation(len(self.x))

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key)))

    def _make(self, epoch: int, k: int, order: Array, threads: int) -> Item:
        rows = order[k * self.batch_size : (k + 1) * self.batch_size]
        batch = Batch(self.x, rows, self.y[rows], self.normalize, threads, self.dtype, epoch=epoch, seed=self.seed)
        if self.augment:
            rng = self._generator(epoch, 1 + k)
            for one in self.augment:
                one.apply(batch, rng)
        x = batch.finish()
        return (x.reshape(len(x), -1) if self._features else x), batch.y

    def __repr__(self) -> str:
        n, h, w, c = self.x.shape
        return f"Loader({n:,} images of {c}x{h}x{w} in {len(self)} batches of {self.batch_size})"


def _ahead(make: Callable[[int], Item], start: int, stop: int, depth: int) -> Iterator[Item]:
    """make(start), …, make(stop - 1), of which a thread has up to `depth` ready before they are asked for.

    An exception in the thread is raised here in its turn. When the consumer breaks off, the thread ends after the
    batch it is at, and is waited for.
    """
    ready: queue.SimpleQueue[tuple[Item | None, BaseException | None]] = queue.SimpleQueue()
    room = threading.Semaphore(depth)
    done = threading.Event()

    def work() -> None:
        for k in range(start, stop):
            room.acquire()
            if done.is_set():
                return
            try:
                ready.put((make(k), None))
            except BaseException as error:
                ready.put((None, error))
                return

    thread = threading.Thread(target=work, name="fastnet-loader", daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            item, error = _take(ready, thread)
            if error is not None:
                raise error
            room.release()
            yield item
            del item  # its memory serves the batch after next
    finally:
        done.set()
        room.release()
        if threading.current_thread() is not thread:  # the garbage collector may close a lost iterator anywhere
            thread.join()


def _take(ready: queue.SimpleQueue[Any], thread: threading.Thread) -> Any:
    """The next item; RuntimeError if no thread is left to make it, as in a process forked while it was at work."""
    while True:
        try:
            return ready.get(timeout=1.0)
        except queue.Empty:
            if not thread.is_alive() and ready.empty():
                raise RuntimeError("Loader: the thread that prepares batches is gone (did the process fork?)") from None
