"""A net with the average of its weights, and with the batch-norm statistics that belong to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ..layers.base import Layer
from ..memory import Array
from ..optim import recompute_batch_norm
from ..optim.statistics import batch_norms
from .state import Volatile

__all__ = ["Averaged"]


class Averaged:
    """`with averaged(average): …` puts an average's weights into the net, and running statistics recomputed from examples().

    The statistics are kept until the average changes, so that looking twice costs once. examples() gives training examples
    as the net sees them; about a thousand are enough.
    """

    def __init__(self, net: Layer, examples: Callable[[], Array]) -> None:
        self.net, self.examples = net, examples
        self.norms = batch_norms(net)
        self._found: tuple[int, Volatile] | None = None  # the updates that the average had, the statistics then

    @contextlib.contextmanager
    def __call__(self, average: Any) -> Iterator[None]:
        """The net is as before after the block. Without an average, or before its first update, nothing is done."""
        if average is None or not average.updates:
            yield
            return
        with average.applied():
            if not self.norms:
                yield
                return
            own = Volatile(self.net)
            try:
                if self._found is None or self._found[0] != average.updates:
                    recompute_batch_norm(self.net, self.examples())
                    self._found = average.updates, Volatile(self.net)
                self._found[1].restore()
                yield
            finally:
                own.restore()
