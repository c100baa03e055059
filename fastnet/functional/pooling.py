"""Max, average and adaptive average pooling of images.

An average pooling is two tables, one per axis: where each window starts and stops within the image, and its share of the
count. Adaptive pooling only fills them otherwise. The tables are made once per shape.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import config, memory
from .._ext import avg_pool as averages
from .._ext import max_pool as maxima
from ..memory import Array
from . import checks
from .deferred import Deferred, Finish, Load, Value, dtype_of, finished, riding, stored_as, stored_of

LIMIT = 2**31 - 1  # the kernels count places within a window in 32 bits

Pair = tuple[int, int]
Shape = tuple[int, int, int, int]


class Window(NamedTuple):
    """A checked window: who asked for it, and (height, width) pairs."""

    op: str
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair


class Axis(NamedTuple):
    """Windows along one axis: spans (windows, 3) with start, stop and share of the count, start and stop within the image;
    covering (size, 2) with the windows first:end that cover each pixel; disjoint if no pixel is covered twice."""

    spans: Array
    covering: Array
    disjoint: bool


class MaxPoolSaved(NamedTuple):
    """The winners' places in their windows (N, OH, OW, C), the shapes of x and y, how they are stored, the window."""

    winner: Array
    x_shape: Shape
    y_shape: Shape
    stored: np.dtype[Any]
    window: Window

    @property
    def dtype(self) -> np.dtype[Any]:
        return dtype_of(self.stored)


class AvgPoolSaved(NamedTuple):
    """The axes, the shapes of x and y, the dtype, who asked."""

    rows: Axis
    cols: Axis
    x_shape: Shape
    y_shape: Shape
    dtype: np.dtype[Any]
    op: str


def window_of(op: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1) -> Window:
    """The checked window; stride None is the kernel's size. ValueError if the padding is more than half the kernel."""
    kernel = checks.pair(op, kernel_size, "kernel_size", 1)
    steps = kernel if stride is None else checks.pair(op, stride, "stride", 1)
    window = Window(op, kernel, steps, checks.pair(op, padding, "padding", 0), checks.pair(op, dilation, "dilation", 1))
    if max(map(max, window[1:])) > LIMIT or kernel[0] * kernel[1] > LIMIT:
        raise ValueError(f"{op}: expected a window of at most {LIMIT} pixels, found {window[1:]}")
    if any(2 * p > k for p, k in zip(window.padding, kernel)):
        raise ValueError(f"{op}: padding must be at most half the window {kernel}, found {window.padding}")
    return window


