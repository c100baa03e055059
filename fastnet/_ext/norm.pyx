"""Batch, layer and group normalisation over channels-last memory, by the two passes of moments.pxd.

Batch norm reads x twice and writes y once; backward reads x and dy twice and writes dx once. Per number that is a handful of
operations: memory is the limit. Threads get chunks of pixels, whose statistics are merged in their order. Layer and group norm
treat one example after the other, which is still in the cache the second time.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport sqrt

from fastnet._ext.columns cimport CHUNK, WIDTH, chunk_rows, row_width
from fastnet._ext.moments cimport affine, bias, combine, gradient, normalise, products, repeat, statistics, weight
from fastnet._ext.types cimport real

from fastnet._ext.memory import Block

ctypedef unsigned char byte


cdef inline const real *start(const real[::1] p) noexcept:
    """The first number of an optional vector; NULL without one."""
    if p is None:
        return NULL
    return &p[0]


# --- batch norm -------------------------------------------------------------------------------------------------------------

cdef void merge(const double *means, Py_ssize_t chunks, Py_ssize_t step, Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t width,
                const real *base, double *mean, double *square) noexcept nogil:
    """The mean and sum of squared deviations of all rows, from those of the chunks (pairs of rows of `width`), in their order."""
    cdef Py_ssize_t k, c
    cdef const double *m
    cdef double n
    for c in range(channels):
        mean[c] = square[c] = 0
    for k in range(chunks):
        m = means + 2 * k * width
        n = <double>min(step, rows - k * step)
        for c in range(channels):
            mean[c] += n * (m[c] - <double>base[c])
    for c in range(channels):
        mean[c] = <double>base[c] + mean[c] / rows
    for k in range(chunks):
        m = means + 2 * k * width
        n = <double>min(step, rows - k * step)
        for c in range(channels):
            square[c] += m[width + c] + n * (m[c] - mean[c]) * (m[c] - mean[c])



cdef void scale_and_shift(const real *x, real *y, Py_ssize_t rows, Py_ssize_t channels, const real *gamma, const real *beta,
                          const double *mean, const double *inverse, real *shift, int threads) noexcept nogil:
    """y = (x - mean) * inverse * gamma + beta; shift is scratch for three rows."""
    cdef Py_ssize_t c, k, width = row_width(channels), step = chunk_rows(rows, channels), chunks = (rows + step - 1) // step
    cdef real *scale = shift + width
    cdef real *offset = scale + width
    for c in range(channels):
        affine(shift + c, width, mean[c], weight(gamma, c) * inverse[c], bias(beta, c))
    for k in range(3):
        repeat(shift + k * width, channels, width)
    for k in prange(chunks, num_threads=min(threads, <int>chunks), schedule="static"):
        normalise(x + k * step * channels, y + k * step * channels, min(step, rows - k * step) * channels, width, shift, scale, offset)


def batch_norm(const real[:, ::1] x, real[:, ::1] y, const real[::1] gamma, const real[::1] beta, real[::1] running_mean,
               real[::1] running_var, double momentum, double eps, double[::1] mean, double[::1] inverse, int threads):
    """y = (x - mean) / sqrt(var + eps) * gamma + beta with the mean and biased variance of each column of x (rows >= 2, channels).

    Fills mean and inverse = 1 / sqrt(var + eps). The running statistics (both or None) move towards the mean and the unbiased variance.
    """
    cdef Py_ssize_t rows = x.shape[0], channels = x.shape[1], width = row_width(channels), step = chunk_rows(rows, channels)
    cdef Py_ssize_t chunks = (rows + step - 1) // step, k, c
    cdef byte[::1] scratch = Block(width * (16 * chunks + sizeof(real) * max(chunks, 3)))
    cdef double *sums = <double *>&scratch[0]
    cdef real *shift = <real *>(sums + 2 * width * chunks)
    cdef const real *xs = &x[0, 0]
    cdef const real *g = start(gamma)
    cdef const real *b = start(beta)
    cdef real *old_mean = NULL
    cdef real *old_var = NULL
    cdef double square
    if running_mean is not None:
        old_mean, old_var = &running_mean[0], &running_var[0]
    with nogil:
        for k in prange(chunks, num_threads=min(threads, <int>chunks), schedule="static"):
            statistics(xs + k * step * channels, min(step, rows - k * step), channels, width, shift + k * width,
                       sums + 2 * k * width, sums + (2 * k + 1) * width)
        merge(sums, chunks, step, rows, channels, width, shift, &mean[0], &inverse[0])
        for c in range(channels):
            square = inverse[c]
            inverse[c] = 1 / sqrt(square / rows + eps)
            if old_mean != NULL:
                old_mean[c] = <real>((1 - momentum) * old_mean[c] + momentum * mean[c])
                old_var[c] = <real>((1 - momentum) * old_var[c] + momentum * square / (rows - 1))
        scale_and_shift(xs, &y[0, 0], rows, channels, g, b, &mean[0], &inverse[0], shift, threads)


def batch_norm_eval(const real[:, ::1] x, real[:, ::1] y, const real[::1] gamma, const real[::1] beta, const double[::1] mean,
                    const double[::1] inverse, int threads):
    """y = (x - mean) * inverse * gamma + beta with given statistics: one pass."""
    cdef byte[::1] scratch = Block(3 * sizeof(real) * row_width(x.shape[1]))
    cdef const real *g = start(gamma)
    cdef const real *b = start(beta)
    with nogil:
        scale_and_shift(&x[0, 0], &y[0, 0], x.shape[0], x.shape[1], g, b, &mean[0], &inverse[0], <real *>&scratch[0], threads)


def batch_norm_backward(const real[:, ::1] x, const real[:, ::1] dy, real[:, ::1] dx, const real[::1] gamma, const double[::1] mean,
                        const double[::1] inverse, real[::1] dgamma, real[::1] dbeta, bint training, int threads):
    """dgamma = sum of dy * xhat, dbeta = sum of dy, dx = gamma * inverse * (dy - [dbeta + xhat * dgamma] / rows), xhat = (x - mean) * inverse.

    The bracket is the way through the batch's own statistics; with given ones (training false) it is not there.
    """
    cdef Py_ssize_t rows = x.shape[0], channels = x.shape[1], width = row_width(channels), step = chunk_rows(rows, channels)
    cdef Py_ssize_t chunks = (rows + step - 1) // step, k, c
    cdef byte[::1] scratch = Block(width * (16 * chunks + 4 * sizeof(real)))
    cdef double *sums = <double *>&scratch[0]
    cdef real *shift = <real *>(sums + 2 * width * chunks)
    cdef const real *xs = &x[0, 0]
    cdef const real *dys = &dy[0, 0]
    cdef const real *g = start(gamma)
    cdef real *dxs = &dx[0, 0]
    cdef double total, dot
    with nogil:
        for c in range(channels):
            shift[c] = <real>mean[c]
        repeat(shift, channels, width)
        for k in prange(chunks, num_threads=min(threads, <int>chunks), schedule="static"):
            products(xs + k * step * channels, dys + k * step * channels, min(step, rows - k * step), channels, width, shift,
                     sums + 2 * k * width, sums + (2 * k + 1) * width)
        for k in range(1, chunks):
            for c in range(2 * width):
                sums[c] += sums[2 * k * width + c]
        for c in range(channels):
            total = sums[c]
            dot = sums[width + c]
            dot = (dot + (<double>shift[c] - mean[c]) * total) * inverse[c]
            dgamma[c] = <real>dot
            dbeta[c] = <real>total
            if not training:
                total = dot = 0
            gradient(shift + c, width, mean[c], weight(g, c) * inverse[c], inverse[c], total / rows, dot / rows)
        for k in range(1, 4):
            repeat(shift + k * width, channels, width)
        for k in prange(chunks, num_threads=min(threads, <int>chunks), schedule="static"):
            combine(xs + k * step * channels, dys + k * step * channels, dxs + k * step * channels, min(step, rows - k * step) * channels,
                    width, shift, shift + width, shift + 2 * width, shift + 3 * width)


# --- group norm -------------------------------------------------------------------------------------------------------------

cdef void normalise_groups(const real *x, real *y, Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t groups, const real *gamma,
                           const real *beta, double eps, double *mean, double *inverse, double *means) noexcept nogil:
    """One example; means is scratch for two rows of double and three of real."""
    cdef Py_ssize_t width = row_width(channels), per = channels // groups, i, c
    cdef double *squares = means + width
    cdef real *shift = <real *>(squares + width)
    cdef double m, v
    statistics(x, rows, channels, width, shift, means, squares)
    for i in range(groups):
        m = v = 0
        for c in range(i * per, (i + 1) * per):
            m += means[c] / per
        for c in range(i * per, (i + 1) * per):
            v += squares[c] + rows * (means[c] - m) * (means[c] - m)
        mean[i] = m
        inverse[i] = 1 / sqrt(v / (per * rows) + eps)
        for c in range(i * per, (i + 1) * per):
            affine(shift + c, width, m, weight(gamma, c) * inverse[i], bias(beta, c))
    for i in range(3):
        repeat(shift + i * width, channels, width)
    normalise(x, y, rows * channels, width, shift, shift + width, shift + 2 * width)


def group_norm(const real[:, :, ::1] x, real[:, :, ::1] y, const real[::1] gamma, const real[::1] beta, double eps, double[:, ::1] mean,
               double[:, ::1] inverse, int threads):
    """y = (x - mean) / sqrt(var + eps) * gamma + beta for x (N, pixels, channels), over the pixels and each group's channels.

    Fills mean and inverse = 1 / sqrt(var + eps), both (N, groups).
    """
    cdef Py_ssize_t n, pixels = x.shape[1], channels = x.shape[2], size = row_width(channels) * (16 + 3 * sizeof(real))
    cdef byte[::1] scratch = Block(size * threads)
    cdef const real *g = start(gamma)
    cdef const real *b = start(beta)
    for n in prange(x.shape[0], nogil=True, num_threads=threads, schedule="static", use_threads_if=x.shape[0] * pixels * channels > CHUNK):
        normalise_groups(&x[n, 0, 0], &y[n, 0, 0], pixels, channels, mean.shape[1], g, b, eps, &mean[n, 0], &inverse[n, 0],
                         <double *>(&scratch[0] + size * threadid()))


cdef void groups_backward(const real *x, const real *dy, real *dx, Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t groups, const real *gamma,
                          const double *mean, const double *inverse, double *dgamma, double *dbeta, double *sums) noexcept nogil:
    """One example, with its own part of dgamma and dbeta; sums is scratch for two rows of double and four of real."""
    cdef Py_ssize_t width = row_width(channels), per = channels // groups, i, c
    cdef double *dots = sums + width
    cdef real *shift = <real *>(dots + width)
    cdef double total, dot
    for c in range(channels):
        shift[c] = <real>mean[c // per]
    repeat(shift, channels, width)
    products(x, dy, rows, channels, width, shift, sums, dots)
    for i in range(groups):
        total = dot = 0
        for c in range(i * per, (i + 1) * per):
            dbeta[c] = sums[c]
            dgamma[c] = (dots[c] + (<double>shift[c] - mean[i]) * sums[c]) * inverse[i]
            total += weight(gamma, c) * dbeta[c]
            dot += weight(gamma, c) * dgamma[c]
        for c in range(i * per, (i + 1) * per):
            # here gamma is inside the sums: dx = inverse * (gamma * dy - mean of gamma * dy - xhat * mean of gamma * dy * xhat)
            gradient(shift + c, width, mean[i], inverse[i], inverse[i], total / (per * rows), dot / (per * rows))
            shift[width + c] = <real>(weight(gamma, c) * inverse[i])
    for i in range(1, 4):
        repeat(shift + i * width, channels, width)
    combine(x, dy, dx, rows * channels, width, shift, shift + width, shift + 2 * width, shift + 3 * width)


def group_norm_backward(const real[:, :, ::1] x, const real[:, :, ::1] dy, real[:, :, ::1] dx, const real[::1] gamma,
                        const double[:, ::1] mean, const double[:, ::1] inverse, double[:, ::1] dgamma, double[:, ::1] dbeta, int threads):
    """dx, and each example's part of dgamma and dbeta, (N, channels), to be added by the caller."""
    cdef Py_ssize_t n, pixels = x.shape[1], channels = x.shape[2], size = row_width(channels) * (16 + 4 * sizeof(real))
    cdef byte[::1] scratch = Block(size * threads)
    cdef const real *g = start(gamma)
    for n in prange(x.shape[0], nogil=True, num_threads=threads, schedule="static", use_threads_if=x.shape[0] * pixels * channels > CHUNK):
        groups_backward(&x[n, 0, 0], &dy[n, 0, 0], &dx[n, 0, 0], pixels, channels, mean.shape[1], g, &mean[n, 0], &inverse[n, 0],
                        &dgamma[n, 0], &dbeta[n, 0], <double *>(&scratch[0] + size * threadid()))


