"""Running statistics of batch norm that belong to weights which no training step has seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import Array
from . import checks

if TYPE_CHECKING:
    from ..layers.base import Layer

NAMES = ("running_mean", "running_var", "num_batches_tracked")


def batch_norms(net: Layer) -> list[Any]:
    """The layers of a net that keep running statistics."""
    return [layer for layer in net.modules() if layer._buffers.keys() >= set(NAMES)]


def recompute_batch_norm(net: Layer, x: Array | Iterable[Array], batch_size: int = 256) -> Layer:
    """Set every batch norm's running statistics to those of x under the present weights; returns the net.

    Averaged weights (EMA, SWA) and changed ones make activations that the running statistics do not describe. x is an
    array of training examples, prepared as in training, or an iterable of batches. Each statistic becomes the mean over
    the batches, weighed by their sizes (of the variances, too: what lies between the batches' means is left out, as in
    training). All other layers are in evaluation mode meanwhile: nothing is dropped. Weights, modes and gradients stay.
    ValueError without a single example; nothing is changed if a forward fails.  Izmailov et al. 2018, section 3.2.
    """
    batch_size = checks.Integer(1)("recompute_batch_norm", "batch_size", batch_size)
    layers = batch_norms(net)
    before = [(layer, layer.momentum, {n: layer._buffers[n].copy() for n in NAMES}) for layer in layers]
    seen = 0
    done = False
    try:
        with net.evaluating():
            for layer in layers:
                layer.training = True
            for batch in _batches(x, batch_size):
                seen += len(batch)
                for layer in layers:
                    layer.momentum = len(batch) / seen  # 1 at first: what was there before has no share
                net.forward(batch)
        if not seen:
            raise ValueError("recompute_batch_norm: expected at least one example, found none")
        done = True
    finally:
        for layer, momentum, buffers in before:
            layer.momentum, layer._saved = momentum, None
            for name, array in buffers.items():
                if not done:
                    np.copyto(layer._buffers[name], array)
                elif name == "num_batches_tracked":
                    layer._buffers[name] -= array
    return net


def _batches(x: Array | Iterable[Array], batch_size: int) -> Iterator[Array]:
    """Batches of nearly one size: a last batch of a single example would have no variance."""
    if not isinstance(x, np.ndarray):
        yield from (batch for batch in x if len(batch))
        return
    count = -(-len(x) // batch_size)
    for i in range(count):
        yield x[i * len(x) // count : (i + 1) * len(x) // count]
