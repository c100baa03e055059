"""Copies between layouts: a box of images into another place, and the transposition of each image of a batch."""

from cython.parallel cimport prange
from libc.string cimport memcpy

from fastnet._ext.types cimport real
from fastnet._ext.work cimport WORTH

cdef enum:
    TILE = 16   # 16 x 16 floats: both sides of a tile are 16 cache lines


cdef void copy_row(const char *src, char *dst, Py_ssize_t pixels, Py_ssize_t nbytes, Py_ssize_t src_step,
                   Py_ssize_t dst_step) noexcept nogil:
    """Pixels of nbytes each; the steps are in bytes."""
    cdef Py_ssize_t w
    if src_step == nbytes and dst_step == nbytes:
        memcpy(dst, src, pixels * nbytes)
        return
    for w in range(pixels):
        memcpy(dst + w * dst_step, src + w * src_step, nbytes)


def copy_box(const real[:, :, :, :] src, real[:, :, :, :] dst, int threads):
    """dst = src, both (N, H, W, C) of one shape: slices of larger images, whose channels lie side by side.

    This is padding (dst is the inside of the padded images), cropping, and concatenation (dst is some of the channels).
    """
    cdef Py_ssize_t N = src.shape[0], H = src.shape[1], W = src.shape[2], C = src.shape[3], row
    if N * H * W * C == 0:
        return
    if C > 1 and (src.strides[3] != sizeof(real) or dst.strides[3] != sizeof(real)):
        raise ValueError("copy_box: the channels of a pixel must lie side by side")
    cdef const char *source = <const char *>&src[0, 0, 0, 0]
    cdef char *out = <char *>&dst[0, 0, 0, 0]
    for row in prange(N * H, nogil=True, num_threads=threads, schedule="static", use_threads_if=N * H * W * C > WORTH):
        copy_row(source + row // H * src.strides[0] + row % H * src.strides[1],
                 out + row // H * dst.strides[0] + row % H * dst.strides[1],
                 W, C * sizeof(real), src.strides[2], dst.strides[2])


cdef void transpose_band(const real *src, real *dst, Py_ssize_t first, Py_ssize_t A, Py_ssize_t B) noexcept nogil:
    """dst[b, a] = src[a, b] for `TILE` rows b from `first`, tile by tile so that every line that is touched is used up."""
    cdef Py_ssize_t a, b, a0, end = min(first + TILE, B), stop
    for a0 from 0 <= a0 < A by TILE:
        stop = min(a0 + TILE, A)
        for b in range(first, end):
            for a in range(a0, stop):
                dst[b * A + a] = src[a * B + b]


def transpose(const real[:, :, ::1] src, real[:, :, ::1] dst, int threads):
    """dst (N, B, A) = src (N, A, B) with its last two axes exchanged: from (pixels, channels) to (channels, pixels) or back."""
    cdef Py_ssize_t N = src.shape[0], A = src.shape[1], B = src.shape[2], bands = (B + TILE - 1) // TILE, band
    if N * A * B == 0:
        return
    cdef const real *source = &src[0, 0, 0]
    cdef real *out = &dst[0, 0, 0]
    for band in prange(N * bands, nogil=True, num_threads=threads, schedule="static", use_threads_if=N * A * B > WORTH):
        transpose_band(source + band // bands * A * B, out + band // bands * A * B, band % bands * TILE, A, B)
