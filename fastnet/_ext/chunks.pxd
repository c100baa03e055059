"""How a pass over flat arrays is cut into chunks: by length alone, so that the threads do not change a bit."""

from fastnet._ext.types cimport real

cdef enum:
    CHUNK = 16384       # 64 KB of float32: four arrays fit the second-level cache, and a small net stays on one thread

cdef struct Span:
    Py_ssize_t start
    Py_ssize_t stop
    bint decays


cdef inline Py_ssize_t chunks(Py_ssize_t n, Py_ssize_t decayed) noexcept nogil:
    """Chunks of the decayed part and of the rest: none lies in both."""
    return (decayed + CHUNK - 1) // CHUNK + (n - decayed + CHUNK - 1) // CHUNK


cdef inline Span span(Py_ssize_t c, Py_ssize_t n, Py_ssize_t decayed) noexcept nogil:
    """The elements of chunk c."""
    cdef Py_ssize_t first = (decayed + CHUNK - 1) // CHUNK
    cdef Span s
    s.decays = c < first
    s.start = c * CHUNK if s.decays else decayed + (c - first) * CHUNK
    s.stop = min(s.start + CHUNK, decayed if s.decays else n)
    return s


cdef inline Py_ssize_t length(real[::1] w, const real[::1] g, Py_ssize_t decayed) except -1:
    """The common length of two arrays, such as weights and their gradients."""
    if g.shape[0] != w.shape[0] or not 0 <= decayed <= w.shape[0]:
        raise ValueError(f"flat arrays: expected {w.shape[0]} elements in both ({decayed} of them decayed), found {g.shape[0]}")
    return w.shape[0]
