"""Batch, layer and group normalisation with the course's running statistics."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np

from ... import functional
from ...functional import checks
from ...memory import Array
from ..arrays import floats, gradient, is_training, ordinary

Gradients = tuple[Array, Array, Array]


def batchnorm_in(
    op: str, x: Any, gamma: Any, beta: Any, bn_param: MutableMapping[str, Any], ndim: int
) -> tuple[Array, Any]:
    """Batch norm of rows (ndim 2) or images (ndim 4), whose output stays channels-last for the next kernel."""
    training = is_training(op, bn_param, "bn_param")
    x, gamma, beta = floats(op, x=x, gamma=gamma, beta=beta)
    checks.floats(op, x, ndim)
    eps, momentum = bn_param.get("eps", 1e-5), checks.number(op, bn_param.get("momentum", 0.9), "momentum", 0, 1)
    mean, var = (
        np.asarray(bn_param.get(name, np.zeros(x.shape[1])), x.dtype).reshape(-1)
        for name in ("running_mean", "running_var")
    )
    if not training:
        out, saved = functional.batch_norm(x, gamma, beta, mean, var, training=False, eps=eps)
    else:
        # With momentum 1 (of PyTorch's kind) the kernel leaves the batch's own statistics here.
        new_mean, new_var = np.zeros_like(mean), np.zeros_like(var)
        out, saved = functional.batch_norm(x, gamma, beta, new_mean, new_var, training=True, momentum=1.0, eps=eps)
        count = x.size // x.shape[1]
        if count:
            new_var *= (count - 1) / count  # the kernel's is unbiased, as PyTorch has it
            mean = momentum * mean + (1 - momentum) * new_mean
            var = momentum * var + (1 - momentum) * new_var
    bn_param["running_mean"], bn_param["running_var"] = mean, var
    return out, saved


def batchnorm_forward(x: Any, gamma: Any, beta: Any, bn_param: MutableMapping[str, Any]) -> tuple[Array, Any]:
    """out = gamma * (x - m[d]) / sqrt(v[d] + eps) + beta, m and biased v of the batch (train) or running (test).

    x (N, D), gamma and beta (D,)  ->  out (N, D), cache.  bn_param: "mode"; "eps" 1e-5; "momentum" 0.9, which weighs the
    OLD value: running = momentum * running + (1 - momentum) * batch; "running_mean" and "running_var", zeros at first and
    put back into bn_param.  ValueError for a batch of one in training.  Ioffe & Szegedy 2015.
    """
    out, cache = batchnorm_in("batchnorm_forward", x, gamma, beta, bn_param, 2)
    return ordinary(out), cache


def _batchnorm_backward(op: str, dout: Any, cache: Any) -> Gradients:
    dx, dgamma, dbeta = functional.batch_norm_backward(gradient(op, dout, cache.shape, cache.rows.dtype), cache)
    assert dgamma is not None
    assert dbeta is not None
    return ordinary(dx), dgamma, dbeta


def batchnorm_backward(dout: Any, cache: Any) -> Gradients:
    """dout (N, D)  ->  dx (N, D), dgamma = sum of dout * x^, dbeta = sum of dout; compiled."""
    return _batchnorm_backward("batchnorm_backward", dout, cache)


def batchnorm_backward_alt(dout: Any, cache: Any) -> Gradients:
    """The same gradients from the formula on paper, in NumPy, so that the two can be compared:

    dx = gamma / sqrt(v + eps) * (dout - mean of dout - x^ * mean of dout * x^), the means over the batch.
    """
    dout = gradient("batchnorm_backward_alt", dout, cache.shape, cache.rows.dtype)
    hat = ((cache.rows - cache.mean) * cache.inverse).astype(dout.dtype, copy=False)
    scale = (cache.gamma * cache.inverse).astype(dout.dtype, copy=False)
    moved = dout - dout.mean(axis=0) - hat * (dout * hat).mean(axis=0) if cache.training else dout
    return scale * moved, (dout * hat).sum(axis=0), dout.sum(axis=0)


def spatial_batchnorm_forward(x: Any, gamma: Any, beta: Any, bn_param: MutableMapping[str, Any]) -> tuple[Array, Any]:
    """As `batchnorm_forward`, the statistics of each channel over the batch and all pixels.

    x (N, C, H, W), gamma and beta (C,)  ->  out (N, C, H, W), cache.
    """
    out, cache = batchnorm_in("spatial_batchnorm_forward", x, gamma, beta, bn_param, 4)
    return ordinary(out), cache


def spatial_batchnorm_backward(dout: Any, cache: Any) -> Gradients:
    """dout (N, C, H, W)  ->  dx (N, C, H, W), dgamma (C,), dbeta (C,)."""
    return _batchnorm_backward("spatial_batchnorm_backward", dout, cache)


def layernorm_forward(x: Any, gamma: Any, beta: Any, ln_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """out = gamma * (x - m[n]) / sqrt(v[n] + eps) + beta, with m and biased v over each example's D numbers, in any mode.

    x (N, D), gamma and beta (D,), ln_param {"eps": 1e-5}  ->  out (N, D), cache.  Ba, Kiros & Hinton 2016.
    """
    x, gamma, beta = floats("layernorm_forward", x=x, gamma=gamma, beta=beta)
    checks.floats("layernorm_forward", x, 2)
    out, saved = functional.layer_norm(x, x.shape[1], gamma, beta, eps=ln_param.get("eps", 1e-5))
    return ordinary(out), saved


def layernorm_backward(dout: Any, cache: Any) -> Gradients:
    """dout (N, D)  ->  dx (N, D), dgamma (D,), dbeta (D,)."""
    dout = gradient("layernorm_backward", dout, cache.shape, cache.rows.dtype)
    dx, dgamma, dbeta = functional.layer_norm_backward(dout, cache)
    assert dgamma is not None
    assert dbeta is not None
    return ordinary(dx), dgamma, dbeta


def spatial_groupnorm_forward(x: Any, gamma: Any, beta: Any, G: int, gn_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """out = gamma[c] * (x - m[n,g]) / sqrt(v[n,g] + eps) + beta[c], g being the group of C / G channels that c is in.

    x (N, C, H, W), gamma and beta (1, C, 1, 1) or (C,), G groups, gn_param {"eps": 1e-5}  ->  out (N, C, H, W), cache.
    ValueError if G does not divide C.  Wu & He 2018.
    """
    op = "spatial_groupnorm_forward"
    x, gamma, beta = floats(op, x=x, gamma=gamma, beta=beta)
    checks.floats(op, x, 4)
    for name, p in (("gamma", gamma), ("beta", beta)):
        if p.shape not in ((x.shape[1],), (1, x.shape[1], 1, 1)):
            raise ValueError(f"{op}: {name} must be (1, C, 1, 1) with C {x.shape[1]}, found {p.shape}")
    eps = gn_param.get("eps", 1e-5)
    out, saved = functional.group_norm(x, G, gamma.reshape(-1), beta.reshape(-1), eps=eps)
    return ordinary(out), (saved, gamma.shape, beta.shape)


def spatial_groupnorm_backward(dout: Any, cache: Any) -> Gradients:
    """dout (N, C, H, W)  ->  dx (N, C, H, W), dgamma and dbeta in the shapes of gamma and beta."""
    saved, gamma_shape, beta_shape = cache
    dout = gradient("spatial_groupnorm_backward", dout, saved.shape, saved.rows.dtype)
    dx, dgamma, dbeta = functional.group_norm_backward(dout, saved)
    assert dgamma is not None
    assert dbeta is not None
    return ordinary(dx), dgamma.reshape(gamma_shape), dbeta.reshape(beta_shape)
