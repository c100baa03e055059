"""ride.pxd over whole arrays: what no other pass took along gets one of its own. Arrays are (pixels, channels) in memory."""

from cython.parallel cimport prange
from libc.string cimport memset

from fastnet._ext.columns cimport chunk_rows, row_width
from fastnet._ext.functions cimport F_SIGMOID, F_TANH, derivative, function
from fastnet._ext.ride cimport (
    COEFFICIENTS, SUMS, Finish, Load, add_parts, finish_of, finish_run, load as load_pixels, load_of, load_run, number, round_run, widen_for,
)
from fastnet._ext.types cimport bfloat16, real, stored

from fastnet._ext.memory import Block

cdef enum:
    TOGETHER = 256      # numbers whose t is on the stack
    FINISHED = 8192     # numbers whose derivative waits in the cache to be finished

ctypedef fused other:
    float
    double
    bfloat16



def apply(const stored[:, :, :, ::1] x, tuple load, other[:, :, :, ::1] y, int threads):
    """y = the map of x (load None: x itself), in x's type or from bfloat16 to float32 or the other way: one pass."""
    if stored is double and other is not double or stored is not double and other is double:    # nor is it compiled
        raise TypeError("channelwise: x and y are to be both float64 or neither")
    cdef Py_ssize_t channels = x.shape[3], rows = x.shape[0] * x.shape[1] * x.shape[2], width = row_width(channels)
    cdef Py_ssize_t step = chunk_rows(rows, channels), chunks = (rows + step - 1) // step, k
    if rows == 0:
        return
    cdef const stored *source = &x[0, 0, 0, 0]
    cdef other *target = &y[0, 0, 0, 0]
    cdef Load m = load_of(source, load)
    cdef unsigned char[::1] scratch = Block(COEFFICIENTS * width * sizeof(double))
    m.coefficients, m.columns = widen_for(source, m.coefficients, m.columns, channels, &scratch[0], width), width
    for k in prange(chunks, nogil=True, num_threads=min(threads, <int>chunks), schedule="static"):
        apply_run(&m, source + k * step * channels, min(step, rows - k * step) * channels, target + k * step * channels)


cdef inline void apply_run(const Load *m, const stored *x, Py_ssize_t size, other *y) noexcept nogil:
    """Whole pixels, with coefficients that are widened."""
    cdef float v[TOGETHER]
    cdef Py_ssize_t i, c, n, at = 0
    if other is not bfloat16:
        load_run(m, x, size, y)
    else:
        while at < size:
            c = at % m.columns
            n = min(TOGETHER, min(m.columns - c, size - at))
            if m.wanted:
                load_pixels(m, x + at, c, n, v)
            else:
                for i in range(n):
                    v[i] = number(x, at + i, v)
            round_run(v, n, y + at)
            at += n


