"""Work that is not given a pass of its own: maps per channel that the next product applies where it loads its source.

A batch norm, a rectifier or an addition hands on a Deferred instead of an array: the numbers it was given, and what is to
become of each. A product takes it along while it loads them; whoever cannot asks for `memory`. In the other direction, the
gradient of such a value arrives as that of t, gated by act'(t) and with the sums that a batch norm needs: a Finish, which
rides on the product that makes it. The compiled side is fastnet/_ext/ride.pxd.

At precision `medium` on AMX, what layers hand on is stored as bfloat16, the upper halves of float32 numbers, in arrays of
uint16. Such arrays are seen by those alone who ask for what is `stored`; `memory` and `array` are float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import config, memory
from .._ext import amx_correlate
from .._ext import channelwise as kernels
from ..memory import Array

STATISTICS, GRADIENT, RESULT = 1, 2, 3  # kinds of Finish, as ride.pxd has them
listeners: list[Any] = []  # called with ("memory" or "finish", who, the array) when one of them gets a pass of its own
ROWS = 5  # of coefficients: center, scale, shift, center', scale'
SHARES = 32  # numbers of a source per weight; fewer: the weights are taken in shares
BFLOAT16 = np.dtype(np.uint16)  # of arrays that hold the upper halves of float32 numbers
NO_SUMS = np.empty((1, 1))

Load = tuple[Array | None, Array, float]


class Deferred:
    """v = act(t), t = (a - center) * scale + shift [+ (b - center') * scale'], act(t) = t for t > 0, else slope * t.

    a and b are images in channels-last memory (N, H, W, C), both stored alike; coefficients (5, C) in the dtype of v, or None:
    t = a.
    statistics: (2, C) in float64, the mean and the sum of squared deviations of a, where a product has left them.
    sums: (3, C) in float64, of a gradient g: of g, of g * (a' - center) and of g * (b' - center'), a' and b' being what the
    value that it belongs to was made of; (1, C), of g alone, where that value was an array.
    """

    __slots__ = ("_value", "_wide", "a", "b", "coefficients", "lasting", "normalised", "slope", "statistics", "sums")

    def __init__(
        self,
        a: Array,
        coefficients: Array | None = None,
        b: Array | None = None,
        slope: float = 1.0,
        *,
        statistics: Array | None = None,
        sums: Array | None = None,
    ) -> None:
        self.a, self.coefficients, self.slope = a, coefficients, slope
        self.b = None if b is None else stored_as(b, a.dtype)
        self.statistics, self.sums = statistics, sums
        self.normalised = False  # is b's share a batch norm's, which needs the sum with b?
        self.lasting = False  # does somebody else keep b for backward all the same?
        self._value: Array | None = a if coefficients is None and slope == 1 else None
        self._wide: Array | None = None

    @property
    def half(self) -> bool:
        """Is it stored as bfloat16?"""
        return self.a.dtype == BFLOAT16

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        n, h, w, c = self.a.shape
        return n, c, h, w

    @property
    def dtype(self) -> np.dtype[Any]:
        return dtype_of(self.a.dtype)

    @property
    def linear(self) -> bool:
        """Is v = t?"""
        return self.slope == 1

    @property
    def plain(self) -> bool:
        """Is v = a?"""
        return self.coefficients is None and self.linear

    @property
    def summed(self) -> bool:
        """Of a gradient: has it the sums that a batch norm needs?"""
        return self.sums is not None and len(self.sums) > 1

    @property
    def made(self) -> bool:
        """Is v at hand?"""
        return self._value is not None

    def stored(self) -> Array:
        """v in channels-last memory, stored as a is; made in one pass at the first call."""
        if self._value is None:
            self._value = _applied(self, self.a, self.map(), self.a.dtype)
            if self.coefficients is None and self.slope == 0:
                self.a = self._value  # v is act(v), and has the sign of a
        return self._value

    def memory(self) -> Array:
        """v in channels-last memory, in its dtype."""
        if not self.half:
            return self.stored()
        if self._wide is None:
            given, load = self.load(stored=True)
            self._wide = _applied(self, given, load, self.dtype)
        return self._wide

    def array(self) -> Array:
        """v, (N, C, H, W)."""
        return self.memory().transpose(0, 3, 1, 2)

    def load(self, *, stored: bool = False) -> tuple[Array, Load | None]:
        """What a product loads: an array and the Load that makes v of it (None: it is v); `stored`: it knows bfloat16."""
        if self.half and not stored:
            return self.memory(), None
        return (self.a, self.map()) if self._value is None else (self._value, None)

    def map(self) -> Load:
        """The Load that makes v of a."""
        coefficients = identity(self.a.shape[3], self.dtype) if self.coefficients is None else self.coefficients
        return self.b, coefficients, self.slope

    def rectified(self, slope: float) -> Deferred:
        """The same t under another act."""
        new = Deferred(self.a, self.coefficients, self.b, slope)
        new.normalised, new.lasting = self.normalised, self.lasting
        return new

    def outline(self) -> Deferred:
        """One of the same shape, act and sort that holds no numbers."""
        return Deferred(np.broadcast_to(np.zeros((), self.a.dtype), self.a.shape), slope=self.slope)

    def spare(self) -> bool:
        """After forward's uses of v: keep either v or b, not both. True: v was let go, and is made again for backward."""
        if self.coefficients is None or self._value is None:
            return False
        again = self.b is None or self.normalised or self.lasting  # what makes v is there without us
        if again:
            self._value = self._wide = None
        else:
            self.b = None
        return again


Value = Array | Deferred


def _applied(x: Deferred, given: Array, load: Load | None, dtype: np.dtype[Any]) -> Array:
    """What the Load makes of an array, in one pass."""
    out = memory.empty(given.shape, dtype)
    kernels.apply(given, load, out, config.get_num_threads())
    for listener in listeners:
        listener("memory", x, out)
    return out


class Into(NamedTuple):
    """Where a layer's input gradient goes: to the Deferred that the layer was given (None: to an array), and onto what other
    users of it gave, in channels-last memory."""

    value: Deferred | None = None
    add: tuple[Array, ...] = ()


def storage(dtype: Any) -> np.dtype[Any]:
    """How activations of a dtype are stored: float32 ones as bfloat16 where products round them to it anyway."""
    medium = dtype == np.float32 and amx_correlate is not None and config.get_float32_matmul_precision() == "medium"
    return BFLOAT16 if medium else np.dtype(dtype)


def dtype_of(stored: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of what is stored so."""
    return np.dtype(np.float32) if stored == BFLOAT16 else stored


def stored_as(x: Array, dtype: np.dtype[Any]) -> Array:
    """Channels-last memory as float32 or bfloat16: itself, or converted in one pass."""
    if x.dtype == dtype or BFLOAT16 not in (x.dtype, dtype):
        return x
    out = memory.empty(x.shape, dtype)
    kernels.apply(x, None, out, config.get_num_threads())
    return out


def loaded(x: Value, weights: int, *, stored: bool = False) -> tuple[Array, Load | None]:
    """What a product of so many weights loads below AMX. Where weights are taken in shares, each loads anew, forward and
    for their gradient; then, or with two arrays to load, one pass of its own that both find done costs less."""
    if isinstance(x, Deferred) and (x.b is not None or x.a.size < SHARES * weights):
        x.stored() if stored else x.memory()
    return x.load(stored=stored) if isinstance(x, Deferred) else (x, None)


def place(x: Any) -> Deferred | None:
    """What the gradient of x has to know of it."""
    if not isinstance(x, Deferred) or x.plain:
        return None
    if x.linear and not x.normalised and (x.b is not None or x.made):  # it asks neither for b nor for v
        return Deferred(x.a, x.coefficients)
    return x


class Finish(NamedTuple):
    """What is done to an output while it is cached, and its sums: (2, C) of STATISTICS, (3, C) of a GRADIENT, none of a RESULT,
    which is act(output + add)."""

    kind: int
    sums: Array
    add: Array | None = None
    value: Array | None = None
    a: Array | None = None
    b: Array | None = None
    coefficients: Array | None = None
    slope: float = 1.0

    def arguments(
        self, out: Array
    ) -> tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float]:
        """As the kernels that write out want it: arrays stored as out is; the sums are cleared for a new attempt."""
        self.sums.fill(0)
        images = (self.add, self.value, self.a, self.b)
        add, value, a, b = (None if image is None else stored_as(image, out.dtype) for image in images)
        return self.kind, add, value, a, b, self.coefficients, self.slope

    @property
    def left(self) -> Array:
        """The sums that mean something: without an a, that of g alone."""
        return self.sums[:1] if self.kind == GRADIENT and self.a is None else self.sums

    def apply(self, out: Array) -> None:
        """A pass of its own over out (N, H, W, C), where no product took it along."""
        kernels.finish(out, self.arguments(out), self.sums, config.get_num_threads())
        for listener in listeners:
            listener("finish", self, out)


def riding(finish: Finish | None, out: Array) -> tuple[tuple[Any, ...] | None, Array]:
    """What a kernel that writes out is given of its Finish: arguments and sums."""
    return (None, NO_SUMS) if finish is None else (finish.arguments(out), finish.sums)


def finished(out: Array, finish: Finish | None) -> Deferred:
    """A gradient, with the sums that its Finish left."""
    return Deferred(out, sums=None if finish is None else finish.left)


def identity(channels: int, dtype: Any) -> Array:
    """Coefficients of t = a."""
    coefficients = np.zeros((ROWS, channels), dtype)
    coefficients[1] = 1
    return coefficients


def whole(x: Any) -> Any:
    """The array of a Deferred; everything else as it is."""
    return x.array() if isinstance(x, Deferred) else x


def memory_of(x: Value) -> Array:
    """Channels-last memory of an array (N, C, H, W) or of a Deferred."""
    return x.memory() if isinstance(x, Deferred) else memory.channels_last(x)


def stored_of(x: Value) -> Array:
    """The same, as it is stored."""
    return x.stored() if isinstance(x, Deferred) else memory.channels_last(x)


def statistics_wanted(channels: int) -> Finish:
    """For the batch norm that follows a product."""
    return Finish(STATISTICS, np.zeros((2, channels)))


def result(slope: float, add: Array | None = None) -> Finish:
    """act(output + add), in inference: nobody wants sums."""
    return Finish(RESULT, np.zeros((1, 1)), add, slope=slope)


def finish_into(into: Into, *, gated: bool = False) -> Finish | None:
    """What is left to do to the gradient of into.value; None: nothing. `gated`: it is that of t already."""
    value, add = into.value, _total(into.add)
    if value is None:
        return None if add is None else Finish(GRADIENT, np.zeros((3, add.shape[3])), add)
    slope = 1.0 if gated else value.slope
    if add is not None and slope != value.slope:  # it is that of v
        add = stored_of(deliver(Deferred(add), Into(value)))
    sums = np.zeros((3, value.a.shape[3]))
    sign = value._value if slope != 1 else None  # v at hand saves making t: its sign is the same
    if value.coefficients is None:  # t = a, and nobody wants the sum with it
        return Finish(GRADIENT, sums, add, value.a if slope != 1 else None, slope=slope)
    b = value.b if value.normalised or (slope != 1 and sign is None) else None
    return Finish(GRADIENT, sums, add, sign, value.a, b, value.map()[1], slope)


def deliver(dx: Value, into: Into, *, gated: bool = False, fresh: bool = False) -> Value:
    """The gradient of into.value's t, from that of its v (`gated`: of t); `fresh`: nobody else looks at dx, write into it."""
    done = gated and not into.add and (into.value is None or _has_sums(dx, into.value))
    finish = None if done else finish_into(into, gated=gated)
    if finish is None:
        return dx
    fresh = fresh or (isinstance(dx, Deferred) and not dx.made)
    given = stored_of(dx)
    out = given if into.value is None else stored_as(given, into.value.a.dtype)
    if not fresh and out is given:
        out = memory.copy(out)
    finish.apply(out)
    return finished(out, finish)


def _has_sums(dx: Value, value: Deferred) -> bool:
    """Those that the gradient of value's t is wanted with?"""
    return isinstance(dx, Deferred) and (dx.summed or (dx.sums is not None and value.coefficients is None))


def join(main: Value, short: Value) -> Deferred:
    """main + short, as one Deferred: of what they are made of, where `joins` says so, else of their values."""
    (a, coefficients), (b, other) = _linear(main), _linear(short)
    made = coefficients.copy()
    made[2] += other[2]
    made[3:] = other[:2]
    both = Deferred(a, made, b)
    both.normalised = joins(short) and isinstance(short, Deferred) and short.coefficients is not None
    return both


def joins(part: Value) -> bool:
    """Does the gradient of a sum's t, with its sums, serve this part as that of its own t?"""
    return isinstance(part, Deferred) and part.linear and part.b is None


def _linear(part: Value) -> tuple[Array, Array]:
    """An array and the coefficients that make the part of it."""
    if isinstance(part, Deferred) and joins(part):
        return part.a, part.map()[1]
    return stored_of(part), identity(part.shape[1], part.dtype)


def _total(add: tuple[Array, ...]) -> Array | None:
    """The sum of channels-last arrays, None of none."""
    if not add:
        return None
    total = add[0]
    for other in add[1:]:
        total = join(Deferred(total), Deferred(other)).stored()
    return total
