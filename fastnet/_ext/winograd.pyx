"""Forward and the gradient of the input by Winograd's F(2x2, 3x3) and F(4x4, 3x3): 3x3 windows that move by 1, in float32.

Of the 4 x 4 source pixels under a tile of 2 x 2 outputs, 16 products make all four outputs, instead of 36 (winograd.h and
winograd4.h have the formulas). For many tiles they are 16 matrix products, (tiles x channels) times (channels x filters): 4
multiply-adds per output, channel and filter instead of 9, beside some 15 sums per output and channel or filter for the
transforms. Tiles of 4 x 4 outputs have 6 x 6 pixels under them: 36 products for 16 outputs, 2.25 each, and as many sums.

A task takes some tiles and some panels of filters. It transforms the source into V (16 or 36, tiles, channels), which stays in
the second-level cache; for each panel it multiplies V with the transformed weights U (panel, 16 or 36, channels, filters) into
M (16 or 36, tiles, filters) by the register tiles of tile.h, and transforms M into the output. Tasks are cut by shape alone.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from fastnet._ext.memory import Block

from fastnet._ext.columns cimport row_width
from fastnet._ext.flush cimport flush, restore
from fastnet._ext.ride cimport (
    COEFFICIENTS, RESULT, SUMS, Finish, Load, add_parts, finish as finish_pixels, finish_of, load_of, load_run, widen,
)
from fastnet._ext.strip cimport ceil_div, channel_block, least, most
from fastnet._ext.tile cimport TILE_VECS, lanes, most_run, panel_count, panel_start, tile_run
from fastnet._ext.work cimport WORTH, WORTH_PRODUCT, shares

cdef extern from "winograd.h" nogil:
    void winograd_source(int size, const float **row, Py_ssize_t column, Py_ssize_t width, Py_ssize_t depth, const float *zeros,
                         Py_ssize_t channels, Py_ssize_t tiles, float *v, Py_ssize_t step, Py_ssize_t plane) noexcept
    void winograd_weights(int size, const float *g, Py_ssize_t count, float *u, Py_ssize_t plane) noexcept
    void winograd_output(int size, const float *m, Py_ssize_t step, Py_ssize_t plane, Py_ssize_t filters, const float *start,
                         Py_ssize_t tiles, float *y, Py_ssize_t columns, Py_ssize_t rows, Py_ssize_t depth, Py_ssize_t row,
                         float *spoilt) noexcept
    void winograd_touch(int size, Py_ssize_t filters, Py_ssize_t tiles, const float *y, Py_ssize_t columns, Py_ssize_t rows,
                        Py_ssize_t depth, Py_ssize_t row) noexcept

cdef enum:
    SCRATCH = 512 << 10     # bytes of V and M: with the weights of a panel they fit the second-level cache
    LEAST = 32              # tiles of a block, at least: the weights are read once for all of them
    PANEL = 32 << 10        # bytes of weights that stay in the first-level cache while the tiles go by
    FAR = 3 << 20           # bytes of U from which on it is fetched ahead, instead of V: it comes from beyond the second-level cache
    TASKS = 16              # tasks wanted of a product, where its shape allows


LANES = lanes(<float *>NULL)     # numbers in a vector


def packed_size(int tile, Py_ssize_t filters, Py_ssize_t channels):
    """Numbers in U, for tiles of so many outputs a side: 2 or 4."""
    return ceil_div(filters, lanes(<float *>NULL)) * lanes(<float *>NULL) * (tile + 2) * (tile + 2) * channels


def pack_weights(int tile, const float[:, :, :, :] w, const Py_ssize_t[::1] tap_row, const Py_ssize_t[::1] tap_column,
                 float[::1] out, int threads):
    """U (panels, 16 or 36, channels, VECS * WIDTH) of weights w (filters, channels, 3, 3), any strides; zeros beyond the filters."""
    cdef Py_ssize_t filters = w.shape[0], channels = w.shape[1], width = lanes(&out[0]), vectors = ceil_div(filters, width)
    cdef Py_ssize_t panels = panel_count(vectors), blocks = ceil_div(channels, channel_block(9)), task
    for task in prange(panels * blocks, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=filters * channels * 9 > WORTH):
        pack_block(tile, w, &tap_row[0], &tap_column[0], task // blocks, task % blocks * channel_block(9), vectors, width, &out[0])


cdef void pack_block(int tile, const float[:, :, :, :] w, const Py_ssize_t *tap_row, const Py_ssize_t *tap_column, Py_ssize_t panel,
                     Py_ssize_t first, Py_ssize_t vectors, Py_ssize_t width, float *out) noexcept nogil:
    cdef Py_ssize_t start = panel_start(vectors, panel) * width, size = panel_start(vectors, panel + 1) * width - start
    cdef Py_ssize_t valid = least(size, w.shape[0] - start), channels = w.shape[1], step = w.strides[0], c, t, lane
    cdef const char *source
    cdef float g[9 * 64]
    memset(g, 0, sizeof(g))
    for c in range(first, least(first + channel_block(9), channels)):
        for t in range(9):
            source = <const char *>&w[start, c, tap_row[t], tap_column[t]]
            for lane in range(valid):
                g[t * size + lane] = (<const float *>(source + lane * step))[0]
        winograd_weights(tile, g, size, out + start * (tile + 2) * (tile + 2) * channels + c * size, channels * size)


# What rides on a product: `part` is the sums of a block.
ctypedef struct Riders:
    Load load
    Finish finish
    double *parts
    Py_ssize_t part


# A product: `rows` x `columns` tiles of each image make out (images, tall, wide, out_depth) of x (images, height, width, depth).
# A tile has `tile` outputs a side and `side` source pixels under it, so there are `matrices` = side * side products. A block is
# `block` tiles, in the order of memory. v_plane and m_plane are numbers from one matrix of V and M to the next.
ctypedef struct Product:
    Py_ssize_t tile, side, matrices
    Py_ssize_t images, height, width, depth, channel, channels
    Py_ssize_t lead[2]
    Py_ssize_t tall, wide, out_depth, filter, filters, vectors, lanes
    Py_ssize_t rows, columns, block, v_plane, m_plane


def correlate(int tile, const float[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
              const float[::1] packed, const float[::1] bias, float[:, :, :, ::1] out, Py_ssize_t filter, Py_ssize_t filters,
              tuple load, tuple finish, double[:, ::1] sums, int threads):
    """out[n, i, j, filter+f] = bias[f] + sum over u, v, c of x[n, i-lead+u, j-lead+v, channel+c] * w[f,c,u,v].

    False if some of out is not finite: differences of infinities are NaN, of which the sum itself knows nothing, so another
    kernel must have the word.  load: what is to become of x (ride.pxd), done to a row when a block first comes to it.  finish:
    what is done to the pixels and filters of a block when they are written.  ValueError unless there is a vector of channels and one of filters.
    """
    cdef Product p
    p.lanes = lanes(&packed[0])
    if channels < p.lanes or filters < p.lanes:
        raise ValueError(f"winograd: needs at least {p.lanes} channels and filters, found {channels} and {filters}")
    if tile != 2 and tile != 4:
        raise ValueError(f"winograd: a tile has 2 or 4 outputs a side, found {tile}")
    p.tile, p.side, p.matrices = tile, tile + 2, (tile + 2) * (tile + 2)
    p.images, p.height, p.width, p.depth = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    p.channel, p.channels, p.filter = channel, channels, filter
    p.lead = [lead[0], lead[1]]
    p.tall, p.wide, p.out_depth, p.filters = out.shape[1], out.shape[2], out.shape[3], filters
    p.vectors, p.rows, p.columns = ceil_div(filters, p.lanes), ceil_div(p.tall, tile), ceil_div(p.wide, tile)
    cdef Py_ssize_t tiles = p.images * p.rows * p.columns, panels = panel_count(p.vectors), blocks, chunks, task
    cdef Py_ssize_t widest = least(TILE_VECS, p.vectors) * p.lanes
    if tiles == 0:
        return True
    cdef Py_ssize_t tasks = 1 if finish and finish[0] != RESULT else shares(p.matrices * tiles * channels * filters, threads)
    blocks = most(least(tasks, tiles // LEAST), ceil_div(tiles, most(LEAST, SCRATCH // (p.matrices * sizeof(float)) // (channels + widest))))
    p.block = ceil_div(tiles, blocks)
    blocks = ceil_div(tiles, p.block)
    p.v_plane, p.m_plane = spread(p.block * channels), spread(p.block * widest)
    chunks = most(1, least(panels // 2, ceil_div(TASKS, blocks)))   # each transforms the source anew: not for one panel,
    chunks = most(chunks, least(panels, ceil_div(tasks, blocks)))   # unless a thread would have nothing to do
    cdef Py_ssize_t zeros = most(channels, widest)
    cdef unsigned char[::1] shared = Block((p.vectors * p.lanes + zeros) * sizeof(float))
    cdef float *start = <float *>&shared[0]     # the bias as whole vectors, and zeros
    memset(start, 0, (p.vectors * p.lanes + zeros) * sizeof(float))
    if bias.shape[0]:
        memcpy(start, &bias[0], filters * sizeof(float))
    cdef float *target = &out[0, 0, 0, 0]
    cdef const float *source = &x[0, 0, 0, 0]
    cdef Riders r
    r.load, r.finish = load_of(source, load), finish_of(target, finish)
    r.part = SUMS * filters if r.finish.kind else 0
    cdef Py_ssize_t wide = row_width(channels) if r.load.wanted else 0, ring = p.side * p.width * channels if r.load.wanted else 0
    cdef unsigned char[::1] riding = Block(blocks * r.part * sizeof(double) + COEFFICIENTS * wide * sizeof(float) + 1)
    r.parts = <double *>&riding[0]
    memset(r.parts, 0, blocks * r.part * sizeof(double))
    if r.load.wanted:
        r.load.coefficients = widen(<const float *>r.load.coefficients + channel, r.load.columns, channels,
                                    <float *>(r.parts + blocks * r.part), wide)
        r.load.columns = wide
    cdef Py_ssize_t room = ceil_div((p.lanes + p.matrices * (p.v_plane + p.m_plane) + p.side * p.depth + ring) * sizeof(float), 64) * 64
    cdef unsigned char[::1] scratch = Block(room * threads)
    cdef float *spoilt
    cdef Py_ssize_t thread, i
    cdef unsigned mode
    for thread in range(threads):
        memset(&scratch[room * thread], 0, p.lanes * sizeof(float))
    for task in prange(blocks * chunks, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=p.matrices * tiles * channels * filters > WORTH_PRODUCT):
        mode = flush(source)
        correlate_block(source, &p, &r, task // chunks, task % chunks * panels // chunks,
                        (task % chunks + 1) * panels // chunks, &packed[0], start, target,
                        <float *>(&scratch[0] + room * threadid()))
        restore(mode)
    if r.finish.kind:
        add_parts(r.finish.kind, r.parts, blocks, filters, filters, 1, &sums[0, filter], sums.shape[1])
    for thread in range(threads):
        spoilt = <float *>&scratch[room * thread]
        for i in range(p.lanes):
            if spoilt[i] != 0:
                return False
    return True


cdef inline Py_ssize_t spread(Py_ssize_t size) noexcept nogil:
    """Numbers from one matrix of V or M to the next: a multiple of 4 KB would put them all on the same few sets of the first-level
    cache, and one tile is written to each."""
    return ceil_div(size, 1024) * 1024 + 80


cdef void correlate_block(const float *x, const Product *p, const Riders *r, Py_ssize_t block, Py_ssize_t panel_from, Py_ssize_t panel_to,
                          const float *packed, const float *start, float *out, float *scratch) noexcept nogil:
    """The tiles of a block times some panels.  scratch: what was spoilt so far, V, M, zeros, mapped rows."""
    cdef Py_ssize_t first = block * p.block, tiles = least(p.block, p.images * p.rows * p.columns - first), panel, begin, size, valid, k, i, at, to
    cdef Py_ssize_t chunk, chunks, c, taken, runs, pace, offset = 0
    cdef float *v = scratch + p.lanes
    cdef float *m = v + p.matrices * p.v_plane
    cdef const float *u
    cdef const float *ahead
    cdef bint far = p.matrices * p.channels * p.vectors * p.lanes * <Py_ssize_t>sizeof(float) >= FAR
    cdef const float *zeros = start + p.vectors * p.lanes
    cdef int vecs
    transform_source(x, p, &r.load, first, tiles, v, m + p.matrices * p.m_plane)
    for panel in range(panel_from, panel_to):
        begin = panel_start(p.vectors, panel)
        vecs = panel_start(p.vectors, panel + 1) - begin
        size, begin = vecs * p.lanes, begin * p.lanes
        valid = least(size, p.filters - begin)
        runs = ceil_div(tiles, most_run[vecs])
        chunks = ceil_div(p.channels * size * sizeof(float), PANEL)
        for k in range(p.matrices):
            # Output lines come from memory; asked for during the products they cost no time: 263 became 277 GFLOP/s at 64 -> 64.
            at, to = k * tiles // p.matrices, (k + 1) * tiles // p.matrices
            each_output(m, p, first + at, to - at, size, valid, NULL, out + p.filter + begin, NULL)
            for chunk in range(chunks):
                c = chunk * p.channels // chunks
                taken = (chunk + 1) * p.channels // chunks - c
                u = packed + (begin * p.matrices + k * size) * p.channels + c * size
                pace = ceil_div(size, runs) if far else most_run[vecs] * p.channels // taken
                for i in range(runs):
                    at, to = i * tiles // runs, (i + 1) * tiles // runs
                    # What the next product reads of U lies behind this, a share of it per run: 256 -> 256 1.1 to 1.2 times as fast,
                    # 512 -> 512 1.25 times, but 128 -> 128 0.95 times, which needs V ahead.
                    ahead = u + taken * size + i * taken * size // runs if far else v + k * p.v_plane + to * p.channels + c
                    tile_run(to - at, vecs, v + k * p.v_plane + at * p.channels + c, p.channels, &offset, 1, taken, u,
                             zeros if chunk == 0 else NULL, m + k * p.m_plane + at * size, size, ahead, pace)
        each_output(m, p, first, tiles, size, valid, start + begin, out + p.filter + begin, scratch)
    if r.finish.kind:
        begin = panel_start(p.vectors, panel_from) * p.lanes
        valid = least(panel_start(p.vectors, panel_to) * p.lanes, p.filters) - begin
        finish_block(p, &r.finish, first, tiles, valid, out, p.filter + begin, r.parts + block * r.part + begin)


cdef void transform_source(const float *x, const Product *p, const Load *m, Py_ssize_t first, Py_ssize_t tiles, float *v,
                           float *beyond) noexcept nogil:
    """V of some tiles, row by row.  A row of tiles leaves the last two of its mapped rows to the next one."""
    cdef Py_ssize_t line = first // p.columns, column = first % p.columns, run, i, r
    cdef Py_ssize_t held[6]
    cdef const float *image
    cdef const float *row[6]
    cdef float *ring = beyond + p.side * p.depth
    memset(beyond, 0, p.side * p.depth * sizeof(float))     # stands for rows beyond the edges
    held = [-1, -1, -1, -1, -1, -1]
    while tiles:
        run = least(tiles, p.columns - column)
        image = x + line // p.rows * p.height * p.width * p.depth
        for i in range(p.side):
            r = line % p.rows * p.tile - p.lead[0] + i
            row[i] = image + r * p.width * p.depth + p.channel if 0 <= r < p.height else beyond
            if m.wanted and row[i] != beyond:
                if held[r % p.side] != line // p.rows * p.height + r:
                    held[r % p.side] = line // p.rows * p.height + r
                    load_row(m, row[i], p, ring + r % p.side * p.width * p.channels)
                row[i] = ring + r % p.side * p.width * p.channels
        winograd_source(p.tile, row, p.tile * column - p.lead[1], p.width, p.channels if m.wanted else p.depth, beyond, p.channels, run, v,
                        p.channels, p.v_plane)
        v += run * p.channels
        tiles -= run
        line, column = line + 1, 0


cdef inline void load_row(const Load *m, const float *x, const Product *p, float *v) noexcept nogil:
    """The map of a row of the source."""
    cdef Py_ssize_t i
    if p.channels == p.depth:
        load_run(m, x, p.width * p.depth, v)
    else:
        for i in range(p.width):
            load_run(m, x + i * p.depth, p.channels, v + i * p.channels)


cdef void finish_block(const Product *p, const Finish *f, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t filters, float *out,
                       Py_ssize_t filter, double *sums) noexcept nogil:
    """The Finish of the outputs of some tiles: whole rows together."""
    cdef Py_ssize_t line = first // p.columns, column = first % p.columns, run, i, at, lines
    while tiles:
        at, run, lines = first_row(p, line), least(tiles, p.columns - column), 1
        if run == p.columns:
            lines = tiles // p.columns
            finish_pixels(f, out, at * p.wide * p.out_depth + filter, (first_row(p, line + lines) - at) * p.wide, p.out_depth, filter,
                          filters, sums, p.filters)
        else:
            for i in range(at, first_row(p, line + 1)):
                finish_pixels(f, out, (i * p.wide + p.tile * column) * p.out_depth + filter,
                              least(p.tile * run, p.wide - p.tile * column),
                              p.out_depth, filter, filters, sums, p.filters)
        tiles -= run * lines
        line, column = line + lines, 0


cdef inline Py_ssize_t first_row(const Product *p, Py_ssize_t line) noexcept nogil:
    """The first row of outputs of a row of tiles, counted over all images."""
    return line // p.rows * p.tall + line % p.rows * p.tile


cdef void each_output(const float *m, const Product *p, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t size, Py_ssize_t valid,
                      const float *start, float *out, float *spoilt) noexcept nogil:
    """The outputs of some tiles, row by row: written from M or, where `start` is NULL, only asked for."""
    cdef Py_ssize_t line = first // p.columns, column = first % p.columns, run, row
    cdef float *y
    while tiles:
        run, row = least(tiles, p.columns - column), line % p.rows * p.tile
        y = out + ((line // p.rows * p.tall + row) * p.wide + p.tile * column) * p.out_depth
        if start == NULL:
            winograd_touch(p.tile, valid, run, y, p.wide - p.tile * column, p.tall - row, p.out_depth, p.wide * p.out_depth)
        else:
            winograd_output(p.tile, m, size, p.m_plane, valid, start, run, y, p.wide - p.tile * column, p.tall - row,
                            p.out_depth, p.wide * p.out_depth, spoilt)
        m += run * size
        tiles -= run
        line, column = line + 1, 0
