"""Convolution and transposed convolution layers."""

import math
from typing import Any

import numpy as np

from .. import initializers
from ..functional import checks, conv2d_backward, conv_transpose2d, conv_transpose2d_backward
from ..functional.convolution import Conv2dSaved, convolve, convolve_back
from ..functional.deferred import Deferred, Finish, Into, Value, statistics_wanted
from ..functional.geometry import geometry_of, output_padding_of
from ..memory import Array
from .base import Layer


class _Convolution(Layer):
    """What both share: weights drawn uniformly in +- 1/sqrt(fan_in) as PyTorch's, arguments checked once."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        transposed: bool,
    ) -> None:
        super().__init__()
        op = type(self).__name__
        self.in_channels = checks.integer(op, in_channels, "in_channels", 1)
        self.out_channels = checks.integer(op, out_channels, "out_channels", 1)
        self.geometry = geometry_of(op, kernel_size, stride, padding, dilation, groups, in_channels, out_channels)
        self.settings: dict[str, Any] = {
            "stride": self.geometry.stride,
            "padding": padding if padding == "same" else self.geometry.padding,
            "dilation": self.geometry.dilation,
            "groups": groups,
        }
        outside, inside = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (outside, inside // groups, *self.geometry.kernel)
        self.weight = self.add_parameter("weight", initializers.torch_uniform(shape))
        fan_in = math.prod(shape[1:])
        self.bias = (
            self.add_parameter("bias", initializers.torch_uniform((out_channels,), fan_in=fan_in), decay=False)
            if bias
            else None
        )

    def _bias(self) -> Array | None:
        return None if self.bias is None else self.bias.data

    def extra_repr(self) -> str:
        settings = "".join(f", {name}={value}" for name, value in self.settings.items())
        return (
            f"{self.in_channels}, {self.out_channels}, {self.geometry.kernel}{settings}, bias={self.bias is not None}"
        )


class Conv2d(_Convolution):
    """y[n,f,i,j] = b[f] + sum over c,u,v of x[n, c, i*SH + u*DH - PH, j*SW + v*DW - PW] * w[f,c,u,v].

    x (N, in_channels, H, W)  ->  y (N, out_channels, OH, OW).  .weight (out_channels, in_channels/groups, KH, KW),
    .bias (out_channels,), not decayed.  kernel_size, stride, padding, dilation: int or (height, width); padding also "same".
    ValueError if the groups do not divide the channels, or the window is larger than the padded input.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, False)

    def forward(self, x: Array) -> Array:
        y, saved = self._convolve(x, self._finish(), carried=False)
        return self._keep(y.transpose(0, 3, 1, 2), saved)

    def _finish(self) -> Finish | None:
        """What `fold` has put onto the output."""
        return None

    def _convolve(self, x: Value, finish: Finish | None, *, carried: bool) -> tuple[Array, Conv2dSaved]:
        same = self.settings["padding"] == "same"
        return convolve(x, self.weight.data, self._bias(), self.geometry, same, finish, carried=carried)

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        dx, dw, db = conv2d_backward(
            dy, self._kept(), input_gradient=input_gradient, weight_gradient=self.weight.requires_grad
        )
        self._give(self.weight, dw, accumulate)
        self._give(self.bias, db, accumulate)
        return dx

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        finish = statistics_wanted(self.out_channels) if statistics else self._finish()
        y, saved = self._convolve(x, finish, carried=True)
        return self._keep(Deferred(y, statistics=None if finish is None else finish.sums), saved)

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        target = self._target(self.weight, accumulate)
        dx, dw, db = convolve_back(dy, self._kept(), into, self.weight.requires_grad, target)
        self._give(self.weight, dw, accumulate)
        self._give(self.bias, db, accumulate)
        return dx

    def multiply_adds(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return int(np.prod(output_shape[1:])) * self.weight.size // self.out_channels


class ConvTranspose2d(_Convolution):
    """y[n, f, i*SH + u*DH - PH, j*SW + v*DW - PW] = b[f] + sum over c of x[n,c,i,j] * w[c,f,u,v].

    x (N, in_channels, H, W)  ->  y (N, out_channels, OH, OW), OH = (H-1) SH - 2 PH + DH (KH-1) + 1 + output_padding.
    .weight (in_channels, out_channels/groups, KH, KW), .bias (out_channels,).  As torch.nn.ConvTranspose2d.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
    ) -> None:
        padding = checks.pair(type(self).__name__, padding, "padding", 0)  # "same" is Conv2d's alone
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, True)
        self.settings["output_padding"] = output_padding_of("ConvTranspose2d", output_padding, self.geometry)

    def forward(self, x: Array) -> Array:
        return self._keep(*conv_transpose2d(x, self.weight.data, self._bias(), **self.settings))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        dx, dw, db = conv_transpose2d_backward(
            dy, self._kept(), input_gradient=input_gradient, weight_gradient=self.weight.requires_grad
        )
        self._give(self.weight, dw, accumulate)
        self._give(self.bias, db, accumulate)
        return dx

    def multiply_adds(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return int(np.prod(input_shape[1:])) * self.weight.size // self.in_channels
