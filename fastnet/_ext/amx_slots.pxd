"""The blocks of a product on AMX: where what lies. What slots, tiles and turns are: amx_correlate.pyx."""

from fastnet._ext.amx cimport AMX_BYTES, AMX_ROWS, AMX_TILE
from fastnet._ext.strip cimport Strip, ceil_div, least, most

cdef enum:
    STRIP = 512 << 10       # bytes of a task's slots, in the second-level cache together with
    PANEL = 512 << 10       # bytes of packed weights
    LINES = 4               # output rows that a task should have before its channels are taken in several turns
    CHAIN = 48              # steps of a turn, at most: the sum of several turns errs less than one long chain
    TASKS = 32              # tasks wanted of a product, where its shape allows: enough for 16 threads to share evenly
    LEAST = 128             # pixels of a task, at least: the weights are read once for all of them
    CUTS = 8                # blocks wanted of an image whose blocks share neither rows nor weights beyond the second-level cache,
    SHORT = 64              # of so many pixels at least
    STAGED = 256            # filters whose float32 sums stand in scratch on their way to a bfloat16 image,
    STAGE = 512 << 10       # and bytes of them


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


# The target: filters [filter, filter + filters) of the pixels (start + i * by) of out. An image of bfloat16 (`half`) is written from
# a stage of float32 sums: the pixels of a block, one after the other, and `staged` filters.
ctypedef struct Target:
    char *data
    Py_ssize_t filter, filters, height, width, depth, staged
    Py_ssize_t start[2]
    Py_ssize_t by[2]
    bint half


cdef inline bint divides(Py_ssize_t step, const Py_ssize_t[:, ::1] group, Py_ssize_t axis):
    cdef Py_ssize_t i
    for i in range(group.shape[0]):
        if group[i, axis] % step:
            return False
    return True


cdef inline Slots lay_out(Strip *s, Target *o, const Py_ssize_t[:, ::1] group, const Py_ssize_t[::1] fold, int planes, Py_ssize_t tasks):
    """Choose the rows of tiles and cut the outputs into blocks, so many of them where each still has two tiles; how many filters
    are staged."""
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
    # Of one plane, no chain is so long that its error counts beside that of the rounding.
    t.turn = t.blocks if planes == 1 else ceil_div(t.blocks, ceil_div(t.blocks * t.groups, CHAIN))
    while True:
        bytes_row = t.inner * t.wide * t.turn * planes * AMX_BYTES
        room = (STRIP // bytes_row - t.reach[0] - 1) // t.step[0] + 1
        if t.turn == 1 or (room >= lines and t.turn * t.groups * planes * 2 * AMX_TILE <= PANEL):
            break
        t.turn = ceil_div(t.turn, 2)
    # Sums of several turns wait for the last one, those of all filters.
    o.staged = ceil_div(o.filters, 2 * AMX_ROWS) * 2 * AMX_ROWS
    o.staged = (least(o.staged, STAGED) if t.turn == t.blocks else o.staged) if o.half else 0
    cdef Py_ssize_t pixels = STAGE // (o.staged * sizeof(float)) if o.half else s.images * s.rows * s.columns
    room = least(room, most(1, pixels // (t.inner * s.columns)))
    s.block_rows = most(1, least(s.rows, room))
    if t.reach[0] == 0 and t.inner == 1 and t.blocks * t.groups * ceil_div(o.filters, 32) * planes * 2 * AMX_TILE <= PANEL:
        s.block_rows = least(s.block_rows, most(ceil_div(s.images * s.rows, CUTS), ceil_div(SHORT, s.columns)))
    elif t.inner == 1 and tasks > s.images:
        s.block_rows = least(s.block_rows, most(ceil_div(s.images * s.rows, tasks), ceil_div(2 * AMX_ROWS, s.columns)))
    s.block_rows = ceil_div(s.rows, ceil_div(s.rows, s.block_rows))
    t.tall = (s.block_rows - 1) * t.step[0] + t.reach[0] + 1
    s.block_images = t.inner
    if t.inner == 1 and s.block_rows == s.rows:
        images = most(ceil_div(s.images, TASKS), ceil_div(LEAST, s.rows * s.columns))
        images = least(images, pixels // (s.rows * s.columns))
        s.block_images = most(1, least(least(images, s.images), STRIP // (bytes_row * t.tall)))
        s.block_images = ceil_div(s.images, ceil_div(s.images, s.block_images))
    s.blocks_across = ceil_div(s.rows, s.block_rows)
    s.blocks = ceil_div(s.images, s.block_images) * s.blocks_across
    t.image, t.row, t.column = 1, t.wide * t.inner, t.inner
    if t.inner == 1:
        t.image, t.row, t.column = t.tall * t.wide, t.wide, 1
    t.count = s.block_images * t.tall * t.wide
    return t


cdef inline Py_ssize_t share(const Strip *s, const Slots *t, Py_ssize_t panels, int threads) noexcept:
    """How many chunks of panels to make of every block, for threads to have the least to do: each chunk fills its slots anew.
    No bit depends on it."""
    # Measured, in ns, by planes: filling a slot; a tile of slots times a panel.
    cdef double fill = (2.8 if t.planes == 1 else 4.2 if t.planes == 2 else 5.5) * t.count * t.blocks
    cdef double multiply = (16 if t.planes == 1 else 39 if t.planes == 2 else 77) * t.blocks * t.groups, time, fastest = 0
    cdef Py_ssize_t chunks, found = 1
    multiply *= s.block_images * s.block_rows * s.columns / <double>AMX_ROWS
    for chunks in range(1, (least(panels, 4 * threads) if threads > 1 else 1) + 1):
        time = ceil_div(s.blocks * chunks, threads) * (fill + multiply * ceil_div(panels, chunks))
        if chunks == 1 or time < fastest:
            fastest, found = time, chunks
    return found


cdef inline Py_ssize_t place_tiles(const Strip *s, const Slots *t, const Target *o, Py_ssize_t image, Py_ssize_t images, Py_ssize_t row,
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
                if o.half:
                    to[tile] = ((k * rows + i) * s.columns + first) * o.staged
                else:
                    to[tile] = (((image + k) * o.height + o.start[0] + (row + i) * o.by[0]) * o.width
                                + o.start[1] + first * o.by[1]) * o.depth
    return large
