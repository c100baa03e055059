/* The Finish of a run of outputs (ride.pxd) while they are cached, 16 channels at a time with their sums in registers.
 *
 * The arithmetic is ride.pxd's, operation by operation, so that outputs have the same bits whoever finishes them. Sums are taken
 * in float32 over 16 pixels at most, then in double.
 *
 * Of a float32 image, the outputs v are finished where they stand. Where HALF, v is a block of float32 sums in scratch, and they
 * are rounded on their way to an image of bfloat16; the sums are those of what is stored. */
#ifndef FASTNET_AMX_RIDE_H
#define FASTNET_AMX_RIDE_H

#include "amx_load.h"

#define AMX_RUN 16 /* pixels whose sums are float32 */

/* NULL: nothing to add; v is not at hand; t has no first, no second array. `map` is that of a and b; all are images of out's kind. */
typedef struct {
    const void *add, *value, *a, *b;
    amx_load map;
} amx_finish;

/* Outputs: `v` the first number of a block of channels of a pixel, pixels `v_step` numbers apart; its place in `out`, where pixels
 * are `step` numbers apart, is `at`. Without HALF, v is that place. */
typedef struct {
    float *v;
    ptrdiff_t v_step;
    void *out;
    ptrdiff_t at, step;
} amx_outputs;

AMX_INLINE void amx_skip(amx_outputs *o, ptrdiff_t pixels, ptrdiff_t channels) {
    o->v += pixels * o->v_step + channels;
    o->at += pixels * o->step + channels;
}

/* Round, and store. */
AMX_INLINE __m512 amx_put(__m512 v, __mmask16 valid, void *out, ptrdiff_t at) {
    const __m256i halves = amx_halves(v);
    _mm256_mask_storeu_epi16((short *)out + at, valid, halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* Sums of 16 numbers, added to those of 16 channels in double. */
AMX_INLINE void amx_widen(__m512 sums, __m512d *low, __m512d *high) {
    *low = _mm512_add_pd(*low, _mm512_cvtps_pd(_mm512_castps512_ps256(sums)));
    *high = _mm512_add_pd(*high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(sums, 1)));
}

/* So many pixels of 16 * VECTORS channels, those of the masks: shift, sum, sum of squares, count of a part. The shift is the mean of
 * the first run, so near to that of all that squares in float32 lose nothing. */
AMX_INLINE void amx_statistics_of(const int HALF, const int VECTORS, const __mmask16 *valid, amx_outputs o, ptrdiff_t pixels,
                                  double *part, ptrdiff_t row) {
    __m512 shift[2];
    __m512d total[4], squares[4];
    const int first = part[3 * row] == 0;
    for (int k = 0; k < VECTORS; k++) {
        double *at = part + 16 * k;
        if (first) {
            const ptrdiff_t some = pixels < AMX_RUN ? pixels : AMX_RUN;
            __m512 x = _mm512_setzero_ps();
            for (ptrdiff_t i = 0; i < some; i++) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(valid[k], o.v + i * o.v_step + 16 * k));
            x = _mm512_div_ps(x, _mm512_set1_ps((float)some));
            _mm512_mask_storeu_pd(at, (__mmask8)valid[k], _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
            _mm512_mask_storeu_pd(at + 8, valid[k] >> 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
        }
        for (int half = 0; half < 2; half++) {
            const __mmask8 lanes = (__mmask8)(valid[k] >> 8 * half);
            const __m512d count = _mm512_maskz_loadu_pd(lanes, at + 3 * row + 8 * half);
            _mm512_mask_storeu_pd(at + 3 * row + 8 * half, lanes, _mm512_add_pd(count, _mm512_set1_pd((double)pixels)));
            total[2 * k + half] = _mm512_maskz_loadu_pd(lanes, at + row + 8 * half);
            squares[2 * k + half] = _mm512_maskz_loadu_pd(lanes, at + 2 * row + 8 * half);
        }
        const __m256 low = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)valid[k], at));
        const __m256 high = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd(valid[k] >> 8, at + 8));
        shift[k] = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
    }
    for (ptrdiff_t p = 0; p < pixels; p += AMX_RUN) {
        const ptrdiff_t many = pixels - p < AMX_RUN ? pixels - p : AMX_RUN;
        __m512 s[2], q[2];
        for (int k = 0; k < VECTORS; k++) s[k] = q[k] = _mm512_setzero_ps();
        for (ptrdiff_t i = 0; i < many; i++, amx_skip(&o, 1, 0)) {
            for (int k = 0; k < VECTORS; k++) {
                __m512 v = _mm512_maskz_loadu_ps(valid[k], o.v + 16 * k);
                if (HALF) v = amx_put(v, valid[k], o.out, o.at + 16 * k);
                const __m512 d = _mm512_sub_ps(v, shift[k]);
                s[k] = _mm512_add_ps(s[k], d);
                q[k] = _mm512_fmadd_ps(d, d, q[k]);
            }
        }
        for (int k = 0; k < VECTORS; k++) {
            amx_widen(s[k], &total[2 * k], &total[2 * k + 1]);
            amx_widen(q[k], &squares[2 * k], &squares[2 * k + 1]);
        }
    }
    for (int k = 0; k < VECTORS; k++) {
        for (int half = 0; half < 2; half++) {
            const __mmask8 lanes = (__mmask8)(valid[k] >> 8 * half);
            _mm512_mask_storeu_pd(part + 16 * k + row + 8 * half, lanes, total[2 * k + half]);
            _mm512_mask_storeu_pd(part + 16 * k + 2 * row + 8 * half, lanes, squares[2 * k + half]);
        }
    }
}

