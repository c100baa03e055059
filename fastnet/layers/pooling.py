"""Pooling layers: no parameters, (N, C, H, W) -> (N, C, OH, OW)."""

from typing import Any, NamedTuple

from ..functional import avg_pool2d_backward, max_pool2d_backward, pooling
from ..functional.deferred import Deferred, Into, Value, deliver, finish_into, place, whole
from ..memory import Array
from .base import Layer


class _Pool(NamedTuple):
    """What a max-pooling's `carry` keeps: and whether it took the maxima of t."""

    saved: pooling.MaxPoolSaved
    gated: bool


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
        y, saved = pooling.max_pool(x, self.window, self.ceil_mode)
        return self._keep(y.transpose(0, 3, 1, 2), _Pool(saved, False))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        return max_pool2d_backward(dy, self._kept().saved)

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        # Of t instead of act(t), the maxima are the same and their gradients t's: act is left for the fewer numbers of y.
        slope, gated = 1.0, False
        if isinstance(x, Deferred) and not x.made and x.b is None:
            x, slope, gated = x.rectified(1), x.slope, True
        y, saved = pooling.max_pool(x, self.window, self.ceil_mode)
        return self._keep(Deferred(y, slope=slope), _Pool(saved, gated))

    def _remembers(self, x: Value) -> Deferred | None:
        kept = place(x)
        if kept is None or kept.coefficients is not None or not (self._frees and self.training and self._kept().gated):
            return kept
        return kept.outline()  # the gradient is that of t = a already, and no batch norm wants a sum with it

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        saved, gated = self._kept()
        if into is None:
            return None
        return pooling.max_pool_back(dy, saved, finish_into(into, gated=gated))

    def extra_repr(self) -> str:
        _, kernel, stride, padding, dilation = self.window
        return f"{kernel}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={self.ceil_mode}"


class _Average(Layer):
    """What the two average poolings share: they read v as they go."""

    def _pool(self, x: Value) -> tuple[Array, pooling.AvgPoolSaved]:
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        return self._keep(*self._pool(x))

    def backward(self, dy: Array, *, accumulate: bool = False, input_gradient: bool = True) -> Array | None:
        return avg_pool2d_backward(dy, self._kept())

    def carry(self, x: Value, *, statistics: bool = False) -> Value:
        return self._keep(*self._pool(x))

    def carry_back(self, dy: Value, into: Into | None, *, accumulate: bool = False) -> Value | None:
        return None if into is None else deliver(avg_pool2d_backward(whole(dy), self._kept()), into, fresh=True)


class AvgPool2d(_Average):
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

    def _pool(self, x: Value) -> tuple[Array, pooling.AvgPoolSaved]:
        return pooling.avg_pool_in(x, self.window, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        _, kernel, stride, padding, _ = self.window
        modes = f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"
        return f"{kernel}, stride={stride}, padding={padding}, {modes}"


class AdaptiveAvgPool2d(_Average):
    """y[n,c,i,j] = mean of x[n, c] over the rows floor(i*H/OH) … ceil((i+1)*H/OH) - 1, and over the columns likewise.

    output_size: OH and OW, an int or a pair; None keeps the input's.  1 is global average pooling.  As
    torch.nn.AdaptiveAvgPool2d.
    """

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = pooling.bins_of("AdaptiveAvgPool2d", output_size)

    def _pool(self, x: Value) -> tuple[Array, pooling.AvgPoolSaved]:
        return pooling.adaptive_avg_pool_in("AdaptiveAvgPool2d", x, self.output_size)

    def extra_repr(self) -> str:
        return f"{self.output_size}"
