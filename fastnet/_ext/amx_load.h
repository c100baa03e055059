/* What rides on the loading of an operand (Load in ride.pxd), 16 channels at a time: v = act(t),
 * t = (a - center) * scale + shift [+ (b - center') * scale']. The bits are those of ride.pxd's own `load`: the same operations in
 * the same order, each multiplication and addition fused.
 *
 * Images hold float32 numbers or, at `medium`, bfloat16 ones, which are the upper halves of the former (ride.pxd). A KIND of
 * AMX_HALF and more is a map of such images; one of less, of float32. */
#ifndef FASTNET_AMX_LOAD_H
#define FASTNET_AMX_LOAD_H

#include "amx.h"

enum { AMX_HALF = 4 };

typedef struct {
    int kind;                  /* 0: v = a, as it is; arrays that v is made of: 1; 2, and v = t; 3: two, and act; + AMX_HALF */
    ptrdiff_t far;             /* numbers from one of a to the one of b at its place */
    const float *coefficients; /* center, scale, shift, center', scale': rows, `columns` numbers apart */
    ptrdiff_t columns;
    float slope;
} amx_load;

/* Where the number `i` places on stands. */
AMX_INLINE const char *amx_on(const int KIND, const void *x, ptrdiff_t i) {
    return (const char *)x + i * (ptrdiff_t)(KIND >= AMX_HALF ? sizeof(short) : sizeof(float));
}
/* The valid ones of 16 numbers, zero for the others; and half of them rounded (to nearest, ties to even) on their way to memory. */
AMX_INLINE __m512 amx_read(const int KIND, __mmask16 valid, const void *x) {
    if (KIND < AMX_HALF) return _mm512_maskz_loadu_ps(valid, x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, x)), 16));
}
AMX_INLINE __m256i amx_halves(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

/* The coefficients of 16 channels. `least`: what t is raised to where it is multiplied by the slope, so that 0 makes 0 of -Inf. */
typedef struct {
    __m512 center, scale, shift, other_center, other_scale, slope, least;
    ptrdiff_t far;
} amx_terms;

AMX_INLINE amx_terms amx_terms_of(const int KIND, const amx_load *load, ptrdiff_t channel, __mmask16 valid) {
    amx_terms m = {};
    const int MAP = KIND % AMX_HALF;
    if (MAP > 0) {
        const float *row = load->coefficients + channel;
        m.center = _mm512_maskz_loadu_ps(valid, row);
        m.scale = _mm512_maskz_loadu_ps(valid, row + load->columns);
        m.shift = _mm512_maskz_loadu_ps(valid, row + 2 * load->columns);
    }
    if (MAP == 1 || MAP == 3) {
        m.slope = _mm512_set1_ps(load->slope);
        m.least = _mm512_set1_ps(load->slope == 0 ? 0 : -__builtin_inff());
    }
    if (MAP > 1) {
        const float *row = load->coefficients + 3 * load->columns + channel;
        m.other_center = _mm512_maskz_loadu_ps(valid, row);
        m.other_scale = _mm512_maskz_loadu_ps(valid, row + load->columns);
        m.far = load->far;
    }
    return m;
}

/* v of the valid ones of 16 channels, zero for the others; a NaN stays one. x: the first channel's number of a. */
AMX_INLINE __m512 amx_apply(const int KIND, const amx_terms *m, __mmask16 valid, const void *x) {
    const int MAP = KIND % AMX_HALF;
    if (MAP == 0) return amx_read(KIND, valid, x);
    __m512 t = _mm512_sub_ps(amx_read(KIND, valid, x), m->center);
    t = _mm512_maskz_fmadd_ps(valid, t, m->scale, m->shift);
    if (MAP > 1) {
        const __m512 b = amx_read(KIND, valid, amx_on(KIND, x, m->far));
        t = _mm512_maskz_fmadd_ps(valid, _mm512_sub_ps(b, m->other_center), m->other_scale, t);
    }
    if (MAP == 2) return t;
    const __mmask16 low = _mm512_cmp_ps_mask(t, _mm512_setzero_ps(), _CMP_LE_OQ);
    return _mm512_mask_mul_ps(t, low, _mm512_max_ps(t, m->least), m->slope);
}

/* f(PLANES, KIND, load, …), both of them constants: halves are one plane. */
#define AMX_LOADED(f, planes, load, ...) \
    switch (8 * (planes) + (load)->kind) { \
    case 27: f(3, 3, load, __VA_ARGS__); break; \
    case 26: f(3, 2, load, __VA_ARGS__); break; \
    case 25: f(3, 1, load, __VA_ARGS__); break; \
    case 24: f(3, 0, load, __VA_ARGS__); break; \
    case 19: f(2, 3, load, __VA_ARGS__); break; \
    case 18: f(2, 2, load, __VA_ARGS__); break; \
    case 17: f(2, 1, load, __VA_ARGS__); break; \
    case 16: f(2, 0, load, __VA_ARGS__); break; \
    case 15: f(1, 7, load, __VA_ARGS__); break; \
    case 14: f(1, 6, load, __VA_ARGS__); break; \
    case 13: f(1, 5, load, __VA_ARGS__); break; \
    case 12: f(1, 4, load, __VA_ARGS__); break; \
    case 11: f(1, 3, load, __VA_ARGS__); break; \
    case 10: f(1, 2, load, __VA_ARGS__); break; \
    case 9: f(1, 1, load, __VA_ARGS__); break; \
    default: f(1, 0, load, __VA_ARGS__); \
    }

#endif
