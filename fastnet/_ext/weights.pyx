"""The gradient of the weights: the source under every tap times dy, summed over pixels; and the gradient of the bias.

The sums of a tile of (tap and channel) x filters stay in registers while the pixels go by. The source is read in strips, as
in correlate.pyx; tasks are cut by shape alone, and the partial sums of several tasks are added in a fixed order.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from fastnet._ext.memory import Block

from fastnet._ext.columns cimport row_width
from fastnet._ext.flush cimport flush, restore
from fastnet._ext.partials cimport add_partials
from fastnet._ext.ride cimport COEFFICIENTS, Load, load_of, widen
from fastnet._ext.strip cimport Strip, ceil_div, channel_block, cut, least, most, open_strip, strip_of
from fastnet._ext.tile cimport TILE_VECS, lanes, panel_count, panel_start, tile_rows, tile_weights
from fastnet._ext.types cimport real
from fastnet._ext.work cimport WORTH, WORTH_PRODUCT

cdef enum:
    STRIP = 512 << 10       # bytes of a task's strip: it stays in the second-level cache
    PIXELS = 96             # pixels of dy that stay in the first-level cache while the weight tiles go by
    PARTIALS = 4 << 20      # bytes of partial weight gradients
    SUMMED = 1024           # pixels in a partial, at least: adding it up must cost little beside making it
    TASKS = 32              # partials at most
    SHARES = 12             # tasks wanted: each chunk and slice of one part fills the same strips anew


def weight_gradient(const real[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
                    const Py_ssize_t[::1] step, const Py_ssize_t[::1] span, const Py_ssize_t[:, ::1] segment,
                    Py_ssize_t length, const real[:, :, :, ::1] dy, Py_ssize_t filter, Py_ssize_t filters,
                    real[:, :, :, :] dw, const Py_ssize_t[::1] tap_row, const Py_ssize_t[::1] tap_column,
                    tuple load, int threads):
    """dw[f, c, tap] = sum over n, i, j of x[n, i*SH - lead + sh, j*SW - lead + sw, channel + c] * dy[n, i, j, filter + f].

    A task takes some images, some panels of filters and some tiles of (tap, c), and keeps its sums in the partial of its
    images; the partials are added in order at the end, on the way from (tap, c, f) to dw's (f, c, tap).
    load: what is to become of x (ride.pxd), done where strips are filled.
    """
    cdef Py_ssize_t width = lanes(&dw[0, 0, 0, 0]), vectors = ceil_div(filters, width), panels = panel_count(vectors)
    cdef Py_ssize_t partial = segment.shape[0] * length * vectors * width, task, rest
    cdef Strip s = strip_of(x, channel, channels, lead, step, span, dy.shape[1], dy.shape[2])
    cdef const real *source = &x[0, 0, 0, 0]
    cdef Load m = load_of(source, load)
    cdef Py_ssize_t wide = row_width(channels) if m.wanted else 0
    cdef unsigned char[::1] riding = Block(COEFFICIENTS * wide * sizeof(real) + 1)
    s.mapped = m.wanted
    if m.wanted:
        m.coefficients, m.columns = widen(<const real *>m.coefficients + channel, m.columns, channels, <real *>&riding[0], wide), wide
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
    cdef const real *gradient = &dy[0, 0, 0, filter]
    cdef unsigned mode
    for task in prange(parts * chunks * slices, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=partial * s.images * s.rows * s.columns > WORTH_PRODUCT):
        rest = task // slices
        mode = flush(source)
        gradient_part(source, &s, &m, segment, length, gradient, dy.shape[3], filters, partials + rest // chunks * partial,
                      rest // chunks * s.images // parts, (rest // chunks + 1) * s.images // parts,
                      rest % chunks * panels // chunks, (rest % chunks + 1) * panels // chunks,
                      task % slices, slices, width, &scratch[0] + room * threadid())
        restore(mode)
    cdef Py_ssize_t blocks = ceil_div(channels, channel_block(tap_row.shape[0]))
    for task in prange(panels * blocks, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=parts * partial > WORTH):
        add_partials(partials, partial, parts, task // blocks, task % blocks * channel_block(tap_row.shape[0]), vectors, width, filters, channels,
                     &tap_row[0], &tap_column[0], tap_row.shape[0], dw)


cdef void gradient_part(const real *x, const Strip *s, const Load *m, const Py_ssize_t[:, ::1] segment, Py_ssize_t length, const real *dy,
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
        source = open_strip(x, s, m, images, image, row, packed + s.block_images * s.block_rows * s.columns * TILE_VECS * width)
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
            if size == filters == dy_step:  # one panel is all there is, and dy lies as it should
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
