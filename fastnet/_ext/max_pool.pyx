"""Max pooling of channels-last images.

Every loop that counts runs over the channels of one pixel, which lie side by side, so any window, stride, padding and
dilation vectorises alike. Results are gathered in small arrays on the stack (BLOCK numbers at a time): the compiler knows
that nothing else points there and needs no run-time checks for overlap. Work is cut by image and row, and each row of the
output, or of dx, is written by one thread, so there are no partial sums and no races.

Cost of a 2x2 window with stride 2, per output: 16 bytes read, 4 + 1 written, 3 comparisons: memory is the limit.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.string cimport memcpy, memset

from fastnet._ext.memory import Block

from fastnet._ext.columns cimport chunk_rows, row_width
from fastnet._ext.ride cimport COEFFICIENTS, SUMS, Finish, Load, add_parts, finish_of, finish_run, load_of, load_run, number, round_run, widen_for
from fastnet._ext.strip cimport ceil_div
from fastnet._ext.types cimport bfloat16, real, stored
from fastnet._ext.window cimport Window, end_tap, first_tap, pairs, window_of
from fastnet._ext.work cimport BLOCK, WORTH

ctypedef fused index:   # the winner's place in its window: one byte up to 256 places
    unsigned char
    int

cdef enum:
    GATHERED = 8192     # numbers of dx, at least, that are finished together
    FEW = 8     # channels below which 2x2 windows are taken number by number: vectors over channels would be mostly empty


cdef inline void challenge(real v, int tap, real *best, int *which) noexcept nogil:
    """v wins if it is larger: an equal value comes too late, as in np.argmax."""
    if v > best[0]:
        best[0] = v
        which[0] = tap


cdef inline bint square(const real *a, const real *b, const real *d, const real *e, int tap, int KW, real *best, int *which,
                        Py_ssize_t n) noexcept nogil:
    """The maximum of 2x2 pixels for n channels; True if there may be a NaN (Inf - Inf looks like one)."""
    cdef int strange = 0
    cdef real m
    cdef int k
    cdef Py_ssize_t c
    for c in range(n):
        m = a[c]
        k = tap
        challenge(b[c], tap + 1, &m, &k)
        challenge(d[c], tap + KW, &m, &k)
        challenge(e[c], tap + KW + 1, &m, &k)
        best[c] = m
        which[c] = k
        m = (a[c] + b[c]) + (d[c] + e[c])
        strange |= m != m
    return strange


cdef inline bint triple(const real *a, Py_ssize_t step, int tap, real *best, int *which, Py_ssize_t n) noexcept nogil:
    """Three more pixels for n channels, while the best is in registers; True if there may be a NaN."""
    cdef int strange = 0
    cdef real m
    cdef int k
    cdef Py_ssize_t c
    cdef const real *b = a + step
    cdef const real *d = b + step
    for c in range(n):
        m = best[c]
        k = which[c]
        challenge(a[c], tap, &m, &k)
        challenge(b[c], tap + 1, &m, &k)
        challenge(d[c], tap + 2, &m, &k)
        best[c] = m
        which[c] = k
        m = (a[c] + b[c]) + d[c]
        strange |= m != m
    return strange


cdef inline void single(const real *a, int tap, real *best, int *which, Py_ssize_t n) noexcept nogil:
    """One more pixel for n channels: it wins if it is larger, or the first NaN."""
    cdef real v, m
    cdef bint wins
    cdef Py_ssize_t c
    for c in range(n):
        v = a[c]
        m = best[c]
        wins = (not v <= m) & (m == m)
        best[c] = v if wins else m
        which[c] = tap if wins else which[c]


cdef inline void max_window(const real *x, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t row_step, Py_ssize_t step, int tap,
                            int KW, real *best, int *which, Py_ssize_t n) noexcept nogil:
    """The maximum of rows x cols pixels for n channels; x is the first pixel, which is tap number `tap`.

    First without a thought of NaN, two comparisons fewer per value, then carefully if one may have been there.
    """
    cdef bint strange = False
    cdef Py_ssize_t c, i, j, attempt
    if rows == 2 and cols == 2 and not square(x, x + step, x + row_step, x + row_step + step, tap, KW, best, which, n):
        return
    for attempt in range(2):
        for c in range(n):  # a window of -inf alone has its maximum in the first place too
            best[c] = -INFINITY
            which[c] = tap
        for i in range(rows):
            j = 0
            while not strange and j + 3 <= cols:
                strange = triple(x + i * row_step + j * step, step, tap + <int>(i * KW + j), best, which, n)
                j += 3
            if strange and attempt == 0:
                break
            while j < cols:
                single(x + i * row_step + j * step, tap + <int>(i * KW + j), best, which, n)
                j += 1
        if not strange:
            return


cdef inline void put(const real *best, const int *which, stored *y, index *winner, Py_ssize_t n) noexcept nogil:
    """Write what is gathered: bytes convert 16 to 64 at a time, so in one go for the pixels of a BLOCK."""
    cdef Py_ssize_t c
    if stored is bfloat16:
        round_run(<const float *>best, n, y)
    else:
        memcpy(y, best, n * sizeof(real))
    for c in range(n):
        winner[c] = <index>which[c]


cdef bint max_pair_few(const real *x, real *y, index *winner, Py_ssize_t W, Py_ssize_t C, Py_ssize_t OW) noexcept nogil:
    """One row of 2x2 windows side by side, number by number; True if there may be a NaN.

    The winner is counted, not branched to: a branch would be guessed wrong every other time (40 cycles a window, not 10).
    """
    cdef Py_ssize_t ow, c, below = W * C, top, bottom, lower
    cdef const real *p
    cdef real total
    cdef bint strange = False
    for ow in range(OW):
        for c in range(C):
            p = x + 2 * ow * C + c
            top = p[C] > p[0]
            bottom = p[below + C] > p[below]
            lower = p[below + bottom * C] > p[top * C]
            bottom = top + lower * (bottom - top)
            y[ow * C + c] = p[lower * below + bottom * C]
            winner[ow * C + c] = <index>(2 * lower + bottom)
            total = (p[0] + p[C]) + (p[below] + p[below + C])
            strange |= total != total
    return strange


cdef inline const real *load_rows(const Load *m, const stored *x, Py_ssize_t rows, Py_ssize_t step, Py_ssize_t size, real *scratch) noexcept nogil:
    """The maps of so many rows of the image, side by side in scratch."""
    cdef Py_ssize_t i
    for i in range(rows):
        load_run(m, x + i * step, size, scratch + i * size)
    return scratch


cdef inline void max_row(const Load *m, const stored *image, stored *y, index *winner, Py_ssize_t oh, Py_ssize_t H, Py_ssize_t W, Py_ssize_t C,
                  Py_ssize_t OW, Window g, bint few, real *scratch) noexcept nogil:
    """One row of output pixels."""
    cdef real best[BLOCK]
    cdef int which[BLOCK]
    cdef Py_ssize_t h = oh * g.SH - g.PH, h0 = first_tap(h, g.DH), h1 = end_tap(h, g.DH, g.KH, H), row_step = g.DH * W * C
    cdef const real *x = <const real *>image + (h + h0 * g.DH) * W * C
    if (m.wanted or stored is bfloat16) and h0 < h1:
        x, row_step = load_rows(m, image + (h + h0 * g.DH) * W * C, h1 - h0, row_step, W * C, scratch), W * C
    if stored is not bfloat16:
        if few and not max_pair_few(x, <real *>y, winner, W, C, OW):
            return
    cdef Py_ssize_t ow, w, w0, w1, c, n, full = 0, done = 0
    for ow in range(OW):
        w = ow * g.SW - g.PW
        w0, w1 = first_tap(w, g.DW), end_tap(w, g.DW, g.KW, W)
        if h0 >= h1 or w0 >= w1:  # dilation can step over a small image: nothing but padding, so no pixel wins
            w1 = w0
        for c from 0 <= c < C by BLOCK:
            n = min(C - c, BLOCK)
            if full + n > BLOCK:
                put(best, which, y + done, winner + done, full)
                done, full = done + full, 0
            max_window(x + (w + w0 * g.DW) * C + c, h1 - h0, w1 - w0, row_step, g.DW * C,
                       <int>(h0 * g.KW + w0) if w0 < w1 else 0, <int>g.KW, best + full, which + full, n)
            full += n
    put(best, which, y + done, winner + done, full)


def max_pool2d(const stored[:, :, :, ::1] x, stored[:, :, :, ::1] y, index[:, :, :, ::1] winner, tuple geometry, tuple load, int threads):
    """y = the maximum of each window of x, padding left out; winner = its number KW*u + v, the first of equals.

    load: None, or what is to become of x where it is read (ride.pxd), row by row as windows come to it.
    """
    cdef Window g = window_of(geometry)
    cdef Py_ssize_t N = x.shape[0], H = x.shape[1], W = x.shape[2], C = x.shape[3], OH = y.shape[1], OW = y.shape[2]
    cdef Py_ssize_t row, size = H * W * C, stride = OW * C, width = row_width(C), room
    if N == 0:
        return
    cdef const stored *source = &x[0, 0, 0, 0]
    cdef stored *values = &y[0, 0, 0, 0]
    cdef index *winners = &winner[0, 0, 0, 0]
    cdef bint few = C < FEW and pairs(&g, H, W, OH, OW)
    cdef Load m = load_of(source, load)
    room = min(g.KH, H) * W * C if m.wanted or stored is bfloat16 else 0
    cdef unsigned char[::1] held = Block(((COEFFICIENTS * width if m.wanted else 0) + room * threads + 1) * sizeof(double))
    cdef double *scratch = <double *>&held[0]
    m.coefficients, m.columns = widen_for(source, m.coefficients, m.columns, C, scratch + room * threads, width), width
    for row in prange(N * OH, nogil=True, num_threads=threads, schedule="static", use_threads_if=N * size > WORTH):
        if stored is double:
            max_row(&m, source + row // OH * size, values + row * stride, winners + row * stride, row % OH, H, W, C, OW, g, few,
                    scratch + room * threadid())
        else:
            max_row(&m, source + row // OH * size, values + row * stride, winners + row * stride, row % OH, H, W, C, OW, g, few,
                    <float *>(scratch + room * threadid()))


cdef inline Py_ssize_t take(const stored *dy, const index *winner, Py_ssize_t at, Py_ssize_t size, real *d, int *k) noexcept nogil:
    """The next BLOCK of dy and of its winners, widened in one go; returns how many there are."""
    cdef Py_ssize_t c, n = min(size - at, BLOCK)
    for c in range(n):
        d[c] = number(dy, at + c, d)
    for c in range(n):
        k[c] = winner[at + c]
    return n


cdef inline void unpool_pair(const stored *dy, const index *winner, real *dx, Py_ssize_t rows, Py_ssize_t W, Py_ssize_t C,
                      Py_ssize_t OW) noexcept nogil:
    """2x2 windows with stride 2: one row of dy fills two of dx, and zeros the rest of the `rows` that are its own."""
    cdef real d[BLOCK]
    cdef int k[BLOCK]
    cdef Py_ssize_t at, c, n, ow, used, share
    cdef int i
    cdef real v
    cdef real *p
    for at from 0 <= at < OW * C by BLOCK:
        n = take(dy, winner, at, OW * C, d, k)
        used = 0
        while used < n:
            ow = (at + used) // C
            share = min((ow + 1) * C - at, n) - used
            for i in range(4):
                p = dx + (i // 2 * W + ow + i % 2) * C + at + used
                for c in range(share):
                    v = d[used + c]
                    p[c] = v if k[used + c] == i else 0
            used += share
    if 2 * OW < W:
        memset(dx + 2 * OW * C, 0, C * sizeof(real))
        memset(dx + (W + 2 * OW) * C, 0, C * sizeof(real))
    memset(dx + 2 * W * C, 0, (rows - 2) * W * C * sizeof(real))


cdef inline void unpool_pair_few(const stored *dy, const index *winner, real *dx, Py_ssize_t rows, Py_ssize_t W, Py_ssize_t C,
                          Py_ssize_t OW) noexcept nogil:
    """The same for fewer channels than fill a vector: number by number, 5 stores each."""
    cdef Py_ssize_t ow, c, below = W * C
    cdef real *p
    memset(dx + 2 * OW * C, 0, (W - 2 * OW) * C * sizeof(real))
    memset(dx + below + 2 * OW * C, 0, (W - 2 * OW) * C * sizeof(real))
    memset(dx + 2 * below, 0, (rows - 2) * below * sizeof(real))
    for ow in range(OW):
        for c in range(C):
            p = dx + 2 * ow * C + c
            p[0] = p[C] = p[below] = p[below + C] = 0
            p[(winner[ow * C + c] >> 1) * below + (winner[ow * C + c] & 1) * C] = number(dy, ow * C + c, dx)


cdef inline void unpool_row(const stored *dy, const index *winner, real *dx, Py_ssize_t ih, Py_ssize_t first, Py_ssize_t end,
                     Py_ssize_t W, Py_ssize_t C, Py_ssize_t OW, Window g) noexcept nogil:
    """One row of dx, from the rows first:end of windows that cover it."""
    cdef real d[BLOCK]
    cdef int k[BLOCK]
    cdef Py_ssize_t at, c, n, oh, ow, u, v, w, w0, used, share
    cdef int tap
    cdef real value
    cdef real *p
    memset(dx, 0, W * C * sizeof(real))
    for oh in range(first, end):
        u = ih + g.PH - oh * g.SH
        if u % g.DH != 0:
            continue
        for at from 0 <= at < OW * C by BLOCK:
            n = take(dy + oh * OW * C, winner + oh * OW * C, at, OW * C, d, k)
            used = 0
            while used < n:
                ow = (at + used) // C
                share = min((ow + 1) * C - at, n) - used
                w = ow * g.SW - g.PW
                w0 = first_tap(w, g.DW)
                for v in range(w0, end_tap(w, g.DW, g.KW, W)):
                    tap = <int>(u // g.DH * g.KW + v)
                    p = dx + (w + v * g.DW - ow) * C + at + used
                    for c in range(share):
                        value = d[used + c]
                        p[c] += value if k[used + c] == tap else 0
                used += share


# Where the gradient comes from, and how its rows are cut: a task is the rows under a row of paired windows, or one row.
cdef struct Unpooling:
    const void *dy
    const void *winner
    const Py_ssize_t *covering
    Py_ssize_t H, W, C, OH, OW
    bint paired
    Window g


cdef inline Py_ssize_t first_row(const Unpooling *u, Py_ssize_t task) noexcept nogil:
    """The first row of a task, counted over all images."""
    return task // u.OH * u.H + task % u.OH * 2 if u.paired else task


cdef inline void unpool(const Unpooling *u, const index *kind, const stored *like, real *dx, Py_ssize_t task, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t row = task % u.H, image = task // u.H * u.OH * u.OW * u.C, at = task * u.OW * u.C
    cdef const stored *dy = <const stored *>u.dy
    cdef const index *winner = <const index *>u.winner
    if not u.paired:
        unpool_row(dy + image, winner + image, dx, row, u.covering[2 * row], u.covering[2 * row + 1], u.W, u.C, u.OW, u.g)
    elif u.C < FEW:
        unpool_pair_few(dy + at, winner + at, dx, rows, u.W, u.C, u.OW)
    else:
        unpool_pair(dy + at, winner + at, dx, rows, u.W, u.C, u.OW)


cdef inline void unpool_chunk(const Unpooling *u, const index *kind, stored *dx, Py_ssize_t task, Py_ssize_t end, const Finish *f,
                              Py_ssize_t width, double *sums, float *scratch) noexcept nogil:
    """Some tasks, those of a bfloat16 dx by way of scratch; what is done to dx is done when some rows have gathered, in the cache."""
    cdef Py_ssize_t done = first_row(u, task), row = done, after
    while task < end:
        after = first_row(u, task + 1)
        if stored is bfloat16:
            unpool(u, kind, dx, scratch, task, after - row)
            round_run(scratch, (after - row) * u.W * u.C, dx + row * u.W * u.C)
        else:
            unpool(u, kind, dx, dx + row * u.W * u.C, task, after - row)
        row, task = after, task + 1
        if f.kind and ((row - done) * u.W * u.C >= GATHERED or task == end):
            finish_run(f, dx, done * u.W * u.C, (row - done) * u.W * u.C, width, sums)
            done = row


def max_pool2d_backward(const stored[:, :, :, ::1] dy, const index[:, :, :, ::1] winner, stored[:, :, :, ::1] dx, tuple geometry,
                        const Py_ssize_t[:, ::1] covering_rows, tuple finish, double[:, ::1] sums, int threads):
    """dx = dy at the winner of each window, 0 elsewhere, added up where windows overlap (in row-major order of windows).

    covering_rows (H, 2): the rows first:end of windows that cover each row of the image.
    finish: None, or what is done to the rows of dx while they are cached (ride.pxd), and the sums that this makes.
    """
    cdef Window g = window_of(geometry)
    cdef Py_ssize_t N = dx.shape[0], H = dx.shape[1], W = dx.shape[2], C = dx.shape[3], OH = dy.shape[1], OW = dy.shape[2]
    if N == 0:
        return
    cdef stored *out = &dx[0, 0, 0, 0]
    cdef Unpooling u
    u.dy, u.winner, u.covering, u.g, u.paired = &dy[0, 0, 0, 0], &winner[0, 0, 0, 0], &covering_rows[0, 0], g, pairs(&g, H, W, OH, OW)
    u.H, u.W, u.C, u.OH, u.OW = H, W, C, OH, OW
    cdef Finish f = finish_of(out, finish)
    # Chunks of tasks: each has a part of the sums.
    cdef Py_ssize_t tasks = N * (OH if u.paired else H), width = row_width(C), k
    cdef Py_ssize_t step = ceil_div(chunk_rows(N * H * W, C), W * (2 if u.paired else 1)), chunks = ceil_div(tasks, step)
    cdef Py_ssize_t part = SUMS * width if f.kind else 0
    cdef unsigned char[::1] held = Block(chunks * part * sizeof(double) + (COEFFICIENTS * width if f.kind else 0) * sizeof(double) + 1)
    cdef double *parts = <double *>&held[0]
    memset(parts, 0, chunks * part * sizeof(double))
    f.coefficients, f.columns = widen_for(out, f.coefficients, f.columns, C, parts + chunks * part, width), width
    cdef Py_ssize_t room = ceil_div((3 if u.paired else 1) * W * C, 16) * 16 if stored is bfloat16 else 0   # a row of windows has 3 of dx, at most
    cdef unsigned char[::1] rows = Block(room * threads * sizeof(float) + 1)
    cdef float *scratch = <float *>&rows[0]
    for k in prange(chunks, nogil=True, num_threads=threads, schedule="static", use_threads_if=N * H * W * C > WORTH):
        unpool_chunk(&u, &winner[0, 0, 0, 0], out, k * step, min(tasks, (k + 1) * step), &f, width, parts + k * part,
                     scratch + room * threadid())
    if f.kind:
        add_parts(f.kind, parts, chunks, width, C, width // C, &sums[0, 0], sums.shape[1])
