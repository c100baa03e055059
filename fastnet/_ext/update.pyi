from ..memory import Array

PIECE: int

def sgd(
    w: Array, g: Array, v: Array | None, pieces: Array, lr: float, mu: float, nesterov: bool, decay: float, threads: int
) -> None: ...
def adagrad(
    w: Array, g: Array, a: Array, pieces: Array, lr: float, eps: float, decay: float, threads: int, inside: float = 0.0
) -> None: ...
def rmsprop(
    w: Array,
    g: Array,
    a: Array,
    m: Array | None,
    v: Array | None,
    pieces: Array,
    lr: float,
    alpha: float,
    eps: float,
    inside: float,
    mu: float,
    decay: float,
    threads: int,
) -> None: ...
def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    top: Array | None,
    pieces: Array,
    lr: float,
    beta1: float,
    beta2: float,
    correction: float,
    eps: float,
    decay: float,
    fading: float,
    threads: int,
    inside: float = 0.0,
) -> None: ...
