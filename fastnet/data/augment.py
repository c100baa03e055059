"""Random changes of training images: crops, shifts, mirrors, boxes, colours, mixtures.

Each is used as `augment=[RandomCrop(32, padding=4), RandomFlip()]` of a Solver or Loader, in that order. Its random
numbers come from the batch's own generator, so a batch is the same however it was reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..functional import checks
from ..memory import Array
from .batch import MODES, Batch, Mode
from .labels import MixedLabels


class Augment:
    """A random change of a batch; a subclass writes `apply`."""

    def apply(self, batch: Batch, rng: np.random.Generator) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no apply")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class Function(Augment):
    """A function of your own: x = function(x, rng), images (N, C, H, W), in 0 … 255 if they are made of bytes."""

    def __init__(self, function: Callable[[Array, np.random.Generator], Array]) -> None:
        self.function = function

    def apply(self, batch: Batch, rng: np.random.Generator) -> None:
        batch.change(lambda x: self.function(x, rng))


def as_augments(augment: Any) -> list[Augment]:
    """A list of Augment from None, one, or several; functions (x, rng) -> x are taken too."""
    if augment is None:
        return []
    several = augment if isinstance(augment, Sequence) else [augment]
    for one in several:
        if not isinstance(one, Augment) and not callable(one):
            raise TypeError(f"augment: expected transforms or functions (x, rng) -> x, found {one!r}")
    return [one if isinstance(one, Augment) else Function(one) for one in several]


def _mode(op: str, mode: Mode) -> Mode:
    if mode not in MODES:
        raise ValueError(f"{op}: mode must be one of {', '.join(MODES)}, found {mode!r}")
    return mode


def _share(op: str, value: float, name: str = "p") -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{op}: {name} must be between 0 and 1, found {value}")
    return float(value)


class RandomCrop(Augment):
    """A window of `size` (height, width) at a random place of the image, padded by `padding` (vertical, horizontal)
    pixels on each side with zeros (black) or by reflection. ValueError if the padded image is smaller than the
    window."""

    def __init__(self, size: int | tuple[int, int], padding: int | tuple[int, int] = 0, mode: Mode = "zero") -> None:
        self.size = checks.pair("RandomCrop", size, "size", 1)
        self.padding = checks.pair("RandomCrop", padding, "padding", 0)
        self.mode = _mode("RandomCrop", mode)

    def apply(self, batch: Batch, rng: np.random.Generator) -> None:
        n, _, *now = batch.shape
        room = [length + 2 * pad - size for length, pad, size in zip(now, self.padding, self.size)]
        if min(room) < 0:
            padded = tuple(length + 2 * pad for length, pad in zip(now, self.padding))
            raise ValueError(f"RandomCrop: window {self.size} is larger than the padded image {padded}")
        top = rng.integers(0, room[0], n, endpoint=True) - self.padding[0]
        left = rng.integers(0, room[1], n, endpoint=True) - self.padding[1]
        batch.window("RandomCrop", top, left, self.size, self.mode)


class RandomShift(Augment):
    """The image moved by up to `pixels` (vertical, horizontal) in each direction, zeros or its reflection moving in."""

    def __init__(self, pixels: int | tuple[int, int], mode: Mode = "zero") -> None:
        self.pixels = checks.pair("RandomShift", pixels, "pixels", 0)
        self.mode = _mode("RandomShift", mode)

    def apply(self, batch: Batch, rng: np.random.Generator) -> None:
        n, _, h, w = batch.shape
        top, left = (rng.integers(-most, most, n, endpoint=True) for most in self.pixels)
        batch.window("RandomShift", top, left, (h, w), self.mode)


class RandomFlip(Augment):
    """The image mirrored left to right, with probability p. Not for digits."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _share("RandomFlip", p)

    def apply(self, batch: Batch, rng: np.random.Generator) -> None:
        batch.flip(rng.random(len(batch)) < self.p)


class AlternatingFlip(Augment):
    """The image mirrored in every second epoch: one half of the images in the even epochs, the other half in the odd ones.

    Which half an image belongs to is drawn once, from the loader's seed. In two epochs a net sees each image both ways, where
    RandomFlip shows the half of them twice the same way. Not for digits.  Jordan 2024, section 3.6.
    """

    def apply(self, batch: Batch, rng: np.random.Generator) -> None:
        side = _bits(batch.index, batch.seed)
        batch.flip(side != (batch.epoch % 2 == 1))


