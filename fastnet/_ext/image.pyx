"""Images on their way into a batch: gathered, cropped, flipped, cut out and normalised in one pass over their bytes.

Everything is channels-last. One output pixel costs the read of its bytes, one fused multiply-add per channel against
tables that stay in the first-level cache, and the write of its floats: the write is the limit it meets.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t

from fastnet._ext.types cimport real

ctypedef fused pixel:
    uint8_t
    float
    double


cdef inline Py_ssize_t mirrored(Py_ssize_t q, Py_ssize_t length) noexcept nogil:
    """q reflected at the borders without repeating the border: -1 is 1, length is length - 2."""
    if q < 0:
        q = -q
    return 2 * length - 2 - q if q >= length else q


cdef inline void straight(const pixel *x, const real *scale, const real *shift, real *y, Py_ssize_t count) noexcept nogil:
    """y = x * scale + shift over a run of neighbouring values."""
    cdef Py_ssize_t t
    for t in range(count):
        y[t] = <real>x[t] * scale[t] + shift[t]


cdef inline void backwards(const pixel *x, const real *scale, const real *shift, real *y, Py_ssize_t pixels,
                           Py_ssize_t C) noexcept nogil:
    """As `straight` over pixels of C values, x taken from its last pixel back: y[j] = x[-j]."""
    cdef Py_ssize_t j, c
    for j in range(pixels):
        for c in range(C):
            y[j * C + c] = <real>x[c - j * C] * scale[j * C + c] + shift[j * C + c]


cdef void image_row(const pixel *x, const real *scale, const real *shift, real *y, Py_ssize_t W, Py_ssize_t OW,
                    Py_ssize_t C, Py_ssize_t dx, bint flip, bint reflect) noexcept nogil:
    """One output row from one input row x (W, C): column j comes from column dx + j, or dx + OW-1-j when flipped."""
    cdef Py_ssize_t j, c, q, t
    cdef Py_ssize_t first = OW + dx - W if flip else -dx     # the output columns first … last-1 lie inside the image
    cdef Py_ssize_t last = OW + dx if flip else W - dx
    first = min(max(first, 0), OW)
    last = max(min(last, OW), first)
    if first < last:
        t = first * C
        if not flip:
            straight(x + (first + dx) * C, scale + t, shift + t, y + t, (last - first) * C)
        elif C == 3:     # the constant lets the compiler unroll the pixel
            backwards(x + (OW - 1 - first + dx) * C, scale + t, shift + t, y + t, last - first, 3)
        elif C == 1:
            backwards(x + (OW - 1 - first + dx) * C, scale + t, shift + t, y + t, last - first, 1)
        else:
            backwards(x + (OW - 1 - first + dx) * C, scale + t, shift + t, y + t, last - first, C)
    for j in range(OW):
        if first <= j < last:
            continue
        q = mirrored(dx + (OW - 1 - j if flip else j), W)
        for c in range(C):
            t = j * C + c
            y[t] = <real>x[q * C + c] * scale[t] + shift[t] if reflect else shift[t]


cdef void one_image(const pixel *x, const real *scale, const real *shift, const real *fill, real *y, Py_ssize_t H,
                    Py_ssize_t W, Py_ssize_t OH, Py_ssize_t OW, Py_ssize_t C, bint by_row, const int32_t *place,
                    const int32_t *boxes, Py_ssize_t count, bint reflect) noexcept nogil:
    """One output image: every row by `image_row`, and then the boxes that cross it, while it is in the cache."""
    cdef Py_ssize_t i, k, r, t, table, row = OW * C
    cdef const int32_t *box
    for i in range(OH):
        table = i * row if by_row else 0
        r = i + place[0]
        if reflect:
            r = mirrored(r, H)
        if 0 <= r < H:
            image_row(x + r * W * C, scale + table, shift + table, y, W, OW, C, place[1], place[2], reflect)
        else:
            for t in range(row):
                y[t] = shift[table + t]
        for k in range(count):
            box = boxes + 4 * k
            if box[0] <= i < box[2]:
                for t in range(box[1] * C, box[3] * C):
                    y[t] = fill[table + t]
        y += row


def gather(const pixel[:, :, :, ::1] x, const int64_t[::1] index, const int32_t[:, ::1] place,
           const int32_t[:, :, ::1] boxes, const real[:, :, ::1] scale, const real[:, :, ::1] shift,
           const real[:, :, ::1] fill, bint reflect, real[:, :, :, ::1] y, int threads):
    """y[n,i,j] = x[index[n], i+dy, dx + (j or OW-1-j)] * scale + shift, with (dy, dx, flip) = place[n].

    x (M, H, W, C), y (N, OH, OW, C), index (N,), place (N, 3), boxes (N, K, 4) as top, left, bottom, right in y;
    scale, shift, fill (1 or OH, OW, C). Outside x a pixel is 0 before scaling, or mirrored with `reflect` (then the window
    must stay within one reflection); inside a box it is `fill`.
    """
    cdef Py_ssize_t n, k, N = y.shape[0], OH = y.shape[1], OW = y.shape[2], C = y.shape[3]
    cdef Py_ssize_t H = x.shape[1], W = x.shape[2], count = boxes.shape[1]
    if (index.shape[0] != N or place.shape[0] != N or boxes.shape[0] != N or place.shape[1] != 3 or boxes.shape[2] != 4
            or x.shape[3] != C):
        raise ValueError("image.gather: the arrays disagree about the number of images or channels")
    cdef Py_ssize_t tables = scale.shape[0]
    if (tables not in (1, OH) or shift.shape[0] != tables or fill.shape[0] != tables or scale.shape[1] != OW
            or shift.shape[1] != OW or fill.shape[1] != OW or scale.shape[2] != C or shift.shape[2] != C or fill.shape[2] != C):
        raise ValueError("image.gather: a table does not have the shape of an output image or of its row")
    for n in range(N):
        if index[n] < 0 or index[n] >= x.shape[0]:
            raise IndexError(f"image.gather: index {index[n]} is outside 0 … {x.shape[0] - 1}")
        if reflect and (place[n, 0] <= -H or place[n, 0] + OH > 2 * H - 1 or place[n, 1] <= -W or place[n, 1] + OW > 2 * W - 1):
            raise ValueError(f"image.gather: the window of image {n} reaches beyond one reflection")
    for n in range(N):
        for k in range(count):
            if not (0 <= boxes[n, k, 0] and boxes[n, k, 2] <= OH and 0 <= boxes[n, k, 1] and boxes[n, k, 3] <= OW):
                raise ValueError(f"image.gather: box {k} of image {n} lies outside the output")
    if N == 0 or OH == 0 or OW == 0 or C == 0:
        return
    cdef bint by_row = tables > 1
    cdef const int32_t *all_boxes = &boxes[0, 0, 0] if count else NULL
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        one_image(&x[index[n], 0, 0, 0], &scale[0, 0, 0], &shift[0, 0, 0], &fill[0, 0, 0], &y[n, 0, 0, 0], H, W, OH, OW, C,
                  by_row, &place[n, 0], all_boxes + 4 * count * n, count, reflect)


cdef void count_values(const uint8_t *x, int64_t *counts, Py_ssize_t pixels, Py_ssize_t C) noexcept nogil:
    cdef Py_ssize_t p, c
    for p in range(pixels):
        for c in range(C):
            counts[256 * c + x[p * C + c]] += 1


def histogram(const uint8_t[:, :, ::1] x, int64_t[:, :, ::1] counts, int threads):
    """counts[k,c,v] = how often channel c of piece k has the value v; x (K, P, C), counts (K, C, 256) zeroed by the caller.

    Sums and variances follow from it exactly; the pieces are the unit of parallel work.
    """
    cdef Py_ssize_t k, K = x.shape[0], P = x.shape[1], C = x.shape[2]
    if counts.shape[0] != K or counts.shape[1] != C or counts.shape[2] != 256:
        raise ValueError("image.histogram: counts must have the shape (K, C, 256)")
    if P == 0 or C == 0:
        return
    for k in prange(K, nogil=True, num_threads=threads, schedule="static"):
        count_values(&x[k, 0, 0], &counts[k, 0, 0], P, C)
