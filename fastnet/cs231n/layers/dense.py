"""Affine, ReLU and dropout: layers that do not ask where a number stands in an image."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import functional
from ...functional.activations import ActivationSaved
from ...functional.elementwise import logical, ordered
from ...functional.linear import LinearSaved
from ...memory import Array
from ..arrays import floats, gradient, is_training, ordinary, rows, setting


def affine_forward(x: Any, w: Any, b: Any) -> tuple[Array, Any]:
    """out[n,m] = b[m] + sum over d of x[n,d] * w[d,m], each example being flattened to D numbers first.

    x (N, d1, …, dk) with d1 … dk = D, w (D, M), b (M,)  ->  out (N, M), cache.  ValueError if the sizes differ.
    """
    x, w, b = floats("affine_forward", x=x, w=w, b=b)
    if w.ndim != 2 or x.ndim < 1:
        raise ValueError(f"affine_forward: x must be (N, …) and w (D, M), found shapes {x.shape} and {w.shape}")
    return ordinary(functional.linear(rows(x), w.T, b)[0]), (x, w, b)


def affine_backward(dout: Any, cache: Any, *, input_gradient: bool = True) -> tuple[Any, Array, Array]:
    """dx = dout w^T,  dw = x^T dout,  db = sum of dout over the examples.

    dout (N, M)  ->  dx (N, d1, …, dk), or None without `input_gradient`, dw (D, M), db (M,).
    """
    x, w, _ = cache
    dout = gradient("affine_backward", dout, (x.shape[0], w.shape[1]), x.dtype)
    dx = ordinary(functional.linear(dout, w)[0]).reshape(x.shape) if input_gradient else None
    # A linear layer's dw is dy^T x, so the product with x and dout in each other's place is ours, in C order.
    swapped = LinearSaved(np.ascontiguousarray(dout), w, False)
    dw = functional.linear_backward(rows(x), swapped, input_gradient=False)[1]
    return dx, ordinary(dw), dout.sum(axis=0)


def relu_forward(x: Any) -> tuple[Array, Any]:
    """out = max(0, x), for x of any shape  ->  out, cache.  NaN stays NaN."""
    (x,) = floats("relu_forward", x=x)
    source, images = ordered(x)
    out = functional.relu(logical(source, images))[0]
    # The cache holds x and not out, as the course's does: a script may go on to change out in place.
    return ordinary(out), (ActivationSaved(source, images), x.shape)


def relu_backward(dout: Any, cache: Any) -> Array:
    """dx = dout where x > 0, else 0."""
    saved, shape = cache
    return ordinary(functional.relu_backward(gradient("relu_backward", dout, shape, saved.memory.dtype), saved))


def dropout_forward(x: Any, dropout_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """Train: out = x / p with probability p, else 0, each number by itself.  Test: out = x.

    dropout_param: "p", the probability to KEEP a number, 0 < p <= 1; "mode", "train" or "test"; "seed" (optional), the same
    mask for the same seed; without it, a seed is drawn from NumPy's global generator.  x of any shape  ->  out, cache.
    Srivastava et al. 2014, inverted.
    """
    op = "dropout_forward"
    (x,) = floats(op, x=x)
    p = float(setting(op, dropout_param, "dropout_param", "p"))
    if not 0 < p <= 1:
        raise ValueError(f"{op}: p is the probability to KEEP a number, more than 0 and at most 1, found {p}")
    training = is_training(op, dropout_param, "dropout_param")
    seed = dropout_param.get("seed")
    if seed is None and training:
        seed = np.random.randint(2**31 - 1)  # noqa: NPY002 (the generator that the notebooks seed)
    out, saved = functional.dropout(x, 1 - p, training=training, seed=int(seed or 0))
    return ordinary(out), saved


def dropout_backward(dout: Any, cache: Any) -> Array:
    """dx = dout times the mask of the forward pass: dout / p or 0 (train), dout (test)."""
    dout = gradient("dropout_backward", dout, cache.shape, cache.dtype)
    return ordinary(functional.dropout_backward(dout, cache))
