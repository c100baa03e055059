"""The register tile of amx.h and the splitting of amx_split.h."""

from libc.string cimport memset

from fastnet._ext.ride cimport Finish, Load, finish_of, load_of
from fastnet._ext.types cimport bfloat16, stored

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
    enum:
        AMX_HALF
    ctypedef struct Loading "amx_load":
        int kind
        Py_ssize_t far, columns
        const float *coefficients
        float slope

cdef extern from "amx_ride.h" nogil:
    ctypedef struct Finishing "amx_finish":
        const void *add
        const void *value
        const void *a
        const void *b
        Loading map
    ctypedef struct Outputs "amx_outputs":
        float *v
        Py_ssize_t v_step
        void *out
        Py_ssize_t at, step
    void amx_statistics(bint half, const Outputs *o, Py_ssize_t pixels, Py_ssize_t channels, double *part, Py_ssize_t row) noexcept
    void amx_gradient(bint half, const Finishing *f, const Outputs *o, Py_ssize_t pixels, Py_ssize_t channel, Py_ssize_t channels,
                      double *part, Py_ssize_t row) noexcept
    void amx_store(const Outputs *o, Py_ssize_t pixels, Py_ssize_t channels) noexcept

cdef extern from "amx_split.h" nogil:
    bint amx_fill_pixels(int planes, const Loading *load, Py_ssize_t channel, const void *x, Py_ssize_t pixels, Py_ssize_t step,
                         Py_ssize_t channels, char *out, Py_ssize_t slot, Py_ssize_t block, Py_ssize_t plane) noexcept
    bint amx_fill_line(int planes, const Loading *load, const void *x, Py_ssize_t size, Py_ssize_t first, Py_ssize_t count,
                       Py_ssize_t step, Py_ssize_t length, char *out, Py_ssize_t slot, Py_ssize_t plane) noexcept
    bint amx_fill_windows(int planes, const float *x, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t lines, Py_ssize_t pitch,
                          Py_ssize_t length, char *out, Py_ssize_t slot, Py_ssize_t plane) noexcept
    bint amx_pack_weights(int planes, const float *w, const Py_ssize_t *lane, Py_ssize_t step, Py_ssize_t valid, char *out,
                          Py_ssize_t plane) noexcept

cdef extern from "amx_pairs.h" nogil:
    ctypedef struct Sums "amx_sums":
        Py_ssize_t done, wanted
    void amx_fill_pairs(int planes, const Loading *load, Py_ssize_t channel, const void *one, const void *two, Py_ssize_t count,
                        Py_ssize_t step, Py_ssize_t channels, char *out, Py_ssize_t slot, Py_ssize_t block, Py_ssize_t plane) noexcept
    void amx_fill_row(int planes, const Loading *load, Py_ssize_t channels, const void *one, const void *two, Py_ssize_t numbers,
                      char *out, Py_ssize_t plane) noexcept
    void amx_gather_pairs(const char *source, Py_ssize_t count, Py_ssize_t step, const Py_ssize_t *piece, Py_ssize_t pieces,
                          char *out, Py_ssize_t slot) noexcept
    void amx_fill_turned(int planes, const Loading *load, Py_ssize_t channel, const void **at, Py_ssize_t filters, char *out,
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


cdef inline Loading loading_of(const stored *x, tuple load):
    """ride.pxd's Load of an array that starts at x, as amx_load.h has it."""
    cdef Load m = load_of(x, load)
    cdef Loading a
    a.kind = 0 if not m.wanted else 1 if not m.two else 2 if m.slope == 1 else 3
    if stored is bfloat16:
        a.kind += AMX_HALF
    a.far, a.coefficients, a.columns, a.slope = m.far, <const float *>m.coefficients, m.columns, <float>m.slope
    return a


cdef inline Finishing finishing_of(const stored *out, tuple finish):
    """ride.pxd's Finish, as amx_ride.h has it."""
    cdef Finish f = finish_of(out, finish)
    cdef Finishing a
    a.add, a.value, a.a, a.b = f.add, f.value, f.a, f.b
    a.map.kind, a.map.far, a.map.coefficients, a.map.columns = 0, 0, <const float *>f.coefficients, f.columns
    a.map.slope = <float>f.slope
    return a


# An array (N, H, W, C) of float32 or of bfloat16 numbers: where it starts, its shape, bytes of a number.
ctypedef struct Image:
    char *data
    Py_ssize_t shape[4]
    Py_ssize_t size
    bint half


cdef inline Image image_of(object array):
    cdef const float[:, :, :, ::1] single
    cdef const bfloat16[:, :, :, ::1] half
    cdef Image m
    cdef Py_ssize_t i
    m.half = array.itemsize == sizeof(bfloat16)
    m.size = sizeof(bfloat16) if m.half else sizeof(float)
    if m.half:
        half = array
        m.data = <char *>&half[0, 0, 0, 0]
    else:
        single = array
        m.data = <char *>&single[0, 0, 0, 0]
    for i in range(4):
        m.shape[i] = half.shape[i] if m.half else single.shape[i]
    return m


cdef inline Loading loading_in(const Image *x, tuple load):
    return loading_of(<const bfloat16 *>x.data, load) if x.half else loading_of(<const float *>x.data, load)


cdef inline Load load_in(const Image *x, tuple load):
    return load_of(<const bfloat16 *>x.data, load) if x.half else load_of(<const float *>x.data, load)


cdef inline Finishing finishing_in(const Image *out, tuple finish):
    return finishing_of(<const bfloat16 *>out.data, finish) if out.half else finishing_of(<const float *>out.data, finish)
