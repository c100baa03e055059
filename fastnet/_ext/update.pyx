"""The update rules: one pass over the flat buffer each.

w weights, g gradients, the other arrays a rule's state; all 1-D of one length. pieces (P, 4): each row is a stretch of them,
start and stop, and how many times the rule's lr and decay hold there; what lies in no piece stays as it is. A piece is the
work of one thread, so the caller cuts them (`PIECE` elements at most), and the threads do not change a bit.
Cost: every rule moves 4 or 8 bytes per array and element for a handful of flops, so memory bandwidth is the limit; what
counts is that each array is read once and written once.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt, sqrtf

from fastnet._ext.chunks cimport CHUNK
from fastnet._ext.types cimport real

PIECE = CHUNK

cdef struct Piece:
    double start        # whole numbers, exact below 2^53
    double stop
    double lr
    double decay


cdef const Piece *checked(real[::1] w, const real[::1] g, const double[:, ::1] pieces) except? NULL:
    """The pieces, all of which lie in w and g; NULL if there are none."""
    cdef Py_ssize_t i, n = w.shape[0]
    if g.shape[0] != n:
        raise ValueError(f"update: {n} weights, found {g.shape[0]} gradients")
    if pieces.shape[1] != 4:
        raise ValueError(f"update: a piece is (start, stop, lr, decay), found {pieces.shape[1]} numbers")
    for i in range(pieces.shape[0]):
        if not 0 <= pieces[i, 0] <= pieces[i, 1] <= n:
            raise ValueError(f"update: {n} weights, found a piece from {pieces[i, 0]:g} to {pieces[i, 1]:g}")
    return <const Piece *>&pieces[0, 0] if pieces.shape[0] else NULL


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


cdef void sgd_chunk(const Piece *s, real *w, const real *g, real lr, real decay) noexcept nogil:
    cdef bint decays = decay != 0
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t>s.start, <Py_ssize_t>s.stop):
        w[i] -= lr * (g[i] + decay * w[i] if decays else g[i])


cdef void momentum_chunk(
    const Piece *s, real *w, const real *g, real *v, real lr, real mu, bint nesterov, real decay
) noexcept nogil:
    cdef bint decays = decay != 0
    cdef Py_ssize_t i
    cdef real d, u
    for i in range(<Py_ssize_t>s.start, <Py_ssize_t>s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        u = mu * v[i] + d
        v[i] = u
        w[i] -= lr * (d + mu * u if nesterov else u)


def sgd(
    real[::1] w, const real[::1] g, real[::1] v, const double[:, ::1] pieces, double lr, double mu, bint nesterov, double decay,
    int threads
):
    """w -= lr (g + decay w); with a velocity v: v = mu v + g + decay w, w -= lr v (Nesterov: lr (g + decay w + mu v))."""
    cdef const Piece *p = checked(w, g, pieces)
    cdef Py_ssize_t n = w.shape[0], count = pieces.shape[0], c
    cdef real *pv = state(v, n)
    if count == 0:
        return
    cdef real *pw = &w[0]
    cdef const real *pg = &g[0]
    cdef int team = <int>min(threads, count)
    if pv == NULL:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            sgd_chunk(p + c, pw, pg, <real>(lr * p[c].lr), <real>(decay * p[c].decay))
    else:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            momentum_chunk(p + c, pw, pg, pv, <real>(lr * p[c].lr), <real>mu, nesterov, <real>(decay * p[c].decay))


# --- AdaGrad ------------------------------------------------------------------------------------------------------------


cdef void adagrad_chunk(
    const Piece *s, real *w, const real *g, real *a, real lr, real eps, real inside, real decay
) noexcept nogil:
    cdef bint decays = decay != 0
    cdef Py_ssize_t i
    cdef real d, u
    for i in range(<Py_ssize_t>s.start, <Py_ssize_t>s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        u = a[i] + d * d
        a[i] = u
        w[i] -= lr * (d / (root(u + inside) + eps))


def adagrad(
    real[::1] w, const real[::1] g, real[::1] a, const double[:, ::1] pieces, double lr, double eps, double decay, int threads,
    double inside=0.0
):
    """d = g + decay w; a += d^2; w -= lr d / (sqrt(a + inside) + eps)."""
    cdef const Piece *p = checked(w, g, pieces)
    cdef Py_ssize_t n = w.shape[0], count = pieces.shape[0], c
    cdef real *pa = state(a, n)
    if count == 0:
        return
    cdef real *pw = &w[0]
    cdef const real *pg = &g[0]
    cdef int team = <int>min(threads, count)
    for c in prange(count, nogil=True, num_threads=team, schedule="static"):
        adagrad_chunk(p + c, pw, pg, pa, <real>(lr * p[c].lr), <real>eps, <real>inside, <real>(decay * p[c].decay))


# --- RMSProp ------------------------------------------------------------------------------------------------------------


cdef void rmsprop_chunk(
    const Piece *s, real *w, const real *g, real *a, real lr, real alpha, real rest, real eps,
    real inside, real decay
) noexcept nogil:
    cdef bint decays = decay != 0
    cdef Py_ssize_t i
    cdef real d, u
    for i in range(<Py_ssize_t>s.start, <Py_ssize_t>s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        u = alpha * a[i] + rest * d * d
        a[i] = u
        w[i] -= lr * (d / (root(u + inside) + eps))


cdef void rmsprop_full_chunk(
    const Piece *s, real *w, const real *g, real *a, real *m, real *v, real lr, real alpha,
    real rest, real eps, real inside, real mu, real decay
) noexcept nogil:
    """The centred rule (m is not NULL) and the one with momentum (v is not NULL)."""
    cdef bint decays = decay != 0, centred = m != NULL, moving = v != NULL
    cdef Py_ssize_t i, start = <Py_ssize_t>s.start, size = <Py_ssize_t>s.stop - start
    cdef real d, u, mean, square
    w, g, a = w + start, g + start, a + start
    m, v = (m + start if centred else w), (v + start if moving else w)
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
    real[::1] w, const real[::1] g, real[::1] a, real[::1] m, real[::1] v, const double[:, ::1] pieces, double lr,
    double alpha, double eps, double inside, double mu, double decay, int threads
):
    """d = g + decay w; a = alpha a + (1 - alpha) d^2; u = d / (sqrt(a + inside) + eps); w -= lr u.

    With m: m += (1 - alpha) (d - m), and a - m^2 stands under the root. With v: v = mu v + u; w -= lr v.
    """
    cdef const Piece *p = checked(w, g, pieces)
    cdef Py_ssize_t n = w.shape[0], count = pieces.shape[0], c
    cdef real *pa = state(a, n)
    cdef real *pm = state(m, n)
    cdef real *pv = state(v, n)
    if count == 0:
        return
    cdef real *pw = &w[0]
    cdef const real *pg = &g[0]
    cdef int team = <int>min(threads, count)
    cdef real rest = <real>(1 - alpha)
    if pm == NULL and pv == NULL:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            rmsprop_chunk(
                p + c, pw, pg, pa, <real>(lr * p[c].lr), <real>alpha, rest, <real>eps, <real>inside, <real>(decay * p[c].decay)
            )
    else:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            rmsprop_full_chunk(
                p + c, pw, pg, pa, pm, pv, <real>(lr * p[c].lr), <real>alpha, rest, <real>eps, <real>inside,
                <real>mu, <real>(decay * p[c].decay)
            )


# --- Adam ---------------------------------------------------------------------------------------------------------------


cdef void adam_chunk(
    const Piece *s, real *w, const real *g, real *m, real *v, real lr, real rest1, real beta2, real rest2, real correction,
    real eps, real inside, real decay, real shrink
) noexcept nogil:
    cdef bint decays = decay != 0
    cdef Py_ssize_t i
    cdef real d, mean, square
    for i in range(<Py_ssize_t>s.start, <Py_ssize_t>s.stop):
        d = g[i] + decay * w[i] if decays else g[i]
        mean = m[i] + rest1 * (d - m[i])
        square = beta2 * v[i] + rest2 * d * d
        m[i] = mean
        v[i] = square
        w[i] = w[i] * shrink - lr * (mean / (root(square + inside) * correction + eps))


cdef void amsgrad_chunk(
    const Piece *s, real *w, const real *g, real *m, real *v, real *top, real lr, real rest1, real beta2, real rest2,
    real correction, real eps, real inside, real decay, real shrink
) noexcept nogil:
    cdef bint decays = decay != 0
    cdef Py_ssize_t i
    cdef real d, mean, square, most
    for i in range(<Py_ssize_t>s.start, <Py_ssize_t>s.stop):
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
    real[::1] w, const real[::1] g, real[::1] m, real[::1] v, real[::1] top, const double[:, ::1] pieces, double lr, double beta1,
    double beta2, double correction, double eps, double decay, double fading, int threads, double inside=0.0
):
    """d = g + decay w; m += (1 - beta1) (d - m); v = beta2 v + (1 - beta2) d^2;
    w = (1 - fading) w - lr m / (correction sqrt(v + inside) + eps); the fading of a piece is fading times both of its factors.

    lr is divided by 1 - beta1^t already, correction is 1 / sqrt(1 - beta2^t). With top: top = max(top, v) stands under the root.
    """
    cdef const Piece *p = checked(w, g, pieces)
    cdef Py_ssize_t n = w.shape[0], count = pieces.shape[0], c
    cdef real *pm = state(m, n)
    cdef real *pv = state(v, n)
    cdef real *pt = state(top, n)
    if count == 0:
        return
    cdef real *pw = &w[0]
    cdef const real *pg = &g[0]
    cdef int team = <int>min(threads, count)
    cdef real rest1 = <real>(1 - beta1), rest2 = <real>(1 - beta2)
    if pt == NULL:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            adam_chunk(
                p + c, pw, pg, pm, pv, <real>(lr * p[c].lr), rest1, <real>beta2, rest2, <real>correction, <real>eps,
                <real>inside, <real>(decay * p[c].decay), <real>(1 - fading * p[c].lr * p[c].decay)
            )
    else:
        for c in prange(count, nogil=True, num_threads=team, schedule="static"):
            amsgrad_chunk(
                p + c, pw, pg, pm, pv, pt, <real>(lr * p[c].lr), rest1, <real>beta2, rest2, <real>correction, <real>eps,
                <real>inside, <real>(decay * p[c].decay), <real>(1 - fading * p[c].lr * p[c].decay)
            )
