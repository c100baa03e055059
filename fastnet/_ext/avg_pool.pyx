"""Average pooling of channels-last images, and adaptive average pooling: the same with other windows.

Loops run over the channels of one pixel and gather on the stack, as in max_pool.pyx. Work is cut by image and row, and
each row of the output, or of dx, is written by one thread.

Cost of a 2x2 window with stride 2, per output: 16 bytes read, 4 written, 3 additions, 1 division: memory is the limit.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from fastnet._ext.memory import Block

from fastnet._ext.columns cimport row_width
from fastnet._ext.ride cimport COEFFICIENTS, Load, load_of, load_run, widen
from fastnet._ext.types cimport bfloat16, real, stored
from fastnet._ext.work cimport BLOCK, WORTH


cdef void add_pixels(const real *x, Py_ssize_t pixels, real *total, Py_ssize_t n, Py_ssize_t C) noexcept nogil:
    """total += the sum of pixels side by side, four at a time while the total is in registers."""
    cdef Py_ssize_t c, j = 0
    cdef const real *a = x
    cdef const real *b
    cdef const real *d
    cdef const real *e
    while j + 4 <= pixels:
        b, d, e = a + C, a + 2 * C, a + 3 * C
        for c in range(n):
            total[c] += (a[c] + b[c]) + (d[c] + e[c])
        a, j = a + 4 * C, j + 4
    if j + 2 <= pixels:
        b = a + C
        for c in range(n):
            total[c] += a[c] + b[c]
        a, j = a + 2 * C, j + 2
    if j < pixels:
        for c in range(n):
            total[c] += a[c]


cdef void average_window(const real *x, Py_ssize_t height, Py_ssize_t width, Py_ssize_t W, Py_ssize_t C, real count, real *y,
                         Py_ssize_t n) noexcept nogil:
    """y = the sum of height x width pixels / count for n <= BLOCK channels. The sum is one of row sums: its error grows with
    height + width, not with their product, which counts for global averages."""
    cdef real total[BLOCK]
    cdef real line[BLOCK]
    cdef Py_ssize_t c, i
    for c in range(n):
        total[c] = 0
    for i in range(height):
        if width <= 4:
            add_pixels(x + i * W * C, width, total, n, C)
            continue
        for c in range(n):
            line[c] = 0
        add_pixels(x + i * W * C, width, line, n, C)
        for c in range(n):
            total[c] += line[c]
    for c in range(n):
        y[c] = total[c] / count


cdef inline void average_row(const Load *m, const stored *image, real *y, const Py_ssize_t *row, const Py_ssize_t *cols, Py_ssize_t W, Py_ssize_t C,
                      Py_ssize_t OW, real *scratch) noexcept nogil:
    """One row of averages; row and cols hold (start, stop, count) of the windows."""
    cdef Py_ssize_t ow, c
    cdef const real *x = <const real *>image + row[0] * W * C
    if m.wanted or stored is bfloat16:
        load_run(m, image + row[0] * W * C, (row[1] - row[0]) * W * C, scratch)
        x = scratch
    for ow in range(OW):
        for c from 0 <= c < C by BLOCK:
            average_window(x + cols[3 * ow] * C + c, row[1] - row[0], cols[3 * ow + 1] - cols[3 * ow], W, C,
                           <real>(row[2] * cols[3 * ow + 2]), y + ow * C + c, min(C - c, BLOCK))


def avg_pool2d(const stored[:, :, :, ::1] x, real[:, :, :, ::1] y, const Py_ssize_t[:, ::1] rows, const Py_ssize_t[:, ::1] cols,
               tuple load, int threads):
    """y = the sum of each window of x / its count; load: None, or what is to become of x where it is read (ride.pxd). x holds y's
    numbers or, for float32 averages, bfloat16 ones.

    rows (OH, 3) and cols (OW, 3): start and stop of each window within the image, and its share of the count.
    """
    if stored is double and real is float or stored is not double and real is double:   # nor is it compiled
        raise TypeError("avg_pool2d: x and y are to be both float64 or neither")
    cdef Py_ssize_t N = x.shape[0], H = x.shape[1], W = x.shape[2], C = x.shape[3], OH = y.shape[1], OW = y.shape[2], row
    if N == 0:
        return
    cdef const stored *source = &x[0, 0, 0, 0]
    cdef real *out = &y[0, 0, 0, 0]
    cdef const Py_ssize_t *down = &rows[0, 0]
    cdef const Py_ssize_t *across = &cols[0, 0]
    cdef Load m = load_of(source, load)
    cdef Py_ssize_t width = row_width(C) if m.wanted else 0, room = 0
    if m.wanted or stored is bfloat16:
        for row in range(OH):
            room = max(room, (rows[row, 1] - rows[row, 0]) * W * C)
    cdef unsigned char[::1] held = Block((COEFFICIENTS * width + room * threads + 1) * sizeof(real))
    cdef real *scratch = <real *>&held[0]
    m.coefficients, m.columns = widen(m.coefficients, m.columns, C, scratch + room * threads, width), width
    for row in prange(N * OH, nogil=True, num_threads=threads, schedule="static", use_threads_if=N * H * W * C > WORTH):
        average_row(&m, source + row // OH * H * W * C, out + row * OW * C, down + 3 * (row % OH), across, W, C, OW,
                    scratch + room * threadid())


cdef inline void quotients(const real *dy, real *out, real count, Py_ssize_t C) noexcept nogil:
    """out = dy / count of one pixel."""
    cdef real q[BLOCK]
    cdef Py_ssize_t c, c0, n
    for c0 from 0 <= c0 < C by BLOCK:
        n = min(C - c0, BLOCK)
        for c in range(n):
            q[c] = dy[c0 + c] / count
        memcpy(out + c0, q, n * sizeof(real))


cdef void spread_row(const real *dy, real *dx, Py_ssize_t first, Py_ssize_t end, const Py_ssize_t *row, const Py_ssize_t *cols,
                     Py_ssize_t W, Py_ssize_t C, Py_ssize_t OW) noexcept nogil:
    """Windows that do not overlap: one row of dy fills the rows first:end of dx, which are its own."""
    cdef Py_ssize_t ow, w, h, done = 0
    cdef real *line = dx + row[0] * W * C
    for ow in range(OW):
        w = cols[3 * ow]
        memset(line + done * C, 0, (w - done) * C * sizeof(real))
        quotients(dy + ow * C, line + w * C, <real>(row[2] * cols[3 * ow + 2]), C)
        done = cols[3 * ow + 1]
        for h in range(w + 1, done):
            memcpy(line + h * C, line + w * C, C * sizeof(real))
    memset(line + done * C, 0, (W - done) * C * sizeof(real))
    for h in range(first, end):
        if h < row[0] or h >= row[1]:
            memset(dx + h * W * C, 0, W * C * sizeof(real))
        elif h > row[0]:
            memcpy(dx + h * W * C, line, W * C * sizeof(real))


cdef void quotient_row(const real *dy, real *out, const Py_ssize_t *row, const Py_ssize_t *cols, Py_ssize_t C,
                       Py_ssize_t OW) noexcept nogil:
    """out = dy / count of one row of windows."""
    cdef Py_ssize_t ow
    for ow in range(OW):
        quotients(dy + ow * C, out + ow * C, <real>(row[2] * cols[3 * ow + 2]), C)


cdef void gather_row(const real *quotient, real *dx, const Py_ssize_t *rows, const Py_ssize_t *cols, Py_ssize_t W,
                     Py_ssize_t C, Py_ssize_t OW) noexcept nogil:
    """One row of dx: each pixel adds up the windows rows[0]:rows[1] x cols[iw] that cover it."""
    cdef real total[BLOCK]
    cdef Py_ssize_t iw, oh, ow, c, c0, n
    cdef const real *q
    for iw in range(W):
        for c0 from 0 <= c0 < C by BLOCK:
            n = min(C - c0, BLOCK)
            for c in range(n):
                total[c] = 0
            for oh in range(rows[0], rows[1]):
                for ow in range(cols[2 * iw], cols[2 * iw + 1]):
                    q = quotient + (oh * OW + ow) * C + c0
                    for c in range(n):
                        total[c] += q[c]
            memcpy(dx + iw * C + c0, total, n * sizeof(real))


def avg_pool2d_backward(const real[:, :, :, ::1] dy, real[:, :, :, ::1] dx, const Py_ssize_t[:, ::1] rows,
                        const Py_ssize_t[:, ::1] cols, int threads):
    """dx = dy / count in each window's pixels, 0 elsewhere, for windows that do not overlap: dx is written once."""
    cdef Py_ssize_t N = dx.shape[0], H = dx.shape[1], W = dx.shape[2], C = dx.shape[3], OH = dy.shape[1], OW = dy.shape[2], row
    if N == 0:
        return
    cdef const real *source = &dy[0, 0, 0, 0]
    cdef real *out = &dx[0, 0, 0, 0]
    cdef const Py_ssize_t *down = &rows[0, 0]
    cdef const Py_ssize_t *across = &cols[0, 0]
    for row in prange(N * OH, nogil=True, num_threads=threads, schedule="static", use_threads_if=N * H * W * C > WORTH):
        spread_row(source + row * OW * C, out + row // OH * H * W * C, 0 if row % OH == 0 else down[3 * (row % OH)],
                   H if row % OH == OH - 1 else down[3 * (row % OH) + 3], down + 3 * (row % OH), across, W, C, OW)


