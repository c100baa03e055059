"""A batch in the making: what the transforms want done to it, collected and then done in one compiled pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import DTypeLike

from .. import memory
from .._ext import image as kernels
from ..memory import Array
from .labels import MixedLabels

if TYPE_CHECKING:
    from .preprocess import Preprocessing

Mode = Literal["zero", "reflect"]
MODES = ("zero", "reflect")


class Batch:
    """Images chosen from a set, and the window, mirroring and cut-out boxes that transforms ask for; `finish` makes
    them.

    Crop, shift, flip and cut-out only note numbers per image, and are carried out while the images are gathered and
    normalised: one pass over their bytes. What does not fit into one pass (a second window, a change of the pixels
    themselves) first carries out what was noted. Pixels keep their own unit until the end: 0 … `unit`, which is 255 for
    images of bytes and 1 for floating point.
    """

    def __init__(
        self,
        x: Array,
        index: Array,
        y: Array,
        preprocessing: Preprocessing,
        threads: int = 1,
        dtype: DTypeLike | None = None,
        *,
        epoch: int = 0,
        seed: int = 0,
    ) -> None:
        """x (M, H, W, C) in C order, index (N,) into it, y (N, …) the labels of the chosen.

        dtype: of the result; float64 if x is float64, else float32. epoch and seed are the loader's, for transforms that
        remember what an image had before: with `index` they say all there is to know.
        """
        self.index, self.epoch, self.seed = index, epoch, seed
        self.y: Array | MixedLabels = y
        self.preprocessing = preprocessing
        self.threads = threads
        self.unit = 255.0 if x.dtype == np.uint8 else 1.0
        self.dtype = np.dtype(dtype or (np.float64 if x.dtype == np.float64 else np.float32))
        self._start(x, np.ascontiguousarray(index, np.int64))

    def _start(self, x: Array, index: Array) -> None:
        self._x, self._index = x, index
        self._place = np.zeros((len(index), 3), np.int32)  # top, left, mirrored
        self._boxes = np.zeros((len(index), 0, 4), np.int32)
        self._fill: float | None = None
        self._size = x.shape[1:3]
        self._window = False
        self._reflect = False

    def __len__(self) -> int:
        return len(self._index)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W) as it would be made now."""
        return len(self), self._x.shape[3], *self._size

    # --- what transforms ask for

    def window(self, op: str, top: Array, left: Array, size: tuple[int, int], mode: Mode = "zero") -> None:
        """Take of image n the size = (height, width) pixels from row top[n] and column left[n] on, either of which
        may lie outside: there is zero, or the image reflected. ValueError if a reflection would have to be reflected
        again."""
        if self._window or self._boxes.shape[1]:
            self.pixels()
        for name, start, length, now in (
            ("rows", top, size[0], self._size[0]),
            ("columns", left, size[1], self._size[1]),
        ):
            if mode == "reflect" and len(start) and (start.min() <= -now or start.max() + length > 2 * now - 1):
                reach = f"{start.min()} … {start.max() + length - 1}"
                raise ValueError(f"{op}: {name} {reach} of images with {now} lie beyond one reflection")
        self._window, self._reflect = True, mode == "reflect"
        mirrored = self._place[:, 2] != 0
        self._place[:, 0] = top
        self._place[:, 1] = np.where(mirrored, self._size[1] - size[1] - left, left)
        self._size = size

    def flip(self, mask: Array) -> None:
        """Mirror the images where mask (N,) is true, left to right."""
        self._place[:, 2] ^= mask.astype(np.int32)
        width = self._size[1]
        left, right = self._boxes[..., 1].copy(), self._boxes[..., 3].copy()
        self._boxes[..., 1] = np.where(mask[:, None], width - right, left)
        self._boxes[..., 3] = np.where(mask[:, None], width - left, right)

    def cut(self, boxes: Array, fill: float | None = None) -> None:
        """Fill boxes (N, 4) of top, left, bottom, right with the value `fill`; None: what becomes zero, the mean."""
        if self._boxes.shape[1] and fill != self._fill:
            self.pixels()
        self._fill = fill
        self._boxes = np.concatenate([self._boxes, boxes[:, None].astype(np.int32)], axis=1)

    def change(self, function: Callable[[Array], Array]) -> None:
        """Replace the images x (N, C, H, W), floating-point in their own unit, by function(x)."""
        x = function(self.pixels())
        if x.shape[0] != len(self) or x.ndim != 4:
            raise ValueError(f"augment: expected {len(self)} images of shape (N, C, H, W), found {x.shape}")
        self._start(memory.channels_last(x.astype(self.dtype, copy=False)), self._index)

    # --- what is made of it

    def pixels(self) -> Array:
        """The images as they are now, (N, C, H, W) and floating-point, in their own unit; they may be written to."""
        n, c, _, w = self.shape
        one = np.ones((1, w, c), self.dtype)
        fill = np.zeros((1, w, c), self.dtype)
        if self._boxes.shape[1] and self._fill is None:  # the value that scale and shift will make zero
            scale, shift = self._tables()
            fill = np.ascontiguousarray(-shift / scale)
            one = np.ones_like(fill)
        elif self._fill is not None:
            fill += self._fill
        x = self._gather(one, np.zeros_like(one), fill)
        self._start(x, np.arange(n, dtype=np.int64))
        return x.transpose(0, 3, 1, 2)

    def finish(self) -> Array:
        """The preprocessed images: (N, C, H, W), or (N, features) if the preprocessing makes features of them."""
        scale, shift = self._tables()
        fill = shift + self._fill * scale if self._fill is not None else np.zeros_like(shift)
        return self.preprocessing.project(self._gather(scale, shift, fill).transpose(0, 3, 1, 2))

    def _tables(self) -> tuple[Array, Array]:
        """Scale and shift for every value of an output image, or of one row if its rows are alike."""
        _, c, h, w = self.shape
        return self.preprocessing.tables(h, w, c, self.unit, self.dtype)

    def _gather(self, scale: Array, shift: Array, fill: Array) -> Array:
        n, c, h, w = self.shape
        y = memory.empty((n, h, w, c), self.dtype)
        kernels.gather(
            self._x, self._index, self._place, self._boxes, scale, shift, fill, self._reflect, y, self.threads
        )
        return y
