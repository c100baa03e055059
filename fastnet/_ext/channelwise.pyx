"""ride.pxd over whole arrays: what no other pass took along gets one of its own. Arrays are (pixels, channels) in memory."""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from fastnet._ext.columns cimport chunk_rows, row_width
from fastnet._ext.ride cimport (
    COEFFICIENTS, GRADIENT, STATISTICS, SUMS, Finish, Load, add_parts, finish as finish_pixels, finish_of, load as load_pixels, load_of,
)
from fastnet._ext.types cimport real

from fastnet._ext.memory import Block


cdef void widen(const real *coefficients, Py_ssize_t columns, Py_ssize_t channels, real *wide, Py_ssize_t width) noexcept nogil:
    """Rows of coefficients, repeated over rows of `width` numbers."""
    cdef Py_ssize_t r, i
    for r in range(COEFFICIENTS):
        memcpy(wide + r * width, coefficients + r * columns, channels * sizeof(real))
        for i in range(channels, width):
            wide[r * width + i] = wide[r * width + i - channels]


def apply(const real[:, :, :, ::1] x, tuple load, real[:, :, :, ::1] y, int threads):
    """y = the map of x: one pass."""
    cdef Py_ssize_t channels = x.shape[3], rows = x.shape[0] * x.shape[1] * x.shape[2], width = row_width(channels)
    cdef Py_ssize_t step = chunk_rows(rows, channels), chunks = (rows + step - 1) // step, k, i, size
    if rows == 0:
        return
    cdef Load m = load_of(&x[0, 0, 0, 0], load)
    cdef unsigned char[::1] scratch = Block(COEFFICIENTS * width * sizeof(real))
    widen(<const real *>m.coefficients, m.columns, channels, <real *>&scratch[0], width)
    m.coefficients, m.columns = &scratch[0], width
    cdef const real *source = &x[0, 0, 0, 0]
    cdef real *target = &y[0, 0, 0, 0]
    for k in prange(chunks, nogil=True, num_threads=min(threads, <int>chunks), schedule="static"):
        apply_chunk(&m, source + k * step * channels, min(step, rows - k * step) * channels, width, target + k * step * channels)


cdef void apply_chunk(const Load *m, const real *x, Py_ssize_t size, Py_ssize_t width, real *y) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < size:
        load_pixels(m, x + i, 0, min(width, size - i), y + i)
        i += width


def finish(real[:, :, :, ::1] out, tuple finish, double[:, ::1] sums, int threads):
    """The Finish of all of out, in place: one pass. Its sums are added to those of a GRADIENT, and replace those of STATISTICS."""
    cdef Py_ssize_t channels = out.shape[3], rows = out.shape[0] * out.shape[1] * out.shape[2], width = row_width(channels)
    cdef Py_ssize_t step = chunk_rows(rows, channels), chunks = (rows + step - 1) // step, k
    if rows == 0:
        return
    cdef Finish f = finish_of(&out[0, 0, 0, 0], finish)
    cdef unsigned char[::1] scratch = Block(COEFFICIENTS * width * sizeof(real))
    cdef unsigned char[::1] room = Block(chunks * SUMS * width * sizeof(double))
    cdef double *parts = <double *>&room[0]
    if f.coefficients != NULL:
        widen(<const real *>f.coefficients, f.columns, channels, <real *>&scratch[0], width)
        f.coefficients, f.columns = &scratch[0], width
    cdef real *target = &out[0, 0, 0, 0]
    memset(parts, 0, chunks * SUMS * width * sizeof(double))
    for k in prange(chunks, nogil=True, num_threads=min(threads, <int>chunks), schedule="static"):
        finish_chunk(&f, target, k * step * channels, min(step, rows - k * step) * channels, channels, width, parts + k * SUMS * width)
    # The pixels of a row of `width` numbers count as parts of their own.
    add_parts(f.kind, parts, chunks, width, channels, width // channels, &sums[0, 0], sums.shape[1])


cdef void finish_chunk(const Finish *f, real *out, Py_ssize_t at, Py_ssize_t size, Py_ssize_t channels, Py_ssize_t width, double *sums) noexcept nogil:
    cdef Py_ssize_t whole = size // width
    finish_pixels(f, out, at, whole, width, 0, width, sums, width)
    finish_pixels(f, out, at + whole * width, 1 if size % width else 0, width, 0, size % width, sums, width)
