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
    AMX_BYTES, AMX_ROWS, AMX_TILE, Finishing, Loading, Operand, amx_begin, amx_end, amx_fill_line, amx_fill_pixels,
    amx_fill_windows, amx_gradient, amx_pack_weights, amx_product, amx_statistics, clear, finishing_of, loading_of,
)
from fastnet._ext.columns cimport row_width
from fastnet._ext.ride cimport COEFFICIENTS, NOTHING, RESULT, STATISTICS, SUMS, Load, add_parts, load_of, widen
from fastnet._ext.strip cimport Strip, ceil_div, fill_strip, least, most, strip_of
from fastnet._ext.work cimport WORTH, shares

cdef enum:
    STRIP = 512 << 10       # bytes of a task's slots, in the second-level cache together with
    PANEL = 512 << 10       # bytes of packed weights
    LINES = 4               # output rows that a task should have before its channels are taken in several turns
    CHAIN = 48              # steps of a turn, at most: the sum of several turns errs less than one long chain
    TASKS = 32              # tasks wanted of a product, where its shape allows: enough for 16 threads to share evenly
    LEAST = 128             # pixels of a task, at least: the weights are read once for all of them
    CUTS = 8                # blocks wanted of an image whose blocks share neither rows nor weights beyond the second-level cache,
    SHORT = 64              # of so many pixels at least


# Measured, in ns, by planes: filling a slot; a tile of slots times a panel.
cdef double *FILL = [0, 2.8, 4.2, 5.5]
cdef double *MULTIPLY = [0, 16, 39, 77]


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


# How the source lies in slots: `fold` is their window, `reach` the largest offset of a step. A window moves by `step` slots, and
# slots are `hop` pixels apart: where a stride steps over pixels at which no step looks, they have none. `lined`: a slot is a piece
# of a line of the source, as it lies. `inner` images stand side by side where rows are short (else 1), and slot (image n, row r,
# column c) has the number n * image + r * row + c * column.
ctypedef struct Slots:
    Py_ssize_t fold[2]
    Py_ssize_t reach[2]
    Py_ssize_t step[2]
    Py_ssize_t hop[2]
    Py_ssize_t blocks, turn, groups, planes, tall, wide, inner, image, row, column, count
    bint lined


# The target: filters [filter, filter + filters) of the pixels (start + i * by) of out.
ctypedef struct Target:
    Py_ssize_t filter, filters, height, width, depth
    Py_ssize_t start[2]
    Py_ssize_t by[2]


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


cdef bint divides(Py_ssize_t step, const Py_ssize_t[:, ::1] group, Py_ssize_t axis):
    cdef Py_ssize_t i
    for i in range(group.shape[0]):
        if group[i, axis] % step:
            return False
    return True


