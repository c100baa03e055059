"""Normalisation layers. Their weights and biases are not decayed."""

from typing import Any

import numpy as np

from ..functional import (
    batch_norm,
    batch_norm_backward,
    checks,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
)
from ..functional.deferred import Deferred, Into, Value, deliver
from ..functional.deferred_norm import normalized, normalized_back, widened
from ..functional.normalization import positive
from ..memory import Array
from ..parameters import Parameter
from .base import Layer


class _BatchNorm(Layer):
    ndim: int  # of the input
    _before: dict[str, Array]  # the buffers before the latest forward in training mode

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__()
        op = type(self).__name__
        self.num_features = checks.integer(op, num_features, "num_features", 1)
        self.eps = positive(op, eps, "eps")
        self.momentum = positive(op, momentum, "momentum", 0, 1)
        self.affine = bool(affine)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if affine:
            self.weight = self.add_parameter("weight", np.ones(num_features, np.float32), decay=False)
            self.bias = self.add_parameter("bias", np.zeros(num_features, np.float32), decay=False)
        self.add_buffer("running_mean", np.zeros(num_features, np.float32))
        self.add_buffer("running_var", np.ones(num_features, np.float32))
        self.add_buffer("num_batches_tracked", np.zeros((), np.int64))
        self._before = {}

    @property
    def running_mean(self) -> Array:
        return self._buffers["running_mean"]

    @property
    def running_var(self) -> Array:
        return self._buffers["running_var"]

    @property
    def num_batches_tracked(self) -> Array:
        return self._buffers["num_batches_tracked"]

    def forward(self, x: Array) -> Array:
        op = type(self).__name__
        x = checks.floats(op, x, self.ndim)
        if x.shape[1] != self.num_features:
            raise ValueError(f"{op}: expected {self.num_features} channels, found {x.shape[1]} in x of shape {x.shape}")
        before = self._state()
        y, saved = batch_norm(x, *self._vectors(), training=self.training, momentum=self.momentum, eps=self.eps)
        self._count(before, len(x) > 0)
        return self._keep(y, saved)

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        if not isinstance(x, Deferred) or not self._takes(x):
            return super().carry(x)
        before = self._state()
        found = normalized(x, *self._vectors(), training=self.training, momentum=self.momentum, eps=self.eps)
        if found is None:
            return super().carry(x)
        self._count(before, True)
        return self._keep(*found)

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        saved = self._kept()
        if self.ndim != 4 or not saved.rows.size:
            return super().carry_back(dy, into, accumulate=accumulate)
        dx, dgamma, dbeta = normalized_back(dy, saved)
        self._give(self.weight, dgamma, accumulate)
        self._give(self.bias, dbeta, accumulate)
        return None if into is None else deliver(dx, into, fresh=True)

    def wants_statistics(self) -> bool:
        return self.training

    def _takes(self, x: Deferred) -> bool:
        """Images of the right channels and dtype, of which there are enough; others go the way where errors are raised."""
        vectors = [v for v in self._vectors() if v is not None]
        values = x.a.size // x.a.shape[3]
        return (
            self.ndim == 4
            and x.shape[1] == self.num_features
            and all(v.dtype == x.dtype for v in vectors)
            and values > (1 if self.training else 0)
        )

    def _vectors(self) -> tuple[Array | None, Array | None, Array, Array]:
        gamma, beta = (None if p is None else p.data for p in (self.weight, self.bias))
        return gamma, beta, self.running_mean, self.running_var

    def _state(self) -> dict[str, Array]:
        return {name: array.copy() for name, array in self._buffers.items()} if self.training else {}

    def _count(self, before: dict[str, Array], batches: bool) -> None:
        if self.training:
            self.num_batches_tracked[...] += batches
            self._before = before

    def _undo(self) -> None:
        super()._undo()
        for name, array in self._before.items():
            np.copyto(self._buffers[name], array)

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        dx, dgamma, dbeta = batch_norm_backward(dy, widened(self._kept()) if self.ndim == 4 else self._kept())
        self._give(self.weight, dgamma, accumulate)
        self._give(self.bias, dbeta, accumulate)
        return dx

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"


class BatchNorm2d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) * weight + bias per channel: the batch's statistics in training, the running ones else.

    x (N, num_features, H, W).  .weight, .bias (num_features,) if affine; buffers running_mean, running_var (unbiased) and
    num_batches_tracked, with running = (1 - momentum) * running + momentum * new, as torch.nn.BatchNorm2d.
    ValueError for fewer than 2 values per channel in training.  Ioffe & Szegedy 2015.
    """

    ndim = 4


class BatchNorm1d(_BatchNorm):
    """BatchNorm2d for rows: x (N, num_features)."""

    ndim = 2


class LayerNorm(Layer):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, the statistics of each example over the last dimensions.

    x (N, …, *normalized_shape), .weight and .bias of normalized_shape (an integer or a tuple).  Ba, Kiros & Hinton 2016.
    """

    def __init__(self, normalized_shape: Any, eps: float = 1e-5) -> None:
        super().__init__()
        given = normalized_shape if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
        self.normalized_shape = tuple(checks.integer("LayerNorm", size, "normalized_shape", 1) for size in given)
        if not given:
            raise ValueError("LayerNorm: normalized_shape must name at least one dimension, found ()")
        self.eps = positive("LayerNorm", eps, "eps")
        self.weight = self.add_parameter("weight", np.ones(self.normalized_shape, np.float32), decay=False)
        self.bias = self.add_parameter("bias", np.zeros(self.normalized_shape, np.float32), decay=False)

    def forward(self, x: Array) -> Array:
        return self._keep(*layer_norm(x, self.normalized_shape, self.weight.data, self.bias.data, eps=self.eps))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        dx, dgamma, dbeta = layer_norm_backward(dy, self._kept())
        self._give(self.weight, dgamma, accumulate)
        self._give(self.bias, dbeta, accumulate)
        return dx

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Layer):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, the statistics of each example over each group of channels.

    x (N, num_channels, H, W) or (N, num_channels), .weight and .bias (num_channels,).
    ValueError if num_groups does not divide num_channels.  Wu & He 2018.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_groups = checks.integer("GroupNorm", num_groups, "num_groups", 1)
        self.num_channels = checks.integer("GroupNorm", num_channels, "num_channels", 1)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups {num_groups} does not divide num_channels {num_channels}")
        self.eps = positive("GroupNorm", eps, "eps")
        self.weight = self.add_parameter("weight", np.ones(num_channels, np.float32), decay=False)
        self.bias = self.add_parameter("bias", np.zeros(num_channels, np.float32), decay=False)

    def forward(self, x: Array) -> Array:
        x = checks.floats("GroupNorm", x)
        if x.ndim > 1 and x.shape[1] != self.num_channels:
            raise ValueError(
                f"GroupNorm: expected {self.num_channels} channels, found {x.shape[1]} in x of shape {x.shape}"
            )
        return self._keep(*group_norm(x, self.num_groups, self.weight.data, self.bias.data, eps=self.eps))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array:
        dx, dgamma, dbeta = group_norm_backward(dy, self._kept())
        self._give(self.weight, dgamma, accumulate)
        self._give(self.bias, dbeta, accumulate)
        return dx

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"
