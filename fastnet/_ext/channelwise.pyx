"""ride.pxd over whole arrays: what no other pass took along gets one of its own. Arrays are (pixels, channels) in memory."""

from cython.parallel cimport prange
from libc.string cimport memset

from fastnet._ext.columns cimport chunk_rows, row_width
from fastnet._ext.ride cimport COEFFICIENTS, SUMS, Finish, Load, add_parts, finish_of, finish_run, load_of, load_run, widen
from fastnet._ext.types cimport real

from fastnet._ext.memory import Block


def apply(const real[:, :, :, ::1] x, tuple load, real[:, :, :, ::1] y, int threads):
    """y = the map of x: one pass."""
    cdef Py_ssize_t channels = x.shape[3], rows = x.shape[0] * x.shape[1] * x.shape[2], width = row_width(channels)
    cdef Py_ssize_t step = chunk_rows(rows, channels), chunks = (rows + step - 1) // step, k, i, size
    if rows == 0:
        return
    cdef Load m = load_of(&x[0, 0, 0, 0], load)
    cdef unsigned char[::1] scratch = Block(COEFFICIENTS * width * sizeof(real))
    m.coefficients, m.columns = widen(m.coefficients, m.columns, channels, <real *>&scratch[0], width), width
    cdef const real *source = &x[0, 0, 0, 0]
    cdef real *target = &y[0, 0, 0, 0]
    for k in prange(chunks, nogil=True, num_threads=min(threads, <int>chunks), schedule="static"):
        load_run(&m, source + k * step * channels, min(step, rows - k * step) * channels, target + k * step * channels)


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
    f.coefficients, f.columns = widen(f.coefficients, f.columns, channels, <real *>&scratch[0], width), width
    cdef real *target = &out[0, 0, 0, 0]
    memset(parts, 0, chunks * SUMS * width * sizeof(double))
    for k in prange(chunks, nogil=True, num_threads=min(threads, <int>chunks), schedule="static"):
        finish_run(&f, target, k * step * channels, min(step, rows - k * step) * channels, width, parts + k * SUMS * width)
    # The pixels of a row of `width` numbers count as parts of their own.
    add_parts(f.kind, parts, chunks, width, channels, width // channels, &sums[0, 0], sums.shape[1])
