"""Convolution and transposed convolution of images.

Both are made of three products over one kernel interface (`fastnet._ext.conv`): `_correlate` gathers, from the padded source,
the pixels under every tap; `_scatter`, its transpose, is itself a correlation of dy with the taps of each phase of the
stride; `_weights` multiplies the pixels under every tap with dy. A transposed convolution is a convolution's gradient and
the other way round.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import config, memory
from .._ext import conv as kernels
from .._ext import depthwise
from ..memory import Array
from . import checks

LIMIT = 2**31 - 1  # of a stride, a padding …: products of two of them stay below 2^63


class Geometry(NamedTuple):
    """How a window moves: (height, width) pairs, and the groups into which channels and filters fall."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class Conv2dSaved(NamedTuple):
    """x in channels-last memory, the weights, whether there was a bias, the geometry, the output's shape."""

    x: Array
    w: Array
    bias: bool
    geometry: Geometry
    shape: tuple[int, int, int, int]


class Axis(NamedTuple):
    """One phase of one axis of a product: that many outputs from `start` on, `by` apart; output j reads the source pixels
    j * step - lead + offset, one per tap (tap = index into the kernel)."""

    outputs: int
    start: int
    by: int
    step: int
    lead: int
    taps: tuple[int, ...]
    offsets: tuple[int, ...]


class Plan(NamedTuple):
    """A pair of axes as the kernels read it; segments are runs of neighbouring taps."""

    rows: Axis
    columns: Axis
    lead: Array
    step: Array
    span: Array
    segment: Array
    run: int
    out_start: Array
    out_step: Array
    out_count: Array
    tap_row: Array
    tap_column: Array


def _indices(*values: int) -> Array:
    return np.array(values, dtype=np.intp)


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Windows that fit: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _gather_axis(size: int, count: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Axis]:
    """The axis of a convolution: output o reads o * stride - padding + k * dilation."""
    taps = tuple(range(kernel))
    return [Axis(count, 0, 1, stride, padding, taps, tuple(k * dilation for k in taps))]


