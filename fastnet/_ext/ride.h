/* The Finish of a run of outputs while they are cached (ride.pxd): a vector of channels at a time, its sums in registers.
 *
 * Sums are taken in the arithmetic of the numbers over RIDE_RUN pixels at most, then in double. Cost per number: a load of each
 * array, a store, some six operations: the second-level cache is the limit.
 *
 * This file includes itself once per type that images are stored in; REAL, STORED, MASK and NAME are set below. Halves
 * (bfloat16) are the upper 16 bits of a float32 number: reading one is a shift, storing one rounds to nearest, ties to even.
 */
#ifndef FASTNET_RIDE_H
#define FASTNET_RIDE_H

#include <string.h>

#include "vector.h"

enum { RIDE_RUN = 16, RIDE_NUMBERS = 4096 }; /* pixels summed before double; numbers whose pixels are taken together */
enum { RIDE_STATISTICS = 1, RIDE_GRADIENT = 2, RIDE_RESULT = 3, RIDE_SUMS = 4 };

/* NULL: nothing to add; v is not at hand; t has no first, no second array. */
typedef struct {
    int kind;
    const void *add, *value, *a, *b, *coefficients;
    ptrdiff_t columns;
    double slope;
} ride_finish;

static inline float ride_widened(unsigned short x) {
    const union { unsigned bits; float number; } v = {(unsigned)x << 16};
    return v.number;
}

static inline unsigned short ride_rounded(float x) {
    const union { float number; unsigned bits; } v = {x};
    if (x != x) return (unsigned short)(v.bits >> 16 | 0x40); /* rounding might carry a NaN beyond the NaNs */
    return (unsigned short)((v.bits + 0x7fff + (v.bits >> 16 & 1)) >> 16);
}

#define REAL float
#define STORED float
#define MASK int
#define NAME(x) x##_float
#include "ride.h"
#undef REAL
#undef STORED
#undef MASK
#undef NAME
#define REAL double
#define STORED double
#define MASK long long
#define NAME(x) x##_double
#include "ride.h"
#undef REAL
#undef STORED
#undef MASK
#undef NAME
#define HALVES
#define REAL float
#define STORED unsigned short
#define MASK int
#define NAME(x) x##_half
#include "ride.h"
#undef HALVES
#undef REAL
#undef STORED
#undef MASK
#undef NAME

#elif defined(REAL) /* ---------------------------------------------------------------------------------- once per type */

#if defined(__GNUC__)
#define WIDTH ((ptrdiff_t)(TILE_BYTES / sizeof(REAL)))
typedef REAL NAME(ride_vec) __attribute__((vector_size(TILE_BYTES), aligned(sizeof(REAL)), may_alias));
typedef MASK NAME(ride_mask) __attribute__((vector_size(TILE_BYTES), aligned(sizeof(REAL)), may_alias));
typedef double NAME(ride_wide) __attribute__((vector_size(TILE_BYTES / sizeof(REAL) * 8), aligned(8), may_alias));
#define WIDEN(x) __builtin_convertvector(x, WIDE)
#define NARROW(x) __builtin_convertvector(x, VEC)
#define SELECT(mask, x, y) ((VEC)(((NAME(ride_mask))(x) & (mask)) | ((NAME(ride_mask))(y) & ~(mask))))
#else /* vectors of one number: slow and right */
#define WIDTH ((ptrdiff_t)1)
typedef REAL NAME(ride_vec);
typedef double NAME(ride_wide);
#define WIDEN(x) ((double)(x))
#define NARROW(x) ((REAL)(x))
#define SELECT(mask, x, y) ((mask) ? (x) : (y))
#endif
#define VEC NAME(ride_vec)
#define WIDE NAME(ride_wide)
#define AT(place) (*(const VEC *)(place)) /* of coefficients; READ and PUT: of images */
#if !defined(HALVES)
#define READ(place) AT(place)
#define PUT(place, value) (*(VEC *)(place) = (value))
#elif defined(__GNUC__)
typedef unsigned NAME(ride_bits) __attribute__((vector_size(TILE_BYTES), aligned(4), may_alias));
typedef unsigned short NAME(ride_packed) __attribute__((vector_size(TILE_BYTES / 2), aligned(2), may_alias));
#define BITS NAME(ride_bits)
#define READ(place) ((VEC)(__builtin_convertvector(*(const NAME(ride_packed) *)(place), BITS) << 16))
#define PUT(place, value) (*(NAME(ride_packed) *)(place) = NAME(ride_round)(value))
TILE_INLINE NAME(ride_packed) NAME(ride_round)(VEC value) {
    const BITS bits = (BITS)value, strange = (BITS)(value != value);
    const BITS round = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
    return __builtin_convertvector((quiet & strange) | (round & ~strange), NAME(ride_packed));
}
#else
#define READ(place) ride_widened(*(place))
#define PUT(place, value) (*(place) = ride_rounded(value))
#endif

