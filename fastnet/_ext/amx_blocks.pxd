"""The weight gradient's blocks on AMX: where what lies. What slots, pairs and streams are: amx_weights.pyx."""

from fastnet._ext.amx cimport AMX_ROWS, Loading
from fastnet._ext.ride cimport COEFFICIENTS
from fastnet._ext.strip cimport ceil_div


# One axis of x under the window, laid out by residues of the stride: place q of residue p is pixel q * step + residue[p] - lead.
ctypedef struct Axis:
    Py_ssize_t size, lead, step, residues, reach
    const Py_ssize_t *residue


# Pairs [pair, pair + pairs) of output rows [row, row + rows): a run of a row's pairs falls into `parts` steps of `pairs_step`.
ctypedef struct Range:
    Py_ssize_t pair, pairs, row, rows, parts, length, steps


# The whole product. Outputs: `rows` x `columns` of each stream, of `height` rows of an image; tiles of a chunk of 32 channels
# (folded: of all), `groups` for each block of 16. x and dy start at the first channel and filter; depths are those of the arrays,
# sizes the bytes of their numbers.
ctypedef struct Work:
    const char *x
    const char *dy
    Py_ssize_t x_size, dy_size
    Py_ssize_t images, channels, depth, filters, dy_depth, height, rows, columns, pairs
    Py_ssize_t image_step, second_image, second_row
    Axis down, across
    Py_ssize_t groups, kinds, pieces, lines, extent, chunks, tiles
    const Py_ssize_t *group
    const Py_ssize_t *piece
    Py_ssize_t block_pairs, block_rows, parts
    int planes
    Loading x_load, dy_load
    float table[COEFFICIENTS * 2 * AMX_ROWS]    # folded: those of x's load, and again from the first channel on


cdef inline Range range_of(const Work *w, Py_ssize_t pair, Py_ssize_t pairs, Py_ssize_t row, Py_ssize_t rows) noexcept nogil:
    """A block, and the steps of its reduction: of equal length, so that the last one of a run starts where it ends with it."""
    cdef Range b
    b.pair, b.pairs, b.row, b.rows = pair, pairs, row, rows
    b.parts = ceil_div(w.columns * pairs, AMX_ROWS)
    b.length = ceil_div(w.columns * pairs, b.parts)
    b.steps = rows * b.parts
    return b


cdef inline Py_ssize_t slot_row(const Work *w, const Range *b) noexcept nogil:
    """Slots of a row: [column residue][column][pair]."""
    return w.across.residues * (w.columns + w.across.reach) * b.pairs


cdef inline Py_ssize_t slot_count(const Work *w, const Range *b) noexcept nogil:
    """Slots of a plane: [row residue][row] of them; an odd number, so that planes and blocks of channels fall on other sets."""
    return (w.down.residues * (b.rows + w.down.reach) * slot_row(w, b)) | 1


cdef inline Py_ssize_t strip_lines(const Work *w, const Range *b) noexcept nogil:
    return (b.rows + w.down.reach - 1) * w.down.step + w.down.residue[w.down.residues - 1] + w.lines


cdef inline Py_ssize_t strip_numbers(const Work *w) noexcept nogil:
    return ((w.columns + w.across.reach - 1) * w.across.step + w.across.residue[w.across.residues - 1]) * w.channels + w.extent
