/* The transforms of F(4x4, 3x3), a part of winograd.h: 16 outputs of a 6 x 6 patch cost 36 products instead of 144.
 *
 * Four outputs y of a filter g of three taps over six numbers d, by Toom's and Cook's way through the points 0, +-P, +-Q and
 * infinity, with p = P^2 and q = Q^2:
 *
 *     B^T = pq   0   -p-q    0    1   0     G =  1/pq   0     0         A^T = 1  1   1   1   1   0
 *            0  -Pq   -q     P    1   0          c     cP     cp              0  P  -P   Q  -Q   0
 *            0   Pq   -q    -P    1   0          c    -cP     cp              0  p   p   q   q   0
 *            0  -Qp   -p     Q    1   0          s     sQ     sq              0  Pp -Pp  Qq -Qq  1
 *            0   Qp   -p    -Q    1   0          s    -sQ     sq
 *            0   pq    0   -p-q   0   1          0      0     1         c = 1/2p(p-q)  s = 1/2q(q-p)
 *
 * P = 3/4 and Q = 3/2 are exact in float, as are p, q and pq, and err least of the small fractions: the largest error over the
 * root mean square of the output, 256 channels, is 0.9e-5, with 1 and 2, as they are mostly chosen, 3.2e-5.
 *
 * Lavin & Gray 2015, section 4.3; Barabasz, Anderson, Soodhalter & Gregg 2020, "Error Analysis and Improving the Accuracy of
 * Winograd Convolution for Deep Neural Networks", for the choice of points.
 */
static const float winograd_p = 0.75f, winograd_q = 1.5f, winograd_pp = 0.5625f, winograd_qq = 2.25f;

/* to[i * step] = (B^T d)[i], i = 0 … 5. 12 multiply-adds. */
TILE_INLINE void winograd_source4(const vec_float *d, vec_float *to, const int step) {
    const float p = winograd_pp, q = winograd_qq;
    const vec_float even = d[4] - q * d[2], odd = d[3] - q * d[1], even2 = d[4] - p * d[2], odd2 = d[3] - p * d[1];
    to[0] = (d[4] - (p + q) * d[2]) + (p * q) * d[0];
    to[step] = even + winograd_p * odd;
    to[2 * step] = even - winograd_p * odd;
    to[3 * step] = even2 + winograd_q * odd2;
    to[4 * step] = even2 - winograd_q * odd2;
    to[5 * step] = (d[5] - (p + q) * d[3]) + (p * q) * d[1];
}

/* v[k * plane + c] = (B^T d B)[k] for k = 0 … 35 and the pixels d[i][j] = row[i] + j * depth, i, j = 0 … 5; zeros for j below
 * `from` and from `to` on.
 *
 * 36 loads, 144 multiply-adds, 36 stores per vector, and 36 numbers that wait in the first-level cache. */
TILE_INLINE void winograd_patch4(const float *const *row, ptrdiff_t from, ptrdiff_t to, ptrdiff_t depth, ptrdiff_t channels,
                                 float *v, ptrdiff_t plane) {
    EACH_VECTOR(c, channels) {
        vec_float t[36];
        TILE_UNROLL for (int j = 0; j < 6; j++) {
            vec_float d[6];
            if (j < from || j >= to) {
                TILE_UNROLL for (int i = 0; i < 6; i++) t[6 * i + j] = (vec_float){0};
                continue;
            }
            TILE_UNROLL for (int i = 0; i < 6; i++) d[i] = AT(row[i] + j * depth + c);
            winograd_source4(d, t + j, 6);
        }
        for (int i = 0; i < 6; i++) {
            vec_float u[6];
            winograd_source4(t + 6 * i, u, 1);
            TILE_UNROLL for (int j = 0; j < 6; j++) PUT(v + (6 * i + j) * plane + c, u[j]);
        }
    }
}

/* to[i * step] = (G g)[i], i = 0 … 5, of three taps. */
TILE_INLINE void winograd_taps4(vec_float g0, vec_float g1, vec_float g2, vec_float *to, const int step) {
    const float p = winograd_pp, q = winograd_qq, near = 1 / (2 * p * (p - q)), far = 1 / (2 * q * (q - p));
    const vec_float even = g0 + p * g2, odd = winograd_p * g1, even2 = g0 + q * g2, odd2 = winograd_q * g1;
    to[0] = g0 * (1 / (p * q));
    to[step] = (even + odd) * near;
    to[2 * step] = (even - odd) * near;
    to[3 * step] = (even2 + odd2) * far;
    to[4 * step] = (even2 - odd2) * far;
    to[5 * step] = g2;
}

/* u[k * plane + f] = (G g G^T)[k] for the taps g[tap * size + f] of `size` filters, a whole number of vectors. */
static inline void winograd_weights4(const float *g, ptrdiff_t size, float *u, ptrdiff_t plane) {
    EACH_VECTOR(f, size) {
        vec_float t[18], w[6];
        for (int j = 0; j < 3; j++) winograd_taps4(AT(g + j * size + f), AT(g + (3 + j) * size + f), AT(g + (6 + j) * size + f), t + j, 3);
        for (int i = 0; i < 6; i++) {
            winograd_taps4(t[3 * i], t[3 * i + 1], t[3 * i + 2], w, 1);
            for (int j = 0; j < 6; j++) PUT(u + (6 * i + j) * plane + f, w[j]);
        }
    }
}

/* to[i * step] = (A^T m)[i], i = 0 … 3. 12 sums and multiply-adds. */
TILE_INLINE void winograd_output4(const vec_float *m, vec_float *to, const int step) {
    const vec_float sum = m[1] + m[2], gap = m[1] - m[2], sum2 = m[3] + m[4], gap2 = m[3] - m[4];
    to[0] = m[0] + (sum + sum2);
    to[step] = winograd_p * gap + winograd_q * gap2;
    to[2 * step] = winograd_pp * sum + winograd_qq * sum2;
    to[3 * step] = m[5] + ((winograd_p * winograd_pp) * gap + (winograd_q * winograd_qq) * gap2);
}

/* y[f] of a tile's 4 x 4 pixels, `depth` and `row` apart, = start[f] + (A^T m A)[pixel] for m[k * plane + f], of the first
 * `columns` and `rows` of them. 36 loads, 120 sums, 16 stores per vector. Returns `spoilt` plus zeros, or NaN where y is not
 * finite. */
TILE_INLINE vec_float winograd_pixels4(ptrdiff_t columns, ptrdiff_t rows, const float *m, ptrdiff_t plane, ptrdiff_t filters,
                                       const float *start, float *y, ptrdiff_t depth, ptrdiff_t row, vec_float spoilt) {
    EACH_VECTOR(f, filters) {
        vec_float t[24];
        TILE_UNROLL for (int j = 0; j < 6; j++) {
            vec_float d[6];
            TILE_UNROLL for (int i = 0; i < 6; i++) d[i] = AT(m + (6 * i + j) * plane + f);
            winograd_output4(d, t + j, 6);
        }
        const vec_float b = AT(start + f);
        for (int i = 0; i < 4 && i < rows; i++) {
            vec_float out[4];
            winograd_output4(t + 6 * i, out, 1);
            TILE_UNROLL for (int j = 0; j < 4; j++)
                if (j < columns) {
                    out[j] += b;
                    PUT(y + i * row + j * depth + f, out[j]);
                    spoilt += out[j] * 0;
                }
        }
    }
    return spoilt;
}
