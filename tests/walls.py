"""Arrays between two pages that must not be touched: a kernel that reads or writes beyond them ends the process."""

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE


def block(nbytes, front=False):
    """A buffer that begins at the wall before it, or ends at the one behind it."""
    pages = max(1, -(-nbytes // PAGE))
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for wall in (base, base + (pages + 1) * PAGE):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(wall), ctypes.c_size_t(PAGE), 0) == 0
    start = PAGE if front else (pages + 1) * PAGE - nbytes
    return memoryview(memory)[start : start + nbytes]


def aligned(front=False):
    """What takes the place of the pool's Block: aligned to 64 bytes, so that up to 63 of them stand before the wall."""
    return lambda nbytes: block(-(-nbytes // 64) * 64, front)[:nbytes]


def between(x, front=False):
    """A copy of an array in the same memory order."""
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    inside = x.transpose(order)
    copy = np.ndarray(inside.shape, x.dtype, buffer=block(x.nbytes, front))
    copy[...] = inside
    return copy.transpose(np.argsort(order))
