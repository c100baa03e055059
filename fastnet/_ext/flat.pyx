"""What else passes over flat arrays: averages of weights, limits on gradients and weights, the vector steps of L-BFGS.

Memory bandwidth is the limit of all of them.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastnet._ext.chunks cimport CHUNK, Span, chunks, length, span
from fastnet._ext.types cimport real

cdef extern from "digest.h" nogil:
    enum: DIGEST_PAIRS, DIGEST_PIECE
    void digest_piece(const unsigned char *a, const unsigned int *key, unsigned long long *out) noexcept

cdef enum:
    LANES = 16          # partial sums of a dot product: two AVX-512 registers of double
    SPAN = 1 << 17      # bytes that a thread takes a digest of at a time


def digest(const unsigned char[::1] a, const unsigned int[:, ::1] key, unsigned long long[:, ::1] out, int threads):
    """Two numbers for every 1024 bytes of a, which differ, but for a chance of 2^-64, from those of any other bytes.

    out[p, r] = sum over i of (a[i] + key[r, i]) (a[i + 128] + key[r, i + 128]) modulo 2^64, a's piece p taken as 256 numbers of
    32 bits, added to the key modulo 2^32; zeros follow the end.  key: 2 x 256 random numbers that whoever wrote a does not know:
    each row finds a difference but for a chance of 2^-32.  NH of UMAC: Black, Halevi, Krawczyk, Krovetz & Rogaway 1999.
    """
    cdef Py_ssize_t n = a.shape[0], count = (n + SPAN - 1) // SPAN, pieces = (n + DIGEST_PIECE - 1) // DIGEST_PIECE, s
    if key.shape[0] != 2 or key.shape[1] != 2 * DIGEST_PAIRS or out.shape[0] != pieces or out.shape[1] != 2:
        raise ValueError(f"digest: expected a key of (2, {2 * DIGEST_PAIRS}) and an out of ({pieces}, 2)")
    if n == 0:
        return
    cdef const unsigned char *start = &a[0]
    for s in prange(count, nogil=True, num_threads=<int>min(threads, count), schedule="static"):
        digest_span(start, s * SPAN, min(n, (s + 1) * SPAN), &key[0, 0], &out[0, 0])


cdef void digest_span(const unsigned char *a, Py_ssize_t first, Py_ssize_t last, const unsigned int *key,
                      unsigned long long *out) noexcept nogil:
    cdef unsigned char rest[DIGEST_PIECE]
    cdef Py_ssize_t at = first
    while at + DIGEST_PIECE <= last:
        digest_piece(a + at, key, out + at // DIGEST_PIECE * 2)
        at += DIGEST_PIECE
    if at < last:
        memset(rest, 0, DIGEST_PIECE)
        memcpy(rest, a + at, last - at)
        digest_piece(rest, key, out + at // DIGEST_PIECE * 2)


cdef void lerp_chunk(Py_ssize_t c, Py_ssize_t n, real *a, const real *w, real weight) noexcept nogil:
    cdef Span s = span(c, n, 0)
    cdef Py_ssize_t i
    if weight < 0.5:    # two forms, so that weight 0 gives a and weight 1 gives w to the bit
        for i in range(s.start, s.stop):
            a[i] = a[i] + weight * (w[i] - a[i])
    else:
        for i in range(s.start, s.stop):
            a[i] = w[i] - (1 - weight) * (w[i] - a[i])


def lerp(real[::1] a, const real[::1] w, double weight, int threads):
    """a += weight (w - a)."""
    cdef Py_ssize_t n = length(a, w, 0), count = chunks(n, 0), c
    if n == 0:
        return
    cdef real *pa = &a[0]
    cdef const real *pw = &w[0]
    for c in prange(count, nogil=True, num_threads=<int>min(threads, count), schedule="static"):
        lerp_chunk(c, n, pa, pw, <real>weight)


cdef void swap_chunk(Py_ssize_t c, Py_ssize_t n, real *a, real *b) noexcept nogil:
    cdef Span s = span(c, n, 0)
    cdef Py_ssize_t i
    cdef real kept
    for i in range(s.start, s.stop):
        kept = a[i]
        a[i] = b[i]
        b[i] = kept


def swap(real[::1] a, real[::1] b, int threads):
    """Exchange the values of a and b."""
    cdef Py_ssize_t n = length(a, b, 0), count = chunks(n, 0), c
    if n == 0:
        return
    cdef real *pa = &a[0]
    cdef real *pb = &b[0]
    for c in prange(count, nogil=True, num_threads=<int>min(threads, count), schedule="static"):
        swap_chunk(c, n, pa, pb)


cdef void axpy_chunk(Py_ssize_t c, Py_ssize_t n, real *y, const real *x, real a, real b) noexcept nogil:
    cdef Span s = span(c, n, 0)
    cdef Py_ssize_t i
    for i in range(s.start, s.stop):
        y[i] = b * y[i] + a * x[i]


def axpy(real[::1] y, const real[::1] x, double a, double b, int threads):
    """y = b y + a x."""
    cdef Py_ssize_t n = length(y, x, 0), count = chunks(n, 0), c
    if n == 0:
        return
    cdef real *py = &y[0]
    cdef const real *px = &x[0]
    for c in prange(count, nogil=True, num_threads=<int>min(threads, count), schedule="static"):
        axpy_chunk(c, n, py, px, <real>a, <real>b)


cdef void limit_chunk(Py_ssize_t c, Py_ssize_t n, real *g, real factor, real most) noexcept nogil:
    cdef Span s = span(c, n, 0)
    cdef Py_ssize_t i
    cdef real x
    for i in range(s.start, s.stop):
        x = factor * g[i]
        x = most if x > most else x     # comparisons with NaN are false: it stays
        g[i] = -most if x < -most else x


def limit(real[::1] g, double factor, double most, int threads):
    """g = factor g, then no further from 0 than most."""
    cdef Py_ssize_t n = g.shape[0], count = chunks(n, 0), c
    if n == 0:
        return
    cdef real *pg = &g[0]
    for c in prange(count, nogil=True, num_threads=<int>min(threads, count), schedule="static"):
        limit_chunk(c, n, pg, <real>factor, <real>most)


cdef double dot_span(const real *a, const real *b, Py_ssize_t n) noexcept nogil:
    """Sum of a[i] b[i] in double, in LANES partial sums that are added as a tree: the compiler may not reorder one sum."""
    cdef double lane[LANES]
    cdef Py_ssize_t i, j, k, width = LANES // 2
    for k in range(LANES):
        lane[k] = 0
    for j in range(n // LANES):
        i = j * LANES
        for k in range(LANES):
            lane[k] += <double>a[i + k] * <double>b[i + k]
    for i in range(n - n % LANES, n):
        lane[i % LANES] += <double>a[i] * <double>b[i]
    while width:
        for k in range(width):
            lane[k] += lane[k + width]
        width //= 2
    return lane[0]


def dot(const real[::1] a, const real[::1] b, int threads):
    """Sum of a[i] b[i] in double: one partial sum per chunk, added in the order of the chunks."""
    cdef Py_ssize_t n = a.shape[0], count = chunks(n, 0), c
    if b.shape[0] != n:
        raise ValueError(f"dot: {n} elements, found {b.shape[0]}")
    if n == 0:
        return 0.0
    cdef double *partial = <double *>malloc(count * sizeof(double))
    if partial == NULL:
        raise MemoryError("dot: no memory for the partial sums")
    cdef const real *pa = &a[0]
    cdef const real *pb = &b[0]
    cdef double total = 0
    for c in prange(count, nogil=True, num_threads=<int>min(threads, count), schedule="static"):
        partial[c] = dot_span(pa + c * CHUNK, pb + c * CHUNK, min(<Py_ssize_t>CHUNK, n - c * CHUNK))
    for c in range(count):
        total += partial[c]
    free(partial)
    return total


cdef void row_limit(real *row, Py_ssize_t n, double most) noexcept nogil:
    cdef double norm = sqrt(dot_span(<const real *>row, <const real *>row, n))
    cdef real factor
    cdef Py_ssize_t i
    if norm > most:
        factor = <real>(most / norm)
        for i in range(n):
            row[i] *= factor


def max_norm(real[:, ::1] w, double most, int threads):
    """Scale every row of w down to a Euclidean norm of most, if it is longer."""
    cdef Py_ssize_t rows = w.shape[0], n = w.shape[1], r
    if rows == 0 or n == 0:
        return
    cdef real *start = &w[0, 0]
    cdef int team = <int>min(threads, chunks(rows * n, 0))
    for r in prange(rows, nogil=True, num_threads=team, schedule="static"):
        row_limit(start + r * n, n, most)
