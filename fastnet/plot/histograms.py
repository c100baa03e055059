"""Histograms of what goes through a net's layers, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers import ELU, GELU, Conv2d, Layer, LeakyReLU, Linear, Maxout, PReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from ..layers.watching import Watched
from ..losses import SoftmaxCrossEntropy
from ..memory import Array
from .figure import BLUE, GREY, ORANGE, Path, figure, finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NONLINEAR = (ReLU, LeakyReLU, PReLU, ELU, Sigmoid, Tanh, Maxout, GELU, SiLU, Softplus)
Select = Callable[[Layer], bool] | None


def activations(
    net: Layer, x: Array, path: Path = None, *, select: Select = None, bins: int = 60, title: str | None = None
) -> Figure:
    """A histogram of every activation layer's output for x (N, …), prepared as the net gets it, with mean and deviation.

    In training mode, on a copy of the net. select(layer) tells which layers are meant: by default the activations, in a
    net without any the convolutions and linear layers. A healthy net has deviations of one size from layer to layer.
    Glorot & Bengio 2010, figure 6.
    """
    watched = Watched(net)
    watched.net.forward(x)
    values = _selected("activations", watched, watched.outputs, select)
    return finish(_panels(values, bins, BLUE, title or "Activations, layer by layer"), path)


def gradients(
    net: Layer,
    x: Array,
    y: Array,
    path: Path = None,
    *,
    loss: Any = None,
    of: str = "outputs",
    select: Select = None,
    bins: int = 60,
    title: str | None = None,
) -> Figure:
    """A histogram of the loss's gradient for every layer, on a batch x (N, …) with labels y: SoftmaxCrossEntropy by default.

    of="outputs": with respect to what each activation layer gives (select as in `activations`); of="weights": with respect
    to every weight, biases and norms left out. On a copy of the net in training mode.  Glorot & Bengio 2010, figure 7.
    """
    if of not in ("outputs", "weights"):
        raise ValueError(f"gradients: of must be 'outputs' or 'weights', found {of!r}")
    loss = SoftmaxCrossEntropy() if loss is None else loss
    watched = Watched(net)
    loss.forward(watched.net.forward(x), y)
    watched.net.backward(loss.backward())
    if of == "weights":
        values = {p.name: p.grad for p in watched.net.parameters() if p.decay}
        if not values:
            raise ValueError("gradients: the net has no weights")
        heading = "Gradients of the weights"
    else:
        values = _selected("gradients", watched, watched.gradients, select)
        heading = "Gradients of the activations, layer by layer"
    return finish(_panels(values, bins, ORANGE, title or heading), path)


def _selected(op: str, watched: Watched, found: Mapping[str, Array], select: Select) -> dict[str, Array]:
    """What was found for the chosen layers, by a name to show, in the order of the net."""

    def chosen(wanted: Callable[[Layer], bool]) -> dict[str, Array]:
        return {
            f"{name} {type(layer).__name__}".strip(): found[name]
            for name, layer in watched.layers.items()
            if name in found and wanted(layer)
        }

    if select is not None:
        values = chosen(select)
    else:
        values = chosen(lambda layer: isinstance(layer, NONLINEAR))
        values = values or chosen(lambda layer: isinstance(layer, Conv2d | Linear))
    if not values:
        raise ValueError(f"{op}: no layer of the net was chosen")
    return values


def _panels(values: Mapping[str, Array], bins: int, colour: str, title: str) -> Figure:
    columns = min(6, len(values))
    rows = math.ceil(len(values) / columns)
    drawing = figure(max(3.0, 2.2 * columns), 1.9 * rows + 0.6)
    places = drawing.subplots(rows, columns, squeeze=False).ravel()
    for axes in places[len(values) :]:
        axes.set_axis_off()
    for axes, (name, value) in zip(places, values.items()):
        numbers = np.asarray(value, np.float64).ravel()
        finite = numbers[np.isfinite(numbers)]
        axes.set_title(name, fontsize=9, fontweight="bold", loc="left")
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=4)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GREY)
        text = f"mean {finite.mean():.2g}, std {finite.std():.2g}" if finite.size else "nothing finite"
        if finite.size < numbers.size:
            text += f"\n{numbers.size - finite.size} not finite"
        elif (zeros := (numbers == 0).mean()) > 0.01:
            text += f"\n{zeros:.0%} zero"
        axes.set_xlabel(text, fontsize=7)
        if finite.size:
            # The zeros' share is written, their bar would be too high.
            shown = finite[finite != 0] if (finite != 0).any() else finite
            axes.hist(shown, bins, color=colour)
    drawing.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return drawing
