"""What AMX can do at most: products of bfloat16 tiles per second. See peak.pyx for the vector units and the memory."""

from cython.parallel cimport prange

cdef extern from "amx_peak.h":
    float amx_peak_chain(Py_ssize_t rounds) noexcept nogil
    int AMX_PEAK_ROUND


def multiply_adds(float[::1] out, Py_ssize_t rounds, int threads):
    """Run one register-only chain of tile products per element of out; the multiply-adds done in all.

    Each element becomes 128 * rounds, exactly up to 2^24: the sum of its chain's products of ones.
    """
    cdef Py_ssize_t i, chains = out.shape[0]
    for i in prange(chains, nogil=True, num_threads=threads, schedule="static"):
        out[i] = amx_peak_chain(rounds)
    return chains * rounds * AMX_PEAK_ROUND
