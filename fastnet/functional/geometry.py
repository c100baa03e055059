"""How a window moves over an image, and the plans of a product that follow from it: which taps read which source pixels."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

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


def indices(*values: int) -> Array:
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


def plan(rows: Axis, columns: Axis) -> Plan:
    merged = all(b - a == 1 for a, b in zip(columns.offsets, columns.offsets[1:]))
    across = (0,) if merged else columns.offsets
    segments = [(r, c) for r in rows.offsets for c in across]
    taps = [(r, c) for r in rows.taps for c in columns.taps]
    return Plan(
        rows,
        columns,
        lead=indices(rows.lead, columns.lead),
        step=indices(rows.step, columns.step),
        span=indices(max(rows.offsets) + 1, max(columns.offsets) + 1),
        segment=np.array(segments, dtype=np.intp).reshape(-1, 2),
        run=len(columns.taps) if merged else 1,
        out_start=indices(rows.start, columns.start),
        out_step=indices(rows.by, columns.by),
        out_count=indices(rows.outputs, columns.outputs),
        tap_row=indices(*(r for r, _ in taps)),
        tap_column=indices(*(c for _, c in taps)),
    )


@lru_cache(maxsize=1024)
def plans(source: tuple[int, int], target: tuple[int, int], geometry: Geometry, scatter: bool) -> list[Plan]:
    """The plans that make a target (height, width) from a source of that size: one, or one per phase of the stride."""
    axis = _scatter_axis if scatter else _gather_axis
    rows, columns = (
        axis(target[i], target[i], geometry.kernel[i], geometry.stride[i], geometry.padding[i], geometry.dilation[i])
        for i in (0, 1)
    )
    return [plan(r, c) for r in rows for c in columns]


def geometry_of(
    op: str, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: Any, channels: int, filters: int
) -> Geometry:
    """The checked geometry; padding="same" pads dilation * (kernel - 1) in all, the odd pixel below and right."""
    given = kernel, stride, padding, dilation, groups
    known = _geometry_of if all(map(_plain, given)) else _geometry_of.__wrapped__  # True is equal to 1, and not allowed
    return known(op, *given, channels, filters)


def _plain(value: Any) -> bool:
    """Is it an int, or a tuple of ints, and nothing that is only equal to one?"""
    return type(value) is int or (type(value) is tuple and all(type(each) is int for each in value))


@lru_cache(maxsize=1024)
def _geometry_of(
    op: str, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: Any, channels: int, filters: int
) -> Geometry:
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
