"""The update rules: one pass over the flat buffer each.

w weights, g gradients, the other arrays a rule's state; all 1-D of one length. The first `decayed` elements get weight decay.
Cost: every rule moves 4 or 8 bytes per array and element for a handful of flops, so memory bandwidth is the limit; what
counts is that each array is read once and written once.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt, sqrtf

from fastnet._ext.chunks cimport Span, chunks, length, span
from fastnet._ext.types cimport real


cdef inline real root(real x) noexcept nogil:
    return sqrtf(x) if real is float else sqrt(x)


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
    Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed, real *w, const real *g, real *a, real lr, real eps, real inside, real decay
) noexcept nogil:
    cdef Span s = span(c, n, decayed)
    cdef bint decays = s.decays and decay != 0
    cdef Py_ssize_t i
    cdef real d, u
    for i in range(s.start, s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        u = a[i] + d * d
        a[i] = u
        w[i] -= lr * (d / (root(u + inside) + eps))


def adagrad(
    real[::1] w, const real[::1] g, real[::1] a, Py_ssize_t decayed, double lr, double eps, double decay, int threads,
    double inside=0.0
):
    """d = g + decay w; a += d^2; w -= lr d / (sqrt(a + inside) + eps)."""
    cdef Py_ssize_t n = length(w, g, decayed), count = chunks(n, decayed), c
    cdef real *pa = state(a, n)
    if n == 0:
        return
    cdef real *pw = &w[0]
    cdef const real *pg = &g[0]
    cdef int team = <int>min(threads, count)
    for c in prange(count, nogil=True, num_threads=team, schedule="static"):
        adagrad_chunk(c, n, decayed, pw, pg, pa, <real>lr, <real>eps, <real>inside, <real>decay)


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
    real rest2, real correction, real eps, real inside, real decay, real shrink
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
        w[i] = w[i] * shrink - lr * (mean / (root(square + inside) * correction + eps))


cdef void amsgrad_chunk(
    Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed, real *w, const real *g, real *m, real *v, real *top, real lr, real rest1,
    real beta2, real rest2, real correction, real eps, real inside, real decay, real shrink
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
        w[i] = w[i] * shrink - lr * (mean / (root(most + inside) * correction + eps))


def adam(
    real[::1] w, const real[::1] g, real[::1] m, real[::1] v, real[::1] top, Py_ssize_t decayed, double lr, double beta1,
    double beta2, double correction, double eps, double decay, double shrink, int threads, double inside=0.0
):
    """d = g + decay w; m += (1 - beta1) (d - m); v = beta2 v + (1 - beta2) d^2; w = shrink w -
    lr m / (correction sqrt(v + inside) + eps).

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
                c, n, decayed, pw, pg, pm, pv, <real>lr, rest1, <real>beta2, rest2, <real>correction, <real>eps, <real>inside,
                <real>decay, <real>shrink
            )
    else:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            amsgrad_chunk(
                c, n, decayed, pw, pg, pm, pv, pt, <real>lr, rest1, <real>beta2, rest2, <real>correction, <real>eps,
                <real>inside, <real>decay, <real>shrink
            )
