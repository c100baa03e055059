"""What a data set is: images and labels of three splits, and the names of the classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..functional import checks
from ..memory import Array

SPLITS = ("train", "val", "test")


class Dataset(Mapping[str, Any]):
    """Training, validation and test examples: x_train, y_train, x_val, y_val, x_test, y_test, classes, name.

    Images x are (N, C, H, W), of uint8 where a reader made them; labels y are int64 (N,), and `classes[y]` is a label's
    name. A split that does not exist is None. Works as a mapping too: data["x_train"], dict(data).
    ValueError if a split's images and labels differ in number, in image shape, or if a label has no class.
    """

    __hash__ = object.__hash__  # two sets are equal only if they are the same: comparing the arrays would take seconds

    def __init__(
        self,
        x_train: Array,
        y_train: Array,
        x_val: Array | None = None,
        y_val: Array | None = None,
        x_test: Array | None = None,
        y_test: Array | None = None,
        *,
        classes: Sequence[str],
        name: str = "data",
    ) -> None:
        self.name = name
        self.classes = tuple(str(c) for c in classes)
        self.x_train, self.y_train = self._split("train", x_train, y_train, x_train)
        self.x_val, self.y_val = self._optional("val", x_val, y_val)
        self.x_test, self.y_test = self._optional("test", x_test, y_test)

    def _optional(self, split: str, x: Array | None, y: Array | None) -> tuple[Array | None, Array | None]:
        if x is None and y is None:
            return None, None
        if x is None or y is None:
            raise ValueError(f"Dataset {self.name}: the {split} split needs both images and labels")
        return self._split(split, x, y, self.x_train)

    def _split(self, split: str, x: Array, y: Array, like: Array) -> tuple[Array, Array]:
        x = np.asarray(x)
        if x.ndim < 2 or x.shape[1:] != np.shape(like)[1:]:
            raise ValueError(
                f"Dataset {self.name}: expected x_{split} of shape (N, {', '.join(map(str, np.shape(like)[1:]))}), "
                f"found {x.shape}"
            )
        return x, checks.labels(f"Dataset {self.name}, {split} split", y, len(x), len(self.classes))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""
        return self.x_train.shape[1:]

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(f"{key!r}: data set {self.name} has {', '.join(self)}")
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        """The names of what there is: arrays of missing splits are left out."""
        for split in SPLITS:
            if getattr(self, f"x_{split}") is not None:
                yield from (f"x_{split}", f"y_{split}")
        yield from ("classes", "name")

    def __contains__(self, key: object) -> bool:
        return any(key == name for name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        sizes = [f"{split} {len(self[f'x_{split}']):,}" for split in SPLITS if f"x_{split}" in self]
        shape = "x".join(map(str, self.image_shape))
        kind = f"{shape} {self.x_train.dtype}, {len(self.classes)} classes"
        return f"Dataset({self.name}: {', '.join(sizes)} images of {kind})"


def hold_out(y: Array, classes: int, most: int = 5000) -> tuple[Array, Array]:
    """Indices (train, validation) of a fixed balanced split: of each class its last k examples validate, all others
    train.

    k is the same for every class: a tenth of all examples, at most `most` of them, divided by the number of classes.
    For 60,000 MNIST digits that is 500 per class, for CIFAR-100's 50,000 images 50. Both index arrays keep the file's
    order. ValueError if a class would have no example left to train on.
    """
    k = min(len(y) // 10, most) // classes
    held = np.zeros(len(y), bool)
    for label in range(classes):
        rows = np.flatnonzero(y == label)
        if len(rows) <= k:
            raise ValueError(
                f"validation split: class {label} has {len(rows)} of {len(y)} examples, expected more than {k}"
            )
        held[rows[len(rows) - k :]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def images_from_chw(rows: Array) -> Array:
    """An (N, C, H, W) view of a channels-last copy."""
    n, c, h, w = rows.shape
    images = np.empty((n, h, w, c), rows.dtype).transpose(0, 3, 1, 2)
    np.copyto(images, rows)
    return images


def with_held_out(x: Array, y: Array, x_test: Array, y_test: Array, classes: Sequence[str], name: str) -> Dataset:
    """A Dataset whose validation split is taken from (x, y) by `hold_out`; x and x_test are (N, H, W, C)."""
    train, held = hold_out(y, len(classes))
    x, held_x = x[train], x[held]

    def view(images: Array) -> Array:
        return images.transpose(0, 3, 1, 2)

    return Dataset(view(x), y[train], view(held_x), y[held], view(x_test), y_test, classes=classes, name=name)
