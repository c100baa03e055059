"""Labels of mixed images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..memory import Array


@dataclass(frozen=True, eq=False)
class MixedLabels:
    """Labels of images that were mixed as weight * image + (1 - weight) * other image: y (N,), other (N,), one weight.

    A loss of such a batch is the same mixture of losses: `sum(w * loss(scores, y) for w, y in labels.terms())`.
    """

    y: Array
    other: Array
    weight: float

    def __len__(self) -> int:
        return len(self.y)

    def terms(self) -> Iterator[tuple[float, Array]]:
        """(weight, labels) of the two parts."""
        yield self.weight, self.y
        yield 1.0 - self.weight, self.other

    def main(self) -> Array:
        """The labels of the larger part: what a prediction is counted right against."""
        return self.y if self.weight >= 0.5 else self.other

    def one_hot(self, classes: int, dtype: Any = np.float32) -> Array:
        """(N, classes) target probabilities."""
        target = np.zeros((len(self.y), classes), dtype)
        for weight, labels in self.terms():
            target[np.arange(len(labels)), labels] += weight
        return target
