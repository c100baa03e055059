from ..memory import Array

Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]

def max_pool2d(x: Array, y: Array, winner: Array, geometry: Geometry, threads: int) -> None: ...
def max_pool2d_backward(
    dy: Array, winner: Array, dx: Array, geometry: Geometry, covering_rows: Array, threads: int
) -> None: ...