/* Add a vector to as many numbers in double. */
TILE_INLINE void NAME(ride_widen)(VEC sums, double *to) { *(WIDE *)to += WIDEN(sums); }

/* A part's shift, which is its first pixel, sum, sum of squares and count, for so many pixels of a vector of channels. */
TILE_INLINE void NAME(ride_statistics)(const STORED *v, ptrdiff_t pixels, ptrdiff_t step, double *part, ptrdiff_t row) {
    if (part[3 * row] == 0) *(WIDE *)part = WIDEN(READ(v));
    *(WIDE *)(part + 3 * row) += (double)pixels;
    const VEC shift = NARROW(*(const WIDE *)part);
    for (ptrdiff_t p = 0; p < pixels; p += RIDE_RUN) {
        const ptrdiff_t many = pixels - p < RIDE_RUN ? pixels - p : RIDE_RUN;
        VEC s[2] = {(VEC){0}, (VEC){0}}, q[2] = {(VEC){0}, (VEC){0}};
        ptrdiff_t i = 0;
        for (; i + 2 <= many; i += 2, v += 2 * step) {
            const VEC d0 = READ(v) - shift, d1 = READ(v + step) - shift;
            s[0] += d0;
            s[1] += d1;
            q[0] += d0 * d0;
            q[1] += d1 * d1;
        }
        for (; i < many; i++, v += step) {
            const VEC d = READ(v) - shift;
            s[0] += d;
            q[0] += d * d;
        }
        NAME(ride_widen)(s[0] + s[1], part + row);
        NAME(ride_widen)(q[0] + q[1], part + 2 * row);
    }
}

/* g = act'(t) * (g + add) for so many pixels of a vector of channels, and the sums of g, g * (a - center), g * (b - center').
 * ARRAYS: of t; GATE: 0: act' is 1; 1: v's sign is t's; 2: t is computed, or without arrays it is g + add, so that g is act(t). */
TILE_INLINE void NAME(ride_gradient)(const int ARRAYS, const int GATE, const int ADD, const ride_finish *f, STORED *g, ptrdiff_t at,
                                     ptrdiff_t pixels, ptrdiff_t step, ptrdiff_t channel, double *part, ptrdiff_t row) {
    const REAL *rows = (const REAL *)f->coefficients + channel;
    const VEC zero = (VEC){0}, slope = zero + (REAL)f->slope;
    const VEC center = ARRAYS > 0 ? AT(rows) : zero, scale = ARRAYS > 0 ? AT(rows + f->columns) : zero;
    const VEC shift = ARRAYS > 0 ? AT(rows + 2 * f->columns) : zero;
    const VEC other_center = ARRAYS > 1 ? AT(rows + 3 * f->columns) : zero, other_scale = ARRAYS > 1 ? AT(rows + 4 * f->columns) : zero;
    const int cut = f->slope == 0; /* zero times infinity is to be zero */
    for (ptrdiff_t p = 0; p < pixels; p += RIDE_RUN) {
        const ptrdiff_t many = pixels - p < RIDE_RUN ? pixels - p : RIDE_RUN;
        VEC sums[3] = {zero, zero, zero};
        for (ptrdiff_t i = 0; i < many; i++, at += step) {
            VEC v = READ(g + at), a = zero, b = zero;
            if (ADD) v += READ((const STORED *)f->add + at);
            if (ARRAYS > 0) a = READ((const STORED *)f->a + at) - center;
            if (ARRAYS > 1) b = READ((const STORED *)f->b + at) - other_center;
            if (GATE) {
                VEC t = zero;
                if (GATE == 1) t = READ((const STORED *)f->value + at);
                if (GATE == 2) t = v;
                if (GATE == 2 && ARRAYS > 0) t = a * scale + shift;
                if (GATE == 2 && ARRAYS > 1) t = b * other_scale + t;
                VEC less = v * slope;
                if (cut) less = zero;
                v = SELECT(t <= zero, less, v);
            }
            if (ADD || GATE) PUT(g + at, v);
#ifdef HALVES
            if (ADD || GATE) v = READ(g + at); /* the sums are those of what is stored */
#endif
            sums[0] += v;
            if (ARRAYS > 0) sums[1] += v * a;
            if (ARRAYS > 1) sums[2] += v * b;
        }
        for (int i = 0; i <= ARRAYS; i++) NAME(ride_widen)(sums[i], part + i * row);
    }
}

/* So many pixels of a vector of channels. */
#define CASE(ARRAYS, GATE, ADD) \
    case (ARRAYS * 3 + GATE) * 2 + ADD: NAME(ride_gradient)(ARRAYS, GATE, ADD, f, out, at, pixels, step, channel, part, row); break;
