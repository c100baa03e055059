/* Register tiles: the innermost loops of the convolution products, which Cython cannot say.
 *
 * A tile keeps ROWS x VECS vectors of sums in registers. One step of the reduction loads VECS vectors of one operand,
 * broadcasts ROWS numbers of the other, and does ROWS * VECS multiply-adds: 8 x 3 on AVX-512 is 11 loads for 24 fused
 * multiply-adds, so the two FMA units, not the two load ports, set the pace.
 *
 * The vector type is GCC's and clang's: the same lines serve SSE2, AVX2 and AVX-512, float and double. A compiler without
 * it (MSVC) gets vectors of one number: slow and right.
 *
 * This file includes itself once per type; REAL, NAME and WIDTH are set below.
 */
#ifndef FASTNET_TILE_H
#define FASTNET_TILE_H

#include "vector.h"

/* The block sizes, in one table. Registers: 32 of 64 bytes, 16 of 32, 16 of 16 (and no fused multiply-add there). */
#if defined(__AVX512F__)
#define TILE_VECS 3                                 /* vectors of output channels in the widest tile */
#define TILE_PIXELS 8                                       /* pixels of a tile whose pixels lie anywhere */
static const int tile_run[TILE_VECS + 1] = {0, 14, 14, 9};  /* most pixels of a run, at 1, 2, 3 vectors */
static const int tile_rows[TILE_VECS + 1] = {0, 16, 12, 9}; /* weight gradient: most rows at 1, 2, 3 vectors */
#elif defined(__AVX2__)
#define TILE_VECS 2
#define TILE_PIXELS 6
static const int tile_run[TILE_VECS + 1] = {0, 12, 6};
static const int tile_rows[TILE_VECS + 1] = {0, 12, 6};
#else
#define TILE_VECS 2
#define TILE_PIXELS 4
static const int tile_run[TILE_VECS + 1] = {0, 8, 4};
static const int tile_rows[TILE_VECS + 1] = {0, 8, 4};
#endif
#define TILE_MOST_ROWS 16
#define TILE_MOST_RUN 14
#define TILE_CHAIN 128 /* steps of a reduction that are added to each other, at most */

#define REAL float
#define NAME(x) x##_float
#include "tile.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "tile.h"
#undef REAL
#undef NAME

#elif defined(REAL) /* ---------------------------------------------------------------------------------- once per type */

#if defined(__GNUC__)
typedef REAL NAME(vec) __attribute__((vector_size(TILE_BYTES), aligned(sizeof(REAL)), may_alias));
#define WIDTH (TILE_BYTES / sizeof(REAL))
#else
typedef REAL NAME(vec);
#define WIDTH 1
#endif
#define VEC NAME(vec)
enum { NAME(tile_width) = WIDTH }; /* numbers in a vector */

/* Where in b, of which a step takes `step` numbers, the chain ends that begins here. */
TILE_INLINE const REAL *NAME(chain_end)(const REAL *b, const REAL *last, ptrdiff_t step) {
    return last - b > TILE_CHAIN * step ? b + TILE_CHAIN * step : last;
}

/* out[pixel i, channels] (+)= sum over segments s and k of at[i][offset[s] + k] * b[s, k, channels].
 *
 * at: one address per pixel; segments: runs of `length` numbers that lie together in the padded strip at every pixel;
 * b: (segments, length, VECS * WIDTH), packed; out: one address per pixel; ahead: what will be read next, fetched as the
 * reduction goes, `pace` numbers in a step. The sums start from `start` (a row of VECS vectors: the bias or zeros) or,
 * where it is NULL, are added to what out holds.
 *
 * A long reduction is cut into chains, whose sums are added up in out. A chain of n errs by about sqrt(n) roundings, m chains
 * of n / m by sqrt(n / m + m). 1x1 from 512 to 512 channels at 14x14, the largest error of dx was 4.6e-6 of rms and is 1.4e-6,
 * for 2 to 4 % of the time. */
