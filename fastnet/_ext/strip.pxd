"""Where a product reads its source: a padded strip of rows in scratch, or the source itself where nothing is to pad."""

from libc.string cimport memcpy, memset

from fastnet._ext.ride cimport Load, load_run, number
from fastnet._ext.types cimport bfloat16, real, stored


cdef inline Py_ssize_t least(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a < b else b


cdef inline Py_ssize_t most(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a > b else b


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


# The channels [channel, channel + channels) of x under a window that moves by `step` over `rows` x `columns` outputs.
# `lead`: pixels of the strip before the source's first one (negative: pixels left out); `span`: pixels under the window; pairs are (height, width).
# mapped: a Load makes the strip. A block of work is `block_rows` output rows of each of `block_images` images, and its strip `tall` x `wide` pixels of each.
# Sizes of an image, a row and a pixel count numbers; scratch is what the strip of one block needs.
ctypedef struct Strip:
    Py_ssize_t channel, channels, images, height, width, depth
    Py_ssize_t lead[2]
    Py_ssize_t step[2]
    Py_ssize_t span[2]
    Py_ssize_t rows, columns
    bint mapped, direct
    Py_ssize_t block_images, block_rows, blocks_across, blocks, tall, wide
    Py_ssize_t image_size, row_size, pixel_size, scratch


cdef inline Strip strip_of(const Py_ssize_t *shape, Py_ssize_t channel, Py_ssize_t channels, const Py_ssize_t[::1] lead,
                    const Py_ssize_t[::1] step, const Py_ssize_t[::1] span, Py_ssize_t rows, Py_ssize_t columns):
    """What the caller says about the strip of x, which has that shape; `cut` fills in the rest."""
    cdef Strip s
    s.channel, s.channels, s.rows, s.columns = channel, channels, rows, columns
    s.images, s.height, s.width, s.depth = shape[0], shape[1], shape[2], shape[3]
    s.lead, s.step, s.span, s.mapped = [lead[0], lead[1]], [step[0], step[1]], [span[0], span[1]], False
    return s


cdef inline Py_ssize_t strip_numbers(const Strip *s) noexcept nogil:
    """Numbers in the strip of one whole image."""
    return ((s.rows - 1) * s.step[0] + s.span[0]) * ((s.columns - 1) * s.step[1] + s.span[1]) * s.channels


cdef inline void cut(Strip *s, Py_ssize_t images, Py_ssize_t numbers) noexcept nogil:
    """Cut the outputs into blocks of at most so many images whose strips hold about so many numbers."""
    s.wide = (s.columns - 1) * s.step[1] + s.span[1]
    s.tall = (s.rows - 1) * s.step[0] + s.span[0]
    s.direct = (not s.mapped and s.lead[0] == 0 and s.lead[1] == 0 and s.tall <= s.height
                and s.wide <= s.width and (s.channels == s.depth or s.span[1] == 1))
    s.block_images, s.block_rows = 1, s.rows
    if strip_numbers(s) > numbers:
        s.block_rows = least(s.rows, most(1, numbers // (s.step[0] * s.wide * s.channels)))
        s.block_rows = ceil_div(s.rows, ceil_div(s.rows, s.block_rows))
        s.tall = (s.block_rows - 1) * s.step[0] + s.span[0]
    else:
        s.block_images = most(1, least(least(images, s.images), numbers // strip_numbers(s)))
        s.block_images = ceil_div(s.images, ceil_div(s.images, s.block_images))
    s.blocks_across = ceil_div(s.rows, s.block_rows)
    s.blocks = ceil_div(s.images, s.block_images) * s.blocks_across
    s.pixel_size = s.depth if s.direct else s.channels
    s.row_size = s.pixel_size * (s.width if s.direct else s.wide)
    s.image_size = s.row_size * (s.height if s.direct else s.tall)
    s.scratch = 0 if s.direct else s.block_images * s.image_size


cdef inline const real *open_strip(const real *x, const Strip *s, const Load *m, Py_ssize_t images, Py_ssize_t image, Py_ssize_t row,
                                   real *scratch) noexcept nogil:
    """The first number under the window of output (image, row, 0); m: as `fill_strip` wants it where the strip is mapped.  A fill
    costs 1 load and 1 store per number."""
    if s.direct:
        return x + ((image * s.height + row * s.step[0] - s.lead[0]) * s.width) * s.depth + s.channel
    fill_strip(x, s, images, image, row, m if s.mapped else NULL, scratch)
    return scratch


cdef inline void fill_strip(const stored *x, const Strip *s, Py_ssize_t images, Py_ssize_t image, Py_ssize_t row, const Load *m,
                            real *out) noexcept nogil:
    """The strip of what a Load makes of x, its coefficients those of s.channel and the channels after it, widened; NULL: of x
    itself. The padding is zero."""
    cdef Py_ssize_t first = row * s.step[0] - s.lead[0], n, r, w, left, right
    cdef const stored *line
    left = least(most(s.lead[1], 0), s.wide)
    right = most(least(s.width + s.lead[1], s.wide), left)
    for n in range(image, image + images):
        for r in range(first, first + s.tall):
            if r < 0 or r >= s.height:
                memset(out, 0, s.row_size * sizeof(real))
            else:
                line = x + ((n * s.height + r) * s.width + most(-s.lead[1], 0)) * s.depth + s.channel
                memset(out, 0, left * s.channels * sizeof(real))
                if s.channels == s.depth:
                    copy(line, (right - left) * s.channels, m, out + left * s.channels)
                else:
                    for w in range(right - left):
                        copy(line + w * s.depth, s.channels, m, out + (left + w) * s.channels)
                memset(out + right * s.channels, 0, (s.wide - right) * s.channels * sizeof(real))
            out += s.row_size


cdef inline void copy(const stored *x, Py_ssize_t numbers, const Load *m, real *out) noexcept nogil:
    cdef Py_ssize_t i
    if m != NULL:
        load_run(m, x, numbers, out)
    elif stored is bfloat16:
        for i in range(numbers):
            out[i] = number(x, i, out)
    else:
        memcpy(out, x, numbers * sizeof(real))


cdef inline Py_ssize_t channel_block(Py_ssize_t taps) noexcept nogil:
    """Channels taken together where weights are turned: some 150 rows of a panel, and at least a cache line of each filter."""
    return most(16, 128 // taps)
