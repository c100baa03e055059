/* Winograd's F(2x2, 3x3) around AMX's tiles: numbers are transformed in float32 and then split into planes.
 *
 * The formulas are in winograd.h: 2 x 2 outputs are A^T [U * V] A with U = G g G^T and V = B^T d B of the 4 x 4 source pixels
 * under them, their "patch" here. Of the 16 positions of U and V, a line of four takes two rows of source pixels and adds to one
 * row of the outputs or to both: lines are made, multiplied and added to the output one after the other.
 *
 * The vector units transform and split while the tiles multiply: 24 products of tiles take some 500 cycles, in which 130
 * instructions make the slots of a patch's 32 channels for the next line, and 60 the outputs of a patch for 32 filters from the
 * products before. So each few products of tiles are followed by some of that work (TICK). */
#ifndef FASTNET_AMX_WINOGRAD_H
#define FASTNET_AMX_WINOGRAD_H

#include <math.h>

#include "amx_split.h"

#define UNROLL _Pragma("GCC unroll 16")

/* What is to be done while tiles multiply. Paces: 256 times the slots, or outputs, to be done at a tick; due: as much of one. */
typedef struct {
    /* V: line `line` of `patches` patches, whose pixels are at[16 patch + 4 row + column], from `channel` on. Slots lie
     * [position, `step` bytes apart][part of `rows` patches][block of 32 channels][plane][patch]; `next` is the first of those
     * of (patch, block), which is the `row`th of its part. */
    const float *const *at;
    char *out, *next;
    ptrdiff_t patches, rows, channel, channels, step, patch, row, block, slots, slot_pace, slot_due;
    /* Outputs: products m [position, `m_step` numbers apart][part of `m_rows` patches in 16 rows][32 filters] of line `m_line` are
     * added to filters [f, f + valid) of the pixels to[4 patch + 2 row + column], NULL: beyond the edge, or to `start`. */
    const float *m, *start;
    float *const *to;
    ptrdiff_t m_rows, m_row, m_step, f, valid, outputs, output_pace, output_due;
    int line, m_line;
    __m512 squares[2]; /* sums of squares of V: finite if all of it is finite and below 2^64 */
} amx_winograd_work;

/* v = what the load makes of so many pixels. Every pixel is wanted by eight patches' lines, so they do not do it themselves. */
AMX_INLINE void amx_winograd_map(const int KIND, const amx_load *load, const float *x, ptrdiff_t pixels, ptrdiff_t channels, float *v) {
    for (ptrdiff_t p = 0; p < pixels; p++, x += channels, v += channels) {
        for (ptrdiff_t c = 0; c < channels; c += 16) {
            const __mmask16 lanes = amx_lanes(c, 0, channels);
            const amx_terms terms = amx_terms_of(KIND, load, c, lanes);
            _mm512_mask_storeu_ps(v + c, lanes, amx_apply(KIND, &terms, lanes, x + c));
        }
    }
}

static inline void amx_winograd_mapped(const amx_load *load, const float *x, ptrdiff_t pixels, ptrdiff_t channels, float *v) {
    switch (load->kind) {
    case 3: amx_winograd_map(3, load, x, pixels, channels, v); break;
    case 2: amx_winograd_map(2, load, x, pixels, channels, v); break;
    default: amx_winograd_map(1, load, x, pixels, channels, v);
    }
}

/* 16 channels of four pixels of one row of a patch, plus or minus those of another. */
AMX_INLINE void amx_winograd_rows(const int WHOLE, const float *const *a, const float *const *b, __m512 sign, ptrdiff_t channel,
                                  __mmask16 lanes, __m512 *t) {
    UNROLL for (int j = 0; j < 4; j++) {
        const __m512 one = WHOLE ? _mm512_loadu_ps(a[j] + channel) : _mm512_maskz_loadu_ps(lanes, a[j] + channel);
        const __m512 two = WHOLE ? _mm512_loadu_ps(b[j] + channel) : _mm512_maskz_loadu_ps(lanes, b[j] + channel);
        t[j] = _mm512_fmadd_ps(two, sign, one);
    }
}

/* Four slots: the line of V of a patch, 32 channels or `valid`. Per slot 4 loads, 8 sums, 18 instructions that split it in three
 * and 3 stores, which go to the second-level cache. */
