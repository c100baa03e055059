/* Register tiles of the products of rows: linear layers, whose operands are read where they lie.
 *
 * Three loops, all with their vectors along rows that are contiguous: `dots` multiplies rows with rows and adds the vectors up
 * at the end; `sums` adds multiples of rows in registers, for many results; `few` adds multiples of eight rows at a time to
 * results in the first-level cache, for so few results that reading the rows is the limit.
 *
 * This file includes itself once per type; REAL and NAME are set below, the vectors are tile.h's.
 */
#ifndef FASTNET_ROWS_H
#define FASTNET_ROWS_H

#include <string.h>

#include "tile.h"

#if TILE_BYTES == 64 /* the most rows and filters of a tile of dots, the most results and vectors of a tile of sums */
enum { DOT_ROWS = 4, DOT_FILTERS = 6, SUM_ROWS = 8, SUM_VECS = 3 };
#elif TILE_BYTES == 32
enum { DOT_ROWS = 3, DOT_FILTERS = 4, SUM_ROWS = 6, SUM_VECS = 2 };
#else
enum { DOT_ROWS = 2, DOT_FILTERS = 4, SUM_ROWS = 4, SUM_VECS = 2 };
#endif
enum { FEW = 8 }; /* rows that `few` adds at a time */

#if defined(__GNUC__)
#define ROWS_FETCH(place) __builtin_prefetch(place, 0)
#define ROWS_FETCH_FAR(place) __builtin_prefetch(place, 0, 2) /* into the second-level cache */
#else
#define ROWS_FETCH(place)
#define ROWS_FETCH_FAR(place)
#endif

/* Fetch the first `bytes` of the rows start … stop - 1, which are `step` bytes apart. */
static inline void rows_fetch(const void *place, ptrdiff_t step, ptrdiff_t bytes, ptrdiff_t start, ptrdiff_t stop) {
    for (ptrdiff_t r = start; r < stop; r++)
        for (ptrdiff_t i = 0; i < bytes; i += 64) ROWS_FETCH_FAR((const char *)place + r * step + i);
}

/* FOLD(a, b, h): lane l of it is a[l] + a[l ^ h], or where l has the bit h, b[l] + b[l ^ h]. Folded by h = W/2, W/4 … 1, two
 * and two, W vectors become one that holds their W sums in order: W - 1 permutations instead of W log W. */
#define KEEP(l, h) ((l) & (h) ? (int)WIDTH + (l) : (l))
#define TURN(l, h) ((l) & (h) ? (int)WIDTH + ((l) ^ (h)) : (l) ^ (h))
#define LANES_2(X, l, h) X(l, h), X(l + 1, h)
#define LANES_4(X, l, h) LANES_2(X, l, h), LANES_2(X, l + 2, h)
#define LANES_8(X, l, h) LANES_4(X, l, h), LANES_4(X, l + 4, h)
#define LANES_16(X, l, h) LANES_8(X, l, h), LANES_8(X, l + 8, h)
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (LANE_VEC){__VA_ARGS__})
#endif
#define FOLD(LANES, a, b, h) (SHUFFLE(a, b, LANES(KEEP, 0, h)) + SHUFFLE(a, b, LANES(TURN, 0, h)))
#define FOLD_ALL(LANES, v, h) TILE_UNROLL for (int i = 0; i < h; i++) v[i] = FOLD(LANES, v[i], v[i + h], h);

#define REAL float
#define LANE int
#define NAME(x) x##_float
#define LANES_OF (TILE_BYTES / 4)
#include "rows.h"
#undef REAL
#undef LANE
#undef NAME
#undef LANES_OF
#define REAL double
#define LANE long long
#define NAME(x) x##_double
#define LANES_OF (TILE_BYTES / 8)
#include "rows.h"
#undef REAL
#undef LANE
#undef NAME
#undef LANES_OF

#elif defined(REAL) /* ---------------------------------------------------------------------------------- once per type */

