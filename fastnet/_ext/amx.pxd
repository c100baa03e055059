"""The register tile of amx.h and the splitting of amx_split.h."""

from libc.string cimport memset

from fastnet._ext.ride cimport Finish, Load, finish_of, load_of

cdef extern from "amx.h" nogil:
    enum:
        AMX_ROWS
        AMX_BYTES
        AMX_TILE
    ctypedef struct Operand "amx_operand":
        const char *at[4]
        Py_ssize_t step, plane, valid
        const Py_ssize_t *offset
    void amx_begin(int columns, int rows, int first, int second, int pairs) noexcept
    void amx_end() noexcept
    void amx_product(int planes, int rows, int columns, const Operand *a, const Operand *b, Py_ssize_t steps,
                     const float *start,
                     float **out, Py_ssize_t out_step) noexcept

cdef extern from "amx_load.h" nogil:
    ctypedef struct Loading "amx_load":
        int kind
        Py_ssize_t far, columns
        const float *coefficients
        float slope

cdef extern from "amx_ride.h" nogil:
    ctypedef struct Finishing "amx_finish":
        const float *add
        const float *value
        const float *a
        const float *b
        Loading map
    void amx_statistics(const float *out, Py_ssize_t at, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t channels, double *part,
                        Py_ssize_t row) noexcept
    void amx_gradient(const Finishing *f, float *out, Py_ssize_t at, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t channel,
                      Py_ssize_t channels, double *part, Py_ssize_t row) noexcept

cdef extern from "amx_split.h" nogil:
    bint amx_fill_pixels(int planes, const Loading *load, Py_ssize_t channel, const float *x, Py_ssize_t pixels, Py_ssize_t step,
                         Py_ssize_t channels, char *out, Py_ssize_t slot, Py_ssize_t block, Py_ssize_t plane) noexcept
    bint amx_fill_line(int planes, const Loading *load, const float *x, Py_ssize_t size, Py_ssize_t first, Py_ssize_t count,
                       Py_ssize_t step, Py_ssize_t length, char *out, Py_ssize_t slot, Py_ssize_t plane) noexcept
    bint amx_fill_windows(int planes, const float *x, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t lines, Py_ssize_t pitch,
                          Py_ssize_t length, char *out, Py_ssize_t slot, Py_ssize_t plane) noexcept
    bint amx_pack_weights(int planes, const float *w, const Py_ssize_t *lane, Py_ssize_t step, Py_ssize_t valid, char *out,
                          Py_ssize_t plane) noexcept

cdef extern from "amx_pairs.h" nogil:
    ctypedef struct Sums "amx_sums":
        Py_ssize_t done, wanted
    void amx_fill_pairs(int planes, const Loading *load, Py_ssize_t channel, const float *one, const float *two, Py_ssize_t count,
                        Py_ssize_t step, Py_ssize_t channels, char *out, Py_ssize_t slot, Py_ssize_t block, Py_ssize_t plane) noexcept
    void amx_fill_row(int planes, const Loading *load, Py_ssize_t channels, const float *one, const float *two, Py_ssize_t numbers,
                      char *out, Py_ssize_t plane) noexcept
    void amx_gather_pairs(const char *source, Py_ssize_t count, Py_ssize_t step, const Py_ssize_t *piece, Py_ssize_t pieces,
                          char *out, Py_ssize_t slot) noexcept
    void amx_fill_turned(int planes, const Loading *load, Py_ssize_t channel, const float **at, Py_ssize_t filters, char *out,
                         Py_ssize_t block) noexcept
    void amx_pair_product(int planes, int rows, int columns, const Operand *a, const Operand *b, Py_ssize_t steps,
                          bint add, float **to, Sums *sums) noexcept
    void amx_settle_all(Sums *sums) noexcept
    bint amx_collect(const float *sums, const int *index, Py_ssize_t count, float *out) noexcept


cdef inline void clear(char *slots, Py_ssize_t count, Py_ssize_t slot, Py_ssize_t planes, Py_ssize_t plane) noexcept nogil:
    """Zeros for the padding: `count` slots of every plane, `slot` bytes apart."""
    cdef Py_ssize_t i, c
    for i in range(planes):
        for c in range(count):
            memset(slots + i * plane + c * slot, 0, AMX_BYTES)


cdef inline Loading loading_of(const float *x, tuple load):
    """ride.pxd's Load of an array that starts at x, as amx_load.h has it."""
    cdef Load m = load_of(x, load)
    cdef Loading a
    a.kind = 0 if not m.wanted else 1 if not m.two else 2 if m.slope == 1 else 3
    a.far, a.coefficients, a.columns, a.slope = m.far, <const float *>m.coefficients, m.columns, <float>m.slope
    return a


cdef inline Finishing finishing_of(const float *out, tuple finish):
    """ride.pxd's Finish, as amx_ride.h has it."""
    cdef Finish f = finish_of(out, finish)
    cdef Finishing a
    a.add, a.value, a.a, a.b = <const float *>f.add, <const float *>f.value, <const float *>f.a, <const float *>f.b
    a.map.kind, a.map.far, a.map.coefficients, a.map.columns = 0, 0, <const float *>f.coefficients, f.columns
    a.map.slope = <float>f.slope
    return a
