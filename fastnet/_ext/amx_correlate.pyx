"""correlate.pyx on AMX: forward and the gradient of the input of float32 images, as products of bfloat16 planes (amx.h).

The strip of a task is split into planes of slots of 64 bytes. A slot holds 32 channels of a pixel or, where there are few
channels, those of the pixels in a small window from it on (`fold` = its height and width), so that the reduction of a tile
is 32 numbers long all the same. 16 slots at equal distances are the rows of a tile: neighbours in a row of output pixels,
or, where rows are short, one pixel of 16 images. The slots under another tap stand at a constant offset from them.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from fastnet._ext.memory import Block

from fastnet._ext.amx cimport (
    AMX_BYTES, AMX_ROWS, AMX_TILE, Finishing, Image, Loading, Operand, Outputs, amx_begin, amx_end, amx_fill_line, amx_fill_pixels,
    amx_fill_windows, amx_gradient, amx_pack_weights, amx_product, amx_statistics, amx_store, clear, finishing_in, image_of, load_in,
    loading_in,
)
from fastnet._ext.amx_slots cimport PANEL, Slots, Target, lay_out, place_tiles, share
from fastnet._ext.columns cimport row_width
from fastnet._ext.ride cimport COEFFICIENTS, NOTHING, RESULT, STATISTICS, SUMS, Load, add_parts, widen
from fastnet._ext.strip cimport Strip, ceil_div, fill_strip, least, most, strip_of
from fastnet._ext.types cimport bfloat16
from fastnet._ext.work cimport WORTH, shares


def pack_weights(const float[:, :, :, :] w, const Py_ssize_t[:, ::1] lane, unsigned char[::1] out, int planes, int threads):
    """Weights as tiles (panel of 32 filters, step, plane, 16 filters of the panel); False if one of them does not split.

    lane[step, l]: how many numbers from w[filter, 0, 0, 0] the l-th factor of a step stands, or the least integer for a zero.
    """
    cdef Py_ssize_t filters = w.shape[0], steps = lane.shape[0], columns = ceil_div(filters, AMX_ROWS), task
    cdef Py_ssize_t step = w.strides[0] // <Py_ssize_t>sizeof(float)
    cdef const float *source = &w[0, 0, 0, 0]
    cdef int refused = 0
    # Neighbours in the order of tasks read the same cache lines of w: the steps of a column of tiles. Where filters lie side by
    # side, those of 32 channels, then of the next column, so that memory is read in long pieces.
    cdef Py_ssize_t blocks = ceil_div(w.shape[1], 32), run = steps, s, column
    if w.strides[0] < w.strides[1] and steps % blocks == 0:
        run = steps // blocks
    for task in prange(columns * steps, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=filters * steps * 32 > WORTH):
        column, s = task // run % columns, task // (run * columns) * run + task % run
        refused += not pack_tile(source, &lane[s, 0], step, filters, steps, column, s, planes, &out[0])
    return refused == 0


cdef bint pack_tile(const float *w, const Py_ssize_t *lane, Py_ssize_t step, Py_ssize_t filters, Py_ssize_t steps,
                    Py_ssize_t column, Py_ssize_t s, int planes, unsigned char *out) noexcept nogil:
    cdef Py_ssize_t panel = column // 2, tiles = least(2, ceil_div(filters, AMX_ROWS) - 2 * panel)
    return amx_pack_weights(planes, w + column * AMX_ROWS * step, lane, step, filters - column * AMX_ROWS,
                            <char *>out + (panel * 2 * steps * planes + s * planes * tiles + column % 2) * AMX_TILE,
                            tiles * AMX_TILE)


# What rides on the product: a map of the source, for slots of one pixel or, its coefficients widened, of lines and strips (NULL: none),
# and the Finish of the target with the sums of each block, SUMS rows of `row` filters.
ctypedef struct Ride:
    Loading load
    Load map
    const Load *strip
    int kind
    Finishing finish
    double *parts
    Py_ssize_t row


def correlate(x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
              const Py_ssize_t[::1] step, const Py_ssize_t[:, ::1] group, const Py_ssize_t[::1] fold,
              const unsigned char[::1] packed, const float[::1] bias, out, Py_ssize_t filter,
              Py_ssize_t filters, const Py_ssize_t[::1] out_start, const Py_ssize_t[::1] out_step,
              const Py_ssize_t[::1] out_count, tuple load, tuple finish, double[:, ::1] sums, int planes, int threads):
    """out as in correlate.pyx, of weights packed by `pack_weights`; False, and out is to be computed anew, if a number does not split.

    group[g]: the (row, column) offset of a step's slots from those of the window's first pixel; the steps go through all groups
    for 32 channels, then for the next. x is what the Load makes of it; the Finish is done to these pixels and filters of out,
    and where it has several times as many channels as `sums`, they are those of pixels side by side. x, for one plane, and out
    hold float32 or bfloat16 numbers.
    """
    if x.shape[0] == 0 or out_count[0] <= 0 or out_count[1] <= 0:
        return True
    cdef Image source = image_of(x), target = image_of(out)
    cdef Strip s = strip_of(source.shape, channel, channels, lead, step, fold, out_count[0], out_count[1])
    cdef int kind = finish[0] if finish else NOTHING
    cdef Py_ssize_t tasks = shares(ceil_div(channels * fold[0] * fold[1], 32) * 32 * group.shape[0] * filters * s.images * s.rows * s.columns, threads)
    cdef Target o
    o.data, o.half = target.data, target.half
    o.filter, o.filters, o.height, o.width, o.depth = filter, filters, target.shape[1], target.shape[2], target.shape[3]
    o.start, o.by = [out_start[0], out_start[1]], [out_step[0], out_step[1]]
    cdef Slots t = lay_out(&s, &o, group, fold, planes, tasks if kind == NOTHING or kind == RESULT else 1)   # sums: by the shape alone
    s.span = [t.reach[0] + fold[0], t.reach[1] + fold[1]]
    cdef Py_ssize_t steps = t.blocks * t.groups, panels = ceil_div(filters, 2 * AMX_ROWS), i, task, beside
    cdef Py_ssize_t chunks = share(&s, &t, panels, threads)
    # For all tasks: the bias, filled up to whole tiles, and the offsets of the steps of a turn, from slots and from weights.
    cdef unsigned char[::1] shared = Block(panels * 2 * AMX_BYTES + 3 * (steps + 1) * sizeof(Py_ssize_t))
    cdef float *start = <float *>&shared[0]
    cdef Py_ssize_t *offset = <Py_ssize_t *>(start + panels * 2 * AMX_ROWS)
    memset(start, 0, panels * 2 * AMX_BYTES)
    if bias.shape[0]:
        memcpy(start, &bias[0], filters * sizeof(float))
    for i in range(steps):
        offset[i] = (i // t.groups * planes * t.count + group[i % t.groups, 0] // t.hop[0] * t.row
                     + group[i % t.groups, 1] // t.hop[1] * t.column) * AMX_BYTES
        offset[steps + i] = i * planes * AMX_TILE
        offset[2 * steps + i] = i * planes * 2 * AMX_TILE
    cdef Py_ssize_t tiles = s.block_images * s.block_rows * ceil_div(s.columns, AMX_ROWS) if t.inner == 1 else s.block_rows * s.columns
    cdef Py_ssize_t padded = 0
    if fold[0] * fold[1] > 1 and not t.lined:
        padded = s.block_images * ((t.tall - 1) * t.hop[0] + fold[0]) * ((t.wide - 1) * t.hop[1] + fold[1]) * channels
    cdef Py_ssize_t stage = s.block_images * s.block_rows * s.columns * o.staged
    cdef Py_ssize_t room = (t.turn * planes * t.count * AMX_BYTES + 2 * tiles * sizeof(Py_ssize_t)
                            + (stage + padded + 2 * AMX_BYTES) * sizeof(float) + 63) // 64 * 64
    cdef unsigned char[::1] scratch = Block(room * threads)
    cdef Ride ride
    ride.load, ride.map, ride.strip = loading_in(&source, load), load_in(&source, load), NULL
    ride.kind, ride.finish, ride.row = kind, finishing_in(&target, finish), ceil_div(filters, 16) * 16
    cdef Py_ssize_t width = row_width(channels)
    cdef unsigned char[::1] wide = None, parts = None
    if (padded or t.lined) and load is not None:
        wide = Block(COEFFICIENTS * width * sizeof(float))
        ride.map.coefficients = widen(ride.load.coefficients + channel, ride.load.columns, channels, <float *>&wide[0], width)
        ride.map.columns, ride.strip = width, &ride.map
        if t.lined:
            ride.load.coefficients, ride.load.columns = <const float *>ride.map.coefficients, width
    if ride.kind:
        parts = Block(s.blocks * SUMS * ride.row * sizeof(double))
        ride.parts = <double *>&parts[0]
    cdef int refused = 0
    for task in prange(s.blocks * chunks, nogil=True, num_threads=threads, schedule="dynamic", use_threads_if=tasks > 1):
        refused += not correlate_block(&source, &s, &t, task // chunks, offset, &packed[0], start, &o, &ride,
                                       task % chunks * panels // chunks, (task % chunks + 1) * panels // chunks,
                                       &scratch[0] + room * threadid())
    if refused:
        return False
    if ride.kind:
        beside = target.shape[3] // sums.shape[1]
        add_parts(ride.kind, ride.parts, s.blocks, ride.row, filters // beside, beside, &sums[0, filter], sums.shape[1])
    return True


cdef bint correlate_block(const Image *x, const Strip *s, const Slots *t, Py_ssize_t block, const Py_ssize_t *offset,
                          const unsigned char *packed, const float *start, const Target *o, const Ride *ride,
                          Py_ssize_t panel_from, Py_ssize_t panel_to, unsigned char *scratch) noexcept nogil:
    """One block of output pixels times some panels."""
    cdef Py_ssize_t image = block // s.blocks_across * s.block_images, row = block % s.blocks_across * s.block_rows
    cdef Py_ssize_t images = least(s.block_images, s.images - image), rows = least(s.block_rows, s.rows - row)
    cdef Py_ssize_t steps = t.blocks * t.groups, line = s.columns if t.inner == 1 else images
    cdef Py_ssize_t lines = rows * (images if t.inner == 1 else s.columns), parts = ceil_div(line, AMX_ROWS), tiles = lines * parts
    cdef Py_ssize_t size = ceil_div(line, parts), large, first, last, i, many, panel, nt, valid, taken, turn = 0
    cdef char *slots = <char *>scratch
    cdef Py_ssize_t *at = <Py_ssize_t *>(slots + t.turn * t.planes * t.count * AMX_BYTES)
    cdef Py_ssize_t *to = at + tiles
    cdef float *stage = <float *>((<size_t>(to + tiles) + AMX_BYTES - 1) // AMX_BYTES * AMX_BYTES)
    cdef float *padded = stage + images * rows * s.columns * o.staged
    cdef float *out = stage if o.half else <float *>o.data + o.filter
    cdef Py_ssize_t staged = least(panel_to * 2 * AMX_ROWS, o.filters)
    large = place_tiles(s, t, o, image, images, row, rows, at, to)
    cdef Operand a, b
    a.step, a.plane, a.offset = AMX_BYTES * (t.step[1] if t.inner == 1 else 1), t.count * AMX_BYTES, offset
    b.step = AMX_BYTES
    cdef Py_ssize_t out_step = o.by[1] * o.depth if t.inner == 1 else o.height * o.width * o.depth
    if o.half:
        out_step = o.staged if t.inner == 1 else rows * s.columns * o.staged
    while turn < t.blocks:
        many = least(t.turn, t.blocks - turn)
        if not fill(x, s, t, ride, images, image, rows, row, turn, many, slots, padded):
            amx_end()
            return False
        panel = panel_from
        while panel < panel_to:
            # As many whole panels at a time as stay in the second-level cache; one with fewer filters needs other tiles.
            valid = least(o.filters - panel * 2 * AMX_ROWS, 2 * AMX_ROWS)
            nt = 2 if valid > AMX_ROWS else 1
            taken = 1
            if valid == 2 * AMX_ROWS:
                taken = most(1, PANEL // (many * t.groups * t.planes * 2 * AMX_TILE))
                taken = least(taken, most(1, least(panel_to, o.filters // (2 * AMX_ROWS)) - panel))
            if o.half:
                first = (panel - panel_from) * 2 * AMX_ROWS % o.staged      # of the stage's filters
                taken = least(taken, (o.staged - first) // (2 * AMX_ROWS))
                out = stage + first - panel * 2 * AMX_ROWS
            b.offset, b.plane, b.valid = offset + nt * steps, nt * AMX_TILE, valid
            b.at[0] = <const char *>packed + (panel * 2 * steps + turn * t.groups * nt) * t.planes * AMX_TILE
            for i in range(2):
                first = large if i else 0
                last = tiles if i else large
                if first < last:
                    a.valid = size - i
                    amx_begin(nt, size - i, least(valid, AMX_ROWS), valid - AMX_ROWS, AMX_ROWS)
                    multiply(&a, &b, slots, at + first, to + first, last - first, t.planes, nt, taken, steps, many * t.groups,
                             start + panel * 2 * AMX_ROWS if turn == 0 else NULL, out + panel * 2 * AMX_ROWS, out_step)
            panel += taken
            if o.half and turn + many == t.blocks and ((panel - panel_from) * 2 * AMX_ROWS % o.staged == 0 or panel == panel_to):
                amx_end()
                first = (panel - 1 - panel_from) * 2 * AMX_ROWS // o.staged * o.staged + panel_from * 2 * AMX_ROWS
                finish_block(stage - first, s, o, ride, block, image, images, row, rows, first, least(panel * 2 * AMX_ROWS, o.filters))
        turn += many
    amx_end()
    if ride.kind and not o.half:
        finish_block(out, s, o, ride, block, image, images, row, rows, panel_from * 2 * AMX_ROWS, least(panel_to * 2 * AMX_ROWS, o.filters))
    return True


cdef void finish_block(float *out, const Strip *s, const Target *o, const Ride *ride, Py_ssize_t block, Py_ssize_t image,
                       Py_ssize_t images, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The Finish of a block's filters [first, last), run by run of its pixels, and their way from the stage, where `out` is one of
    theirs: out[0] would be filter 0 of the block's first pixel."""
    cdef double *part = ride.parts + block * SUMS * ride.row + first
    cdef Py_ssize_t pixels = s.columns, n, i, tall = rows
    cdef Outputs p
    p.out, p.step = o.data, o.by[1] * o.depth
    p.v_step = o.staged if o.half else p.step
    if ride.kind:
        for i in range(SUMS):
            memset(part + i * ride.row, 0, (last - first) * sizeof(double))
    if s.columns == o.width and o.by[0] == 1:       # whole lines, or even images, follow each other
        pixels, tall = pixels * rows, 1
        if pixels == o.width * o.height:
            pixels, images = pixels * images, 1
    for n in range(images):
        for i in range(tall):
            p.at = (((image + n) * o.height + o.start[0] + (row + i) * o.by[0]) * o.width + o.start[1]) * o.depth + o.filter + first
            p.v = out + (n * rows + i) * s.columns * o.staged + first if o.half else <float *>o.data + p.at
            if ride.kind == STATISTICS:
                amx_statistics(o.half, &p, pixels, last - first, part, ride.row)
            elif ride.kind != NOTHING:
                amx_gradient(o.half, &ride.finish, &p, pixels, o.filter + first, last - first, part, ride.row)
            else:
                amx_store(&p, pixels, last - first)


