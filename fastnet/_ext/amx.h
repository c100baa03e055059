/* float32 products on AMX's bfloat16 tiles: the register tile, which Cython cannot say.
 *
 * A number is split into PLANES bfloat16 numbers, x = x1 + x2 + x3, each the rounding of what the former left (amx_split.h). A
 * product is then 6, 3 or 1 products of planes, with 3, 2 or 1 planes: x1w1 + x1w2 + x2w1 (+ x2w2 + x1w3 + x3w1). What is left
 * out is below 2^-24 of |x||w| with six, below 2^-15 with three. Sums are float32, as in a chain of fused multiply-adds.
 *
 * A tile is 16 rows of 64 bytes. TDPBF16PS adds the product of a tile of 16 rows x 32 numbers and one of 16 pairs x 16 columns,
 * pairs along the reduction lying side by side, to one of 16 x 16 sums, in 16 cycles (10 with 8 rows). A load takes 8
 * cycles from the first-level cache, 19 from the second, and 50 if its rows cross cache lines. So everything is laid out in
 * slots of 64 bytes: a row of a tile, on a cache line of its own.
 *
 * The instructions are written out: GCC's own functions for them do not say which memory they read. */
#ifndef FASTNET_AMX_H
#define FASTNET_AMX_H

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#define AMX_INLINE static inline __attribute__((always_inline))
#define AMX_ROWS 16  /* rows of a tile */
#define AMX_BYTES 64 /* bytes of a row: a slot */
#define AMX_TILE (AMX_ROWS * AMX_BYTES)
#define AMX_BRIEF 12 /* multiplications for a tile of sums: a product of fewer is soon done */

#define LOAD(tile, place, step) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(place), "r"((ptrdiff_t)(step)))
#define STORE(tile, place, step) \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(place), "r"((ptrdiff_t)(step)))
#define ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile : :)
#define MULTIPLY(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)
#define BARRIER __asm__ volatile("" : : : "memory") /* tiles read what was written before, and the other way round */

/* Set the calling thread's tiles up, and empty them; some 50 ns. Tiles 0 to 3 hold the sums: with two columns of tiles those of
 * row m are 2m and 2m + 1, with one column it is m. 4 and, with two columns, 5 hold tiles of `rows` rows; the others tiles of the
 * columns, in whose rows are `first` or `second` sums. `pairs` of numbers are multiplied at a time. */
static inline void amx_begin(int columns, int rows, int first, int second, int pairs) {
    struct { unsigned char palette, start, rest[14]; unsigned short bytes[16]; unsigned char rows[16]; } c;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (int i = 0; i < 4; i++) {
        c.rows[i] = rows;
        c.bytes[i] = 4 * (columns == 2 && i % 2 ? second : first);
    }
    for (int i = 4; i < 8; i++) {
        c.rows[i] = i < 4 + columns ? rows : pairs;
        c.bytes[i] = 4 * (i < 4 + columns ? pairs : columns == 2 && i == 7 ? second : first);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(c) : "memory");
}

/* Give the tiles back: until then every switch to another thread saves and loads their 8 KB. */
static inline void amx_end(void) { _tile_release(); }

/* An operand: one address per row (or column) of tiles, the bytes between the rows of a tile, between planes, and the bytes
 * that each step of the reduction stands away from the address. valid: rows of a tile, or columns of all tiles together. */
typedef struct {
    const char *at[4];
    ptrdiff_t step, plane, valid;
    const ptrdiff_t *offset;
} amx_operand;

/* out (MT x NT tiles) = start + the sum over the steps of a's tiles x b's tiles, for every wanted pair of planes.
 *
 * start: a row of 16 NT floats, the same for all rows. NULL: the sums are added to what out holds when they are done, because
 * the sum of several such parts errs less than one long chain. out: one address per row of tiles, whose rows lie out_step floats
 * apart; its NT tiles lie side by side. */
