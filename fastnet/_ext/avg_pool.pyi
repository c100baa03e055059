from ..memory import Array

def avg_pool2d(
    x: Array, y: Array, rows: Array, cols: Array, load: tuple[Array | None, Array, float] | None, threads: int
) -> None: ...
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
