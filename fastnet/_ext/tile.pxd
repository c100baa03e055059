"""The register tiles of tile.h, and how a range of channels is cut into panels of them."""

from fastnet._ext.types cimport real

cdef extern from "tile.h" nogil:
    int TILE_BYTES, TILE_VECS, TILE_PIXELS, TILE_MOST_RUN
    int most_run "tile_run"[]
    int tile_rows[]
    void tile_pixels_float(int vecs, const float **at, const Py_ssize_t *offset, Py_ssize_t segments, Py_ssize_t length,
                           const float *b, const float *start, float **out, const float *ahead, Py_ssize_t pace) noexcept
    void tile_pixels_double(int vecs, const double **at, const Py_ssize_t *offset, Py_ssize_t segments, Py_ssize_t length,
                            const double *b, const double *start, double **out, const double *ahead, Py_ssize_t pace) noexcept
    void tile_run_float(int pixels, int vecs, const float *at, Py_ssize_t step, const Py_ssize_t *offset, Py_ssize_t segments,
                        Py_ssize_t length, const float *b, const float *start, float *out, Py_ssize_t out_step,
                        const float *ahead, Py_ssize_t pace) noexcept
    void tile_run_double(int pixels, int vecs, const double *at, Py_ssize_t step, const Py_ssize_t *offset,
                         Py_ssize_t segments, Py_ssize_t length, const double *b, const double *start, double *out,
                         Py_ssize_t out_step, const double *ahead, Py_ssize_t pace) noexcept
    void tile_weights_float(int rows, int vecs, const float *x, const Py_ssize_t *at, const float *dy, Py_ssize_t count,
                            bint add, float *out, const float *ahead, Py_ssize_t pace) noexcept
    void tile_weights_double(int rows, int vecs, const double *x, const Py_ssize_t *at, const double *dy, Py_ssize_t count,
                             bint add, double *out, const double *ahead, Py_ssize_t pace) noexcept
    void tile_pack_float(const float *x, Py_ssize_t step, Py_ssize_t pixels, Py_ssize_t count, int vecs, float *out) noexcept
    void tile_pack_double(const double *x, Py_ssize_t step, Py_ssize_t pixels, Py_ssize_t count, int vecs, double *out) noexcept
    void tile_turn_float(const float *x, const Py_ssize_t *at, Py_ssize_t pixels, Py_ssize_t length, Py_ssize_t rows,
                         Py_ssize_t apart, float *out) noexcept
    void tile_turn_double(const double *x, const Py_ssize_t *at, Py_ssize_t pixels, Py_ssize_t length, Py_ssize_t rows,
                          Py_ssize_t apart, double *out) noexcept
    int tile_width_float, tile_width_double


cdef inline void tile_pixels(int vecs, const real **at, const Py_ssize_t *offset, Py_ssize_t segments, Py_ssize_t length,
                             const real *b, const real *start, real **out, const real *ahead, Py_ssize_t pace) noexcept nogil:
    if real is float:
        tile_pixels_float(vecs, at, offset, segments, length, b, start, out, ahead, pace)
    else:
        tile_pixels_double(vecs, at, offset, segments, length, b, start, out, ahead, pace)


cdef inline void tile_run(int pixels, int vecs, const real *at, Py_ssize_t step, const Py_ssize_t *offset,
                          Py_ssize_t segments, Py_ssize_t length, const real *b, const real *start, real *out,
                          Py_ssize_t out_step, const real *ahead, Py_ssize_t pace) noexcept nogil:
    if real is float:
        tile_run_float(pixels, vecs, at, step, offset, segments, length, b, start, out, out_step, ahead, pace)
    else:
        tile_run_double(pixels, vecs, at, step, offset, segments, length, b, start, out, out_step, ahead, pace)


cdef inline void tile_weights(int rows, int vecs, const real *x, const Py_ssize_t *at, const real *dy, Py_ssize_t count,
                              bint add, real *out, const real *ahead, Py_ssize_t pace) noexcept nogil:
    if real is float:
        tile_weights_float(rows, vecs, x, at, dy, count, add, out, ahead, pace)
    else:
        tile_weights_double(rows, vecs, x, at, dy, count, add, out, ahead, pace)


cdef inline void tile_pack(const real *x, Py_ssize_t step, Py_ssize_t pixels, Py_ssize_t count, int vecs, real *out) noexcept nogil:
    if real is float:
        tile_pack_float(x, step, pixels, count, vecs, out)
    else:
        tile_pack_double(x, step, pixels, count, vecs, out)


cdef inline void tile_turn(const real *x, const Py_ssize_t *at, Py_ssize_t pixels, Py_ssize_t length, Py_ssize_t rows,
                           Py_ssize_t apart, real *out) noexcept nogil:
    if real is float:
        tile_turn_float(x, at, pixels, length, rows, apart, out)
    else:
        tile_turn_double(x, at, pixels, length, rows, apart, out)


cdef inline Py_ssize_t lanes(const real *example) noexcept nogil:
    """Numbers in a vector."""
    if real is float:
        return tile_width_float
    else:
        return tile_width_double


# Channels are cut into vectors, vectors into panels of up to TILE_VECS, as equal as can be: 4 vectors are 2 + 2, not 3 + 1,
# because a narrow tile is bound by its loads.

cdef inline Py_ssize_t panel_count(Py_ssize_t vectors) noexcept nogil:
    return (vectors + TILE_VECS - 1) // TILE_VECS


cdef inline Py_ssize_t panel_start(Py_ssize_t vectors, Py_ssize_t panel) noexcept nogil:
    """The first vector of a panel; panel_start(vectors, panel_count(vectors)) is vectors."""
    return panel * vectors // panel_count(vectors)
