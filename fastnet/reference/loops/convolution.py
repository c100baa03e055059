"""Convolution and transposed convolution as the textbook writes them: one multiplication at a time."""

from typing import Any

import numpy as np

from ..shapes import Array, Pair, Saved, conv2d_size, pair, transposed_size


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
    (SH, SW), (DH, DW) = pair(stride), pair(dilation)
    (N, _, H, W), (F, CG, KH, KW) = x.shape, w.shape
    (OH, OW), (PH, PW) = conv2d_size((H, W), (KH, KW), stride, padding, dilation)
    y = np.zeros((N, F, OH, OW), x.dtype)
    for n in range(N):
        for f in range(F):
            first = f // (F // groups) * CG  # the first channel of this filter's group
            for i in range(OH):
                for j in range(OW):
                    for c in range(CG):
                        for u in range(KH):
                            for v in range(KW):
                                h, k = i * SH + u * DH - PH, j * SW + v * DW - PW
                                if 0 <= h < H and 0 <= k < W:
                                    y[n, f, i, j] += x[n, first + c, h, k] * w[f, c, u, v]
                    if b is not None:
                        y[n, f, i, j] += b[f]
    return y, (x, w, b, stride, (PH, PW), dilation, groups)


def conv2d_backward(
    dy: Array, saved: Saved, *, input_gradient: bool = True, weight_gradient: bool = True
) -> tuple[Array | None, Any, Array | None]:
    """The same loops: each product y += x w of the forward pass gives dx += dy w and dw += dy x.

    dy (N, F, OH, OW)  ->  dx (N, C, H, W) or None, dw (F, C/G, KH, KW) or None, db (F,) or None.
    """
    x, w, b, stride, padding, dilation, groups = saved
    (SH, SW), (PH, PW), (DH, DW) = map(pair, (stride, padding, dilation))
    (N, F, OH, OW), (_, _, H, W), (_, CG, KH, KW) = dy.shape, x.shape, w.shape
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(F, dy.dtype)
    for n in range(N):
        for f in range(F):
            first = f // (F // groups) * CG
            for i in range(OH):
                for j in range(OW):
                    db[f] += dy[n, f, i, j]
                    for c in range(CG):
                        for u in range(KH):
                            for v in range(KW):
                                h, k = i * SH + u * DH - PH, j * SW + v * DW - PW
                                if 0 <= h < H and 0 <= k < W:
                                    dx[n, first + c, h, k] += dy[n, f, i, j] * w[f, c, u, v]
                                    dw[f, c, u, v] += dy[n, f, i, j] * x[n, first + c, h, k]
    return (dx if input_gradient else None), (dw if weight_gradient else None), (None if b is None else db)


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
    """Each x[n,c,i,j] stamps its filter onto y: y[n, f, i*SH + u*DH - PH, j*SW + v*DW - PW] += x[n,c,i,j] * w[c,f,u,v].

    x (N, C, H, W), w (C, F/G, KH, KW), b (F,)  ->  y (N, F, OH, OW), saved.  Then b[f] is added.
    """
    (SH, SW), (PH, PW), (DH, DW) = map(pair, (stride, padding, dilation))
    (N, C, H, W), (_, FG, KH, KW) = x.shape, w.shape
    OH, OW = transposed_size((H, W), (KH, KW), stride, padding, output_padding, dilation)
    y = np.zeros((N, FG * groups, OH, OW), x.dtype)
    for n in range(N):
        for c in range(C):
            first = c // (C // groups) * FG  # the first filter of this channel's group
            for i in range(H):
                for j in range(W):
                    for f in range(FG):
                        for u in range(KH):
                            for v in range(KW):
                                h, k = i * SH + u * DH - PH, j * SW + v * DW - PW
                                if 0 <= h < OH and 0 <= k < OW:
                                    y[n, first + f, h, k] += x[n, c, i, j] * w[c, f, u, v]
        if b is not None:
            for f in range(FG * groups):
                y[n, f] += b[f]
    return y, (x, w, b, stride, padding, groups, dilation)


def conv_transpose2d_backward(
    dy: Array, saved: Saved, *, input_gradient: bool = True, weight_gradient: bool = True
) -> tuple[Array | None, Any, Array | None]:
    """The same loops: each product y += x w of the forward pass gives dx += dy w and dw += dy x.

    dy (N, F, OH, OW)  ->  dx (N, C, H, W) or None, dw (C, F/G, KH, KW) or None, db (F,) or None.
    """
    x, w, b, stride, padding, groups, dilation = saved
    (SH, SW), (PH, PW), (DH, DW) = map(pair, (stride, padding, dilation))
    (N, C, H, W), (_, FG, KH, KW), (_, F, OH, OW) = x.shape, w.shape, dy.shape
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(F, dy.dtype)
    for n in range(N):
        for f in range(F):
            db[f] += dy[n, f].sum()
        for c in range(C):
            first = c // (C // groups) * FG
            for i in range(H):
                for j in range(W):
                    for f in range(FG):
                        for u in range(KH):
                            for v in range(KW):
                                h, k = i * SH + u * DH - PH, j * SW + v * DW - PW
                                if 0 <= h < OH and 0 <= k < OW:
                                    dx[n, c, i, j] += dy[n, first + f, h, k] * w[c, f, u, v]
                                    dw[c, f, u, v] += dy[n, first + f, h, k] * x[n, c, i, j]
    return (dx if input_gradient else None), (dw if weight_gradient else None), (None if b is None else db)
