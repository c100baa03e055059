"""The three convolution products over channels-last images: packing, tiling, scheduling.

Forward and the gradient of the input are one product, `correlate`: an output pixel is the sum, over the taps of the kernel,
of a source pixel times a (channels x filters) matrix. The gradient of the weights is `weight_gradient`. Python
(fastnet/functional/convolution.py) says which taps lie where; the loops here serve every stride, padding and dilation.

The column matrix of im2col is never written. A task pads a strip of source rows into scratch that fits the second-level
cache; there the columns under a tap stand at a constant offset from every pixel, so the strip plus a list of offsets IS the
column matrix. Taps that are neighbours in a row make one run of (taps x channels) numbers, a segment.

Tasks are cut by shape alone, and every sum is taken in one order, so the bits do not depend on the number of threads.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport sqrt
from libc.string cimport memcpy, memset

from fastnet._ext.memory import Block

from fastnet._ext.strip cimport Strip, ceil_div, cut, least, most, open_strip, strip_numbers
from fastnet._ext.tile cimport (
    TILE_MOST_RUN, TILE_PIXELS, TILE_VECS, lanes, most_run, panel_count, panel_start, tile_pixels, tile_rows, tile_run,
    tile_weights, tile_width_double, tile_width_float,
)
from fastnet._ext.types cimport real
from fastnet._ext.work cimport WORTH, WORTH_PRODUCT

cdef enum:
    STRIP = 512 << 10       # bytes of a task's strip: with its output it fits a 2 MB second-level cache
    PANEL = 32 << 10        # bytes of packed weights that stay in the first-level cache while the pixels go by
    LEAST = 64              # pixels of a block, at least: its chunk of weights is read once for all of them
    SHORT = 7               # pixels of an output row from which on a tile is a run of it
    PIXELS = 96             # pixels of dy that stay in the first-level cache while the weight tiles go by
    PARTIALS = 4 << 20      # bytes of partial weight gradients
    SUMMED = 1024           # pixels in a partial, at least: adding it up must cost little beside making it
    TASKS = 32              # tasks wanted of a product, where its shape allows: enough for 16 threads to share evenly
    SHARES = 12             # tasks wanted of a weight gradient: each chunk and slice of one part fills the same strips anew


cdef Strip strip_of(const real[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
                    const Py_ssize_t[::1] step, const Py_ssize_t[::1] span, Py_ssize_t rows, Py_ssize_t columns):
    cdef Strip s
    s.channel, s.channels, s.rows, s.columns = channel, channels, rows, columns
    s.images, s.height, s.width, s.depth = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    s.lead, s.step, s.span = [lead[0], lead[1]], [step[0], step[1]], [span[0], span[1]]
    return s


def vector_width(Py_ssize_t itemsize):
    """Numbers in a vector of this level: packed weights hold a multiple of it."""
    return tile_width_float if itemsize == sizeof(float) else tile_width_double


cdef inline Py_ssize_t channel_block(Py_ssize_t taps) noexcept nogil:
    """Channels taken together where weights are turned: some 150 rows of a panel, and at least a cache line of each filter."""
    return most(16, 128 // taps)


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


# --- forward and the gradient of the input ----------------------------------------------------------------------------

# The target of `correlate`: filters [filter, filter + filters) of the pixels (start + i * by) of out, in panels.
ctypedef struct Target:
    Py_ssize_t filter, filters, vectors, width, height, across, depth
    Py_ssize_t start[2]
    Py_ssize_t by[2]


# The pixels of a block: where each has its window in the strip and its place in the output.
ctypedef struct Rows:
    const Py_ssize_t *at
    const Py_ssize_t *to
    Py_ssize_t lines, columns, step, out_step


def correlate(const real[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
              const Py_ssize_t[::1] step, const Py_ssize_t[::1] span, const Py_ssize_t[:, ::1] segment,
              Py_ssize_t length, const real[::1] packed, const real[::1] bias, real[:, :, :, ::1] out, Py_ssize_t filter,
              Py_ssize_t filters, const Py_ssize_t[::1] out_start, const Py_ssize_t[::1] out_step,
              const Py_ssize_t[::1] out_count, int threads):
    """out[n, oi(i), oj(j), filter+f] = bias[f] + sum over s, k of x[n, i*SH - lead + sh, j*SW - lead + sw, channel+k] * w[s,k,f].

    Vectors of two are (height, width): step (SH, SW), lead (pixels of the strip before the source), span (pixels under the
    window); oi(i) = out_start + i * out_step for i in range(out_count). segment[s] = (sh, sw); `length` numbers each.
    """
    if x.shape[0] == 0 or out_count[0] <= 0 or out_count[1] <= 0:
        return
    cdef Strip s = strip_of(x, channel, channels, lead, step, span, out_count[0], out_count[1])
    cdef Target t
    t.filter, t.filters, t.width, t.vectors = filter, filters, lanes(&packed[0]), ceil_div(filters, lanes(&packed[0]))
    t.height, t.across, t.depth = out.shape[1], out.shape[2], out.shape[3]
    t.start, t.by = [out_start[0], out_start[1]], [out_step[0], out_step[1]]
    cdef Py_ssize_t segments = segment.shape[0], panels = panel_count(t.vectors), chunks, task, i
    # Every block reads the weights of its chunk, every chunk the strips: few chunks where strips are large, many where
    # weights are. blocks * chunks = TASKS and the least traffic, chunks * strips + blocks * weights, give
    cdef double weights = segments * length * t.vectors * t.width, strips = s.images * strip_numbers(&s)
    chunks = most(1, least(panels, <Py_ssize_t>(sqrt(TASKS * weights / strips) + 0.5)))
    cut(&s, most(ceil_div(s.images, ceil_div(TASKS, chunks)), ceil_div(LEAST, s.rows * s.columns)), STRIP * (2 if chunks > 1 else 1) // sizeof(real))
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
    cdef const real *source = &x[0, 0, 0, 0]
    cdef real *target = &out[0, 0, 0, 0]
    for task in prange(s.blocks * chunks, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=weights * s.images * s.rows * s.columns > WORTH_PRODUCT):
        correlate_block(source, &s, task // chunks, offset, segments, length, &packed[0], start, target, &t,
                        task % chunks * panels // chunks, (task % chunks + 1) * panels // chunks,
                        &scratch[0] + room * threadid())


cdef void correlate_block(const real *x, const Strip *s, Py_ssize_t block, const Py_ssize_t *offset, Py_ssize_t segments,
                          Py_ssize_t length, const real *packed, const real *start, real *out, const Target *t,
                          Py_ssize_t panel_from, Py_ssize_t panel_to, unsigned char *scratch) noexcept nogil:
    """One block of output pixels times one chunk of panels."""
    cdef Py_ssize_t image = block // s.blocks_across * s.block_images, row = block % s.blocks_across * s.block_rows
    cdef Py_ssize_t images = least(s.block_images, s.images - image), rows = least(s.block_rows, s.rows - row)
    cdef Py_ssize_t pixels = images * rows * s.columns, n, i, j, p = 0, panel, k, taken, first, vecs, size, valid, most_rows
    cdef Py_ssize_t *at = <Py_ssize_t *>scratch
    cdef Py_ssize_t *to = at + pixels
    cdef real *edge = <real *>(to + pixels)
    cdef const real *source = open_strip(x, s, images, image, row, edge + TILE_MOST_RUN * TILE_VECS * t.width)
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
                tile_pass(&pixels_of, vecs, source, offset + k // most(1, length), taken, length,
                          packed + first * segments * length + k * size, start + first if k == 0 else NULL,
                          out + first, size, valid, edge)
                k += most(1, taken * length)
            else:
                taken = least(ceil_div(length, ceil_div(length, most_rows)), length - k % length)
                tile_pass(&pixels_of, vecs, source + k % length, offset + k // length, 1, taken,
                          packed + first * segments * length + k * size, start + first if k == 0 else NULL,
                          out + first, size, valid, edge)
                k += taken


cdef void tile_pass(const Rows *rows, int vecs, const real *source, const Py_ssize_t *offset, Py_ssize_t segments,
                    Py_ssize_t length, const real *b, const real *start, real *out, Py_ssize_t size, Py_ssize_t valid,
                    real *edge) noexcept nogil:
    """Some rows of one panel for all pixels of a block, tile by tile; `edge` stands in for what a whole tile would overrun.

    A tile is a run of neighbours in a row of output; where rows are shorter than that pays for, it is pixels from anywhere.
    """
    cdef const real *a[16]
    cdef real *o[16]
    cdef Py_ssize_t line, p = 0, i, q, run, runs = ceil_div(rows.columns, most_run[vecs])
    cdef real *to
    if rows.columns >= SHORT:
        for line in range(rows.lines):
            for q in range(runs):
                p = q * rows.columns // runs
                run = (q + 1) * rows.columns // runs - p
                to = out + rows.to[line * rows.columns + p]
                if valid == size:
                    tile_run(run, vecs, source + rows.at[line * rows.columns + p], rows.step, offset, segments, length, b, start,
                             to, rows.out_step)
                    continue
                if start == NULL:
                    for i in range(run):
                        memcpy(edge + i * size, to + i * rows.out_step, valid * sizeof(real))
                tile_run(run, vecs, source + rows.at[line * rows.columns + p], rows.step, offset, segments, length, b, start,
                         edge, size)
                for i in range(run):
                    memcpy(to + i * rows.out_step, edge + i * size, valid * sizeof(real))
        return
    cdef Py_ssize_t pixels = rows.lines * rows.columns
    while p < pixels:
        for i in range(TILE_PIXELS):
            q = least(p + i, pixels - 1)
            a[i] = source + rows.at[q]
            o[i] = out + rows.to[q]
            if valid < size or p + i > q:
                o[i] = edge + i * size
                if start == NULL:
                    memcpy(o[i], out + rows.to[q], valid * sizeof(real))
        tile_pixels(vecs, a, offset, segments, length, b, start, o)
        if valid < size:
            for i in range(least(TILE_PIXELS, pixels - p)):
                memcpy(out + rows.to[p + i], o[i], valid * sizeof(real))
        p += TILE_PIXELS


# --- the gradient of the weights --------------------------------------------------------------------------------------

def weight_gradient(const real[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
                    const Py_ssize_t[::1] step, const Py_ssize_t[::1] span, const Py_ssize_t[:, ::1] segment,
                    Py_ssize_t length, const real[:, :, :, ::1] dy, Py_ssize_t filter, Py_ssize_t filters,
                    real[:, :, :, :] dw, const Py_ssize_t[::1] tap_row, const Py_ssize_t[::1] tap_column, int threads):
    """dw[f, c, tap] = sum over n, i, j of x[n, i*SH - lead + sh, j*SW - lead + sw, channel + c] * dy[n, i, j, filter + f].

    A task takes some images, some panels of filters and some tiles of (tap, c), and keeps its sums in the partial of its
    images; the partials are added in order at the end, on the way from (tap, c, f) to dw's (f, c, tap).
    """
    cdef Py_ssize_t width = lanes(&dw[0, 0, 0, 0]), vectors = ceil_div(filters, width), panels = panel_count(vectors)
    cdef Py_ssize_t partial = segment.shape[0] * length * vectors * width, task, rest
    cdef Strip s = strip_of(x, channel, channels, lead, step, span, dy.shape[1], dy.shape[2])
    cut(&s, PIXELS // (s.rows * s.columns), STRIP // sizeof(real))
    cdef Py_ssize_t parts = least(s.images * s.rows * s.columns // SUMMED, PARTIALS // (partial * <Py_ssize_t>sizeof(real)))
    parts = most(1, least(parts, least(s.images, TASKS)))
    cdef Py_ssize_t chunks = least(panels, ceil_div(SHARES, parts)), slices = ceil_div(SHARES, parts * chunks)
    slices = most(1, least(slices, segment.shape[0] * length // 128))
    cdef Py_ssize_t pixels = s.block_images * s.block_rows * s.columns
    cdef Py_ssize_t room = ((s.scratch + pixels * TILE_VECS * width) * sizeof(real) + pixels * sizeof(Py_ssize_t) + 63) // 64 * 64
    cdef unsigned char[::1] scratch = Block(room * threads)
    cdef unsigned char[::1] sums = Block(parts * partial * sizeof(real))
    cdef real *partials = <real *>&sums[0]
    cdef const real *source = &x[0, 0, 0, 0]
    cdef const real *gradient = &dy[0, 0, 0, filter]
    for task in prange(parts * chunks * slices, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=partial * s.images * s.rows * s.columns > WORTH_PRODUCT):
        rest = task // slices
        gradient_part(source, &s, segment, length, gradient, dy.shape[3], filters, partials + rest // chunks * partial,
                      rest // chunks * s.images // parts, (rest // chunks + 1) * s.images // parts,
                      rest % chunks * panels // chunks, (rest % chunks + 1) * panels // chunks,
                      task % slices, slices, width, &scratch[0] + room * threadid())
    cdef Py_ssize_t blocks = ceil_div(channels, channel_block(tap_row.shape[0]))
    for task in prange(panels * blocks, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=parts * partial > WORTH):
        add_partials(partials, partial, parts, task // blocks, task % blocks * channel_block(tap_row.shape[0]), vectors, width, filters, channels,
                     &tap_row[0], &tap_column[0], tap_row.shape[0], dw)


cdef void gradient_part(const real *x, const Strip *s, const Py_ssize_t[:, ::1] segment, Py_ssize_t length, const real *dy,
                        Py_ssize_t dy_step, Py_ssize_t filters, real *sums, Py_ssize_t image_from, Py_ssize_t image_to,
                        Py_ssize_t panel_from, Py_ssize_t panel_to, Py_ssize_t slice, Py_ssize_t slices, Py_ssize_t width,
                        unsigned char *scratch) noexcept nogil:
    """The sums of some images, panels and tiles, block by block of pixels."""
    cdef Py_ssize_t vectors = ceil_div(filters, width), depth = segment.shape[0] * length, blocks
    cdef Py_ssize_t block, image, images, row, rows, panel, n, i, j, p, pixels, run, group, first, vecs, size
    cdef Py_ssize_t tile, tiles, k, r
    cdef Py_ssize_t *at = <Py_ssize_t *>scratch
    cdef real *packed = <real *>(at + s.block_images * s.block_rows * s.columns)
    cdef const real *source
    cdef const real *gradient
    blocks = ceil_div(image_to - image_from, s.block_images) * s.blocks_across
    for block in range(blocks):
        image = image_from + block // s.blocks_across * s.block_images
        row = block % s.blocks_across * s.block_rows
        images, rows = least(s.block_images, image_to - image), least(s.block_rows, s.rows - row)
        source = open_strip(x, s, images, image, row, packed + s.block_images * s.block_rows * s.columns * TILE_VECS * width)
        p, run = 0, rows * s.columns        # pixels of an image in the block: they lie together in dy
        for n in range(images):
            for i in range(rows):
                for j in range(s.columns):
                    at[p] = n * s.image_size + i * s.step[0] * s.row_size + j * s.step[1] * s.pixel_size
                    p += 1
        pixels = p
        for panel in range(panel_from, panel_to):
            first = panel_start(vectors, panel)
            vecs = panel_start(vectors, panel + 1) - first
            size, first = vecs * width, first * width
            gradient = packed
            if size == dy_step:             # one panel is all there is, and dy lies as it should
                gradient = dy + (image * s.rows + row) * s.columns * dy_step
            else:
                for n in range(images):
                    pack_panel(dy + ((image + n) * s.rows + row) * s.columns * dy_step + first, dy_step, run,
                               least(size, filters - first), size, packed + n * run * size)
            tiles = ceil_div(length, tile_rows[vecs])       # of a segment, as equal as can be
            for group in range(ceil_div(pixels, PIXELS)):
                p = group * PIXELS
                for tile in range(slice * segment.shape[0] * tiles // slices, (slice + 1) * segment.shape[0] * tiles // slices):
                    k, r = tile // tiles, tile % tiles * length // tiles
                    i = (tile % tiles + 1) * length // tiles - r
                    if block == 0 and group == 0:
                        memset(sums + first * depth + (k * length + r) * size, 0, i * size * sizeof(real))
                    tile_weights(i, vecs, source + segment[k, 0] * s.row_size + segment[k, 1] * s.pixel_size + r, at + p,
                                 gradient + p * size, least(PIXELS, pixels - p), sums + first * depth + (k * length + r) * size)


cdef void pack_panel(const real *dy, Py_ssize_t step, Py_ssize_t pixels, Py_ssize_t valid, Py_ssize_t size,
                     real *out) noexcept nogil:
    """One panel of dy, pixel by pixel without gaps: at its own stride it would fall on few sets of the first-level cache."""
    cdef Py_ssize_t p, v
    for p in range(pixels):
        for v in range(valid):
            out[v] = dy[v]
        for v in range(valid, size):
            out[v] = 0
        out += size
        dy += step


cdef void add_partials(real *sums, Py_ssize_t partial, Py_ssize_t parts, Py_ssize_t panel, Py_ssize_t channel,
                       Py_ssize_t vectors, Py_ssize_t width, Py_ssize_t filters, Py_ssize_t channels,
                       const Py_ssize_t *tap_row, const Py_ssize_t *tap_column, Py_ssize_t taps,
                       real[:, :, :, :] dw) noexcept nogil:
    """dw of one panel and a block of channels: the partials are added into the first, which is transposed in the first cache."""
    cdef Py_ssize_t start = panel_start(vectors, panel) * width, size = panel_start(vectors, panel + 1) * width - start
    cdef Py_ssize_t lane, c, t, p, k, many = least(channel_block(taps), channels - channel), valid = least(size, filters - start)
    cdef Py_ssize_t step = dw.strides[0]
    cdef real *total, *more
    sums += start * taps * channels + channel * size
    for t in range(taps):
        total = sums + t * channels * size
        for p in range(1, parts):
            more = total + p * partial
            for k in range(many * size):
                total[k] += more[k]
    if step == sizeof(real):            # the filters lie side by side
        for t in range(taps):
            for c in range(many):
                memcpy(&dw[start, channel + c, tap_row[t], tap_column[t]], sums + (t * channels + c) * size, valid * sizeof(real))
        return
    for lane in range(valid):
        for c in range(many):
            for t in range(taps):
                dw[start + lane, channel + c, tap_row[t], tap_column[t]] = sums[(t * channels + c) * size + lane]


def bias_gradient(const real[:, :, :, ::1] dy, real[::1] db, int threads):
    """db[f] = sum over n, i, j of dy[n, i, j, f]: partial sums of fixed runs of pixels, added in order."""
    cdef Py_ssize_t pixels = dy.shape[0] * dy.shape[1] * dy.shape[2], filters = dy.shape[3]
    cdef Py_ssize_t parts = most(1, least(64, ceil_div(pixels, 256))), part, f
    cdef unsigned char[::1] block = Block(parts * filters * sizeof(real))
    cdef real *partials = <real *>&block[0]
    if pixels == 0:
        memset(&db[0], 0, filters * sizeof(real))
        return
    cdef const real *base = &dy[0, 0, 0, 0]
    for part in prange(parts, nogil=True, num_threads=threads, schedule="static", use_threads_if=pixels * filters > WORTH):
        sum_rows(base + part * pixels // parts * filters, (part + 1) * pixels // parts - part * pixels // parts, filters,
                 partials + part * filters)
    for f in range(filters):
        db[f] = partials[f]
    for part in range(1, parts):
        for f in range(filters):
            db[f] += partials[part * filters + f]


cdef void sum_rows(const real *rows, Py_ssize_t count, Py_ssize_t size, real *total) noexcept nogil:
    """Four rows at a time: a sum that is stored and loaded again for every row waits for itself."""
    cdef Py_ssize_t i, f
    cdef const real *r
    memset(total, 0, size * sizeof(real))
    for i in range(count // 4):
        r = rows + 4 * i * size
        for f in range(size):
            total[f] += (r[f] + r[size + f]) + (r[2 * size + f] + r[3 * size + f])
    for i in range(count // 4 * 4, count):
        for f in range(size):
            total[f] += rows[i * size + f]
