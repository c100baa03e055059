/* Pairs of pixels, one of each of two images, as rows of AMX's tiles: the operands of the weight gradient.
 *
 * The reduction runs over pixels, and a tile takes numbers of the reduction in pairs. Were the pairs neighbours, a tap could
 * lie one pixel off them; pixels at the same place of two images never part. */
#ifndef FASTNET_AMX_PAIRS_H
#define FASTNET_AMX_PAIRS_H

#include "amx_load.h"
#include "amx_split.h"

#define AHEAD 256 /* numbers by which images are fetched ahead of their use */

/* What is read next, of both arrays: images take 5 to 20 % less so, from memory, as every step's pixels are a new page. */
AMX_INLINE void amx_fetch(const int KIND, const amx_load *load, const void *x) {
    _mm_prefetch(amx_on(KIND, x, AHEAD), _MM_HINT_T0);
    if (KIND % AMX_HALF > 1) _mm_prefetch(amx_on(KIND, x, load->far + AHEAD), _MM_HINT_T0);
}

/* Slots of 16 channels of pairs, from `channel` of the load on: `count` pairs, `step` numbers apart, the blocks of 16 channels
 * `block` bytes apart. A stream that is NULL is all zeros. */
AMX_INLINE void amx_pair_slots(const int PLANES, const int KIND, const amx_load *load, ptrdiff_t channel, const void *one,
                               const void *two, ptrdiff_t count, ptrdiff_t step, ptrdiff_t channels, char *out, ptrdiff_t slot,
                               ptrdiff_t block, ptrdiff_t plane) {
    const ptrdiff_t whole = one && two ? channels / 16 * 16 : 0;
    for (ptrdiff_t p = 0; p < count; p++, out += slot) {
        char *to = out;
        __m512i pairs[3];
        for (ptrdiff_t c = 0; c < whole; c += 16, to += block) {
            const amx_terms map = amx_terms_of(KIND, load, channel + c, 0xffff);
            amx_fetch(KIND, load, amx_on(KIND, one, c));
            amx_fetch(KIND, load, amx_on(KIND, two, c));
            amx_split_pairs(PLANES, amx_apply(KIND, &map, 0xffff, amx_on(KIND, one, c)),
                            amx_apply(KIND, &map, 0xffff, amx_on(KIND, two, c)), pairs);
            for (int i = 0; i < PLANES; i++) _mm512_store_si512(to + i * plane, pairs[i]);
        }
        for (ptrdiff_t c = whole; c < channels; c += 16, to += block) {
            const __mmask16 valid = amx_lanes(c, 0, channels);
            const amx_terms map = amx_terms_of(KIND, load, channel + c, valid);
            amx_split_pairs(PLANES, amx_apply(KIND, &map, one ? valid : 0, amx_on(KIND, one, c)),
                            amx_apply(KIND, &map, two ? valid : 0, amx_on(KIND, two, c)), pairs);
            for (int i = 0; i < PLANES; i++) _mm512_store_si512(to + i * plane, pairs[i]);
        }
        if (one) one = amx_on(KIND, one, step);
        if (two) two = amx_on(KIND, two, step);
    }
}

static inline void amx_fill_pairs(int planes, const amx_load *load, ptrdiff_t channel, const void *one, const void *two,
                                  ptrdiff_t count, ptrdiff_t step, ptrdiff_t channels, char *out, ptrdiff_t slot, ptrdiff_t block,
                                  ptrdiff_t plane) {
    AMX_LOADED(amx_pair_slots, planes, load, channel, one, two, count, step, channels, out, slot, block, plane)
}

/* A row of numbers as pairs, without gaps: what amx_gather_pairs takes its pieces from. The load's coefficients come again after
 * `channels` numbers; so many, and 16 more, lie side by side. */
AMX_INLINE void amx_pair_row(const int PLANES, const int KIND, const amx_load *load, ptrdiff_t channels, const void *one,
                             const void *two, ptrdiff_t numbers, char *out, ptrdiff_t plane) {
    for (ptrdiff_t c = 0, channel = 0; c < numbers; c += 16, channel = (channel + 16) % channels) {
        const __mmask16 valid = amx_lanes(c, 0, numbers);
        const amx_terms map = amx_terms_of(KIND, load, channel, valid);
        __m512i pairs[3];
        amx_split_pairs(PLANES, amx_apply(KIND, &map, one ? valid : 0, amx_on(KIND, one, c)),
                        amx_apply(KIND, &map, two ? valid : 0, amx_on(KIND, two, c)), pairs);
        for (int i = 0; i < PLANES; i++) _mm512_mask_storeu_epi32(out + 4 * c + i * plane, valid, pairs[i]);
    }
}