# --- layer norm -------------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t lanes(Py_ssize_t size) noexcept nogil:
    """A row of `size` numbers is summed as a matrix of one channel this wide: long rows afford more scratch."""
    return WIDTH if size >= 8 * WIDTH else WIDTH // 8


cdef void normalise_row(const real *x, real *y, Py_ssize_t size, const real *gamma, const real *beta, double eps, double *mean,
                        double *inverse, double *means) noexcept nogil:
    """One example; means is scratch for two rows of double and one of real."""
    cdef Py_ssize_t width = lanes(size), j
    cdef real *shift = <real *>(means + 2 * width)
    cdef real s, scale, offset
    statistics(x, size, 1, width, shift, means, means + width)
    mean[0] = means[0]
    inverse[0] = 1 / sqrt(means[width] / size + eps)
    s = <real>mean[0]
    scale = <real>inverse[0]
    offset = <real>((<double>s - mean[0]) * inverse[0])
    for j in range(size):
        y[j] = ((x[j] - s) * scale + offset) * gamma[j] + beta[j]


def layer_norm(const real[:, ::1] x, real[:, ::1] y, const real[::1] gamma, const real[::1] beta, double eps, double[::1] mean,
               double[::1] inverse, int threads):
    """y = (x - mean) / sqrt(var + eps) * gamma + beta with the statistics of each row of x (rows, size); gamma, beta (size,)."""
    cdef Py_ssize_t n, size = x.shape[1], bytes = lanes(size) * (16 + sizeof(real))
    cdef byte[::1] scratch = Block(bytes * threads)
    for n in prange(x.shape[0], nogil=True, num_threads=threads, schedule="static", use_threads_if=x.shape[0] * size > CHUNK):
        normalise_row(&x[n, 0], &y[n, 0], size, &gamma[0], &beta[0], eps, &mean[n], &inverse[n], <double *>(&scratch[0] + bytes * threadid()))


