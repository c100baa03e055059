/* The transforms of Winograd's minimal filtering for channels-last images, float only: F(2x2, 3x3) here, F(4x4, 3x3) in
 * winograd4.h. SIZE is the side of a tile of outputs, 2 or 4; the source pixels under it are SIZE + 2 a side.
 *
 * Two outputs y of a filter g of three taps over four numbers d cost four products instead of six:
 *     y = A^T [(G g) * (B^T d)]   B^T = 1  0 -1  0     G =  1    0    0      A^T = 1  1  1  0
 *                                       0  1  1  0         1/2  1/2  1/2           0  1 -1 -1
 *                                       0 -1  1  0         1/2 -1/2  1/2
 *                                       0  1  0 -1          0    0    1
 * and with both axes 2 x 2 outputs cost 16 instead of 36: Y = A^T [(G g G^T) * (B^T d B)] A. Of small integers every number
 * here is a multiple of 1/4, so exact. An output depends on the numbers under its own window alone.
 *
 * Winograd 1980, "Arithmetic Complexity of Computations"; Lavin & Gray 2015, "Fast Algorithms for Convolutional Neural
 * Networks", section 4.1.
 */
#ifndef FASTNET_WINOGRAD_H
#define FASTNET_WINOGRAD_H

#include "tile.h"