AMX_INLINE void amx_add(const float *sums, ptrdiff_t rows, ptrdiff_t columns, float *out, ptrdiff_t out_step) {
    const __mmask16 first = columns > 15 ? 0xffff : (1u << columns) - 1;
    const __mmask16 second = columns > 31 ? 0xffff : columns > 16 ? (1u << (columns - 16)) - 1 : 0;
    for (ptrdiff_t r = 0; r < rows; r++, sums += 32, out += out_step) {
        _mm512_mask_storeu_ps(out, first, _mm512_add_ps(_mm512_maskz_loadu_ps(first, out), _mm512_load_ps(sums)));
        if (second)
            _mm512_mask_storeu_ps(out + 16, second, _mm512_add_ps(_mm512_maskz_loadu_ps(second, out + 16), _mm512_load_ps(sums + 16)));
    }
}

#define ROWS_OF(i) \
    LOAD(4, a0 + (i) * a->plane, a->step); \
    if (MT > 1) LOAD(5, a1 + (i) * a->plane, a->step);
#define COLUMNS_OF(j) \
    LOAD(6, b0 + (j) * b->plane, b->step); \
    LOAD(7, b1 + (j) * b->plane, b->step);
#define ALL \
    MULTIPLY(0, 4, 6); MULTIPLY(1, 4, 7); \
    if (MT > 1) { MULTIPLY(2, 5, 6); MULTIPLY(3, 5, 7); }
