from ..memory import Array

Load = tuple[Array | None, Array, float]

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
    x_load: Load | None,
    dy_load: Load | None,
    planes: int,
    threads: int,
) -> bool: ...