def finish(stored[:, :, :, ::1] out, tuple finish, double[:, ::1] sums, int threads):
    """The Finish of all of out, in place: one pass. Its sums are added to those of a GRADIENT, and replace those of STATISTICS."""
    cdef Py_ssize_t channels = out.shape[3], rows = out.shape[0] * out.shape[1] * out.shape[2], width = row_width(channels)
    cdef Py_ssize_t step = chunk_rows(rows, channels), chunks = (rows + step - 1) // step, k
    if rows == 0:
        return
    cdef stored *target = &out[0, 0, 0, 0]
    cdef Finish f = finish_of(target, finish)
    cdef unsigned char[::1] scratch = Block(COEFFICIENTS * width * sizeof(double))
    cdef unsigned char[::1] room = Block(chunks * SUMS * width * sizeof(double))
    cdef double *parts = <double *>&room[0]
    f.coefficients, f.columns = widen_for(target, f.coefficients, f.columns, channels, &scratch[0], width), width
    memset(parts, 0, chunks * SUMS * width * sizeof(double))
    for k in prange(chunks, nogil=True, num_threads=min(threads, <int>chunks), schedule="static"):
        finish_run(&f, target, k * step * channels, min(step, rows - k * step) * channels, width, parts + k * SUMS * width)
    # The pixels of a row of `width` numbers count as parts of their own.
    add_parts(f.kind, parts, chunks, width, channels, width // channels, &sums[0, 0], sums.shape[1])


# --- functions of t other than a rectifier ------------------------------------------------------------------------------------

def activate(int f, const stored[:, :, :, ::1] x, tuple load, stored[:, :, :, ::1] y, double alpha, int threads):
    """y = f(t), t the map of x, f of functions.pxd: one pass."""
    cdef double[:, ::1] sums = None
    cdef const stored *dy = NULL
    if y.size:
        activate_chunks(f, x, load, dy, y, alpha, None, sums, threads)


def activate_backward(int f, const stored[:, :, :, ::1] x, tuple load, const stored[:, :, :, ::1] dy, stored[:, :, :, ::1] out, double alpha,
                      tuple finish, double[:, ::1] sums, int threads):
    """out = dy * f'(t), t the map of x, and its Finish: one pass."""
    if out.size:
        activate_chunks(f, x, load, &dy[0, 0, 0, 0], out, alpha, finish, sums, threads)


cdef void activate_chunks(int f, const stored[:, :, :, ::1] x, tuple load, const stored *dy, stored[:, :, :, ::1] out, double alpha,
                          tuple finish, double[:, ::1] sums, int threads):
    cdef Py_ssize_t channels = x.shape[3], rows = x.shape[0] * x.shape[1] * x.shape[2], width = row_width(channels)
    cdef Py_ssize_t step = chunk_rows(rows, channels), chunks = (rows + step - 1) // step, k
    cdef Load m = load_of(&x[0, 0, 0, 0], load)
    cdef stored *target = &out[0, 0, 0, 0]
    cdef Finish r = finish_of(target, finish)
    cdef Py_ssize_t part = SUMS * width if r.kind else 0
    cdef unsigned char[::1] scratch = Block(2 * COEFFICIENTS * width * sizeof(double))
    cdef unsigned char[::1] room = Block(chunks * part * sizeof(double) + 1)
    cdef double *parts = <double *>&room[0]
    cdef double *wide = <double *>&scratch[0]
    m.coefficients, m.columns = widen_for(target, m.coefficients, m.columns, channels, wide, width), width
    r.coefficients, r.columns = widen_for(target, r.coefficients, r.columns, channels, wide + COEFFICIENTS * width, width), width
    memset(parts, 0, chunks * part * sizeof(double))
    cdef const stored *source = &x[0, 0, 0, 0]
    for k in prange(chunks, nogil=True, num_threads=min(threads, <int>chunks), schedule="static"):
        if stored is double:
            activate_chunk(f, &m, source, dy, target, k * step * channels, min(rows, (k + 1) * step) * channels, alpha, &r, width,
                           parts + k * part)
        else:
            activate_chunk(f, &m, source, dy, target, k * step * channels, min(rows, (k + 1) * step) * channels, <float>alpha, &r,
                           width, parts + k * part)
    if r.kind:
        add_parts(r.kind, parts, chunks, width, channels, width // channels, &sums[0, 0], sums.shape[1])


cdef void piece(int f, real *t, const real *dy, real *v, Py_ssize_t n, real alpha) noexcept nogil:
    """v = f(t) or, of a dy, dy * f'(t); t may be lost. A function of its own: what images hold, it need not know."""
    if dy == NULL:
        function(f, t, v, n, alpha)
        return
    if f == F_SIGMOID or f == F_TANH:
        function(f, t, t, n, alpha)
    derivative(f, t, dy, v, n, alpha)


cdef inline void activate_chunk(int f, const Load *m, const stored *x, const stored *dy, stored *out, Py_ssize_t at, Py_ssize_t end,
                                real alpha, const Finish *r, Py_ssize_t width, double *sums) noexcept nogil:
    """Rows of `width` numbers; what is done to the derivative is done when some have gathered, in the cache."""
    cdef real t[TOGETHER]
    cdef real g[TOGETHER]
    cdef real v[TOGETHER]
    cdef Py_ssize_t done = at, c, i, n, size
    while at < end:
        size = min(width, end - at)
        for c from 0 <= c < size by TOGETHER:
            n = min(TOGETHER, size - c)
            load_pixels(m, x + at + c, c, n, t)
            for i in range(n if dy != NULL else 0):
                g[i] = number(dy + at + c, i, t)
            piece(f, t, g if dy != NULL else NULL, v, n, alpha)
            if stored is bfloat16 and real is float:
                round_run(v, n, out + at + c)
            else:
                for i in range(n):
                    out[at + c + i] = <stored>v[i]
        at += size
        if r.kind and (at - done >= FINISHED or at == end):
            finish_run(r, out, done, at - done, width, sums)
            done = at
