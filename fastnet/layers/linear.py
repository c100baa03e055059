"""The fully connected layer."""

from .. import initializers
from ..functional import checks, linear
from ..functional.linear import linear_back
from ..memory import Array
from .base import Layer


class Linear(Layer):
    """y[n,f] = b[f] + sum over c of x[n,c] * w[f,c].

    x (N, in_features)  ->  y (N, out_features).  .weight (out_features, in_features), .bias (out_features,), not decayed;
    both start uniform in +- 1/sqrt(in_features), as PyTorch's.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = checks.integer("Linear", in_features, "in_features", 1)
        self.out_features = checks.integer("Linear", out_features, "out_features", 1)
        self.weight = self.add_parameter("weight", initializers.torch_uniform((out_features, in_features)))
        self.bias = (
            self.add_parameter("bias", initializers.torch_uniform((out_features,), fan_in=in_features), decay=False)
            if bias
            else None
        )

    def forward(self, x: Array) -> Array:
        return self._keep(*linear(x, self.weight.data, None if self.bias is None else self.bias.data))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        target = self._target(self.weight, accumulate)
        dx, dw, db = linear_back(dy, self._kept(), input_gradient, self.weight.requires_grad, target)
        self._give(self.weight, dw, accumulate)
        self._give(self.bias, db, accumulate)
        return dx

    def multiply_adds(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return self.weight.size

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
