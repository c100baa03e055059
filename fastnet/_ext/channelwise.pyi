from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def apply(x: Array, load: tuple[Array | None, Array, float] | None, y: Array, threads: int) -> None: ...
def finish(
    out: Array,
    finish: tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float],
    sums: Array,
    threads: int,
) -> None: ...
def activate(
    f: int, x: Array, load: tuple[Array | None, Array, float], y: Array, alpha: float, threads: int
) -> None: ...
def activate_backward(
    f: int,
    x: Array,
    load: tuple[Array | None, Array, float],
    dy: Array,
    out: Array,
    alpha: float,
    finish: tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float] | None,
    sums: Array | None,
    threads: int,
) -> None: ...