AMX_INLINE void amx_winograd_slots(const int PLANES, const int WHOLE, amx_winograd_work *w, ptrdiff_t channel, ptrdiff_t valid) {
    const float *const *at = w->at + 16 * w->patch;
    const int one = w->line == 0 ? 0 : w->line == 2 ? 2 : 1, two = w->line == 3 ? 3 : w->line == 2 ? 1 : 2;
    const __m512 sign = _mm512_set1_ps(w->line == 1 ? 1 : -1);
    __m512 t[4], v[2][4];
    UNROLL for (int h = 0; h < 2; h++) {
        amx_winograd_rows(WHOLE, at + 4 * one, at + 4 * two, sign, channel + 16 * h, amx_lanes(16 * h, 0, valid), t);
        v[h][0] = _mm512_sub_ps(t[0], t[2]);
        v[h][1] = _mm512_add_ps(t[1], t[2]);
        v[h][2] = _mm512_sub_ps(t[2], t[1]);
        v[h][3] = _mm512_sub_ps(t[1], t[3]);
        UNROLL for (int j = 0; j < 4; j++) w->squares[h] = _mm512_fmadd_ps(v[h][j], v[h][j], w->squares[h]);
    }
    UNROLL for (int j = 0; j < 4; j++) amx_split_row(PLANES, v[0][j], v[1][j], w->next + j * w->step, AMX_TILE);
}

/* The next slots: patch by patch, then the next 32 channels. */
AMX_INLINE void amx_winograd_source(const int PLANES, amx_winograd_work *w) {
    const ptrdiff_t valid = w->channels - 32 * w->block, blocks = (w->channels + 31) / 32;
    if (valid >= 32) amx_winograd_slots(PLANES, 1, w, w->channel + 32 * w->block, 32);
    else amx_winograd_slots(PLANES, 0, w, w->channel + 32 * w->block, valid);
    w->next += AMX_BYTES;
    w->slots--;
    if (++w->row == w->rows) {
        w->row = 0;
        w->next += blocks * PLANES * AMX_TILE - w->rows * AMX_BYTES;
    }
    if (++w->patch == w->patches) {
        w->patch = w->row = 0;
        w->next = w->out + ++w->block * PLANES * AMX_TILE;
    }
}

/* 16 filters of an output pixel = what is there, or start, + value. */
AMX_INLINE void amx_winograd_store(float *pixel, __mmask16 lanes, const float *start, __m512 value) {
    const __m512 before = _mm512_maskz_loadu_ps(lanes, start ? start : pixel);
    _mm512_mask_storeu_ps(pixel, lanes, _mm512_add_ps(before, value));
}

/* The next patch's outputs: line i of the products adds to the upper pixels if i < 3, to the lower ones if i > 0. */
AMX_INLINE void amx_winograd_output(amx_winograd_work *w) {
    const __m512 sign = _mm512_set1_ps(w->m_line > 1 ? -1 : 1);
    for (ptrdiff_t f = 0; f < w->valid; f += 16) {
        const float *m = w->m + f, *start = w->start ? w->start + f : NULL;
        const __mmask16 lanes = amx_lanes(f, 0, w->valid);
        const __m512 m1 = _mm512_load_ps(m + w->m_step), m2 = _mm512_load_ps(m + 2 * w->m_step);
        const __m512 left = _mm512_add_ps(_mm512_load_ps(m), _mm512_add_ps(m1, m2));
        const __m512 right = _mm512_sub_ps(_mm512_sub_ps(m1, m2), _mm512_load_ps(m + 3 * w->m_step));
        if (w->m_line < 3) {
            const float *first = w->m_line == 0 ? start : NULL;
            if (w->to[0]) amx_winograd_store(w->to[0] + w->f + f, lanes, first, left);
            if (w->to[1]) amx_winograd_store(w->to[1] + w->f + f, lanes, first, right);
        }
        if (w->m_line > 0) {
            const float *first = w->m_line == 1 ? start : NULL;
            if (w->to[2]) amx_winograd_store(w->to[2] + w->f + f, lanes, first, _mm512_mul_ps(sign, left));
            if (w->to[3]) amx_winograd_store(w->to[3] + w->f + f, lanes, first, _mm512_mul_ps(sign, right));
        }
    }
    w->to += 4;
    w->m += 32;
    w->outputs--;
    if (++w->m_row == w->m_rows) {
        w->m_row = 0;
        w->m += (AMX_ROWS - w->m_rows) * 32;
    }
}

