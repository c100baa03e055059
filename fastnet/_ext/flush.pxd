"""Denormal float32 numbers count as zero in a product, as AMX has it: one of them costs as much as 150 multiply-adds.

Each task sets its thread's control register (flush to zero, denormals are zero) and puts back what stood there, so other
code of the process keeps its denormals. Products of float64 keep theirs too (docs/decisions/0012-denormals-count-as-zero.md).
"""

from fastnet._ext.types cimport real

cdef extern from * nogil:
    """
    #if defined(__SSE__) || defined(_M_X64)
    #include <xmmintrin.h>
    #define FASTNET_CONTROL() _mm_getcsr()
    #define FASTNET_SET_CONTROL(mode) _mm_setcsr(mode)
    #define FASTNET_FLUSH 0x8040u
    #else   /* processors that compute with denormal numbers at full speed */
    #define FASTNET_CONTROL() 0u
    #define FASTNET_SET_CONTROL(mode) ((void)(mode))
    #define FASTNET_FLUSH 0u
    #endif
    #if defined(__GNUC__)
    #define FASTNET_FENCE() __asm__ volatile("" ::: "memory")   /* the compiler moves no load or store across it */
    #else
    #define FASTNET_FENCE() ((void)0)
    #endif
    static inline unsigned fastnet_flush(int wanted) {
        unsigned mode = FASTNET_CONTROL();
        if (wanted) FASTNET_SET_CONTROL(mode | FASTNET_FLUSH);
        FASTNET_FENCE();
        return mode;
    }
    static inline void fastnet_restore(unsigned mode) {
        FASTNET_FENCE();
        FASTNET_SET_CONTROL(mode);
    }
    """
    unsigned fastnet_flush(int wanted) noexcept
    void restore "fastnet_restore"(unsigned mode) noexcept


cdef inline unsigned flush(const real *example) noexcept nogil:
    """Let this thread take denormal float32 numbers for zero; what `restore` must be given."""
    return fastnet_flush(sizeof(real) == sizeof(float))
