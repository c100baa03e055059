/* float32 numbers split into bfloat16 planes, laid out as rows of AMX's tiles.
 *
 * The planes are roundings to nearest of what the former planes left, so three of them hold any number whole, unless it or its
 * rest is so small that bfloat16 has no normal number for it: AMX takes those for zero, an error below 2^-126 of the number.
 * Numbers of 2^63 and more, infinities and NaN do not split (a rest would be Inf - Inf, a sum of halves would overflow): every
 * function here collects the magnitudes it saw in `seen`, and the caller leaves a product with such numbers to float32. */
#ifndef FASTNET_AMX_SPLIT_H
#define FASTNET_AMX_SPLIT_H

#include <stdint.h>

#include "amx.h"
#include "amx_load.h"

/* The largest magnitudes seen, lane by lane, as the bits of a positive float, which are ordered as the floats are. */
typedef __m512i amx_seen;
AMX_INLINE __m512i amx_look(__m512i seen, __m512 x) {
    return _mm512_max_epu32(seen, _mm512_and_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)));
}
/* Whether all of them split. */
AMX_INLINE int amx_splits(__m512i seen) { return _mm512_reduce_max_epu32(seen) < 0x5f000000u; /* 2^63 */ }

/* Lanes [from, to) of the 16 that start at `first`. */
AMX_INLINE __mmask16 amx_lanes(ptrdiff_t first, ptrdiff_t from, ptrdiff_t to) {
    from = from < first ? 0 : from - first > 16 ? 16 : from - first;
    to = to < first ? 0 : to - first > 16 ? 16 : to - first;
    return (__mmask16)(((1u << to) - 1) & ~((1u << from) - 1));
}

/* A slot of 16 pairs: the first number of each in one, the second in two. Rounded to nearest, ties away from zero: what is left
 * of a number fits the planes that follow, and rounding is an addition in the bits. */
AMX_INLINE void amx_split_pairs(const int PLANES, __m512 one, __m512 two, __m512i *out) {
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u), half = _mm512_set1_epi32(0x8000);
    for (int i = 0; i < PLANES; i++) {
        /* of three planes, the last is exact */
        const __m512i first = i == 2 ? _mm512_castps_si512(one) : _mm512_add_epi32(_mm512_castps_si512(one), half);
        const __m512i second = i == 2 ? _mm512_castps_si512(two) : _mm512_add_epi32(_mm512_castps_si512(two), half);
        /* The addition may carry a NaN beyond the NaNs: 0xffff0000, a pair of zero and NaN, stands for pairs with one. */
        const __mmask16 numbers = i == 0 && PLANES < 3 ? _mm512_cmp_ps_mask(one, two, _CMP_ORD_Q) : 0xffff;
        /* upper ? second : first */
        out[i] = _mm512_mask_ternarylogic_epi32(upper, numbers, second, _mm512_srli_epi32(first, 16), 0xca);
        if (i + 1 < PLANES) {
            one = _mm512_sub_ps(one, _mm512_castsi512_ps(_mm512_and_epi32(first, upper)));
            two = _mm512_sub_ps(two, _mm512_castsi512_ps(_mm512_and_epi32(second, upper)));
        }
    }
}

/* A slot of 32 numbers, 16 in low and 16 in high: pairs of the i-th of each, which is how the weights lie, too. */
AMX_INLINE void amx_split_row(const int PLANES, __m512 low, __m512 high, char *out, ptrdiff_t plane) {
    __m512i pairs[3];
    amx_split_pairs(PLANES, low, high, pairs);
    for (int i = 0; i < PLANES; i++) _mm512_store_si512(out + i * plane, pairs[i]);
}

/* A slot of one pixel: of its 32 channels from `channel` on those of the masks, of which x holds the first. */
AMX_INLINE __m512i amx_slot(const int PLANES, const int KIND, const amx_load *load, ptrdiff_t channel, const void *x, __mmask16 low,
                            __mmask16 high, char *out, ptrdiff_t plane, __m512i seen) {
    const amx_terms first = amx_terms_of(KIND, load, channel, low), second = amx_terms_of(KIND, load, channel + 16, high);
    const __m512 one = amx_apply(KIND, &first, low, x), two = amx_apply(KIND, &second, high, amx_on(KIND, x, 16));
    amx_split_row(PLANES, one, two, out, plane);
    return amx_look(amx_look(seen, one), two);
}

