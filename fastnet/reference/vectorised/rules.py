"""Update rules: each changes the weights w and the moments in `state` in place. The oracle of the fused rules.

w and dw of any shape, state a dict that is empty before the first step. PyTorch's conventions: the learning rate stays
outside the velocity, eps outside the root (inside it with eps_inside), and weight decay is added to the gradient unless it
is decoupled.
"""

from typing import Any

import numpy as np

from ..shapes import Array

State = dict[str, Any]


def _root(s: Array, eps: float, eps_inside: bool) -> Array:
    return np.sqrt(s + eps) if eps_inside else np.sqrt(s) + eps


def sgd_step(
    w: Array,
    dw: Array,
    state: State,
    *,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """v = momentum v + g,  w -= lr v;  Nesterov looks ahead: w -= lr (g + momentum v).  Sutskever et al. 2013."""
    g = dw + weight_decay * w
    if momentum:
        v = state["velocity"] = momentum * state.get("velocity", np.zeros_like(w)) + g
        g = g + momentum * v if nesterov else v
    w -= lr * g


def adagrad_step(
    w: Array,
    dw: Array,
    state: State,
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
    eps_inside: bool = False,
) -> None:
    """s = s + g^2,  w -= lr g / (sqrt(s) + eps): the steps can only shrink.  Duchi, Hazan & Singer 2011."""
    g = dw + weight_decay * w
    s = state["squares"] = state.get("squares", np.zeros_like(w)) + g * g
    w -= lr * g / _root(s, eps, eps_inside)


def rmsprop_step(
    w: Array,
    dw: Array,
    state: State,
    *,
    lr: float,
    weight_decay: float = 0.0,
    alpha: float = 0.99,
    eps: float = 1e-8,
    eps_inside: bool = False,
) -> None:
    """s = alpha s + (1 - alpha) g^2,  w -= lr g / (sqrt(s) + eps): AdaGrad that forgets.  Hinton 2012, lecture 6e."""
    g = dw + weight_decay * w
    s = state["squares"] = alpha * state.get("squares", np.zeros_like(w)) + (1 - alpha) * g * g
    w -= lr * g / _root(s, eps, eps_inside)


def adam_step(
    w: Array,
    dw: Array,
    state: State,
    *,
    lr: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decoupled: bool = False,
    eps_inside: bool = False,
) -> None:
    """m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= lr m^ / (sqrt(v^) + eps), where m^ = m / (1 - b1^t) and
    v^ = v / (1 - b2^t) undo the zero start.  Kingma & Ba 2015.  decoupled=True is AdamW: w shrinks by lr * weight_decay
    on its own, and the moments do not see it.  Loshchilov & Hutter 2019.
    """
    b1, b2 = betas
    t = state["step"] = state.get("step", 0) + 1
    if decoupled:
        w -= lr * weight_decay * w
    g = dw if decoupled else dw + weight_decay * w
    m = state["mean"] = b1 * state.get("mean", np.zeros_like(w)) + (1 - b1) * g
    v = state["squares"] = b2 * state.get("squares", np.zeros_like(w)) + (1 - b2) * g * g
    w -= lr * (m / (1 - b1**t)) / _root(v / (1 - b2**t), eps, eps_inside)
