"""The two passes of every normalisation over a (rows, channels) matrix: sums per channel, then one affine map per channel.

The first pass sums x - shift, the shift being the mean of the first pixels, so that a large mean does not eat the variance: eight
rows in the arithmetic of x, which errs no more than a rounding or two of their sum, then double. The second computes
y = (x - shift) * scale + offset, where shift is the mean as x's type has it and the rest of the mean goes into the offset.
Rows are as wide as columns.pxd says; per-channel numbers are repeated over them.
"""

from libc.math cimport isfinite

from fastnet._ext.types cimport real


# --- sums over rows ---------------------------------------------------------------------------------------------------------

cdef inline void add_eight(const real *x, Py_ssize_t width, const real *shift, double *sums, double *squares) noexcept nogil:
    """Add eight rows of x - shift and of its square: per number 1 load, 3 operations."""
    cdef Py_ssize_t j
    cdef real s, a, b, c, d, e, f, g, h
    for j in range(width):
        s = shift[j]
        a = x[j] - s
        b = x[j + width] - s
        c = x[j + 2 * width] - s
        d = x[j + 3 * width] - s
        e = x[j + 4 * width] - s
        f = x[j + 5 * width] - s
        g = x[j + 6 * width] - s
        h = x[j + 7 * width] - s
        sums[j] += <double>(((a + b) + (c + d)) + ((e + f) + (g + h)))
        squares[j] += <double>(((a * a + b * b) + (c * c + d * d)) + ((e * e + f * f) + (g * g + h * h)))


cdef inline void add_one(const real *x, Py_ssize_t width, const real *shift, double *sums, double *squares) noexcept nogil:
    cdef Py_ssize_t j
    cdef double a
    for j in range(width):
        a = <double>x[j] - <double>shift[j]
        sums[j] += a
        squares[j] += a * a


cdef inline void add_eight_products(const real *x, const real *dy, Py_ssize_t width, const real *shift, double *sums, double *products) noexcept nogil:
    """Add eight rows of dy and of dy * (x - shift)."""
    cdef Py_ssize_t j
    cdef real s, a, b, c, d, e, f, g, h
    for j in range(width):
        s = shift[j]
        a = dy[j]
        b = dy[j + width]
        c = dy[j + 2 * width]
        d = dy[j + 3 * width]
        e = dy[j + 4 * width]
        f = dy[j + 5 * width]
        g = dy[j + 6 * width]
        h = dy[j + 7 * width]
        sums[j] += <double>(((a + b) + (c + d)) + ((e + f) + (g + h)))
        a = a * (x[j] - s) + b * (x[j + width] - s)
        c = c * (x[j + 2 * width] - s) + d * (x[j + 3 * width] - s)
        e = e * (x[j + 4 * width] - s) + f * (x[j + 5 * width] - s)
        g = g * (x[j + 6 * width] - s) + h * (x[j + 7 * width] - s)
        products[j] += <double>((a + c) + (e + g))


cdef inline void add_one_product(const real *x, const real *dy, Py_ssize_t width, const real *shift, double *sums, double *products) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(width):
        sums[j] += <double>dy[j]
        products[j] += <double>dy[j] * (<double>x[j] - <double>shift[j])


