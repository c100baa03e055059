"""The gradient of the weights by Winograd's transforms: 3x3 windows that move by 1, in float32.

With the 4 x 4 source pixels d and the 2 x 2 pixels dy of a tile, dw = G^T [sum over tiles of (A dy A^T) * (B^T d B)] G: 16 matrix
products, (channels x tiles) times (tiles x filters), instead of 36 (winograd.h has the formulas).

A task takes some tiles, a slice of the channels and a chunk of the filters, and keeps its sums U (16, slice, chunk) in the
second-level cache. Of a block of tiles it makes row after row of the two factors, V and D (4, tiles, slice or chunk), and adds
their products to U by the register tiles of tile.h. At the end U becomes a partial gradient, as in weights.pyx; partials are
added in a fixed order. Tasks are cut by shape alone. A source that carries a map is mapped once per block, into scratch.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from fastnet._ext.memory import Block

from fastnet._ext.columns cimport row_width
from fastnet._ext.flush cimport flush, restore
from fastnet._ext.partials cimport add_partials
from fastnet._ext.ride cimport COEFFICIENTS, Load, load as load_pixel, load_of, load_run, widen
from fastnet._ext.strip cimport ceil_div, channel_block, least, most
from fastnet._ext.tile cimport TILE_VECS, lanes, panel_count, panel_start, tile_rows, tile_weights
from fastnet._ext.work cimport WORTH, WORTH_PRODUCT

cdef extern from "winograd.h" nogil:
    void winograd_source_rows(int r, const float **row, Py_ssize_t column, Py_ssize_t width, Py_ssize_t depth, float *patch,
                              Py_ssize_t channels, Py_ssize_t tiles, float *v, Py_ssize_t step, Py_ssize_t plane) noexcept
    void winograd_slopes_rows(int r, const float *y, Py_ssize_t columns, Py_ssize_t rows, Py_ssize_t depth, Py_ssize_t row,
                              const float *zeros, Py_ssize_t filters, Py_ssize_t tiles, float *d, Py_ssize_t step,
                              Py_ssize_t plane) noexcept
    void winograd_taps(const float *u, Py_ssize_t plane, Py_ssize_t size, float *dg, Py_ssize_t step, float *spoilt) noexcept

cdef enum:
    SLICE = 128             # channels and filters of a task, about: its sums are 1 MB, and each makes the factors anew
    TILES = 96              # tiles of a block: D of a panel stays in the first-level cache while the tiles of weights go by
    PARTIALS = 4 << 20      # bytes of partial weight gradients
    TASKS = 16              # tasks wanted
    SUMMED = 4              # blocks of a task, at least


# A product of x (images, height, width, depth) and dy (images, tall, wide, dy_depth) in rows x columns tiles of each image. V and
# D of a block have `v_step` numbers from tile to tile, and planes of v_plane and d_plane; U has planes of u_plane.
ctypedef struct Product:
    Py_ssize_t images, height, width, depth, channels
    Py_ssize_t lead[2]
    Py_ssize_t tall, wide, dy_depth, filters, vectors, lanes
    Py_ssize_t rows, columns, v_step, v_plane, d_plane, u_plane
    Load load


def weight_gradient(const float[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
                    const float[:, :, :, ::1] dy, Py_ssize_t filter, Py_ssize_t filters, float[:, :, :, :] dw,
                    const Py_ssize_t[::1] tap_row, const Py_ssize_t[::1] tap_column, tuple load, int threads):
    """dw[f, c, tap(u, v)] = sum over n, i, j of x[n, i-lead+u, j-lead+v, channel+c] * dy[n, i, j, filter+f].

    False if some of dw is not finite: another kernel must then have the word.  load: what is to become of x (ride.pxd).
    ValueError unless there is a vector of channels and one of filters.
    """
    cdef Product p
    p.lanes = lanes(<float *>NULL)
    if channels < p.lanes or filters < p.lanes:
        raise ValueError(f"winograd: needs at least {p.lanes} channels and filters, found {channels} and {filters}")
    p.images, p.height, p.width, p.depth, p.channels = x.shape[0], x.shape[1], x.shape[2], x.shape[3], channels
    p.lead = [lead[0], lead[1]]
    p.tall, p.wide, p.dy_depth, p.filters = dy.shape[1], dy.shape[2], dy.shape[3], filters
    p.vectors, p.rows, p.columns = ceil_div(filters, p.lanes), ceil_div(p.tall, 2), ceil_div(p.wide, 2)
    cdef Py_ssize_t tiles = p.images * p.rows * p.columns, panels = panel_count(p.vectors), depth = 9 * p.vectors * p.lanes
    cdef Py_ssize_t slices = ceil_div(channels, SLICE), chunks = least(panels, ceil_div(p.vectors * p.lanes, SLICE))
    cdef Py_ssize_t partial = depth * channels, parts, task, rest, thread, i
    parts = least(PARTIALS // (partial * <Py_ssize_t>sizeof(float)), ceil_div(TASKS, slices * chunks))
    parts = most(1, least(parts, tiles // (SUMMED * TILES)))
    cdef Py_ssize_t slice = ceil_div(channels, slices), chunk = ceil_div(panels, chunks) * TILE_VECS * p.lanes
    p.v_step = ceil_div(slice, 16) * 16 + (0 if ceil_div(slice, 16) % 2 else 16)    # an odd number of cache lines
    p.v_plane, p.d_plane, p.u_plane = TILES * p.v_step, TILES * TILE_VECS * p.lanes, slice * chunk
    cdef const float *source = &x[0, 0, 0, 0]
    p.load = load_of(source, load)
    source += channel
    cdef Py_ssize_t wide = row_width(channels) if p.load.wanted else 0
    cdef Py_ssize_t mapped = most_pixels(&p) * slice if p.load.wanted else 0
    cdef Py_ssize_t room = ceil_div((p.lanes + 4 * (p.v_plane + p.d_plane) + 16 * p.u_plane + 8 * slice + chunk + mapped)
                                    * sizeof(float) + TILES * sizeof(Py_ssize_t), 64) * 64
    cdef unsigned char[::1] scratch = Block(room * threads)
    cdef unsigned char[::1] sums = Block((parts * partial + COEFFICIENTS * wide) * sizeof(float))
    cdef float *partials = <float *>&sums[0]
    if p.load.wanted:
        p.load.coefficients = widen(<const float *>p.load.coefficients + channel, p.load.columns, channels,
                                    partials + parts * partial, wide)
        p.load.columns = wide
    cdef const float *gradient = &dy[0, 0, 0, filter]
    cdef float *spoilt
    cdef unsigned mode
    for thread in range(threads):
        memset(&scratch[room * thread], 0, p.lanes * sizeof(float))
    for task in prange(parts * slices * chunks, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=16 * tiles * channels * filters > WORTH_PRODUCT):
        rest = task // chunks
        mode = flush(source)
        gradient_part(source, gradient, &p, slices == 1 and channels == p.depth, rest // slices * tiles // parts, (rest // slices + 1) * tiles // parts,
                      rest % slices * channels // slices, (rest % slices + 1) * channels // slices,
                      task % chunks * panels // chunks, (task % chunks + 1) * panels // chunks,
                      partials + rest // slices * partial, <float *>(&scratch[0] + room * threadid()))
        restore(mode)
    cdef Py_ssize_t blocks = ceil_div(channels, channel_block(9))
    for task in prange(panels * blocks, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=parts * partial > WORTH):
        add_partials(partials, partial, parts, task // blocks, task % blocks * channel_block(9), p.vectors, p.lanes, filters,
                     channels, &tap_row[0], &tap_column[0], 9, dw)
    for thread in range(threads):
        spoilt = <float *>&scratch[room * thread]
        for i in range(p.lanes):
            if spoilt[i] != 0:
                return False
    return True


cdef inline Py_ssize_t most_pixels(const Product *p) noexcept nogil:
    """Pixels of the source under a block of tiles, at most, in lines of their own."""
    return 4 * (2 * TILES + 2 * (1 + ceil_div(TILES - 1, p.columns)))


cdef void gradient_part(const float *x, const float *dy, const Product *p, bint whole, Py_ssize_t tile_from, Py_ssize_t tile_to,
                        Py_ssize_t channel_from, Py_ssize_t channel_to, Py_ssize_t panel_from, Py_ssize_t panel_to,
                        float *partial, float *scratch) noexcept nogil:
    """The sums of some tiles, channels and panels.  whole: are these all numbers of a pixel?  scratch: what was spoilt so far, V,
    D, U, two rows of a patch, zeros, offsets, mapped pixels."""
    cdef Py_ssize_t slice = channel_to - channel_from, start = panel_start(p.vectors, panel_from) * p.lanes
    cdef Py_ssize_t first, tiles, panel, begin, size, k, c, t, i, r, done, many
    cdef float *v = scratch + p.lanes
    cdef float *d = v + 4 * p.v_plane
    cdef float *u = d + 4 * p.d_plane
    cdef float *patch = u + 16 * p.u_plane
    cdef float *zeros = patch + 8 * slice
    cdef Py_ssize_t *at = <Py_ssize_t *>(zeros + (panel_start(p.vectors, panel_to) * p.lanes - start))
    cdef float *mapped = <float *>(at + TILES)
    cdef int vecs
    memset(d, 0, 4 * p.d_plane * sizeof(float))     # filters beyond the last: any finite numbers do
    memset(zeros, 0, (<char *>at - <char *>zeros))
    for t in range(TILES):
        at[t] = t * p.v_step
    for first from tile_from <= first < tile_to by TILES:
        tiles = least(TILES, tile_to - first)
        if p.load.wanted:
            map_source(x + channel_from, p, whole, first, tiles, channel_from, slice, mapped)
        for r in range(4):
            transform_source(x + channel_from, p, r, first, tiles, slice, v, patch, mapped)
            for panel in range(panel_from, panel_to):
                begin = panel_start(p.vectors, panel)
                vecs = panel_start(p.vectors, panel + 1) - begin
                size, begin = vecs * p.lanes, begin * p.lanes
                transform_slopes(dy + begin, p, r, first, tiles, least(size, p.filters - begin), zeros, d, size)
                many = ceil_div(slice, tile_rows[vecs])
                for k in range(4):
                    for i in range(many):
                        c = i * slice // many
                        done = (i + 1) * slice // many
                        tile_weights(done - c, vecs, v + k * p.v_plane + c, at, d + k * p.d_plane, tiles, first > tile_from,
                                     u + (4 * r + k) * p.u_plane + (begin - start) * slice + c * size, v, 0)
    for panel in range(panel_from, panel_to):
        begin = panel_start(p.vectors, panel) * p.lanes
        size = panel_start(p.vectors, panel + 1) * p.lanes - begin
        for c in range(slice):
            winograd_taps(u + (begin - start) * slice + c * size, p.u_plane, size,
                          partial + begin * 9 * p.channels + (channel_from + c) * size, p.channels * size, scratch)


cdef void map_source(const float *x, const Product *p, bint whole, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t channel,
                     Py_ssize_t channels, float *out) noexcept nogil:
    """What is to become of the source under some tiles: four rows (2 run + 2, channels) for each run of them, zeros at the edges."""
    cdef Py_ssize_t line = first // p.columns, column = first % p.columns, run, pixels, left, right, i, h, w
    cdef const float *row
    while tiles:
        run = least(tiles, p.columns - column)
        pixels, w = 2 * run + 2, 2 * column - p.lead[1]
        left = least(most(-w, 0), pixels)
        right = most(least(p.width - w, pixels), left)
        for i in range(4):
            h = line % p.rows * 2 - p.lead[0] + i
            if 0 <= h < p.height:
                row = x + ((line // p.rows * p.height + h) * p.width + w) * p.depth
                memset(out, 0, left * channels * sizeof(float))
                if whole:
                    load_run(&p.load, row + left * channels, (right - left) * channels, out + left * channels)
                else:
                    for w in range(left, right):
                        load_pixel(&p.load, row + w * p.depth, channel, channels, out + w * channels)
                    w = 2 * column - p.lead[1]
                memset(out + right * channels, 0, (pixels - right) * channels * sizeof(float))
            else:
                memset(out, 0, pixels * channels * sizeof(float))
            out += pixels * channels
        tiles -= run
        line, column = line + 1, 0


cdef void transform_source(const float *x, const Product *p, int r, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t channels,
                           float *v, float *patch, const float *mapped) noexcept nogil:
    """Row r of V of some tiles, line by line, from what is mapped or else from the source."""
    cdef Py_ssize_t line = first // p.columns, column = first % p.columns, run, pixels, i, h
    cdef Py_ssize_t under[2]
    cdef const float *row[2]
    under = [least(r, 1) + r // 2 * (3 - r), 3 if r == 3 else 1 if r == 2 else 2]
    while tiles:
        run = least(tiles, p.columns - column)
        if p.load.wanted:
            pixels = 2 * run + 2
            for i in range(2):
                row[i] = mapped + under[i] * pixels * channels
            winograd_source_rows(r, row, 0, pixels, channels, patch, channels, run, v, p.v_step, p.v_plane)
            mapped += 4 * pixels * channels
        else:
            for i in range(2):
                h = line % p.rows * 2 - p.lead[0] + under[i]
                row[i] = x + (line // p.rows * p.height + h) * p.width * p.depth if 0 <= h < p.height else NULL
            winograd_source_rows(r, row, 2 * column - p.lead[1], p.width, p.depth, patch, channels, run, v, p.v_step, p.v_plane)
        v += run * p.v_step
        tiles -= run
        line, column = line + 1, 0


cdef void transform_slopes(const float *dy, const Product *p, int r, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t filters,
                           const float *zeros, float *d, Py_ssize_t step) noexcept nogil:
    """Row r of D of some tiles and the filters of a panel, line by line."""
    cdef Py_ssize_t line = first // p.columns, column = first % p.columns, run, h
    while tiles:
        run, h = least(tiles, p.columns - column), line % p.rows * 2
        winograd_slopes_rows(r, dy + ((line // p.rows * p.tall + h) * p.wide + 2 * column) * p.dy_depth, p.wide - 2 * column,
                             p.tall - h, p.dy_depth, p.wide * p.dy_depth, zeros, filters, run, d, step, p.d_plane)
        d += run * step
        tiles -= run
        line, column = line + 1, 0
