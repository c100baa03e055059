"""What rides on a pass over images: a map per channel where its source is loaded, and work on its output while that is cached.

A Load stands for v = act(t), t = (a - center) * scale + shift [+ (b - center') * scale'], per channel: a batch norm, an addition
and a rectifier that were not given a pass of their own. act(t) = t for t > 0, else slope * t. A Finish is what is done to a block of
outputs before it leaves the cache: the statistics of the next batch norm, or, of a gradient dv, the addition of what other
branches gave, act'(t), and the sums that a batch norm's own gradient needs.

Python hands over tuples: a Load as (b or None, coefficients (5, channels): center, scale, shift, center', scale'; slope), a Finish as
(kind, add, value, a, b, coefficients, slope): see functional/deferred.py. All arrays have the memory of the one they ride on, and
hold what it holds: float32 or float64 numbers or, at precision `medium`, bfloat16 ones.
"""

from libc.string cimport memcpy

from fastnet._ext.types cimport bfloat16, real, stored

cdef enum:
    CENTER
    SCALE
    SHIFT
    OTHER_CENTER
    OTHER_SCALE
    COEFFICIENTS        # rows

cdef enum:              # kinds of Finish, as in ride.h
    NOTHING
    STATISTICS          # its sums, (2, channels) of double: mean, and sum of squared deviations from it
    GRADIENT            # (3, channels), added to: of g, g * (a - center), g * (b - center'), with g = act'(t) * (dv + add)
    RESULT              # none: out = act(out + add), so its blocks may be cut anyhow

cdef enum:
    SUMS = 4            # rows of a part: STATISTICS needs a shift, a sum, a sum of squares, a count


cdef extern from "ride.h" nogil:
    float widened "ride_widened"(bfloat16 x) noexcept
    bfloat16 rounded "ride_rounded"(float x) noexcept
    ctypedef struct Finish "ride_finish":
        int kind
        const void *add     # NULL: nothing to add
        const void *value   # v itself, where it is at hand: its sign is t's; NULL: t is computed
        const void *a       # NULL: no t, so act' is 1 and there is one sum only
        const void *b
        const void *coefficients
        Py_ssize_t columns
        double slope
    void ride_float(const Finish *f, float *out, Py_ssize_t at, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t channel,
                    Py_ssize_t channels, double *part, Py_ssize_t row) noexcept
    void ride_double(const Finish *f, double *out, Py_ssize_t at, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t channel,
                     Py_ssize_t channels, double *part, Py_ssize_t row) noexcept
    void ride_half(const Finish *f, bfloat16 *out, Py_ssize_t at, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t channel,
                   Py_ssize_t channels, double *part, Py_ssize_t row) noexcept


ctypedef struct Load:
    bint wanted, two
    Py_ssize_t far      # numbers from one of a to the one of b at its place
    const void *coefficients
    Py_ssize_t columns  # from row to row of them
    double slope


cdef inline real number(const stored *x, Py_ssize_t i, const real *kind) noexcept nogil:
    """The number x[i]; `kind` only says which type it is computed with."""
    if stored is bfloat16:
        return widened(x[i])
    else:
        return x[i]


cdef inline const void *first_of(const stored *kind, object array):
    """The first number of an optional array of the kind's type; NULL without one."""
    cdef const stored[:, :, :, ::1] x
    if array is None:
        return NULL
    x = array
    return &x[0, 0, 0, 0]


cdef inline const void *coefficients_of(const stored *kind, object array, Py_ssize_t *columns):
    """The first of the coefficients for such images, and how many there are in a row."""
    cdef const double[:, ::1] long
    cdef const float[:, ::1] short
    if array is None:
        return NULL
    columns[0] = array.shape[1]
    if stored is double:
        long = array
        return &long[0, 0]
    else:
        short = array
        return &short[0, 0]


cdef inline Load load_of(const stored *x, tuple load):
    """The Load of a tuple (None: numbers as they are) on an array that starts at x."""
    cdef Load m
    m.wanted, m.two, m.far, m.coefficients, m.columns, m.slope = False, False, 0, NULL, 0, 1
    if load is None:
        return m
    m.wanted, m.slope = True, load[2]
    m.coefficients = coefficients_of(x, load[1], &m.columns)
    if load[0] is not None:
        m.two, m.far = True, <const stored *>first_of(x, load[0]) - x
    return m


cdef inline Finish finish_of(const stored *out, tuple finish):
    """The Finish of a tuple; None: nothing is done. `out` only says which type its numbers have."""
    cdef Finish f
    f.kind, f.add, f.value, f.a, f.b, f.coefficients, f.columns, f.slope = NOTHING, NULL, NULL, NULL, NULL, NULL, 0, 1
    if finish is None:
        return f
    f.kind, f.slope = finish[0], finish[6]
    f.add, f.value, f.a, f.b = first_of(out, finish[1]), first_of(out, finish[2]), first_of(out, finish[3]), first_of(out, finish[4])
    f.coefficients = coefficients_of(out, finish[5], &f.columns)
    return f


cdef inline const void *widen_for(const stored *kind, const void *coefficients, Py_ssize_t columns, Py_ssize_t channels, void *wide,
                                  Py_ssize_t width) noexcept nogil:
    """`widen` for images of such numbers."""
    if stored is double:
        return widen(coefficients, columns, channels, <double *>wide, width)
    else:
        return widen(coefficients, columns, channels, <float *>wide, width)


