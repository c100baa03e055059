"""Partial sums of a weight gradient: several, in panels (tap, channel, filter), become one, (filter, channel, tap)."""

from libc.string cimport memcpy

from fastnet._ext.strip cimport channel_block, least
from fastnet._ext.tile cimport panel_start
from fastnet._ext.types cimport real


cdef inline void add_partials(real *sums, Py_ssize_t partial, Py_ssize_t parts, Py_ssize_t panel, Py_ssize_t channel,
                              Py_ssize_t vectors, Py_ssize_t width, Py_ssize_t filters, Py_ssize_t channels,
                              const Py_ssize_t *tap_row, const Py_ssize_t *tap_column, Py_ssize_t taps,
                              real[:, :, :, :] dw) noexcept nogil:
    """dw of one panel and a block of channels: the partials are added into the first, which is transposed in the first cache."""
    cdef Py_ssize_t start = panel_start(vectors, panel) * width, size = panel_start(vectors, panel + 1) * width - start
    cdef Py_ssize_t lane, c, t, p, k, many = least(channel_block(taps), channels - channel), valid = least(size, filters - start)
    cdef Py_ssize_t step = dw.strides[0]
    cdef real *total
    cdef real *more
    sums += start * taps * channels + channel * size
    for t in range(taps):
        total = sums + t * channels * size
        for p in range(1, parts):
            more = total + p * partial
            for k in range(many * size):
                total[k] += more[k]
    if step == sizeof(real):            # the filters lie side by side
        for t in range(taps):
            for c in range(many):
                memcpy(&dw[start, channel + c, tap_row[t], tap_column[t]], sums + (t * channels + c) * size, valid * sizeof(real))
        return
    step = dw.strides[1] // sizeof(real)
    for lane in range(valid):
        for t in range(taps):
            more = sums + t * channels * size + lane
            total = &dw[start + lane, channel, tap_row[t], tap_column[t]]
            for c in range(many):
                total[c * step] = more[c * size]
