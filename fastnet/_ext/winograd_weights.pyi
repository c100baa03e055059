from ..memory import Array

def weight_gradient(
    x: Array,
    channel: int,
    channels: int,
    lead: Array,
    dy: Array,
    filter: int,
    filters: int,
    dw: Array,
    tap_row: Array,
    tap_column: Array,
    load: tuple[Array | None, Array, float] | None,
    threads: int,
) -> bool: ...
