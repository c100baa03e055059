/* Register tiles of depthwise convolution: vectors over the channels, up to eight neighbouring pixels.
 *
 * Three taps side by side load each source pixel once for all of them: 3 x 3 taps over eight outputs are 30 loads of pixels
 * and 9 of weights for 72 multiply-adds, and their gradient is 30 loads of pixels and 8 of dy. In the second-level cache the
 * multiply-adds set the pace, beyond it memory does; then it counts that what the next row of outputs will read and write
 * is asked for a row ahead (28 x 28 x 256, batch 16, from memory: 3.2 ms became 2.0). Whether a column lies in the image is
 * asked for every one: beside a load and three multiply-adds that costs nothing that could be measured, and edges need no
 * code of their own.
 *
 * This file includes itself once per type and vector: fewer channels than fill a vector of this level take a shorter one.
 * Tiles of all sizes are for float32 and whole vectors. Short ones and double, which few layers have, do with four outputs or one,
 * and one row of taps of the gradient; to compile all sizes for them, too, takes half as long again.
 */
#ifndef FASTNET_DEPTHWISE_H
#define FASTNET_DEPTHWISE_H

#include "vector.h"

#if TILE_BYTES > 32
#define DEPTHWISE_OUTPUTS 8 /* neighbours in a tile, at most: two vectors of each, and those of three taps, in 32 registers */
#else
#define DEPTHWISE_OUTPUTS 4 /* or in 16 */
#endif
#define DEPTHWISE_PIXELS 8  /* of dy in a tile, at most */
#define DEPTHWISE_TAPS 3    /* rows of taps, and taps of a row, whose gradient is in registers, at most */

/* Steps between places count numbers. */

typedef struct { /* one tap of all outputs of a tile, or three side by side that move by one pixel or two */
    const void *at, *tap;  /* the source of the first output under the first tap, which may lie outside; its weights */
    ptrdiff_t taps;
    ptrdiff_t inside; /* bit i: the source of output i (one tap), or source column i (three), lies in the image */
    ptrdiff_t ahead;  /* to what the next row of outputs reads first, or 0 */
} DepthwiseTaps;

typedef struct { /* what the tiles of a row share */
    ptrdiff_t channel, end;   /* the channels to do */
    ptrdiff_t between, tap_step; /* from source pixel to source pixel, and from tap to tap */
    ptrdiff_t step, out_step; /* from output to output, in the source and in the outputs */
    ptrdiff_t out_ahead;      /* to the next row of outputs, or 0 */
    const void *start;        /* the bias, or NULL */
    int zeros;                /* sources outside are zeros to be multiplied, not left out */
} DepthwiseOutputs;

typedef struct { /* some taps of some rows of the source, under neighbouring pixels of a row of dy */
    ptrdiff_t channels, pixels;
    ptrdiff_t between, dy_step;     /* from pixel to pixel, in the source and in dy */
    const void *at[DEPTHWISE_TAPS]; /* the source of the first pixel under the first tap, which may lie outside */
    int inside[DEPTHWISE_TAPS];     /* the row is in the image; if not, it is zeros to be multiplied */
    ptrdiff_t ahead[DEPTHWISE_TAPS], dy_ahead; /* to what the next row of dy reads first, or 0 */
    ptrdiff_t column, width, dilation, stride; /* source columns: the first, how many, from tap to tap, pixel to pixel */
    const void *dy;
    void *sums[DEPTHWISE_TAPS]; /* of the first tap in each row */
    ptrdiff_t sums_step;        /* from tap to tap */
} DepthwiseGradient;

typedef struct { /* the tiles of one type and vector */
    ptrdiff_t lanes;
    void (*outputs)(const DepthwiseOutputs *o, int outputs, const DepthwiseTaps *each, ptrdiff_t entries, ptrdiff_t shift,
                    void *out); /* the sources lie `shift` behind those of `each` */
    void (*gradient)(const DepthwiseGradient *g, int rows, int taps);
} DepthwiseTiles;

#define JOIN_(x, real, bytes) x##_##real##_##bytes
#define JOIN(x, real, bytes) JOIN_(x, real, bytes)
#define NAME(x) JOIN(x, REAL, BYTES)

#define REAL float
#define LARGE TILE_BYTES /* bytes of the vector whose tiles come in many sizes */
#define BYTES 4
#include "depthwise.h"
#define BYTES 16
#include "depthwise.h"
#define BYTES 32
#include "depthwise.h"
#define BYTES 64
#include "depthwise.h"
#undef REAL
#undef LARGE
#define REAL double
#define LARGE 0
#define BYTES 8
#include "depthwise.h"
#define BYTES 16
#include "depthwise.h"
#define BYTES 32
#include "depthwise.h"
#define BYTES 64
#include "depthwise.h"
#undef REAL
#undef LARGE

