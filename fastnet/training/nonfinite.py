"""Where a nan or an infinity came from: the layer and the parameter to look at."""

from __future__ import annotations

import numpy as np

from ..functional.checks import finite
from ..layers.base import Layer
from ..layers.watching import leaves, watched
from ..memory import Array
from ..parameters import Parameter, ParameterBuffer

__all__ = ["explain_gradients", "explain_loss", "finite"]


def explain_gradients(net: Layer, buffer: ParameterBuffer) -> str:
    """Which parameters' gradients are not finite; the last one of the net went first, as backward runs from the end."""
    bad = [(name, p) for name, p in net.named_parameters() if not finite(p.grad)]
    if not bad:
        return "a gradient is not finite"
    name, parameter = bad[-1]
    more = f" (and those of {len(bad) - 1} parameters before it)" if len(bad) > 1 else ""
    return f"{_layer(net, name)}: the gradient of parameter {name!r} has {_count(parameter.grad)}{more}"


def explain_loss(net: Layer, x: Array) -> str:
    """The first layer that made a non-finite number of finite ones, by a forward pass that watches every layer.

    The pass changes running statistics and random states: the caller puts them back.
    """
    if not finite(x):
        return f"the batch itself has {_count(x)}"
    found: list[tuple[str, Layer, Array]] = []

    def look(name: str, layer: Layer, x: Array, y: Array) -> None:
        if not found and not finite(y):
            found.append((name, layer, y))

    with watched(leaves(net), look, net=net), np.errstate(all="ignore"):
        net.forward(x)
    if not found:
        return f"every layer's output is finite, the loss of them is not; {_largest(net.named_parameters())}"
    name, layer, y = found[0]
    mine = [(f"{name}.{own}" if name else own, p) for own, p in layer._parameters.items()]
    return f"layer {name!r} ({type(layer).__name__}): the output has {_count(y)}; {_largest(mine or net.named_parameters())}"


def _largest(named: list[tuple[str, Parameter]]) -> str:
    """The parameter that is not finite, or else the one with the largest value."""
    for name, p in named:
        if not finite(p.data):
            return f"parameter {name!r} has {_count(p.data)}"
    name, p = max(named, key=lambda item: float(np.abs(item[1].data).max(initial=0)))
    return f"its largest parameter is {name!r} with a value of {float(np.abs(p.data).max(initial=0)):.3g}"


def _layer(net: Layer, parameter: str) -> str:
    path = parameter.rpartition(".")[0]
    return f"layer {path!r} ({type(dict(net.named_modules())[path]).__name__})"


def _count(array: Array) -> str:
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    parts = [f"{nan} nan" if nan else "", f"{infinite} infinite" if infinite else ""]
    return f"{' and '.join(filter(None, parts))} among {array.size} values"