#define EACH(m) /* one column: its planes stay in 5, 6 and 7 while the planes of one row after the other come by in 4 */ \
    LOAD(4, a##m, a->step); \
    if (PART != AMX_SMALL) MULTIPLY(m, 4, 5); \
    if (PART != AMX_LARGE && PLANES > 1) MULTIPLY(m, 4, 6); \
    if (PART != AMX_LARGE && PLANES > 2) MULTIPLY(m, 4, 7); \
    if (PART != AMX_LARGE && PLANES > 1) { LOAD(4, a##m + a->plane, a->step); MULTIPLY(m, 4, 5); } \
    if (PART != AMX_LARGE && PLANES > 2) { MULTIPLY(m, 4, 6); LOAD(4, a##m + 2 * a->plane, a->step); MULTIPLY(m, 4, 5); }
enum { AMX_WHOLE, AMX_SMALL, AMX_LARGE }; /* which products of planes: all of them, all but those of the first planes, those alone */
AMX_INLINE void amx_chain(const int PLANES, const int MT, const int NT, const int PART, const amx_operand *a, const amx_operand *b,
                          ptrdiff_t steps) {
    for (ptrdiff_t s = 0; s < steps; s++) {
        const char *a0 = a->at[0] + a->offset[s], *b0 = b->at[0] + b->offset[s];
        const char *a1 = MT > 1 ? a->at[1] + a->offset[s] : a0, *b1 = NT > 1 ? b->at[1] + b->offset[s] : b0;
        const char *a2 = MT > 2 ? a->at[2] + a->offset[s] : a0, *a3 = MT > 3 ? a->at[3] + a->offset[s] : a0;
        if (NT == 2 && PART == AMX_SMALL) { /* in an order that changes one operand at a time */
            ROWS_OF(2) COLUMNS_OF(0) ALL
            ROWS_OF(1) ALL
            COLUMNS_OF(1) ALL
            ROWS_OF(0) ALL
            COLUMNS_OF(2) ALL
        } else if (NT == 2 && PLANES == 2) {
            ROWS_OF(1) COLUMNS_OF(0) ALL
            ROWS_OF(0) ALL
            COLUMNS_OF(1) ALL
        } else if (NT == 2) {
            ROWS_OF(0) COLUMNS_OF(0) ALL
        } else {
            LOAD(5, b0, b->step);
            if (PART != AMX_LARGE && PLANES > 1) LOAD(6, b0 + b->plane, b->step);
            if (PART != AMX_LARGE && PLANES > 2) LOAD(7, b0 + 2 * b->plane, b->step);
            EACH(0)
            if (MT > 1) { EACH(1) }
            if (MT > 2) { EACH(2) }
            if (MT > 3) { EACH(3) }
        }
    }
}

AMX_INLINE void amx_steps(const int PLANES, const int MT, const int NT, const amx_operand *a, const amx_operand *b,
                          ptrdiff_t steps, const float *start, float *const *out, ptrdiff_t out_step) {
    const float zeros[32] = {0};
    const float *const from = start ? start : zeros;
    float part[4][AMX_ROWS][32] __attribute__((aligned(64))), *to[4];
    /* Where outputs are to be read, or a product is short, their lines are fetched meanwhile; else that only holds up the loading of
     * tiles: 16 channels 3x3, 32x32, `highest`, took 3.9 ms with, 3.2 without it. */
    const int brief = !start || PLANES * (PLANES + 1) / 2 * steps < AMX_BRIEF;
    for (int m = 0; m < MT; m++) {
        to[m] = start ? out[m] : part[m][0];
        for (int r = 0; r < AMX_ROWS && brief; r++)
            for (int n = 0; n < NT; n++) _mm_prefetch(out[m] + r * out_step + 16 * n, _MM_HINT_T0);
    }
    const ptrdiff_t bytes = (start ? out_step : 32) * (ptrdiff_t)sizeof(float);
    BARRIER;
    LOAD(0, from, 0);
    if (NT == 2) {
        LOAD(1, from + 16, 0);
        if (MT > 1) { LOAD(2, from, 0); LOAD(3, from + 16, 0); }
    } else {
        if (MT > 1) LOAD(1, from, 0);
        if (MT > 2) LOAD(2, from, 0);
        if (MT > 3) LOAD(3, from, 0);
    }
    /* Of three planes, the large products come when the small ones are summed: a sum that has grown is then rounded once a step
     * instead of six times. */
    amx_chain(PLANES, MT, NT, PLANES == 3 ? AMX_SMALL : AMX_WHOLE, a, b, steps);
    if (PLANES == 3) amx_chain(PLANES, MT, NT, AMX_LARGE, a, b, steps);
    STORE(0, to[0], bytes);
    if (NT == 2) {
        STORE(1, to[0] + 16, bytes);
        if (MT > 1) { STORE(2, to[1], bytes); STORE(3, to[1] + 16, bytes); }
    } else {
        if (MT > 1) STORE(1, to[1], bytes);
        if (MT > 2) STORE(2, to[2], bytes);
        if (MT > 3) STORE(3, to[3], bytes);
    }
    BARRIER;
    for (int m = 0; m < MT && !start; m++) amx_add(to[m], a->valid, b->valid, out[m], out_step);
}

#define CASE(PLANES, MT, NT) \
    case (PLANES * 4 + MT) * 2 + NT: amx_steps(PLANES, MT, NT, a, b, steps, start, out, out_step); break;
static inline void amx_product(int planes, int rows, int columns, const amx_operand *a, const amx_operand *b, ptrdiff_t steps,
                               const float *start, float *const *out, ptrdiff_t out_step) {
    switch ((planes * 4 + rows) * 2 + columns) {
    CASE(3, 1, 2) CASE(3, 2, 2) CASE(3, 1, 1) CASE(3, 2, 1) CASE(3, 3, 1) CASE(3, 4, 1)
    CASE(2, 1, 2) CASE(2, 2, 2) CASE(2, 1, 1) CASE(2, 2, 1) CASE(2, 3, 1) CASE(2, 4, 1)
    CASE(1, 1, 2) CASE(1, 2, 2) CASE(1, 1, 1) CASE(1, 2, 1) CASE(1, 3, 1) CASE(1, 4, 1)
    }
}
#undef CASE
#undef EACH

#endif
