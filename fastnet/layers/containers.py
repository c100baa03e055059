"""Layers made of layers."""

from collections.abc import Iterator

from ..functional import checks, concat, concat_backward
from ..functional.elementwise import add
from ..memory import Array
from .activations import ReLU
from .base import Layer
from .pooling import MaxPool2d


class Sequential(Layer):
    """y = the layers' forwards, one after the other; children are named "0", "1", … as in PyTorch.

    net[i] is the i-th layer, net[i:j] a Sequential of some of them (the same layers, not copies); len and iteration work.

    Where a ReLU stands before a max-pooling, the pooling goes first: max(relu(a), relu(b)) = relu(max(a, b)), so outputs and
    gradients are the same bits, and the ReLU sees a quarter of the numbers. `fuse = False` runs the layers as written.
    """

    fuse = True

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        for i, layer in enumerate(layers):
            self.add_child(str(i), layer)

    def append(self, layer: Layer) -> "Sequential":
        """Add a layer at the end; returns the net."""
        self.add_child(str(len(self)), layer)
        return self

    def __len__(self) -> int:
        return len(self._children)

    def __getitem__(self, index: int | slice) -> Layer:
        layers = self.children()[index]
        return Sequential(*layers) if isinstance(layers, list) else layers

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.children())

    def _order(self) -> list[Layer]:
        """The layers in the order in which they run."""
        layers = self.children()
        if self.fuse:
            for i in range(1, len(layers)):
                if type(layers[i]) is MaxPool2d and type(layers[i - 1]) is ReLU:
                    layers[i - 1 : i + 1] = layers[i], layers[i - 1]
        return layers

    def forward(self, x: Array) -> Array:
        layers = self._order()
        for layer in layers:
            x = layer.forward(x)
        return self._keep(x, (layers, x.shape, x.dtype))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        layers, shape, dtype = self._kept()
        gradient: Array | None = checks.gradient("Sequential backward", dy, shape, dtype)
        # Without the gradient of the input, nothing in front of the first layer that learns needs a backward pass.
        first = (
            0
            if input_gradient
            else next((i for i, layer in enumerate(layers) if layer.named_parameters()), len(layers))
        )
        for i in range(len(layers) - 1, first - 1, -1):
            assert gradient is not None
            gradient = layers[i].backward(gradient, accumulate=accumulate, input_gradient=input_gradient or i > first)
        return gradient if input_gradient else None


class Residual(Layer):
    """y = body(x) + shortcut(x); without a shortcut y = body(x) + x.

    ValueError if the two shapes differ.  He, Zhang, Ren & Sun 2016 ("Deep residual learning").
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        super().__init__()
        self.body = self.add_child("body", body)
        self.shortcut = None if shortcut is None else self.add_child("shortcut", shortcut)

    def forward(self, x: Array) -> Array:
        y = self.body.forward(x)
        short = x if self.shortcut is None else self.shortcut.forward(x)
        if y.shape != short.shape:
            raise ValueError(f"Residual: the body gives shape {y.shape}, the shortcut {short.shape}")
        return self._keep(add(y, short), True)

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        self._kept()
        dx = self.body.backward(dy, accumulate=accumulate, input_gradient=input_gradient)
        short: Array | None = dy
        if self.shortcut is not None:
            short = self.shortcut.backward(dy, accumulate=accumulate, input_gradient=input_gradient)
        return None if dx is None or short is None else add(dx, short)


class Concat(Layer):
    """y = the branches' outputs side by side along the channels, each branch fed with the same x.

    ValueError if the outputs differ in more than their channels.  Szegedy et al. 2015 ("Going deeper with convolutions").
    """

    def __init__(self, *branches: Layer) -> None:
        super().__init__()
        if not branches:
            raise ValueError("Concat: expected at least one branch")
        for i, branch in enumerate(branches):
            self.add_child(str(i), branch)

    def forward(self, x: Array) -> Array:
        return self._keep(*concat([branch.forward(x) for branch in self._children.values()]))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        total: Array | None = None
        for branch, part in zip(self._children.values(), concat_backward(dy, self._kept())):
            dx = branch.backward(part, accumulate=accumulate, input_gradient=input_gradient)
            total = dx if total is None or dx is None else add(total, dx)
        return total if input_gradient else None
