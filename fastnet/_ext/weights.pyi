from ..memory import Array

def weight_gradient(
    x: Array,
    channel: int,
    channels: int,
    lead: Array,
    step: Array,
    span: Array,
    segment: Array,
    length: int,
    dy: Array,
    filter: int,
    filters: int,
    dw: Array,
    tap_row: Array,
    tap_column: Array,
    load: tuple[Array | None, Array, float] | None,
    threads: int,
) -> None: ...
def bias_gradient(dy: Array, db: Array, threads: int) -> None: ...
