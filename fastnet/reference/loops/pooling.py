"""Pooling, window by window and pixel by pixel."""

import math

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
    window = tuple(map(pair, (kernel_size, stride, padding, dilation)))
    N, C, H, W = x.shape
    OH, OW = window_size("max_pool2d", (H, W), kernel_size, stride, padding, dilation, ceil_mode)
    y = np.full((N, C, OH, OW), -np.inf, x.dtype)
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    winner = _winner(x, n, c, i, j, window)
                    if winner:
                        h, k = winner
                        y[n, c, i, j] = x[n, c, h, k]
    return y, (x, window)


def _winner(x: Array, n: int, c: int, i: int, j: int, window: tuple[tuple[int, int], ...]) -> tuple[int, int] | None:
    """The pixel (h, k) of window (i, j) that is the maximum; None if the window sees nothing but padding."""
    (KH, KW), (SH, SW), (PH, PW), (DH, DW) = window
    H, W = x.shape[2:]
    best, winner = -math.inf, None
    for u in range(KH):
        for v in range(KW):
            h, k = i * SH + u * DH - PH, j * SW + v * DW - PW
            if not (0 <= h < H and 0 <= k < W):
                continue
            here = x[n, c, h, k]
            # > and not >=: the first of equal maxima wins
            if winner is None or here > best or (math.isnan(here) and not math.isnan(best)):
                best, winner = here, (h, k)
    return winner


def max_pool2d_backward(dy: Array, saved: Saved) -> Array:
    """Each dy goes to the pixel that won, which is looked for again; where windows overlap, gradients add.

    dy (N, C, OH, OW)  ->  dx (N, C, H, W).
    """
    x, window = saved
    N, C, OH, OW = dy.shape
    dx = np.zeros(x.shape, dy.dtype)
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    winner = _winner(x, n, c, i, j, window)
                    if winner:
                        h, k = winner
                        dx[n, c, h, k] += dy[n, c, i, j]
    return dx


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
    (KH, KW), (SH, SW), (PH, PW) = map(pair, (kernel_size, stride, padding))
    H, W = x.shape[2:]
    OH, OW = window_size("avg_pool2d", (H, W), kernel_size, stride, padding, 1, ceil_mode)
    windows = {}  # (i, j) -> the pixels (h, k) of the window, and by how many it divides
    for i in range(OH):
        for j in range(OW):
            pixels, count = [], 0
            for h in range(i * SH - PH, i * SH - PH + KH):
                for k in range(j * SW - PW, j * SW - PW + KW):
                    real = 0 <= h < H and 0 <= k < W
                    if real:
                        pixels.append((h, k))
                    if real or (count_include_pad and h < H + PH and k < W + PW):
                        count += 1
            windows[i, j] = pixels, count
    return _means(x, windows, OH, OW), (x.shape, windows)


def avg_pool2d_backward(dy: Array, saved: Saved) -> Array:
    """Every pixel of a window gets dy / count.    dy (N, C, OH, OW)  ->  dx (N, C, H, W)."""
    (N, C, H, W), windows = saved
    dx = np.zeros((N, C, H, W), dy.dtype)
    for n in range(N):
        for c in range(C):
            for (i, j), (pixels, count) in windows.items():
                for h, k in pixels:
                    dx[n, c, h, k] += dy[n, c, i, j] / count
    return dx


def adaptive_avg_pool2d(x: Array, output_size: Pair) -> tuple[Array, Saved]:
    """y[n,c,i,j] = mean of the rows floor(i*H/OH) … ceil((i+1)*H/OH) - 1 and of the columns likewise.

    x (N, C, H, W)  ->  y (N, C, OH, OW), saved.  output_size 1 is global average pooling.
    """
    (H, W), (OH, OW) = x.shape[2:], pair(output_size)
    windows = {}
    for i in range(OH):
        for j in range(OW):
            rows = range(math.floor(i * H / OH), math.ceil((i + 1) * H / OH))
            columns = range(math.floor(j * W / OW), math.ceil((j + 1) * W / OW))
            windows[i, j] = [(h, k) for h in rows for k in columns], len(rows) * len(columns)
    return _means(x, windows, OH, OW), (x.shape, windows)


def adaptive_avg_pool2d_backward(dy: Array, saved: Saved) -> Array:
    """Every pixel of a window gets dy / count.    dy (N, C, OH, OW)  ->  dx (N, C, H, W)."""
    return avg_pool2d_backward(dy, saved)


def _means(x: Array, windows: dict[tuple[int, int], tuple[list[tuple[int, int]], int]], OH: int, OW: int) -> Array:
    """The mean of x (N, C, H, W) over each window  ->  (N, C, OH, OW)."""
    N, C = x.shape[:2]
    y = np.zeros((N, C, OH, OW), x.dtype)
    for n in range(N):
        for c in range(C):
            for (i, j), (pixels, count) in windows.items():
                for h, k in pixels:
                    y[n, c, i, j] += x[n, c, h, k]
                y[n, c, i, j] /= count
    return y
