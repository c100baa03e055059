"""Depthwise convolution: one filter per channel, where the matrix product degenerates to a product of vectors.

y[n, i, j, c] = b[c] + sum over taps t = (u, v) of x[n, i*SH + u*DH - PH, j*SW + v*DW - PW, c] * w[t, c].  Vectors run over the
channels; an output row stays in the first-level cache while the taps go by: 2 loads and 1 store per multiply-add.
`geometry` is (KH, KW, SH, SW, PH, PW, DH, DW).
"""

from cython.parallel cimport prange
from libc.string cimport memset

from fastnet._ext.memory import Block

from fastnet._ext.flush cimport flush, restore
from fastnet._ext.types cimport real
from fastnet._ext.work cimport WORTH


cdef inline Py_ssize_t first_output(Py_ssize_t tap, Py_ssize_t pad, Py_ssize_t stride) noexcept nogil:
    """The first output whose source, output * stride + tap - pad, is not before the image."""
    return 0 if tap >= pad else (pad - tap + stride - 1) // stride


cdef inline Py_ssize_t end_output(Py_ssize_t tap, Py_ssize_t pad, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t outputs) noexcept nogil:
    """One past the last output whose source lies in the image."""
    cdef Py_ssize_t end = (size - 1 + pad - tap) // stride + 1 if size - 1 + pad >= tap else 0
    return end if end < outputs else outputs


def forward(const real[:, :, :, ::1] x, const real[:, ::1] w, const real[::1] bias, real[:, :, :, ::1] y,
            const Py_ssize_t[::1] geometry, int threads):
    """y from x (N, H, W, C), w (taps, C) and bias (C) or an empty one."""
    cdef Py_ssize_t rows = y.shape[1], task
    cdef unsigned mode
    for task in prange(x.shape[0] * rows, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=x.shape[0] * rows * y.shape[2] * x.shape[3] > WORTH):
        mode = flush(&w[0, 0])
        forward_row(x, w, bias, y, &geometry[0], task // rows, task % rows)
        restore(mode)


cdef void forward_row(const real[:, :, :, ::1] x, const real[:, ::1] w, const real[::1] bias, real[:, :, :, ::1] y,
                      const Py_ssize_t *g, Py_ssize_t n, Py_ssize_t i) noexcept nogil:
    cdef Py_ssize_t channels = x.shape[3], u, v, j, c, row
    cdef real *out = &y[n, i, 0, 0]
    cdef const real *source
    cdef const real *tap
    for j in range(y.shape[2]):
        for c in range(channels):
            out[j * channels + c] = bias[c] if bias.shape[0] else 0
    for u in range(g[0]):
        row = i * g[2] + u * g[6] - g[4]
        if row < 0 or row >= x.shape[1]:
            continue
        for v in range(g[1]):
            tap = &w[u * g[1] + v, 0]
            for j in range(first_output(v * g[7], g[5], g[3]), end_output(v * g[7], g[5], g[3], x.shape[2], y.shape[2])):
                source = &x[n, row, j * g[3] + v * g[7] - g[5], 0]
                out = &y[n, i, j, 0]
                for c in range(channels):
                    out[c] += source[c] * tap[c]


def input_gradient(const real[:, :, :, ::1] dy, const real[:, ::1] w, real[:, :, :, ::1] dx, const Py_ssize_t[::1] geometry,
                   int threads):
    """dx (N, H, W, C) from dy (N, OH, OW, C): each row of dx gathers the rows of dy that it reached."""
    cdef Py_ssize_t rows = dx.shape[1], task
    cdef unsigned mode
    for task in prange(dx.shape[0] * rows, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=dx.shape[0] * rows * dx.shape[2] * dx.shape[3] > WORTH):
        mode = flush(&w[0, 0])
        input_gradient_row(dy, w, dx, &geometry[0], task // rows, task % rows)
        restore(mode)


cdef void input_gradient_row(const real[:, :, :, ::1] dy, const real[:, ::1] w, real[:, :, :, ::1] dx, const Py_ssize_t *g,
                             Py_ssize_t n, Py_ssize_t i) noexcept nogil:
    cdef Py_ssize_t channels = dx.shape[3], u, v, j, c, row
    cdef real *out = &dx[n, i, 0, 0]
    cdef const real *source
    cdef const real *tap
    memset(out, 0, dx.shape[2] * channels * sizeof(real))
    for u in range(g[0]):
        row = i + g[4] - u * g[6]
        if row < 0 or row % g[2] or row // g[2] >= dy.shape[1]:
            continue
        for v in range(g[1]):
            tap = &w[u * g[1] + v, 0]
            for j in range(first_output(v * g[7], g[5], g[3]), end_output(v * g[7], g[5], g[3], dx.shape[2], dy.shape[2])):
                source = &dy[n, row // g[2], j, 0]
                out = &dx[n, i, j * g[3] + v * g[7] - g[5], 0]
                for c in range(channels):
                    out[c] += source[c] * tap[c]


def weight_gradient(const real[:, :, :, ::1] x, const real[:, :, :, ::1] dy, real[:, ::1] dw, const Py_ssize_t[::1] geometry,
                    int threads):
    """dw (taps, C): one partial per run of images, added in order."""
    cdef Py_ssize_t images = x.shape[0], size = dw.shape[0] * dw.shape[1], part, k
    cdef Py_ssize_t parts = images if images < 32 else 32
    cdef unsigned char[::1] block = Block((parts + 1) * size * sizeof(real))
    cdef real *partials = <real *>&block[0]
    cdef unsigned mode
    memset(&dw[0, 0], 0, size * sizeof(real))
    for part in prange(parts, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=images * dy.shape[1] * dy.shape[2] * dy.shape[3] > WORTH):
        mode = flush(partials)
        gradient_part(x, dy, partials + part * size, &geometry[0], part * images // parts, (part + 1) * images // parts)
        restore(mode)
    for part in range(parts):
        for k in range(size):
            (&dw[0, 0])[k] += partials[part * size + k]


cdef void gradient_part(const real[:, :, :, ::1] x, const real[:, :, :, ::1] dy, real *dw, const Py_ssize_t *g,
                        Py_ssize_t image_from, Py_ssize_t image_to) noexcept nogil:
    cdef Py_ssize_t channels = x.shape[3], n, i, u, v, j, c, row
    cdef const real *source
    cdef const real *gradient
    cdef real *tap
    memset(dw, 0, g[0] * g[1] * channels * sizeof(real))
    for n in range(image_from, image_to):
        for i in range(dy.shape[1]):
            for u in range(g[0]):
                row = i * g[2] + u * g[6] - g[4]
                if row < 0 or row >= x.shape[1]:
                    continue
                for v in range(g[1]):
                    tap = dw + (u * g[1] + v) * channels
                    for j in range(first_output(v * g[7], g[5], g[3]), end_output(v * g[7], g[5], g[3], x.shape[2], dy.shape[2])):
                        source = &x[n, row, j * g[3] + v * g[7] - g[5], 0]
                        gradient = &dy[n, i, j, 0]
                        for c in range(channels):
                            tap[c] += source[c] * gradient[c]
