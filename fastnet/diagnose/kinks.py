"""Which side of its kinks a net stands on: signs, winners and violated margins of one forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import losses
from ..layers import ELU, LeakyReLU, PReLU, ReLU
from ..layers.base import Layer
from ..memory import Array

__all__ = ["first_difference", "of_layer", "of_loss"]

Sides = dict[str, Array]  # name of a layer (with its kind) -> what it chose


def of_layer(layer: Layer, x: Array, y: Array) -> Array | None:
    """What a layer chose in its latest forward; None for one that has no kinks that we know of.

    ReLU and its kin: the signs. Max-pooling and maxout: the winners, which they keep for backward.
    """
    if isinstance(layer, ReLU):
        return np.asarray(y > 0)
    if isinstance(layer, LeakyReLU | PReLU | ELU):
        return np.asarray(x > 0)
    return _winner(layer._saved)


def _winner(saved: Any) -> Array | None:
    """The winners in what a layer kept, or in a part of that."""
    winner = getattr(saved, "winner", None)
    if isinstance(winner, np.ndarray):
        return winner
    parts = (_winner(part) for part in saved) if isinstance(saved, tuple) else ()
    return next((part for part in parts if part is not None), None)


def of_loss(loss: Any) -> Array | None:
    """What a loss chose: the violated margins of the SVM, the signs of the L1 distance."""
    saved = getattr(loss, "_saved", None)
    violated = getattr(saved, "violated", None)
    if isinstance(violated, np.ndarray):
        return violated
    if isinstance(loss, losses.L1) and saved is not None:
        return np.asarray(np.sign(saved.difference))
    return None


def first_difference(above: Sides, below: Sides) -> str:
    """The first layer that chose differently on the two sides, and how often; "" if none did."""
    for name, chosen in above.items():
        other = below.get(name)
        if other is None or other.shape != chosen.shape:
            return name
        if not np.array_equal(chosen, other):
            return f"{name}, {int((chosen != other).sum())} of {chosen.size}"
    return ""
