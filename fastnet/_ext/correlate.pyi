from ..memory import Array

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
    threads: int,
) -> None: ...
