"""Pooling: the largest or the mean number of each window. The loops run over the window, not over pixels."""

import numpy as np

from ..shapes import Array, Pair, Saved, pair, window_size


def max_pool2d(
    x: Array,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Saved]:
    """y[n,c,i,j] = max over u,v of x[n, c, i*SH + u*DH - PH, j*SW + v*DW - PW]; NaN is larger than every number.

    x (N, C, H, W)  ->  y (N, C, OH, OW), saved.  stride=None: the window's size.  Padding never wins.
    """
    stride = kernel_size if stride is None else stride
    N, C, H, W = x.shape
    (KH, KW), (SH, SW), (PH, PW), (DH, DW) = map(pair, (kernel_size, stride, padding, dilation))
    OH, OW = window_size("max_pool2d", (H, W), kernel_size, stride, padding, dilation, ceil_mode)
    y = np.full((N, C, OH, OW), -np.inf, x.dtype)
    winner = np.full((N, C, OH, OW), -1)  # h * W + k of the largest number so far; -1: none yet
    for u in range(KH):
        for v in range(KW):
            h = np.arange(OH)[:, None] * SH + u * DH - PH  # (OH, 1): the row that this tap sees
            k = np.arange(OW)[None, :] * SW + v * DW - PW  # (1, OW): the column
            inside = (h >= 0) & (h < H) & (k >= 0) & (k < W)  # (OH, OW)
            tap = x[:, :, np.clip(h, 0, H - 1), np.clip(k, 0, W - 1)]  # (N, C, OH, OW)
            # > and not >=: the first of equal maxima wins, as in np.argmax; so does the first NaN
            better = (tap > y) | (np.isnan(tap) & ~np.isnan(y)) | (winner < 0)
            y = np.where(inside & better, tap, y)
            winner = np.where(inside & better, h * W + k, winner)
    return y, (x.shape, winner)


def max_pool2d_backward(dy: Array, saved: Saved) -> Array:
    """Each dy goes to the pixel that won; where windows overlap, gradients add.

    dy (N, C, OH, OW)  ->  dx (N, C, H, W).
    """
    (N, C, H, W), winner = saved
    dx = np.zeros((N, C, H * W), dy.dtype)
    n, c, i, j = np.nonzero(winner >= 0)
    np.add.at(dx, (n, c, winner[n, c, i, j]), dy[n, c, i, j])
    return dx.reshape(N, C, H, W)


def avg_pool2d(
    x: Array,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, Saved]:
    """y[n,c,i,j] = mean over u,v of x[n, c, i*SH + u - PH, j*SW + v - PW], where padding counts as zeros.

    x (N, C, H, W)  ->  y (N, C, OH, OW), saved.  With count_include_pad=False the mean is over real pixels only; what
    ceil_mode lets stick out behind the padding never counts.
    """
    stride = kernel_size if stride is None else stride
    H, W = x.shape[2:]
    (KH, KW), (SH, SW), (PH, PW) = map(pair, (kernel_size, stride, padding))
    OH, OW = window_size("avg_pool2d", (H, W), kernel_size, stride, padding, 1, ceil_mode)
    rows = [_span(i * SH - PH, KH, H, PH, count_include_pad) for i in range(OH)]
    columns = [_span(j * SW - PW, KW, W, PW, count_include_pad) for j in range(OW)]
    return _means(_means(x, rows, 2), columns, 3), (x.shape, rows, columns)


def avg_pool2d_backward(dy: Array, saved: Saved) -> Array:
    """Every pixel of a window gets dy / count.    dy (N, C, OH, OW)  ->  dx (N, C, H, W)."""
    (_, _, H, W), rows, columns = saved
    return _means_backward(_means_backward(dy, columns, 3, W), rows, 2, H)


def adaptive_avg_pool2d(x: Array, output_size: Pair) -> tuple[Array, Saved]:
    """y[n,c,i,j] = mean of the rows floor(i*H/OH) … ceil((i+1)*H/OH) - 1 and of the columns likewise.

    x (N, C, H, W)  ->  y (N, C, OH, OW), saved.  output_size 1 is global average pooling.
    """
    (H, W), (OH, OW) = x.shape[2:], pair(output_size)
    rows = [_part(i, OH, H) for i in range(OH)]
    columns = [_part(j, OW, W) for j in range(OW)]
    return _means(_means(x, rows, 2), columns, 3), (x.shape, rows, columns)


def adaptive_avg_pool2d_backward(dy: Array, saved: Saved) -> Array:
    """Every pixel of a window gets dy / count.    dy (N, C, OH, OW)  ->  dx (N, C, H, W)."""
    return avg_pool2d_backward(dy, saved)


# The mean over a window is a mean over its rows and then over its columns. A span (first, stop, count) says which
# pixels of one axis a window adds up, and by how many it divides.


def _span(start: int, k: int, size: int, padding: int, count_padding: bool) -> tuple[int, int, int]:
    """The pixels of an axis of `size` under the window of k that begins at `start`."""
    stop = min(start + k, size + padding)
    first, last = max(start, 0), min(stop, size)
    return first, last, stop - start if count_padding else last - first


def _part(i: int, parts: int, size: int) -> tuple[int, int, int]:
    """Part i of `size` pixels cut into nearly equal parts, which may share a pixel."""
    first, stop = i * size // parts, -(-(i + 1) * size // parts)
    return first, stop, stop - first


def _means(x: Array, spans: list[tuple[int, int, int]], axis: int) -> Array:
    """The mean over each span of one axis."""
    sums = [x.take(range(first, stop), axis).sum(axis) / x.dtype.type(count) for first, stop, count in spans]
    return np.stack(sums, axis)


def _means_backward(dy: Array, spans: list[tuple[int, int, int]], axis: int, size: int) -> Array:
    """Each gradient spread evenly over its span; shared pixels add."""
    dx = np.zeros((*dy.shape[:axis], size, *dy.shape[axis + 1 :]), dy.dtype)
    pixels, gradients = np.moveaxis(dx, axis, 0), np.moveaxis(dy, axis, 0)
    for (first, stop, count), gradient in zip(spans, gradients):
        pixels[first:stop] += gradient / dy.dtype.type(count)
    return dx
