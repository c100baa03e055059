"""Layers made of layers."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..functional import checks, concat, concat_backward
from ..functional.deferred import Deferred, Into, Value, deliver, join, joins, place, stored_of, whole
from ..functional.elementwise import add
from ..memory import Array
from .base import Layer
from .calls import Plain, native
from .convolution import Conv2d
from .volatile import Volatile


class _Run(NamedTuple):
    """What ran, what each of it was given as far as its gradient has to know, and the same of what came out."""

    layers: list[Any]
    entered: list[Deferred | None]
    y: Deferred | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class _Again(NamedTuple):
    """What `checkpoint` keeps: enough to run once more."""

    x: Value
    statistics: bool
    before: Volatile
    modes: list[tuple[Layer, bool]]
    y: Deferred | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def learns(layer: Layer) -> bool:
    """Whether any parameter in this layer wants a gradient."""
    return any(p.requires_grad for _, p in layer.named_parameters())


class Sequential(Layer):
    """y = the layers' forwards, one after the other; children are named "0", "1", … as in PyTorch.

    net[i] is the i-th layer, net[i:j] a Sequential of some of them (the same layers, not copies); len and iteration work.

    Layers hand on Deferred values where that saves passes over memory (docs/fusion.md): batch norm, rectifiers and additions
    are done while the next product loads, or the one before is in the cache. `fuse = False` runs each layer on its own.

    `checkpoint=True` trades time for memory: in training nothing of the inside is kept for backward, which runs the layers'
    forward again from their input, with the same statistics and random numbers.  Chen et al. 2016 (arXiv 1604.06174).
    """

    fuse = True

    def __init__(self, *layers: Layer, checkpoint: bool = False) -> None:
        super().__init__()
        self.checkpoint = bool(checkpoint)
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

    def forward(self, x: Array) -> Array:
        y = self.carry(x)
        if self.training:
            self._saved = self._saved._replace(y=place(y))
        return whole(y)  # type: ignore[no-any-return]

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        kept = self._kept()
        dy = checks.gradient("Sequential backward", dy, kept.shape, kept.dtype)
        gradient = self.carry_back(deliver(dy, Into(kept.y)), Into() if input_gradient else None, accumulate=accumulate)
        return whole(gradient)  # type: ignore[no-any-return]

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        if not (self.checkpoint and self.training):
            return self._run(x, statistics)
        before, modes = Volatile(self), [(layer, layer.training) for layer in self.modules()]
        y = self._run(x, statistics)
        self._forget()
        return self._keep(y, _Again(x, statistics, before, modes, self._end(y), y.shape, y.dtype))

    def _run(self, x: Value, statistics: bool) -> Value:
        layers = [layer._carrier() if self.fuse else Plain(layer) for layer in self._children.values()]
        entered = []
        for i, layer in enumerate(layers):
            following = layers[i + 1].wants_statistics() if i + 1 < len(layers) else statistics
            given, x = x, layer.carry(x, statistics=following)
            entered.append(layer._remembers(given))
            del given  # or it would live through the next layer's forward
            if i == 0 and self.training:
                # x is accepted: the arrays of the last step need not be there beside this one's.
                self._saved = None
                for later in layers[1:]:
                    later._forget()
        return self._keep(x, _Run(layers, entered, self._end(x), x.shape, x.dtype))

    def _end(self, y: Value) -> Deferred | None:
        """For a `backward` of its own of what `carry` gave; a net that frees is asked for that only after a `forward`."""
        return None if self._frees else place(y)

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        kept = self._kept()
        if isinstance(kept, _Again):
            try:
                self._repeat(kept)
                return self._run_back(dy, into, accumulate)
            finally:
                self._forget()
                self._saved = kept
        return self._run_back(dy, into, accumulate)

    def _repeat(self, kept: _Again) -> None:
        """The forward that `kept` belongs to, once more; statistics, random states and modes are as they are afterwards."""
        after, modes = Volatile(self), [(layer, layer.training) for layer, _ in kept.modes]
        try:
            kept.before.restore()
            for layer, mode in kept.modes:
                layer.training = mode
            self._run(kept.x, kept.statistics)
        finally:
            after.restore()
            for layer, mode in modes:
                layer.training = mode

    def _run_back(self, dy: Value, into: Into | None, accumulate: bool) -> Value | None:
        kept = self._kept()
        # Without the gradient of the input, nothing in front of the first layer that learns needs a backward pass.
        learning = (i for i, layer in enumerate(self._children.values()) if learns(layer))
        first = next(learning, len(kept.layers)) if into is None else 0
        gradient: Value | None = dy
        for i in range(len(kept.layers) - 1, first - 1, -1):
            assert gradient is not None
            target = Into(kept.entered[i]) if i > first else into
            gradient = kept.layers[i].carry_back(gradient, target, accumulate=accumulate)
            if self._frees:
                kept.entered[i] = None
                kept.layers[i]._forget()
        if self._frees:
            self._forget()
        if into is None:
            return None
        return gradient if kept.layers else deliver(dy, into, gated=True)


class Residual(Layer):
    """y = body(x) + shortcut(x); without a shortcut y = body(x) + x.

    ValueError if the two shapes differ.  He, Zhang, Ren & Sun 2016 ("Deep residual learning").
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        super().__init__()
        self.body = self.add_child("body", body)
        self.shortcut = None if shortcut is None else self.add_child("shortcut", shortcut)

    def forward(self, x: Array) -> Array:
        y: Array = whole(self.carry(x))
        return y

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        _, shape, dtype = self._kept()
        dy = checks.gradient("Residual backward", dy, shape, dtype)
        into = Into() if input_gradient else None
        return whole(self.carry_back(dy, into, accumulate=accumulate))  # type: ignore[no-any-return]

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        x = native(x)
        entered = x if isinstance(x, Deferred) and not x.plain else None
        spares = entered is not None and not entered.made and self._loads()
        if entered is not None and (self.shortcut is None or entered.b is not None):
            entered.stored()  # it is needed more than once: made here, then every user loads it
        y = self.body._carrier().carry(x)
        short = x
        if self.shortcut is not None:
            if entered is not None and not entered.linear and not isinstance(_first(self.shortcut), Conv2d):
                # What hands x on, or its maxima, would give back the gradient of t, and it is that of v that is added.
                short = Deferred(entered.stored())
            short = self.shortcut._carrier().carry(short)
        if y.shape != short.shape:
            raise ValueError(f"Residual: the body gives shape {y.shape}, the shortcut {short.shape}")
        if isinstance(y, Deferred) and y.dtype == short.dtype:
            joined = join(y, short)
            spared = entered.spare() if entered is not None and spares else False
            joined.lasting = self.shortcut is None and not spared and self._loads()
            both: Value = joined
        else:
            both = add(whole(y), whole(short))
        parts = [(joins(part), place(part)) for part in (y, short)]
        return self._keep(both, (parts, y.shape, y.dtype))

    def _loads(self) -> bool:
        """Is what enters needed by convolutions only, which load it again in backward?"""
        return all(isinstance(_first(part), Conv2d) for part in (self.body, self.shortcut) if part is not None)

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        parts = self._kept()[0]
        short: Value | None = dy
        if self.shortcut is not None:
            given = _branch(dy, 2, *parts[1])
            short = self.shortcut._carrier().carry_back(given, into and Into(), accumulate=accumulate)
        given = _branch(dy, 1, *parts[0])
        if into is not None and short is not None and len(short.shape) == 4:
            into, short = Into(into.value, (*into.add, stored_of(short))), None
        if self._frees:
            self._saved = None
        dx = self.body._carrier().carry_back(given, into, accumulate=accumulate)
        return dx if dx is None or short is None else add(whole(dx), whole(short))  # rows: no product adds them


def _first(layer: Layer) -> Layer:
    """The layer that a chain begins with."""
    while isinstance(layer, Sequential) and len(layer):
        layer = layer.children()[0]
    return layer


def _branch(dy: Value, row: int, joined: bool, part: Deferred | None) -> Value:
    """The gradient of a sum's t as that of one part's, with the part's row of the sums."""
    if not joined:
        return deliver(Deferred(dy.stored()) if isinstance(dy, Deferred) else dy, Into(part))
    if not isinstance(dy, Deferred) or dy.sums is None:
        return dy
    return Deferred(dy.stored(), sums=dy.sums[[0, row]] if dy.summed else dy.sums)


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