TILE_INLINE void NAME(pixels)(const int VECS, const REAL *const *at, const ptrdiff_t *offset, ptrdiff_t segments,
                              ptrdiff_t length, const REAL *b, const REAL *start, REAL *const *out, const REAL *ahead,
                              ptrdiff_t pace) {
    VEC sum[TILE_PIXELS][TILE_VECS];
    ptrdiff_t k = 0;
    const REAL *a[TILE_PIXELS], *segment = b, *last = b + segments * length * VECS * (ptrdiff_t)WIDTH;
    TILE_UNROLL for (int i = 0; i < TILE_PIXELS; i++) a[i] = at[i];
    if (start) TILE_UNROLL for (int i = 0; i < TILE_PIXELS; i++)
        TILE_UNROLL for (int v = 0; v < VECS; v++) TILE_PREFETCH(out[i] + v * WIDTH); /* written when the sums are done */
    do {
        const REAL *chain = NAME(chain_end)(b, last, VECS * WIDTH);
        TILE_UNROLL for (int i = 0; i < TILE_PIXELS; i++)
            TILE_UNROLL for (int v = 0; v < VECS; v++) {
                sum[i][v] = (VEC){0};
                if (start) sum[i][v] = *(const VEC *)(start + v * WIDTH);
            }
        while (b != chain) {
            if (b == segment) {
                TILE_UNROLL for (int i = 0; i < TILE_PIXELS; i++) a[i] = at[i] + *offset;
                offset++, segment += length * VECS * (ptrdiff_t)WIDTH, k = 0;
            }
            const REAL *end = segment < chain ? segment : chain;
            for (; b != end; k++, b += VECS * WIDTH, ahead += pace) {
                VEC w[TILE_VECS];
                TILE_PREFETCH_NEAR(ahead);
                TILE_UNROLL for (int v = 0; v < VECS; v++) w[v] = *(const VEC *)(b + v * WIDTH);
                TILE_UNROLL for (int i = 0; i < TILE_PIXELS; i++)
                    TILE_UNROLL for (int v = 0; v < VECS; v++) sum[i][v] += a[i][k] * w[v];
            }
        }
        TILE_UNROLL for (int i = 0; i < TILE_PIXELS; i++)
            TILE_UNROLL for (int v = 0; v < VECS; v++) {
                VEC *to = (VEC *)(out[i] + v * WIDTH);
                if (!start) sum[i][v] += *to;
                *to = sum[i][v];
            }
        start = NULL;
    } while (b != last);
}

static void NAME(tile_pixels)(int vecs, const REAL *const *at, const ptrdiff_t *offset, ptrdiff_t segments,
                              ptrdiff_t length, const REAL *b, const REAL *start, REAL *const *out, const REAL *ahead,
                              ptrdiff_t pace) {
    switch (vecs) {
    case 1: NAME(pixels)(1, at, offset, segments, length, b, start, out, ahead, pace); break;
    case 2: NAME(pixels)(2, at, offset, segments, length, b, start, out, ahead, pace); break;
#if TILE_VECS > 2
    case 3: NAME(pixels)(3, at, offset, segments, length, b, start, out, ahead, pace); break;
#endif
    }
}

/* The same for PIXELS neighbours of a row, `step` numbers apart, put out `out_step` apart.
 *
 * ahead: what the next tile will read, fetched as the reduction goes, `pace` numbers in a step; the lines of out are fetched in
 * the first steps. All at once they would wait for each other (64 -> 64 channels, 1x1, in memory: 0.61 became 0.78 of the peak).
 *
 * Two addresses and five multiples of the step reach every pixel, where `pixels` keeps an address of each: with registers to
 * spare a tile can be as large as the sums allow (12 x 2: 182 GFLOP/s of 216, against 170 of 8 x 2 pixels anywhere). The
 * compiler would rather keep an address per pixel, too, so its view of them is blocked. */