#define VEC NAME(vec)
#if defined(__GNUC__)
#define WIDTH (TILE_BYTES / sizeof(REAL))
typedef LANE NAME(lane_vec) __attribute__((vector_size(TILE_BYTES)));
#define LANE_VEC NAME(lane_vec)
#else
#define WIDTH 1
#endif

/* v[0] = the sums of the WIDTH vectors of v. */
TILE_INLINE void NAME(fold)(VEC *v) {
#if defined(__GNUC__)
#if LANES_OF == 16
    FOLD_ALL(LANES_16, v, 8) FOLD_ALL(LANES_16, v, 4) FOLD_ALL(LANES_16, v, 2) FOLD_ALL(LANES_16, v, 1)
#elif LANES_OF == 8
    FOLD_ALL(LANES_8, v, 4) FOLD_ALL(LANES_8, v, 2) FOLD_ALL(LANES_8, v, 1)
#elif LANES_OF == 4
    FOLD_ALL(LANES_4, v, 2) FOLD_ALL(LANES_4, v, 1)
#else
    FOLD_ALL(LANES_2, v, 1)
#endif
#endif
}

/* out[r, f] = start[f] + sum over k of x[r, k] * w[f, k]; without `start`, what out holds takes its place.
 *
 * 4 x 6 on AVX-512: 10 loads for 24 multiply-adds. `ahead`: so many numbers ahead w is fetched from memory, 0: not at all. */
TILE_INLINE void NAME(dots)(const int ROWS, const int FILTERS, const REAL *x, ptrdiff_t x_step, const REAL *w,
                            ptrdiff_t w_step, ptrdiff_t count, ptrdiff_t ahead, const REAL *start, REAL *out,
                            ptrdiff_t out_step) {
    VEC sum[DOT_ROWS][DOT_FILTERS];
    TILE_UNROLL for (int r = 0; r < ROWS; r++)
        TILE_UNROLL for (int f = 0; f < FILTERS; f++) sum[r][f] = (VEC){0};
    const ptrdiff_t whole = count - count % (ptrdiff_t)WIDTH;
    const REAL *a[DOT_ROWS], *b[DOT_FILTERS];
    TILE_UNROLL for (int r = 0; r < ROWS; r++) a[r] = x + r * x_step;
    TILE_UNROLL for (int f = 0; f < FILTERS; f++) b[f] = w + f * w_step;
#define STEP(FETCH) \
    for (ptrdiff_t k = 0; k < whole; k += WIDTH) { \
        VEC v[DOT_ROWS]; \
        TILE_UNROLL for (int r = 0; r < ROWS; r++) v[r] = *(const VEC *)(a[r] + k); \
        TILE_UNROLL for (int f = 0; f < FILTERS; f++) { \
            const VEC g = *(const VEC *)(b[f] + k); \
            FETCH; \
            TILE_UNROLL for (int r = 0; r < ROWS; r++) sum[r][f] += v[r] * g; \
        } \
    }
    if (ahead) {
        STEP(ROWS_FETCH((const char *)(b[f] + k) + ahead * sizeof(REAL)))
    } else {
        STEP((void)0)
    }
#undef STEP
    if (whole < count) { /* the last numbers, in vectors filled up with zeros */
        VEC v[DOT_ROWS] = {{0}}, g;
        const size_t rest = (size_t)(count - whole) * sizeof(REAL);
        TILE_UNROLL for (int r = 0; r < ROWS; r++) memcpy(&v[r], a[r] + whole, rest);
        TILE_UNROLL for (int f = 0; f < FILTERS; f++) {
            g = (VEC){0};
            memcpy(&g, b[f] + whole, rest);
            TILE_UNROLL for (int r = 0; r < ROWS; r++) sum[r][f] += v[r] * g;
        }
    }
    REAL total[DOT_ROWS * DOT_FILTERS + WIDTH];
    TILE_UNROLL for (int i = 0; i < ROWS * FILTERS; i += WIDTH) {
        VEC v[WIDTH];
        TILE_UNROLL for (int j = 0; j < (int)WIDTH; j++) {
            v[j] = (VEC){0};
            if (i + j < ROWS * FILTERS) v[j] = sum[(i + j) / FILTERS][(i + j) % FILTERS];
        }
        NAME(fold)(v);
        *(VEC *)(total + i) = v[0];
    }
    for (int r = 0; r < ROWS; r++)
        for (int f = 0; f < FILTERS; f++)
            out[r * out_step + f] = total[r * FILTERS + f] + (start ? start[f] : out[r * out_step + f]);
}

