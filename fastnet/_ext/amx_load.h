/* What rides on the loading of an operand (Load in ride.pxd), 16 channels at a time: v = act(t),
 * t = (a - center) * scale + shift [+ (b - center') * scale']. The bits are those of ride.pxd's own `load`: the same operations in
 * the same order, each multiplication and addition fused. */
#ifndef FASTNET_AMX_LOAD_H
#define FASTNET_AMX_LOAD_H

#include "amx.h"

typedef struct {
    int kind;                  /* 0: v = a, as it is; arrays that v is made of: 1; 2, and v = t; 3: two, and act */
    ptrdiff_t far;             /* numbers from one of a to the one of b at its place */
    const float *coefficients; /* center, scale, shift, center', scale': rows, `columns` numbers apart */
    ptrdiff_t columns;
    float slope;
} amx_load;

/* The coefficients of 16 channels. `least`: what t is raised to where it is multiplied by the slope, so that 0 makes 0 of -Inf. */
typedef struct {
    __m512 center, scale, shift, other_center, other_scale, slope, least;
    ptrdiff_t far;
} amx_terms;

AMX_INLINE amx_terms amx_terms_of(const int KIND, const amx_load *load, ptrdiff_t channel, __mmask16 valid) {
    amx_terms m = {};
    if (KIND > 0) {
        const float *row = load->coefficients + channel;
        m.center = _mm512_maskz_loadu_ps(valid, row);
        m.scale = _mm512_maskz_loadu_ps(valid, row + load->columns);
        m.shift = _mm512_maskz_loadu_ps(valid, row + 2 * load->columns);
    }
    if (KIND == 1 || KIND == 3) {
        m.slope = _mm512_set1_ps(load->slope);
        m.least = _mm512_set1_ps(load->slope == 0 ? 0 : -__builtin_inff());
    }
    if (KIND > 1) {
        const float *row = load->coefficients + 3 * load->columns + channel;
        m.other_center = _mm512_maskz_loadu_ps(valid, row);
        m.other_scale = _mm512_maskz_loadu_ps(valid, row + load->columns);
        m.far = load->far;
    }
    return m;
}

/* v of the valid ones of 16 channels, zero for the others; a NaN stays one. x: the first channel's number of a. */
AMX_INLINE __m512 amx_apply(const int KIND, const amx_terms *m, __mmask16 valid, const float *x) {
    if (KIND == 0) return _mm512_maskz_loadu_ps(valid, x);
    __m512 t = _mm512_sub_ps(_mm512_maskz_loadu_ps(valid, x), m->center);
    t = _mm512_maskz_fmadd_ps(valid, t, m->scale, m->shift);
    if (KIND > 1) t = _mm512_maskz_fmadd_ps(valid, _mm512_sub_ps(_mm512_maskz_loadu_ps(valid, x + m->far), m->other_center), m->other_scale, t);
    if (KIND == 2) return t;
    const __mmask16 low = _mm512_cmp_ps_mask(t, _mm512_setzero_ps(), _CMP_LE_OQ);
    return _mm512_mask_mul_ps(t, low, _mm512_max_ps(t, m->least), m->slope);
}

/* f(PLANES, KIND, load, …), both of them constants. */
#define AMX_LOADED(f, planes, load, ...) \
    switch (4 * (planes) + (load)->kind) { \
    case 15: f(3, 3, load, __VA_ARGS__); break; \
    case 14: f(3, 2, load, __VA_ARGS__); break; \
    case 13: f(3, 1, load, __VA_ARGS__); break; \
    case 12: f(3, 0, load, __VA_ARGS__); break; \
    case 11: f(2, 3, load, __VA_ARGS__); break; \
    case 10: f(2, 2, load, __VA_ARGS__); break; \
    case 9: f(2, 1, load, __VA_ARGS__); break; \
    case 8: f(2, 0, load, __VA_ARGS__); break; \
    case 7: f(1, 3, load, __VA_ARGS__); break; \
    case 6: f(1, 2, load, __VA_ARGS__); break; \
    case 5: f(1, 1, load, __VA_ARGS__); break; \
    default: f(1, 0, load, __VA_ARGS__); \
    }

#endif