def output_size(window: Window, size: Pair, ceil_mode: bool) -> Pair:
    """OH = floor or ceil of (H + 2 PH - DH (KH - 1) - 1) / SH, + 1; with ceil, no window starts in the padding behind."""
    counts = []
    for n, k, s, p, d in zip(size, *window[1:]):
        room = n + 2 * p - d * (k - 1) - 1
        counts.append(room // s + 1)
        if ceil_mode and room % s and counts[-1] * s < n + p:
            counts[-1] += 1
    if min(counts) < 1:
        padded = tuple(n + 2 * p for n, p in zip(size, window.padding))
        spread = "" if window.dilation == (1, 1) else f" with dilation {window.dilation}"
        raise ValueError(f"{window.op}: window {window.kernel}{spread} is larger than the padded input {padded}")
    return counts[0], counts[1]


def _covering(start: Array, stop: Array, size: int) -> Array:
    """(size, 2): the windows first:end with start <= i < stop for each pixel i; start and stop never decrease."""
    pixels = np.arange(size)
    return _table(np.searchsorted(stop, pixels, "right"), np.searchsorted(start, pixels, "right"))


def _table(*columns: Array) -> Array:
    """Columns side by side, as the kernels read them; read-only, because it is shared between calls."""
    table = np.stack(columns, axis=1).astype(np.intp)
    table.flags.writeable = False
    return table


def _axis(start: Array, stop: Array, share: Array, size: int) -> Axis:
    return Axis(_table(start, stop, share), _covering(start, stop, size), bool((stop[:-1] <= start[1:]).all()))


@lru_cache(maxsize=256)
def _steps(size: int, count: int, kernel: int, stride: int, padding: int, count_include_pad: bool) -> Axis:
    """The axis of an average pooling. What ceil_mode lets stick out behind the padding never counts."""
    start = np.arange(count) * stride - padding
    stop = np.minimum(start + kernel, size + padding)
    inside = np.maximum(start, 0), np.minimum(stop, size)
    return _axis(*inside, stop - start if count_include_pad else inside[1] - inside[0], size)


@lru_cache(maxsize=256)
def _bins(size: int, count: int) -> Axis:
    """The axis of an adaptive pooling: bin i is floor(i size / count) … ceil((i + 1) size / count) - 1."""
    i = np.arange(count)
    start, stop = i * size // count, -(-(i + 1) * size // count)
    return _axis(start, stop, stop - start, size)


@lru_cache(maxsize=256)
def _covering_windows(size: int, count: int, kernel: int, stride: int, padding: int, dilation: int) -> Array:
    """The windows of a max pooling that reach over each row of pixels, with or without a tap there."""
    start = np.arange(count) * stride - padding
    return _covering(start, start + (kernel - 1) * dilation + 1, size)


def _source(op: str, x: Value, often: bool) -> tuple[Array, Load | None]:
    """Channels-last memory, and what is to become of it; `often`: windows overlap so much that it is to be first."""
    if isinstance(x, Deferred):
        return (x.stored(), None) if often else x.load(stored=True)
    return checks.images(op, x), None


def max_pool(x: Value, window: Window, ceil_mode: bool) -> tuple[Array, MaxPoolSaved]:
    """max_pool2d with a window that is checked already, of an array or of what is to become of one: what the layer calls. y in
    channels-last memory, stored as x is."""
    image, load = _source(window.op, x, window.kernel[0] > 2 * window.stride[0])
    n, h, w, c = image.shape
    size = output_size(window, (h, w), ceil_mode)
    y = memory.empty((n, *size, c), image.dtype)
    places = window.kernel[0] * window.kernel[1]
    winner = memory.empty(y.shape, np.uint8 if places <= 256 else np.intc)
    maxima.max_pool2d(image, y, winner, window[1:], load, config.get_num_threads())
    return y, MaxPoolSaved(winner, (n, c, h, w), (n, c, *size), image.dtype, window)


def max_pool2d(
    x: Array, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Array, MaxPoolSaved]:
    """y[n,c,i,j] = max over u,v of x[n, c, i*SH + u*DH - PH, j*SW + v*DW - PW]; padding never wins, NaN is the largest.

    x (N, C, H, W)  ->  y (N, C, OH, OW), saved.  stride=None: the window's size.  The first of equal maxima, or the first
    NaN, is the winner that gets the gradient, in the window's row-major order, as in np.argmax.  ceil_mode: a last window
    that sticks out counts too.  ValueError if no window fits, or the padding is more than half the window.
    """
    y, saved = max_pool(x, window_of("max_pool2d", kernel_size, stride, padding, dilation), ceil_mode)
    return y.transpose(0, 3, 1, 2), saved


def max_pool2d_backward(dy: Array, saved: MaxPoolSaved) -> Array:
    """dx[n,c,h,w] = sum of dy[n,c,i,j] over the windows (i,j) whose winner is the pixel (h,w).

    dy (N, C, OH, OW)  ->  dx (N, C, H, W).  ValueError if dy has not the output's shape.
    """
    return max_pool_back(dy, saved).array()


def max_pool_back(dy: Value, saved: MaxPoolSaved, finish: Finish | None = None) -> Deferred:
    """max_pool2d_backward, with what is done to dx while it is cached."""
    winner, x_shape, y_shape, stored, window = saved
    if not isinstance(dy, Deferred):
        dy = checks.gradient(f"{window.op} backward", dy, y_shape, dtype_of(stored))
    given = stored_as(stored_of(dy), stored)
    n, c, h, w = x_shape
    out = memory.empty((n, h, w, c), stored)
    rows = _covering_windows(x_shape[2], y_shape[2], *(pair[0] for pair in window[1:]))
    arguments, sums = riding(finish, out)
    maxima.max_pool2d_backward(given, winner, out, window[1:], rows, arguments, sums, config.get_num_threads())
    return finished(out, finish)


def _average(op: str, image: Array, load: Load | None, rows: Axis, cols: Axis) -> tuple[Array, AvgPoolSaved]:
    n, h, w, c = image.shape
    dtype = dtype_of(image.dtype)
    y = memory.empty((n, len(rows.spans), len(cols.spans), c), dtype)
    averages.avg_pool2d(image, y, rows.spans, cols.spans, load, config.get_num_threads())
    y = y.transpose(0, 3, 1, 2)
    return y, AvgPoolSaved(rows, cols, (n, c, h, w), y.shape, dtype, op)


def avg_pool_in(x: Value, window: Window, ceil_mode: bool, count_include_pad: bool) -> tuple[Array, AvgPoolSaved]:
    """avg_pool2d with a window that is checked already, of an array or of what is to become of one: what the layer calls."""
    image, load = _source(window.op, x, window.kernel[0] > 2 * window.stride[0])
    size = output_size(window, image.shape[1:3], ceil_mode)
    rows, cols = (
        _steps(
            image.shape[1 + i], size[i], window.kernel[i], window.stride[i], window.padding[i], bool(count_include_pad)
        )
        for i in (0, 1)
    )
    return _average(window.op, image, load, rows, cols)


def avg_pool2d(
    x: Array,
    kernel_size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, AvgPoolSaved]:
    """y[n,c,i,j] = sum over u,v of x[n, c, i*SH + u - PH, j*SW + v - PW] / count, where padding adds zeros.

    x (N, C, H, W)  ->  y (N, C, OH, OW), saved.  stride=None: the window's size.  The count is the window's size, less what
    ceil_mode lets stick out behind the padding; with count_include_pad=False it is the number of real pixels.
    ValueError if no window fits, or the padding is more than half the window.
    """
    return avg_pool_in(x, window_of("avg_pool2d", kernel_size, stride, padding), ceil_mode, count_include_pad)


def avg_pool2d_backward(dy: Array, saved: AvgPoolSaved) -> Array:
    """dx[n,c,h,w] = sum of dy[n,c,i,j] / count over the windows (i,j) that cover the pixel (h,w).

    dy (N, C, OH, OW)  ->  dx (N, C, H, W).  ValueError if dy has not the output's shape.
    """
    rows, cols, x_shape, y_shape, dtype, op = saved
    dy = memory.channels_last(checks.gradient(f"{op} backward", dy, y_shape, dtype))
    dx = memory.empty_images(x_shape, dtype)
    out, threads = dx.transpose(0, 2, 3, 1), config.get_num_threads()
    if rows.disjoint and cols.disjoint:
        averages.avg_pool2d_backward(dy, out, rows.spans, cols.spans, threads)
    else:
        averages.avg_pool2d_backward_overlapping(
            dy, memory.empty(dy.shape, dtype), out, rows.spans, cols.spans, rows.covering, cols.covering, threads
        )
    return dx


def bins_of(op: str, output_size: Any) -> tuple[int | None, int | None]:
    """The checked (height, width) of an adaptive pooling's output; None: the input's."""
    both = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size, output_size)
    known = checks.pair(op, tuple(1 if n is None else n for n in both), "output_size", 1)
    if max(known) > LIMIT:
        raise ValueError(f"{op}: output_size must be at most {LIMIT}, found {output_size!r}")
    return (None if both[0] is None else known[0]), (None if both[1] is None else known[1])


