"""A (rows, channels) matrix, cut for vectors and for threads.

Channels-last memory repeats its channels every `channels` numbers. Few channels make poor vectors, so kernels see rows of
`row_width(channels)` numbers, a whole number of pixels, with per-channel coefficients repeated as often; the last row may be
shorter. Threads get chunks of `chunk_rows` pixels: a function of the shape alone, so the bits do not depend on the threads.
"""

cdef enum:
    WIDTH = 256        # numbers in a row, at least
    CHUNK = 32768      # numbers in a chunk, at least (if there are so many)
    CHUNKS = 256       # chunks, at most


cdef inline Py_ssize_t row_width(Py_ssize_t channels) noexcept nogil:
    """The least multiple of `channels` that is a multiple of 16 and at least WIDTH; `channels` itself if they are that many."""
    cdef Py_ssize_t unit = channels
    if channels >= WIDTH:
        return channels
    while unit % 16:
        unit *= 2
    return (WIDTH + unit - 1) // unit * unit


cdef inline Py_ssize_t chunk_rows(Py_ssize_t rows, Py_ssize_t channels) noexcept nogil:
    """Pixels per chunk: whole groups of eight rows of the above width where the matrix is that long."""
    cdef Py_ssize_t group = 8 * (row_width(channels) // channels)
    cdef Py_ssize_t least = max(CHUNK // channels, rows // CHUNKS) + 1
    return (least + group - 1) // group * group
