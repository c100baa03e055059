"""`cs231n.classifiers.cnn`: a convolutional net of three layers."""

from typing import Any

import numpy as np

from ...memory import Array
from .. import fast_layers, layer_utils, layers
from ..fast_layers import *  # noqa: F403
from ..layer_utils import *  # noqa: F403
from ..layer_utils import affine_relu_backward, affine_relu_forward, conv_relu_pool_backward, conv_relu_pool_forward
from ..layers import *  # noqa: F403
from ..layers import affine_backward, affine_forward, softmax_loss
from .net import Net

__all__ = ["ThreeLayerConvNet"]
__all__ += layers.__all__  # the notebooks' star import of this module brings them along
__all__ += layer_utils.__all__
__all__ += fast_layers.__all__


class ThreeLayerConvNet(Net):
    """conv - ReLU - 2x2 max pool - affine - ReLU - affine - softmax, for images (N, C, H, W).

    The convolution has stride 1 and (filter_size - 1) // 2 zeros around the image, which keeps the size for odd filters.
    params: W1 (num_filters, C, filter_size, filter_size), b1, W2 (pooled size, hidden_dim), b2, W3 (hidden_dim, num_classes),
    b3, all of dtype.
    """

    def __init__(
        self,
        input_dim: tuple[int, int, int] = (3, 32, 32),
        num_filters: int = 32,
        filter_size: int = 7,
        hidden_dim: int = 100,
        num_classes: int = 10,
        weight_scale: float = 1e-3,
        reg: float = 0.0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(reg, dtype)
        channels, height, width = input_dim
        pad = (filter_size - 1) // 2
        self.conv_param = {"stride": 1, "pad": pad}
        self.pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
        pooled = [(size + 2 * pad - filter_size + 1) // 2 for size in (height, width)]
        if min(pooled) < 1:
            raise ValueError(
                f"ThreeLayerConvNet: images of {height} x {width} are too small for filters of {filter_size} and 2x2 pooling"
            )
        p = self.params
        p["W1"] = self.normal(weight_scale, num_filters, channels, filter_size, filter_size)
        p["b1"] = self.zeros(num_filters)
        p["W2"] = self.normal(weight_scale, num_filters * pooled[0] * pooled[1], hidden_dim)
        p["b2"] = self.zeros(hidden_dim)
        p["W3"] = self.normal(weight_scale, hidden_dim, num_classes)
        p["b3"] = self.zeros(num_classes)

    def loss(self, X: Any, y: Any = None) -> Any:
        """X (N, C, H, W)  ->  scores (N, classes) without y; with labels y (N,), (loss, gradients by name)."""
        p = self.params
        x = np.asarray(X).astype(self.dtype, copy=False)
        x, first = conv_relu_pool_forward(x, p["W1"], p["b1"], self.conv_param, self.pool_param)
        x, second = affine_relu_forward(x, p["W2"], p["b2"])
        scores, third = affine_forward(x, p["W3"], p["b3"])
        if y is None:
            return scores
        loss, dx = softmax_loss(scores, y)
        grads: dict[str, Array] = {}
        dx, grads["W3"], grads["b3"] = affine_backward(dx, third)
        dx, grads["W2"], grads["b2"] = affine_relu_backward(dx, second)
        _, grads["W1"], grads["b1"] = conv_relu_pool_backward(dx, first, input_gradient=False)
        return self.regularize(loss, grads), grads
