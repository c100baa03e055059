"""What the machine can do at most, at this level: multiply-adds per second, and bytes read per second.

Benchmarks give every result as a share of these, measured in the same run.
"""

from cython.parallel cimport prange

from fastnet._ext.types cimport real

cdef extern from "peak.h":
    float peak_chain_f(Py_ssize_t rounds, float a) noexcept nogil
    double peak_chain_d(Py_ssize_t rounds, double a) noexcept nogil
    int PEAK_TILE
    int PEAK_BYTES


def multiply_adds(real[::1] out, Py_ssize_t rounds, int threads):
    """Run one register-only chain of multiply-adds per element of out, in its dtype; the multiply-adds done in all.

    Each chain does rounds * 12 vector multiply-adds: no memory, so the arithmetic units are the limit.
    """
    cdef Py_ssize_t i, chains = out.shape[0]
    for i in prange(chains, nogil=True, num_threads=threads, schedule="static"):
        if real is float:
            out[i] = peak_chain_f(rounds, 0.5)
        else:
            out[i] = peak_chain_d(rounds, 0.5)
    return chains * rounds * PEAK_TILE * lanes(sizeof(real))


cdef int lanes(int size):
    """Numbers of `size` bytes in a register of this level."""
    return PEAK_BYTES // size


def read(const long long[::1] x, long long[::1] sums, int threads):
    """Read all of x once, a contiguous part per element of sums, which gets the part's sum: bandwidth is the limit."""
    cdef Py_ssize_t i, parts = sums.shape[0], n = x.shape[0]
    for i in prange(parts, nogil=True, num_threads=threads, schedule="static"):
        sums[i] = add(&x[0] + n * i // parts, n * (i + 1) // parts - n * i // parts)


cdef long long add(const long long *x, Py_ssize_t n) noexcept nogil:
    """The sum of n integers: unlike floats they may be added in any order, so this is vectorised at every level."""
    cdef Py_ssize_t i
    cdef long long total = 0
    for i in range(n):
        total += x[i]
    return total
