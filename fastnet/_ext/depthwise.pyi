from ..memory import Array

Load = tuple[Array | None, Array, float] | None
Finish = tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float] | None

def gather(
    x: Array,
    w: Array,
    bias: Array,
    y: Array,
    geometry: Array,
    load: Load,
    finish: Finish,
    sums: Array | None,
    threads: int,
) -> None: ...
def scatter(
    dy: Array,
    w: Array,
    bias: Array,
    dx: Array,
    geometry: Array,
    load: Load,
    finish: Finish,
    sums: Array | None,
    threads: int,
) -> None: ...
def weight_gradient(x: Array, dy: Array, dw: Array, geometry: Array, load: Load, threads: int) -> None: ...