def _bits(index: Array, seed: int) -> Array:
    """A random bit for every index, as bool: the top bit of SplitMix64 (Steele, Lea & Flood 2014)."""
    z = index.astype(np.uint64) + np.random.SeedSequence(seed).generate_state(1, np.uint64)
    z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits: Array = (z ^ (z >> np.uint64(31))) >> np.uint64(63) != 0
    return bits


class Cutout(Augment):
    """A box of `size` (height, width) around a random pixel is filled, the part of it that lies in the image.

    fill: a value in the pixels' own unit (0 … 255 for bytes), or None for the training mean: zero after preprocessing.
    DeVries & Taylor 2017.
    """

    def __init__(self, size: int | tuple[int, int], fill: float | None = None) -> None:
        self.size = checks.pair("Cutout", size, "size", 1)
        self.fill = fill

    def apply(self, batch: Batch, rng: np.random.Generator) -> None:
        n, _, h, w = batch.shape
        top = rng.integers(0, h, n) - self.size[0] // 2
        left = rng.integers(0, w, n) - self.size[1] // 2
        boxes = np.stack([top, left, top + self.size[0], left + self.size[1]], axis=1)
        batch.cut(np.clip(boxes, 0, [h, w, h, w]), self.fill)


class ColorJitter(Augment):
    """Brightness, contrast and saturation multiplied, in this order, by factors drawn from [1 - value, 1 + value].

    x = b x;  x = c x + (1 - c) mean(grey(x));  x = s x + (1 - s) grey(x), with grey = 0.299 R + 0.587 G + 0.114 B.
    Pixels of bytes are kept in 0 … 255 after each. Images have 3 channels, or 1 (then no saturation).
    """

    GREY = (0.299, 0.587, 0.114)  # the luma of ITU-R BT.601

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0) -> None:
        self.brightness = _share("ColorJitter", brightness, "brightness")
        self.contrast = _share("ColorJitter", contrast, "contrast")
        self.saturation = _share("ColorJitter", saturation, "saturation")

    def apply(self, batch: Batch, rng: np.random.Generator) -> None:
        n, c, _, _ = batch.shape
        if c not in (1, 3) or (c == 1 and self.saturation):
            raise ValueError(f"ColorJitter: expected 3 channels, or 1 without saturation, found {c}")
        weights = np.array(self.GREY if c == 3 else (1.0,), batch.dtype).reshape(1, c, 1, 1)

        def factor(value: float) -> Array:
            return rng.uniform(1 - value, 1 + value, (n, 1, 1, 1)).astype(batch.dtype)

        def clip(x: Array) -> None:
            if batch.unit == 255:
                np.clip(x, 0, 255, out=x)

        def jitter(x: Array) -> Array:
            if self.brightness:
                x *= factor(self.brightness)
                clip(x)
            if self.contrast:
                k = factor(self.contrast)
                grey = (x * weights).sum(1, keepdims=True).mean((2, 3), keepdims=True)
                x *= k
                x += (1 - k) * grey
                clip(x)
            if self.saturation:
                k = factor(self.saturation)
                grey = (x * weights).sum(1, keepdims=True)
                x *= k
                x += (1 - k) * grey
                clip(x)
            return x

        batch.change(jitter)


class MixUp(Augment):
    """Every image is mixed with another one of its batch: x = l x + (1 - l) x', one l per batch from Beta(alpha,
    alpha).

    The labels become MixedLabels, which hold both and the weight. Zhang, Cisse, Dauphin & Lopez-Paz 2018.
    """

    def __init__(self, alpha: float = 0.2) -> None:
        if not alpha > 0:
            raise ValueError(f"MixUp: alpha must be positive, found {alpha}")
        self.alpha = float(alpha)

    def apply(self, batch: Batch, rng: np.random.Generator) -> None:
        if isinstance(batch.y, MixedLabels):
            raise ValueError("MixUp: the images are mixed already; expected it once in a list of transforms")
        weight, order = float(rng.beta(self.alpha, self.alpha)), rng.permutation(len(batch))

        def mix(x: Array) -> Array:
            other = x[order] * (1 - weight)
            x *= weight
            x += other
            return x

        batch.change(mix)
        batch.y = MixedLabels(batch.y, batch.y[order], weight)
