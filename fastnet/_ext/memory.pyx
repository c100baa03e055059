"""Blocks of memory that are reused: a fresh page costs more than the arithmetic done on it.

A Block owns one aligned piece of memory and lends it through the buffer protocol, so that every NumPy view on it keeps it
alive. When the last view goes, the piece is free for the next array. Small pieces wait on a shelf of their size class. Large
ones, on Linux, are cut from one range of addresses that is reserved at once and filled from below: free neighbours grow together,
so what a step has used for many small images serves the next few large ones, and a process takes hardly more than its own largest
moment. What is kept is bounded by that: live + kept bytes stay below 1.5 times the peak of live bytes.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    #include <unistd.h>
    /* Addresses for as many bytes as the machine has; pages come when they are touched. */
    static void *fastnet_reserve(size_t *size) {
        *size = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGE_SIZE);
        void *p = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return NULL;
        madvise(p, *size, MADV_HUGEPAGE);
        return p;
    }
    #define fastnet_give_back(p, n) madvise((p), (n), MADV_DONTNEED)
    #define fastnet_huge_pages(p, n) madvise((p), (n), MADV_HUGEPAGE)
    #else
    static void *fastnet_reserve(size_t *size) { *size = 0; return NULL; }
    #define fastnet_give_back(p, n) ((void)0)
    #define fastnet_huge_pages(p, n) ((void)0)
    #endif
    """
    void *fastnet_reserve(size_t *size)
    void fastnet_give_back(void *p, size_t n)
    void fastnet_huge_pages(void *p, size_t n)

cdef size_t LARGE = 4 << 20     # from here on, outside of the range, huge pages (2 MB) are asked for and worth their rounding
cdef size_t CUT = 128 << 10     # from here on pieces are cut from the range
cdef size_t GRAIN = 4 << 10    # to which they are rounded
cdef size_t live = 0, kept = 0, peak = 0, fresh = 0
cdef size_t crest = 0           # the peak since the last `mark`
cdef dict shelves = {}          # size class -> list of [address of the allocation, address of its aligned start]
cdef list order = []            # size classes in the order in which their pieces were shelved: the oldest goes first
cdef size_t range_start = 0, range_end = 0, edge = 0    # the range, and where its untouched part begins
cdef list holes = []            # the free parts below the edge, by address: [start, end, bytes that were touched]


# A new list may make Python collect garbage, and that may free Blocks: both functions make theirs before they look at the holes.
# Pieces follow each other without gaps: all pages of the range may be huge, wherever a piece begins.

cdef size_t cut(size_t size):
    """The lowest free piece of the range; 0 if there is none."""
    global range_start, range_end, edge, kept, fresh
    cdef size_t start, end, used, reserved = 0
    cdef Py_ssize_t i
    cdef list behind = [0, 0, 0]
    if range_end == 0:
        range_start = <size_t>fastnet_reserve(&reserved)
        edge, range_end = range_start, range_start + reserved if range_start else 1
    for i in range(len(holes)):
        start, end, used = holes[i]
        if start + size <= end or (end == edge and start + size <= range_end):
            del holes[i]
            break
    else:
        i, start, end, used = len(holes), edge, edge, 0
        if not range_start or start + size > range_end:
            return 0
    if size > used:
        fresh += 1
    kept -= min(used, size)
    used -= min(used, size)
    if start + size < end:
        behind[0], behind[1], behind[2] = start + size, end, used
        holes.insert(i, behind)
    edge = max(edge, start + size)
    return start


cdef void put_back(size_t start, size_t size):
    """A piece of the range is free: it grows together with free neighbours."""
    global kept
    cdef size_t end = start + size, used = size
    cdef Py_ssize_t i = 0
    cdef list piece = [0, 0, 0]
    kept += size
    while i < len(holes) and holes[i][1] < start:
        i += 1
    if i < len(holes) and holes[i][1] == start:
        start, used = holes[i][0], used + holes[i][2]
        del holes[i]
    if i < len(holes) and holes[i][0] == end:
        end, used = holes[i][1], used + holes[i][2]
        del holes[i]
    piece[0], piece[1], piece[2] = start, end, used
    holes.insert(i, piece)


cdef size_t size_class(size_t n) noexcept:
    """n rounded up to 64 bytes, and above 1 KB to an eighth of its power of two, so that nearly equal sizes share a shelf."""
    cdef size_t step = 64
    while step * 16 < n:
        step *= 2
    return (n + step - 1) // step * step


cdef void trim(size_t limit):
    """Give the free parts of the range back, from its end, and the oldest shelved pieces, until live + kept fits the limit."""
    global kept, edge
    cdef size_t size, start, end, used
    cdef Py_ssize_t i = len(holes) - 1
    while i >= 0 and live + kept > limit:
        start, end, used = holes[i]
        if used:
            fastnet_give_back(<void *>start, end - start)
            kept -= used
            holes[i][2] = 0
        if end == edge:
            edge = start
            del holes[i]
        i -= 1
    while order and live + kept > limit:
        size = order.pop(0)
        raw, _ = shelves[size].pop(0)
        free(<void *><uintptr_t>raw)
        kept -= size


cdef class Block:
    cdef void *raw              # what `free` takes; NULL: a piece of the range
    cdef void *start
    cdef size_t size
    cdef size_t wanted

    def __cinit__(self, size_t nbytes):
        global live, kept, peak, crest, fresh
        self.wanted = nbytes
        self.size = (nbytes + GRAIN - 1) // GRAIN * GRAIN if nbytes >= CUT else size_class(nbytes if nbytes else 1)
        if nbytes >= CUT and self.size >= nbytes:
            self.start = <void *>cut(self.size)
        if self.start == NULL:
            self.size = size_class(nbytes if nbytes else 1)
            self.take(nbytes, (2 << 20) if nbytes >= LARGE else 64)
        live += self.size
        peak, crest = max(peak, live), max(crest, live)
        if live + kept > peak + peak // 2:  # it was cut from untouched pages
            trim(peak + peak // 2)

    cdef take(self, size_t nbytes, size_t align):
        """A piece from a shelf, or a new one."""
        global kept, fresh
        cdef list shelf = shelves.get(self.size)
        cdef size_t limit
        if shelf:
            raw, start = shelf.pop()
            order.remove(self.size)
            self.raw, self.start = <void *><uintptr_t>raw, <void *><uintptr_t>start
            kept -= self.size
            return
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

    def __dealloc__(self):
        global live, kept
        if self.start == NULL:
            return
        live -= self.size
        if self.raw == NULL:
            put_back(<size_t>self.start, self.size)
        else:
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


def mark():
    """The peak of bytes in use since the last call."""
    global crest
    cdef size_t found = crest
    crest = live
    return found


def statistics():
    """Bytes in use by arrays, bytes kept for reuse, the peak of bytes in use, and how many blocks were fresh, not reused."""
    return {"live": live, "kept": kept, "peak": peak, "fresh": fresh}