#define DEPTHWISE(real, bytes) \
    {bytes / sizeof(real), depthwise_outputs_##real##_##bytes, depthwise_gradient_##real##_##bytes}
#if TILE_BYTES > 32
#define DEPTHWISE_LONGEST(real) DEPTHWISE(real, 64), DEPTHWISE(real, 32),
#elif TILE_BYTES > 16
#define DEPTHWISE_LONGEST(real) DEPTHWISE(real, 32),
#else
#define DEPTHWISE_LONGEST(real)
#endif
static const DepthwiseTiles depthwise_tiles_float[] = {DEPTHWISE_LONGEST(float) DEPTHWISE(float, 16), DEPTHWISE(float, 4)};
static const DepthwiseTiles depthwise_tiles_double[] = {DEPTHWISE_LONGEST(double) DEPTHWISE(double, 16), DEPTHWISE(double, 8)};
#undef DEPTHWISE
#undef NAME
#undef JOIN
#undef JOIN_

#elif BYTES <= TILE_BYTES /* ------------------------------------------------------------- once per type and vector */

#if defined(__GNUC__)
typedef REAL NAME(lanes) __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
#else
typedef REAL NAME(lanes);
#endif
#define VEC NAME(lanes)
#define LANES ((ptrdiff_t)(sizeof(VEC) / sizeof(REAL)))
#define AT(place) (*(const VEC *)(place))

/* out[pixel i, c] = start[c] + sum over entries and taps of source[c] * tap[c], for VECS vectors of channels from c on.
 * before: outputs of `each` that come before these. */
#define EACH(v) TILE_UNROLL for (int v = 0; v < VECS; v++)
#define EACH_OUTPUT(i) TILE_UNROLL for (int i = 0; i < OUTPUTS; i++)
#define COLUMN(j) ((j) == 3 ? pixel3 : (j) == 5 ? pixel5 : (j) == 6 ? 2 * pixel3 : (j) == 7 ? pixel3 + 4 * pixel : (j) * pixel)
TILE_INLINE void NAME(outputs)(const int OUTPUTS, const int STRIDE, const int VECS, const DepthwiseOutputs *o,
                               ptrdiff_t before, const DepthwiseTaps *each, ptrdiff_t entries, ptrdiff_t shift, ptrdiff_t c,
                               REAL *out) {
    const ptrdiff_t between = o->between, columns = o->step == 2 * between ? 2 * before : before;
    const REAL *start = o->start;
    ptrdiff_t pixel = between * (ptrdiff_t)sizeof(REAL), pixel3 = 3 * pixel, pixel5 = 5 * pixel;
    TILE_OPAQUE(pixel); TILE_OPAQUE(pixel3); TILE_OPAQUE(pixel5); /* three of them reach every column */
    VEC sum[DEPTHWISE_OUTPUTS][2], w[3][2];
    EACH_OUTPUT(i) EACH(v) sum[i][v] = start ? AT(start + c + v * LANES) : (VEC){0};
    for (const DepthwiseTaps *e = each; e < each + entries; e++) {
        const REAL *at = (const REAL *)e->at + shift + c, *tap = (const REAL *)e->tap + c;
        const ptrdiff_t inside = e->inside >> (e->taps == 3 ? columns : before);
        EACH(v) w[0][v] = AT(tap + v * LANES);
        if (e->taps == 3) {
            EACH(v) w[1][v] = AT(tap + o->tap_step + v * LANES);
            EACH(v) w[2][v] = AT(tap + 2 * o->tap_step + v * LANES);
            TILE_UNROLL for (int j = 0; j < (OUTPUTS - 1) * STRIDE + 3; j++) {
                const int in = TILE_LIKELY(inside >> j & 1);
                if (!in && !o->zeros) continue;
                EACH(v) {
                    const VEC x = in ? AT((const char *)at + COLUMN(j) + v * BYTES) : (VEC){0};
                    TILE_UNROLL for (int k = 0; k < 3; k++)
                        if (j >= k && (j - k) % STRIDE == 0 && (j - k) / STRIDE < OUTPUTS) sum[(j - k) / STRIDE][v] += x * w[k][v];
                }
            }
            if (e->ahead) TILE_UNROLL for (int j = 1; j <= OUTPUTS * STRIDE; j++)
                EACH(v) TILE_PREFETCH_FAR((const char *)(at + e->ahead) + COLUMN(j) + v * BYTES);
        } else {
            EACH_OUTPUT(i) {
                const int in = TILE_LIKELY(inside >> i & 1);
                if (!in && !o->zeros) continue;
                EACH(v) sum[i][v] += (in ? AT(at + i * o->step + v * LANES) : (VEC){0}) * w[0][v];
            }
            if (e->ahead) EACH_OUTPUT(i) EACH(v) TILE_PREFETCH_FAR(at + e->ahead + i * o->step + v * LANES);
        }
    }
    EACH_OUTPUT(i) EACH(v) *(VEC *)(out + i * o->out_step + c + v * LANES) = sum[i][v];
    if (o->out_ahead) EACH_OUTPUT(i) EACH(v) TILE_PREFETCH(out + i * o->out_step + c + v * LANES + o->out_ahead);
}
#undef EACH
#undef EACH_OUTPUT
#undef COLUMN

/* Channels two vectors at a time: memory is read in longer pieces (56 x 56 x 128, stride 2, from memory: 2.7 ms became 2.2).
 * Shorter vectors serve fewer channels than two of them have. A last vector that is not full repeats some channels of the one
 * before, which come to the same. */
TILE_INLINE void NAME(all_outputs)(const int OUTPUTS, const int STRIDE, const DepthwiseOutputs *o, ptrdiff_t before,
                                   const DepthwiseTaps *each, ptrdiff_t entries, ptrdiff_t shift, REAL *out) {
    ptrdiff_t c = o->channel;
#if BYTES == LARGE
    for (; c + 2 * LANES <= o->end; c += 2 * LANES) NAME(outputs)(OUTPUTS, STRIDE, 2, o, before, each, entries, shift, c, out);
#endif
    for (; c < o->end; c += LANES)
        NAME(outputs)(OUTPUTS, STRIDE, 1, o, before, each, entries, shift, c < o->end - LANES ? c : o->end - LANES, out);
}

#define OUTPUTS(n) \
    case n: NAME(all_outputs)(n, 1, o, 0, each, entries, shift, out); break; \
    case 8 + n: NAME(all_outputs)(n, 2, o, 0, each, entries, shift, out); break;
static void NAME(depthwise_outputs)(const DepthwiseOutputs *o, int outputs, const DepthwiseTaps *each, ptrdiff_t entries,
                                    ptrdiff_t shift, void *out) {
#if BYTES == LARGE
    switch (outputs + 8 * (o->step == 2 * o->between)) {
    OUTPUTS(1) OUTPUTS(2) OUTPUTS(3) OUTPUTS(4)
#if DEPTHWISE_OUTPUTS > 4
    OUTPUTS(5) OUTPUTS(6) OUTPUTS(7) OUTPUTS(8)
#endif
    }
#else
    const int four = o->step != 2 * o->between; /* one output alone is the same at any stride */
    for (int i = 0, many; i < outputs; i += many) {
        REAL *const to = (REAL *)out + i * o->out_step;
        many = four && outputs - i >= 4 ? 4 : 1;
        if (many == 4) NAME(all_outputs)(4, 1, o, i, each, entries, shift + i * o->step, to);
        else NAME(all_outputs)(1, 1, o, i, each, entries, shift + i * o->step, to);
    }
#endif
}
#undef OUTPUTS

/* sums[r][v, c] += sum over the pixels i of dy of source[row r, column of (i, v), c] * dy[i, c].
 * The last vector of channels overlaps the one before, too, but has sums of its own: they hold whole vectors. */
#define EACH_SUM(...) \
    TILE_UNROLL for (int r = 0; r < ROWS; r++) TILE_UNROLL for (int v = 0; v < TAPS; v++) { \
        REAL *const place = (REAL *)g->sums[r] + v * g->sums_step + lane; \
        __VA_ARGS__; \
    }
/* Zero times infinity is NaN: what lies outside is multiplied, too. */
#define X(in, place) (TILE_LIKELY(in) ? AT(place) : (VEC){0})
TILE_INLINE void NAME(gradient)(const int ROWS, const int TAPS, const DepthwiseGradient *g) {
    const ptrdiff_t between = g->between, next = between * g->dilation, step = between * g->stride, stride = g->stride;
    size_t width[DEPTHWISE_TAPS];
    TILE_UNROLL for (int r = 0; r < ROWS; r++) width[r] = g->inside[r] ? g->width : 0;
    for (ptrdiff_t lane = 0; lane < g->channels; lane += LANES) {
        const ptrdiff_t c = lane < g->channels - LANES ? lane : g->channels - LANES;
        const REAL *dy = (const REAL *)g->dy + c, *at[DEPTHWISE_TAPS];
        ptrdiff_t column[DEPTHWISE_TAPS];
        VEC sum[DEPTHWISE_TAPS][DEPTHWISE_TAPS];
        EACH_SUM(sum[r][v] = AT(place))
        TILE_UNROLL for (int r = 0; r < ROWS; r++) at[r] = (const REAL *)g->at[r] + c;
        TILE_UNROLL for (int v = 0; v < TAPS; v++) column[v] = g->column + v * g->dilation;
        for (ptrdiff_t i = g->pixels; i; i--, dy += g->dy_step) {
            const VEC d = AT(dy);
            TILE_UNROLL for (int v = 0; v < TAPS; v++) {
                TILE_UNROLL for (int r = 0; r < ROWS; r++) sum[r][v] += X((size_t)column[v] < width[r], at[r] + v * next) * d;
                column[v] += stride;
            }
            TILE_UNROLL for (int r = 0; r < ROWS; r++) at[r] += step;
        }
        EACH_SUM(*(VEC *)place = sum[r][v])
    }
}

#if BYTES == LARGE
/* The same for 3 x 3 taps side by side and few pixels: each column of the source is loaded once. */
TILE_INLINE void NAME(gradient_of)(const int PIXELS, const int STRIDE, const DepthwiseGradient *g, ptrdiff_t first) {
    enum { ROWS = 3, TAPS = 3 };
    const ptrdiff_t between = g->between, column = g->column + first * STRIDE;
    int inside[ROWS] = {0}; /* bit j: column j lies in the image */
    TILE_UNROLL for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < (PIXELS - 1) * STRIDE + TAPS; j++)
            inside[r] |= (g->inside[r] && (size_t)(column + j) < (size_t)g->width) << j;
    for (ptrdiff_t lane = 0; lane < g->channels; lane += LANES) {
        const ptrdiff_t c = lane < g->channels - LANES ? lane : g->channels - LANES;
        const REAL *dy = (const REAL *)g->dy + first * g->dy_step + c;
        VEC sum[ROWS][TAPS], d[DEPTHWISE_PIXELS];
        EACH_SUM(sum[r][v] = AT(place))
        TILE_UNROLL for (int j = 0; j < (PIXELS - 1) * STRIDE + TAPS; j++) {
            if (j % STRIDE == 0 && j / STRIDE < PIXELS) {
                d[j / STRIDE] = AT(dy + j / STRIDE * g->dy_step);
                TILE_PREFETCH_FAR(dy + j / STRIDE * g->dy_step + g->dy_ahead);
            }
            TILE_UNROLL for (int r = 0; r < ROWS; r++) {
                const REAL *at = (const REAL *)g->at[r] + first * STRIDE * between + c + j * between;
                const VEC x = X(inside[r] >> j & 1, at);
                if (r >= ROWS - STRIDE && j && j <= PIXELS * STRIDE) TILE_PREFETCH_FAR(at + g->ahead[r]);
                TILE_UNROLL for (int v = 0; v < TAPS; v++)
                    if (j >= v && (j - v) % STRIDE == 0 && (j - v) / STRIDE < PIXELS) sum[r][v] += x * d[(j - v) / STRIDE];
            }
        }
        EACH_SUM(*(VEC *)place = sum[r][v])
    }
}