#define DOTS(ROWS, FILTERS) \
    case FILTERS * 8 + ROWS: NAME(dots)(ROWS, FILTERS, x, x_step, w, w_step, count, ahead, start, out, out_step); break;
static void NAME(tile_dots)(int rows, int filters, const REAL *x, ptrdiff_t x_step, const REAL *w, ptrdiff_t w_step,
                            ptrdiff_t count, ptrdiff_t ahead, const REAL *start, REAL *out, ptrdiff_t out_step) {
    switch (filters * 8 + rows) {
    DOTS(1, 1) DOTS(1, 2) DOTS(1, 3) DOTS(1, 4) DOTS(2, 1) DOTS(2, 2) DOTS(2, 3) DOTS(2, 4)
#if TILE_BYTES > 16
    DOTS(3, 1) DOTS(3, 2) DOTS(3, 3) DOTS(3, 4)
#endif
#if TILE_BYTES > 32
    DOTS(1, 5) DOTS(1, 6) DOTS(2, 5) DOTS(2, 6) DOTS(3, 5) DOTS(3, 6)
    DOTS(4, 1) DOTS(4, 2) DOTS(4, 3) DOTS(4, 4) DOTS(4, 5) DOTS(4, 6)
#endif
    }
}
#undef DOTS

/* out[r, c] = sum over k of a[k, r] * b[k, c], plus what out holds where `add`: VECS vectors of c.
 *
 * a: (count, ROWS) packed. 8 x 3 on AVX-512: 11 loads for 24 multiply-adds. */
TILE_INLINE void NAME(sums)(const int ROWS, const int VECS, const REAL *a, const REAL *b, ptrdiff_t b_step, ptrdiff_t count,
                            int add, REAL *out, ptrdiff_t out_step) {
    VEC sum[SUM_ROWS][SUM_VECS];
    TILE_UNROLL for (int r = 0; r < ROWS; r++)
        TILE_UNROLL for (int v = 0; v < VECS; v++) {
            sum[r][v] = (VEC){0};
            TILE_PREFETCH(out + r * out_step + v * WIDTH);
        }
    for (ptrdiff_t k = 0; k < count; k++, a += ROWS, b += b_step) {
        VEC g[SUM_VECS];
        TILE_UNROLL for (int v = 0; v < VECS; v++) g[v] = *(const VEC *)(b + v * WIDTH);
        TILE_UNROLL for (int r = 0; r < ROWS; r++)
            TILE_UNROLL for (int v = 0; v < VECS; v++) sum[r][v] += a[r] * g[v];
    }
    TILE_UNROLL for (int r = 0; r < ROWS; r++)
        TILE_UNROLL for (int v = 0; v < VECS; v++) {
            VEC *to = (VEC *)(out + r * out_step + v * WIDTH);
            if (add) sum[r][v] += *to;
            *to = sum[r][v];
        }
}

#define SUMS(ROWS, VECS) \
    case VECS * 16 + ROWS: NAME(sums)(ROWS, VECS, a, b, b_step, count, add, out, out_step); break;
