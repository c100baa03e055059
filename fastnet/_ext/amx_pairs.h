/* Pairs of pixels, one of each of two images, as rows of AMX's tiles: the operands of the weight gradient.
 *
 * The reduction runs over pixels, and a tile takes numbers of the reduction in pairs. Were the pairs neighbours, a tap could
 * lie one pixel off them; pixels at the same place of two images never part. */
#ifndef FASTNET_AMX_PAIRS_H
#define FASTNET_AMX_PAIRS_H

#include "amx_split.h"

/* Slots of 16 channels of pairs: `count` pairs, `step` numbers apart, the blocks of 16 channels `block` bytes apart. A stream
 * that is NULL is all zeros. */
AMX_INLINE void amx_pair_slots(const int PLANES, const float *one, const float *two, ptrdiff_t count, ptrdiff_t step,
                               ptrdiff_t channels, char *out, ptrdiff_t slot, ptrdiff_t block, ptrdiff_t plane) {
    for (ptrdiff_t p = 0; p < count; p++)
        for (ptrdiff_t c = 0; c < channels; c += 16) {
            const __mmask16 valid = amx_lanes(c, 0, channels);
            __m512i pairs[3];
            amx_split_pairs(PLANES, _mm512_maskz_loadu_ps(one ? valid : 0, one + p * step + c),
                            _mm512_maskz_loadu_ps(two ? valid : 0, two + p * step + c), pairs);
            for (int i = 0; i < PLANES; i++) _mm512_store_si512(out + p * slot + c / 16 * block + i * plane, pairs[i]);
        }
}

static inline void amx_fill_pairs(int planes, const float *one, const float *two, ptrdiff_t count, ptrdiff_t step,
                                  ptrdiff_t channels, char *out, ptrdiff_t slot, ptrdiff_t block, ptrdiff_t plane) {
    switch (planes) {
    case 3: amx_pair_slots(3, one, two, count, step, channels, out, slot, block, plane); break;
    case 2: amx_pair_slots(2, one, two, count, step, channels, out, slot, block, plane); break;
    default: amx_pair_slots(1, one, two, count, step, channels, out, slot, block, plane);
    }
}

/* A row of numbers as pairs, without gaps: what amx_gather_pairs takes its pieces from. */
AMX_INLINE void amx_pair_row(const int PLANES, const float *one, const float *two, ptrdiff_t numbers, char *out, ptrdiff_t plane) {
    for (ptrdiff_t c = 0; c < numbers; c += 16) {
        const __mmask16 valid = amx_lanes(c, 0, numbers);
        __m512i pairs[3];
        amx_split_pairs(PLANES, _mm512_maskz_loadu_ps(one ? valid : 0, one + c), _mm512_maskz_loadu_ps(two ? valid : 0, two + c),
                        pairs);
        for (int i = 0; i < PLANES; i++) _mm512_mask_storeu_epi32(out + 4 * c + i * plane, valid, pairs[i]);
    }
}

static inline void amx_fill_row(int planes, const float *one, const float *two, ptrdiff_t numbers, char *out, ptrdiff_t plane) {
    switch (planes) {
    case 3: amx_pair_row(3, one, two, numbers, out, plane); break;
    case 2: amx_pair_row(2, one, two, numbers, out, plane); break;
    default: amx_pair_row(1, one, two, numbers, out, plane);
    }
}

/* Slots of `count` neighbours that hold `pieces` pieces each: piece[2i] bytes from the slot's first pair, piece[2i + 1] pairs. */
static inline void amx_gather_pairs(const char *from, ptrdiff_t count, ptrdiff_t step, const ptrdiff_t *piece, ptrdiff_t pieces,
                                    char *out, ptrdiff_t slot) {
    __mmask16 lanes[AMX_ROWS];
    ptrdiff_t filled = 0;
    for (ptrdiff_t i = 0; i < pieces; filled += piece[2 * i + 1], i++) lanes[i] = amx_lanes(0, filled, filled + piece[2 * i + 1]);
    for (ptrdiff_t p = 0; p < count; p++, from += step, out += slot) {
        __m512i pairs = _mm512_maskz_loadu_epi32(lanes[0], from + piece[0]);
        for (ptrdiff_t i = 1; i < pieces; i++) pairs = _mm512_mask_expandloadu_epi32(pairs, lanes[i], from + piece[2 * i]);
        _mm512_store_si512(out, pairs);
    }
}