#define FETCHED 1024 /* numbers by which the source is fetched ahead of its use */
/* Slots of `pixels` neighbours: 32 channels of a pixel in each, the blocks of 32 channels `block` bytes apart, zeros at the end.
 * What is looked at and split is what `load` makes of x. */
AMX_INLINE __m512i amx_pixels(const int PLANES, const int KIND, const amx_load *load, ptrdiff_t channel, const void *x,
                              ptrdiff_t pixels, ptrdiff_t step, ptrdiff_t channels, char *out, ptrdiff_t slot, ptrdiff_t block,
                              ptrdiff_t plane, __m512i seen) {
    const ptrdiff_t whole = channels / 32 * 32, ahead = (FETCHED + whole) / (whole + 1) * step; /* numbers of a later pixel */
    const __mmask16 all = 0xffff, low = amx_lanes(whole, 0, channels), high = amx_lanes(whole + 16, 0, channels);
    for (ptrdiff_t p = 0; p < pixels; p++, x = amx_on(KIND, x, step), out += slot) {
        char *to = out;
        for (ptrdiff_t c = 0; c < whole; c += 32, to += block) {
            for (ptrdiff_t far = 0; far < 1 + (KIND % AMX_HALF > 1); far++) {
                _mm_prefetch(amx_on(KIND, x, far * load->far + ahead + c), _MM_HINT_T0);
                if (KIND < AMX_HALF) _mm_prefetch(amx_on(KIND, x, far * load->far + ahead + c + 16), _MM_HINT_T0);
            }
            seen = amx_slot(PLANES, KIND, load, channel + c, amx_on(KIND, x, c), all, all, to, plane, seen);
        }
        if (low) seen = amx_slot(PLANES, KIND, load, channel + whole, amx_on(KIND, x, whole), low, high, to, plane, seen);
    }
    return seen;
}

/* Slots of neighbours in a line of `size` numbers, zeros beyond its ends: slot p holds `length` numbers, at most 32, from first + p * step
 * on, of what `load` makes of them, whose coefficients are repeated for every pixel of a slot. */
AMX_INLINE __m512i amx_line(const int PLANES, const int KIND, const amx_load *load, const void *x, ptrdiff_t size, ptrdiff_t first,
                            ptrdiff_t count, ptrdiff_t step, ptrdiff_t length, char *out, ptrdiff_t slot, ptrdiff_t plane,
                            __m512i seen) {
    const __mmask16 low = amx_lanes(0, 0, length), high = amx_lanes(16, 0, length);
    const amx_terms map = amx_terms_of(KIND, load, 0, low), other = amx_terms_of(KIND, load, 16, high);
    for (ptrdiff_t p = 0; p < count; p++, first += step, out += slot) {
        __mmask16 one = low, two = high;
        if (first < 0 || first + length > size) {
            const ptrdiff_t end = size - first < length ? size - first : length;
            one = amx_lanes(0, -first, end);
            two = amx_lanes(16, -first, end);
        }
        for (ptrdiff_t far = 0; far < 1 + (KIND % AMX_HALF > 1); far++) {
            _mm_prefetch(amx_on(KIND, x, far * load->far + first + FETCHED), _MM_HINT_T0);
            if (KIND < AMX_HALF) _mm_prefetch(amx_on(KIND, x, far * load->far + first + FETCHED + 16), _MM_HINT_T0);
        }
        const __m512 a = amx_apply(KIND, &map, one, amx_on(KIND, x, first));
        const __m512 b = amx_apply(KIND, &other, two, amx_on(KIND, x, first + 16));
        amx_split_row(PLANES, a, b, out, plane);
        seen = amx_look(amx_look(seen, a), b);
    }
    return seen;
}

/* Slots of `pixels` neighbours, each with `lines` pieces of `length` numbers that start at its pixel, `pitch` numbers apart. */
AMX_INLINE __m512i amx_windows(const int PLANES, const float *x, ptrdiff_t pixels, ptrdiff_t step, ptrdiff_t lines,
                               ptrdiff_t pitch, ptrdiff_t length, char *out, ptrdiff_t slot, ptrdiff_t plane, __m512i seen) {
    __mmask16 low[32], high[32]; /* the lanes of each piece in the slot's halves, */
    const float *from[32];       /* and where those in the high half start */
    for (ptrdiff_t i = 0; i < lines; i++) {
        low[i] = amx_lanes(0, i * length, (i + 1) * length);
        high[i] = amx_lanes(16, i * length, (i + 1) * length);
        from[i] = x + i * pitch + _mm_popcnt_u32(low[i]);
    }
    for (ptrdiff_t p = 0; p < pixels; p++, out += slot) {
        __m512 one, two;
        if (lines == 1) {
            one = _mm512_maskz_loadu_ps(low[0], x + p * step);
            two = _mm512_maskz_loadu_ps(high[0], x + p * step + 16);
        } else {
            one = two = _mm512_setzero_ps();
            for (ptrdiff_t i = 0; i < lines; i++) {
                if (low[i]) one = _mm512_mask_expandloadu_ps(one, low[i], x + i * pitch + p * step);
                if (high[i]) two = _mm512_mask_expandloadu_ps(two, high[i], from[i] + p * step);
            }
        }
        seen = amx_look(amx_look(seen, one), two);
        amx_split_row(PLANES, one, two, out, plane);
    }
    return seen;
}

