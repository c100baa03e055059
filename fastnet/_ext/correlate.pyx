"""Forward and the gradient of the input, one product over channels-last images: packing, tiling, scheduling.

An output pixel is the sum, over the taps of the kernel, of a source pixel times a (channels x filters) matrix. Python
(fastnet/functional/products.py) says which taps lie where; the loops here serve every stride, padding and dilation.

The column matrix of im2col is never written. A task pads a strip of source rows into scratch that fits the second-level
cache; there the columns under a tap stand at a constant offset from every pixel, so the strip plus a list of offsets IS the
column matrix. Taps that are neighbours in a row make one run of (taps x channels) numbers, a segment.

Tasks are cut by shape alone, and every sum is taken in one order, so the bits do not depend on the number of threads.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport sqrt
from libc.string cimport memcpy, memset

from fastnet._ext.memory import Block

from fastnet._ext.columns cimport row_width
from fastnet._ext.flush cimport flush, restore
from fastnet._ext.ride cimport (
    COEFFICIENTS, NOTHING, RESULT, SUMS, Finish, Load, add_parts, finish as finish_pixels, finish_of, load_of, widen,
)
from fastnet._ext.strip cimport Strip, ceil_div, channel_block, cut, least, most, open_strip, strip_numbers, strip_of
from fastnet._ext.tile cimport (
    TILE_MOST_RUN, TILE_PIXELS, TILE_VECS, lanes, most_run, panel_count, panel_start, tile_pixels, tile_run,
    tile_width_double, tile_width_float,
)
from fastnet._ext.types cimport real
from fastnet._ext.work cimport WORTH, WORTH_PRODUCT, shares

cdef enum:
    STRIP = 512 << 10       # bytes of a task's strip: with its output it fits a 2 MB second-level cache
    PANEL = 32 << 10        # bytes of packed weights that stay in the first-level cache while the pixels go by
    LEAST = 64              # pixels of a block, at least: its chunk of weights is read once for all of them
    FINISHED = 256 << 10    # bytes of outputs, at least, that are finished together, while they are in the second-level cache
    FAR = 256 << 10         # bytes of packed weights that do not stay in the second-level cache beside the rest
    SEEN = 8                # tiles, at most, that such weights serve at a time: then they are fetched ahead rather than pixels
    SHORT = 7               # pixels of an output row from which on a tile is a run of it
    TASKS = 32              # tasks wanted of a product, where its shape allows: enough for 16 threads to share evenly


def vector_width(Py_ssize_t itemsize):
    """Numbers in a vector of this level: packed weights hold a multiple of it."""
    return tile_width_float if itemsize == sizeof(float) else tile_width_double


def pack_weights(const real[:, :, :, :] w, const Py_ssize_t[::1] tap_row, const Py_ssize_t[::1] tap_column, real[::1] out,
                 int threads):
    """Weights w (filters, channels, KH, KW), any strides, as panels (taps, channels, VECS * WIDTH) with zeros at the end.

    In blocks of channels, so that what is read along w's last axes and written along the filters meets in the first cache.
    """
    cdef Py_ssize_t filters = w.shape[0], channels = w.shape[1], taps = tap_row.shape[0]
    cdef Py_ssize_t width = lanes(&out[0]), vectors = ceil_div(filters, width), panels = panel_count(vectors)
    cdef Py_ssize_t blocks = ceil_div(channels, channel_block(taps)), task
    for task in prange(panels * blocks, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=filters * channels * taps > WORTH):
        pack_block(w, &tap_row[0], &tap_column[0], taps, task // blocks, task % blocks * channel_block(taps),
                   vectors, width, &out[0])


cdef void pack_block(const real[:, :, :, :] w, const Py_ssize_t *tap_row, const Py_ssize_t *tap_column, Py_ssize_t taps,
                     Py_ssize_t panel, Py_ssize_t first, Py_ssize_t vectors, Py_ssize_t width, real *out) noexcept nogil:
    cdef Py_ssize_t start = panel_start(vectors, panel) * width, size = panel_start(vectors, panel + 1) * width - start
    cdef Py_ssize_t valid = least(size, w.shape[0] - start), channels = w.shape[1], step = w.strides[0], lane, t, c
    cdef const char *source
    cdef real *to
    for t in range(taps):
        for c in range(first, least(first + channel_block(taps), channels)):
            source = <const char *>&w[start, c, tap_row[t], tap_column[t]]
            to = out + start * taps * channels + (t * channels + c) * size
            if step == sizeof(real):
                memcpy(to, source, valid * sizeof(real))
            else:
                for lane in range(valid):
                    to[lane] = (<const real *>(source + lane * step))[0]
            memset(to + valid, 0, (size - valid) * sizeof(real))


# The target of `correlate`: filters [filter, filter + filters) of the pixels (start + i * by) of out, in panels.
ctypedef struct Target:
    Py_ssize_t filter, filters, vectors, width, height, across, depth
    Py_ssize_t start[2]
    Py_ssize_t by[2]


# What rides on a product: `part` is the sums of a block.
ctypedef struct Riders:
    Load load
    Finish finish
    double *parts
    Py_ssize_t part


# The pixels of a block: where each has its window in the strip and its place in the output.
ctypedef struct Rows:
    const Py_ssize_t *at
    const Py_ssize_t *to
    Py_ssize_t lines, columns, step, out_step


def correlate(const real[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
              const Py_ssize_t[::1] step, const Py_ssize_t[::1] span, const Py_ssize_t[:, ::1] segment,
              Py_ssize_t length, const real[::1] packed, const real[::1] bias, real[:, :, :, ::1] out, Py_ssize_t filter,
              Py_ssize_t filters, const Py_ssize_t[::1] out_start, const Py_ssize_t[::1] out_step,
              const Py_ssize_t[::1] out_count, tuple load, tuple finish, double[:, ::1] sums, int threads):
    """out[n, oi(i), oj(j), filter+f] = bias[f] + sum over s, k of x[n, i*SH - lead + sh, j*SW - lead + sw, channel+k] * w[s,k,f].

    Vectors of two are (height, width): step (SH, SW), lead (pixels of the strip before the source), span (pixels under the
    window); oi(i) = out_start + i * out_step for i in range(out_count). segment[s] = (sh, sw); `length` numbers each.
    load: what is to become of x (ride.pxd), done where strips are filled; finish: what is done to a block of outputs when it is made.
    """
    if x.shape[0] == 0 or out_count[0] <= 0 or out_count[1] <= 0:
        return
    cdef Strip s = strip_of(x.shape, channel, channels, lead, step, span, out_count[0], out_count[1])
    cdef Target t
    t.filter, t.filters, t.width, t.vectors = filter, filters, lanes(&packed[0]), ceil_div(filters, lanes(&packed[0]))
    t.height, t.across, t.depth = out.shape[1], out.shape[2], out.shape[3]
    t.start, t.by = [out_start[0], out_start[1]], [out_step[0], out_step[1]]
    cdef const real *source = &x[0, 0, 0, 0]
    cdef real *target = &out[0, 0, 0, 0]
    cdef Riders r
    r.load, r.finish = load_of(source, load), finish_of(target, finish)
    s.mapped = r.load.wanted
    cdef Py_ssize_t segments = segment.shape[0], panels = panel_count(t.vectors), chunks, task, i
    # Every block reads the weights of its chunk, every chunk the strips: few chunks where strips are large, many where
    # weights are. blocks * chunks = TASKS and the least traffic, chunks * strips + blocks * weights, give
    cdef double weights = segments * length * t.vectors * t.width, strips = s.images * strip_numbers(&s)
    chunks = most(1, least(panels, <Py_ssize_t>(sqrt(TASKS * weights / strips) + 0.5)))
    cdef Py_ssize_t numbers = STRIP * (2 if chunks > 1 else 1) // sizeof(real)
    if s.mapped and s.span[0] <= s.step[0]:     # each chunk maps its strips anew: rather more blocks, which share no rows, than chunks
        numbers = most(1, least(numbers, <Py_ssize_t>(strips * chunks / TASKS)))
    cdef Py_ssize_t tasks = shares(<Py_ssize_t>(weights * s.images * s.rows * s.columns), threads)
    if (r.finish.kind == NOTHING or r.finish.kind == RESULT) and tasks > chunks:    # few images: their rows are shared out
        numbers = least(numbers, most(<Py_ssize_t>(strips * chunks / tasks), strip_numbers(&s) * LEAST // (s.rows * s.columns)))
    cut(&s, most(ceil_div(s.images, ceil_div(TASKS, chunks)), ceil_div(LEAST, s.rows * s.columns)), numbers)
    chunks = most(chunks, least(panels, ceil_div(TASKS, s.blocks)))
    # Bias, as whole vectors, and the offsets of the segments from a pixel's first number.
    cdef unsigned char[::1] shared = Block(t.vectors * t.width * sizeof(real) + (segments + 1) * sizeof(Py_ssize_t))
    cdef Py_ssize_t *offset = <Py_ssize_t *>&shared[0]
    cdef real *start = <real *>(offset + segments + 1)
    memset(start, 0, t.vectors * t.width * sizeof(real))
    if bias.shape[0]:
        memcpy(start, &bias[0], filters * sizeof(real))
    for i in range(segments):
        offset[i] = segment[i, 0] * s.row_size + segment[i, 1] * s.pixel_size
    cdef Py_ssize_t room = ((s.scratch + TILE_MOST_RUN * TILE_VECS * t.width) * sizeof(real)
                            + 2 * s.block_images * s.block_rows * s.columns * sizeof(Py_ssize_t) + 63) // 64 * 64
    cdef unsigned char[::1] scratch = Block(room * threads)
    r.part = SUMS * filters if r.finish.kind else 0
    cdef Py_ssize_t wide = row_width(channels) if s.mapped else 0
    cdef unsigned char[::1] riding = Block(s.blocks * r.part * sizeof(double) + COEFFICIENTS * wide * sizeof(real) + 1)
    r.parts = <double *>&riding[0]
    memset(r.parts, 0, s.blocks * r.part * sizeof(double))
    if s.mapped:
        r.load.coefficients = widen(<const real *>r.load.coefficients + channel, r.load.columns, channels,
                                    <real *>(r.parts + s.blocks * r.part), wide)
        r.load.columns = wide
    cdef unsigned mode
    for task in prange(s.blocks * chunks, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=weights * s.images * s.rows * s.columns > WORTH_PRODUCT):
        mode = flush(source)
        correlate_block(source, &s, &r, task // chunks, offset, segments, length, &packed[0], start, target, &t,
                        task % chunks * panels // chunks, (task % chunks + 1) * panels // chunks,
                        &scratch[0] + room * threadid())
        restore(mode)
    if r.finish.kind:
        add_parts(r.finish.kind, r.parts, s.blocks, filters, filters, 1, &sums[0, filter], sums.shape[1])


cdef void correlate_block(const real *x, const Strip *s, const Riders *r, Py_ssize_t block, const Py_ssize_t *offset, Py_ssize_t segments,
                          Py_ssize_t length, const real *packed, const real *start, real *out, const Target *t,
                          Py_ssize_t panel_from, Py_ssize_t panel_to, unsigned char *scratch) noexcept nogil:
    """One block of output pixels times one chunk of panels."""
    cdef Py_ssize_t image = block // s.blocks_across * s.block_images, row = block % s.blocks_across * s.block_rows
    cdef Py_ssize_t images = least(s.block_images, s.images - image), rows = least(s.block_rows, s.rows - row)
    cdef Py_ssize_t pixels = images * rows * s.columns, n, i, j, p = 0, panel, k, taken, first, vecs, size, valid, most_rows, done = panel_from
    cdef Py_ssize_t *at = <Py_ssize_t *>scratch
    cdef Py_ssize_t *to = at + pixels
    cdef real *edge = <real *>(to + pixels)
    cdef bint far = segments * length * t.vectors * t.width * <Py_ssize_t>sizeof(real) >= FAR
    cdef const real *source = open_strip(x, s, &r.load, images, image, row, edge + TILE_MOST_RUN * TILE_VECS * t.width)
    for n in range(images):
        for i in range(rows):
            for j in range(s.columns):
                at[p] = n * s.image_size + i * s.step[0] * s.row_size + j * s.step[1] * s.pixel_size
                to[p] = (((image + n) * t.height + t.start[0] + (row + i) * t.by[0]) * t.across
                         + t.start[1] + j * t.by[1]) * t.depth + t.filter
                p += 1
    cdef Rows pixels_of = [at, to, images * rows, s.columns, s.step[1] * s.pixel_size, t.by[1] * t.depth]
    for panel in range(panel_from, panel_to):
        first = panel_start(t.vectors, panel)
        vecs = panel_start(t.vectors, panel + 1) - first
        size, first = vecs * t.width, first * t.width
        valid = least(size, t.filters - first)
        most_rows = most(8, PANEL // (size * <Py_ssize_t>sizeof(real)))     # of the panel, to stay in the first-level cache
        k = 0
        while k < segments * length or k == 0:
            # Whole segments where several fit, else an equal part of one.
            if length <= most_rows or segments == 0:    # no segments: a phase of the stride that no tap reaches, all zeros
                taken = least(most_rows // most(1, length), segments - k // most(1, length))
                tile_pass(&pixels_of, vecs, far, source, offset + k // most(1, length), taken, length,
                          packed + first * segments * length + k * size, start + first if k == 0 else NULL,
                          out + first, size, valid, edge)
                k += most(1, taken * length)
            else:
                taken = least(ceil_div(length, ceil_div(length, most_rows)), length - k % length)
                tile_pass(&pixels_of, vecs, far, source + k % length, offset + k // length, 1, taken,
                          packed + first * segments * length + k * size, start + first if k == 0 else NULL,
                          out + first, size, valid, edge)
                k += taken
        k = panel_start(t.vectors, done) * t.width
        if r.finish.kind and (panel == panel_to - 1 or pixels * (first + valid - k) * <Py_ssize_t>sizeof(real) >= FINISHED):
            finish_block(&pixels_of, &r.finish, out, t.filter + k, first + valid - k, r.parts + block * r.part + k, t.filters, k)
            done = panel + 1


cdef void finish_block(const Rows *rows, const Finish *f, real *out, Py_ssize_t filter, Py_ssize_t filters, double *sums,
                       Py_ssize_t row, Py_ssize_t offset) noexcept nogil:
    """The Finish of some filters of a block's pixels: rows that lie together are one run."""
    cdef Py_ssize_t line = 0, last
    while line < rows.lines:
        last = line + 1
        while last < rows.lines and rows.to[last * rows.columns] - rows.to[(last - 1) * rows.columns] == rows.columns * rows.out_step:
            last += 1
        finish_pixels(f, out, rows.to[line * rows.columns] + offset, (last - line) * rows.columns, rows.out_step, filter, filters, sums, row)
        line = last