def adaptive_avg_pool_in(op: str, x: Value, bins: tuple[int | None, int | None]) -> tuple[Array, AvgPoolSaved]:
    """adaptive_avg_pool2d with checked bins, of an array or of what is to become of one: what the layer calls."""
    image, load = _source(op, x, False)
    rows, cols = (_bins(size, count or size) for size, count in zip(image.shape[1:3], bins))
    return _average(op, image, load, rows, cols)


def adaptive_avg_pool2d(x: Array, output_size: Any) -> tuple[Array, AvgPoolSaved]:
    """y[n,c,i,j] = mean of x[n, c] over the rows floor(i*H/OH) … ceil((i+1)*H/OH) - 1, and over the columns likewise.

    x (N, C, H, W)  ->  y (N, C, OH, OW), saved.  output_size: OH and OW, an integer or a pair; None keeps the input's.  1 is
    global average pooling (Lin, Chen & Yan 2013, "Network in network", section 3.2).
    """
    return adaptive_avg_pool_in("adaptive_avg_pool2d", x, bins_of("adaptive_avg_pool2d", output_size))


def adaptive_avg_pool2d_backward(dy: Array, saved: AvgPoolSaved) -> Array:
    """dx = dy / count in every bin that covers the pixel, added up.    dy (N, C, OH, OW)  ->  dx (N, C, H, W)."""
    return avg_pool2d_backward(dy, saved)
