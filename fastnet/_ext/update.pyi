from ..memory import Array

def sgd(
    w: Array, g: Array, v: Array | None, decayed: int, lr: float, mu: float, nesterov: bool, decay: float, threads: int
) -> None: ...
def adagrad(w: Array, g: Array, a: Array, decayed: int, lr: float, eps: float, decay: float, threads: int) -> None: ...
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
) -> None: ...
def lerp(a: Array, w: Array, weight: float, threads: int) -> None: ...
def swap(a: Array, b: Array, threads: int) -> None: ...
def axpy(y: Array, x: Array, a: float, b: float, threads: int) -> None: ...
def limit(g: Array, factor: float, most: float, threads: int) -> None: ...
def dot(a: Array, b: Array, threads: int) -> float: ...
def max_norm(w: Array, most: float, threads: int) -> None: ...