/* g = act'(t) * (g + add) of 16 channels, and the sums of g, g * (a - center), g * (b - center'). GATE: 0: act' is 1; 1: v's sign
 * is t's; 2: t is computed, or without arrays it is g + add. ahead: where the numbers of the next piece stand, one fetched for each vector. */
AMX_INLINE void amx_gradient_of(const int HALF, const int ARRAYS, const int GATE, const int ADD, const amx_finish *f,
                                __mmask16 valid, amx_outputs o, ptrdiff_t pixels, ptrdiff_t channel, double *part, ptrdiff_t row,
                                ptrdiff_t ahead, ptrdiff_t ahead_step) {
    const int KIND = HALF ? AMX_HALF : 0;
    const amx_terms m = amx_terms_of(ARRAYS, &f->map, channel, valid);
    const __m512 zero = _mm512_setzero_ps(), slope = _mm512_set1_ps(f->map.slope);
    const __m512i stays = _mm512_set1_epi32(f->map.slope == 0 ? 0 : -1); /* zero times infinity is to be zero */
    __m512d total[6];
    for (int i = 0; i < 2 * (1 + ARRAYS); i++)
        total[i] = _mm512_maskz_loadu_pd((__mmask8)(valid >> i % 2 * 8), part + i / 2 * row + i % 2 * 8);
    for (ptrdiff_t p = 0; p < pixels; p += AMX_RUN) {
        const ptrdiff_t many = pixels - p < AMX_RUN ? pixels - p : AMX_RUN;
        __m512 sums[3] = {zero, zero, zero};
        for (ptrdiff_t i = 0; i < many; i++, amx_skip(&o, 1, 0), ahead += ahead_step) {
#define FETCH(x) _mm_prefetch(amx_on(KIND, x, ahead), _MM_HINT_T0)
#define READ(x) amx_read(KIND, valid, amx_on(KIND, x, o.at))
            if (ADD) FETCH(f->add);
            if (GATE == 1) FETCH(f->value);
            if (ARRAYS > 0) FETCH(f->a);
            if (ARRAYS > 1) FETCH(f->b);
            __m512 v = _mm512_maskz_loadu_ps(valid, o.v), a = zero, b = zero;
            if (ADD) v = _mm512_add_ps(v, READ(f->add));
            if (ARRAYS > 0) a = _mm512_sub_ps(READ(f->a), m.center);
            if (ARRAYS > 1) b = _mm512_sub_ps(READ(f->b), m.other_center);
            if (GATE) {
                __m512 t = zero;
                if (GATE == 1) t = READ(f->value);
                if (GATE == 2) t = ARRAYS > 0 ? _mm512_fmadd_ps(a, m.scale, m.shift) : v;
                if (GATE == 2 && ARRAYS > 1) t = _mm512_fmadd_ps(b, m.other_scale, t);
                const __mmask16 low = _mm512_cmp_ps_mask(t, zero, _CMP_LE_OQ);
                const __m512i less = _mm512_and_si512(_mm512_castps_si512(_mm512_mul_ps(v, slope)), stays);
                v = _mm512_mask_mov_ps(v, low, _mm512_castsi512_ps(less));
            }
            if (HALF) v = amx_put(v, valid, o.out, o.at);
            else if (ADD || GATE) _mm512_mask_storeu_ps(o.v, valid, v);
#undef FETCH
#undef READ
            sums[0] = _mm512_add_ps(sums[0], v);
            if (ARRAYS > 0) sums[1] = _mm512_fmadd_ps(v, a, sums[1]);
            if (ARRAYS > 1) sums[2] = _mm512_fmadd_ps(v, b, sums[2]);
        }
        for (int i = 0; i <= ARRAYS; i++) amx_widen(sums[i], &total[2 * i], &total[2 * i + 1]);
    }
    for (int i = 0; i < 2 * (1 + ARRAYS); i++)
        _mm512_mask_storeu_pd(part + i / 2 * row + i % 2 * 8, (__mmask8)(valid >> i % 2 * 8), total[i]);
}

