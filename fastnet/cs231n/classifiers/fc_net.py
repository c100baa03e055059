"""`cs231n.classifiers.fc_net`: fully connected nets of two layers and of any number."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ...memory import Array
from .. import fast_layers, layer_utils, layers
from ..fast_layers import *  # noqa: F403
from ..layer_utils import *  # noqa: F403
from ..layer_utils import affine_relu_backward, affine_relu_forward
from ..layers import *  # noqa: F403
from ..layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward,
    batchnorm_forward,
    dropout_backward,
    dropout_forward,
    layernorm_backward,
    layernorm_forward,
    relu_backward,
    relu_forward,
    softmax_loss,
)
from .net import Net

__all__ = ["FullyConnectedNet", "TwoLayerNet"]
__all__ += layers.__all__  # the notebooks' star import of this module brings them along
__all__ += layer_utils.__all__
__all__ += fast_layers.__all__

NORMALIZATIONS = (None, "batchnorm", "layernorm")


class TwoLayerNet(Net):
    """affine - ReLU - affine - softmax.

    params: W1 (input_dim, hidden_dim), b1, W2 (hidden_dim, num_classes), b2, in float64.
    """

    def __init__(
        self,
        input_dim: int = 3 * 32 * 32,
        hidden_dim: int = 100,
        num_classes: int = 10,
        weight_scale: float = 1e-3,
        reg: float = 0.0,
    ) -> None:
        super().__init__(reg, np.float64)
        self.params["W1"], self.params["b1"] = self.normal(weight_scale, input_dim, hidden_dim), self.zeros(hidden_dim)
        self.params["W2"], self.params["b2"] = (
            self.normal(weight_scale, hidden_dim, num_classes),
            self.zeros(num_classes),
        )

    def loss(self, X: Any, y: Any = None) -> Any:
        """X (N, d1, …, dk)  ->  scores (N, C) without y; with labels y (N,), (loss, gradients by name)."""
        p = self.params
        hidden, first = affine_relu_forward(X, p["W1"], p["b1"])
        scores, second = affine_forward(hidden, p["W2"], p["b2"])
        if y is None:
            return scores
        loss, dscores = softmax_loss(scores, y)
        grads: dict[str, Array] = {}
        dhidden, grads["W2"], grads["b2"] = affine_backward(dscores, second)
        _, grads["W1"], grads["b1"] = affine_relu_backward(dhidden, first, input_gradient=False)
        return self.regularize(loss, grads), grads


class FullyConnectedNet(Net):
    """{affine - [batch or layer norm] - ReLU - [dropout]} x (L - 1) - affine - softmax, L = len(hidden_dims) + 1.

    normalization: "batchnorm", "layernorm" or None. dropout_keep_ratio: the probability to KEEP a number, 1 for no dropout;
    seed: makes the masks the same at every call, for gradient checks. params: W1, b1, …, WL, bL, and gamma1, beta1, … of the
    norms, all of dtype. Running statistics are in bn_params, one dictionary per hidden layer.
    """

    def __init__(
        self,
        hidden_dims: Sequence[int],
        input_dim: int = 3 * 32 * 32,
        num_classes: int = 10,
        dropout_keep_ratio: float = 1,
        normalization: str | None = None,
        reg: float = 0.0,
        weight_scale: float = 1e-2,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                f"FullyConnectedNet: normalization must be one of {NORMALIZATIONS}, found {normalization!r}"
            )
        if not 0 < dropout_keep_ratio <= 1:
            raise ValueError(
                "FullyConnectedNet: dropout_keep_ratio, the probability to KEEP, must be more than 0 and at most 1, "
                f"found {dropout_keep_ratio}"
            )
        super().__init__(reg, dtype)
        self.normalization = normalization
        self.use_dropout = dropout_keep_ratio != 1
        self.num_layers = len(hidden_dims) + 1
        sizes = [input_dim, *hidden_dims, num_classes]
        for i, (d, m) in enumerate(pairwise(sizes), 1):
            self.params[f"W{i}"], self.params[f"b{i}"] = self.normal(weight_scale, d, m), self.zeros(m)
            if normalization and i < self.num_layers:
                self.params[f"gamma{i}"], self.params[f"beta{i}"] = np.ones(m, self.dtype), self.zeros(m)
        self.dropout_param: dict[str, Any] = {}
        if self.use_dropout:
            self.dropout_param = {"mode": "train", "p": dropout_keep_ratio}
            if seed is not None:
                self.dropout_param["seed"] = seed
        if normalization == "batchnorm":
            self.bn_params = [{"mode": "train"} for _ in hidden_dims]
        elif normalization == "layernorm":
            self.bn_params = [{} for _ in hidden_dims]

    def _forward(self, i: int, x: Array) -> tuple[Array, tuple[Any, ...]]:
        """Hidden layer i, counted from 1."""
        p, norm, drop = self.params, None, None
        x, affine = affine_forward(x, p[f"W{i}"], p[f"b{i}"])
        if self.normalization:
            normalize = batchnorm_forward if self.normalization == "batchnorm" else layernorm_forward
            x, norm = normalize(x, p[f"gamma{i}"], p[f"beta{i}"], self.bn_params[i - 1])
        x, relu = relu_forward(x)
        if self.use_dropout:
            x, drop = dropout_forward(x, self.dropout_param)
        return x, (affine, norm, relu, drop)

    def _backward(self, i: int, dx: Any, cache: tuple[Any, ...], grads: dict[str, Array]) -> Any:
        affine, norm, relu, drop = cache
        if self.use_dropout:
            dx = dropout_backward(dx, drop)
        dx = relu_backward(dx, relu)
        if self.normalization:
            normalize = batchnorm_backward if self.normalization == "batchnorm" else layernorm_backward
            dx, grads[f"gamma{i}"], grads[f"beta{i}"] = normalize(dx, norm)
        dx, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dx, affine, input_gradient=i > 1)
        return dx

    def loss(self, X: Any, y: Any = None) -> Any:
        """X (N, d1, …, dk)  ->  scores (N, C) without y, in test mode; with labels y (N,), (loss, gradients), in train mode."""
        x = np.asarray(X).astype(self.dtype, copy=False)
        mode = "test" if y is None else "train"
        if self.use_dropout:
            self.dropout_param["mode"] = mode
        if self.normalization == "batchnorm":
            for bn_param in self.bn_params:
                bn_param["mode"] = mode
        caches = []
        last = self.num_layers
        for i in range(1, last):
            x, cache = self._forward(i, x)
            caches.append(cache)
        scores, affine = affine_forward(x, self.params[f"W{last}"], self.params[f"b{last}"])
        if y is None:
            return scores
        loss, dx = softmax_loss(scores, y)
        grads: dict[str, Array] = {}
        dx, grads[f"W{last}"], grads[f"b{last}"] = affine_backward(dx, affine)
        for i in range(last - 1, 0, -1):
            dx = self._backward(i, dx, caches[i - 1], grads)
        return self.regularize(loss, grads), grads
