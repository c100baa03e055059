"""Pooling layers: no parameters, (N, C, H, W) -> (N, C, OH, OW)."""

from typing import Any

from ..functional import adaptive_avg_pool2d_backward, avg_pool2d_backward, max_pool2d_backward, pooling
from ..memory import Array
from .base import Layer


class MaxPool2d(Layer):
    """y[n,c,i,j] = max over u,v of x[n, c, i*SH + u*DH - PH, j*SW + v*DW - PW]; padding never wins, NaN is the largest.

    The first of equal maxima gets the gradient.  kernel_size, stride (None: kernel_size), padding, dilation: int or
    (height, width).  ValueError if the padding is more than half the window, or the window is larger than the padded input.
    As torch.nn.MaxPool2d.
    """

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.window = pooling.window_of("MaxPool2d", kernel_size, stride, padding, dilation)
        self.ceil_mode = bool(ceil_mode)

    def forward(self, x: Array) -> Array:
        return self._keep(*pooling.max_pool(x, self.window, self.ceil_mode))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        return max_pool2d_backward(dy, self._kept())

    def extra_repr(self) -> str:
        _, kernel, stride, padding, dilation = self.window
        return f"{kernel}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={self.ceil_mode}"


class AvgPool2d(Layer):
    """y[n,c,i,j] = sum over u,v of x[n, c, i*SH + u - PH, j*SW + v - PW] / count, where padding adds zeros.

    The count is the window's size, or with count_include_pad=False its real pixels.  kernel_size, stride (None:
    kernel_size), padding: int or (height, width).  ValueError if the padding is more than half the window, or the window is
    larger than the padded input.  As torch.nn.AvgPool2d.
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.window = pooling.window_of("AvgPool2d", kernel_size, stride, padding)
        self.ceil_mode = bool(ceil_mode)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x: Array) -> Array:
        return self._keep(*pooling.avg_pool_in(x, self.window, self.ceil_mode, self.count_include_pad))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        return avg_pool2d_backward(dy, self._kept())

    def extra_repr(self) -> str:
        _, kernel, stride, padding, _ = self.window
        modes = f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"
        return f"{kernel}, stride={stride}, padding={padding}, {modes}"


class AdaptiveAvgPool2d(Layer):
    """y[n,c,i,j] = mean of x[n, c] over the rows floor(i*H/OH) … ceil((i+1)*H/OH) - 1, and over the columns likewise.

    output_size: OH and OW, an int or a pair; None keeps the input's.  1 is global average pooling.  As
    torch.nn.AdaptiveAvgPool2d.
    """

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = pooling.bins_of("AdaptiveAvgPool2d", output_size)

    def forward(self, x: Array) -> Array:
        return self._keep(*pooling.adaptive_avg_pool_in("AdaptiveAvgPool2d", x, self.output_size))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        return adaptive_avg_pool2d_backward(dy, self._kept())

    def extra_repr(self) -> str:
        return f"{self.output_size}"