cdef Slots lay_out(Strip *s, const Py_ssize_t[:, ::1] group, const Py_ssize_t[::1] fold, Py_ssize_t filters, int planes,
                   Py_ssize_t tasks):
    """Choose the rows of tiles and cut the outputs into blocks, so many of them where each still has two tiles."""
    cdef Slots t
    cdef Py_ssize_t i, bytes_row, room, images
    t.fold, t.reach, t.groups, t.planes = [fold[0], fold[1]], [0, 0], group.shape[0], planes
    for i in range(t.groups):
        t.reach = [most(t.reach[0], group[i, 0]), most(t.reach[1], group[i, 1])]
    t.lined = fold[0] == 1 and fold[1] > 1 and s.channels == s.depth
    for i in range(2):
        t.step[i], t.hop[i] = s.step[i], 1
        if divides(s.step[i], group, i):
            t.step[i], t.hop[i], t.reach[i] = 1, s.step[i], t.reach[i] // s.step[i]
    t.blocks = ceil_div(s.channels, 32) if fold[0] * fold[1] == 1 else 1
    t.wide = (s.columns - 1) * t.step[1] + t.reach[1] + 1
    t.inner = 1
    # A tile of 8 rows costs 10 cycles, one of 16 costs 16.
    if 5 * s.columns * ceil_div(s.images, AMX_ROWS) < 4 * s.images * ceil_div(s.columns, AMX_ROWS):
        t.inner = ceil_div(s.images, ceil_div(s.images, AMX_ROWS))
    cdef Py_ssize_t lines = least(LINES if t.reach[0] else 1 if s.columns > AMX_ROWS else 2, s.rows)
    t.turn = ceil_div(t.blocks, ceil_div(t.blocks * t.groups, CHAIN))
    while True:
        bytes_row = t.inner * t.wide * t.turn * planes * AMX_BYTES
        room = (STRIP // bytes_row - t.reach[0] - 1) // t.step[0] + 1
        if t.turn == 1 or (room >= lines and t.turn * t.groups * planes * 2 * AMX_TILE <= PANEL):
            break
        t.turn = ceil_div(t.turn, 2)
    s.block_rows = most(1, least(s.rows, room))
    if t.reach[0] == 0 and t.inner == 1 and t.blocks * t.groups * ceil_div(filters, 32) * planes * 2 * AMX_TILE <= PANEL:
        s.block_rows = least(s.block_rows, most(ceil_div(s.images * s.rows, CUTS), ceil_div(SHORT, s.columns)))
    elif t.inner == 1 and tasks > s.images:
        s.block_rows = least(s.block_rows, most(ceil_div(s.images * s.rows, tasks), ceil_div(2 * AMX_ROWS, s.columns)))
    s.block_rows = ceil_div(s.rows, ceil_div(s.rows, s.block_rows))
    t.tall = (s.block_rows - 1) * t.step[0] + t.reach[0] + 1
    s.block_images = t.inner
    if t.inner == 1 and s.block_rows == s.rows:
        images = most(ceil_div(s.images, TASKS), ceil_div(LEAST, s.rows * s.columns))
        s.block_images = most(1, least(least(images, s.images), STRIP // (bytes_row * t.tall)))
        s.block_images = ceil_div(s.images, ceil_div(s.images, s.block_images))
    s.blocks_across = ceil_div(s.rows, s.block_rows)
    s.blocks = ceil_div(s.images, s.block_images) * s.blocks_across
    t.image, t.row, t.column = 1, t.wide * t.inner, t.inner
    if t.inner == 1:
        t.image, t.row, t.column = t.tall * t.wide, t.wide, 1
    t.count = s.block_images * t.tall * t.wide
    return t


cdef Py_ssize_t share(const Strip *s, const Slots *t, Py_ssize_t panels, int threads):
    """How many chunks of panels to make of every block, for threads to have the least to do: each chunk fills its slots anew.
    No bit depends on it."""
    cdef double fill = FILL[t.planes] * t.count * t.blocks, multiply = MULTIPLY[t.planes] * t.blocks * t.groups, time, fastest = 0
    cdef Py_ssize_t chunks, found = 1
    multiply *= s.block_images * s.block_rows * s.columns / <double>AMX_ROWS
    for chunks in range(1, (least(panels, 4 * threads) if threads > 1 else 1) + 1):
        time = ceil_div(s.blocks * chunks, threads) * (fill + multiply * ceil_div(panels, chunks))
        if chunks == 1 or time < fastest:
            fastest, found = time, chunks
    return found


def correlate(const float[:, :, :, ::1] x, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
              const Py_ssize_t[::1] step, const Py_ssize_t[:, ::1] group, const Py_ssize_t[::1] fold,
              const unsigned char[::1] packed, const float[::1] bias, float[:, :, :, ::1] out, Py_ssize_t filter,
              Py_ssize_t filters, const Py_ssize_t[::1] out_start, const Py_ssize_t[::1] out_step,
              const Py_ssize_t[::1] out_count, tuple load, tuple finish, double[:, ::1] sums, int planes, int threads):
    """out as in correlate.pyx, of weights packed by `pack_weights`; False, and out is to be computed anew, if a number does not split.

    group[g]: the (row, column) offset of a step's slots from those of the window's first pixel; the steps go through all groups
    for 32 channels, then for the next. x is what the Load makes of it; the Finish is done to these pixels and filters of out,
    and where it has several times as many channels as `sums`, they are those of pixels side by side.
    """
    if x.shape[0] == 0 or out_count[0] <= 0 or out_count[1] <= 0:
        return True
    cdef Strip s = strip_of(x, channel, channels, lead, step, fold, out_count[0], out_count[1])
    cdef int kind = finish[0] if finish else NOTHING
    cdef Py_ssize_t tasks = shares(ceil_div(channels * fold[0] * fold[1], 32) * 32 * group.shape[0] * filters * s.images * s.rows * s.columns, threads)
    cdef Slots t = lay_out(&s, group, fold, filters, planes, tasks if kind == NOTHING or kind == RESULT else 1)   # sums: by the shape alone
    s.span = [t.reach[0] + fold[0], t.reach[1] + fold[1]]
    cdef Target o
    o.filter, o.filters, o.height, o.width, o.depth = filter, filters, out.shape[1], out.shape[2], out.shape[3]
    o.start, o.by = [out_start[0], out_start[1]], [out_step[0], out_step[1]]
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
    cdef Py_ssize_t room = (t.turn * planes * t.count * AMX_BYTES + 2 * tiles * sizeof(Py_ssize_t) + (padded + 2 * AMX_BYTES) * sizeof(float) + 63) // 64 * 64
    cdef unsigned char[::1] scratch = Block(room * threads)
    cdef const float *source = &x[0, 0, 0, 0]
    cdef float *target = &out[0, 0, 0, 0]
    cdef Ride ride
    ride.load, ride.map, ride.strip = loading_of(source, load), load_of(source, load), NULL
    ride.kind, ride.finish, ride.row = kind, finishing_of(target, finish), ceil_div(filters, 16) * 16
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
        refused += not correlate_block(source, &s, &t, task // chunks, offset, &packed[0], start, target, &o, &ride,
                                       task % chunks * panels // chunks, (task % chunks + 1) * panels // chunks,
                                       &scratch[0] + room * threadid())
    if refused:
        return False
    if ride.kind:
        beside = out.shape[3] // sums.shape[1]
        add_parts(ride.kind, ride.parts, s.blocks, ride.row, filters // beside, beside, &sums[0, filter], sums.shape[1])
    return True


cdef bint correlate_block(const float *x, const Strip *s, const Slots *t, Py_ssize_t block, const Py_ssize_t *offset,
                          const unsigned char *packed, const float *start, float *out, const Target *o, const Ride *ride,
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
    cdef float *padded = <float *>(to + tiles)
    large = place_tiles(s, t, o, image, images, row, rows, at, to)
    cdef Operand a, b
    a.step, a.plane, a.offset = AMX_BYTES * (t.step[1] if t.inner == 1 else 1), t.count * AMX_BYTES, offset
    b.step = AMX_BYTES
    cdef Py_ssize_t out_step = o.by[1] * o.depth if t.inner == 1 else o.height * o.width * o.depth
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
            b.offset, b.plane, b.valid = offset + nt * steps, nt * AMX_TILE, valid
            b.at[0] = <const char *>packed + (panel * 2 * steps + turn * t.groups * nt) * t.planes * AMX_TILE
            for i in range(2):
                first = large if i else 0
                last = tiles if i else large
                if first < last:
                    a.valid = size - i
                    amx_begin(nt, size - i, least(valid, AMX_ROWS), valid - AMX_ROWS, AMX_ROWS)
                    multiply(&a, &b, slots, at + first, to + first, last - first, t.planes, nt, taken, steps, many * t.groups,
                             start + panel * 2 * AMX_ROWS if turn == 0 else NULL, out + o.filter + panel * 2 * AMX_ROWS, out_step)
            panel += taken
        turn += many
    amx_end()
    if ride.kind:
        finish_block(out, s, o, ride, block, image, images, row, rows, panel_from * 2 * AMX_ROWS, least(panel_to * 2 * AMX_ROWS, o.filters))
    return True


cdef void finish_block(float *out, const Strip *s, const Target *o, const Ride *ride, Py_ssize_t block, Py_ssize_t image,
                       Py_ssize_t images, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The Finish of a block's filters [first, last), run by run of its pixels."""
    cdef double *part = ride.parts + block * SUMS * ride.row + first
    cdef Py_ssize_t pixels = s.columns, step = o.by[1] * o.depth, n, i, at
    for i in range(SUMS):
        memset(part + i * ride.row, 0, (last - first) * sizeof(double))
    if s.columns == o.width and o.by[0] == 1:       # whole lines, or even images, follow each other
        pixels, rows = pixels * rows, 1
        if pixels == o.width * o.height:
            pixels, images = pixels * images, 1
    for n in range(images):
        for i in range(rows):
            at = (((image + n) * o.height + o.start[0] + (row + i) * o.by[0]) * o.width + o.start[1]) * o.depth + o.filter + first
            if ride.kind == STATISTICS:
                amx_statistics(out, at, pixels, step, last - first, part, ride.row)
            else:
                amx_gradient(&ride.finish, out, at, pixels, step, o.filter + first, last - first, part, ride.row)


cdef Py_ssize_t place_tiles(const Strip *s, const Slots *t, const Target *o, Py_ssize_t image, Py_ssize_t images, Py_ssize_t row,
                            Py_ssize_t rows, Py_ssize_t *at, Py_ssize_t *to) noexcept nogil:
    """Where the tiles of a block have their slots, in bytes, and their outputs, in numbers; a line is cut into tiles as equal as
    can be. Those with one row more come first: how many they are."""
    cdef Py_ssize_t line = s.columns if t.inner == 1 else images, parts = ceil_div(line, AMX_ROWS), size = ceil_div(line, parts)
    cdef Py_ssize_t large = 0, last = parts * rows * (images if t.inner == 1 else s.columns), n, i, j, k, first, tile
    for n in range(images if t.inner == 1 else s.columns):
        for i in range(rows):
            for j in range(parts):
                first = j * line // parts
                if (j + 1) * line // parts - first == size:
                    tile = large
                    large += 1
                else:
                    last -= 1
                    tile = last
                k = n if t.inner == 1 else first        # image
                first = first if t.inner == 1 else n    # column
                at[tile] = (k * t.image + i * t.step[0] * t.row + first * t.step[1] * t.column) * AMX_BYTES
                to[tile] = (((image + k) * o.height + o.start[0] + (row + i) * o.by[0]) * o.width
                            + o.start[1] + first * o.by[1]) * o.depth
    return large


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


cdef bint fill(const float *x, const Strip *s, const Slots *t, const Ride *ride, Py_ssize_t images, Py_ssize_t image,
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
        fill_strip(x, &p, images, image, row, ride.strip, padded)
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
                splits &= amx_fill_line(t.planes, &ride.load, x + ((image + n) * s.height + line) * s.width * s.depth, s.width * s.depth,
                                        -s.lead[1] * s.depth, t.wide, t.hop[1] * s.depth, t.fold[1] * s.depth,
                                        slots + first * AMX_BYTES, t.column * AMX_BYTES, plane)
                continue
            clear(slots + first * AMX_BYTES, left, t.column * AMX_BYTES, blocks * t.planes, plane)
            splits &= amx_fill_pixels(
                t.planes, &ride.load, s.channel + turn * 32,
                x + (((image + n) * s.height + line) * s.width + left * t.hop[1] - s.lead[1]) * s.depth + s.channel + turn * 32,
                right - left, t.hop[1] * s.depth, channels, slots + (first + left * t.column) * AMX_BYTES, t.column * AMX_BYTES,
                t.planes * plane, plane)
            clear(slots + (first + right * t.column) * AMX_BYTES, t.wide - right, t.column * AMX_BYTES, blocks * t.planes, plane)
    return splits
