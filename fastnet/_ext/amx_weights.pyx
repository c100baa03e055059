"""weights.pyx on AMX: the gradient of the weights of float32 images, as products of bfloat16 planes (amx.h).

The reduction runs over pairs of output pixels at the same place of two streams: of the images 2i and 2i + 1 or, where images
are few, of the upper and the lower half of one. x lies in slots of 64 bytes, 16 channels of a pair or, where there are few
channels, some numbers of the window there; dy is turned, so that the rows of its tiles are filters. A step of the
reduction is 16 pairs of a run along a row of outputs: [column][pair] in x's slots, too, for x is laid out by residues of the
stride. The slots under another tap then stand at a constant offset, whatever the stride and the dilation.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from fastnet._ext.memory import Block

from fastnet._ext.amx cimport (
    AMX_BYTES, AMX_HALF, AMX_ROWS, AMX_TILE, Image, Operand, Sums, amx_begin, amx_collect, amx_end, amx_fill_pairs, amx_fill_row,
    amx_fill_turned, amx_gather_pairs, amx_pair_product, amx_settle_all, clear, image_of, loading_in,
)
from fastnet._ext.amx_blocks cimport Axis, Range, Work, range_of, slot_count, slot_row, strip_lines, strip_numbers
from fastnet._ext.ride cimport COEFFICIENTS
from fastnet._ext.strip cimport ceil_div, least, most
from fastnet._ext.work cimport WORTH, WORTH_PRODUCT

cdef enum:
    PAIR = 2 * AMX_ROWS * AMX_ROWS      # sums of a pair of column tiles


# Where a task has its things in scratch.
ctypedef struct Room:
    Py_ssize_t slots, turned, offsets, tiles, strip, sums, size


cdef Axis axis_of(Py_ssize_t size, Py_ssize_t lead, Py_ssize_t step, const Py_ssize_t[::1] residue, const Py_ssize_t[:, ::1] group,
                  Py_ssize_t column):
    cdef Axis a
    cdef Py_ssize_t i
    a.size, a.lead, a.step, a.residues, a.reach = size, lead, step, residue.shape[0], 0
    a.residue = &residue[0]
    for i in range(group.shape[0]):
        a.reach = most(a.reach, group[i, column])
    return a


def weight_gradient(x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
                    const Py_ssize_t[::1] step, const Py_ssize_t[::1] row_residue, const Py_ssize_t[::1] column_residue,
                    const Py_ssize_t[:, ::1] group, const Py_ssize_t[:, :, ::1] piece, const int[::1] index,
                    dy, Py_ssize_t filter, Py_ssize_t filters, float[:, ::1] dw,
                    const Py_ssize_t[::1] streams, const Py_ssize_t[::1] cut, tuple x_load, tuple dy_load, int planes, int threads):
    """dw[f, k] = sum over pairs of the numbers under tap and channel k times dy[..., filter + f]; False, and dw is to be computed
    anew, if a sum is not finite: as where a number does not split.

    group[g]: (kind of slot, row residue, row, column residue, column) of its slots; piece[kind, i] = (line, first, length) of
    the numbers in a slot, none: a slot is 16 channels of a pixel. index[k]: where k stands among the sums of a chunk.
    streams: (pairs, rows, step of the image from pair to pair, image and row of the second stream). cut: (pairs and rows of a
    block, parts of the pixels, slices of filters and of chunks of channels). All of them: functional/blocks.py. The loads (None: no
    map) are applied where x is put into slots and dy is turned. x and dy hold float32 numbers or, for one plane, halves.
    """
    cdef Work w
    cdef Room r
    cdef Image image = image_of(x), gradient = image_of(dy)
    w.x_size, w.dy_size = image.size, gradient.size
    w.x, w.dy = image.data + channel * w.x_size, gradient.data + filter * w.dy_size
    w.images, w.channels, w.depth, w.filters, w.dy_depth, w.planes = image.shape[0], channels, image.shape[3], filters, gradient.shape[3], planes
    w.height, w.columns = gradient.shape[1], gradient.shape[2]
    w.pairs, w.rows, w.image_step, w.second_image, w.second_row = streams[0], streams[1], streams[2], streams[3], streams[4]
    w.down = axis_of(image.shape[1], lead[0], step[0], row_residue, group, 2)
    w.across = axis_of(image.shape[2], lead[1], step[1], column_residue, group, 4)
    w.group, w.groups, w.kinds, w.pieces = &group[0, 0], group.shape[0], piece.shape[0], piece.shape[1]
    w.piece = &piece[0, 0, 0] if w.kinds else NULL
    w.x_load, w.dy_load = loading_in(&image, x_load), loading_in(&gradient, dy_load)
    w.x_load.coefficients, w.dy_load.coefficients = w.x_load.coefficients + channel, w.dy_load.coefficients + filter
    if w.kinds and w.x_load.kind % AMX_HALF:
        repeat(&w)
    w.lines = w.extent = 0
    cdef Py_ssize_t i, task, slice, slices = cut[3] * cut[4], panels = ceil_div(filters, 2 * AMX_ROWS), rows = ceil_div(filters, AMX_ROWS)
    for i in range(w.kinds * w.pieces):
        w.lines, w.extent = most(w.lines, w.piece[3 * i] + 1), most(w.extent, w.piece[3 * i + 1] + w.piece[3 * i + 2])
    w.chunks = 1 if w.kinds else ceil_div(channels, 2 * AMX_ROWS)
    w.tiles = w.groups if w.kinds else 2 * w.groups
    w.block_pairs, w.block_rows, w.parts = cut[0], cut[1], cut[2]
    r = room_of(&w, ceil_div(panels, cut[3]), ceil_div(w.chunks, cut[4]))
    cdef unsigned char[::1] scratch = Block(r.size * threads)
    # With several parts, their sums lie in turn, of all filters and chunks; with one, each task has its own and is done with them.
    cdef Py_ssize_t partial = 2 * panels * w.chunks * ceil_div(w.tiles, 2) * PAIR
    cdef unsigned char[::1] sums = Block(w.parts * partial * sizeof(float) if w.parts > 1 else 0)
    cdef float *partials = <float *>&sums[0] if w.parts > 1 else NULL
    cdef float *out = &dw[0, 0]
    cdef const int *places = &index[0]
    cdef int refused = 0
    for task in prange(w.parts * slices, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=w.groups * channels * filters * w.pairs * w.rows * w.columns > 4 * WORTH_PRODUCT):
        slice = task % slices
        refused += not gradient_part(&w, &r, task // slices, slice // cut[4] * panels // cut[3], (slice // cut[4] + 1) * panels // cut[3],
                                     slice % cut[4] * w.chunks // cut[4], (slice % cut[4] + 1) * w.chunks // cut[4],
                                     partials + task // slices * partial if w.parts > 1 else NULL, places, out, dw.shape[1],
                                     &scratch[0] + r.size * threadid())
    if w.parts > 1:
        for task in prange(rows * w.chunks, nogil=True, num_threads=threads, schedule="static",
                           use_threads_if=w.parts * partial > WORTH):
            refused += not add_partials(&w, partials, partial, task // w.chunks, task % w.chunks, places, out, dw.shape[1])
    return refused == 0


cdef void repeat(Work *w):
    """Few channels lie side by side in a line of x: coefficients that can be read from any of them on."""
    cdef Py_ssize_t r, i, width = 2 * AMX_ROWS
    for r in range(COEFFICIENTS):
        for i in range(width):
            w.table[r * width + i] = w.x_load.coefficients[r * w.x_load.columns + i % w.channels]
    w.x_load.coefficients, w.x_load.columns = w.table, width


cdef Room room_of(const Work *w, Py_ssize_t panels, Py_ssize_t chunks):
    """Room for a block times so many panels of 32 filters and chunks of channels."""
    cdef Room r
    cdef Range b = range_of(w, 0, w.block_pairs, 0, w.block_rows)
    cdef Py_ssize_t blocks = w.kinds if w.kinds else 2 * chunks
    r.slots = 0
    r.turned = r.slots + blocks * w.planes * slot_count(w, &b) * AMX_BYTES
    r.sums = r.turned + 2 * panels * b.steps * w.planes * AMX_TILE
    r.strip = r.sums + (2 * panels * chunks * ceil_div(w.tiles, 2) * PAIR * sizeof(float) if w.parts == 1 else 0)
    r.offsets = r.strip + (w.planes * strip_lines(w, &b) * strip_numbers(w) * sizeof(float) if w.kinds else 0)
    r.offsets = (r.offsets + 63) // 64 * 64
    r.tiles = r.offsets + 2 * b.steps * sizeof(Py_ssize_t)
    r.size = (r.tiles + chunks * w.tiles * sizeof(Py_ssize_t) + 63) // 64 * 64
    return r


cdef bint gradient_part(const Work *w, const Room *r, Py_ssize_t part, Py_ssize_t panel_from, Py_ssize_t panel_to,
                        Py_ssize_t chunk_from, Py_ssize_t chunk_to, float *sums, const int *index, float *dw, Py_ssize_t dw_step,
                        unsigned char *scratch) noexcept nogil:
    """The sums of some blocks of pixels, panels of filters and chunks of channels."""
    cdef Py_ssize_t across = ceil_div(w.rows, w.block_rows), blocks = ceil_div(w.pairs, w.block_pairs) * across, block, i, j
    cdef Py_ssize_t pair_tiles = ceil_div(w.tiles, 2), sums_step = w.chunks * pair_tiles * PAIR
    cdef Py_ssize_t filter = panel_from * 2 * AMX_ROWS, filters = least(panel_to * 2 * AMX_ROWS, w.filters) - filter
    cdef Py_ssize_t channel = chunk_from * 2 * AMX_ROWS, channels = w.channels, tiles = w.tiles
    cdef float *own = sums
    cdef Range b
    cdef bint splits = True
    if not w.kinds:
        channels = least(chunk_to * 2 * AMX_ROWS, w.channels) - channel
        tiles = ceil_div(channels, AMX_ROWS) * w.groups
    if sums == NULL:
        own, sums_step = <float *>(scratch + r.sums), (chunk_to - chunk_from) * pair_tiles * PAIR
    else:
        own = sums + 2 * panel_from * sums_step + chunk_from * pair_tiles * PAIR
    for block in range(part * blocks // w.parts, (part + 1) * blocks // w.parts):
        i, j = block // across * w.block_pairs, block % across * w.block_rows
        b = range_of(w, i, least(w.block_pairs, w.pairs - i), j, least(w.block_rows, w.rows - j))
        turn(w, &b, filter, filters, <char *>scratch + r.turned)
        if w.kinds:
            fill_folded(w, &b, <char *>scratch + r.slots, <char *>scratch + r.strip)
        else:
            fill(w, &b, channel, channels, <char *>scratch + r.slots)
        multiply(w, r, &b, ceil_div(filters, AMX_ROWS), tiles, block == part * blocks // w.parts, own, sums_step, scratch)
    if sums == NULL:
        for i in range(ceil_div(filters, AMX_ROWS)):
            for j in range(chunk_from, chunk_to):
                splits &= collect(w, own + i * sums_step + (j - chunk_from) * pair_tiles * PAIR, filter + i * AMX_ROWS, j, index,
                                  dw, dw_step)
    return splits


cdef void multiply(const Work *w, const Room *r, const Range *b, Py_ssize_t rows, Py_ssize_t tiles, bint first, float *sums,
                   Py_ssize_t sums_step, unsigned char *scratch) noexcept nogil:
    """The block's sums: `rows` tiles of filters times `tiles` of taps and channels."""
    cdef Py_ssize_t i, j, f, t, m, many, run = w.columns * b.pairs, row = slot_row(w, b), plane = slot_count(w, b) * AMX_BYTES
    cdef Py_ssize_t wide = w.columns + w.across.reach, tall = b.rows + w.down.reach
    cdef Py_ssize_t *offset = <Py_ssize_t *>(scratch + r.offsets)
    cdef Py_ssize_t *at = <Py_ssize_t *>(scratch + r.tiles)
    cdef const Py_ssize_t *g
    cdef const char *turned = <const char *>scratch + r.turned
    cdef float *out[4]
    cdef Operand a, x
    cdef Sums waiting
    waiting.done = waiting.wanted = 0
    for i in range(b.rows):
        for j in range(b.parts):
            offset[i * b.parts + j] = (i * row + least(j * b.length, run - b.length)) * AMX_BYTES
            offset[b.steps + i * b.parts + j] = (i * b.parts + j) * w.planes * AMX_TILE
    for t in range(tiles):
        g = w.group + t % w.groups * 5
        at[t] = ((t // w.groups + g[0]) * w.planes * plane
                 + ((g[1] * tall + g[2]) * row + (g[3] * wide + g[4]) * b.pairs) * AMX_BYTES)
    x.step, x.plane, x.offset = AMX_BYTES, plane, offset
    a.step, a.plane, a.offset = AMX_BYTES, AMX_TILE, offset + b.steps
    a.valid, x.valid = least(w.filters, AMX_ROWS), 2 * AMX_ROWS
    amx_begin(2, least(w.filters, AMX_ROWS), AMX_ROWS, AMX_ROWS, b.length)
    for f in range(0, rows, 2):
        many = least(2, rows - f)
        for m in range(many):
            a.at[m] = turned + (f + m) * b.steps * w.planes * AMX_TILE
        for t in range(0, tiles - 1, 2):
            x.at[0], x.at[1] = <const char *>scratch + r.slots + at[t], <const char *>scratch + r.slots + at[t + 1]
            for m in range(many):
                out[m] = sums + (f + m) * sums_step + t // 2 * PAIR
            amx_pair_product(w.planes, many, 2, &a, &x, b.steps, not first, out, &waiting)
    if tiles % 2:
        amx_begin(1, least(w.filters, AMX_ROWS), AMX_ROWS, AMX_ROWS, b.length)
        x.valid = AMX_ROWS
        x.at[0] = <const char *>scratch + r.slots + at[tiles - 1]
        for f in range(0, rows, 4):
            many = least(4, rows - f)
            for m in range(many):
                a.at[m] = turned + (f + m) * b.steps * w.planes * AMX_TILE
                out[m] = sums + (f + m) * sums_step + tiles // 2 * PAIR
            amx_pair_product(w.planes, many, 1, &a, &x, b.steps, not first, out, &waiting)
    amx_settle_all(&waiting)
    amx_end()


cdef void turn(const Work *w, const Range *b, Py_ssize_t filter, Py_ssize_t filters, char *out) noexcept nogil:
    """dy of a block: [16 filters][step][plane] of tiles. The last step of a run begins with zeros, where it repeats the one before."""
    cdef Py_ssize_t line = w.columns * w.dy_depth, pair = w.image_step * w.height * line, run = w.columns * b.pairs, r, s, i, p, start
    cdef Py_ssize_t second = (w.second_image * w.height + w.second_row) * line, both
    cdef const void *at[2 * 16]
    cdef const char *x
    for r in range(b.rows):
        x, p = w.dy + (b.pair * pair + (b.row + r) * line + filter) * w.dy_size, 0
        both = ceil_div(w.images - w.second_image, w.image_step) - b.pair if b.row + r + w.second_row < w.height else 0
        for s in range(b.parts):
            start = least(s * b.length, run - b.length)
            for i in range(AMX_ROWS):
                if i >= b.length:           # not multiplied
                    at[i], at[AMX_ROWS + i] = at[0], at[AMX_ROWS]
                    continue
                at[i] = at[AMX_ROWS + i] = NULL
                if start + i < s * b.length:
                    continue
                at[i] = x
                if p < both:
                    at[AMX_ROWS + i] = x + second * w.dy_size
                p += 1
                x += pair * w.dy_size
                if p == b.pairs:
                    x += (w.dy_depth - p * pair) * w.dy_size
                    p = 0
            amx_fill_turned(w.planes, &w.dy_load, filter, at, filters, out + (r * b.parts + s) * w.planes * AMX_TILE,
                            b.steps * w.planes * AMX_TILE)


cdef inline bint inside(const Axis *a, Py_ssize_t at) noexcept nogil:
    return 0 <= at < a.size


cdef void fill(const Work *w, const Range *b, Py_ssize_t channel, Py_ssize_t channels, char *slots) noexcept nogil:
    """The slots under a block of outputs: [16 channels][plane][row residue][row][column residue][column][pair]."""
    cdef Py_ssize_t wide = w.columns + w.across.reach, tall = b.rows + w.down.reach, plane = slot_count(w, b) * AMX_BYTES
    cdef Py_ssize_t row_size = w.across.size * w.depth, image = w.down.size * row_size, slot = b.pairs * AMX_BYTES
    cdef Py_ssize_t planes = ceil_div(channels, AMX_ROWS) * w.planes, r, c, i, line, other, left, right
    cdef bint first, second
    cdef const char *x
    cdef char *out
    for r in range(w.down.residues * tall):
        line = (b.row + r % tall) * w.down.step + w.down.residue[r // tall] - w.down.lead
        other = line + w.second_row * w.down.step
        for c in range(w.across.residues):
            left = w.across.lead - w.across.residue[c]      # the first place with a pixel, and the first after them
            right = least(most(ceil_div(w.across.size + left, w.across.step), 0), wide)
            left = least(ceil_div(most(left, 0), w.across.step), right)
            for i in range(b.pairs):
                out = slots + (r * slot_row(w, b) + c * wide * b.pairs + i) * AMX_BYTES
                first = inside(&w.down, line)
                second = inside(&w.down, other) and (b.pair + i) * w.image_step + w.second_image < w.images
                if not first and not second:
                    clear(out, wide, slot, planes, plane)
                    continue
                x = w.x + ((b.pair + i) * w.image_step * image + line * row_size) * w.x_size
                x += ((left * w.across.step + w.across.residue[c] - w.across.lead) * w.depth + channel) * w.x_size
                clear(out, left, slot, planes, plane)
                amx_fill_pairs(w.planes, &w.x_load, channel, x if first else NULL,
                               x + (w.second_image * image + w.second_row * w.down.step * row_size) * w.x_size if second else NULL, right - left,
                               w.across.step * w.depth, channels, out + left * slot, slot, w.planes * plane, plane)
                clear(out + right * slot, wide - right, slot, planes, plane)


cdef void fill_folded(const Work *w, const Range *b, char *slots, char *strip) noexcept nogil:
    """The slots of few channels: lines of x become lines of pairs, padded, and slots of pieces of them: [kind][plane] and so on."""
    cdef Py_ssize_t wide = w.columns + w.across.reach, tall = b.rows + w.down.reach, plane = slot_count(w, b) * AMX_BYTES
    cdef Py_ssize_t row_size = w.across.size * w.depth, image = w.down.size * row_size, slot = b.pairs * AMX_BYTES
    cdef Py_ssize_t lines = strip_lines(w, b), numbers = strip_numbers(w), strip_plane = lines * numbers * sizeof(float)
    cdef Py_ssize_t piece[2 * 16]
    cdef Py_ssize_t i, r, c, k, m, line, other
    cdef bint first, second
    cdef const char *x
    for i in range(b.pairs):
        for r in range(lines):
            line = b.row * w.down.step + r - w.down.lead
            other = line + w.second_row * w.down.step
            first = inside(&w.down, line)
            second = inside(&w.down, other) and (b.pair + i) * w.image_step + w.second_image < w.images
            x = w.x + ((b.pair + i) * w.image_step * image + line * row_size) * w.x_size
            fold_line(w, x if first else NULL,
                      x + (w.second_image * image + w.second_row * w.down.step * row_size) * w.x_size if second else NULL,
                      numbers, strip + r * numbers * sizeof(float), strip_plane)
        for k in range(w.kinds):
            m = 0
            while m < w.pieces and w.piece[(k * w.pieces + m) * 3 + 2]:
                piece[2 * m] = (w.piece[(k * w.pieces + m) * 3] * numbers + w.piece[(k * w.pieces + m) * 3 + 1]) * sizeof(float)
                piece[2 * m + 1] = w.piece[(k * w.pieces + m) * 3 + 2]
                m += 1
            for r in range(w.down.residues * tall):
                line = r % tall * w.down.step + w.down.residue[r // tall]
                for c in range(w.across.residues * w.planes):
                    amx_gather_pairs(strip + c % w.planes * strip_plane
                                     + (line * numbers + w.across.residue[c // w.planes] * w.channels) * sizeof(float),
                                     wide, w.across.step * w.channels * sizeof(float), piece, m,
                                     slots + (k * w.planes + c % w.planes) * plane
                                     + (r * slot_row(w, b) + c // w.planes * wide * b.pairs + i) * AMX_BYTES, slot)


cdef void fold_line(const Work *w, const char *one, const char *two, Py_ssize_t numbers, char *out, Py_ssize_t plane) noexcept nogil:
    """A padded line of pairs."""
    cdef Py_ssize_t left = least(w.across.lead * w.channels, numbers), right = least(left + w.across.size * w.channels, numbers), i
    if one == NULL and two == NULL:
        left = right = numbers
    for i in range(w.planes):
        memset(out + i * plane, 0, left * sizeof(float))
        memset(out + i * plane + right * sizeof(float), 0, (numbers - right) * sizeof(float))
    if w.channels == w.depth:
        amx_fill_row(w.planes, &w.x_load, w.channels, one, two, right - left, out + left * sizeof(float), plane)
        return
    for i in range(ceil_div(right - left, w.channels)):
        amx_fill_row(w.planes, &w.x_load, w.channels, one + i * w.depth * w.x_size if one else NULL,
                     two + i * w.depth * w.x_size if two else NULL, least(w.channels, right - left - i * w.channels), out + (left + i * w.channels) * sizeof(float), plane)


cdef bint add_partials(const Work *w, float *sums, Py_ssize_t partial, Py_ssize_t tile, Py_ssize_t chunk, const int *index, float *dw,
                       Py_ssize_t dw_step) noexcept nogil:
    """16 filters x a chunk of channels: the partials are added into the first."""
    cdef Py_ssize_t size = ceil_div(w.tiles, 2) * PAIR, p, k
    cdef float *total = sums + (tile * w.chunks + chunk) * size
    cdef float *more
    for p in range(1, w.parts):
        more = total + p * partial
        for k in range(size):
            total[k] += more[k]
    return collect(w, total, tile * AMX_ROWS, chunk, index, dw, dw_step)


cdef bint collect(const Work *w, const float *sums, Py_ssize_t filter, Py_ssize_t chunk, const int *index, float *dw,
                  Py_ssize_t dw_step) noexcept nogil:
    """Sums of 16 filters on their way to dw; False if one of them is not finite."""
    cdef Py_ssize_t first = 0, numbers = dw_step, f
    cdef bint finite = True
    if not w.kinds:
        first = chunk * AMX_ROWS * w.tiles
        numbers = least(dw_step - first, AMX_ROWS * w.tiles)
    for f in range(least(AMX_ROWS, w.filters - filter)):
        finite &= amx_collect(sums + f * 2 * AMX_ROWS, index, numbers, dw + (filter + f) * dw_step + first)
    return finite
