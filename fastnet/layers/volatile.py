"""What a forward pass changes in a net, and how to put it back."""

from typing import Any

import numpy as np

from .base import Layer


class Volatile:
    """Running statistics and the random states of a net's layers, as they are now."""

    def __init__(self, net: Layer) -> None:
        self.buffers = [
            (layer, name, array.copy()) for layer in net.modules() for name, array in layer._buffers.items()
        ]
        self.random = [(layer.rng, layer.rng.bit_generator.state) for _, layer in random_layers(net)]

    def restore(self) -> None:
        for layer, name, array in self.buffers:
            np.copyto(layer._buffers[name], array)
        for rng, state in self.random:
            rng.bit_generator.state = state


def random_layers(net: Layer) -> list[tuple[str, Any]]:
    """(name, layer) of the layers that draw random numbers."""
    return [
        (name, layer)
        for name, layer in net.named_modules()
        if isinstance(getattr(layer, "rng", None), np.random.Generator)
    ]
