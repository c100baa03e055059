from ..memory import Array

Load = tuple[Array | None, Array, float] | None
Finish = tuple[int, Array | None, Array | None, Array | None, Array | None, Array | None, float] | None

LANES: int

def packed_size(tile: int, filters: int, channels: int) -> int: ...
def pack_weights(tile: int, w: Array, tap_row: Array, tap_column: Array, out: Array, threads: int) -> None: ...
def correlate(
    tile: int,
    x: Array,
    channel: int,
    channels: int,
    lead: Array,
    packed: Array,
    bias: Array,
    out: Array,
    filter: int,
    filters: int,
    load: Load,
    finish: Finish,
    sums: Array | None,
    threads: int,
) -> bool: ...
