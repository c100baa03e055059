"""The gradient of the weights: the source under every tap times dy, summed over pixels; and the gradient of the bias.

The sums of a tile of (tap and channel) x filters stay in registers while the pixels go by. The source is read in strips, as
in correlate.pyx, beside the panels of dy under them, and meanwhile each tile fetches some lines of the next block's pixels
from memory. Tasks are cut by shape alone (`share`), and the partial sums of several tasks are added in a fixed order.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from fastnet._ext.memory import Block

from fastnet._ext.columns cimport row_width
from fastnet._ext.flush cimport flush, restore
from fastnet._ext.partials cimport add_partials
from fastnet._ext.ride cimport COEFFICIENTS, Load, load_of, widen
from fastnet._ext.strip cimport Strip, ceil_div, channel_block, cut, least, most, open_strip, strip_of
from fastnet._ext.tile cimport TILE_VECS, lanes, panel_count, panel_start, tile_pack, tile_rows, tile_turn, tile_weights
from fastnet._ext.types cimport real
from fastnet._ext.work cimport WORTH, WORTH_PRODUCT

cdef enum:
    BLOCK = 512 << 10       # bytes of a task's strip and of dy beside it: they stay in the second-level cache
    PIXELS = 100            # of dy, at most, that stay in the first-level cache while the weight tiles go by: 14x14 are twice 98
    PARTIALS = 4 << 20      # bytes of partial weight gradients
    SUMMED = 1024           # pixels in a partial, at least: adding it up must cost little beside making it
    SHARES = 8              # tasks wanted, at least
    TASKS = 32              # and at most, where it is work enough
    WORTH_TASK = 1 << 27    # multiply-adds of each of them
    NEAR = 1280 << 10       # bytes of a task's sums that stay in the second-level cache, beside the block
    ROWS = 8                # pixels of dy that are packed together
    LINE = 64               # bytes
    LEAST = 128             # sums of a filter that a task has, at least


# How the product is cut: tasks are parts of the images, chunks of the panels and slices of the sums of a filter, which of a
# single tap are channels. Of a single tap, too, the panels of a chunk, if they are several, find the source turned: its tiles,
# of at most `rows` channels and a group of pixels each, lie one behind the other. As it lies, the pixels of a tile fall on few
# sets of the first-level cache where the channels are a power of two (1024 of them, AVX2: 54 became 75 GFLOP/s of 98).
ctypedef struct Shares:
    Py_ssize_t parts, chunks, slices, rows
    bint point, turned


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
    cdef Py_ssize_t depth = segment.shape[0] * length, partial = depth * vectors * width, task, rest
    cdef Strip s = strip_of(x.shape, channel, channels, lead, step, span, dy.shape[1], dy.shape[2])
    cdef const real *source = &x[0, 0, 0, 0]
    cdef Load m = load_of(source, load)
    cdef Py_ssize_t wide = row_width(channels) if m.wanted else 0
    cdef unsigned char[::1] riding = Block(COEFFICIENTS * wide * sizeof(real) + 1)
    s.mapped = m.wanted
    if m.wanted:
        m.coefficients, m.columns = widen(<const real *>m.coefficients + channel, m.columns, channels, <real *>&riding[0], wide), wide
    cdef Shares w = share(&s, depth, vectors, width, sizeof(real), tap_row.shape[0] == 1)
    cdef Py_ssize_t filled = most_scratch(&s, &w, ceil_div(panels, w.chunks) * TILE_VECS * width, width, sizeof(real))
    cdef Py_ssize_t room = ceil_div(filled, 64) * 64
    cdef unsigned char[::1] scratch = Block(room * threads)
    cdef unsigned char[::1] sums = Block(w.parts * partial * sizeof(real))
    cdef real *partials = <real *>&sums[0]
    cdef const real *gradient = &dy[0, 0, 0, filter]
    cdef unsigned mode
    for task in prange(w.parts * w.chunks * w.slices, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=partial * s.images * s.rows * s.columns > WORTH_PRODUCT):
        rest = task // w.slices
        mode = flush(source)
        gradient_part(source, &s, &m, &w, segment, length, gradient, dy.shape[3], filters, partials + rest // w.chunks * partial,
                      rest // w.chunks, rest % w.chunks * panels // w.chunks, (rest % w.chunks + 1) * panels // w.chunks,
                      task % w.slices, width, &scratch[0] + room * threadid())
        restore(mode)
    cdef Py_ssize_t blocks = ceil_div(channels, channel_block(tap_row.shape[0]))
    for task in prange(panels * blocks, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=w.parts * partial > WORTH):
        add_partials(partials, partial, w.parts, task // blocks, task % blocks * channel_block(tap_row.shape[0]), vectors, width,
                     filters, channels, &tap_row[0], &tap_column[0], tap_row.shape[0], dw)


cdef Shares share(const Strip *s, Py_ssize_t depth, Py_ssize_t vectors, Py_ssize_t width, Py_ssize_t size, bint point) noexcept nogil:
    """The cut into about as many tasks as are wanted that moves the fewest numbers of `size` bytes: each chunk reads x, each slice dy, a part has
    sums that are added at the end, and sums that do not stay near are read and written for every group of pixels."""
    cdef Shares w, best
    cdef Py_ssize_t panels = panel_count(vectors), panel = TILE_VECS * width
    cdef Py_ssize_t pixels = s.images * s.rows * s.columns, sums = depth * panels * panel, limit, most_slices, wanted, tasks
    cdef double cost, least_cost = -1, x = s.images * s.height * s.width * s.channels, dy = pixels * panels * panel
    w.point, w.rows = point, tile_rows[ceil_div(vectors, panels)]
    w.parts = w.chunks = w.slices = 1
    w.turned = point and panels > 1
    best = w
    limit = most(1, least(least(pixels // SUMMED, s.images), PARTIALS // (sums * size)))
    tasks = most(SHARES, least(TASKS, pixels * sums // WORTH_TASK))
    most_slices = most(1, least(tasks, depth // LEAST))
    wanted = least(tasks, limit * panels * most_slices)
    for w.chunks in range(1, least(panels, tasks) + 1):
        w.turned = point and panels > w.chunks
        for w.slices in range(1, most_slices + 1):
            w.parts = least(limit, ceil_div(tasks, w.chunks * w.slices))
            if w.parts * w.chunks * w.slices < wanted:
                continue
            cost = w.chunks * (1 if point else 2 * w.slices) * x + w.slices * dy + 2 * w.parts * sums
            if sums * size > NEAR * w.chunks * w.slices:
                cost += 2.0 * sums * pixels / PIXELS
            if least_cost < 0 or cost < least_cost:
                least_cost, best = cost, w
    return best


cdef inline void open_share(Strip *s, const Shares *w, Py_ssize_t slice, Py_ssize_t filters, Py_ssize_t size) noexcept nogil:
    """The strip of a slice, cut into blocks that leave room for so many filters of dy; a single tap's has its own channels alone."""
    cdef Py_ssize_t first = slice * s.channels // w.slices, each
    if w.point:
        s.channel, s.channels = s.channel + first, (slice + 1) * s.channels // w.slices - first
    each = s.channels if w.turned else s.step[0] * s.step[1] * s.channels   # numbers of x beside a pixel of dy, about
    cut(s, PIXELS // (s.rows * s.columns), BLOCK // size * each // (each + filters))


cdef inline Py_ssize_t offset_bytes(Py_ssize_t pixels) noexcept nogil:
    """Of the places of a block's pixels, and of a group's that is turned."""
    return ceil_div((pixels + PIXELS) * sizeof(Py_ssize_t), LINE) * LINE


cdef inline Py_ssize_t turned_numbers(const Shares *w, Py_ssize_t channels, Py_ssize_t pixels, Py_ssize_t width) noexcept nogil:
    """What `turn` writes of a block."""
    cdef Py_ssize_t tiles = ceil_div(channels, w.rows)
    return tiles * (pixels * ceil_div(channels, tiles) + ceil_div(pixels, PIXELS) * width) if w.turned else 0


cdef Py_ssize_t most_scratch(const Strip *s, const Shares *w, Py_ssize_t filters, Py_ssize_t width, Py_ssize_t size) noexcept nogil:
    """Bytes of a task: offsets, dy, the strip, its tiles."""
    cdef Py_ssize_t slice, pixels, found = 0
    cdef Strip one
    for slice in range(w.slices if w.point else 1):
        one = s[0]
        open_share(&one, w, slice, filters, size)
        pixels = one.block_images * one.block_rows * one.columns
        found = most(found, offset_bytes(pixels)
                     + (pixels * filters + one.scratch + turned_numbers(w, one.channels, pixels, width)) * size)
    return found


cdef void gradient_part(const real *x, const Strip *whole, const Load *m, const Shares *w, const Py_ssize_t[:, ::1] segment,
                        Py_ssize_t length, const real *dy, Py_ssize_t dy_step, Py_ssize_t filters, real *sums, Py_ssize_t part,
                        Py_ssize_t panel_from, Py_ssize_t panel_to, Py_ssize_t slice, Py_ssize_t width,
                        unsigned char *scratch) noexcept nogil:
    """The sums of some images, panels and tiles, block by block of pixels."""
    cdef Py_ssize_t vectors = ceil_div(filters, width), depth = segment.shape[0] * length, channel = 0
    cdef Py_ssize_t image_from = part * whole.images // w.parts, image_to = (part + 1) * whole.images // w.parts
    cdef Py_ssize_t block, image, images, row, rows, panel, n, i, j, p, pixels, group, groups, many, first, vecs, size
    cdef Py_ssize_t tile, tiles, tile_from, tile_to, tall, k, r
    cdef Strip s = whole[0]
    open_share(&s, w, slice, ceil_div(panel_count(vectors), w.chunks) * TILE_VECS * width, sizeof(real))
    if w.point:
        channel, length = s.channel - whole.channel, s.channels
    cdef Py_ssize_t room = s.block_images * s.block_rows * s.columns, blocks
    cdef Py_ssize_t *at = <Py_ssize_t *>scratch
    cdef real *packed = <real *>(scratch + offset_bytes(room))
    cdef real *strip = packed + room * (panel_start(vectors, panel_to) - panel_start(vectors, panel_from)) * width
    cdef real *turned = strip + s.scratch
    cdef const Py_ssize_t *places
    cdef const real *source
    cdef const real *beside
    cdef const real *gradient
    # Each tile fetches one line of each pixel of its group, of the next block: first dy's, then x's, where its pixels are dy's.
    cdef Py_ssize_t dy_lines = ceil_div((panel_start(vectors, panel_to) - panel_start(vectors, panel_from)) * width * sizeof(real), LINE)
    cdef Py_ssize_t x_lines = ceil_div(s.channels * sizeof(real), LINE), line, pace
    if not (w.point and s.direct and s.rows == s.height and s.columns == s.width):
        x_lines = 0
    cdef const real *next_dy
    cdef const real *next_x
    cdef const real *ahead
    blocks = ceil_div(image_to - image_from, s.block_images) * s.blocks_across
    for block in range(blocks):
        image = image_from + block // s.blocks_across * s.block_images
        row = block % s.blocks_across * s.block_rows
        images, rows = least(s.block_images, image_to - image), least(s.block_rows, s.rows - row)
        source = open_strip(x, &s, m, images, image, row, strip)
        p = 0       # the pixels of a block lie together in dy: it has whole images or rows of one
        for n in range(images):
            for i in range(rows):
                for j in range(s.columns):
                    at[p] = n * s.image_size + i * s.step[0] * s.row_size + j * s.step[1] * s.pixel_size
                    p += 1
        pixels, groups = p, ceil_div(p, PIXELS)
        gradient = dy + (image * s.rows + row) * s.columns * dy_step
        next_dy, next_x = gradient + pixels * dy_step + panel_start(vectors, panel_from) * width, source + pixels * s.pixel_size
        if block + 1 == blocks:
            dy_lines = x_lines = 0
        if not vectors * width == filters == dy_step or panel_count(vectors) > 1:   # one panel is all there is, and dy lies as it should
            pack_panels(gradient, dy_step, pixels, filters, vectors, width, panel_from, panel_to, packed)
            gradient = packed
        if w.turned:
            turn(source, at, pixels, groups, length, w.rows, width, at + room, turned)
        for panel in range(panel_from, panel_to):
            first = panel_start(vectors, panel)
            vecs = panel_start(vectors, panel + 1) - first
            size, first = vecs * width, first * width
            tiles = ceil_div(length, w.rows if w.turned else tile_rows[vecs])       # of a segment, as equal as can be
            tall = ceil_div(length, tiles)
            tile_from, tile_to = 0, tiles
            if not w.point:
                tile_from, tile_to = slice * segment.shape[0] * tiles // w.slices, (slice + 1) * segment.shape[0] * tiles // w.slices
            for group in range(groups):
                p = group * pixels // groups
                many = (group + 1) * pixels // groups - p
                k, n = tile_from // tiles, tile_from % tiles
                line = (panel - panel_from) * (tile_to - tile_from)
                for tile in range(tile_from, tile_to):
                    r = n * tall
                    ahead, pace = gradient, 0
                    if line < dy_lines:
                        ahead, pace = next_dy + p * dy_step + line * LINE // sizeof(real), dy_step
                    elif line < dy_lines + x_lines:
                        ahead, pace = next_x + p * s.pixel_size + (line - dy_lines) * LINE // sizeof(real), s.pixel_size
                    if w.turned:
                        beside, places = turned + tiles * (p * tall + group * width) + n * (many * tall + width), at + room
                    else:
                        beside, places = source + segment[k, 0] * s.row_size + segment[k, 1] * s.pixel_size + r, at + p
                    tile_weights(least(tall, length - r), vecs, beside, places, gradient + p * size, many, block + group > 0,
                                 sums + first * depth + (k * length + channel + r) * size, ahead, pace)
                    line, n = line + 1, n + 1
                    if n == tiles:
                        k, n = k + 1, 0
            gradient += pixels * size


cdef void turn(const real *x, const Py_ssize_t *at, Py_ssize_t pixels, Py_ssize_t groups, Py_ssize_t channels, Py_ssize_t most_tall,
               Py_ssize_t width, Py_ssize_t *places, real *out) noexcept nogil:
    """x[at] turned, group by group of the pixels, and the places of the pixels in a tile, behind which is room for a vector."""
    cdef Py_ssize_t tiles = ceil_div(channels, most_tall), tall = ceil_div(channels, tiles), group, p, many
    for p in range(ceil_div(pixels, groups)):
        places[p] = p * tall
    for group in range(groups):
        p = group * pixels // groups
        many = (group + 1) * pixels // groups - p
        tile_turn(x, at + p, many, channels, tall, many * tall + width, out)
        out += tiles * (many * tall + width)


cdef void pack_panels(const real *dy, Py_ssize_t step, Py_ssize_t pixels, Py_ssize_t filters, Py_ssize_t vectors, Py_ssize_t width,
                      Py_ssize_t panel_from, Py_ssize_t panel_to, real *out) noexcept nogil:
    """Some panels of dy, each (pixels, panel) without gaps, because at dy's stride the pixels of a panel would fall on few sets of
    the first-level cache; rows of dy a few at a time, as they lie in memory."""
    cdef Py_ssize_t p, many, panel, first, start = panel_start(vectors, panel_from) * width, vecs
    for p from 0 <= p < pixels by ROWS:
        many = least(ROWS, pixels - p)
        for panel in range(panel_from, panel_to):
            first = panel_start(vectors, panel)
            vecs = panel_start(vectors, panel + 1) - first
            first *= width
            tile_pack(dy + p * step + first, step, many, least(vecs * width, filters - first), vecs,
                      out + (first - start) * pixels + p * vecs * width)


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