def _scatter_axis(size: int, count: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Axis]:
    """The axis of its transpose, one phase per residue of the stride: input i is reached from the outputs
    (i + padding - k * dilation) / stride, for those taps k that leave no remainder. What no tap reaches is in no phase."""
    phases: dict[int, list[int]] = {}
    for k in range(kernel):
        phases.setdefault((k * dilation - padding) % stride, []).append(k)
    axes = []
    for first, taps in sorted(phases.items()):
        if first < size:
            sources = {k: (first + padding - k * dilation) // stride for k in taps}
            taps.sort(key=lambda k: sources[k])
            lead = -sources[taps[0]]
            offsets = tuple(sources[k] + lead for k in taps)
            axes.append(Axis(-(-(size - first) // stride), first, stride, 1, lead, tuple(taps), offsets))
    return axes


def _plan(rows: Axis, columns: Axis) -> Plan:
    merged = all(b - a == 1 for a, b in zip(columns.offsets, columns.offsets[1:]))
    across = (0,) if merged else columns.offsets
    segments = [(r, c) for r in rows.offsets for c in across]
    taps = [(r, c) for r in rows.taps for c in columns.taps]
    return Plan(
        rows,
        columns,
        lead=_indices(rows.lead, columns.lead),
        step=_indices(rows.step, columns.step),
        span=_indices(max(rows.offsets) + 1, max(columns.offsets) + 1),
        segment=np.array(segments, dtype=np.intp).reshape(-1, 2),
        run=len(columns.taps) if merged else 1,
        out_start=_indices(rows.start, columns.start),
        out_step=_indices(rows.by, columns.by),
        out_count=_indices(rows.outputs, columns.outputs),
        tap_row=_indices(*(r for r, _ in taps)),
        tap_column=_indices(*(c for _, c in taps)),
    )


@lru_cache(maxsize=1024)
def _plans(source: tuple[int, int], target: tuple[int, int], geometry: Geometry, scatter: bool) -> list[Plan]:
    """The plans that make a target (height, width) from a source of that size: one, or one per phase of the stride."""
    axis = _scatter_axis if scatter else _gather_axis
    rows, columns = (
        axis(target[i], target[i], geometry.kernel[i], geometry.stride[i], geometry.padding[i], geometry.dilation[i])
        for i in (0, 1)
    )
    return [_plan(r, c) for r in rows for c in columns]


def _correlate(x: Array, w: Array, b: Array | None, out: Array, geometry: Geometry, *, scatter: bool) -> None:
    """out (N, H, W, F) = x (N, H, W, C) times w: gathered: w (F, C/groups, KH, KW); scattered: w (C, F/groups, KH, KW)."""
    threads, groups = config.get_num_threads(), geometry.groups
    channels, filters = x.shape[3] // groups, out.shape[3] // groups
    bias = np.empty(0, x.dtype) if b is None else np.ascontiguousarray(b)
    width = kernels.vector_width(x.itemsize)
    plans = _plans(x.shape[1:3], out.shape[1:3], geometry, scatter)
    if sum(p.rows.outputs * p.columns.outputs for p in plans) < out.shape[1] * out.shape[2]:
        out[...] = 0 if b is None else b  # the stride steps over pixels
    for p in plans:
        packed = memory.empty((max(1, -(-filters // width) * width * channels * len(p.tap_row)),), x.dtype)
        for g in range(groups):
            part = (
                w[g * channels : (g + 1) * channels].transpose(1, 0, 2, 3)
                if scatter
                else w[g * filters : (g + 1) * filters]
            )
            kernels.pack_weights(part, p.tap_row, p.tap_column, packed, threads)
            kernels.correlate(
                x, g * channels, channels, p.lead, p.step, p.span, p.segment, p.run * channels, packed,
                bias[g * filters : (g + 1) * filters], out, g * filters, filters, p.out_start, p.out_step, p.out_count, threads
            )  # fmt: skip


def _weights(x: Array, dy: Array, geometry: Geometry, dw: Array | None = None) -> Array:
    """dw (F, C/groups, KH, KW) of the convolution that gathers x (N, H, W, C) into dy (N, OH, OW, F)."""
    threads, groups = config.get_num_threads(), geometry.groups
    channels, filters = x.shape[3] // groups, dy.shape[3] // groups
    if dw is None:
        dw = memory.empty((dy.shape[3], channels, *geometry.kernel), x.dtype)
    if 0 in dy.shape:
        dw.fill(0)
        return dw
    (p,) = _plans(x.shape[1:3], dy.shape[1:3], geometry, False)
    for g in range(groups):
        kernels.weight_gradient(
            x, g * channels, channels, p.lead, p.step, p.span, p.segment, p.run * channels, dy, g * filters, filters,
            dw[g * filters : (g + 1) * filters], p.tap_row, p.tap_column, threads
        )  # fmt: skip
    return dw


def bias_gradient(dy: Array) -> Array:
    """db (F,) = the sum of dy (N, H, W, F) over images and pixels."""
    db = np.empty(dy.shape[3], dy.dtype)
    kernels.bias_gradient(dy, db, config.get_num_threads())
    return db


def _is_depthwise(geometry: Geometry, channels: int, filters: int) -> bool:
    return geometry.groups == channels == filters > 1


def _depthwise(w: Array, geometry: Geometry) -> tuple[Array, Array]:
    """The weights (taps, C) and the numbers of the geometry that the depthwise kernels want."""
    return np.ascontiguousarray(w.reshape(w.shape[0], -1).T), _indices(
        *geometry.kernel, *geometry.stride, *geometry.padding, *geometry.dilation
    )


def _gather(x: Array, w: Array, b: Array | None, out: Array, geometry: Geometry) -> None:
    # The depthwise kernel leaves padding out; a weight that is not finite makes NaN of its zeros.
    if _is_depthwise(geometry, x.shape[3], out.shape[3]) and checks.finite(w):
        taps, numbers = _depthwise(w, geometry)
        depthwise.forward(
            x,
            taps,
            np.empty(0, x.dtype) if b is None else np.ascontiguousarray(b),
            out,
            numbers,
            config.get_num_threads(),
        )
    else:
        _correlate(x, w, b, out, geometry, scatter=False)


def _scatter(x: Array, w: Array, b: Array | None, out: Array, geometry: Geometry) -> None:
    if _is_depthwise(geometry, x.shape[3], out.shape[3]) and b is None:
        taps, numbers = _depthwise(w, geometry)
        depthwise.input_gradient(x, taps, out, numbers, config.get_num_threads())
    elif (geometry.kernel == (1, 1) and geometry.padding == (0, 0)) or checks.finite(w):
        _correlate(x, w, b, out, geometry, scatter=True)
    else:
        _stamp(x, w, b, out, geometry)


def _stamp(x: Array, w: Array, b: Array | None, out: Array, geometry: Geometry) -> None:
    """What `_correlate` scatters, tap by tap, for weights that are not finite: beyond the edges of the source it multiplies
    them by zeros, which makes NaN where nothing was to be added."""
    groups = geometry.groups
    channels, filters = x.shape[3] // groups, out.shape[3] // groups
    out.fill(0)
    for u, v in np.ndindex(*geometry.kernel):
        here, there = [], []  # where the source has a pixel whose stamp lies in the target
        for k, i in zip((u, v), (0, 1)):
            at = k * geometry.dilation[i] - geometry.padding[i]
            first = max(0, -(at // geometry.stride[i]))
            last = min(x.shape[1 + i], (out.shape[1 + i] - 1 - at) // geometry.stride[i] + 1)
            here.append(slice(first, max(first, last)))
            places = at + geometry.stride[i] * np.arange(first, max(first, last))
            there.append(places)
        for g in range(groups):
            part, tap = slice(g * channels, (g + 1) * channels), slice(g * filters, (g + 1) * filters)
            with np.errstate(all="ignore"):
                out[:, there[0][:, None], there[1], tap] += x[:, here[0], here[1], part] @ w[part, :, u, v]
    if b is not None:
        out += b


def _weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    if _is_depthwise(geometry, x.shape[3], dy.shape[3]):
        taps = np.empty((geometry.kernel[0] * geometry.kernel[1], x.shape[3]), x.dtype)
        _, numbers = _depthwise(taps.T, geometry)
        depthwise.weight_gradient(x, dy, taps, numbers, config.get_num_threads())
        # The kernel leaves padding out, whose zeros make NaN of an infinite dy: it shows in another tap, or all lie outside.
        outside = any(
            p > d * (k - 1) or n < d
            for k, p, d, n in zip(geometry.kernel, geometry.padding, geometry.dilation, x.shape[1:3])
        )
        if not outside and checks.finite(taps):
            return np.ascontiguousarray(taps.T).reshape(-1, 1, *geometry.kernel)
    return _weights(x, dy, geometry)


def geometry_of(
    op: str, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: Any, channels: int, filters: int
) -> Geometry:
    """The checked geometry; padding="same" pads dilation * (kernel - 1) in all, the odd pixel below and right."""
    size = checks.pair(op, kernel, "kernel_size", 1)
    steps, gaps = checks.pair(op, stride, "stride", 1), checks.pair(op, dilation, "dilation", 1)
    if padding == "same":
        if steps != (1, 1):
            raise ValueError(f'{op}: padding="same" needs stride 1, found {steps}')
        around = (gaps[0] * (size[0] - 1) // 2, gaps[1] * (size[1] - 1) // 2)
    else:
        around = checks.pair(op, padding, "padding", 0)
    groups = checks.integer(op, groups, "groups", 1)
    if channels % groups or filters % groups:
        raise ValueError(
            f"{op}: groups must divide the channels, found groups {groups} with {channels} channels and {filters} filters"
        )
    if max(*size, *steps, *around, *gaps) > LIMIT:
        raise ValueError(
            f"{op}: kernel_size, stride, padding and dilation must be at most {LIMIT}, found {size}, {steps}, {around}, {gaps}"
        )
    return Geometry(size, steps, around, gaps, groups)


def output_padding_of(op: str, output_padding: Any, geometry: Geometry) -> tuple[int, int]:
    """The checked rows and columns that a transposed convolution adds below and right."""
    more = checks.pair(op, output_padding, "output_padding", 0)
    if any(more[i] >= max(geometry.stride[i], geometry.dilation[i]) for i in (0, 1)):
        raise ValueError(f"{op}: output_padding must be below the stride or the dilation, found {more}")
    return more


def conv2d(
    x: Array, w: Array, b: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Array, Conv2dSaved]:
    """y[n,f,i,j] = b[f] + sum over c,u,v of x[n, c, i*SH + u*DH - PH, j*SW + v*DW - PW] * w[f,c,u,v].

    x (N, C, H, W), w (F, C/groups, KH, KW), b (F,)  ->  y (N, F, OH, OW), saved.  With groups, filter f sees the channels of
    its own group only.  padding: int, pair, or "same" (stride 1: y as large as x; an odd pixel goes below and right).
    ValueError if the window does not fit the padded image or groups do not divide.  Dumoulin & Visin 2016, section 4.
    """
    w = checks.floats("conv2d", w, 4, "w")
    groups = checks.integer("conv2d", groups, "groups", 1)
    geometry = geometry_of("conv2d", w.shape[2:], stride, padding, dilation, groups, w.shape[1] * groups, w.shape[0])
    image = checks.images("conv2d", x, w.shape[1] * groups)
    checks.same_dtype("conv2d", w, "w", image.dtype)
    if b is not None:
        b = checks.parameter("conv2d", b, "b", (w.shape[0],), image.dtype)
    if padding == "same":
        size = image.shape[1:3]
    else:
        size = tuple(output_size(image.shape[1 + i], *(pair[i] for pair in geometry[:4])) for i in (0, 1))
    if min(size) < 1:
        raise ValueError(
            f"conv2d: window {geometry.kernel} with dilation {geometry.dilation} is larger than the padded input "
            f"({image.shape[1] + 2 * geometry.padding[0]}, {image.shape[2] + 2 * geometry.padding[1]})"
        )
    y = memory.empty((image.shape[0], *size, w.shape[0]), image.dtype)
    _gather(image, w, b, y, geometry)
    return y.transpose(0, 3, 1, 2), Conv2dSaved(image, w, b is not None, geometry, (y.shape[0], w.shape[0], *size))


def conv2d_backward(
    dy: Array, saved: Conv2dSaved, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """dx[n,c,h,w] = sum of dy * w over the windows that saw the pixel;  dw[f,c,u,v] = sum over n,i,j of dy[n,f,i,j] * x[…];
    db[f] = sum over n,i,j of dy[n,f,i,j].

    dy (N, F, OH, OW)  ->  dx (N, C, H, W) or None without `input_gradient`, dw (F, C/groups, KH, KW), db (F,) or None.
    ValueError if dy has not the output's shape.  Dumoulin & Visin 2016, section 4.
    """
    x, w, bias, geometry, shape = saved
    dy = memory.channels_last(checks.gradient("conv2d_backward", dy, shape, x.dtype))
    dx = None
    if input_gradient:
        dx = memory.empty(x.shape, x.dtype)
        _scatter(dy, w, None, dx, geometry)
        dx = dx.transpose(0, 3, 1, 2)
    return dx, _weight_gradient(x, dy, geometry), bias_gradient(dy) if bias else None


def conv_transpose2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> tuple[Array, Conv2dSaved]:
    """y[n, f, i*SH + u*DH - PH, j*SW + v*DW - PW] = b[f] + sum over c of x[n,c,i,j] * w[c,f,u,v]: the transpose of conv2d.

    x (N, C, H, W), w (C, F/groups, KH, KW), b (F,)  ->  y (N, F, OH, OW), saved, with
    OH = (H - 1) SH - 2 PH + DH (KH - 1) + 1 + output_padding.  ValueError if that is not positive, or if output_padding is
    neither below the stride nor below the dilation.  Dumoulin & Visin 2016, section 4; Zeiler et al. 2010.
    """
    w = checks.floats("conv_transpose2d", w, 4, "w")
    groups = checks.integer("conv_transpose2d", groups, "groups", 1)
    filters = w.shape[1] * groups
    padding = checks.pair("conv_transpose2d", padding, "padding", 0)  # "same" is conv2d's alone
    geometry = geometry_of("conv_transpose2d", w.shape[2:], stride, padding, dilation, groups, w.shape[0], filters)
    more = output_padding_of("conv_transpose2d", output_padding, geometry)
    image = checks.images("conv_transpose2d", x, w.shape[0])
    checks.same_dtype("conv_transpose2d", w, "w", image.dtype)
    if b is not None:
        b = checks.parameter("conv_transpose2d", b, "b", (filters,), image.dtype)
    size = tuple(
        (image.shape[1 + i] - 1) * s - 2 * p + d * (k - 1) + 1 + more[i]
        for i, (k, s, p, d) in enumerate(zip(*geometry[:4]))
    )
    if min(size) < 1:
        raise ValueError(
            f"conv_transpose2d: the output would have size {size}: padding {geometry.padding} is too large"
        )
    y = memory.empty((image.shape[0], *size, filters), image.dtype)
    _scatter(image, w, b, y, geometry)
    return y.transpose(0, 3, 1, 2), Conv2dSaved(image, w, b is not None, geometry, (y.shape[0], filters, *size))


def conv_transpose2d_backward(
    dy: Array, saved: Conv2dSaved, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """dx = conv2d(dy, w);  dw[c,f,u,v] = sum over n,i,j of x[n,c,i,j] * dy[n, f, i*SH + u*DH - PH, …];  db[f] = sum of dy.

    dy (N, F, OH, OW)  ->  dx (N, C, H, W) or None without `input_gradient`, dw (C, F/groups, KH, KW), db (F,) or None.
    ValueError if dy has not the output's shape.
    """
    x, w, bias, geometry, shape = saved
    dy = memory.channels_last(checks.gradient("conv_transpose2d_backward", dy, shape, x.dtype))
    dx = None
    if input_gradient:
        dx = memory.empty(x.shape, x.dtype)
        _gather(dy, w, None, dx, geometry)
        dx = dx.transpose(0, 3, 1, 2)
    return dx, _weight_gradient(dy, x, geometry), bias_gradient(dy) if bias else None
