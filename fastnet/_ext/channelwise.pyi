from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def apply(x: Array, load: tuple[Array | None, Array, float], y: Array, threads: int) -> None: ...
def finish(
    out: Array,
    finish: tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float],
    sums: Array,
    threads: int,
) -> None: ...