/* So many slots and outputs, or as many as there are. */
static __attribute__((noinline)) void amx_winograd_do(int planes, amx_winograd_work *w, ptrdiff_t slots, ptrdiff_t outputs) {
    for (; slots && w->slots; slots--) {
        if (planes == 3) amx_winograd_source(3, w);
        else if (planes == 2) amx_winograd_source(2, w);
        else amx_winograd_source(1, w);
    }
    for (; outputs && w->outputs; outputs--) amx_winograd_output(w);
}

static inline int amx_winograd_splits(const amx_winograd_work *w) {
    return _mm512_reduce_add_ps(_mm512_add_ps(w->squares[0], w->squares[1])) < (float)INFINITY;
}

#define TICK \
    w->slot_due += w->slot_pace; \
    w->output_due += w->output_pace; \
    if (w->slot_due >= 256 || w->output_due >= 256) { \
        amx_winograd_do(PLANES, w, w->slot_due >> 8, w->output_due >> 8); \
        w->slot_due &= 255; \
        w->output_due &= 255; \
    }
/* out (MT x 2 tiles, of 32 columns together) = the sum over the steps of a's tiles x b's, for every wanted pair of planes; beside
 * it, work for each tick: 6, 3 or 1 of them a step. */
AMX_INLINE void amx_winograd_steps(const int PLANES, const int MT, const amx_operand *a, const amx_operand *b, ptrdiff_t steps,
                                   float *out, amx_winograd_work *w) {
    const ptrdiff_t bytes = 32 * (ptrdiff_t)sizeof(float);
    BARRIER;
    ZERO(0); ZERO(1);
    if (MT > 1) { ZERO(2); ZERO(3); }
    for (ptrdiff_t s = 0; s < steps; s++) {
        const char *a0 = a->at[0] + a->offset[s], *a1 = MT > 1 ? a->at[1] + a->offset[s] : a0;
        const char *b0 = b->at[0] + b->offset[s], *b1 = b->at[1] + b->offset[s];
        if (PLANES == 3) { /* in an order that changes one operand at a time */
            ROWS_OF(2) COLUMNS_OF(0) ALL TICK
            ROWS_OF(0) ALL TICK
            ROWS_OF(1) ALL TICK
            COLUMNS_OF(1) ALL TICK
            ROWS_OF(0) ALL TICK
            COLUMNS_OF(2) ALL TICK
        } else if (PLANES == 2) {
            ROWS_OF(1) COLUMNS_OF(0) ALL TICK
            ROWS_OF(0) ALL TICK
            COLUMNS_OF(1) ALL TICK
        } else {
            ROWS_OF(0) COLUMNS_OF(0) ALL TICK
        }
    }
    STORE(0, out, bytes);
    STORE(1, out + 16, bytes);
    if (MT > 1) {
        STORE(2, out + 32 * AMX_ROWS, bytes);
        STORE(3, out + 32 * AMX_ROWS + 16, bytes);
    }
    BARRIER;
}
#undef TICK

#define CASE(PLANES, MT) \
    case PLANES * 2 + MT: amx_winograd_steps(PLANES, MT, a, b, steps, out, w); break;
static inline void amx_winograd_product(int planes, int rows, const amx_operand *a, const amx_operand *b, ptrdiff_t steps,
                                        float *out, amx_winograd_work *w) {
    switch (planes * 2 + rows) {
    CASE(3, 2) CASE(3, 1) CASE(2, 2) CASE(2, 1) CASE(1, 2) CASE(1, 1)
    }
}
#undef CASE

