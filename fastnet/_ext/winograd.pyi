from ..memory import Array

LANES: int

def packed_size(filters: int, channels: int) -> int: ...
def pack_weights(w: Array, tap_row: Array, tap_column: Array, out: Array, threads: int) -> None: ...
def correlate(
    x: Array,
    channel: int,
    channels: int,
    lead: Array,
    packed: Array,
    bias: Array,
    out: Array,
    filter: int,
    filters: int,
    threads: int,
) -> bool: ...
