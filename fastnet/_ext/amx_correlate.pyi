from ..memory import Array

def pack_weights(w: Array, lane: Array, out: Array, planes: int, threads: int) -> bool: ...
def correlate(
    x: Array,
    channel: int,
    channels: int,
    lead: Array,
    step: Array,
    group: Array,
    fold: Array,
    packed: Array,
    bias: Array,
    out: Array,
    filter: int,
    filters: int,
    out_start: Array,
    out_step: Array,
    out_count: Array,
    load: tuple[Array | None, Array, float] | None,
    finish: tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float] | None,
    sums: Array,
    planes: int,
    threads: int,
) -> bool: ...
