"""Convolution and transposed convolution through im2col: gather the windows once, and everything is a matrix product.

Letters: N images, C channels in, F out, G groups, KH x KW window; K = C/G * KH * KW numbers per window and group,
P = N * OH * OW windows.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..shapes import Array, Pair, Saved, conv2d_size, pair, transposed_size


def im2col(x: Array, groups: int, kernel: Pair, size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """x (N, C, H, W)  ->  columns (G, K, P): column p holds the numbers under window p, one matrix per group."""
    N, C = x.shape[:2]
    (KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW) = map(pair, (kernel, size, stride, padding, dilation))
    padded = np.pad(x, ((0, 0), (0, 0), (PH, PH + 1), (PW, PW + 1)))  # 1 more: "same" may need it
    reach = DH * (KH - 1) + 1, DW * (KW - 1) + 1  # a dilated window, with its holes
    windows = sliding_window_view(padded, reach, axis=(2, 3))  # (N, C, ·, ·, reach): a view, nothing is copied yet
    windows = windows[:, :, : OH * SH : SH, : OW * SW : SW, ::DH, ::DW]  # (N, C, OH, OW, KH, KW)
    return windows.transpose(1, 4, 5, 0, 2, 3).reshape(groups, C // groups * KH * KW, N * OH * OW)


def col2im(
    columns: Array, shape: tuple[int, ...], kernel: Pair, size: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> Array:
    """columns (G, K, P)  ->  x (N, C, H, W), every number added where `im2col` found it (its transpose)."""
    N, C, H, W = shape
    (KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW) = map(pair, (kernel, size, stride, padding, dilation))
    columns = columns.reshape(C, KH, KW, N, OH, OW)
    padded = np.zeros((C, N, H + 2 * PH + 1, W + 2 * PW + 1), columns.dtype)
    for u in range(KH):
        for v in range(KW):  # within one tap no two windows touch the same pixel, so += may be a slice
            padded[:, :, u * DH : u * DH + OH * SH : SH, v * DW : v * DW + OW * SW : SW] += columns[:, u, v]
    return padded[:, :, PH : PH + H, PW : PW + W].transpose(1, 0, 2, 3)


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Saved]:
    """y[n,f,i,j] = b[f] + sum over c,u,v of x[n, c, i*SH + u*DH - PH, j*SW + v*DW - PW] * w[f,c,u,v].

    x (N, C, H, W), w (F, C/G, KH, KW), b (F,)  ->  y (N, F, OH, OW), saved.  Filter f sees the channels of its group.
    """
    N, (F, _, KH, KW) = len(x), w.shape
    size, border = conv2d_size(x.shape[2:], (KH, KW), stride, padding, dilation)
    geometry = (KH, KW), size, stride, border, dilation
    columns = im2col(x, groups, *geometry)  # (G, K, P)
    filters = w.reshape(groups, F // groups, columns.shape[1])  # (G, F/G, K)
    y = (filters @ columns).reshape(F, N, *size).transpose(1, 0, 2, 3)
    if b is not None:
        y = y + b[:, None, None]
    return y, (x.shape, w, b, columns, geometry, groups)


def conv2d_backward(
    dy: Array, saved: Saved, *, input_gradient: bool = True, weight_gradient: bool = True
) -> tuple[Array | None, Any, Array | None]:
    """dw = dy columns^T,  dx = col2im(w^T dy),  db = sum of dy over images and positions.

    dy (N, F, OH, OW)  ->  dx (N, C, H, W) or None, dw (F, C/G, KH, KW) or None, db (F,) or None.
    """
    shape, w, b, columns, geometry, groups = saved
    F, (_, K, P) = len(w), columns.shape
    rows = dy.transpose(1, 0, 2, 3).reshape(groups, F // groups, P)  # (G, F/G, P)
    dw = (rows @ columns.transpose(0, 2, 1)).reshape(w.shape) if weight_gradient else None
    db = None if b is None else dy.sum(axis=(0, 2, 3))
    if not input_gradient:
        return None, dw, db
    filters = w.reshape(groups, F // groups, K)
    return col2im(filters.transpose(0, 2, 1) @ rows, shape, *geometry), dw, db


def conv_transpose2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> tuple[Array, Saved]:
    """The gradient of a convolution with the same numbers, used forward: each x[n,c,i,j] stamps its filter onto y.

    y[n, f, i*SH + u*DH - PH, j*SW + v*DW - PW] += x[n,c,i,j] * w[c,f,u,v], then + b[f].
    x (N, C, H, W), w (C, F/G, KH, KW), b (F,)  ->  y (N, F, OH, OW), saved.
    """
    (N, C, H, W), (_, FG, KH, KW) = x.shape, w.shape
    F, K, P = FG * groups, FG * KH * KW, N * H * W
    size = transposed_size((H, W), (KH, KW), stride, padding, output_padding, dilation)
    geometry = (KH, KW), (H, W), stride, padding, dilation  # of the convolution that leads back from y to x
    rows = x.transpose(1, 0, 2, 3).reshape(groups, C // groups, P)
    filters = w.reshape(groups, C // groups, K)
    y = col2im(filters.transpose(0, 2, 1) @ rows, (N, F, *size), *geometry)
    if b is not None:
        y = y + b[:, None, None]
    return y, (x.shape, rows, w, b, geometry, groups)


def conv_transpose2d_backward(
    dy: Array, saved: Saved, *, input_gradient: bool = True, weight_gradient: bool = True
) -> tuple[Array | None, Any, Array | None]:
    """dx is the convolution of dy with w;  dw = x columns(dy)^T;  db = sum of dy over images and positions.

    dy (N, F, OH, OW)  ->  dx (N, C, H, W) or None, dw (C, F/G, KH, KW) or None, db (F,) or None.
    """
    (N, C, H, W), rows, w, b, geometry, groups = saved
    columns = im2col(dy, groups, *geometry)  # (G, F/G * KH * KW, N*H*W)
    dw = (rows @ columns.transpose(0, 2, 1)).reshape(w.shape) if weight_gradient else None
    db = None if b is None else dy.sum(axis=(0, 2, 3))
    if not input_gradient:
        return None, dw, db
    filters = w.reshape(groups, C // groups, columns.shape[1])
    return (filters @ columns).reshape(C, N, H, W).transpose(1, 0, 2, 3), dw, db