static void NAME(tile_sums)(int rows, int vecs, const REAL *a, const REAL *b, ptrdiff_t b_step, ptrdiff_t count, int add,
                            REAL *out, ptrdiff_t out_step) {
    switch (vecs * 16 + rows) {
    SUMS(1, 1) SUMS(2, 1) SUMS(3, 1) SUMS(4, 1) SUMS(1, 2) SUMS(2, 2) SUMS(3, 2) SUMS(4, 2)
#if TILE_BYTES > 16
    SUMS(5, 1) SUMS(6, 1) SUMS(5, 2) SUMS(6, 2)
#endif
#if TILE_BYTES > 32
    SUMS(7, 1) SUMS(8, 1) SUMS(7, 2) SUMS(8, 2)
    SUMS(1, 3) SUMS(2, 3) SUMS(3, 3) SUMS(4, 3) SUMS(5, 3) SUMS(6, 3) SUMS(7, 3) SUMS(8, 3)
#endif
    }
}
#undef SUMS

/* The first VECS vectors of `count` rows of b, without gaps: `valid` numbers of each and zeros. */
TILE_INLINE void NAME(pack)(const int VECS, const REAL *b, ptrdiff_t b_step, ptrdiff_t count, REAL *to) {
    for (ptrdiff_t k = 0; k < count; k++, b += b_step, to += VECS * WIDTH)
        TILE_UNROLL for (int v = 0; v < VECS; v++) *(VEC *)(to + v * WIDTH) = *(const VEC *)(b + v * WIDTH);
}

static void NAME(rows_pack)(int vecs, const REAL *b, ptrdiff_t b_step, ptrdiff_t count, ptrdiff_t valid, REAL *to) {
    const ptrdiff_t size = vecs * (ptrdiff_t)WIDTH;
    if (valid < size) {
        for (ptrdiff_t k = 0; k < count; k++, b += b_step, to += size) {
            memset(to, 0, (size_t)size * sizeof(REAL));
            memcpy(to, b, (size_t)valid * sizeof(REAL));
        }
        return;
    }
    switch (vecs) {
    case 1: NAME(pack)(1, b, b_step, count, to); break;
    case 2: NAME(pack)(2, b, b_step, count, to); break;
#if TILE_BYTES > 32
    case 3: NAME(pack)(3, b, b_step, count, to); break;
#endif
    }
}

/* out[r, c] += sum over k < FEW of a[r, k] * b[k, c] for `length` numbers c; without `add` out is written. a: (rows, FEW).
 * `ahead`: the next rows of b, too, are about to be read. */
static void NAME(rows_few)(ptrdiff_t rows, const REAL *a, const REAL *b, ptrdiff_t b_step, ptrdiff_t length, int ahead,
                           int add, REAL *out, ptrdiff_t out_step) {
    ptrdiff_t c = 0;
    for (; c + (ptrdiff_t)WIDTH <= length; c += WIDTH) {
        VEC g[FEW];
        TILE_UNROLL for (int k = 0; k < FEW; k++) {
            g[k] = *(const VEC *)(b + k * b_step + c);
            if (ahead) ROWS_FETCH(b + (k + FEW) * b_step + c);
        }
        for (ptrdiff_t r = 0; r < rows; r++) {
            const REAL *m = a + r * FEW;
            VEC even = m[0] * g[0], odd = m[1] * g[1];
            TILE_UNROLL for (int k = 2; k < FEW; k += 2) {
                even += m[k] * g[k];
                odd += m[k + 1] * g[k + 1];
            }
            even += odd;
            VEC *to = (VEC *)(out + r * out_step + c);
            if (add) even += *to;
            *to = even;
        }
    }
    for (; c < length; c++)
        for (ptrdiff_t r = 0; r < rows; r++) {
            REAL sum = 0;
            TILE_UNROLL for (int k = 0; k < FEW; k++) sum += a[r * FEW + k] * b[k * b_step + c];
            out[r * out_step + c] = add ? out[r * out_step + c] + sum : sum;
        }
}
#undef WIDTH
#undef VEC
#undef LANE_VEC
#endif
