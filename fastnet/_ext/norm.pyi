from ..memory import Array

def batch_norm(
    x: Array,
    y: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    momentum: float,
    eps: float,
    mean: Array,
    inverse: Array,
    threads: int,
) -> None: ...
def batch_norm_eval(
    x: Array, y: Array, gamma: Array | None, beta: Array | None, mean: Array, inverse: Array, threads: int
) -> None: ...
def batch_norm_backward(
    x: Array,
    dy: Array,
    dx: Array,
    gamma: Array | None,
    mean: Array,
    inverse: Array,
    dgamma: Array,
    dbeta: Array,
    training: bool,
    threads: int,
) -> None: ...
def group_norm(
    x: Array, y: Array, gamma: Array | None, beta: Array | None, eps: float, mean: Array, inverse: Array, threads: int
) -> None: ...
def group_norm_backward(
    x: Array,
    dy: Array,
    dx: Array,
    gamma: Array | None,
    mean: Array,
    inverse: Array,
    dgamma: Array,
    dbeta: Array,
    threads: int,
) -> None: ...
def layer_norm(
    x: Array, y: Array, gamma: Array, beta: Array, eps: float, mean: Array, inverse: Array, threads: int
) -> None: ...
def layer_norm_backward(
    x: Array,
    dy: Array,
    dx: Array,
    gamma: Array,
    mean: Array,
    inverse: Array,
    dgamma: Array,
    dbeta: Array,
    threads: int,
) -> None: ...