def avg_pool2d_backward_overlapping(const real[:, :, :, ::1] dy, real[:, :, :, ::1] quotient, real[:, :, :, ::1] dx,
                                    const Py_ssize_t[:, ::1] rows, const Py_ssize_t[:, ::1] cols,
                                    const Py_ssize_t[:, ::1] covering_rows, const Py_ssize_t[:, ::1] covering_cols,
                                    int threads):
    """dx = the sum of dy / count over the windows that cover each pixel, in row-major order of windows.

    quotient, of dy's shape, is scratch: dividing there costs one division per window, not one per window and pixel.
    covering_rows (H, 2) and covering_cols (W, 2): the windows first:end that cover each row and column of the image.
    """
    cdef Py_ssize_t N = dx.shape[0], H = dx.shape[1], W = dx.shape[2], C = dx.shape[3], OH = dy.shape[1], OW = dy.shape[2], row
    if N == 0:
        return
    cdef const real *source = &dy[0, 0, 0, 0]
    cdef real *scratch = &quotient[0, 0, 0, 0]
    cdef real *out = &dx[0, 0, 0, 0]
    cdef const Py_ssize_t *down = &rows[0, 0]
    cdef const Py_ssize_t *across = &cols[0, 0]
    cdef const Py_ssize_t *above = &covering_rows[0, 0]
    cdef const Py_ssize_t *beside = &covering_cols[0, 0]
    for row in prange(N * OH, nogil=True, num_threads=threads, schedule="static", use_threads_if=N * H * W * C > WORTH):
        quotient_row(source + row * OW * C, scratch + row * OW * C, down + 3 * (row % OH), across, C, OW)
    for row in prange(N * H, nogil=True, num_threads=threads, schedule="static", use_threads_if=N * H * W * C > WORTH):
        gather_row(scratch + row // H * OH * OW * C, out + row * W * C, above + 2 * (row % H), beside, W, C, OW)
