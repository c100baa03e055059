"""Depthwise convolution: one filter per channel, where the matrix product degenerates to a product of vectors.

y[n, i, j, c] = b[c] + sum over taps (u, v) of x[n, i*SH + u*DH - PH, j*SW + v*DW - PW, c] * w[c, u, v].  3 x 3 taps do nine
multiply-adds for each number that is read and each that is written: memory is the limit. Rows of the output follow each other
and share the rows of the source in the second-level cache, so that each is read from memory once.

`gather` makes outputs of a window that moves over the source; `scatter`, its transpose, of the stamps that reach them.
`geometry` is (KH, KW, SH, SW, PH, PW, DH, DW).
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from fastnet._ext.memory import Block

from fastnet._ext.columns cimport chunk_rows, row_width
from fastnet._ext.flush cimport flush, restore
from fastnet._ext.ride cimport COEFFICIENTS, SUMS, Finish, add_parts as add_sums, finish_of, finish_run, number, round_run, widen_for
from fastnet._ext.rows_held cimport APART, Geometry, Shape, Source, opened, ring_room, shape_of, source_of, source_row
from fastnet._ext.strip cimport ceil_div, least, most
from fastnet._ext.types cimport bfloat16, real, stored
from fastnet._ext.work cimport WORTH

cdef extern from "depthwise.h" nogil:
    const int DEPTHWISE_OUTPUTS, DEPTHWISE_TAPS
    ctypedef struct DepthwiseTaps:
        const void *at
        const void *tap
        Py_ssize_t taps, inside, ahead
    ctypedef struct DepthwiseOutputs:
        Py_ssize_t channel, end, between, tap_step, step, out_step, out_ahead
        const void *start
        bint zeros
    ctypedef struct DepthwiseGradient:
        Py_ssize_t channels, pixels, between, dy_step
        const void *at[3]
        bint inside[3]
        Py_ssize_t ahead[3]
        Py_ssize_t dy_ahead, column, width, dilation, stride
        const void *dy
        void *sums[3]
        Py_ssize_t sums_step
    ctypedef struct DepthwiseTiles:
        Py_ssize_t lanes
        void (*outputs)(const DepthwiseOutputs *o, int outputs, const DepthwiseTaps *each, Py_ssize_t entries,
                        Py_ssize_t shift, void *out) noexcept nogil
        void (*gradient)(const DepthwiseGradient *g, int rows, int taps) noexcept nogil
    const DepthwiseTiles depthwise_tiles_float[]
    const DepthwiseTiles depthwise_tiles_double[]

cdef enum:
    CHANNELS = 512      # of a task of the weight gradient, at least: less of a pixel is not read at memory's full speed
    TASKS = 16          # wanted of a weight gradient, where its shape allows
    ROWS = 4            # of dy, in a task of it, at least
    SMALL = 9           # taps of a window whose product is bound by memory
    # Pixels so many bytes apart, or a multiple, meet in the first-level cache: rows with gaps, held, are read 1.3 to 2.3 times as
    # fast. The gradient meets with half of that: it reads a cache line in two halves, the lines of all other pixels in between.
    MEET = 4096
    MEET_HALVES = 2048
    FINISHED = 8192     # numbers of a target, at least, that are finished together

# The taps that reach a row of outputs, as tiles want them away from the edges; `column` is that of the first output's source.
ctypedef struct Row:
    Py_ssize_t entries
    Py_ssize_t lowest, highest      # column of a source of the first output
    DepthwiseTaps *taps
    DepthwiseTaps *edge             # room for a tile at an edge
    Py_ssize_t *column


cdef inline const DepthwiseTiles *tiles_for(const real *example, Py_ssize_t channels) noexcept nogil:
    """The tiles of the longest vector that the channels fill."""
    cdef const DepthwiseTiles *tiles
    if real is float:
        tiles = &depthwise_tiles_float[0]
    else:
        tiles = &depthwise_tiles_double[0]
    while tiles.lanes > channels:
        tiles += 1
    return tiles


cdef inline Py_ssize_t apart(const real *example, Py_ssize_t numbers) noexcept nogil:
    """From tap to tap, whose numbers would meet in the cache as those of pixels do."""
    return numbers + APART // <Py_ssize_t>sizeof(real)


def gather(const stored[:, :, :, ::1] x, const real[:, :, :, :] w, const real[::1] bias, stored[:, :, :, ::1] y,
           const Py_ssize_t[::1] geometry, tuple load, tuple finish, double[:, ::1] sums, int threads):
    """y (N, OH, OW, C) from x (N, H, W, C), w (C, 1, KH, KW) and bias (C) or an empty one; beyond the edges x is zero.

    load: None, or what is to become of x; finish: None, or what is done to rows of y when they are made (ride.pxd). x and y hold
    numbers of w's type or, where that is float32, bfloat16 ones.
    """
    outputs(x, w, bias, y, geometry, False, load, finish, sums, threads)


def scatter(const stored[:, :, :, ::1] dy, const real[:, :, :, :] w, const real[::1] bias, stored[:, :, :, ::1] dx,
            const Py_ssize_t[::1] geometry, tuple load, tuple finish, double[:, ::1] sums, int threads):
    """dx (N, H, W, C) from dy (N, OH, OW, C): the transpose of `gather`, plus a bias."""
    outputs(dy, w, bias, dx, geometry, True, load, finish, sums, threads)


cdef void outputs(const stored[:, :, :, ::1] x, const real[:, :, :, :] w, const real[::1] bias, stored[:, :, :, ::1] y,
                  const Py_ssize_t[::1] geometry, bint scattered, tuple load, tuple finish, double[:, ::1] sums, int threads):
    if stored is double and real is float or stored is not double and real is double:   # nor is it compiled
        raise TypeError("depthwise: images and weights are to be both float64 or neither")
    cdef Shape s = shape_of(x, y, geometry, scattered)
    cdef Py_ssize_t taps = s.g.KH * s.g.KW, k, tasks = y.shape[0] * s.rows, width = row_width(s.channels)
    if tasks * s.columns == 0:
        return
    cdef stored *target = &y[0, 0, 0, 0]
    cdef Source source = source_of(&w[0, 0, 0, 0], &x[0, 0, 0, 0], load, &s, MEET)
    cdef Finish f = finish_of(target, finish)
    # Chunks of rows: each has a part of the sums.
    cdef Py_ssize_t step = ceil_div(chunk_rows(tasks * s.columns, s.channels), s.columns), chunks, part = SUMS * width if f.kind else 0
    if source.made:
        step = most(step, 4 * source.slots)     # the first rows of a chunk are mapped anew
    chunks = ceil_div(tasks, step)
    cdef Py_ssize_t reach = (taps * (2 * sizeof(DepthwiseTaps) + sizeof(Py_ssize_t)) + 127) // 64 * 64    # no cache line of two threads
    cdef Py_ssize_t row = (s.columns * s.channels * <Py_ssize_t>sizeof(float) + 63) // 64 * 64 if stored is bfloat16 else 0
    cdef Py_ssize_t ring = ring_room(&w[0, 0, 0, 0], &source, &s), room = reach + ring + row
    cdef unsigned char[::1] block = Block((taps * apart(&w[0, 0, 0, 0], s.channels) + 2 * COEFFICIENTS * width) * sizeof(real))
    cdef unsigned char[::1] riding = Block(chunks * part * sizeof(double) + 1)
    cdef unsigned char[::1] scratch = Block(room * threads)
    cdef real *weights = <real *>&block[0]
    cdef real *wide = weights + taps * apart(weights, s.channels)
    cdef double *parts = <double *>&riding[0]
    memset(parts, 0, chunks * part * sizeof(double))
    turn(w, weights, scattered)
    source.load.coefficients, source.load.columns = widen_for(target, source.load.coefficients, source.load.columns, s.channels, wide, width), width
    f.coefficients, f.columns = widen_for(target, f.coefficients, f.columns, s.channels, wide + COEFFICIENTS * width, width), width
    cdef const real *start = &bias[0] if bias.shape[0] else NULL
    for k in prange(chunks, nogil=True, num_threads=threads, schedule="static",
                    use_threads_if=tasks * s.columns * s.channels > WORTH):
        output_rows(&source, &s, weights, start, k * step, least(tasks, (k + 1) * step), target, &f, width, parts + k * part,
                    &scratch[0] + room * threadid(), reach, reach + ring)
    if f.kind:
        add_sums(f.kind, parts, chunks, width, s.channels, width // s.channels, &sums[0, 0], sums.shape[1])


cdef inline void output_rows(const Source *shared, const Shape *s, const real *weights, const real *bias, Py_ssize_t row, Py_ssize_t end,
                             stored *y, const Finish *f, Py_ssize_t width, double *sums, unsigned char *scratch, Py_ssize_t reach,
                             Py_ssize_t line) noexcept nogil:
    """Some rows of the outputs, counted over all images; what is done to them is done when some have gathered, in the cache."""
    cdef unsigned mode = flush(weights)
    cdef Source source = opened(shared, scratch + reach)
    cdef Py_ssize_t size = s.columns * s.channels, done = row
    while row < end:
        if stored is bfloat16:
            output_row(&source, s, weights, bias, row // s.rows, row % s.rows, <real *>(scratch + line), scratch)
            round_run(<const float *>(scratch + line), size, y + row * size)
        else:
            output_row(&source, s, weights, bias, row // s.rows, row % s.rows, <real *>y + row * size, scratch)
        row += 1
        if f.kind and ((row - done) * size >= FINISHED or row == end):
            finish_run(f, y, done * size, (row - done) * size, width, sums)
            done = row
    restore(mode)


cdef void turn(const real[:, :, :, :] w, real *out, bint backwards) noexcept nogil:
    """Weights (C, 1, KH, KW) as rows of channels, (KH, KW, C); backwards for stamps, whose first tap reaches the last source."""
    cdef Py_ssize_t u, v, c
    for u in range(w.shape[2]):
        for v in range(w.shape[3]):
            for c in range(w.shape[0]):
                out[c] = w[c, 0, w.shape[2] - 1 - u if backwards else u, w.shape[3] - 1 - v if backwards else v]
            out += apart(out, w.shape[0])


cdef void output_row(const Source *x, const Shape *s, const real *weights, const real *bias, Py_ssize_t image, Py_ssize_t i, real *y,
                     unsigned char *scratch) noexcept nogil:
    """Row i of the outputs of an image. The taps are the same for all its pixels or, scattered, for every SW-th."""
    cdef Py_ssize_t phase, phases = s.g.SW if s.scattered else 1, step = 1 if s.scattered else s.g.SW, u, v, row, column, many
    cdef Py_ssize_t together = 3 if s.g.DW == 1 and (s.g.SW == 1 or s.g.SW == 2 and not s.scattered) else 1
    cdef bint inside
    cdef const real *line
    cdef Row r
    cdef DepthwiseTaps *e
    r.taps = <DepthwiseTaps *>scratch
    r.edge = r.taps + s.g.KH * s.g.KW
    r.column = <Py_ssize_t *>(r.edge + s.g.KH * s.g.KW)
    for phase in range(least(phases, s.columns)):
        r.entries, r.lowest, r.highest = 0, s.width, 0
        for u in range(s.g.KH):
            row = i * s.g.SH + u * s.g.DH - s.g.PH
            if s.scattered:
                row = i + s.g.PH - (s.g.KH - 1 - u) * s.g.DH
                if row % s.g.SH:
                    continue
                row = row // s.g.SH
            inside = 0 <= row < s.height
            if s.scattered and not inside:
                continue
            line = source_row(y, x, s, image, row, inside)
            v = 0
            while v < s.g.KW:
                many = together if v + together <= s.g.KW else 1
                column = v * s.g.DW - s.g.PW
                if s.scattered:
                    column = phase + s.g.PW - (s.g.KW - 1 - v) * s.g.DW
                    if column % s.g.SW:
                        v += 1
                        continue
                    column = column // s.g.SW
                e = r.taps + r.entries
                e.taps, e.inside = many, -1 if inside else 0
                e.at = line + column * x.pixel
                e.tap = weights + (u * s.g.KW + v) * apart(weights, s.channels)
                e.ahead = 0         # the last rows and columns of a window are those that it has not seen before
                if s.far and not x.made and u >= s.g.KH - s.g.SH and v + many > s.g.KW - s.g.SW:
                    e.ahead = (1 if s.scattered else s.g.SH) * s.width * x.pixel
                r.column[r.entries] = column
                r.lowest, r.highest = least(r.lowest, column), most(r.highest, column + many - 1)
                r.entries += 1
                v += many
        output_tiles(s, x.pixel, &r, step, bias, phases, y + phase * s.channels, (s.columns - phase + phases - 1) // phases)


cdef void output_tiles(const Shape *s, Py_ssize_t pixel, const Row *r, Py_ssize_t step, const real *bias, Py_ssize_t by, real *y,
                       Py_ssize_t outputs) noexcept nogil:
    """`outputs` neighbours whose sources are `step` pixels of so many numbers apart, put `by` pixels apart."""
    cdef const DepthwiseTiles *tiles = tiles_for(y, s.channels)
    cdef DepthwiseOutputs o = [0, s.channels, pixel, apart(y, s.channels), step * pixel, by * s.channels,
                               s.columns * s.channels if s.far else 0, bias, not s.scattered]
    cdef Py_ssize_t count = ceil_div(outputs, DEPTHWISE_OUTPUTS), tile, j, n, entries
    # Large windows are bound by the second-level cache: two vectors of channels at a time leave what neighbouring tiles
    # share in the first-level cache. Small ones are bound by memory, which is read best pixel by pixel.
    cdef Py_ssize_t block = s.channels if s.g.KH * s.g.KW <= SMALL else 2 * tiles.lanes
    while o.channel < s.channels:
        o.end = least(o.channel + block, s.channels)
        for tile in range(count):           # as equal as can be
            j = tile * outputs // count
            n = (tile + 1) * outputs // count - j
            if r.lowest + j * step >= 0 and r.highest + (j + n - 1) * step < s.width:
                tiles.outputs(&o, n, r.taps, r.entries, j * step * pixel, y + j * by * s.channels)
            else:
                entries = cut_off(s, r, j * step, n, step)
                tiles.outputs(&o, n, r.edge, entries, j * step * pixel, y + j * by * s.channels)
        o.channel = o.end


cdef Py_ssize_t cut_off(const Shape *s, const Row *r, Py_ssize_t shift, Py_ssize_t outputs, Py_ssize_t step) noexcept nogil:
    """The entries for a tile at an edge: what lies outside is marked, or left out where it is not to be multiplied."""
    cdef Py_ssize_t entries = 0, k, i, first, end
    cdef DepthwiseTaps *e
    for k in range(r.entries):
        e = r.edge + entries
        e[0] = r.taps[k]
        first = r.column[k] + shift
        if e.taps == 3:
            first, end = most(0, -first), least((outputs - 1) * step + 3, s.width - first)
            e.inside &= (1 << end) - (1 << first) if first < end else 0
        else:
            e.inside &= (1 << outputs) - 1
            for i in range(outputs):
                if not 0 <= first + i * step < s.width:
                    e.inside &= ~(<Py_ssize_t>1 << i)
        entries += e.inside != 0 or not s.scattered
    return entries


def weight_gradient(const stored[:, :, :, ::1] x, const stored[:, :, :, ::1] dy, real[:, :, :, ::1] dw,
                    const Py_ssize_t[::1] geometry, tuple load, int threads):
    """dw (C, 1, KH, KW) from x (N, H, W, C) and dy (N, OH, OW, C); beyond the edges x is zero.

    A task takes some rows of dy and some channels and keeps the sums of its rows; these are added in order at the end.
    load: None, or what is to become of x (ride.pxd). x and dy hold numbers of dw's type or, where that is float32, bfloat16 ones.
    """
    if stored is double and real is float or stored is not double and real is double:
        raise TypeError("depthwise: images and weights are to be both float64 or neither")
    cdef Shape s = shape_of(x, dy, geometry, False)
    cdef Py_ssize_t rows = x.shape[0] * s.rows, taps = s.g.KH * s.g.KW, lanes = tiles_for(&dw[0, 0, 0, 0], s.channels).lanes
    cdef Py_ssize_t vectors = ceil_div(s.channels, lanes), chunks, parts, task, size = taps * apart(&dw[0, 0, 0, 0], vectors * lanes)
    if rows * s.columns == 0:
        memset(&dw[0, 0, 0, 0], 0, dw.size * sizeof(real))
        return
    chunks = most(1, least(TASKS, s.channels // CHANNELS))
    parts = most(1, least(ceil_div(TASKS, chunks), rows // ROWS))
    cdef Py_ssize_t width = row_width(s.channels), room
    cdef unsigned char[::1] block = Block((parts * size + COEFFICIENTS * width) * sizeof(real))
    cdef real *sums = <real *>&block[0]
    cdef Source source = source_of(sums, &x[0, 0, 0, 0], load, &s, MEET_HALVES)
    cdef Py_ssize_t row = (s.columns * s.channels * <Py_ssize_t>sizeof(float) + 63) // 64 * 64 if stored is bfloat16 else 0
    cdef const stored *gradient = &dy[0, 0, 0, 0]
    source.load.coefficients = widen_for(gradient, source.load.coefficients, source.load.columns, s.channels, sums + parts * size, width)
    source.load.columns, room = width, ring_room(sums, &source, &s) + row
    cdef unsigned char[::1] scratch = Block(room * threads + 1)
    cdef unsigned mode
    for task in prange(parts * chunks, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=rows * s.columns * s.channels > WORTH):
        mode = flush(sums)
        gradient_part(&source, &scratch[0] + room * threadid(), room - row, gradient, &s, task // chunks * rows // parts, (task // chunks + 1) * rows // parts,
                      task % chunks * vectors // chunks, (task % chunks + 1) * vectors // chunks, sums + task // chunks * size)
        restore(mode)
    add_parts(sums, parts, size, vectors, lanes, s.channels, taps, &dw[0, 0, 0, 0])


cdef inline void gradient_part(const Source *shared, unsigned char *scratch, Py_ssize_t row_at, const stored *dy, const Shape *s,
                               Py_ssize_t row_from, Py_ssize_t row_to, Py_ssize_t vector_from, Py_ssize_t vector_to, real *sums) noexcept nogil:
    """The sums of some rows of dy, counted over all images, and some vectors of channels. row_at: where scratch has room for a row."""
    cdef Source x = opened(shared, scratch)
    cdef const DepthwiseTiles *tiles = tiles_for(sums, s.channels)
    cdef real *held = <real *>(scratch + row_at)
    cdef Py_ssize_t i
    cdef Py_ssize_t vectors = ceil_div(s.channels, tiles.lanes), first = vector_from * tiles.lanes, lane, t, line, image, row
    cdef Py_ssize_t u, v, r, rows, taps, deep = ceil_div(s.g.KH, DEPTHWISE_TAPS), wide = ceil_div(s.g.KW, DEPTHWISE_TAPS), k, l
    cdef DepthwiseGradient g
    lane = first
    first = least(first, s.channels - tiles.lanes)
    x.first, x.end = first, least(vector_to * tiles.lanes, s.channels)
    g.channels = least(vector_to * tiles.lanes, s.channels) - first
    g.pixels, g.between, g.dy_step, g.sums_step = s.columns, x.pixel, s.channels, apart(sums, vectors * tiles.lanes)
    g.width, g.dilation, g.stride = s.width, s.g.DW, s.g.SW
    g.dy_ahead = s.columns * s.channels if s.far and stored is not bfloat16 else 0
    for t in range(s.g.KH * s.g.KW):
        memset(sums + t * g.sums_step + lane, 0, (vector_to - vector_from) * tiles.lanes * sizeof(real))
    for line in range(row_from, row_to):
        image, row = line // s.rows, line % s.rows * s.g.SH - s.g.PH
        if stored is bfloat16:
            for i in range(s.columns * s.channels):
                held[i] = number(dy, line * s.columns * s.channels + i, held)
            g.dy = held + first
        else:
            g.dy = <const real *>dy + line * s.columns * s.channels + first
        for k in range(deep):           # rows of taps and taps of a row, up to three of each, as equal as can be
            u = k * s.g.KH // deep
            rows = (k + 1) * s.g.KH // deep - u
            for l in range(wide):
                v = l * s.g.KW // wide
                taps = (l + 1) * s.g.KW // wide - v
                g.column = v * s.g.DW - s.g.PW
                for r in range(rows):
                    g.sums[r] = sums + ((u + r) * s.g.KW + v) * g.sums_step + lane
                    g.inside[r] = 0 <= row + (u + r) * s.g.DH < s.height
                    g.at[r] = source_row(sums, &x, s, image, row + (u + r) * s.g.DH, g.inside[r]) + g.column * x.pixel + first
                    g.ahead[r] = s.g.SH * s.width * s.channels if s.far and not x.made else 0
                tiles.gradient(&g, rows, taps)


cdef void add_parts(real *sums, Py_ssize_t parts, Py_ssize_t size, Py_ssize_t vectors, Py_ssize_t lanes, Py_ssize_t channels,
                    Py_ssize_t taps, real *dw) noexcept nogil:
    """dw (C, taps): the parts added in order, on the way from (taps, vectors, lanes) whose last vector overlaps."""
    cdef Py_ssize_t c, t, p, k, lane
    for p in range(1, parts):
        for k in range(size):
            sums[k] += sums[p * size + k]
    for c in range(channels):
        lane = c if c < (vectors - 1) * lanes else c + vectors * lanes - channels
        for t in range(taps):
            dw[c * taps + t] = sums[t * apart(sums, vectors * lanes) + lane]
