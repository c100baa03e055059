from ..memory import Array

def gather(
    x: Array,
    index: Array,
    place: Array,
    boxes: Array,
    scale: Array,
    shift: Array,
    fill: Array,
    reflect: bool,
    y: Array,
    threads: int,
) -> None: ...
def histogram(x: Array, counts: Array, threads: int) -> None: ...
