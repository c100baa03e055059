"""Operations on one number at a time over contiguous memory, in whatever order it lies: activations, dropout, sums of two arrays.

Each reads its inputs once and writes its output once: memory is the limit, if the arithmetic is vectorised. So the functions
take flat arrays, and exp and its kin come from vmath.pxd. A block of them is one pass of a thread through one loop.
"""

from cython.parallel cimport prange
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastnet._ext.columns cimport chunk_rows, row_width
from fastnet._ext.functions cimport (
    F_ELU, F_GELU, F_LEAKY_RELU, F_RELU, F_SIGMOID, F_SILU, F_SOFTPLUS, F_TANH, derivative, function,
)
from fastnet._ext.types cimport real

from fastnet._ext.memory import Block

ctypedef unsigned char byte

cpdef enum:              # functions.pxd's, for Python
    RELU = F_RELU
    LEAKY_RELU = F_LEAKY_RELU
    ELU = F_ELU
    SIGMOID = F_SIGMOID
    TANH = F_TANH
    GELU = F_GELU
    SILU = F_SILU
    SOFTPLUS = F_SOFTPLUS

cdef enum:
    BLOCK = 16384      # numbers: 64 KB of floats, a fraction of the second-level cache


cdef inline Py_ssize_t blocks(Py_ssize_t n) noexcept nogil:
    return (n + BLOCK - 1) // BLOCK


# --- activations ------------------------------------------------------------------------------------------------------------

def activate(int f, const real[::1] x, real[::1] y, double a, int threads):
    """y = f(x); a is the slope of LEAKY_RELU and the alpha of ELU."""
    cdef Py_ssize_t i, n = x.shape[0]
    if n == 0:
        return
    for i in prange(blocks(n), nogil=True, num_threads=min(threads, <int>blocks(n)), schedule="static"):
        function(f, &x[i * BLOCK], &y[i * BLOCK], min(BLOCK, n - i * BLOCK), <real>a)


def activate_backward(int f, const real[::1] s, const real[::1] dy, real[::1] dx, double a, int threads):
    """dx = dy * f'(x); s is what `derivative` asks for."""
    cdef Py_ssize_t i, n = s.shape[0]
    if n == 0:
        return
    for i in prange(blocks(n), nogil=True, num_threads=min(threads, <int>blocks(n)), schedule="static"):
        derivative(f, &s[i * BLOCK], &dy[i * BLOCK], &dx[i * BLOCK], min(BLOCK, n - i * BLOCK), <real>a)


# --- prelu: a slope per channel ---------------------------------------------------------------------------------------------

cdef void slopes(const real *x, real *y, Py_ssize_t size, Py_ssize_t width, const real *a) noexcept nogil:
    cdef Py_ssize_t i = 0, j
    cdef real v, w
    while i < size:
        for j in range(min(width, size - i)):
            v = x[i + j]
            w = a[j] * v
            y[i + j] = v if v > 0 else w
        i += width


cdef void slopes_backward(const real *x, const real *dy, real *dx, Py_ssize_t size, Py_ssize_t width, const real *a, double *da) noexcept nogil:
    """dx, and da += the sum of dy * x where x <= 0."""
    cdef Py_ssize_t i = 0, j, n
    cdef real v, w
    while i < size:
        n = min(width, size - i)
        for j in range(n):
            v = x[i + j]
            w = dy[i + j] * v
            da[j] += <double>(<real>0 if v > 0 else w)
        for j in range(n):
            v = dy[i + j]
            w = a[j] * v
            dx[i + j] = v if x[i + j] > 0 else w
        i += width


def prelu(const real[::1] x, real[::1] y, const real[::1] a, int threads):
    """y = x if x > 0 else a * x, the slopes a repeating every a.shape[0] numbers: the channels, or one."""
    cdef Py_ssize_t channels = a.shape[0], width = row_width(channels), rows = x.shape[0] // channels, step = chunk_rows(rows, channels)
    cdef Py_ssize_t chunks = (rows + step - 1) // step, i
    cdef byte[::1] scratch = Block(sizeof(real) * width)
    cdef real *slope = <real *>&scratch[0]
    for i in range(width):
        slope[i] = a[i % channels]
    for i in prange(chunks, nogil=True, num_threads=max(1, min(threads, <int>chunks)), schedule="static"):
        slopes(&x[i * step * channels], &y[i * step * channels], min(step, rows - i * step) * channels, width, slope)


