"""Preprocessing that is fitted: its numbers come from the training split and from nothing else.

Pixels of bytes are taken as 0 … 1 (value / 255), floating-point ones as they are. Course notes CS231n, "Data
preprocessing".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from .. import config, memory
from .._ext import image as kernels
from ..memory import Array

Self = TypeVar("Self", bound="Preprocessing")
PIECE = 512  # images at a time in the passes over a split: their float64 copies stay small


class Preprocessing:
    """A function of an image with numbers that `fit` finds: y = project(x * scale + shift).

    A subclass names its arrays in `fields`, finds them in `_fit`, and gives scale and shift in `affine`; what is not
    done value by value it does in `project`.
    """

    fields: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.fitted = False

    # --- what a subclass writes

    def _fit(self, x: Array) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no _fit")

    def affine(self) -> tuple[Array, Array]:
        """(scale, shift) of pixels in 0 … 1, float64, each of shape (), (C,) or (H, W, C)."""
        raise NotImplementedError(f"{type(self).__name__} has no affine")

    def project(self, x: Array) -> Array:
        """What follows scale and shift, for images (N, C, H, W)."""
        return x

    # --- what it gets

    def fit(self: Self, data: Any) -> Self:
        """Find the numbers from data.x_train (or data["x_train"]); returns itself.

        Takes the whole data set and looks at its training split only: validation or test images can not leak into it.
        TypeError for a bare array, of which nobody can tell the split; RuntimeError when it is fitted already.
        """
        op = type(self).__name__
        if self.fitted:
            raise RuntimeError(f"{op}: is fitted already; make a new one to fit it to other data")
        if isinstance(data, np.ndarray):
            raise TypeError(
                f"{op}.fit: expected a data set, whose x_train it uses, found an array; "
                'if it is the training split, say fit({"x_train": array})'
            )
        x = data.get("x_train") if isinstance(data, Mapping) else getattr(data, "x_train", None)
        if x is None:
            raise TypeError(f"{op}.fit: expected a data set with x_train, found {type(data).__name__} without it")
        self._fit(memory.channels_last(as_images(op, x)))
        self.fitted = True
        return self

    def tables(self, h: int, w: int, c: int, unit: float, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Scale and shift as the kernel wants them: (1 or h, w, c), for pixels of 0 … unit."""
        op = type(self).__name__
        if not self.fitted:
            raise RuntimeError(f"{op}: is not fitted; call fit(data) first")
        both = [np.asarray(table, np.float64) for table in self.affine()]
        for table in both:  # () for all values, (C,) for channels, (H, W, C) for an image
            if table.shape != (h, w, c)[3 - table.ndim :]:
                raise ValueError(f"{op}: fitted to {table.shape}, found images of (H, W, C) = {(h, w, c)}")
        rows = h if any(table.ndim == 3 for table in both) else 1
        scale, shift = (np.ascontiguousarray(np.broadcast_to(table, (rows, w, c))) for table in both)
        return (scale / unit).astype(dtype), shift.astype(dtype)

    def __call__(self, x: Array) -> Array:
        """The preprocessed images, float32 (float64 of float64)."""
        from .batch import Batch  # the two know each other: a batch ends by its preprocessing

        images = as_images(type(self).__name__, x)
        rows = np.arange(len(images))
        y = Batch(memory.channels_last(images), rows, rows, self, config.get_num_threads()).finish()
        return y.reshape(len(y), -1) if np.ndim(x) == 2 else y

    def state_dict(self) -> dict[str, Array]:
        """The fitted numbers by name, for checkpoints; empty before the fit."""
        return {name: np.asarray(getattr(self, name)) for name in self.fields} if self.fitted else {}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over the numbers that another one of its kind was fitted to. ValueError unless they are just its own."""
        if set(state) not in (set(), set(self.fields)):
            raise ValueError(f"{type(self).__name__}: expected {sorted(self.fields)}, found {sorted(state)}")
        for name, value in state.items():
            setattr(self, name, np.array(value, np.float64))
        self.fitted = bool(state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'fitted' if self.fitted else 'not fitted'})"


def as_images(op: str, x: Array) -> Array:
    """x as (N, C, H, W) of uint8, float32 or float64; features (N, D) become (N, D, 1, 1)."""
    x = np.asarray(x)
    if x.dtype not in (np.uint8, np.float32, np.float64):
        raise TypeError(f"{op}: expected images of uint8, float32 or float64, found {x.dtype}")
    if x.ndim == 2:
        x = x[:, :, None, None]
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"{op}: expected images of shape (N, C, H, W) or features (N, D), found shape {x.shape}")
    return x


class Unit(Preprocessing):
    """Bytes become 0 … 1, and nothing else is done: what a Loader does without a `normalize`."""

    def __init__(self) -> None:
        super().__init__()
        self.fitted = True

    def affine(self) -> tuple[Array, Array]:
        return np.ones(()), np.zeros(())


class Normalize(Preprocessing):
    """y = (x - mean) / std per channel, of pixels in 0 … 1.

    Normalize().fit(data) finds mean and standard deviation of the training images; Normalize(mean, std) takes them as
    given, one number per channel. A channel that does not vary is only centred.
    """

    fields = ("mean", "std")

    def __init__(self, mean: Any = None, std: Any = None) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ValueError("Normalize: expected both mean and std, or neither")
        if mean is not None:
            self.mean, self.std = np.atleast_1d(np.array(mean, np.float64)), np.atleast_1d(np.array(std, np.float64))
            if self.mean.ndim != 1 or self.mean.shape != self.std.shape or not (self.std > 0).all():
                raise ValueError(
                    f"Normalize: expected one mean and one std > 0 per channel, found {mean!r} and {std!r}"
                )
            self.fitted = True

    def _fit(self, x: Array) -> None:
        self.mean, std = channel_moments(x)
        self.std = np.where(std > 1e-7 * np.abs(self.mean), std, 1.0)  # rounding is no variation

    def affine(self) -> tuple[Array, Array]:
        return 1 / self.std, -self.mean / self.std

    def __repr__(self) -> str:
        if not self.fitted:
            return super().__repr__()
        return f"Normalize(mean={np.round(self.mean, 4).tolist()}, std={np.round(self.std, 4).tolist()})"


class ZeroCenter(Preprocessing):
    """y = x - mean, of pixels in 0 … 1: the mean of each channel (per="channel", as in VGG) or the mean image
    (per="pixel", as in AlexNet; images must keep their size then)."""

    fields = ("mean",)

    def __init__(self, per: str = "channel") -> None:
        super().__init__()
        if per not in ("channel", "pixel"):
            raise ValueError(f"ZeroCenter: per must be 'channel' or 'pixel', found {per!r}")
        self.per = per
        self.mean: Array = np.zeros(())

    def _fit(self, x: Array) -> None:
        self.mean = channel_moments(x)[0] if self.per == "channel" else mean_image(x)

    def affine(self) -> tuple[Array, Array]:
        return np.ones(()), -self.mean


class PCA(Preprocessing):
    """y = (x - mean) U: features (N, K), the K directions in which the training images vary most, largest first.

    x is an image as one vector in the order (C, H, W), of pixels in 0 … 1; U (D, K) are eigenvectors of the covariance
    (x - mean)^T (x - mean) / N. `components` None keeps all D. Costs N D^2 + 9 D^3 operations to fit: seconds for
    MNIST, a minute for CIFAR-10. ValueError if there are fewer than `components` values in an image.
    """

    fields = ("mean", "directions", "variances")
    eps: float | None = None

    def __init__(self, components: int | None = None) -> None:
        super().__init__()
        if components is not None and components < 1:
            raise ValueError(f"{type(self).__name__}: components must be at least 1, found {components}")
        self.components = components
        self.mean: Array = np.zeros(())

    def _fit(self, x: Array) -> None:
        n, h, w, c = x.shape
        d = h * w * c
        if self.components is not None and self.components > d:
            raise ValueError(f"{type(self).__name__}: {self.components} components of images with {d} values")
        mean = mean_image(x)
        covariance = np.zeros((d, d))
        for piece in in_pieces(x):
            centred = (piece - mean).transpose(0, 3, 1, 2).reshape(len(piece), d)
            covariance += centred.T @ centred
        values, vectors = np.linalg.eigh(covariance / n)
        values, vectors = values[::-1][: self.components], vectors[:, ::-1][:, : self.components]
        signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])  # a fixed choice of the two
        self.mean, self.directions, self.variances = mean, vectors * signs, np.maximum(values, 0)

    def affine(self) -> tuple[Array, Array]:
        return np.ones(()), -self.mean

    def project(self, x: Array) -> Array:
        y: Array = np.ascontiguousarray(x).reshape(len(x), -1) @ self.directions.astype(x.dtype)
        if self.eps is not None:
            y /= np.sqrt(self.variances + self.eps).astype(x.dtype)
        return y


class Whiten(PCA):
    """y = (x - mean) U / sqrt(variance + eps): as PCA, every feature then divided by its standard deviation."""

    def __init__(self, components: int | None = None, eps: float = 1e-5) -> None:
        super().__init__(components)
        if not eps > 0:
            raise ValueError(f"Whiten: eps must be positive, found {eps}")
        self.eps = eps


def in_pieces(x: Array) -> Iterator[Array]:
    """float64 copies of successive images of x (N, H, W, C), bytes scaled to 0 … 1."""
    unit = 255.0 if x.dtype == np.uint8 else 1.0
    for start in range(0, len(x), PIECE):
        yield x[start : start + PIECE].astype(np.float64) / unit


def mean_image(x: Array) -> Array:
    """The mean (H, W, C) of images x (N, H, W, C), in float64 and for bytes in 0 … 1."""
    need_images(x)
    total = np.zeros(x.shape[1:])
    for piece in in_pieces(x):
        total += piece.sum(0)
    return total / len(x)


def channel_moments(x: Array) -> tuple[Array, Array]:
    """Mean (C,) and standard deviation (C,) of the channels of images x (N, H, W, C), for bytes in 0 … 1.

    Of bytes exactly, from counts of their 256 values: one read of the split, 20 times as fast as NumPy's sums.
    """
    need_images(x)
    n, h, w, c = x.shape
    if x.dtype == np.uint8:
        counts = np.zeros((min(n, 64), c, 256), np.int64)
        pieces = x[: n - n % len(counts)].reshape(len(counts), -1, c)
        kernels.histogram(pieces, counts, config.get_num_threads())
        total = counts.sum(0)
        for channel in range(c):  # the images left over
            total[channel] += np.bincount(x[n - n % len(counts) :, :, :, channel].ravel(), minlength=256)
        values = np.arange(256) / 255
        mean = total @ np.arange(256) / (255.0 * n * h * w)
        variance = (total * (values - mean[:, None]) ** 2).sum(1) / (n * h * w)
        return mean, np.sqrt(variance)
    mean = sum(piece.sum((0, 1, 2)) for piece in in_pieces(x)) / (n * h * w)
    variance = sum(((piece - mean) ** 2).sum((0, 1, 2)) for piece in in_pieces(x)) / (n * h * w)
    return mean, np.sqrt(variance)


def need_images(x: Array) -> None:
    """ValueError if there is nothing to fit to."""
    if not len(x):
        raise ValueError("fit: x_train is empty")