/* The three above, and whether all numbers split. */
static inline int amx_fill_pixels(int planes, const amx_load *load, ptrdiff_t channel, const void *x, ptrdiff_t pixels,
                                  ptrdiff_t step, ptrdiff_t channels, char *out, ptrdiff_t slot, ptrdiff_t block, ptrdiff_t plane) {
    __m512i seen = _mm512_setzero_si512();
    AMX_LOADED(seen = amx_pixels, planes, load, channel, x, pixels, step, channels, out, slot, block, plane, seen)
    return amx_splits(seen);
}

static inline int amx_fill_line(int planes, const amx_load *load, const void *x, ptrdiff_t size, ptrdiff_t first, ptrdiff_t count,
                                ptrdiff_t step, ptrdiff_t length, char *out, ptrdiff_t slot, ptrdiff_t plane) {
    __m512i seen = _mm512_setzero_si512();
    AMX_LOADED(seen = amx_line, planes, load, x, size, first, count, step, length, out, slot, plane, seen)
    return amx_splits(seen);
}

static inline int amx_fill_windows(int planes, const float *x, ptrdiff_t pixels, ptrdiff_t step, ptrdiff_t lines, ptrdiff_t pitch,
                            ptrdiff_t length, char *out, ptrdiff_t slot, ptrdiff_t plane) {
    const __m512i none = _mm512_setzero_si512();
    switch (planes) {
    case 3: return amx_splits(amx_windows(3, x, pixels, step, lines, pitch, length, out, slot, plane, none));
    case 2: return amx_splits(amx_windows(2, x, pixels, step, lines, pitch, length, out, slot, plane, none));
    default: return amx_splits(amx_windows(1, x, pixels, step, lines, pitch, length, out, slot, plane, none));
    }
}

#define AMX_NOTHING PTRDIFF_MIN
/* A tile of weights, 16 pairs (l, l + 16) of rows x 16 columns: number (l, n) is w[lane[l] + n * step], zero where lane[l] is AMX_NOTHING or
 * n >= valid.
 * Its planes lie `plane` bytes apart. */
AMX_INLINE __m512i amx_weights(const int PLANES, const float *w, const ptrdiff_t *lane, ptrdiff_t step, ptrdiff_t valid,
                               char *out, ptrdiff_t plane, __m512i seen) {
    const __m512i index = _mm512_mullo_epi32(_mm512_set1_epi32((int)step),
                                             _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __mmask16 columns = amx_lanes(0, 0, valid);
    for (int r = 0; r < AMX_ROWS; r++, out += AMX_BYTES) {
        __m512 v[2];
        __m512i pairs[3];
        for (int i = 0; i < 2; i++) {
            const ptrdiff_t at = lane[r + 16 * i];
            if (at == AMX_NOTHING) v[i] = _mm512_setzero_ps();
            else if (step == 1) v[i] = _mm512_maskz_loadu_ps(columns, w + at);
            else v[i] = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), columns, index, w + at, 4);
            seen = amx_look(seen, v[i]);
        }
        amx_split_pairs(PLANES, v[0], v[1], pairs);
        for (int i = 0; i < PLANES; i++) _mm512_store_si512(out + i * plane, pairs[i]);
    }
    return seen;
}

static inline int amx_pack_weights(int planes, const float *w, const ptrdiff_t *lane, ptrdiff_t step, ptrdiff_t valid, char *out,
                            ptrdiff_t plane) {
    const __m512i none = _mm512_setzero_si512();
    switch (planes) {
    case 3: return amx_splits(amx_weights(3, w, lane, step, valid, out, plane, none));
    case 2: return amx_splits(amx_weights(2, w, lane, step, valid, out, plane, none));
    default: return amx_splits(amx_weights(1, w, lane, step, valid, out, plane, none));
    }
}
#endif
