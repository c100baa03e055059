"""Which passes over memory are made: noted while somebody records, for `fastnet.plan`.

A pass reads some arrays and writes others; what rides on it (a map at loading, sums and gates at the end of a block) costs
the reading of the further arrays it looks at, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .deferred import GRADIENT, RESULT, Deferred, Finish, listeners


class Pass(NamedTuple):
    """What was done, the bytes of large arrays read and written, what rode along, and when it was done."""

    what: str
    reads: int
    writes: int
    rides: tuple[str, ...] = ()
    at: float = 0.0


_passes: list[Pass] | None = None


@contextmanager
def recording() -> Iterator[list[Pass]]:
    """The passes made inside the block, by any thread; blocks do not nest."""
    global _passes
    passes: list[Pass] = []
    _passes = passes
    listeners.append(_heard)
    try:
        yield passes
    finally:
        listeners.remove(_heard)
        _passes = None


def begin() -> int:
    """How many passes there were."""
    return -1 if _passes is None else len(_passes)


def note(what: str, reads: Iterable[Any], writes: Iterable[Any], rides: tuple[str, ...] = ()) -> None:
    if _passes is not None:
        _passes.append(Pass(what, sum(map(size, reads)), sum(map(size, writes)), rides, time.perf_counter()))


def product(what: str, began: int, sources: Iterable[Any], out: Any, finish: Finish | None = None) -> None:
    """A product that is done; `began` as `begin` gave it before: passes of its maps and its Finish may have come since."""
    if _passes is None:
        return
    sources = list(sources)
    rides = tuple(_load(x) for x in sources if isinstance(x, Deferred) and not x.made)
    looked: list[Any] = []
    if finish is not None and not any(one.what in ("sums", "gate and sums") for one in _passes[began:]):
        rides += (_finished(finish),)
        looked = _looks(finish)
    note(what, [*sources, *looked], [out], rides)


def size(x: Any) -> int:
    """Bytes that reading x costs."""
    if isinstance(x, Deferred):
        return x.a.nbytes if x.made else x.a.nbytes + (0 if x.b is None else x.b.nbytes)
    return 0 if x is None else int(x.nbytes)


def _heard(what: str, given: Any, out: Any) -> None:
    """What a Deferred or a Finish does in a pass of its own."""
    if what == "memory":
        note(_load(given), [given.a, given.b], [out])
    else:
        changed = given.kind in (GRADIENT, RESULT) and (given.add is not None or given.slope != 1)
        note(_finished(given), [out, *_looks(given)], [out] if changed else [])


def _load(x: Deferred) -> str:
    parts = ["addition"] if x.b is not None else []
    parts += ["scale and shift"] if x.coefficients is not None and x.b is None else []
    return ", ".join([*parts, *(["rectifier"] if x.slope != 1 else [])])


def _finished(finish: Finish) -> str:
    if finish.kind == RESULT:
        return ", ".join(["addition"] * (finish.add is not None) + ["rectifier"] * (finish.slope != 1))
    return "sums" if finish.kind != GRADIENT or (finish.add is None and finish.slope == 1) else "gate and sums"


def _looks(finish: Finish) -> list[Any]:
    """The arrays that a Finish reads beside the output."""
    if finish.kind not in (GRADIENT, RESULT):
        return []
    sign = [finish.value] if finish.slope != 1 and finish.value is not None else []
    return [finish.add, *sign, finish.a, finish.b]