#define RUN_PIXEL(i, place) \
    if (i < PIXELS) { \
        const REAL x = *(const REAL *)(place); \
        TILE_UNROLL for (int v = 0; v < VECS; v++) sum[i][v] += x * w[v]; \
    }
#define RUN_STEP \
    { \
        TILE_OPAQUE(a); TILE_OPAQUE(c); \
        TILE_PREFETCH_NEAR(ahead); \
        VEC w[TILE_VECS]; \
        TILE_UNROLL for (int v = 0; v < VECS; v++) w[v] = *(const VEC *)(b + v * WIDTH); \
        RUN_PIXEL(0, a) RUN_PIXEL(1, a + s1) RUN_PIXEL(2, a + 2 * s1) RUN_PIXEL(3, a + s3) RUN_PIXEL(4, a + 4 * s1) \
        RUN_PIXEL(5, a + s5) RUN_PIXEL(6, a + 2 * s3) RUN_PIXEL(7, c) RUN_PIXEL(8, c + s1) RUN_PIXEL(9, c + 2 * s1) \
        RUN_PIXEL(10, c + s3) RUN_PIXEL(11, c + 4 * s1) RUN_PIXEL(12, c + s5) RUN_PIXEL(13, c + 2 * s3) \
        a += sizeof(REAL), c += sizeof(REAL), b += VECS * WIDTH, ahead += pace; \
    }
TILE_INLINE void NAME(run)(const int PIXELS, const int VECS, const REAL *at, ptrdiff_t step, const ptrdiff_t *offset,
                           ptrdiff_t segments, ptrdiff_t length, const REAL *b, const REAL *start, REAL *out,
                           ptrdiff_t out_step, const REAL *ahead, ptrdiff_t pace) {
    VEC sum[TILE_MOST_RUN][TILE_VECS];
    ptrdiff_t s1 = step * (ptrdiff_t)sizeof(REAL), s3 = 3 * s1, s5 = 5 * s1, rows = PIXELS;
    TILE_OPAQUE(s1); TILE_OPAQUE(s3); TILE_OPAQUE(s5);
    const REAL *row = out, *segment = b, *last = b + segments * length * VECS * (ptrdiff_t)WIDTH;
    const char *a = NULL, *c = NULL;
    do {
        const REAL *chain = NAME(chain_end)(b, last, VECS * WIDTH);
        TILE_UNROLL for (int i = 0; i < PIXELS; i++)
            TILE_UNROLL for (int v = 0; v < VECS; v++) {
                sum[i][v] = (VEC){0};
                if (start) sum[i][v] = *(const VEC *)(start + v * WIDTH);
            }
        while (b != chain) {
            if (b == segment) {
                a = (const char *)(at + *offset++), c = a + 7 * s1;
                segment += length * VECS * (ptrdiff_t)WIDTH;
            }
            const REAL *end = segment < chain ? segment : chain;
            for (; rows && b != end; rows--, row += out_step) {
                TILE_UNROLL for (int v = 0; v < VECS; v++) TILE_PREFETCH(row + v * WIDTH);
                RUN_STEP
            }
            while (b != end) RUN_STEP
        }
        TILE_UNROLL for (int i = 0; i < PIXELS; i++)
            TILE_UNROLL for (int v = 0; v < VECS; v++) {
                VEC *to = (VEC *)(out + i * out_step + v * WIDTH);
                if (!start) sum[i][v] += *to;
                *to = sum[i][v];
            }
        start = NULL;
    } while (b != last);
}

#define RUN(PIXELS, VECS) \
    case VECS * 32 + PIXELS: \
        NAME(run)(PIXELS, VECS, at, step, offset, segments, length, b, start, out, out_step, ahead, pace); \
        break;
