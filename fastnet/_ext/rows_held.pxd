"""The rows of a depthwise convolution's source: where they lie or, of what is to become of them, made once and held while windows
move over them. What is gathered and scattered: depthwise.pyx.

Rows are held, too, where pixels would meet in the cache: a window over 1024 channels as they lie has all sources of a channel
4 KB apart, in one set of the first-level cache. Held, they lie `pixel` numbers apart.
"""

from libc.string cimport memcpy, memset

from fastnet._ext.ride cimport Load, load, load_of, load_run, number
from fastnet._ext.strip cimport least
from fastnet._ext.types cimport bfloat16, real, stored

cdef enum:
    NEAR = 1 << 20      # bytes of source and target that are in the second-level cache anyway
    APART = 64          # bytes between held pixels that would meet in the cache


ctypedef struct Geometry:
    Py_ssize_t KH, KW, SH, SW, PH, PW, DH, DW


# The source (height, width) and the target (rows, columns) of a product over `channels`, and how the window moves.
ctypedef struct Shape:
    Geometry g
    Py_ssize_t height, width, rows, columns, channels
    bint scattered, far         # far: what the next row needs is worth asking for


# The rows of a source, or of what is to become of it: then those under a window are held, `slots` of them, each made once, of the
# channels [first, end). A source of bfloat16 (`half`) becomes float32.
ctypedef struct Source:
    Load load
    bint half, made
    const void *x
    void *ring
    Py_ssize_t *held
    Py_ssize_t slots, pixel, first, end


cdef inline Shape shape_of(const stored[:, :, :, ::1] x, const stored[:, :, :, ::1] y, const Py_ssize_t[::1] geometry,
                           bint scattered) noexcept:
    cdef Shape s
    s.g = (<const Geometry *>&geometry[0])[0]
    s.height, s.width, s.rows, s.columns, s.channels = x.shape[1], x.shape[2], y.shape[1], y.shape[2], x.shape[3]
    s.scattered = scattered
    s.far = (x.size + y.size) * sizeof(stored) > NEAR
    return s


cdef inline Source source_of(const real *example, const stored *x, tuple load, const Shape *s, Py_ssize_t bytes):
    """The slots are those of as many rows as lie under a window; pixels so many bytes apart, or a multiple, meet in the cache."""
    cdef Source r
    cdef bint meet = s.channels * <Py_ssize_t>sizeof(real) % bytes == 0
    r.load, r.x, r.ring, r.held, r.slots, r.half = load_of(x, load), x, NULL, NULL, 0, stored is bfloat16
    r.pixel, r.first, r.end = s.channels + (APART // <Py_ssize_t>sizeof(real) if meet else 0), 0, s.channels
    r.made = r.load.wanted or r.half or meet
    if r.made:
        r.slots = least((s.g.KH - 1) * s.g.DH + 1, s.height)
    return r


cdef inline Py_ssize_t ring_room(const real *example, const Source *r, const Shape *s) noexcept nogil:
    """Bytes of a thread's slots."""
    return (r.slots * (s.width * r.pixel * <Py_ssize_t>sizeof(real) + <Py_ssize_t>sizeof(Py_ssize_t)) + 63) // 64 * 64


cdef inline Source opened(const Source *shared, unsigned char *room) noexcept nogil:
    """A thread's view of a source: nothing is held yet."""
    cdef Source r = shared[0]
    r.held = <Py_ssize_t *>room
    r.ring = room + r.slots * sizeof(Py_ssize_t)
    memset(room, 255, r.slots * sizeof(Py_ssize_t))
    return r


cdef inline const real *source_row(const real *example, const Source *r, const Shape *s, Py_ssize_t image, Py_ssize_t row,
                                   bint inside) noexcept nogil:
    """A row of an image, where it lies or in its slot; none that is not inside is read."""
    cdef Py_ssize_t size = s.width * s.channels, at = image * s.height + row, slot
    cdef real *line
    if not r.made:
        return <const real *>r.x + at * size
    if not inside:
        return <real *>r.ring
    slot = row % r.slots
    line = <real *>r.ring + slot * s.width * r.pixel
    if r.held[slot] != at:
        r.held[slot] = at
        if r.half:
            make_row(r, s, <const bfloat16 *>r.x + at * size, line)
        else:
            make_row(r, s, <const real *>r.x + at * size, line)
    return line


cdef inline void make_row(const Source *r, const Shape *s, const stored *x, real *line) noexcept nogil:
    cdef Py_ssize_t w, c
    if r.pixel == r.end - r.first:      # pixels without gaps
        load_run(&r.load, x, s.width * s.channels, line)
        return
    for w in range(s.width):
        if r.load.wanted:
            load(&r.load, x + w * s.channels + r.first, r.first, r.end - r.first, line + w * r.pixel + r.first)
        elif stored is real:
            memcpy(line + w * r.pixel + r.first, x + w * s.channels + r.first, (r.end - r.first) * sizeof(real))
        else:
            for c in range(r.first, r.end):
                line[w * r.pixel + c] = number(x, w * s.channels + c, line)