#define PIXELS(n) \
    case n: NAME(gradient_of)(n, 1, g, first); break; \
    case 8 + n: NAME(gradient_of)(n, 2, g, first); break;
static void NAME(gradient_together)(const DepthwiseGradient *g) {
    const ptrdiff_t pieces = (g->pixels + DEPTHWISE_PIXELS - 1) / DEPTHWISE_PIXELS;
    for (ptrdiff_t p = 0; p < pieces; p++) { /* as equal as can be */
        const ptrdiff_t first = p * g->pixels / pieces;
        switch ((p + 1) * g->pixels / pieces - first + 8 * (g->stride - 1)) {
        PIXELS(1) PIXELS(2) PIXELS(3) PIXELS(4) PIXELS(5) PIXELS(6) PIXELS(7) PIXELS(8)
        }
    }
}
#undef PIXELS
#endif

#define GRADIENT(rows, taps) case 4 * rows + taps: NAME(gradient)(rows, taps, g); break;
#define GRADIENTS(rows) GRADIENT(rows, 1) GRADIENT(rows, 2) GRADIENT(rows, 3)
static void NAME(depthwise_gradient)(const DepthwiseGradient *g, int rows, int taps) {
#if BYTES == LARGE
    if (rows == 3 && taps == 3 && g->dilation == 1 && g->stride <= 2) {
        NAME(gradient_together)(g);
        return;
    }
    switch (4 * rows + taps) { GRADIENTS(1) GRADIENTS(2) GRADIENTS(3) }
#else
    const DepthwiseGradient all = *g;
    DepthwiseGradient row = all;
    g = &row;
    for (int r = 0; r < rows; r++) {
        row.at[0] = all.at[r];
        row.inside[0] = all.inside[r];
        row.sums[0] = all.sums[r];
        switch (4 + taps) { GRADIENTS(1) }
    }
#endif
}
#undef GRADIENTS
#undef GRADIENT
#undef EACH_SUM
#undef X
#undef VEC
#undef LANES
#undef AT
#endif
#undef BYTES
