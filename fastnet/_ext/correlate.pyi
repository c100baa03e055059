from ..memory import Array

Load = tuple[Array | None, Array, float] | None
Finish = tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float] | None

def vector_width(itemsize: int) -> int: ...
def pack_weights(w: Array, tap_row: Array, tap_column: Array, out: Array, threads: int) -> None: ...
def correlate(
    x: Array,
    channel: int,
    channels: int,
    lead: Array,
    step: Array,
    span: Array,
    segment: Array,
    length: int,
    packed: Array,
    bias: Array,
    out: Array,
    filter: int,
    filters: int,
    out_start: Array,
    out_step: Array,
    out_count: Array,
    load: Load,
    finish: Finish,
    sums: Array | None,
    threads: int,
) -> None: ...
