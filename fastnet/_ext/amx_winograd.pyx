"""Winograd's F(2x2, 3x3) on AMX: forward and the gradient of the input of 3x3 windows that move by 1, as products of planes.

As in winograd.pyx, 16 matrix products V U, (patches x channels) times (channels x filters), make 2 x 2 outputs of every patch of
4 x 4 source pixels, with 2.25 times fewer multiplications than the windows. Here V is split into bfloat16 planes (amx_split.h),
four numbers where a direct product splits one, so that is done while the tiles multiply (amx_winograd.h).

A task takes some blocks of patches and some panels of 32 filters. It goes through units: the four positions of a line of V, of
the patches of a block and some channels. While a unit's V is multiplied with all panels, the next unit's V is made, and
what the panel before gave is added to the output. U is read once for all patches of a block.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from fastnet._ext.memory import Block

from fastnet._ext.amx cimport (
    AMX_BYTES, AMX_ROWS, AMX_TILE, Finishing, Loading, Operand, Outputs, amx_begin, amx_end, amx_gradient, amx_statistics, finishing_of,
    loading_of,
)
from fastnet._ext.flush cimport flush, restore
from fastnet._ext.ride cimport NOTHING, STATISTICS, SUMS, add_parts
from fastnet._ext.strip cimport ceil_div, least, most
from fastnet._ext.work cimport WORTH, WORTH_PRODUCT

cdef extern from "amx_winograd.h" nogil:
    ctypedef struct Work "amx_winograd_work":
        const float **at
        char *out
        char *next
        Py_ssize_t patches, rows, channel, channels, step, patch, row, block, slots, slot_pace
        const float *m
        const float *start
        float **to
        Py_ssize_t m_rows, m_row, m_step, f, valid, outputs, output_pace
        int line, m_line
    void amx_winograd_mapped(const Loading *load, const float *x, Py_ssize_t pixels, Py_ssize_t channels, float *v) noexcept
    void amx_winograd_do(int planes, Work *w, Py_ssize_t slots, Py_ssize_t outputs) noexcept
    bint amx_winograd_splits(const Work *w) noexcept
    void amx_winograd_product(int planes, int rows, const Operand *a, const Operand *b, Py_ssize_t steps, float *out,
                              Work *w) noexcept
    bint amx_winograd_weights(int planes, int turned, const float *w, Py_ssize_t step, Py_ssize_t channels, Py_ssize_t row,
                              Py_ssize_t filters, char *out, Py_ssize_t position, Py_ssize_t plane) noexcept

cdef enum:
    PANEL = 32              # filters of a panel: two tiles
    PATCHES = 128           # of a block: U is read once for them. 64 were 1.1 times slower with 512 channels, 256 with 128
    TURN = 8                # blocks of 32 channels in a unit, at most: V of two units is 1.5 MB of the second-level cache then
    TASKS = 32              # tasks wanted of a product, where its shape allows
    MAPPED = 512 << 10      # numbers that a Load makes for a block, at most
    APART = 5               # slots between one position's matrix and the next: not a multiple of 4 KB, for the first-level cache

ctypedef const float *Pixel
ctypedef float *Output


def packed_size(Py_ssize_t filters, Py_ssize_t channels, int planes):
    """Bytes of U."""
    return ceil_div(filters, PANEL) * 16 * ceil_div(channels, 32) * planes * 2 * AMX_TILE


def pack_weights(const float[:, :, :, :] w, bint turned, unsigned char[::1] out, int planes, int threads):
    """U of weights w (filters, channels, 3, 3), whose nine taps lie together, turned by half a turn or not, as tiles (panel of 32
    filters, position, 32 channels, plane, 16 filters).  False if a number is not finite, or 2^32 or so and more.
    """
    if w.shape[2] != 3 or w.shape[3] != 3 or w.strides[3] != sizeof(float) or w.strides[2] != 3 * sizeof(float):
        raise ValueError("amx_winograd: weights must be 3 x 3 numbers that lie together")
    cdef Py_ssize_t filters = w.shape[0], channels = w.shape[1], blocks = ceil_div(channels, 32), task
    cdef Py_ssize_t columns = 2 * ceil_div(filters, PANEL), row = w.strides[0] // 4, step = w.strides[1] // 4
    cdef const float *source = &w[0, 0, 0, 0]
    cdef int refused = 0
    cdef unsigned mode
    for task in prange(columns * blocks, nogil=True, num_threads=threads, schedule="static",
                       use_threads_if=filters * channels * 16 > WORTH):
        mode = flush(source)
        refused += not pack_tiles(source, step, channels, row, filters, turned, task // blocks, task % blocks, planes, <char *>&out[0])
        restore(mode)
    return refused == 0


cdef bint pack_tiles(const float *w, Py_ssize_t step, Py_ssize_t channels, Py_ssize_t row, Py_ssize_t filters, bint turned,
                     Py_ssize_t column, Py_ssize_t block, int planes, char *out) noexcept nogil:
    """A tile of 16 filters and 32 channels for every position and plane."""
    cdef Py_ssize_t blocks = ceil_div(channels, 32), position = blocks * planes * 2 * AMX_TILE
    out += column // 2 * 16 * position + (block * planes * 2 + column % 2) * AMX_TILE
    w += least(column * AMX_ROWS, filters - 1) * row        # the last tile of a panel may have no filters: none is read beyond w
    return amx_winograd_weights(planes, turned, w + block * 32 * step, step, channels - block * 32, row,
                                most(0, filters - column * AMX_ROWS), out, position, 2 * AMX_TILE)


# A product: rows x columns patches of each image of x make out. `step`, `m_step`: from one position to the next, in bytes of slots
# and numbers of products; `turn`: blocks of channels in a unit; `patches` in a block.
ctypedef struct Product:
    Py_ssize_t images, height, width, channels, tall, wide, filters
    Py_ssize_t lead[2]
    Py_ssize_t rows, columns, count, patches, blocks, turn, turns, step, m_step
    int planes


# What rides along (ride.pxd): a part of the sums for each block, rows of `row` channels.
ctypedef struct Ride:
    Loading load
    int kind
    Finishing finish
    double *parts
    Py_ssize_t row


# What a task owns: V and the products, and where the pixels and outputs of a block's patches are, two of each, to make the next
# one while one is in use; and what the Load makes of a block's source.
ctypedef struct Scratch:
    char *v[2]
    float *m[2]
    Pixel *at[2]
    Output *to[2]
    float *mapped


def correlate(const float[:, :, :, ::1] x, const Py_ssize_t[::1] lead, const unsigned char[::1] packed, const float[::1] bias,
              float[:, :, :, ::1] out, tuple load, tuple finish, double[:, ::1] sums, int planes, int threads):
    """out[n, i, j, f] = bias[f] + sum over u, v, c of x[n, i-lead+u, j-lead+v, c] * w[f,c,u,v], of weights packed by `pack_weights`.

    x is what the Load makes of it; the Finish is done to out.
    False, and out is to be computed anew, if a number of V does not split, not finite, or 2^63 or so and more; or if what the
    Load makes of the rows under a block is too large.
    """
    cdef Product p
    p.images, p.height, p.width, p.channels = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    p.tall, p.wide, p.filters, p.lead, p.planes = out.shape[1], out.shape[2], out.shape[3], [lead[0], lead[1]], planes
    p.rows, p.columns, p.blocks = ceil_div(p.tall, 2), ceil_div(p.wide, 2), ceil_div(p.channels, 32)
    p.count = p.images * p.rows * p.columns
    if p.count == 0 or p.filters == 0:
        return True
    if packed.shape[0] < packed_size(p.filters, p.channels, planes):
        raise ValueError("amx_winograd: packed weights are too few")
    p.turns = ceil_div(p.blocks, TURN)
    p.turn = ceil_div(p.blocks, p.turns)
    p.turns = ceil_div(p.blocks, p.turn)
    # Whole pairs of tiles in each block, as equal as can be.
    p.patches = ceil_div(ceil_div(p.count, ceil_div(p.count, PATCHES)), 2 * AMX_ROWS) * 2 * AMX_ROWS
    cdef Py_ssize_t parts = p.patches // AMX_ROWS, many = ceil_div(p.count, p.patches), tasks = least(many, TASKS), task, i
    cdef Py_ssize_t panels = ceil_div(p.filters, PANEL)
    cdef Py_ssize_t chunks = least(panels, ceil_div(threads, tasks))    # each makes V anew: no more than there are threads for
    p.step = parts * p.turn * planes * AMX_TILE + APART * AMX_BYTES
    p.m_step = p.patches * PANEL + APART * AMX_BYTES // sizeof(float)
    # For all tasks: the bias, filled up to whole panels, a pixel of zeros, and the offsets of the steps from slots and from weights.
    cdef Py_ssize_t zeros = p.blocks * 32
    cdef unsigned char[::1] shared = Block((panels * PANEL + zeros) * sizeof(float) + 2 * p.blocks * sizeof(Py_ssize_t))
    cdef float *start = <float *>&shared[0]
    cdef Py_ssize_t *offset = <Py_ssize_t *>(start + panels * PANEL + zeros)
    memset(start, 0, (panels * PANEL + zeros) * sizeof(float))
    if bias.shape[0]:
        memcpy(start, &bias[0], p.filters * sizeof(float))
    for i in range(p.blocks):
        offset[i], offset[p.blocks + i] = i * planes * AMX_TILE, i * planes * 2 * AMX_TILE
    cdef Py_ssize_t room = 8 * p.step + 8 * p.m_step * sizeof(float) + 2 * p.patches * 20 * sizeof(Pixel)
    if load is not None:
        if mapped_numbers(&p) > MAPPED:
            return False
        room += mapped_numbers(&p) * sizeof(float)
    room = ceil_div(room, AMX_BYTES) * AMX_BYTES
    cdef unsigned char[::1] scratch = Block(room * threads)
    cdef const float *source = &x[0, 0, 0, 0]
    cdef float *target = &out[0, 0, 0, 0]
    cdef Ride ride
    ride.load, ride.finish = loading_of(source, load), finishing_of(target, finish)
    ride.kind, ride.row = finish[0] if finish else NOTHING, panels * PANEL
    cdef unsigned char[::1] part = None
    ride.parts = NULL
    if ride.kind:
        part = Block(many * SUMS * ride.row * sizeof(double))
        ride.parts = <double *>&part[0]
    cdef int refused = 0
    cdef unsigned mode
    for task in prange(tasks * chunks, nogil=True, num_threads=threads, schedule="dynamic",
                       use_threads_if=16 * p.count * p.channels * p.filters > WORTH_PRODUCT):
        mode = flush(source)
        refused += not correlate_blocks(source, &p, &ride, task // chunks * many // tasks, (task // chunks + 1) * many // tasks,
                                        task % chunks * panels // chunks, (task % chunks + 1) * panels // chunks, offset,
                                        <const char *>&packed[0], start, target, <char *>&scratch[0] + room * threadid())
        restore(mode)
    if refused:
        return False
    if ride.kind:
        add_parts(ride.kind, ride.parts, many, ride.row, p.filters, 1, &sums[0, 0], sums.shape[1])
    return True


cdef bint correlate_blocks(const float *x, const Product *p, const Ride *ride, Py_ssize_t block, Py_ssize_t end, Py_ssize_t panel_from,
                           Py_ssize_t panel_to, const Py_ssize_t *offset, const char *packed, const float *start, float *out,
                           char *scratch) noexcept nogil:
    """The patches of some blocks times some panels."""
    cdef const float *zeros = start + ceil_div(p.filters, PANEL) * PANEL
    cdef Py_ssize_t per_block = 4 * p.turns, units = (end - block) * per_block, unit, panel, i, parts, ticks, line, turn, now
    cdef Py_ssize_t patches, rows, first = panel_from * PANEL, last = least(panel_to * PANEL, p.filters)
    cdef int flip = 0
    cdef Scratch s
    cdef Work w
    cdef Operand a, b
    for i in range(2):
        s.v[i] = scratch + i * 4 * p.step
        s.m[i] = <float *>(scratch + 8 * p.step) + i * 4 * p.m_step
        s.at[i] = <Pixel *>(scratch + 8 * (p.step + p.m_step * <Py_ssize_t>sizeof(float))) + i * 16 * p.patches
        s.to[i] = <Output *>(s.at[0] + 32 * p.patches) + i * 4 * p.patches
    s.mapped = <float *>(s.to[0] + 8 * p.patches)
    memset(&w, 0, sizeof(w))
    w.step, w.m_step = p.step, p.m_step
    a.step, a.plane, a.offset = AMX_BYTES, AMX_TILE, offset
    b.step, b.plane, b.offset = AMX_BYTES, 2 * AMX_TILE, offset + p.blocks
    place_patches(x, p, &ride.load, block, zeros, out, &s, 0)
    next_slots(&w, p, &s, block, 0)
    amx_winograd_do(p.planes, &w, w.slots, 0)
    for unit in range(units):
        line, turn, now = unit % 4, unit % per_block // 4, unit // per_block & 1
        patches, rows, parts = w.patches, w.rows, ceil_div(w.patches, AMX_ROWS)     # w has the next unit's from here on
        ticks = 4 * ceil_div(parts, 2) * least(p.turn, p.blocks - turn * p.turn) * p.planes * (p.planes + 1) // 2
        if unit + 1 < units:
            if (unit + 1) % per_block == 0:
                place_patches(x, p, &ride.load, block + (unit + 1) // per_block, zeros, out, &s, not now)
            next_slots(&w, p, &s, block, unit + 1)
            w.slot_pace = ceil_div(256 * w.slots, ticks * (panel_to - panel_from))
        amx_begin(2, rows, AMX_ROWS, AMX_ROWS, AMX_ROWS)
        for panel in range(panel_from, panel_to):
            w.output_pace = ceil_div(256 * w.outputs, ticks)
            multiply(&a, &b, p, s.v[unit & 1], parts, panel, line, turn, packed, s.m[flip], &w)
            amx_winograd_do(p.planes, &w, 0, w.outputs)
            if unit and unit % per_block == 0 and panel == panel_from:
                finish_block(out, p, ride, block + unit // per_block - 1, first, last)
            w.m, w.to, w.m_line, w.m_rows, w.m_row, w.outputs = s.m[flip], s.to[now], line, rows, 0, patches
            w.f, w.valid = panel * PANEL, least(PANEL, p.filters - panel * PANEL)
            w.start = start + w.f if turn == 0 else NULL
            flip = not flip
        amx_winograd_do(p.planes, &w, w.slots, 0)
    amx_end()
    amx_winograd_do(p.planes, &w, 0, w.outputs)
    finish_block(out, p, ride, end - 1, first, last)
    return amx_winograd_splits(&w)


cdef inline void multiply(Operand *a, Operand *b, const Product *p, const char *v, Py_ssize_t parts, Py_ssize_t panel,
                          Py_ssize_t line, Py_ssize_t turn, const char *packed, float *m, Work *w) noexcept nogil:
    """The four products of a unit with a panel."""
    cdef Py_ssize_t blocks = least(p.turn, p.blocks - turn * p.turn), j, part
    for j in range(4):
        b.at[0] = packed + ((panel * 16 + 4 * line + j) * p.blocks + turn * p.turn) * p.planes * 2 * AMX_TILE
        b.at[1] = b.at[0] + AMX_TILE
        for part in range(0, parts, 2):
            a.at[0] = v + j * p.step + part * blocks * p.planes * AMX_TILE
            a.at[1] = a.at[0] + blocks * p.planes * AMX_TILE
            amx_winograd_product(p.planes, least(2, parts - part), a, b, blocks, m + j * p.m_step + part * AMX_ROWS * PANEL, w)


cdef inline void next_slots(Work *w, const Product *p, const Scratch *s, Py_ssize_t block, Py_ssize_t unit) noexcept nogil:
    """Let the work be V of a unit."""
    cdef Py_ssize_t per_block = 4 * p.turns
    block += unit // per_block
    w.patches = least(p.patches, p.count - block * p.patches)
    w.rows = ceil_div(w.patches, ceil_div(w.patches, AMX_ROWS))
    w.channel = unit % per_block // 4 * p.turn * 32
    w.channels = least(p.turn * 32, p.channels - w.channel)
    w.slots = w.patches * ceil_div(w.channels, 32)
    w.at, w.out, w.next, w.line = s.at[unit // per_block & 1], s.v[unit & 1], s.v[unit & 1], unit % 4
    w.patch = w.row = w.block = 0


cdef void place_patches(const float *x, const Product *p, const Loading *load, Py_ssize_t block, const float *zeros, float *out,
                        const Scratch *s, int which) noexcept nogil:
    """Where the pixels (zeros beyond the edge) and the outputs (NULL beyond the edge) of a block's patches are."""
    cdef Py_ssize_t patch, line, i, j, column, r, c, image, before = -1, row = p.width * p.channels
    cdef Py_ssize_t end = least(p.count, (block + 1) * p.patches)
    cdef const float *source = x
    cdef float *mapped = s.mapped
    cdef Pixel *at = s.at[which]
    cdef Output *to = s.to[which]
    for patch in range(block * p.patches, end):
        line, column = patch // p.columns, patch % p.columns * 2
        image, line = line // p.rows, line % p.rows * 2
        if load.kind == 0:
            source = x + image * p.height * row
        elif image != before:       # what the Load makes of all rows under the block's patches of this image
            before = image
            i = least(p.rows - 1, (end - 1) // p.columns - image * p.rows) * 2 - p.lead[0] + 4
            i, r = least(p.height, i), least(p.height, most(0, line - p.lead[0]))
            amx_winograd_mapped(load, x + (image * p.height + r) * row, (i - r) * p.width, p.channels, mapped)
            source = mapped - r * row
            mapped += most(0, i - r) * row
        for i in range(4):
            r = line - p.lead[0] + i
            for j in range(4):
                c = column - p.lead[1] + j
                at[4 * i + j] = source + r * row + c * p.channels if 0 <= r < p.height and 0 <= c < p.width else zeros
        for i in range(2):
            for j in range(2):
                to[2 * i + j] = NULL
                if line + i < p.tall and column + j < p.wide:
                    to[2 * i + j] = out + ((image * p.tall + line + i) * p.wide + column + j) * p.filters
        at += 16
        to += 4


cdef inline Py_ssize_t mapped_numbers(const Product *p) noexcept nogil:
    """Numbers of the source under a block, at most: whole rows of all images that it touches."""
    cdef Py_ssize_t lines = (p.patches + p.columns - 2) // p.columns + 1, images = (lines + p.rows - 2) // p.rows + 1
    return (2 * lines + 2 * images) * p.width * p.channels


cdef inline Py_ssize_t first_row(const Product *p, Py_ssize_t line) noexcept nogil:
    """The rows of out before a line of patches, all images below each other."""
    return line // p.rows * p.tall + line % p.rows * 2


cdef void finish_block(float *out, const Product *p, const Ride *ride, Py_ssize_t block, Py_ssize_t first,
                       Py_ssize_t last) noexcept nogil:
    """The Finish of a block's filters [first, last): whole lines of patches are one run of pixels, others two of each."""
    cdef Py_ssize_t patch = block * p.patches, end = least(p.count, patch + p.patches), line, column, many, i
    cdef double *part = ride.parts + block * SUMS * ride.row + first
    if ride.kind == NOTHING:
        return
    for i in range(SUMS):
        memset(part + i * ride.row, 0, (last - first) * sizeof(double))
    while patch < end:
        line, column = patch // p.columns, patch % p.columns
        many = (end - patch) // p.columns
        if column == 0 and many > 0:
            i = first_row(p, line)
            finish_run(out, p, ride, i * p.wide, (first_row(p, line + many) - i) * p.wide, first, last, part)
            patch += many * p.columns
            continue
        many = least(p.columns - column, end - patch)
        for i in range(least(2, p.tall - line % p.rows * 2)):
            finish_run(out, p, ride, (first_row(p, line) + i) * p.wide + 2 * column,
                       least(2 * (column + many), p.wide) - 2 * column, first, last, part)
        patch += many


cdef inline void finish_run(float *out, const Product *p, const Ride *ride, Py_ssize_t pixel, Py_ssize_t pixels, Py_ssize_t first,
                            Py_ssize_t last, double *part) noexcept nogil:
    cdef Outputs o
    o.at, o.step, o.v_step = pixel * p.filters + first, p.filters, p.filters
    o.v, o.out = out + o.at, out
    if ride.kind == STATISTICS:
        amx_statistics(False, &o, pixels, last - first, part, ride.row)
    else:
        amx_gradient(False, &ride.finish, &o, pixels, first, last - first, part, ride.row)
