"""`cs231n.optim`: first-order update rules, next_w, config = rule(w, dw, config=None).

config holds a rule's numbers and moments. What is missing in it takes its default and is put in; the moments of the new
step replace the old ones in the same dictionary, which is returned. w, dw and the arrays found in config are left as they
are, and next_w has the dtype of w. The learning rate stands INSIDE the velocity: v = mu v - lr dw.

Each rule is one compiled pass over flat memory, the same one that `fastnet.optim` takes over a whole net; momentum and
Nesterov, whose velocities differ from PyTorch's as soon as the learning rate changes, are two and three passes of axpy.
"""

import math
from typing import Any

import numpy as np

from .. import config as engine
from .. import memory
from .._ext import flat
from .._ext import update as kernels
from ..memory import Array
from ..optim.rule import pieces
from ..parameters import Run
from .arrays import FLOATS

__all__ = ["adagrad", "adam", "nesterov", "rmsprop", "sgd", "sgd_momentum"]

Config = dict[str, Any]


def _start(op: str, w: Any, dw: Any, config: Config | None, **defaults: float) -> tuple[Array, Array, Config]:
    """A copy of w to be stepped, dw in its dtype, and the config with its defaults filled in."""
    w, dw = np.asarray(w), np.asarray(dw)
    if dw.shape != w.shape:
        raise ValueError(f"{op}: dw must have the shape of w {w.shape}, found {dw.shape}")
    if w.dtype.kind not in "fiu" or dw.dtype.kind not in "fiu":
        raise TypeError(f"{op}: w and dw must hold real numbers, found {w.dtype} and {dw.dtype}")
    native = w.dtype.newbyteorder("=")
    new = memory.copy(w.astype(native if native in FLOATS else FLOATS[1], copy=False))
    config = {} if config is None else config
    for name, value in defaults.items():
        config.setdefault(name, value)
    return new, np.ascontiguousarray(dw, new.dtype), config


def _moment(op: str, config: Config, name: str, w: Array) -> Array:
    """A copy of this moment, zeros where there is none yet, put into config in its place."""
    found = np.asarray(config.get(name, np.zeros((), w.dtype)))
    if name in config and found.shape != w.shape:
        raise ValueError(f"{op}: {name} must have the shape of w {w.shape}, found {found.shape}")
    moment = memory.empty(w.shape, w.dtype)
    moment[...] = found
    config[name] = moment
    return moment


def _all(w: Array) -> Array:
    """The kernels' pieces of a whole array: one rate, no decay."""
    return pieces([Run(0, w.size, 1.0, 0.0)])


def _flat(x: Array) -> Array:
    return x.reshape(-1)


def sgd(w: Any, dw: Any, config: Config | None = None) -> tuple[Array, Config]:
    """w -= lr dw.    config: learning_rate 1e-2."""
    w, dw, config = _start("sgd", w, dw, config, learning_rate=1e-2)
    kernels.sgd(_flat(w), _flat(dw), None, _all(w), config["learning_rate"], 0.0, False, 0.0, engine.get_num_threads())
    return w, config


def sgd_momentum(w: Any, dw: Any, config: Config | None = None) -> tuple[Array, Config]:
    """v = momentum v - lr dw;  w += v.    config: learning_rate 1e-2, momentum 0.9, velocity 0.  Polyak 1964."""
    w, dw, config = _start("sgd_momentum", w, dw, config, learning_rate=1e-2, momentum=0.9)
    v, threads = _moment("sgd_momentum", config, "velocity", w), engine.get_num_threads()
    flat.axpy(_flat(v), _flat(dw), -config["learning_rate"], config["momentum"], threads)
    flat.axpy(_flat(w), _flat(v), 1.0, 1.0, threads)
    return w, config


def nesterov(w: Any, dw: Any, config: Config | None = None) -> tuple[Array, Config]:
    """v' = momentum v - lr dw;  w += (1 + momentum) v' - momentum v: the variable-transform form of Nesterov's momentum.

    w is the point that looks ahead, x + momentum v for Nesterov's own x, and dw the gradient there.
    config: learning_rate 1e-2, momentum 0.9, velocity 0.  Bengio et al. 2013, section 3.
    """
    w, dw, config = _start("nesterov", w, dw, config, learning_rate=1e-2, momentum=0.9)
    v, threads, mu = _moment("nesterov", config, "velocity", w), engine.get_num_threads(), config["momentum"]
    flat.axpy(_flat(w), _flat(v), -mu, 1.0, threads)
    flat.axpy(_flat(v), _flat(dw), -config["learning_rate"], mu, threads)
    flat.axpy(_flat(w), _flat(v), 1 + mu, 1.0, threads)
    return w, config


def adagrad(w: Any, dw: Any, config: Config | None = None) -> tuple[Array, Config]:
    """cache += dw^2;  w -= lr dw / (sqrt(cache) + epsilon).    config: learning_rate 1e-2, epsilon 1e-7, cache 0.

    Duchi, Hazan & Singer 2011.
    """
    w, dw, config = _start("adagrad", w, dw, config, learning_rate=1e-2, epsilon=1e-7)
    cache = _moment("adagrad", config, "cache", w)
    lr, eps = config["learning_rate"], config["epsilon"]
    kernels.adagrad(_flat(w), _flat(dw), _flat(cache), _all(w), lr, eps, 0.0, engine.get_num_threads())
    return w, config


def rmsprop(w: Any, dw: Any, config: Config | None = None) -> tuple[Array, Config]:
    """cache = decay_rate cache + (1 - decay_rate) dw^2;  w -= lr dw / (sqrt(cache) + epsilon).

    config: learning_rate 1e-2, decay_rate 0.99, epsilon 1e-8, cache 0.  Hinton 2012, lecture 6e.
    """
    w, dw, config = _start("rmsprop", w, dw, config, learning_rate=1e-2, decay_rate=0.99, epsilon=1e-8)
    cache, threads = _moment("rmsprop", config, "cache", w), engine.get_num_threads()
    lr, rate, eps = config["learning_rate"], config["decay_rate"], config["epsilon"]
    kernels.rmsprop(_flat(w), _flat(dw), _flat(cache), None, None, _all(w), lr, rate, eps, 0.0, 0.0, 0.0, threads)
    return w, config


def adam(w: Any, dw: Any, config: Config | None = None) -> tuple[Array, Config]:
    """t += 1;  m = beta1 m + (1 - beta1) dw;  v = beta2 v + (1 - beta2) dw^2;
    w -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).

    config: learning_rate 1e-3, beta1 0.9, beta2 0.999, epsilon 1e-8, m 0, v 0, t 0.  t counts BEFORE it is used.
    Kingma & Ba 2015, algorithm 1.
    """
    w, dw, config = _start("adam", w, dw, config, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, t=0)
    m, v = _moment("adam", config, "m", w), _moment("adam", config, "v", w)
    config["t"] += 1
    beta1, beta2, t = config["beta1"], config["beta2"], config["t"]
    lr, correction = config["learning_rate"] / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
    kernels.adam(
        _flat(w), _flat(dw), _flat(m), _flat(v), None, _all(w), lr, beta1, beta2, correction, config["epsilon"], 0.0, 0.0,
        engine.get_num_threads()
    )  # fmt: skip
    return w, config
