from ..memory import Array

def sgd(
    w: Array, g: Array, v: Array | None, decayed: int, lr: float, mu: float, nesterov: bool, decay: float, threads: int
) -> None: ...
def adagrad(
    w: Array, g: Array, a: Array, decayed: int, lr: float, eps: float, decay: float, threads: int, inside: float = 0.0
) -> None: ...
def rmsprop(
    w: Array,
    g: Array,
    a: Array,
    m: Array | None,
    v: Array | None,
    decayed: int,
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
    decayed: int,
    lr: float,
    beta1: float,
    beta2: float,
    correction: float,
    eps: float,
    decay: float,
    shrink: float,
    threads: int,
    inside: float = 0.0,
) -> None: ...