cdef void row_backward(const real *x, const real *dy, real *dx, Py_ssize_t size, const real *gamma, double mean, double inverse,
                       double *dgamma, double *dbeta, double *sums) noexcept nogil:
    """One example, added to dgamma and dbeta; sums is scratch for two rows of double and one of real. dx serves as scratch too."""
    cdef Py_ssize_t width = lanes(size), j
    cdef real *shift = <real *>(sums + 2 * width)
    cdef real s = <real>mean, scale = <real>inverse, offset = <real>((<double>s - mean) * inverse), a, b, c
    cdef real coefficients[4]
    for j in range(width):
        shift[j] = s
    for j in range(size):
        dbeta[j] += <double>dy[j]
        dgamma[j] += <double>(dy[j] * ((x[j] - s) * scale + offset))
    for j in range(size):
        dx[j] = dy[j] * gamma[j]
    products(x, <const real *>dx, size, 1, width, <const real *>shift, sums, sums + width)
    coefficients[0] = s
    gradient(coefficients, 1, mean, inverse, inverse, sums[0] / size, (sums[width] + (<double>s - mean) * sums[0]) * inverse / size)
    a, b, c = coefficients[1], coefficients[2], coefficients[3]
    for j in range(size):
        dx[j] = a * dx[j] + (b * (x[j] - s) + c)