static TILE_APART void NAME(ride_vector)(const ride_finish *f, STORED *out, ptrdiff_t at, ptrdiff_t pixels, ptrdiff_t step,
                                         ptrdiff_t channel, double *part, ptrdiff_t row) {
    const int arrays = f->a == NULL ? 0 : f->b == NULL ? 1 : 2, gate = f->slope == 1 ? 0 : f->value != NULL ? 1 : 2;
    if (f->kind == RIDE_STATISTICS) NAME(ride_statistics)(out + at, pixels, step, part, row);
    if (f->kind == RIDE_GRADIENT || f->kind == RIDE_RESULT) switch ((arrays * 3 + gate) * 2 + (f->add != NULL)) {
        CASE(0, 0, 0) CASE(0, 0, 1) CASE(0, 1, 0) CASE(0, 1, 1) CASE(0, 2, 0) CASE(0, 2, 1)
        CASE(1, 0, 0) CASE(1, 0, 1) CASE(1, 1, 0) CASE(1, 1, 1) CASE(1, 2, 0) CASE(1, 2, 1)
        CASE(2, 0, 0) CASE(2, 0, 1) CASE(2, 1, 0) CASE(2, 1, 1) CASE(2, 2, 0) CASE(2, 2, 1)
    }
}
#undef CASE

/* The last channels, fewer than a vector: copied into whole ones, some pixels at a time, and back. */
static void NAME(ride_rest)(const ride_finish *f, STORED *out, ptrdiff_t at, ptrdiff_t pixels, ptrdiff_t step, ptrdiff_t channel,
                            ptrdiff_t channels, double *part, ptrdiff_t row) {
    STORED held[5][RIDE_RUN * WIDTH];
    REAL coefficients[5 * WIDTH];
    double sums[RIDE_SUMS * WIDTH];
    const void *from[5] = {out, f->add, f->value, f->a, f->b};
    const ride_finish here = {f->kind, f->add ? held[1] : NULL, f->value ? held[2] : NULL, f->a ? held[3] : NULL,
                              f->b ? held[4] : NULL, coefficients, WIDTH, f->slope};
    memset(held, 0, sizeof(held));
    memset(coefficients, 0, sizeof(coefficients));
    memset(sums, 0, sizeof(sums));
    for (int i = 0; i < 5 && f->coefficients; i++)
        memcpy(coefficients + i * WIDTH, (const REAL *)f->coefficients + i * f->columns + channel, channels * sizeof(REAL));
    for (int i = 0; i < RIDE_SUMS; i++) memcpy(sums + i * WIDTH, part + i * row, channels * sizeof(double));
    for (ptrdiff_t p = 0; p < pixels; p += RIDE_RUN) {
        const ptrdiff_t many = pixels - p < RIDE_RUN ? pixels - p : RIDE_RUN;
        for (int i = 0; i < 5; i++)
            for (ptrdiff_t k = 0; k < many && from[i]; k++)
                for (ptrdiff_t c = 0; c < channels; c++) held[i][k * WIDTH + c] = ((const STORED *)from[i])[at + (p + k) * step + c];
        NAME(ride_vector)(&here, held[0], 0, many, WIDTH, 0, sums, WIDTH);
        for (ptrdiff_t k = 0; k < many; k++)
            for (ptrdiff_t c = 0; c < channels; c++) out[at + (p + k) * step + c] = held[0][k * WIDTH + c];
    }
    for (int i = 0; i < RIDE_SUMS; i++) memcpy(part + i * row, sums + i * WIDTH, channels * sizeof(double));
}

static inline void NAME(ride)(const ride_finish *f, STORED *out, ptrdiff_t at, ptrdiff_t pixels, ptrdiff_t step, ptrdiff_t channel,
                              ptrdiff_t channels, double *part, ptrdiff_t row) {
    const ptrdiff_t piece = channels >= RIDE_NUMBERS / RIDE_RUN ? RIDE_RUN : RIDE_NUMBERS / channels / RIDE_RUN * RIDE_RUN;
    for (; pixels > 0 && channels > 0; pixels -= piece, at += piece * step) {
        const ptrdiff_t many = pixels < piece ? pixels : piece;
        ptrdiff_t c = 0;
        for (; c + WIDTH <= channels; c += WIDTH) NAME(ride_vector)(f, out, at + c, many, step, channel + c, part + c, row);
        if (c < channels) NAME(ride_rest)(f, out, at + c, many, step, channel + c, channels - c, part + c, row);
    }
}

#undef WIDTH
#undef VEC
#undef WIDE
#undef WIDEN
#undef NARROW
#undef AT
#undef READ
#undef PUT
#undef BITS
#undef SELECT
#endif
