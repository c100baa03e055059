"""The three products of linear layers in float32 and float64: rows times rows, read where they lie (rows.h has the tiles).

Convolution packs its weights, which many pixels then use; a linear layer has so few rows that packing costs more than the
product. Here weights are read once, in the order of memory, while blocks of the other operand stay in the caches: one row is
bound by memory, some 30 by the multiply-adds. Tasks are cut by shape alone and every sum is taken in one order.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from fastnet._ext.memory import Block

from fastnet._ext.flush cimport flush, restore
from fastnet._ext.strip cimport ceil_div, least, most
from fastnet._ext.tile cimport lanes
from fastnet._ext.types cimport real
from fastnet._ext.work cimport WORTH_PRODUCT

cdef extern from "rows.h" nogil:
    enum: DOT_ROWS, DOT_FILTERS, SUM_ROWS, SUM_VECS, FEW
    void tile_dots_float(int rows, int filters, const float *x, Py_ssize_t x_step, const float *w, Py_ssize_t w_step,
                         Py_ssize_t count, Py_ssize_t ahead, const float *start, float *out, Py_ssize_t out_step) noexcept
    void tile_dots_double(int rows, int filters, const double *x, Py_ssize_t x_step, const double *w, Py_ssize_t w_step,
                          Py_ssize_t count, Py_ssize_t ahead, const double *start, double *out, Py_ssize_t out_step) noexcept
    void tile_sums_float(int rows, int vecs, const float *a, const float *b, Py_ssize_t b_step, Py_ssize_t count, int add,
                         float *out, Py_ssize_t out_step) noexcept
    void tile_sums_double(int rows, int vecs, const double *a, const double *b, Py_ssize_t b_step, Py_ssize_t count, int add,
                          double *out, Py_ssize_t out_step) noexcept
    void rows_fetch(const void *place, Py_ssize_t step, Py_ssize_t bytes, Py_ssize_t start, Py_ssize_t stop) noexcept
    void rows_pack_float(int vecs, const float *b, Py_ssize_t b_step, Py_ssize_t count, Py_ssize_t valid, float *to) noexcept
    void rows_pack_double(int vecs, const double *b, Py_ssize_t b_step, Py_ssize_t count, Py_ssize_t valid,
                          double *to) noexcept
    void rows_few_float(Py_ssize_t rows, const float *a, const float *b, Py_ssize_t b_step, Py_ssize_t length,
                        int ahead, int add, float *out, Py_ssize_t out_step) noexcept
    void rows_few_double(Py_ssize_t rows, const double *a, const double *b, Py_ssize_t b_step, Py_ssize_t length,
                         int ahead, int add, double *out, Py_ssize_t out_step) noexcept

cdef enum:
    BLOCK = 4 << 10         # bytes of a row in one turn of `dot`: a tile's rows of both operands fit the first-level cache
    KEPT = 512 << 10        # bytes of x that stay in the second-level cache while weights go by
    MANY = 128              # rows of x of a task
    SHARE = 256 << 10       # bytes of weights that are worth a thread
    AHEAD = 1 << 10         # bytes ahead that weights are fetched, where they come from memory
    TASKS = 16              # tasks wanted of a product, where its shape allows
    PARTIALS = 1 << 18      # bytes of y up to which a task may take a part of the channels
    PANEL = 192 << 10       # bytes of the packed chunk of `multiply`
    DEEP = 64               # rows of b in it


def dot(const real[:, ::1] x, const real[:, ::1] w, const real[::1] bias, real[:, ::1] y, int threads):
    """y[n,f] = bias[f] + sum over c of x[n,c] * w[f,c]; no bias: of length 0."""
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], F = w.shape[0], part, i, task
    if N == 0 or F == 0:
        return
    # Rows and filters are cut into tasks; where that makes few, channels are cut too, and the partial sums added in order.
    cdef Py_ssize_t across = ceil_div(N, MANY), down = least(ceil_div(F, 4 * DOT_FILTERS), most(1, F * C * <Py_ssize_t>sizeof(real) // KEPT))
    if threads > 1 and N <= DOT_ROWS:   # bound by reading weights, from the caches too; no sum depends on how filters are cut
        down = most(down, least(threads, F * C * <Py_ssize_t>sizeof(real) // SHARE))
    down = least(down, 4 * TASKS)
    cdef Py_ssize_t parts = 1
    if N * F * <Py_ssize_t>sizeof(real) <= PARTIALS and N > DOT_ROWS:
        down = least(down, ceil_div(F, MANY))
        parts = most(1, least(TASKS // (across * down), C * <Py_ssize_t>sizeof(real) // BLOCK))
    cdef unsigned char[::1] scratch = Block(((parts - 1) * N * F + 2 * F) * sizeof(real))
    cdef real *start = <real *>&scratch[0]
    cdef real *partial = start + 2 * F
    cdef const real *a = &x[0, 0]
    cdef const real *b = &w[0, 0]
    cdef real *out = &y[0, 0]
    cdef unsigned mode
    memset(start, 0, 2 * F * sizeof(real))      # the bias, and what the other parts start from
    if bias.shape[0]:
        memcpy(start, &bias[0], F * sizeof(real))
    for task in prange(across * down * parts, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=down > 1 or N * C * F > WORTH_PRODUCT):
        mode = flush(a)
        dot_block(a, b, start if task % parts == 0 else start + F, out if task % parts == 0 else partial + (task % parts - 1) * N * F, C, F,
                  task // (parts * down) * N // across, (task // (parts * down) + 1) * N // across,
                  task // parts % down * F // down, (task // parts % down + 1) * F // down,
                  task % parts * C // parts, (task % parts + 1) * C // parts)
        restore(mode)
    for part in range(parts - 1):
        for i in range(N * F):
            out[i] += partial[part * N * F + i]


cdef void dot_block(const real *x, const real *w, const real *start, real *y, Py_ssize_t C, Py_ssize_t F, Py_ssize_t n_from,
                    Py_ssize_t n_to, Py_ssize_t f_from, Py_ssize_t f_to, Py_ssize_t c_from,
                    Py_ssize_t c_to) noexcept nogil:
    """Some rows, filters and channels. Filters go by in tiles while a group of channels of x stays in the cache."""
    cdef Py_ssize_t rows = n_to - n_from, tiles = ceil_div(rows, DOT_ROWS), step = BLOCK // sizeof(real), f, c, i, n, size
    cdef Py_ssize_t fs = ceil_div(f_to - f_from, DOT_FILTERS), group, j, g, count, width
    cdef const real *first
    if tiles == 1:
        step *= 4                               # nothing is read twice
    group = most(1, KEPT // <Py_ssize_t>sizeof(real) // (rows * step)) * step
    g = c_from
    while g < c_to:
        for j in range(fs):
            f = f_from + j * (f_to - f_from) // fs
            width = f_from + (j + 1) * (f_to - f_from) // fs - f
            c = g
            while c < least(g + group, c_to):
                count = least(step, least(g + group, c_to) - c)
                first = NULL
                if c == c_from:
                    first = start + f
                for i in range(tiles):
                    n = n_from + i * rows // tiles
                    size = n_from + (i + 1) * rows // tiles - n
                    if real is float:
                        tile_dots_float(size, width, x + n * C + c, C, w + f * C + c, C, count,
                                        AHEAD // sizeof(real) if i == 0 else 0,
                                        first, y + n * F + f, F)
                    else:
                        tile_dots_double(size, width, x + n * C + c, C, w + f * C + c, C, count,
                                         AHEAD // sizeof(real) if i == 0 else 0,
                                         first, y + n * F + f, F)
                c += count
        g += group


def multiply(const real[:, ::1] a, bint turned, const real[:, ::1] b, real[:, ::1] out, int threads):
    """out[m,c] = sum over k of a[m,k] * b[k,c], of a[k,m] if `turned`: the gradients of a linear layer's input and weights.

    A chunk of b, packed into the second-level cache, serves all results of a task. Few results add rows of b where they lie.
    """
    cdef Py_ssize_t M = out.shape[0], C = out.shape[1], K = b.shape[0], width = lanes(&out[0, 0]), task
    if M == 0 or C == 0:
        return
    cdef real *to = &out[0, 0]
    if K == 0:
        memset(to, 0, M * C * sizeof(real))
        return
    cdef Py_ssize_t a_row = 1 if turned else a.shape[1], a_step = a.shape[1] if turned else 1
    cdef const real *left = &a[0, 0]
    cdef const real *right = &b[0, 0]
    cdef bint few = M <= FEW and not turned
    cdef Py_ssize_t deep = least(K, 2 * DEEP if turned else DEEP)
    # Chunks of whole panels, as wide as the scratch allows: rows of b and of out are then read and written in long pieces.
    cdef Py_ssize_t panel = SUM_VECS * width, chunk = most(1, PANEL // <Py_ssize_t>sizeof(real) // (deep * panel)) * panel, down, across
    if few:
        chunk = most(panel, BLOCK * 8 // <Py_ssize_t>sizeof(real) // M // width * width)
    chunk = ceil_div(ceil_div(C, ceil_div(C, chunk)), width) * width
    across = ceil_div(C, chunk)
    down = least(ceil_div(M, 16 * SUM_ROWS), most(1, ceil_div(TASKS, across)))
    down = most(down, ceil_div(M, 1024))
    cdef Py_ssize_t room = (deep * (chunk + SUM_ROWS) + SUM_ROWS * panel + FEW * FEW + 16) * sizeof(real) // 64 * 64 + 64
    cdef unsigned char[::1] scratch = Block(room * threads)
    cdef unsigned mode
    for task in prange(across * down, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=M * C * K > WORTH_PRODUCT):
        mode = flush(left)
        if few:
            add_rows(left, a_row, right, to, M, C, K, task * chunk, least(C, (task + 1) * chunk), width,
                     <real *>(&scratch[0] + room * threadid()))
        else:
            multiply_block(left, a_row, a_step, right, to, C, K, deep, task // across * M // down,
                           (task // across + 1) * M // down, task % across * chunk, least(C, (task % across + 1) * chunk),
                           width, <real *>(&scratch[0] + room * threadid()))
        restore(mode)


cdef void multiply_block(const real *a, Py_ssize_t a_row, Py_ssize_t a_step, const real *b, real *out, Py_ssize_t C,
                         Py_ssize_t K, Py_ssize_t deep, Py_ssize_t m_from, Py_ssize_t m_to, Py_ssize_t c_from,
                         Py_ssize_t c_to, Py_ssize_t width, real *scratch) noexcept nogil:
    cdef Py_ssize_t rows = m_to - m_from, tiles = ceil_div(rows, SUM_ROWS), vectors = ceil_div(c_to - c_from, width)
    cdef Py_ssize_t panels = ceil_div(vectors, SUM_VECS), chunk = vectors * width, k = 0, count, i, j, p, r, m, size, first, valid
    cdef Py_ssize_t wide
    cdef real *left = scratch + deep * chunk
    cdef real *edge = left + deep * SUM_ROWS
    cdef real *to
    cdef const real *source
    while k < K:
        count = least(deep, K - k)
        for p in range(panels):                 # (count, VECS * WIDTH), one behind the other
            first = p * vectors // panels * width
            wide = (p + 1) * vectors // panels * width - first
            valid = least(wide, c_to - c_from - first)
            if real is float:
                rows_pack_float(wide // width, b + k * C + c_from + first, C, count, valid, scratch + first * count)
            else:
                rows_pack_double(wide // width, b + k * C + c_from + first, C, count, valid, scratch + first * count)
        for i in range(tiles):
            m = m_from + i * rows // tiles
            size = m_from + (i + 1) * rows // tiles - m
            for j in range(count):
                source = a + m * a_row + (k + j) * a_step
                for r in range(size):
                    left[j * size + r] = source[r * a_row]
            for p in range(panels):
                first = p * vectors // panels * width
                wide = (p + 1) * vectors // panels * width - first
                valid = least(wide, c_to - c_from - first)
                to = out + m * C + c_from + first
                # Each tile fetches its share of the next rows: else memory rests while tiles are computed.
                if k + deep < K:
                    rows_fetch(b + (k + deep) * C + c_from + first, C * sizeof(real), wide * sizeof(real),
                               i * deep // tiles, least((i + 1) * deep // tiles, K - k - deep))
                if valid == wide:
                    sums(size, wide // width, left, scratch + first * count, wide, count, k > 0, to, C)
                    continue
                sums(size, wide // width, left, scratch + first * count, wide, count, False, edge, wide)
                for r in range(size):
                    for j in range(valid):
                        to[r * C + j] = to[r * C + j] + edge[r * wide + j] if k > 0 else edge[r * wide + j]
        k += count


cdef inline void sums(int rows, int vecs, const real *a, const real *b, Py_ssize_t b_step, Py_ssize_t count, bint add,
                      real *out, Py_ssize_t out_step) noexcept nogil:
    if real is float:
        tile_sums_float(rows, vecs, a, b, b_step, count, add, out, out_step)
    else:
        tile_sums_double(rows, vecs, a, b, b_step, count, add, out, out_step)


cdef void add_rows(const real *a, Py_ssize_t a_row, const real *b, real *out, Py_ssize_t M, Py_ssize_t C, Py_ssize_t K,
                   Py_ssize_t c_from, Py_ssize_t c_to, Py_ssize_t width, real *scratch) noexcept nogil:
    """FEW rows of b at a time; of the last ones, sums of one vector of rows that lie there."""
    cdef Py_ssize_t k = 0, r, j, c
    cdef real sum
    while k + FEW <= K:
        for r in range(M):
            for j in range(FEW):
                scratch[r * FEW + j] = a[r * a_row + k + j]
        if real is float:
            rows_few_float(M, scratch, b + k * C + c_from, C, c_to - c_from, k + 2 * FEW <= K, k > 0, out + c_from, C)
        else:
            rows_few_double(M, scratch, b + k * C + c_from, C, c_to - c_from, k + 2 * FEW <= K, k > 0, out + c_from, C)
        k += FEW
    if k < K:
        for r in range(M):
            if k == 0:
                memset(out + r * C + c_from, 0, (c_to - c_from) * sizeof(real))
            for j in range(k, K):
                sum = a[r * a_row + j]
                for c in range(c_from, c_to):
                    out[r * C + c] += sum * b[j * C + c]