def layer_norm_backward(const real[:, ::1] x, const real[:, ::1] dy, real[:, ::1] dx, const real[::1] gamma, const double[::1] mean,
                        const double[::1] inverse, double[:, ::1] dgamma, double[:, ::1] dbeta, int threads):
    """dx, and the parts of dgamma and dbeta, (chunks, size), that each chunk of rows has (zeros before), to be added by the caller."""
    cdef Py_ssize_t rows = x.shape[0], size = x.shape[1], bytes = lanes(size) * (16 + sizeof(real)), k, chunks = dgamma.shape[0]
    cdef byte[::1] scratch = Block(bytes * threads)
    for k in prange(chunks, nogil=True, num_threads=threads, schedule="static", use_threads_if=rows * size > CHUNK):
        rows_backward(&x[0, 0], &dy[0, 0], &dx[0, 0], rows * k // chunks, rows * (k + 1) // chunks, size, &gamma[0], &mean[0], &inverse[0],
                      &dgamma[k, 0], &dbeta[k, 0], <double *>(&scratch[0] + bytes * threadid()))


cdef void rows_backward(const real *x, const real *dy, real *dx, Py_ssize_t first, Py_ssize_t last, Py_ssize_t size, const real *gamma,
                        const double *mean, const double *inverse, double *dgamma, double *dbeta, double *sums) noexcept nogil:
    cdef Py_ssize_t n
    for n in range(first, last):
        row_backward(x + n * size, dy + n * size, dx + n * size, size, gamma, mean[n], inverse[n], dgamma, dbeta, sums)
