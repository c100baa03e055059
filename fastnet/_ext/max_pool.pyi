from ..memory import Array

Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]

Load = tuple[Array | None, Array, float] | None
Finish = tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float] | None

def max_pool2d(x: Array, y: Array, winner: Array, geometry: Geometry, load: Load, threads: int) -> None: ...
def max_pool2d_backward(
    dy: Array,
    winner: Array,
    dx: Array,
    geometry: Geometry,
    covering_rows: Array,
    finish: Finish,
    sums: Array | None,
    threads: int,
) -> None: ...
