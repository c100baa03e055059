from ..memory import Array

def weight_gradient(
    x: Array,
    channel: int,
    channels: int,
    lead: Array,
    step: Array,
    row_residue: Array,
    column_residue: Array,
    group: Array,
    piece: Array,
    index: Array,
    dy: Array,
    filter: int,
    filters: int,
    dw: Array,
    streams: Array,
    cut: Array,
    planes: int,
    threads: int,
) -> bool: ...