def prelu_backward(const real[::1] x, const real[::1] dy, real[::1] dx, const real[::1] a, real[::1] da, int threads):
    """dx = dy if x > 0 else a * dy; da = the sum of dy * x where x <= 0. Partial sums are added chunk by chunk."""
    cdef Py_ssize_t channels = a.shape[0], width = row_width(channels), rows = x.shape[0] // channels, step = chunk_rows(rows, channels)
    cdef Py_ssize_t chunks = (rows + step - 1) // step, i, j
    cdef byte[::1] scratch = Block(width * (8 * (chunks + 1) + sizeof(real)))
    cdef double *parts = <double *>&scratch[0]
    cdef real *slope = <real *>(parts + width * (chunks + 1))
    cdef double total
    for i in range(width):
        slope[i] = a[i % channels]
    for i in range(width * chunks):
        parts[i] = 0
    for i in prange(chunks, nogil=True, num_threads=max(1, min(threads, <int>chunks)), schedule="static"):
        slopes_backward(&x[i * step * channels], &dy[i * step * channels], &dx[i * step * channels], min(step, rows - i * step) * channels,
                        width, slope, parts + i * width)
    for j in range(channels):
        total = 0
        for i in range(width * chunks // channels):
            total += parts[i * channels + j]
        da[j] = <real>total


# --- maxout: the largest of each `pieces` neighbours ------------------------------------------------------------------------

cdef void largest(const real *x, real *y, uint16_t *winner, Py_ssize_t n, Py_ssize_t pieces) noexcept nogil:
    """The first of equal maxima wins; the first NaN beats everything."""
    cdef Py_ssize_t i, k
    cdef real best, v
    cdef uint16_t w
    for i in range(n):
        best = x[i * pieces]
        w = 0
        for k in range(1, pieces):
            v = x[i * pieces + k]
            if v > best or (v != v and best == best):
                best = v
                w = <uint16_t>k
        y[i] = best
        winner[i] = w


cdef void larger(const real *x, real *y, uint16_t *winner, Py_ssize_t n) noexcept nogil:
    """`largest` of two, without branches."""
    cdef Py_ssize_t i
    cdef real a, b
    for i in range(n):
        a, b = x[2 * i], x[2 * i + 1]
        y[i] = b if (b > a) | ((b != b) & (a == a)) else a
        winner[i] = (b > a) | ((b != b) & (a == a))


cdef void to_winner(const real *dy, const uint16_t *winner, real *dx, Py_ssize_t n, Py_ssize_t pieces) noexcept nogil:
    cdef Py_ssize_t i, k
    for i in range(n):
        for k in range(pieces):
            dx[i * pieces + k] = dy[i] if winner[i] == k else <real>0


cdef void to_winner_of_two(const real *dy, const uint16_t *winner, real *dx, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[2 * i] = <real>0 if winner[i] else dy[i]
        dx[2 * i + 1] = dy[i] if winner[i] else <real>0


def maxout(const real[::1] x, real[::1] y, uint16_t[::1] winner, Py_ssize_t pieces, int threads):
    """y[i] = the largest of x[i * pieces], …, x[i * pieces + pieces - 1], and which of them it was."""
    cdef Py_ssize_t i, n = y.shape[0]
    if n == 0:
        return
    for i in prange(blocks(n), nogil=True, num_threads=min(threads, <int>blocks(n)), schedule="static"):
        if pieces == 2:
            larger(&x[2 * i * BLOCK], &y[i * BLOCK], &winner[i * BLOCK], min(BLOCK, n - i * BLOCK))
        else:
            largest(&x[i * BLOCK * pieces], &y[i * BLOCK], &winner[i * BLOCK], min(BLOCK, n - i * BLOCK), pieces)


def maxout_backward(const real[::1] dy, const uint16_t[::1] winner, real[::1] dx, Py_ssize_t pieces, int threads):
    """dx = dy at the winner, 0 elsewhere."""
    cdef Py_ssize_t i, n = dy.shape[0]
    if n == 0:
        return
    for i in prange(blocks(n), nogil=True, num_threads=min(threads, <int>blocks(n)), schedule="static"):
        if pieces == 2:
            to_winner_of_two(&dy[i * BLOCK], &winner[i * BLOCK], &dx[2 * i * BLOCK], min(BLOCK, n - i * BLOCK))
        else:
            to_winner(&dy[i * BLOCK], &winner[i * BLOCK], &dx[i * BLOCK * pieces], min(BLOCK, n - i * BLOCK), pieces)


# --- dropout ----------------------------------------------------------------------------------------------------------------

cdef inline uint64_t mix(uint64_t z) noexcept nogil:
    """64 bits that depend on all bits of z: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline uint32_t random_bits(uint32_t i, uint32_t a, uint32_t b) noexcept nogil:
    """32 bits of the counter i under the key (a, b): MurmurHash3's finaliser, the key added before and in the middle of it."""
    cdef uint32_t h = i * <uint32_t>0x9E3779B9 + a
    h = (h ^ (h >> 16)) * <uint32_t>0x85EBCA6B
    h = (h ^ (h >> 13)) + b
    h = (h ^ (h >> 16)) * <uint32_t>0xC2B2AE35
    return h ^ (h >> 16)


cdef void drop(const real *x, real *y, Py_ssize_t n, uint64_t first, uint64_t seed, uint32_t threshold, real factor) noexcept nogil:
    """y = x * (factor if kept else 0): 0 * NaN and 0 * Inf are NaN, as in PyTorch. n <= BLOCK, first a multiple of BLOCK."""
    cdef int i
    cdef uint64_t key = mix(seed + <uint64_t>0x9E3779B97F4A7C15 * ((first >> 32) + 1))
    cdef uint32_t a = <uint32_t>key, b = <uint32_t>(key >> 32), low = <uint32_t>first
    cdef real zero = 0
    for i in range(<int>n):
        y[i] = x[i] * (factor if random_bits(low + <uint32_t>i, a, b) >= threshold else zero)


def dropout(const real[::1] x, real[::1] y, unsigned long long seed, double p, int threads):
    """y[i] = x[i] / (1 - p) with probability 1 - p, else x[i] * 0, decided by a hash of (seed, i).

    key = mix(seed + 0x9E3779B97F4A7C15 * (i // 2**32 + 1)) modulo 2**64; number i is kept if
    random_bits(i modulo 2**32, low half of key, high half of key) >= floor(p * 2**32).
    """
    cdef Py_ssize_t i, n = x.shape[0]
    cdef uint32_t threshold = <uint32_t>(p * 4294967296.0) if p < 1 else <uint32_t>0xFFFFFFFF
    cdef real factor = <real>(1 / (1 - p)) if p < 1 else <real>0
    if n == 0:
        return
    for i in prange(blocks(n), nogil=True, num_threads=min(threads, <int>blocks(n)), schedule="static"):
        drop(&x[i * BLOCK], &y[i * BLOCK], min(BLOCK, n - i * BLOCK), i * BLOCK, seed, threshold, factor)


cdef void times_rows(const real *x, const real *mask, real *y, Py_ssize_t rows, Py_ssize_t channels) noexcept nogil:
    cdef Py_ssize_t i, c
    for i in range(rows):
        for c in range(channels):
            y[i * channels + c] = x[i * channels + c] * mask[c]


def scale_channels(const real[:, :, ::1] x, const real[:, ::1] mask, real[:, :, ::1] y, int threads):
    """y[n, i, c] = x[n, i, c] * mask[n, c]."""
    cdef Py_ssize_t n
    for n in prange(x.shape[0], nogil=True, num_threads=threads, schedule="static", use_threads_if=x.shape[0] * x.shape[1] * x.shape[2] > BLOCK):
        times_rows(&x[n, 0, 0], &mask[n, 0], &y[n, 0, 0], x.shape[1], x.shape[2])


# --- arithmetic -------------------------------------------------------------------------------------------------------------

cdef void sum_of(const real *a, const real *b, real *out, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = a[i] + b[i]


cdef void product_of(const real *x, real factor, real *out, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = x[i] * factor


def add(const real[::1] a, const real[::1] b, real[::1] out, int threads):
    """out = a + b; out may be a or b."""
    cdef Py_ssize_t i, n = a.shape[0]
    if n == 0:
        return
    for i in prange(blocks(n), nogil=True, num_threads=min(threads, <int>blocks(n)), schedule="static"):
        sum_of(&a[i * BLOCK], &b[i * BLOCK], &out[i * BLOCK], min(BLOCK, n - i * BLOCK))


def scale(const real[::1] x, double factor, real[::1] out, int threads):
    """out = x * factor; out may be x."""
    cdef Py_ssize_t i, n = x.shape[0]
    if n == 0:
        return
    for i in prange(blocks(n), nogil=True, num_threads=min(threads, <int>blocks(n)), schedule="static"):
        product_of(&x[i * BLOCK], <real>factor, &out[i * BLOCK], min(BLOCK, n - i * BLOCK))
