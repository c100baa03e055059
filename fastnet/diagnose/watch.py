"""Looking into a net without touching it: copies of it, and what passes each of its layers."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..layers.base import Layer
from ..layers.containers import Sequential
from ..memory import Array

__all__ = ["detached", "leaves", "watched"]

Forward = Callable[[str, Layer, Array, Array], None]
Backward = Callable[[str, Layer, Array, Any], None]


def detached(net: Layer, dtype: DTypeLike | None = None) -> Layer:
    """A copy of the net that shares nothing with it (parameters, buffers, random states), in training mode.

    What its layers kept for backward is not copied: it may be as large as a batch's activations.
    """
    memo: dict[int, Any] = {id(layer._saved): None for layer in net.modules() if layer._saved is not None}
    twin: Layer = copy.deepcopy(net, memo)
    if dtype is not None:
        twin.astype(dtype)
    return twin.train()


def leaves(net: Layer) -> list[tuple[str, Layer]]:
    """(dotted name, layer) of the layers that hold no others."""
    return [(name, layer) for name, layer in net.named_modules() if not layer.children()]


@contextlib.contextmanager
def watched(
    named: list[tuple[str, Layer]], forward: Forward | None = None, backward: Backward | None = None, *, net: Layer
) -> Iterator[None]:
    """Inside the block, `forward(name, layer, x, y)` is called after each forward of these layers of the net, and
    `backward(name, layer, dy, dx)` after each backward.

    Sequentials run as written meanwhile: where layers change places, or are done at once, there is nothing to see between
    them.
    """
    chains = [layer for layer in net.modules() if isinstance(layer, Sequential)]
    before = [chain.fuse for chain in chains]

    def around(name: str, layer: Layer, which: str, tell: Any) -> Any:
        method = getattr(layer, which)

        def call(array: Array, **options: Any) -> Any:
            result = method(array, **options)
            tell(name, layer, array, result)
            return result

        return call

    try:
        for chain in chains:
            chain.fuse = False
        for name, layer in named:
            if forward is not None:
                layer.__dict__["forward"] = around(name, layer, "forward", forward)
            if backward is not None:
                layer.__dict__["backward"] = around(name, layer, "backward", backward)
        yield
    finally:
        for chain, fuse in zip(chains, before):
            chain.fuse = fuse
        for _, layer in named:
            layer.__dict__.pop("forward", None)
            layer.__dict__.pop("backward", None)


def magnitude(array: Array) -> float:
    """The largest absolute value; 0 of an empty array."""
    return float(np.abs(array).max(initial=0.0))
