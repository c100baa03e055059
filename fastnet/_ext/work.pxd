"""How work is cut."""

cdef enum:
    BLOCK = 128         # numbers gathered on the stack at a time: two such arrays are 1 KB of the first-level cache
    WORTH = 1 << 14     # numbers below which starting threads costs more than they save
    WORTH_PRODUCT = 1 << 19     # likewise, multiply-adds of a product: some 5 microseconds on one core


cdef inline Py_ssize_t shares(Py_ssize_t work, int threads) noexcept nogil:
    """Tasks wanted of a product of so many multiply-adds where it is cut between sums, which changes none of them: for one thread
    one, else two per thread, if each is worth it."""
    return 1 if threads == 1 else max(1, min(threads, work // WORTH_PRODUCT))