#define LANES tile_width_float
#define AT(place) (*(const vec_float *)(place))
#define PUT(place, value) (*(vec_float *)(place) = (value))
/* The vectors that cover `count` numbers, at least one vector: the last overlaps the one before where it must. */
#define EACH_VECTOR(at, count) \
    for (ptrdiff_t at##_next = 0, at; at##_next < count && (at = at##_next + LANES <= count ? at##_next : count - LANES, 1); \
         at##_next += LANES)

/* v[k * plane + c] = (B^T d B)[k] for k = 0 … 15 and the pixels d[i][j] = row[i] + j * depth, i, j = 0 … 3; zeros for j below
 * `from` and from `to` on.
 *
 * 16 loads, 32 sums, 16 stores per vector; the stores are the limit, 5 cycles each where V lies in the second-level cache.
 * Four addresses and three multiples of the depth reach every pixel; the compiler's view of them is blocked because it would
 * rather keep 16 addresses, on the stack. */
TILE_INLINE void winograd_patch2(const float *const *row, ptrdiff_t from, ptrdiff_t to, ptrdiff_t depth, ptrdiff_t channels,
                                 float *v, ptrdiff_t plane) {
    ptrdiff_t s1 = depth * (ptrdiff_t)sizeof(float), s3 = 3 * s1;
    TILE_OPAQUE(s1); TILE_OPAQUE(s3);
    EACH_VECTOR(c, channels) {
        const char *a[4];
        vec_float t[4][4];
        TILE_UNROLL for (int i = 0; i < 4; i++) {
            a[i] = (const char *)(row[i] + c);
            TILE_OPAQUE(a[i]);
        }
        TILE_UNROLL for (int j = 0; j < 4; j++) {
            if (j < from || j >= to) {
                TILE_UNROLL for (int i = 0; i < 4; i++) t[i][j] = (vec_float){0};
                continue;
            }
            const ptrdiff_t at = j == 3 ? s3 : j * s1;
            const vec_float d0 = AT(a[0] + at), d1 = AT(a[1] + at), d2 = AT(a[2] + at), d3 = AT(a[3] + at);
            t[0][j] = d0 - d2;
            t[1][j] = d1 + d2;
            t[2][j] = d2 - d1;
            t[3][j] = d1 - d3;
        }
        TILE_UNROLL for (int i = 0; i < 4; i++) {
            float *to = v + 4 * i * plane + c;
            PUT(to, t[i][0] - t[i][2]);
            PUT(to + plane, t[i][1] + t[i][2]);
            PUT(to + 2 * plane, t[i][2] - t[i][1]);
            PUT(to + 3 * plane, t[i][1] - t[i][3]);
        }
    }
}

/* u[k * plane + f] = (G g G^T)[k] for the taps g[tap * size + f] of `size` filters, a whole number of vectors. */
static inline void winograd_weights2(const float *g, ptrdiff_t size, float *u, ptrdiff_t plane) {
    EACH_VECTOR(f, size) {
        vec_float t[4][3];
        TILE_UNROLL for (int j = 0; j < 3; j++) {
            const vec_float g0 = AT(g + j * size + f), g1 = AT(g + (3 + j) * size + f), g2 = AT(g + (6 + j) * size + f);
            const vec_float even = (g0 + g2) * 0.5f, odd = g1 * 0.5f;
            t[0][j] = g0;
            t[1][j] = even + odd;
            t[2][j] = even - odd;
            t[3][j] = g2;
        }
        TILE_UNROLL for (int i = 0; i < 4; i++) {
            const vec_float even = (t[i][0] + t[i][2]) * 0.5f, odd = t[i][1] * 0.5f;
            float *to = u + 4 * i * plane + f;
            PUT(to, t[i][0]);
            PUT(to + plane, even + odd);
            PUT(to + 2 * plane, even - odd);
            PUT(to + 3 * plane, t[i][2]);
        }
    }
}

/* y[f] of a tile's 2 x 2 pixels, `depth` and `row` apart, = start[f] + (A^T m A)[pixel] for m[k * plane + f]; RIGHT, BELOW: are
 * those pixels there? 16 loads, 28 sums, 4 stores per vector. Returns `spoilt` plus zeros, or NaN where y is not finite. */
TILE_INLINE vec_float winograd_pixels2(const int RIGHT, const int BELOW, const float *m, ptrdiff_t plane, ptrdiff_t filters,
                                       const float *start, float *y, ptrdiff_t depth, ptrdiff_t row, vec_float spoilt) {
    EACH_VECTOR(f, filters) {
        vec_float t[2][4];
        TILE_UNROLL for (int j = 0; j < 4; j++) {
            const float *from = m + j * plane + f;
            const vec_float m1 = AT(from + 4 * plane), m2 = AT(from + 8 * plane);
            t[0][j] = AT(from) + (m1 + m2);
            t[1][j] = (m1 - m2) - AT(from + 12 * plane);
        }
        const vec_float b = AT(start + f);
        TILE_UNROLL for (int i = 0; i < 1 + BELOW; i++) {
            const vec_float left = t[i][0] + (t[i][1] + t[i][2]) + b, right = (t[i][1] - t[i][2]) - t[i][3] + b;
            PUT(y + i * row + f, left);
            spoilt += left * 0;
            if (RIGHT) {
                PUT(y + i * row + depth + f, right);
                spoilt += right * 0;
            }
        }
    }
    return spoilt;
}

#include "winograd4.h"

/* ---------------------------------------------------------------------------------------------- rows of tiles */

/* V of `tiles` neighbours, `step` apart; the first begins at pixel `column` of SIZE + 2 rows of the source. A row beyond the edge
 * is one of zeros that serves every column; columns beyond it are not read. */
TILE_INLINE void winograd_source_of(const int SIZE, const float *const *row, ptrdiff_t column, ptrdiff_t width, ptrdiff_t depth,
                                    const float *zeros, ptrdiff_t channels, ptrdiff_t tiles, float *v, ptrdiff_t step,
                                    ptrdiff_t plane) {
    const int SIDE = SIZE + 2;
    for (ptrdiff_t t = 0; t < tiles; t++, column += SIZE, v += step) {
        const float *at[6];
        for (int i = 0; i < SIDE; i++) at[i] = row[i] == zeros ? zeros : row[i] + column * depth;
        const ptrdiff_t from = column < 0 ? -column : 0, to = width - column < SIDE ? width - column : SIDE;
        if (SIZE == 2 && to - from == SIDE) winograd_patch2(at, 0, 4, depth, channels, v, plane);
        else if (SIZE == 2) winograd_patch2(at, from, to, depth, channels, v, plane);
        else if (to - from == SIDE) winograd_patch4(at, 0, 6, depth, channels, v, plane);
        else winograd_patch4(at, from, to, depth, channels, v, plane);
    }
}
static inline void winograd_source(int size, const float *const *row, ptrdiff_t column, ptrdiff_t width, ptrdiff_t depth,
                                   const float *zeros, ptrdiff_t channels, ptrdiff_t tiles, float *v, ptrdiff_t step,
                                   ptrdiff_t plane) {
    if (size == 2) winograd_source_of(2, row, column, width, depth, zeros, channels, tiles, v, step, plane);
    else winograd_source_of(4, row, column, width, depth, zeros, channels, tiles, v, step, plane);
}

/* U of the taps g[tap * size + f] of `count` filters. */
static inline void winograd_weights(int size, const float *g, ptrdiff_t count, float *u, ptrdiff_t plane) {
    if (size == 2) winograd_weights2(g, count, u, plane);
    else winograd_weights4(g, count, u, plane);
}

/* The outputs of `tiles` neighbours, the first of which begins at y, `columns` and `rows` pixels before the edges of out.
 * spoilt: a vector that becomes NaN where an output is not finite. */
static inline void winograd_output(int size, const float *m, ptrdiff_t step, ptrdiff_t plane, ptrdiff_t filters,
                                   const float *start, ptrdiff_t tiles, float *y, ptrdiff_t columns, ptrdiff_t rows,
                                   ptrdiff_t depth, ptrdiff_t row, float *spoilt) {
    vec_float found = AT(spoilt);
    for (ptrdiff_t t = 0; t < tiles; t++, m += step, y += size * depth, columns -= size) {
        if (size == 4)
            found = columns > 3 && rows > 3 ? winograd_pixels4(4, 4, m, plane, filters, start, y, depth, row, found)
                                            : winograd_pixels4(columns, rows, m, plane, filters, start, y, depth, row, found);
        else if (columns > 1)
            found = rows > 1 ? winograd_pixels2(1, 1, m, plane, filters, start, y, depth, row, found)
                             : winograd_pixels2(1, 0, m, plane, filters, start, y, depth, row, found);
        else
            found = rows > 1 ? winograd_pixels2(0, 1, m, plane, filters, start, y, depth, row, found)
                             : winograd_pixels2(0, 0, m, plane, filters, start, y, depth, row, found);
    }
    PUT(spoilt, found);
}

/* Ask for the cache lines that winograd_output will write. */
static inline void winograd_touch(int size, ptrdiff_t filters, ptrdiff_t tiles, const float *y, ptrdiff_t columns, ptrdiff_t rows,
                                  ptrdiff_t depth, ptrdiff_t row) {
    for (int i = 0; i < size && i < rows; i++)
        for (ptrdiff_t j = 0; j < size * tiles && j < columns; j++)
            for (ptrdiff_t f = 0; f < filters; f += 64 / sizeof(float)) TILE_PREFETCH(y + i * row + j * depth + f);
}

/* -------------------------------------------------------------------------------- the gradient of the weights
 *
 * dg = G^T [sum over tiles of (A dy A^T) * (B^T d B)] G, for the 2 x 2 pixels dy and the 4 x 4 pixels d of a tile. Rows R of the
 * two factors are made at a time, so that those of many tiles fit the cache.
 */

/* A pixel of a source row, or zeros beyond its edges. */
TILE_INLINE void winograd_pixel(const float *row, ptrdiff_t column, ptrdiff_t width, ptrdiff_t depth, ptrdiff_t channels,
                                float *to) {
    const float *from = row && column >= 0 && column < width ? row + column * depth : NULL;
    EACH_VECTOR(c, channels) PUT(to + c, from ? AT(from + c) : (vec_float){0});
}

/* v[k * plane + c] = (B^T d B)[4 R + k], k = 0 … 3, of the two rows of pixels that row R of B^T looks at. */
TILE_INLINE void winograd_patch_row(const int R, const float *const *row, ptrdiff_t depth, ptrdiff_t channels, float *v,
                                    ptrdiff_t plane) {
    EACH_VECTOR(c, channels) {
        vec_float t[4];
        TILE_UNROLL for (int j = 0; j < 4; j++) {
            const vec_float one = AT(row[0] + j * depth + c), two = AT(row[1] + j * depth + c);
            t[j] = R == 1 ? one + two : one - two;
        }
        PUT(v + c, t[0] - t[2]);
        PUT(v + plane + c, t[1] + t[2]);
        PUT(v + 2 * plane + c, t[2] - t[1]);
        PUT(v + 3 * plane + c, t[1] - t[3]);
    }
}

/* winograd_patch_row for `tiles` neighbours, as winograd_source: row[0], row[1] are rows 0 and 2, 1 and 2, 2 and 1, 1 and 3 of
 * the pixels under the tiles for R = 0 … 3. */
TILE_INLINE void winograd_source_row(const int R, const float *const *row, ptrdiff_t column, ptrdiff_t width, ptrdiff_t depth,
                                     float *patch, ptrdiff_t channels, ptrdiff_t tiles, float *v, ptrdiff_t step,
                                     ptrdiff_t plane) {
    for (ptrdiff_t t = 0; t < tiles; t++, column += 2, v += step) {
        const float *at[2];
        if (row[0] && row[1] && column >= 0 && column + 4 <= width) {
            for (int i = 0; i < 2; i++) at[i] = row[i] + column * depth;
            winograd_patch_row(R, at, depth, channels, v, plane);
            continue;
        }
        for (int i = 0; i < 2; i++) {
            at[i] = patch + 4 * i * channels;
            for (int j = 0; j < 4; j++) winograd_pixel(row[i], column + j, width, depth, channels, patch + (4 * i + j) * channels);
        }
        winograd_patch_row(R, at, channels, channels, v, plane);
    }
}

/* d[k * plane + f] = (A y A^T)[4 R + k], k = 0 … 3, of the 2 x 2 pixels at y[0] … y[3]. 4 loads, 4 stores per vector. */
TILE_INLINE void winograd_slope_row(const int R, const float *const *y, ptrdiff_t filters, float *d, ptrdiff_t plane) {
    EACH_VECTOR(f, filters) {
        vec_float t[2];
        TILE_UNROLL for (int j = 0; j < 2; j++) {
            const vec_float above = AT(y[j] + f), below = AT(y[2 + j] + f);
            if (R == 0) t[j] = above;
            if (R == 1) t[j] = above + below;
            if (R == 2) t[j] = above - below;
            if (R == 3) t[j] = -below;
        }
        PUT(d + f, t[0]);
        PUT(d + plane + f, t[0] + t[1]);
        PUT(d + 2 * plane + f, t[0] - t[1]);
        PUT(d + 3 * plane + f, -t[1]);
    }
}

/* winograd_slope_row for `tiles` neighbours, as winograd_output; zeros: `filters` of them, for pixels beyond the edge. */
TILE_INLINE void winograd_slopes_row(const int R, const float *y, ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t depth,
                                     ptrdiff_t row, const float *zeros, ptrdiff_t filters, ptrdiff_t tiles, float *d,
                                     ptrdiff_t step, ptrdiff_t plane) {
    for (ptrdiff_t t = 0; t < tiles; t++, y += 2 * depth, columns -= 2, d += step) {
        const float *at[4] = {y, columns > 1 ? y + depth : zeros, rows > 1 ? y + row : zeros,
                              columns > 1 && rows > 1 ? y + row + depth : zeros};
        winograd_slope_row(R, at, filters, d, plane);
    }
}

#define ROWS(call) \
    switch (r) { \
    case 0: { enum { R = 0 }; call; break; } \
    case 1: { enum { R = 1 }; call; break; } \
    case 2: { enum { R = 2 }; call; break; } \
    case 3: { enum { R = 3 }; call; break; } \
    }
static inline void winograd_source_rows(int r, const float *const *row, ptrdiff_t column, ptrdiff_t width, ptrdiff_t depth,
                                        float *patch, ptrdiff_t channels, ptrdiff_t tiles, float *v, ptrdiff_t step,
                                        ptrdiff_t plane) {
    ROWS(winograd_source_row(R, row, column, width, depth, patch, channels, tiles, v, step, plane))
}
static inline void winograd_slopes_rows(int r, const float *y, ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t depth, ptrdiff_t row,
                                        const float *zeros, ptrdiff_t filters, ptrdiff_t tiles, float *d, ptrdiff_t step,
                                        ptrdiff_t plane) {
    ROWS(winograd_slopes_row(R, y, columns, rows, depth, row, zeros, filters, tiles, d, step, plane))
}
#undef ROWS

/* dg[tap * step + f] = (G^T u G)[tap] for u[k * plane + f] of `size` filters, a whole number of vectors; spoilt as above. */
static inline void winograd_taps(const float *u, ptrdiff_t plane, ptrdiff_t size, float *dg, ptrdiff_t step, float *spoilt) {
    vec_float found = AT(spoilt);
    EACH_VECTOR(f, size) {
        vec_float t[3][4];
        TILE_UNROLL for (int j = 0; j < 4; j++) {
            const vec_float u1 = AT(u + (4 + j) * plane + f), u2 = AT(u + (8 + j) * plane + f);
            const vec_float sum = (u1 + u2) * 0.5f;
            t[0][j] = AT(u + j * plane + f) + sum;
            t[1][j] = (u1 - u2) * 0.5f;
            t[2][j] = sum + AT(u + (12 + j) * plane + f);
        }
        TILE_UNROLL for (int i = 0; i < 3; i++) {
            const vec_float sum = (t[i][1] + t[i][2]) * 0.5f, left = t[i][0] + sum, right = sum + t[i][3];
            const vec_float middle = (t[i][1] - t[i][2]) * 0.5f;
            PUT(dg + 3 * i * step + f, left);
            PUT(dg + (3 * i + 1) * step + f, middle);
            PUT(dg + (3 * i + 2) * step + f, right);
            found += (left * 0 + middle * 0) + right * 0;
        }
    }
    PUT(spoilt, found);
}

#undef EACH_VECTOR
#undef AT
#undef PUT
#undef LANES
#endif