cdef inline void multiply(Operand *a, Operand *b, const char *slots, const Py_ssize_t *at, const Py_ssize_t *to, Py_ssize_t tiles,
                          int planes, int columns, Py_ssize_t panels, Py_ssize_t depth, Py_ssize_t steps, const float *start,
                          float *out, Py_ssize_t out_step) noexcept nogil:
    """Tiles of pixels, four sums at a time, times some panels, of `depth` steps in all: pixels outside, so that whole rows of
    the output are written together."""
    cdef float *target[4]
    cdef const char *weights = b.at[0]
    cdef const float *first = NULL
    cdef Py_ssize_t m, many, tile = 0, panel
    while tile < tiles:
        many = least(4 // columns, tiles - tile)
        for m in range(many):
            a.at[m] = slots + at[tile + m]
        for panel in range(panels):
            if start != NULL:
                first = start + panel * 2 * AMX_ROWS
            b.at[0] = weights + panel * 2 * depth * planes * AMX_TILE
            b.at[1] = b.at[0] + AMX_TILE
            for m in range(many):
                target[m] = out + to[tile + m] + panel * 2 * AMX_ROWS
            amx_product(planes, many, columns, a, b, steps, first, target, out_step)
        tile += many
    b.at[0] = weights


cdef bint fill(const Image *x, const Strip *s, const Slots *t, const Ride *ride, Py_ssize_t images, Py_ssize_t image,
               Py_ssize_t rows, Py_ssize_t row, Py_ssize_t turn, Py_ssize_t blocks, char *slots, float *padded) noexcept nogil:
    """The slots under a block of outputs, for some blocks of 32 channels; False if a number does not split."""
    cdef Py_ssize_t top = row * s.step[0] - s.lead[0], tall = (rows - 1) * t.step[0] + t.reach[0] + 1, n, r, line, first
    cdef Py_ssize_t left = least(ceil_div(most(s.lead[1], 0), t.hop[1]), t.wide)
    cdef Py_ssize_t right = most(least(ceil_div(s.width + s.lead[1], t.hop[1]), t.wide), left)
    cdef Py_ssize_t plane = t.count * AMX_BYTES, channels = least(blocks * 32, s.channels - turn * 32)
    cdef bint splits = True
    cdef Strip p
    if t.fold[0] * t.fold[1] > 1 and not t.lined:
        p = s[0]
        p.direct = False
        p.tall, p.wide = (tall - 1) * t.hop[0] + t.fold[0], (t.wide - 1) * t.hop[1] + t.fold[1]
        p.pixel_size, p.row_size = s.channels, p.wide * s.channels
        p.image_size = p.tall * p.row_size
        if x.half:
            fill_strip(<const bfloat16 *>x.data, &p, images, image, row, ride.strip, padded)
        else:
            fill_strip(<const float *>x.data, &p, images, image, row, ride.strip, padded)
        for n in range(images):
            for r in range(tall):
                splits &= amx_fill_windows(t.planes, padded + n * p.image_size + r * t.hop[0] * p.row_size, t.wide,
                                           t.hop[1] * s.channels, t.fold[0],
                                           p.row_size, t.fold[1] * s.channels,
                                           slots + (n * t.image + r * t.row) * AMX_BYTES, t.column * AMX_BYTES, plane)
        return splits
    for n in range(images):
        for r in range(tall):
            first, line = n * t.image + r * t.row, top + r * t.hop[0]
            if line < 0 or line >= s.height:
                clear(slots + first * AMX_BYTES, t.wide, t.column * AMX_BYTES, blocks * t.planes, plane)
                continue
            if t.lined:
                splits &= amx_fill_line(t.planes, &ride.load, x.data + ((image + n) * s.height + line) * s.width * s.depth * x.size, s.width * s.depth,
                                        -s.lead[1] * s.depth, t.wide, t.hop[1] * s.depth, t.fold[1] * s.depth,
                                        slots + first * AMX_BYTES, t.column * AMX_BYTES, plane)
                continue
            clear(slots + first * AMX_BYTES, left, t.column * AMX_BYTES, blocks * t.planes, plane)
            splits &= amx_fill_pixels(
                t.planes, &ride.load, s.channel + turn * 32,
                x.data + ((((image + n) * s.height + line) * s.width + left * t.hop[1] - s.lead[1]) * s.depth + s.channel + turn * 32) * x.size,
                right - left, t.hop[1] * s.depth, channels, slots + (first + left * t.column) * AMX_BYTES, t.column * AMX_BYTES,
                t.planes * plane, plane)
            clear(slots + (first + right * t.column) * AMX_BYTES, t.wide - right, t.column * AMX_BYTES, blocks * t.planes, plane)
    return splits