cdef inline const void *widen(const void *coefficients, Py_ssize_t columns, Py_ssize_t channels, real *wide, Py_ssize_t width) noexcept nogil:
    """Rows of coefficients, repeated over rows of `width` numbers (columns.pxd), as load_run and finish_run want them; NULL of NULL."""
    cdef Py_ssize_t r, i
    if coefficients == NULL:
        return NULL
    for r in range(COEFFICIENTS):
        memcpy(wide + r * width, <const real *>coefficients + r * columns, channels * sizeof(real))
        for i in range(channels, width):
            wide[r * width + i] = wide[r * width + i - channels]
    return wide


cdef inline void round_run(const float *v, Py_ssize_t size, bfloat16 *x) noexcept nogil:
    """x = v, rounded."""
    cdef Py_ssize_t i
    for i in range(size):
        x[i] = rounded(v[i])


# --- loading ----------------------------------------------------------------------------------------------------------------

cdef inline void rectify(real *v, Py_ssize_t n, real slope) noexcept nogil:
    """v = act(v); NaN stays, and a slope of 0 makes 0 of -Inf too."""
    cdef Py_ssize_t i
    cdef real zero = 0
    if slope == zero:
        for i in range(n):
            v[i] = zero if v[i] <= zero else v[i]
    elif slope != 1:
        for i in range(n):
            v[i] = slope * v[i] if v[i] <= zero else v[i]


cdef inline void load(const Load *m, const stored *x, Py_ssize_t channel, Py_ssize_t n, real *v) noexcept nogil:
    """v = the map of n channels of a pixel, from `channel` on: x is the first of them. v may be x."""
    cdef const real *center = <const real *>m.coefficients + channel
    cdef const real *scale = center + SCALE * m.columns
    cdef const real *shift = center + SHIFT * m.columns
    cdef const real *other_center = center + OTHER_CENTER * m.columns
    cdef const real *other_scale = center + OTHER_SCALE * m.columns
    cdef const stored *b = x + m.far
    cdef Py_ssize_t i
    if m.two:
        for i in range(n):
            v[i] = (number(b, i, center) - other_center[i]) * other_scale[i] + ((number(x, i, center) - center[i]) * scale[i] + shift[i])
    else:
        for i in range(n):
            v[i] = (number(x, i, center) - center[i]) * scale[i] + shift[i]
    rectify(v, n, <real>m.slope)


cdef inline void load_run(const Load *m, const stored *x, Py_ssize_t size, real *v) noexcept nogil:
    """v = the map of a run of whole pixels, so many numbers: the coefficients are widened."""
    cdef Py_ssize_t i = 0
    if not m.wanted:
        for i in range(size):
            v[i] = number(x, i, v)
        return
    while i < size:
        load(m, x + i, 0, min(m.columns, size - i), v + i)
        i += m.columns


# --- finishing --------------------------------------------------------------------------------------------------------------

cdef inline void finish(const Finish *f, stored *out, Py_ssize_t at, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t channel, Py_ssize_t channels,
                        double *sums, Py_ssize_t row) noexcept nogil:
    """The Finish of so many pixels, `step` numbers apart, of the channels from `channel` on: out[at] is the first of them. Their
    sums are added to a part, SUMS rows of `row` channels that begin with zeros; sums is the place of `channel` in it."""
    if stored is float:
        ride_float(f, out, at, pixels, step, channel, channels, sums, row)
    elif stored is bfloat16:
        ride_half(f, out, at, pixels, step, channel, channels, sums, row)
    else:
        ride_double(f, out, at, pixels, step, channel, channels, sums, row)


cdef inline void finish_run(const Finish *f, stored *out, Py_ssize_t at, Py_ssize_t size, Py_ssize_t width, double *sums) noexcept nogil:
    """The Finish of a run of whole pixels, so many numbers from out[at] on: its coefficients are widened to `width`, and its part
    has SUMS rows of `width`, whose pixels count as parts of their own (add_parts)."""
    cdef Py_ssize_t whole = size // width
    finish(f, out, at, whole, width, 0, width, sums, width)
    finish(f, out, at + whole * width, 1 if size % width else 0, width, 0, size % width, sums, width)


cdef inline void add_parts(int kind, const double *parts, Py_ssize_t count, Py_ssize_t row, Py_ssize_t channels, Py_ssize_t pixels,
                           double *sums, Py_ssize_t columns) noexcept nogil:
    """The sums of all parts, in their order: as the kinds of Finish say. A row of a part has the channels of so many pixels, whose
    counts are those of their first channel."""
    cdef Py_ssize_t k, c, r, i
    cdef const double *part
    cdef double *squares = sums + columns
    cdef double n = 0, m, each, share, weight, mean, gap, within
    if kind == GRADIENT:
        for k in range(count):
            part = parts + k * SUMS * row
            for r in range(3):
                for i in range(pixels):
                    for c in range(channels):
                        sums[r * columns + c] += part[r * row + i * channels + c]
    if kind != STATISTICS:
        return
    for c in range(channels):
        sums[c] = squares[c] = 0
    for k in range(count):                 # Chan, Golub & LeVeque 1983: means and squared deviations of two sets, joined
        for i in range(pixels):
            part = parts + k * SUMS * row + i * channels
            m = part[3 * row]
            if m == 0:
                continue
            each, share, weight, n = 1 / m, m / (n + m), n * (m / (n + m)), n + m
            for c in range(channels):
                mean = part[row + c] * each
                gap = part[c] + mean - sums[c]
                within = part[2 * row + c] - part[row + c] * mean
                squares[c] += (within if within > 0 else 0) + gap * gap * weight
                sums[c] += gap * share