static void NAME(tile_run)(int pixels, int vecs, const REAL *at, ptrdiff_t step, const ptrdiff_t *offset,
                           ptrdiff_t segments, ptrdiff_t length, const REAL *b, const REAL *start, REAL *out,
                           ptrdiff_t out_step, const REAL *ahead, ptrdiff_t pace) {
    switch (vecs * 32 + pixels) {
    RUN(1, 1) RUN(2, 1) RUN(3, 1) RUN(4, 1) RUN(5, 1) RUN(6, 1) RUN(7, 1) RUN(8, 1) RUN(1, 2) RUN(2, 2) RUN(3, 2) RUN(4, 2)
#if TILE_BYTES > 16
    RUN(9, 1) RUN(10, 1) RUN(11, 1) RUN(12, 1) RUN(5, 2) RUN(6, 2)
#endif
#if TILE_BYTES > 32
    RUN(13, 1) RUN(14, 1)
    RUN(7, 2) RUN(8, 2) RUN(9, 2) RUN(10, 2) RUN(11, 2) RUN(12, 2) RUN(13, 2) RUN(14, 2)
    RUN(1, 3) RUN(2, 3) RUN(3, 3) RUN(4, 3) RUN(5, 3) RUN(6, 3) RUN(7, 3) RUN(8, 3) RUN(9, 3)
#endif
    }
}
#undef RUN
#undef RUN_STEP
#undef RUN_PIXEL

/* out (pixels, vecs * WIDTH) = `count` numbers of each pixel, which are `step` apart, and zeros. */
static inline void NAME(tile_pack)(const REAL *x, ptrdiff_t step, ptrdiff_t pixels, ptrdiff_t count, int vecs, REAL *out) {
    for (ptrdiff_t p = 0; p < pixels; p++, x += step)
        for (int v = 0; v < vecs; v++, out += WIDTH) {
            if ((v + 1) * (ptrdiff_t)WIDTH <= count)
                *(VEC *)out = *(const VEC *)(x + v * WIDTH);
            else
                for (ptrdiff_t i = 0; i < (ptrdiff_t)WIDTH; i++) out[i] = v * (ptrdiff_t)WIDTH + i < count ? x[v * WIDTH + i] : 0;
        }
}

/* Tiles of `rows` numbers of every pixel, `apart` from each other: out[t * apart + p * rows + r] = x[at[p] + t * rows + r].
 * They are copied by whole vectors: what is written behind a pixel is its successor's, who comes later, and a tile leaves room
 * for a vector behind its last one. */
static void NAME(tile_turn)(const REAL *x, const ptrdiff_t *at, ptrdiff_t pixels, ptrdiff_t length, ptrdiff_t rows,
                            ptrdiff_t apart, REAL *out) {
    for (ptrdiff_t p = 0; p < pixels; p++, out += rows) {
        const REAL *a = x + at[p], *end = a + length;
        REAL *to = out;
        for (; a < end; a += rows, to += apart)
            for (ptrdiff_t i = 0; i < rows; i += WIDTH)
                if (a + i + WIDTH <= end)
                    *(VEC *)(to + i) = *(const VEC *)(a + i);
                else
                    for (ptrdiff_t r = i; r < rows && a + r < end; r++) to[r] = a[r];
    }
}

/* out[row r, channels] = or, with `add`, += sum over the pixels p of x[at[p] + r] * dy[p, channels].
 *
 * dy: (count, VECS * WIDTH) and out: (ROWS, VECS * WIDTH), packed; ahead: what the next block will read, fetched to the
 * second-level cache as the reduction goes, `pace` numbers further at each pixel. A small tile has too few sums to hide a multiply-add's
 * latency of four cycles on two units: it keeps WAYS of each, for every WAYS-th pixel, and adds them at the end. The others, too, take
 * two pixels in a turn of the loop (1.02 to 1.05 times as fast). */