/* A matrix of 16 x 16 numbers, turned: its rows are vectors. */
AMX_INLINE void amx_turn(__m512 *v) {
    __m512 t[16];
    for (int i = 0; i < 16; i += 2) { /* pairs of rows, within 4 columns */
        t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) /* fours of rows: v[i + c] has the columns c, c + 4, c + 8, c + 12 of rows i to i + 3 */
        for (int c = 0; c < 2; c++) {
            v[i + 2 * c] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i + c]), _mm512_castps_pd(t[i + 2 + c])));
            v[i + 2 * c + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i + c]), _mm512_castps_pd(t[i + 2 + c])));
        }
    for (int c = 0; c < 4; c++) /* t[c], t[c + 4], t[8 + c], t[12 + c]: columns c, c + 4 | c + 8, c + 12 of eight rows */
        for (int h = 0; h < 2; h++) {
            t[8 * h + c] = _mm512_shuffle_f32x4(v[8 * h + c], v[8 * h + 4 + c], 0x44);
            t[8 * h + 4 + c] = _mm512_shuffle_f32x4(v[8 * h + c], v[8 * h + 4 + c], 0xee);
        }
    for (int c = 0; c < 4; c++)
        for (int h = 0; h < 2; h++) {
            v[8 * h + c] = _mm512_shuffle_f32x4(t[4 * h + c], t[8 + 4 * h + c], 0x88);
            v[8 * h + 4 + c] = _mm512_shuffle_f32x4(t[4 * h + c], t[8 + 4 * h + c], 0xdd);
        }
}

/* A step of the operand whose rows are filters: tiles of 16 filters x 16 pairs of pixels, the tiles of 16 filters `block` bytes
 * apart, their planes one after the other. at[i] and at[16 + i] are the pixels of pair i, NULL for zeros. */
AMX_INLINE void amx_turned_pairs(const int PLANES, const float *const *at, ptrdiff_t filters, char *out, ptrdiff_t block) {
    for (ptrdiff_t f = 0; f < filters; f += 16, out += block) {
        const __mmask16 valid = amx_lanes(f, 0, filters);
        __m512 one[16], two[16];
        for (int i = 0; i < 16; i++) one[i] = _mm512_maskz_loadu_ps(at[i] ? valid : 0, at[i] + f);
        for (int i = 0; i < 16; i++) two[i] = _mm512_maskz_loadu_ps(at[16 + i] ? valid : 0, at[16 + i] + f);
        if (PLANES == 1) { /* one matrix of pairs to turn instead of two of numbers */
            for (int i = 0; i < 16; i++) amx_split_pairs(1, one[i], two[i], (__m512i *)&one[i]);
            amx_turn(one);
            for (int i = 0; i < 16; i++) _mm512_store_ps(out + i * AMX_BYTES, one[i]);
        } else {
            amx_turn(one);
            amx_turn(two);
            for (int i = 0; i < 16; i++) {
                __m512i pairs[3];
                amx_split_pairs(PLANES, one[i], two[i], pairs);
                for (int j = 0; j < PLANES; j++) _mm512_store_si512(out + j * AMX_TILE + i * AMX_BYTES, pairs[j]);
            }
        }
    }
}

static inline void amx_fill_turned(int planes, const float *const *at, ptrdiff_t filters, char *out, ptrdiff_t block) {
    switch (planes) {
    case 3: amx_turned_pairs(3, at, filters, out, block); break;
    case 2: amx_turned_pairs(2, at, filters, out, block); break;
    default: amx_turned_pairs(1, at, filters, out, block);
    }
}

/* out[k] = sums[index[k]], and whether all of them are finite. */
static inline int amx_collect(const float *sums, const int *index, ptrdiff_t count, float *out) {
    const __m512i infinite = _mm512_set1_epi32(0x7f800000);
    __mmask16 wrong = 0;
    for (ptrdiff_t k = 0; k < count; k += 16) {
        const __mmask16 valid = amx_lanes(k, 0, count);
        const __m512i at = _mm512_maskz_loadu_epi32(valid, index + k);
        const __m512 v = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), valid, at, sums, 4);
        wrong |= _mm512_cmpeq_epi32_mask(_mm512_and_epi32(_mm512_castps_si512(v), infinite), infinite);
        _mm512_mask_storeu_ps(out + k, valid, v);
    }
    return !wrong;
}
#endif
