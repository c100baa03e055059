"""Blocks of memory that are reused: a fresh page costs more than the arithmetic done on it.

A Block owns one aligned piece of memory and lends it through the buffer protocol, so that every NumPy view on it keeps it
alive. When the last view goes, the piece goes to a free list and serves the next array of its size class. What is kept is
bounded by the process's own largest moment: live + kept bytes stay below 1.5 times the peak of live bytes, enough for the
sizes of a whole training step to find their pieces again (at 1.0 a VGG-like step asks for 56 fresh blocks, at 1.5 for none).
"""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    #define fastnet_huge_pages(p, n) madvise((p), (n), MADV_HUGEPAGE)
    #else
    #define fastnet_huge_pages(p, n) ((void)0)
    #endif
    """
    void fastnet_huge_pages(void *p, size_t n)

cdef size_t LARGE = 4 << 20     # from here on huge pages (2 MB) are asked for and worth their rounding
cdef size_t live = 0, kept = 0, peak = 0, fresh = 0
cdef dict shelves = {}          # size class -> list of [address of the allocation, address of its aligned start]
cdef list order = []            # size classes in the order in which their pieces were shelved: the oldest goes first


cdef size_t size_class(size_t n) noexcept:
    """n rounded up to 64 bytes, and above 1 KB to an eighth of its power of two, so that nearly equal sizes share a shelf."""
    cdef size_t step = 64
    while step * 16 < n:
        step *= 2
    return (n + step - 1) // step * step


cdef void trim(size_t limit):
    """Give the oldest shelved pieces back until live + kept fits the limit."""
    global kept
    cdef size_t size
    while order and live + kept > limit:
        size = order.pop(0)
        raw, _ = shelves[size].pop(0)
        free(<void *><uintptr_t>raw)
        kept -= size


cdef class Block:
    cdef void *raw
    cdef void *start
    cdef size_t size
    cdef size_t wanted

    def __cinit__(self, size_t nbytes):
        global live, kept, peak, fresh
        self.wanted = nbytes
        self.size = size_class(nbytes if nbytes else 1)
        cdef list shelf = shelves.get(self.size)
        cdef size_t limit, align = (2 << 20) if self.size >= LARGE else 64
        if shelf:
            raw, start = shelf.pop()
            order.remove(self.size)
            self.raw, self.start = <void *><uintptr_t>raw, <void *><uintptr_t>start
            kept -= self.size
        else:
            if self.size + align < nbytes:
                raise MemoryError(f"an array of {nbytes} bytes is larger than the address space")
            limit = peak + peak // 2
            trim(limit - self.size if limit > live + self.size else live)
            self.raw = malloc(self.size + align)
            if self.raw == NULL:
                trim(live)
                self.raw = malloc(self.size + align)
            if self.raw == NULL:
                raise MemoryError(f"no memory for an array of {nbytes} bytes ({live} bytes are in use by fastnet)")
            self.start = <void *>((<uintptr_t>self.raw + align - 1) // align * align)
            fresh += 1
            if self.size >= LARGE:
                fastnet_huge_pages(self.start, self.size // align * align)
        live += self.size
        peak = max(peak, live)

    def __dealloc__(self):
        global live, kept
        if self.raw == NULL:
            return
        live -= self.size
        shelves.setdefault(self.size, []).append((<uintptr_t>self.raw, <uintptr_t>self.start))
        order.append(self.size)
        kept += self.size
        if live + kept > peak + peak // 2:
            trim(peak + peak // 2)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.start, <Py_ssize_t>self.wanted, 0, flags)


def empty_cache():
    """Give every kept piece back to the operating system, and forget the peak."""
    global peak
    trim(live)
    peak = live


def statistics():
    """Bytes in use by arrays, bytes kept for reuse, the peak of bytes in use, and how many blocks were fresh, not reused."""
    return {"live": live, "kept": kept, "peak": peak, "fresh": fresh}