TILE_INLINE void NAME(weights)(const int ROWS, const int VECS, const REAL *x, const ptrdiff_t *at, const REAL *dy,
                               ptrdiff_t count, int add, REAL *out, const REAL *ahead, ptrdiff_t pace) {
    const int WAYS = ROWS * VECS < 4 ? 4 : ROWS * VECS < 8 ? 2 : 1;
    const int STEP = WAYS > 1 ? WAYS : 2;
    VEC sum[4][TILE_MOST_ROWS][TILE_VECS];
    TILE_UNROLL for (int i = 0; i < WAYS; i++)
        TILE_UNROLL for (int r = 0; r < ROWS; r++)
            TILE_UNROLL for (int v = 0; v < VECS; v++) sum[i][r][v] = (VEC){0};
    ptrdiff_t p = 0;
    for (; p + STEP <= count; p += STEP)
        TILE_UNROLL for (int i = 0; i < STEP; i++, dy += VECS * WIDTH) {
            const REAL *a = x + at[p + i];
            VEC g[TILE_VECS];
            TILE_PREFETCH_FAR(ahead);
            ahead += pace;
            TILE_UNROLL for (int v = 0; v < VECS; v++) g[v] = *(const VEC *)(dy + v * WIDTH);
            TILE_UNROLL for (int r = 0; r < ROWS; r++)
                TILE_UNROLL for (int v = 0; v < VECS; v++) sum[i % WAYS][r][v] += a[r] * g[v];
        }
    for (; p < count; p++, dy += VECS * WIDTH)
        TILE_UNROLL for (int r = 0; r < ROWS; r++)
            TILE_UNROLL for (int v = 0; v < VECS; v++) sum[0][r][v] += x[at[p] + r] * *(const VEC *)(dy + v * WIDTH);
    TILE_UNROLL for (int r = 0; r < ROWS; r++)
        TILE_UNROLL for (int v = 0; v < VECS; v++) {
            VEC total = sum[0][r][v];
            TILE_UNROLL for (int i = 1; i < WAYS; i++) total += sum[i][r][v];
            if (add) total += *(const VEC *)(out + (r * VECS + v) * WIDTH);
            *(VEC *)(out + (r * VECS + v) * WIDTH) = total;
        }
}

#define WEIGHTS(ROWS, VECS) \
    case VECS * 32 + ROWS: NAME(weights)(ROWS, VECS, x, at, dy, count, add, out, ahead, pace); break;
static void NAME(tile_weights)(int rows, int vecs, const REAL *x, const ptrdiff_t *at, const REAL *dy, ptrdiff_t count,
                               int add, REAL *out, const REAL *ahead, ptrdiff_t pace) {
    switch (vecs * 32 + rows) {
    WEIGHTS(1, 1) WEIGHTS(2, 1) WEIGHTS(3, 1) WEIGHTS(4, 1) WEIGHTS(5, 1) WEIGHTS(6, 1) WEIGHTS(7, 1) WEIGHTS(8, 1)
    WEIGHTS(1, 2) WEIGHTS(2, 2) WEIGHTS(3, 2) WEIGHTS(4, 2)
#if TILE_BYTES > 16
    WEIGHTS(9, 1) WEIGHTS(10, 1) WEIGHTS(11, 1) WEIGHTS(12, 1) WEIGHTS(5, 2) WEIGHTS(6, 2)
#endif
#if TILE_BYTES > 32
    WEIGHTS(13, 1) WEIGHTS(14, 1) WEIGHTS(15, 1) WEIGHTS(16, 1)
    WEIGHTS(7, 2) WEIGHTS(8, 2) WEIGHTS(9, 2) WEIGHTS(10, 2) WEIGHTS(11, 2) WEIGHTS(12, 2)
    WEIGHTS(1, 3) WEIGHTS(2, 3) WEIGHTS(3, 3) WEIGHTS(4, 3) WEIGHTS(5, 3) WEIGHTS(6, 3) WEIGHTS(7, 3) WEIGHTS(8, 3) WEIGHTS(9, 3)
#endif
    }
}
#undef WEIGHTS
#undef WIDTH
#undef VEC
#endif