/* Four neighbours from row[n] + offset of each of 16 rows, turned: tap[i] holds the i-th of every row. */
AMX_INLINE void amx_turn_four(const float *const *row, ptrdiff_t offset, __m512 *tap) {
    __m512 a[4];
    UNROLL for (int r = 0; r < 4; r++) {
        a[r] = _mm512_castps128_ps512(_mm_loadu_ps(row[r] + offset));
        a[r] = _mm512_mask_broadcast_f32x4(a[r], 0x00f0, _mm_loadu_ps(row[4 + r] + offset));
        a[r] = _mm512_mask_broadcast_f32x4(a[r], 0x0f00, _mm_loadu_ps(row[8 + r] + offset));
        a[r] = _mm512_mask_broadcast_f32x4(a[r], 0xf000, _mm_loadu_ps(row[12 + r] + offset));
    }
    const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(a[0], a[1])), low23 = _mm512_castps_pd(_mm512_unpacklo_ps(a[2], a[3]));
    const __m512d top01 = _mm512_castps_pd(_mm512_unpackhi_ps(a[0], a[1])), top23 = _mm512_castps_pd(_mm512_unpackhi_ps(a[2], a[3]));
    tap[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
    tap[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
    tap[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(top01, top23));
    tap[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(top01, top23));
}

/* u[4 i + j] = (G g G^T)[i][j] of 16 filters, whose nine taps lie together; TURNED: by half a turn. */
AMX_INLINE void amx_winograd_filters(const int TURNED, const float *const *filter, ptrdiff_t offset, __mmask16 valid, __m512 *u) {
    const __m512 half = _mm512_set1_ps(0.5f);
    __m512 g[9], last[4], t[4][3];
    amx_turn_four(filter, offset, g);
    amx_turn_four(filter, offset + 4, g + 4);
    amx_turn_four(filter, offset + 5, last); /* nothing behind the ninth is read */
    g[8] = last[3];
    UNROLL for (int k = 0; k < 9; k++) g[k] = _mm512_maskz_mov_ps(valid, g[k]);
    UNROLL for (int j = 0; j < 3; j++) {
        const __m512 g0 = g[TURNED ? 8 - j : j], g1 = g[TURNED ? 5 - j : 3 + j], g2 = g[TURNED ? 2 - j : 6 + j];
        const __m512 even = _mm512_mul_ps(_mm512_add_ps(g0, g2), half), odd = _mm512_mul_ps(g1, half);
        t[0][j] = g0;
        t[1][j] = _mm512_add_ps(even, odd);
        t[2][j] = _mm512_sub_ps(even, odd);
        t[3][j] = g2;
    }
    UNROLL for (int i = 0; i < 4; i++) {
        const __m512 even = _mm512_mul_ps(_mm512_add_ps(t[i][0], t[i][2]), half), odd = _mm512_mul_ps(t[i][1], half);
        u[4 * i] = t[i][0];
        u[4 * i + 1] = _mm512_add_ps(even, odd);
        u[4 * i + 2] = _mm512_sub_ps(even, odd);
        u[4 * i + 3] = t[i][2];
    }
}

/* Tiles of U, for each position (`position` bytes apart) and plane: 16 pairs (c, c + 16) of channels x 16 filters, zeros beyond
 * those there are. w[channel * step + filter * row + tap]. The sum of squares of each lane. */
AMX_INLINE __m512 amx_winograd_tiles(const int PLANES, const int TURNED, const float *w, ptrdiff_t step, ptrdiff_t channels,
                                     ptrdiff_t row, ptrdiff_t filters, char *out, ptrdiff_t position, ptrdiff_t plane) {
    const float *from[AMX_ROWS];
    const __mmask16 valid = amx_lanes(0, 0, filters);
    __m512 squares = _mm512_setzero_ps();
    for (int f = 0; f < AMX_ROWS; f++) from[f] = w + (f < filters ? f * row : 0);
    for (int c = 0; c < AMX_ROWS; c++, out += AMX_BYTES) {
        __m512 u[2][16];
        for (int h = 0; h < 2; h++) {
            const int there = c + 16 * h < channels;
            amx_winograd_filters(TURNED, from, there ? (c + 16 * h) * step : 0, there ? valid : 0, u[h]);
        }
        UNROLL for (int k = 0; k < 16; k++) {
            squares = _mm512_fmadd_ps(u[0][k], u[0][k], _mm512_fmadd_ps(u[1][k], u[1][k], squares));
            amx_split_row(PLANES, u[0][k], u[1][k], out + k * position, plane);
        }
    }
    return squares;
}

#define CASE(PLANES, TURNED) \
    case 2 * PLANES + TURNED: \
        squares = amx_winograd_tiles(PLANES, TURNED, w, step, channels, row, filters, out, position, plane); break;
/* Are all of U below 2^32? Then no product of such numbers, nor any sum of them, overflows. */
static inline int amx_winograd_weights(int planes, int turned, const float *w, ptrdiff_t step, ptrdiff_t channels, ptrdiff_t row,
                                       ptrdiff_t filters, char *out, ptrdiff_t position, ptrdiff_t plane) {
    __m512 squares = _mm512_setzero_ps();
    switch (2 * planes + turned) {
    CASE(3, 1) CASE(3, 0) CASE(2, 1) CASE(2, 0) CASE(1, 1) CASE(1, 0)
    }
    return _mm512_reduce_add_ps(squares) < 0x1p64f;
}
#undef CASE
#undef UNROLL
#endif