static inline void amx_fill_row(int planes, const amx_load *load, ptrdiff_t channels, const void *one, const void *two,
                                ptrdiff_t numbers, char *out, ptrdiff_t plane) {
    AMX_LOADED(amx_pair_row, planes, load, channels, one, two, numbers, out, plane)
}

/* Slots of `count` neighbours that hold PIECES pieces each: piece[2i] bytes from the slot's first pair, piece[2i + 1] pairs. */
AMX_INLINE void amx_gather(const int PIECES, const char *from, ptrdiff_t count, ptrdiff_t step, const ptrdiff_t *piece, char *out,
                           ptrdiff_t slot) {
    __mmask16 lanes[AMX_ROWS];
    const char *at[AMX_ROWS]; /* of the slot's first lane, so that a piece loads where it belongs */
    for (ptrdiff_t i = 0, filled = 0; i < PIECES; filled += piece[2 * i + 1], i++) {
        lanes[i] = amx_lanes(0, filled, filled + piece[2 * i + 1]);
        at[i] = from + piece[2 * i] - filled * (ptrdiff_t)sizeof(float);
    }
    for (ptrdiff_t p = 0; p < count * step; p += step, out += slot) {
        __m512i pairs = _mm512_maskz_loadu_epi32(lanes[0], at[0] + p);
        for (int i = 1; i < PIECES; i++) pairs = _mm512_mask_loadu_epi32(pairs, lanes[i], at[i] + p);
        _mm512_store_si512(out, pairs);
    }
}

