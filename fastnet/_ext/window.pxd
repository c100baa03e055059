"""Windows of a max pooling over the pixels of an image."""

ctypedef struct Window:     # kernel, stride, padding, dilation
    Py_ssize_t KH, KW, SH, SW, PH, PW, DH, DW


cdef inline Window window_of(tuple geometry):
    """The struct of ((KH, KW), (SH, SW), (PH, PW), (DH, DW))."""
    cdef Window g
    (g.KH, g.KW), (g.SH, g.SW), (g.PH, g.PW), (g.DH, g.DW) = geometry
    return g


cdef inline bint pairs(const Window *g, Py_ssize_t H, Py_ssize_t W, Py_ssize_t OH, Py_ssize_t OW) noexcept nogil:
    """Are these 2x2 windows side by side, all of them inside the image?"""
    return (g.KH == 2 and g.KW == 2 and g.SH == 2 and g.SW == 2 and g.PH == 0 and g.PW == 0 and g.DH == 1 and g.DW == 1
            and 2 * OH <= H <= 2 * OH + 1 and 2 * OW <= W <= 2 * OW + 1)


cdef inline Py_ssize_t first_tap(Py_ssize_t start, Py_ssize_t dilation) noexcept nogil:
    """The first tap of a window starting at `start` that is not left of the image."""
    return 0 if start >= 0 else (dilation - 1 - start) // dilation


cdef inline Py_ssize_t end_tap(Py_ssize_t start, Py_ssize_t dilation, Py_ssize_t taps, Py_ssize_t size) noexcept nogil:
    """One past the last tap that is not right of the image."""
    if start + (taps - 1) * dilation < size:
        return taps
    return (size - start + dilation - 1) // dilation if start < size else 0
