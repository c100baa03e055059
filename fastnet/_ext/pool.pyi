from ..memory import Array

Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]

def max_pool2d(x: Array, y: Array, winner: Array, geometry: Geometry, threads: int) -> None: ...
def max_pool2d_backward(
    dy: Array, winner: Array, dx: Array, geometry: Geometry, covering_rows: Array, threads: int
) -> None: ...
def avg_pool2d(x: Array, y: Array, rows: Array, cols: Array, threads: int) -> None: ...
def avg_pool2d_backward(dy: Array, dx: Array, rows: Array, cols: Array, threads: int) -> None: ...
def avg_pool2d_backward_overlapping(
    dy: Array,
    quotient: Array,
    dx: Array,
    rows: Array,
    cols: Array,
    covering_rows: Array,
    covering_cols: Array,
    threads: int,
) -> None: ...
