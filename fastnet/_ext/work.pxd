"""How work is cut."""

cdef enum:
    BLOCK = 128         # numbers gathered on the stack at a time: two such arrays are 1 KB of the first-level cache
    WORTH = 1 << 14     # numbers below which starting threads costs more than they save
    WORTH_PRODUCT = 1 << 19     # likewise, multiply-adds of a product: some 5 microseconds on one core
