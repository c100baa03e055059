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
from libc.string cimport memcpy, memset

from fastnet._ext.memory import Block

from fastnet._ext.tile cimport (
    TILE_PIXELS, TILE_VECS, lanes, panel_count, panel_start, tile_pixels, tile_rows, tile_weights,
    tile_width_double, tile_width_float,
)
from fastnet._ext.types cimport real

cdef enum:
    STRIP = 512 << 10       # bytes of padded source in a task: with its output it fits a 2 MB second-level cache
    PANEL = 24 << 10        # bytes of packed weights that stay in the first-level cache while the pixels go by
    PARTIALS = 4 << 20      # bytes of partial weight gradients
    SUMMED = 1024           # pixels in a partial, at least: adding it up must cost little beside making it
    TASKS = 32              # tasks wanted of a product, where its shape allows: enough for 16 threads to share evenly
    PIXELS = 96            # pixels of dy that stay in the first-level cache while the weight tiles go by


# A strip: `images` times `rows` times `columns` pixels of `channels` numbers, source rows and columns from (-lead) on.
ctypedef struct Strip:
    Py_ssize_t images, rows, columns, channels


cdef inline Py_ssize_t least(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a < b else b


cdef inline Py_ssize_t most(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a > b else b


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef void fill_strip(const real[:, :, :, ::1] x, Py_ssize_t image, Py_ssize_t row, Py_ssize_t column, Py_ssize_t channel,
                     const Strip *strip, real *out) noexcept nogil:
    """Copy the source from (image, row, column, channel) on; what lies outside the source is zero.  1 load and 1 store each."""
    cdef Py_ssize_t height = x.shape[1], width = x.shape[2], c = strip.channels, n, r, w, left, right
    left = least(most(-column, 0), strip.columns)
    right = most(least(width - column, strip.columns), left)
    for n in range(image, image + strip.images):
        for r in range(row, row + strip.rows):
            if r < 0 or r >= height:
                memset(out, 0, strip.columns * c * sizeof(real))
            else:
                memset(out, 0, left * c * sizeof(real))
                if right > left and c == x.shape[3]:
                    memcpy(out + left * c, &x[n, r, column + left, 0], (right - left) * c * sizeof(real))
                else:
                    for w in range(left, right):
                        memcpy(out + w * c, &x[n, r, column + w, channel], c * sizeof(real))
                memset(out + right * c, 0, (strip.columns - right) * c * sizeof(real))
            out += strip.columns * c


def vector_width(Py_ssize_t itemsize):
    """Numbers in a vector of this level: packed weights hold a multiple of it."""
    return tile_width_float if itemsize == sizeof(float) else tile_width_double


def pack_weights(const real[:, :, :, :] w, const Py_ssize_t[::1] tap_row, const Py_ssize_t[::1] tap_column, real[::1] out,
                 int threads):
    """Weights w (filters, channels, KH, KW), any strides, as panels (taps, channels, VECS * WIDTH) with zeros at the end.

    Blocks of 16 channels, so that what is read along w's last axes and written along the filters meets in the first cache.
    """
    cdef Py_ssize_t filters = w.shape[0], channels = w.shape[1], taps = tap_row.shape[0]
    cdef Py_ssize_t width = lanes(&out[0]), vectors = ceil_div(filters, width), panels = panel_count(vectors)
    cdef Py_ssize_t blocks = ceil_div(channels, 16), task
    for task in prange(panels * blocks, nogil=True, num_threads=threads, schedule="static"):
        pack_block(w, &tap_row[0], &tap_column[0], taps, task // blocks, task % blocks * 16, vectors, width, &out[0])


cdef void pack_block(const real[:, :, :, :] w, const Py_ssize_t *tap_row, const Py_ssize_t *tap_column, Py_ssize_t taps,
                     Py_ssize_t panel, Py_ssize_t first, Py_ssize_t vectors, Py_ssize_t width, real *out) noexcept nogil:
    cdef Py_ssize_t filters = w.shape[0], channels = w.shape[1]
    cdef Py_ssize_t start = panel_start(vectors, panel) * width, size = panel_start(vectors, panel + 1) * width - start
    cdef Py_ssize_t lane, t, c, last = least(first + 16, channels)
    out += start * taps * channels
    for lane in range(size):
        for c in range(first, last):
            for t in range(taps):
                out[(t * channels + c) * size + lane] = (
                    w[start + lane, c, tap_row[t], tap_column[t]] if start + lane < filters else 0
                )


# --- forward and the gradient of the input ----------------------------------------------------------------------------

def correlate(const real[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
              const Py_ssize_t[::1] step, const Py_ssize_t[::1] span, const Py_ssize_t[:, ::1] segment,
              Py_ssize_t length, const real[::1] packed, const real[::1] bias, real[:, :, :, ::1] out, Py_ssize_t filter,
              Py_ssize_t filters, const Py_ssize_t[::1] out_start, const Py_ssize_t[::1] out_step,
              const Py_ssize_t[::1] out_count, int threads):
    """out[n, oi(i), oj(j), filter + f] = bias[f] + sum over segments s, k of x[n, i*SH - lead + sh, j*SW - lead + sw, k] * w[s, k, f].

    Vectors of two are (height, width): step (SH, SW), lead (pixels of the strip before the source), span (pixels under the
    window); oi(i) = out_start + i * out_step for i in range(out_count). segment[s] = (sh, sw); `length` numbers each.
    """
    cdef Py_ssize_t images = x.shape[0], rows = out_count[0], columns = out_count[1]
    if images == 0 or rows <= 0 or columns <= 0:
        return
    cdef Py_ssize_t width = lanes(&packed[0]), vectors = ceil_div(filters, width), panels = panel_count(vectors)
    cdef Py_ssize_t depth = segment.shape[0] * length
    cdef Strip strip
    strip.channels = channels
    strip.columns = (columns - 1) * step[1] + span[1]
    strip.rows = (rows - 1) * step[0] + span[0]
    strip.images = 1
    # Nothing to pad and no channels to leave out: the source itself is the strip.
    cdef bint direct = (lead[0] == 0 and lead[1] == 0 and strip.rows <= x.shape[1] and strip.columns <= x.shape[2]
                        and (channels == x.shape[3] or span[1] == 1))
    # A block of output: some rows of one image, or some whole images.
    cdef Py_ssize_t row_bytes = step[0] * strip.columns * channels * sizeof(real), block_rows = rows, block_images = 1
    if strip.rows * strip.columns * channels * <Py_ssize_t>sizeof(real) > STRIP:
        block_rows = least(rows, most(1, STRIP // row_bytes))
        block_rows = ceil_div(rows, ceil_div(rows, block_rows))
    else:
        block_images = least(ceil_div(images, TASKS), most(1, STRIP // (strip.rows * strip.columns * channels * sizeof(real))))
    cdef Py_ssize_t across = ceil_div(rows, block_rows), blocks = ceil_div(images, block_images) * across
    cdef Py_ssize_t chunks = least(panels, ceil_div(TASKS, blocks)), task
    strip.rows = (block_rows - 1) * step[0] + span[0]
    strip.images = block_images
    cdef Py_ssize_t pixels = block_images * block_rows * columns
    cdef Py_ssize_t strip_size = 0 if direct else strip.images * strip.rows * strip.columns * channels
    cdef Py_ssize_t scratch_bytes = (strip_size + TILE_PIXELS * TILE_VECS * width + 64) * sizeof(real) + 2 * pixels * sizeof(Py_ssize_t)
    scratch_bytes = ceil_div(scratch_bytes, 64) * 64
    cdef unsigned char[::1] scratch = Block(scratch_bytes * threads)
    cdef unsigned char[::1] first_sums = Block(vectors * width * sizeof(real))
    cdef real *start = <real *>&first_sums[0]
    memset(start, 0, vectors * width * sizeof(real))
    if bias.shape[0]:
        memcpy(start, &bias[0], filters * sizeof(real))
    # Offsets of the segments from a pixel's first number.
    cdef unsigned char[::1] offset_block = Block((segment.shape[0] + 1) * sizeof(Py_ssize_t))
    cdef Py_ssize_t *offset = <Py_ssize_t *>&offset_block[0]
    cdef Py_ssize_t row_size = x.shape[2] * x.shape[3] if direct else strip.columns * channels
    cdef Py_ssize_t s
    for s in range(segment.shape[0]):
        offset[s] = segment[s, 0] * row_size + segment[s, 1] * (x.shape[3] if direct else channels)
    for task in prange(blocks * chunks, nogil=True, num_threads=threads, schedule="dynamic"):
        correlate_block(x, channel, &lead[0], &step[0], strip, direct, offset, segment.shape[0], length, &packed[0], start, out,
                        filter, filters, &out_start[0], &out_step[0], &out_count[0], block_images, block_rows,
                        task // chunks // across * block_images, task // chunks % across * block_rows,
                        task % chunks * panels // chunks, (task % chunks + 1) * panels // chunks, width,
                        &scratch[0] + scratch_bytes * threadid())


cdef void correlate_block(const real[:, :, :, ::1] x, Py_ssize_t channel, const Py_ssize_t *lead, const Py_ssize_t *step,
                          Strip strip, bint direct, const Py_ssize_t *offset, Py_ssize_t segments, Py_ssize_t length,
                          const real *packed, const real *start, real[:, :, :, ::1] out, Py_ssize_t filter,
                          Py_ssize_t filters, const Py_ssize_t *out_start, const Py_ssize_t *out_step,
                          const Py_ssize_t *out_count, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t image, Py_ssize_t row,
                          Py_ssize_t panel_from, Py_ssize_t panel_to, Py_ssize_t width, unsigned char *scratch) noexcept nogil:
    """One block of output pixels times one chunk of panels."""
    cdef Py_ssize_t columns = out_count[1], n, i, j, p = 0, panel, s, k, taken, count, many, room
    images, rows = least(images, x.shape[0] - image), least(rows, out_count[0] - row)
    cdef Py_ssize_t pixels = images * rows * columns
    cdef Py_ssize_t *at = <Py_ssize_t *>scratch
    cdef Py_ssize_t *to = at + pixels
    cdef real *edge = <real *>(to + pixels)
    cdef real *padded = edge + TILE_PIXELS * TILE_VECS * width
    cdef const real *source = &x[0, 0, 0, 0] if direct else padded
    cdef Py_ssize_t image_size, row_size, pixel_size
    cdef real *base = &out[0, 0, 0, 0]
    if direct:
        pixel_size, row_size, image_size = x.shape[3], x.shape[2] * x.shape[3], x.shape[1] * x.shape[2] * x.shape[3]
        source += image * image_size + row * step[0] * row_size + channel
    else:
        strip.images, strip.rows = images, strip.rows - (strip.rows if rows == 0 else 0)
        pixel_size, row_size, image_size = strip.channels, strip.columns * strip.channels, strip.rows * strip.columns * strip.channels
        fill_strip(x, image, row * step[0] - lead[0], -lead[1], channel, &strip, padded)
    for n in range(images):
        for i in range(rows):
            for j in range(columns):
                at[p] = n * image_size + i * step[0] * row_size + j * step[1] * pixel_size
                to[p] = (((image + n) * out.shape[1] + out_start[0] + (row + i) * out_step[0]) * out.shape[2]
                         + out_start[1] + j * out_step[1]) * out.shape[3] + filter
                p += 1
    cdef Py_ssize_t first, vecs, size, valid
    for panel in range(panel_from, panel_to):
        first = panel_start(ceil_div(filters, width), panel)
        vecs = panel_start(ceil_div(filters, width), panel + 1) - first
        size, first = vecs * width, first * width
        valid = least(size, filters - first)
        room = most(8, PANEL // (size * <Py_ssize_t>sizeof(real)))     # rows of packed weights that stay in the first cache
        if segments == 0:
            tile_pass(vecs, source, at, to, pixels, offset, 0, 0, packed, start + first, base + first, size, valid, edge)
        elif length <= room:
            many, s = room // length, 0
            while s < segments:
                count = least(many, segments - s)
                tile_pass(vecs, source, at, to, pixels, offset + s, count, length,
                          packed + first * segments * length + s * length * size, start + first if s == 0 else NULL,
                          base + first, size, valid, edge)
                s += count
        else:
            many = ceil_div(length, ceil_div(length, room))
            for s in range(segments):
                k = 0
                while k < length:
                    count = least(many, length - k)
                    tile_pass(vecs, source + k, at, to, pixels, offset + s, 1, count,
                              packed + first * segments * length + (s * length + k) * size,
                              start + first if s == 0 and k == 0 else NULL, base + first, size, valid, edge)
                    k += count


cdef void tile_pass(int vecs, const real *source, const Py_ssize_t *at, const Py_ssize_t *to, Py_ssize_t pixels,
                    const Py_ssize_t *offset, Py_ssize_t segments, Py_ssize_t length, const real *b, const real *start,
                    real *out, Py_ssize_t size, Py_ssize_t valid, real *edge) noexcept nogil:
    """Some rows of one panel for all pixels of a block, tile by tile; `edge` stands in for what a whole tile would overrun."""
    cdef const real *a[16]
    cdef real *o[16]
    cdef Py_ssize_t p = 0, i, q
    while p < pixels:
        if valid == size and p + TILE_PIXELS <= pixels:
            for i in range(TILE_PIXELS):
                a[i] = source + at[p + i]
                o[i] = out + to[p + i]
            tile_pixels(vecs, a, offset, segments, length, b, start, o)
        else:
            for i in range(TILE_PIXELS):
                q = least(p + i, pixels - 1)
                a[i] = source + at[q]
                o[i] = edge + i * size
                if start == NULL:
                    memcpy(o[i], out + to[q], valid * sizeof(real))
            tile_pixels(vecs, a, offset, segments, length, b, start, o)
            for i in range(least(TILE_PIXELS, pixels - p)):
                memcpy(out + to[p + i], o[i], valid * sizeof(real))
        p += TILE_PIXELS


# --- the gradient of the weights --------------------------------------------------------------------------------------

def weight_gradient(const real[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
                    const Py_ssize_t[::1] step, const Py_ssize_t[::1] span, const Py_ssize_t[:, ::1] segment,
                    Py_ssize_t length, const real[:, :, :, ::1] dy, Py_ssize_t filter, Py_ssize_t filters,
                    real[:, :, :, ::1] dw, const Py_ssize_t[::1] tap_row, const Py_ssize_t[::1] tap_column, int threads):
    """dw[f, c, tap] = sum over images n and pixels i, j of x[n, i*SH - lead + sh, j*SW - lead + sw, c] * dy[n, i, j, filter + f].

    A task takes some images and some panels of filters and keeps its sums in its own partial; the partials are added in
    order at the end, on the way from (tap, c, f) to dw's (f, c, tap).
    """
    cdef Py_ssize_t images = x.shape[0], rows = dy.shape[1], columns = dy.shape[2], depth = segment.shape[0] * length
    cdef Py_ssize_t width = lanes(&dw[0, 0, 0, 0]), vectors = ceil_div(filters, width), panels = panel_count(vectors)
    cdef Py_ssize_t partial = depth * vectors * width
    cdef Strip strip
    strip.channels = channels
    strip.columns = (columns - 1) * step[1] + span[1]
    strip.rows = (rows - 1) * step[0] + span[0]
    cdef bint direct = (lead[0] == 0 and lead[1] == 0 and strip.rows <= x.shape[1] and strip.columns <= x.shape[2]
                        and (channels == x.shape[3] or span[1] == 1))
    cdef Py_ssize_t block_rows = rows, block_images = 1, bytes = strip.rows * strip.columns * channels * sizeof(real)
    if bytes > STRIP:
        block_rows = least(rows, most(1, STRIP // <Py_ssize_t>(step[0] * strip.columns * channels * sizeof(real))))
        block_rows = ceil_div(rows, ceil_div(rows, block_rows))
    else:
        block_images = least(most(1, PIXELS // (rows * columns)), most(1, STRIP // most(1, bytes)))
    cdef Py_ssize_t parts = least(images * rows * columns // SUMMED, PARTIALS // most(1, partial * sizeof(real)))
    parts = most(1, least(parts, least(images, TASKS)))
    cdef Py_ssize_t chunks = least(panels, ceil_div(TASKS, parts)), task
    strip.rows = (block_rows - 1) * step[0] + span[0]
    strip.images = block_images
    cdef Py_ssize_t strip_size = 0 if direct else block_images * strip.rows * strip.columns * channels
    cdef Py_ssize_t scratch_bytes = ((strip_size + block_images * block_rows * columns * TILE_VECS * width + 64) * sizeof(real)
                                     + 3 * block_images * block_rows * sizeof(Py_ssize_t))
    scratch_bytes = ceil_div(scratch_bytes, 64) * 64
    cdef unsigned char[::1] scratch = Block(scratch_bytes * threads)
    cdef unsigned char[::1] partial_block = Block(parts * partial * sizeof(real))
    cdef real *partials = <real *>&partial_block[0]
    for task in prange(parts * chunks, nogil=True, num_threads=threads, schedule="dynamic"):
        gradient_part(x, channel, &lead[0], &step[0], strip, direct, segment, length, dy, filter, filters,
                      partials + task // chunks * partial, block_images, block_rows,
                      task // chunks * images // parts, (task // chunks + 1) * images // parts,
                      task % chunks * panels // chunks, (task % chunks + 1) * panels // chunks, width,
                      &scratch[0] + scratch_bytes * threadid())
    cdef Py_ssize_t blocks = ceil_div(channels, 16)
    for task in prange(panels * blocks, nogil=True, num_threads=threads, schedule="static"):
        add_partials(partials, partial, parts, task // blocks, task % blocks * 16, vectors, width, filters, channels,
                     &tap_row[0], &tap_column[0], tap_row.shape[0], dw)


cdef void gradient_part(const real[:, :, :, ::1] x, Py_ssize_t channel, const Py_ssize_t *lead, const Py_ssize_t *step,
                        Strip strip, bint direct, const Py_ssize_t[:, ::1] segment, Py_ssize_t length,
                        const real[:, :, :, ::1] dy, Py_ssize_t filter, Py_ssize_t filters, real *sums,
                        Py_ssize_t block_images, Py_ssize_t block_rows, Py_ssize_t image_from, Py_ssize_t image_to,
                        Py_ssize_t panel_from, Py_ssize_t panel_to, Py_ssize_t width, unsigned char *scratch) noexcept nogil:
    """The sums of images [image_from, image_to) for some panels, block by block of pixels."""
    cdef Py_ssize_t vectors = ceil_div(filters, width), depth = segment.shape[0] * length
    cdef Py_ssize_t rows = dy.shape[1], columns = dy.shape[2], image, row, panel, n, i, l, s, k, r, lines, group, many, block, blocks_across
    cdef Py_ssize_t images, tall, first, vecs, size, valid, tiles, image_size, row_size, pixel_size
    cdef Py_ssize_t *x_line = <Py_ssize_t *>scratch
    cdef Py_ssize_t *dy_line = x_line + block_images * block_rows
    cdef Py_ssize_t *packed_line = dy_line + block_images * block_rows
    cdef real *packed = <real *>(packed_line + block_images * block_rows)
    cdef real *padded = packed + block_images * block_rows * columns * TILE_VECS * width
    cdef const real *source
    cdef const real *base = &dy[0, 0, 0, filter]
    first = panel_start(vectors, panel_from) * width * depth
    memset(sums + first, 0, (panel_start(vectors, panel_to) * width * depth - first) * sizeof(real))
    blocks_across = ceil_div(rows, block_rows)
    for block in range(ceil_div(image_to - image_from, block_images) * blocks_across):
        image = image_from + block // blocks_across * block_images
        row = block % blocks_across * block_rows
        images = least(block_images, image_to - image)
        tall = least(block_rows, rows - row)
        if direct:
            pixel_size, row_size, image_size = x.shape[3], x.shape[2] * x.shape[3], x.shape[1] * x.shape[2] * x.shape[3]
            source = &x[image, row * step[0], 0, channel]
        else:
            strip.images = images
            pixel_size, row_size = strip.channels, strip.columns * strip.channels
            image_size = strip.rows * row_size
            fill_strip(x, image, row * step[0] - lead[0], -lead[1], channel, &strip, padded)
            source = padded
        lines = 0
        for n in range(images):
            for i in range(tall):
                x_line[lines] = n * image_size + i * step[0] * row_size
                dy_line[lines] = (((image + n) * rows + row + i) * columns) * dy.shape[3]
                packed_line[lines] = lines * columns
                lines += 1
        many = most(1, PIXELS // columns)
        for panel in range(panel_from, panel_to):
            first = panel_start(vectors, panel)
            vecs = panel_start(vectors, panel + 1) - first
            size, first = vecs * width, first * width
            valid = least(size, filters - first)
            pack_panel(base + first, dy_line, dy.shape[3], lines, columns, valid, size, packed, packed_line)
            tiles = ceil_div(length, tile_rows[vecs])
            for group in range(ceil_div(lines, many)):
                for s in range(segment.shape[0]):
                    for k in range(tiles):
                        r = k * length // tiles
                        tile_weights((k + 1) * length // tiles - r, vecs,
                                     source + segment[s, 0] * row_size + segment[s, 1] * pixel_size + r, x_line + group * many,
                                     step[1] * pixel_size, packed, packed_line + group * many, size,
                                     least(many, lines - group * many), columns,
                                     sums + first * depth + (s * length + r) * size)


cdef void pack_panel(const real *dy, const Py_ssize_t *line, Py_ssize_t step, Py_ssize_t lines, Py_ssize_t columns,
                     Py_ssize_t valid, Py_ssize_t size, real *out, Py_ssize_t *out_line) noexcept nogil:
    """One panel of dy, pixel by pixel without gaps: at its own stride it would fall on few sets of the first-level cache."""
    cdef Py_ssize_t l, k, v
    cdef const real *pixel
    for l in range(lines):
        out_line[l] = l * columns * size
        for k in range(columns):
            pixel = dy + line[l] + k * step
            for v in range(valid):
                out[v] = pixel[v]
            for v in range(valid, size):
                out[v] = 0
            out += size


cdef void add_partials(real *sums, Py_ssize_t partial, Py_ssize_t parts, Py_ssize_t panel, Py_ssize_t channel,
                       Py_ssize_t vectors, Py_ssize_t width, Py_ssize_t filters, Py_ssize_t channels,
                       const Py_ssize_t *tap_row, const Py_ssize_t *tap_column, Py_ssize_t taps,
                       real[:, :, :, ::1] dw) noexcept nogil:
    """dw of one panel and up to 16 channels: the partials are added into the first, which is transposed in the first cache."""
    cdef Py_ssize_t start = panel_start(vectors, panel) * width, size = panel_start(vectors, panel + 1) * width - start
    cdef Py_ssize_t lane, c, t, p, k, count = least(16, channels - channel) * size
    cdef real *total
    cdef real *more
    sums += start * taps * channels + channel * size
    for t in range(taps):
        total = sums + t * channels * size
        for p in range(1, parts):
            more = total + p * partial
            for k in range(count):
                total[k] += more[k]
    for lane in range(least(size, filters - start)):
        for c in range(least(16, channels - channel)):
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
    for part in prange(parts, nogil=True, num_threads=threads, schedule="static"):
        sum_rows(base + part * pixels // parts * filters, (part + 1) * pixels // parts - part * pixels // parts, filters,
                 partials + part * filters)
    for f in range(filters):
        db[f] = partials[f]
    for part in range(1, parts):
        for f in range(filters):
            db[f] += partials[part * filters + f]


cdef void sum_rows(const real *rows, Py_ssize_t count, Py_ssize_t size, real *total) noexcept nogil:
    cdef Py_ssize_t i, f
    memcpy(total, rows, size * sizeof(real))
    for i in range(1, count):
        rows += size
        for f in range(size):
            total[f] += rows[f]