cdef void tile_pass(const Rows *rows, int vecs, bint far, const real *source, const Py_ssize_t *offset, Py_ssize_t segments,
                    Py_ssize_t length, const real *b, const real *start, real *out, Py_ssize_t size, Py_ssize_t valid,
                    real *edge) noexcept nogil:
    """Some rows of one panel for all pixels of a block, tile by tile; `edge` stands in for what a whole tile would overrun.

    A tile is a run of neighbours in a row of output; where rows are shorter than that pays for, it is pixels from anywhere. Each
    tile fetches what the next one reads of the source or, if weights come from far and few tiles share them, its share of
    the weights of the next pass, which lie behind these.
    """
    cdef const real *a[16]
    cdef real *o[16]
    cdef Py_ssize_t line, p = 0, i, q, run, runs = ceil_div(rows.columns, most_run[vecs]), pace = 0
    cdef const real *here
    cdef const real *ahead
    cdef real *to
    cdef Py_ssize_t pixels = rows.lines * rows.columns, numbers = segments * length * size
    cdef Py_ssize_t tiles = rows.lines * runs if rows.columns >= SHORT else ceil_div(pixels, TILE_PIXELS), tile = 0
    far = far and tiles <= SEEN
    if rows.columns >= SHORT:
        if far:
            pace = ceil_div(size, tiles)
        elif rows.step <= length:           # the pixels of a run lie together
            pace = ceil_div(most_run[vecs] * rows.step, segments * length)
        for line in range(rows.lines):
            for q in range(runs):
                p = q * rows.columns // runs
                run = (q + 1) * rows.columns // runs - p
                to = out + rows.to[line * rows.columns + p]
                here = source + rows.at[line * rows.columns + p]
                ahead = b + numbers + tile * numbers // tiles if far else here + run * rows.step if pace else here
                tile += 1
                if valid == size:
                    tile_run(run, vecs, here, rows.step, offset, segments, length, b, start, to, rows.out_step, ahead, pace)
                    continue
                if start == NULL:
                    for i in range(run):
                        memcpy(edge + i * size, to + i * rows.out_step, valid * sizeof(real))
                tile_run(run, vecs, here, rows.step, offset, segments, length, b, start, edge, size, ahead, pace)
                for i in range(run):
                    memcpy(to + i * rows.out_step, edge + i * size, valid * sizeof(real))
        return
    if far:
        pace = ceil_div(size, tiles)
    while p < pixels:
        ahead = b + numbers + tile * numbers // tiles if far else b
        tile += 1
        for i in range(TILE_PIXELS):
            q = least(p + i, pixels - 1)
            a[i] = source + rows.at[q]
            o[i] = out + rows.to[q]
            if valid < size or p + i > q:
                o[i] = edge + i * size
                if start == NULL:
                    memcpy(o[i], out + rows.to[q], valid * sizeof(real))
        tile_pixels(vecs, a, offset, segments, length, b, start, o, ahead, pace)
        if valid < size:
            for i in range(least(TILE_PIXELS, pixels - p)):
                memcpy(out + rows.to[p + i], o[i], valid * sizeof(real))
        p += TILE_PIXELS
