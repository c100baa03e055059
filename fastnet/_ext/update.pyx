"""One pass over the flat buffer: the update rules, averages and limits.

w weights, g gradients, the other arrays a rule's state; all 1-D of one length. The first `decayed` elements get weight decay.
Cost: every rule moves 4 or 8 bytes per array and element for a handful of flops, so memory bandwidth is the limit; what
counts is that each array is read once and written once. Work is cut into chunks of CHUNK elements, whatever the threads.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt, sqrtf
from libc.stdlib cimport free, malloc

from fastnet._ext.types cimport real

cdef enum:
    CHUNK = 16384       # 64 KB of float32: four arrays fit the second-level cache, and a small net stays on one thread
    LANES = 16          # partial sums of a dot product: two AVX-512 registers of double

cdef struct Span:
    Py_ssize_t start
    Py_ssize_t stop
    bint decays


cdef inline Py_ssize_t chunks(Py_ssize_t n, Py_ssize_t decayed) noexcept nogil:
    """Chunks of the decayed part and of the rest: none lies in both."""
    return (decayed + CHUNK - 1) // CHUNK + (n - decayed + CHUNK - 1) // CHUNK


cdef inline Span span(Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed) noexcept nogil:
    """The elements of chunk c."""
    cdef Py_ssize_t first = (decayed + CHUNK - 1) // CHUNK
    cdef Span s
    s.decays = c < first
    s.start = c * CHUNK if s.decays else decayed + (c - first) * CHUNK
    s.stop = min(s.start + CHUNK, decayed if s.decays else n)
    return s


cdef inline real root(real x) noexcept nogil:
    return sqrtf(x) if real is float else sqrt(x)


cdef Py_ssize_t length(real[::1] w, const real[::1] g, Py_ssize_t decayed) except -1:
    """The common length of weights and gradients."""
    if g.shape[0] != w.shape[0] or not 0 <= decayed <= w.shape[0]:
        raise ValueError(f"update: {w.shape[0]} weights ({decayed} of them decayed), found {g.shape[0]} gradients")
    return w.shape[0]


cdef real *state(real[::1] s, Py_ssize_t n) except? NULL:
    """The address of a state array, NULL for None."""
    if s is None:
        return NULL
    if s.shape[0] != n:
        raise ValueError(f"update: {n} weights, found a state of {s.shape[0]}")
    return &s[0] if n else NULL


# --- SGD ----------------------------------------------------------------------------------------------------------------


cdef void sgd_chunk(Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed, real *w, const real *g, real lr, real decay) noexcept nogil:
    cdef Span s = span(c, n, decayed)
    cdef bint decays = s.decays and decay != 0
    cdef Py_ssize_t i
    for i in range(s.start, s.stop):
        w[i] -= lr * (g[i] + decay * w[i] if decays else g[i])


cdef void momentum_chunk(
    Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed, real *w, const real *g, real *v, real lr, real mu, bint nesterov, real decay
) noexcept nogil:
    cdef Span s = span(c, n, decayed)
    cdef bint decays = s.decays and decay != 0
    cdef Py_ssize_t i
    cdef real d, u
    for i in range(s.start, s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        u = mu * v[i] + d
        v[i] = u
        w[i] -= lr * (d + mu * u if nesterov else u)


def sgd(real[::1] w, const real[::1] g, real[::1] v, Py_ssize_t decayed, double lr, double mu, bint nesterov, double decay, int threads):
    """w -= lr (g + decay w); with a velocity v: v = mu v + g + decay w, w -= lr v (Nesterov: lr (g + decay w + mu v))."""
    cdef Py_ssize_t n = length(w, g, decayed), count = chunks(n, decayed), c
    cdef real *pv = state(v, n)
    if n == 0:
        return
    cdef real *pw = &w[0]
    cdef const real *pg = &g[0]
    cdef int team = <int>min(threads, count)
    if pv == NULL:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            sgd_chunk(c, n, decayed, pw, pg, <real>lr, <real>decay)
    else:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            momentum_chunk(c, n, decayed, pw, pg, pv, <real>lr, <real>mu, nesterov, <real>decay)


# --- AdaGrad ------------------------------------------------------------------------------------------------------------


cdef void adagrad_chunk(
    Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed, real *w, const real *g, real *a, real lr, real eps, real decay
) noexcept nogil:
    cdef Span s = span(c, n, decayed)
    cdef bint decays = s.decays and decay != 0
    cdef Py_ssize_t i
    cdef real d, u
    for i in range(s.start, s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        u = a[i] + d * d
        a[i] = u
        w[i] -= lr * (d / (root(u) + eps))


def adagrad(real[::1] w, const real[::1] g, real[::1] a, Py_ssize_t decayed, double lr, double eps, double decay, int threads):
    """d = g + decay w; a += d^2; w -= lr d / (sqrt(a) + eps)."""
    cdef Py_ssize_t n = length(w, g, decayed), count = chunks(n, decayed), c
    cdef real *pa = state(a, n)
    if n == 0:
        return
    cdef real *pw = &w[0]
    cdef const real *pg = &g[0]
    cdef int team = <int>min(threads, count)
    for c in prange(count, nogil=True, num_threads=team, schedule="static"):
        adagrad_chunk(c, n, decayed, pw, pg, pa, <real>lr, <real>eps, <real>decay)


# --- RMSProp ------------------------------------------------------------------------------------------------------------


cdef void rmsprop_chunk(
    Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed, real *w, const real *g, real *a, real lr, real alpha, real rest, real eps,
    real inside, real decay
) noexcept nogil:
    cdef Span s = span(c, n, decayed)
    cdef bint decays = s.decays and decay != 0
    cdef Py_ssize_t i
    cdef real d, u
    for i in range(s.start, s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        u = alpha * a[i] + rest * d * d
        a[i] = u
        w[i] -= lr * (d / (root(u + inside) + eps))


cdef void rmsprop_full_chunk(
    Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed, real *w, const real *g, real *a, real *m, real *v, real lr, real alpha,
    real rest, real eps, real inside, real mu, real decay
) noexcept nogil:
    """The centred rule (m is not NULL) and the one with momentum (v is not NULL)."""
    cdef Span s = span(c, n, decayed)
    cdef bint decays = s.decays and decay != 0, centred = m != NULL, moving = v != NULL
    cdef Py_ssize_t i, size = s.stop - s.start
    cdef real d, u, mean, square
    w, g, a = w + s.start, g + s.start, a + s.start
    m, v = (m + s.start if centred else w), (v + s.start if moving else w)
    for i in range(size):
        d = g[i] + decay * w[i] if decays else g[i]
        square = alpha * a[i] + rest * d * d
        a[i] = square
        if centred:
            mean = m[i] + rest * (d - m[i])
            m[i] = mean
            square = square - mean * mean
            square = 0 if square < 0 else square    # a variance that rounding made negative; NaN stays NaN
        u = d / (root(square + inside) + eps)
        if moving:
            u = mu * v[i] + u
            v[i] = u
        w[i] -= lr * u


def rmsprop(
    real[::1] w, const real[::1] g, real[::1] a, real[::1] m, real[::1] v, Py_ssize_t decayed, double lr, double alpha, double eps,
    double inside, double mu, double decay, int threads
):
    """d = g + decay w; a = alpha a + (1 - alpha) d^2; u = d / (sqrt(a + inside) + eps); w -= lr u.

    With m: m += (1 - alpha) (d - m), and a - m^2 stands under the root. With v: v = mu v + u; w -= lr v.
    """
    cdef Py_ssize_t n = length(w, g, decayed), count = chunks(n, decayed), c
    cdef real *pa = state(a, n)
    cdef real *pm = state(m, n)
    cdef real *pv = state(v, n)
    if n == 0:
        return
    cdef real *pw = &w[0]
    cdef const real *pg = &g[0]
    cdef int team = <int>min(threads, count)
    cdef real rest = <real>(1 - alpha)
    if pm == NULL and pv == NULL:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            rmsprop_chunk(c, n, decayed, pw, pg, pa, <real>lr, <real>alpha, rest, <real>eps, <real>inside, <real>decay)
    else:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            rmsprop_full_chunk(
                c, n, decayed, pw, pg, pa, pm, pv, <real>lr, <real>alpha, rest, <real>eps, <real>inside, <real>mu, <real>decay
            )


# --- Adam ---------------------------------------------------------------------------------------------------------------


cdef void adam_chunk(
    Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed, real *w, const real *g, real *m, real *v, real lr, real rest1, real beta2,
    real rest2, real correction, real eps, real decay, real shrink
) noexcept nogil:
    cdef Span s = span(c, n, decayed)
    cdef bint decays = s.decays and decay != 0
    cdef Py_ssize_t i
    cdef real d, mean, square
    if not s.decays:
        shrink = 1
    for i in range(s.start, s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        mean = m[i] + rest1 * (d - m[i])
        square = beta2 * v[i] + rest2 * d * d
        m[i] = mean
        v[i] = square
        w[i] = w[i] * shrink - lr * (mean / (root(square) * correction + eps))


cdef void amsgrad_chunk(
    Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed, real *w, const real *g, real *m, real *v, real *top, real lr, real rest1,
    real beta2, real rest2, real correction, real eps, real decay, real shrink
) noexcept nogil:
    cdef Span s = span(c, n, decayed)
    cdef bint decays = s.decays and decay != 0
    cdef Py_ssize_t i
    cdef real d, mean, square, most
    if not s.decays:
        shrink = 1
    for i in range(s.start, s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        mean = m[i] + rest1 * (d - m[i])
        square = beta2 * v[i] + rest2 * d * d
        most = top[i]
        most = most if most >= square else (square if most == most else most)   # the larger one; NaN wins
        m[i] = mean
        v[i] = square
        top[i] = most
        w[i] = w[i] * shrink - lr * (mean / (root(most) * correction + eps))


def adam(
    real[::1] w, const real[::1] g, real[::1] m, real[::1] v, real[::1] top, Py_ssize_t decayed, double lr, double beta1,
    double beta2, double correction, double eps, double decay, double shrink, int threads
):
    """d = g + decay w; m += (1 - beta1) (d - m); v = beta2 v + (1 - beta2) d^2; w = shrink w - lr m / (correction sqrt(v) + eps).

    lr is divided by 1 - beta1^t already, correction is 1 / sqrt(1 - beta2^t). With top: top = max(top, v) stands under the root.
    """
    cdef Py_ssize_t n = length(w, g, decayed), count = chunks(n, decayed), c
    cdef real *pm = state(m, n)
    cdef real *pv = state(v, n)
    cdef real *pt = state(top, n)
    if n == 0:
        return
    cdef real *pw = &w[0]
    cdef const real *pg = &g[0]
    cdef int team = <int>min(threads, count)
    cdef real rest1 = <real>(1 - beta1), rest2 = <real>(1 - beta2)
    if pt == NULL:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            adam_chunk(
                c, n, decayed, pw, pg, pm, pv, <real>lr, rest1, <real>beta2, rest2, <real>correction, <real>eps, <real>decay,
                <real>shrink
            )
    else:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            amsgrad_chunk(
                c, n, decayed, pw, pg, pm, pv, pt, <real>lr, rest1, <real>beta2, rest2, <real>correction, <real>eps,
                <real>decay, <real>shrink
            )


# --- averages, limits, L-BFGS ---------------------------------------------------------------------------------------------


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