static inline void amx_gather_pairs(const char *from, ptrdiff_t count, ptrdiff_t step, const ptrdiff_t *piece, ptrdiff_t pieces,
                                    char *out, ptrdiff_t slot) {
    switch (pieces) {
    case 1: amx_gather(1, from, count, step, piece, out, slot); break;
    case 2: amx_gather(2, from, count, step, piece, out, slot); break;
    case 3: amx_gather(3, from, count, step, piece, out, slot); break;
    default: amx_gather(pieces, from, count, step, piece, out, slot);
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

/* A step of the operand whose rows are filters, from `channel` of the load on: tiles of 16 filters x 16 pairs of pixels, the
 * tiles of 16 filters `block` bytes apart, their planes one after the other. at[i] and at[16 + i] are the pixels of pair i, NULL
 * for zeros; by: 0 for those, else -1. FULL: there are none. */
AMX_INLINE void amx_turned_tile(const int PLANES, const int KIND, const int FULL, const amx_load *load, ptrdiff_t channel,
                                const void *const *at, const ptrdiff_t *by, ptrdiff_t f, __mmask16 valid, char *out) {
    const amx_terms map = amx_terms_of(KIND, load, channel + f, valid);
    __m512 one[16], two[16];
    if (FULL)
        for (int i = 0; i < 32; i++) amx_fetch(KIND, load, amx_on(KIND, at[i], f));
#define PIXEL(i) \
    amx_apply(KIND, &map, KIND % AMX_HALF == 0 || FULL ? valid : valid & (__mmask16)by[i], amx_on(KIND, at[i], FULL ? f : f & by[i]))
    for (int i = 0; i < 16; i++) one[i] = PIXEL(i);
    if (PLANES == 1) { /* one matrix of pairs to turn instead of two of numbers */
        for (int i = 0; i < 16; i++) amx_split_pairs(1, one[i], PIXEL(16 + i), (__m512i *)&one[i]);
        amx_turn(one);
        for (int i = 0; i < 16; i++) _mm512_store_ps(out + i * AMX_BYTES, one[i]);
    } else {
        amx_turn(one);
        for (int i = 0; i < 16; i++) two[i] = PIXEL(16 + i);
        amx_turn(two);
        for (int i = 0; i < 16; i++) {
            __m512i pairs[3];
            amx_split_pairs(PLANES, one[i], two[i], pairs);
            for (int j = 0; j < PLANES; j++) _mm512_store_si512(out + j * AMX_TILE + i * AMX_BYTES, pairs[j]);
        }
    }
#undef PIXEL
}

AMX_INLINE void amx_turned_pairs(const int PLANES, const int KIND, const amx_load *load, ptrdiff_t channel, const void *const *at,
                                 ptrdiff_t filters, char *out, ptrdiff_t block) {
    static const float zeros[16];
    const void *from[32];
    ptrdiff_t by[32], f = 0, all = -1;
    for (int i = 0; i < 32; i++) {
        from[i] = at[i] ? at[i] : zeros;
        by[i] = at[i] ? -1 : 0;
        all &= by[i];
    }
    if (all)
        for (; f + 16 <= filters; f += 16, out += block)
            amx_turned_tile(PLANES, KIND, 1, load, channel, at, by, f, 0xffff, out);
    for (; f < filters; f += 16, out += block)
        amx_turned_tile(PLANES, KIND, 0, load, channel, from, by, f, amx_lanes(f, 0, filters), out);
}

static inline void amx_fill_turned(int planes, const amx_load *load, ptrdiff_t channel, const void *const *at, ptrdiff_t filters,
                                   char *out, ptrdiff_t block) {
    AMX_LOADED(amx_turned_pairs, planes, load, channel, at, filters, out, block)
}

/* Sums of up to four tiles that wait for being added to (or stored in) their places, vector by vector, while the next ones
 * are made: at once, they would wait for the tiles. Pairs of tiles lie as 16 rows of 32 sums. */
typedef struct {
    float part[4][AMX_ROWS * 32] __attribute__((aligned(64)));
    float *to[4];
    ptrdiff_t done, wanted;
    int add;
} amx_sums;

AMX_INLINE void amx_settle(amx_sums *sums, ptrdiff_t many) {
    ptrdiff_t i = sums->done, end = i + many < sums->wanted ? i + many : sums->wanted;
    for (sums->done = end; i < end; i++) {
        float *to = sums->to[i / 32] + i % 32 * 16;
        const __m512 part = _mm512_load_ps(sums->part[0] + 16 * i);
        _mm512_store_ps(to, sums->add ? _mm512_add_ps(_mm512_load_ps(to), part) : part);
    }
}

/* The sums over the steps of a's tiles (MT) x b's tiles (NT), for every wanted pair of planes; `to`: where the sums of each row
 * of tiles belong. With three planes the products of the large ones come last, for every product rounds the sum it is added
 * to, and the sum of the others is small: error / rms of 3,000 pixels' sums fell from 2.0e-7 to 0.8e-7, for 3 % more time. */
#define ROWS_ONCE(i) /* past the first-level cache, which is left to the columns: taps of one block of channels share them */ \
    LOAD_ONCE(4, a0 + (i) * a->plane, a->step); \
    if (MT > 1) LOAD_ONCE(5, a1 + (i) * a->plane, a->step);
#define LOAD_ONCE(tile, place, step) \
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #tile : : "r"(place), "r"((ptrdiff_t)(step)))
#define STEP \
    const char *a0 = a->at[0] + a->offset[s], *b0 = b->at[0] + b->offset[s]; \
    const char *a1 = MT > 1 ? a->at[1] + a->offset[s] : a0, *b1 = NT > 1 ? b->at[1] + b->offset[s] : b0; \
    const char *a2 = MT > 2 ? a->at[2] + a->offset[s] : a0, *a3 = MT > 3 ? a->at[3] + a->offset[s] : a0; \
    (void)a1; (void)a2; (void)a3; (void)b1;
#define SMALL(m) \
    if (PLANES > 2) { LOAD(4, a##m + 2 * a->plane, a->step); MULTIPLY(m, 4, 5); } \
    if (PLANES > 1) { LOAD(4, a##m + a->plane, a->step); MULTIPLY(m, 4, 5); } \
    if (PLANES > 2) { MULTIPLY(m, 4, 6); } \
    LOAD(4, a##m, a->step); \
    if (PLANES > 1) MULTIPLY(m, 4, 6); \
    if (PLANES > 2) MULTIPLY(m, 4, 7); \
    if (PLANES < 3) MULTIPLY(m, 4, 5);
#define LARGE(m) LOAD(4, a##m, a->step); MULTIPLY(m, 4, 5);
AMX_INLINE void amx_pair_steps(const int PLANES, const int MT, const int NT, const amx_operand *a, const amx_operand *b,
                               ptrdiff_t steps, int add, float *const *to, amx_sums *sums) {
    const ptrdiff_t settle = 32 * 4 / steps + 1;
    for (int m = 0; m < MT; m++)
        for (int r = 0; r < AMX_ROWS; r++)
            for (int n = 0; n < NT; n++) _m_prefetchw(to[m] + r * 32 + 16 * n);
    BARRIER;
    ZERO(0);
    if (MT * NT > 1) ZERO(1);
    if (MT * NT > 2) ZERO(2);
    if (MT * NT > 3) ZERO(3);
    for (ptrdiff_t s = 0; s < steps; s++) {
        STEP
        if (NT == 2 && PLANES == 3) { /* in an order that changes one operand at a time */
            ROWS_ONCE(2) COLUMNS_OF(0) ALL
            ROWS_ONCE(1) ALL
            COLUMNS_OF(1) ALL
            ROWS_ONCE(0) ALL
            COLUMNS_OF(2) ALL
        } else if (NT == 2 && PLANES == 2) {
            ROWS_ONCE(1) COLUMNS_OF(0) ALL
            ROWS_ONCE(0) ALL
            COLUMNS_OF(1) ALL
        } else if (NT == 2) {
            ROWS_ONCE(0) COLUMNS_OF(0) ALL
        } else {
            LOAD(5, b0, b->step);
            if (PLANES > 1) LOAD(6, b0 + b->plane, b->step);
            if (PLANES > 2) LOAD(7, b0 + 2 * b->plane, b->step);
            SMALL(0)
            if (MT > 1) { SMALL(1) }
            if (MT > 2) { SMALL(2) }
            if (MT > 3) { SMALL(3) }
        }
        amx_settle(sums, settle);
    }
    for (ptrdiff_t s = 0; PLANES == 3 && s < steps; s++) {
        STEP
        if (NT == 2) {
            ROWS_ONCE(0) COLUMNS_OF(0) ALL
        } else {
            LOAD(5, b0, b->step);
            LARGE(0)
            if (MT > 1) { LARGE(1) }
            if (MT > 2) { LARGE(2) }
            if (MT > 3) { LARGE(3) }
        }
    }
    BARRIER;
    STORE(0, sums->part[0], 128L);
    if (NT == 2) {
        STORE(1, sums->part[0] + 16, 128L);
        if (MT > 1) { STORE(2, sums->part[1], 128L); STORE(3, sums->part[1] + 16, 128L); }
    } else {
        if (MT > 1) STORE(1, sums->part[1], 128L);
        if (MT > 2) STORE(2, sums->part[2], 128L);
        if (MT > 3) STORE(3, sums->part[3], 128L);
    }
    BARRIER;
    for (int m = 0; m < MT; m++) sums->to[m] = to[m];
    sums->done = 0;
    sums->wanted = 32 * MT;
    sums->add = add;
}

#define CASE(PLANES, MT, NT) \
    case (PLANES * 4 + MT) * 2 + NT: amx_pair_steps(PLANES, MT, NT, a, b, steps, add, to, sums); break;
static inline void amx_pair_product(int planes, int rows, int columns, const amx_operand *a, const amx_operand *b, ptrdiff_t steps,
                                    int add, float *const *to, amx_sums *sums) {
    switch ((planes * 4 + rows) * 2 + columns) {
    CASE(3, 1, 2) CASE(3, 2, 2) CASE(3, 1, 1) CASE(3, 2, 1) CASE(3, 3, 1) CASE(3, 4, 1)
    CASE(2, 1, 2) CASE(2, 2, 2) CASE(2, 1, 1) CASE(2, 2, 1) CASE(2, 3, 1) CASE(2, 4, 1)
    CASE(1, 1, 2) CASE(1, 2, 2) CASE(1, 1, 1) CASE(1, 2, 1) CASE(1, 3, 1) CASE(1, 4, 1)
    }
}
#undef CASE
#undef STEP
#undef ROWS_ONCE
#undef SMALL
#undef LARGE

/* The sums of the last product. */
static inline void amx_settle_all(amx_sums *sums) { amx_settle(sums, sums->wanted); }

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