cdef inline void fold(double *sums, Py_ssize_t channels, Py_ssize_t width) noexcept nogil:
    """Add the repetitions of the channels in a row into the first."""
    cdef Py_ssize_t i, j
    for i in range(1, width // channels):
        for j in range(channels):
            sums[j] += sums[i * channels + j]


cdef inline void repeat(real *row, Py_ssize_t channels, Py_ssize_t width) noexcept nogil:
    """Repeat the first `channels` numbers over the row."""
    cdef Py_ssize_t j
    for j in range(channels, width):
        row[j] = row[j - channels]


cdef inline void statistics(const real *x, Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t width, real *shift, double *means, double *squares) noexcept nogil:
    """Each channel's mean and sum of squared deviations over the rows. shift, means and squares are scratch rows of that width."""
    cdef Py_ssize_t i, j, size = rows * channels, first = min(rows, 8)
    cdef double mean, n = rows
    cdef bint finite = True
    for j in range(channels):
        mean = 0
        for i in range(first):
            mean += <double>x[i * channels + j]
        mean /= first
        shift[j] = <real>mean if isfinite(mean) else <real>0
    repeat(shift, channels, width)
    for j in range(width):
        means[j] = squares[j] = 0
    i = 0
    while i + 8 * width <= size:
        add_eight(x + i, width, shift, means, squares)
        i += 8 * width
    for j in range(width):
        finite = finite and isfinite(squares[j])
    if not finite:                           # squares beyond the range of float (or a NaN): once more, all in double
        for j in range(width):
            means[j] = squares[j] = 0
        i = 0
    while i < size:
        add_one(x + i, min(width, size - i), shift, means, squares)
        i += width
    fold(means, channels, width)
    fold(squares, channels, width)
    for j in range(channels):
        mean = means[j] / n
        squares[j] -= mean * means[j]
        if squares[j] < 0:
            squares[j] = 0
        means[j] = mean + <double>shift[j]


cdef inline void products(const real *x, const real *dy, Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t width, const real *shift, double *sums, double *dots) noexcept nogil:
    """Each channel's sums of dy and of dy * (x - shift) over the rows, in scratch rows of that width."""
    cdef Py_ssize_t i = 0, j, size = rows * channels
    for j in range(width):
        sums[j] = dots[j] = 0
    while i + 8 * width <= size:
        add_eight_products(x + i, dy + i, width, shift, sums, dots)
        i += 8 * width
    while i < size:
        add_one_product(x + i, dy + i, min(width, size - i), shift, sums, dots)
        i += width
    fold(sums, channels, width)
    fold(dots, channels, width)


# --- the second pass --------------------------------------------------------------------------------------------------------

cdef inline void normalise(const real *x, real *y, Py_ssize_t size, Py_ssize_t width, const real *shift, const real *scale, const real *offset) noexcept nogil:
    """y = (x - shift) * scale + offset, row by row."""
    cdef Py_ssize_t i = 0, j
    while i < size:
        for j in range(min(width, size - i)):
            y[i + j] = (x[i + j] - shift[j]) * scale[j] + offset[j]
        i += width


cdef inline void combine(const real *x, const real *dy, real *dx, Py_ssize_t size, Py_ssize_t width, const real *shift, const real *a, const real *b, const real *c) noexcept nogil:
    """dx = a * dy + b * (x - shift) + c, row by row."""
    cdef Py_ssize_t i = 0, j
    while i < size:
        for j in range(min(width, size - i)):
            dx[i + j] = a[j] * dy[i + j] + (b[j] * (x[i + j] - shift[j]) + c[j])
        i += width


cdef inline double weight(const real *gamma, Py_ssize_t c) noexcept nogil:
    return <double>gamma[c] if gamma != NULL else 1.0


cdef inline double bias(const real *beta, Py_ssize_t c) noexcept nogil:
    return <double>beta[c] if beta != NULL else 0.0


cdef inline void affine(real *shift, Py_ssize_t width, double mean, double scale, double beta) noexcept nogil:
    """A channel's shift, scale and offset (in rows below each other) of y = (x - mean) * scale + beta."""
    shift[0] = <real>mean if isfinite(mean) else <real>0
    shift[width] = <real>scale
    shift[2 * width] = <real>(beta + (<double>shift[0] - mean) * scale)


cdef inline void gradient(real *shift, Py_ssize_t width, double mean, double scale, double inverse, double total, double dot) noexcept nogil:
    """A channel's a, b, c (in rows below its shift) of dx = scale * (dy - total - xhat * dot), xhat = (x - mean) * inverse."""
    cdef double b = -scale * inverse * dot
    shift[width] = <real>scale
    shift[2 * width] = <real>b
    shift[3 * width] = <real>(b * (<double>shift[0] - mean) - scale * total)