/* Pixels of so many channels that are taken together: a few pages, so that every array is read from front to back. */
AMX_INLINE ptrdiff_t amx_piece(ptrdiff_t channels) { return channels >= 128 ? AMX_RUN : 2048 / channels / AMX_RUN * AMX_RUN; }
AMX_INLINE __mmask16 amx_valid(ptrdiff_t channels) { return channels < 16 ? (1u << channels) - 1 : 0xffff; }

/* So many pixels of so many channels, from `channel` of the map on; part: their sums so far, rows of `row`. */
AMX_INLINE void amx_statistics_in(const int HALF, amx_outputs o, ptrdiff_t pixels, ptrdiff_t channels, double *part, ptrdiff_t row) {
    const __mmask16 all[2] = {0xffff, 0xffff};
    for (const ptrdiff_t piece = amx_piece(channels); pixels > 0; pixels -= piece, amx_skip(&o, piece, 0)) {
        const ptrdiff_t many = pixels < piece ? pixels : piece;
        ptrdiff_t c = 0;
        for (amx_outputs here = o; c < channels; amx_skip(&here, 0, c + 32 <= channels ? 32 : 16), c += c + 32 <= channels ? 32 : 16) {
            const __mmask16 valid = amx_valid(channels - c);
            if (c + 32 <= channels) amx_statistics_of(HALF, 2, all, here, many, part + c, row);
            else amx_statistics_of(HALF, 1, &valid, here, many, part + c, row);
        }
    }
}

#define CASE(ARRAYS, GATE, ADD) \
    case (ARRAYS * 3 + GATE) * 2 + ADD: \
        amx_gradient_of(HALF, ARRAYS, GATE, ADD, f, amx_valid(channels - c), here, many, channel + c, part + c, row, \
                        o.at + piece * o.step + (o.step == channels ? c * many : c), o.step == channels ? 16 : o.step); break;
AMX_INLINE void amx_gradient_in(const int HALF, const amx_finish *f, amx_outputs o, ptrdiff_t pixels, ptrdiff_t channel,
                                ptrdiff_t channels, double *part, ptrdiff_t row) {
    const int arrays = f->a == NULL ? 0 : f->b == NULL ? 1 : 2, gate = f->map.slope == 1 ? 0 : f->value != NULL ? 1 : 2;
    for (const ptrdiff_t piece = amx_piece(channels); pixels > 0; pixels -= piece, amx_skip(&o, piece, 0)) {
        const ptrdiff_t many = pixels < piece ? pixels : piece;
        amx_outputs here = o;
        for (ptrdiff_t c = 0; c < channels; c += 16, amx_skip(&here, 0, 16)) {
            switch ((arrays * 3 + gate) * 2 + (f->add != NULL)) {
            CASE(0, 0, 0) CASE(0, 0, 1) CASE(0, 1, 0) CASE(0, 1, 1) CASE(0, 2, 0) CASE(0, 2, 1)
            CASE(1, 0, 0) CASE(1, 0, 1) CASE(1, 1, 0) CASE(1, 1, 1) CASE(1, 2, 0) CASE(1, 2, 1)
            CASE(2, 0, 0) CASE(2, 0, 1) CASE(2, 1, 0) CASE(2, 1, 1) CASE(2, 2, 0) CASE(2, 2, 1)
            }
        }
    }
}
#undef CASE

/* The two above, and, of halves that nothing is to be done to but to store them. */
static inline void amx_statistics(int half, const amx_outputs *o, ptrdiff_t pixels, ptrdiff_t channels, double *part, ptrdiff_t row) {
    if (half) amx_statistics_in(1, *o, pixels, channels, part, row);
    else amx_statistics_in(0, *o, pixels, channels, part, row);
}

static inline void amx_gradient(int half, const amx_finish *f, const amx_outputs *o, ptrdiff_t pixels, ptrdiff_t channel,
                                ptrdiff_t channels, double *part, ptrdiff_t row) {
    if (half) amx_gradient_in(1, f, *o, pixels, channel, channels, part, row);
    else amx_gradient_in(0, f, *o, pixels, channel, channels, part, row);
}

static inline void amx_store(const amx_outputs *o, ptrdiff_t pixels, ptrdiff_t channels) {
    for (ptrdiff_t p = 0; p < pixels; p++)
        for (ptrdiff_t c = 0; c < channels; c += 16) {
            const __mmask16 valid = amx_valid(channels - c);
            amx_put(_mm512_maskz_loadu_ps(valid, o->v + p * o->v_step + c), valid, o->out, o->at + p * o->step + c);
        }
}
#endif
