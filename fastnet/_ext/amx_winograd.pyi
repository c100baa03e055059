from ..memory import Array

def packed_size(filters: int, channels: int, planes: int) -> int: ...
def pack_weights(w: Array, turned: bool, out: Array, planes: int, threads: int) -> bool: ...
def correlate(
    x: Array,
    lead: Array,
    packed: Array,
    bias: Array,
    out: Array,
    load: tuple[Array | None, Array, float] | None,
    finish: tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float] | None,
    sums: Array,
    planes: int,
    threads: int,
) -> bool: ...
