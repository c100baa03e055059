"""exp, expm1, tanh, log1p and the normal distribution for float, as plain arithmetic that the compiler vectorises.

The C library's functions are calls, one number at a time. Here each is a range reduction and a polynomial without branches,
good to about 2 units in the last place (tests/functional/test_activations.py measures it). The coefficients are least-squares
fits weighted towards the smallest largest relative error. double takes the C library's functions: it is for checking gradients.
NaN gives NaN; overflow gives Inf; underflow goes through the denormal numbers to 0.
"""

from libc.math cimport copysign, erfc, exp, expm1, fabs, log1p, tanh

from fastnet._ext.types cimport real

cdef extern from "<math.h>" nogil:
    float fabsf(float x)
    float copysignf(float x, float sign)

cdef union Bits:
    float value
    int bits


cdef inline float power_of_two(int n) noexcept nogil:
    """2**n for -126 <= n <= 127, written into the exponent."""
    cdef Bits b
    b.bits = (n + 127) << 23
    return b.value


cdef inline int split(float x, float *p) noexcept nogil:
    """x = n * log(2) + r with |r| <= log(2) / 2: returns n and p = exp(r) - 1 = r + r**2 * polynomial(r)."""
    cdef Bits t
    cdef float magic = 12582912.0, n, r, q   # 1.5 * 2**23: adding it rounds to an integer, which its low bits then hold
    cdef float inverse = 1.44269504, high = 0.693359375, low = -2.12194440e-4   # n * high is exact
    cdef float c2 = 0.4999999955, c3 = 0.1666657688, c4 = 0.0416668543, c5 = 0.008363213809, c6 = 0.001390131253
    t.value = x * inverse + magic
    n = t.value - magic
    r = x - n * high
    r = r - n * low
    q = c2 + r * (c3 + r * (c4 + r * (c5 + r * c6)))
    p[0] = r + r * r * q
    return t.bits - 0x4B400000


cdef inline float exp_f(float x) noexcept nogil:
    cdef float p, one = 1, least = -104.5, most = 89
    cdef int n, half
    x = least if x < least else x            # written so that NaN passes
    x = most if x > most else x
    n = split(x, &p)
    half = n >> 1                            # 2**n in two factors: n reaches 129 and -151
    return (one + p) * power_of_two(half) * power_of_two(n - half)


cdef inline float expm1_f(float x) noexcept nogil:
    """exp(x) - 1 for x <= 88; below -25 it is -1."""
    cdef float p, scale, one = 1, least = -25
    cdef int n
    x = least if x < least else x
    n = split(x, &p)
    scale = power_of_two(n)
    return scale * p + (scale - one)


cdef inline float tanh_f(float x) noexcept nogil:
    """e / (e + 2) with e = exp(2 |x|) - 1, and the sign of x; from 10 on it is 1."""
    cdef float e, ten = 10, two = 2, y = fabsf(x)
    y = ten if y > ten else y
    e = expm1_f(two * y)
    return copysignf(e / (e + two), x)


cdef inline float log1p_f(float u) noexcept nogil:
    """log(1 + u) = 2 atanh(s), s = u / (2 + u), for 0 <= u <= 1."""
    cdef float two = 2, s = u / (two + u), z = s * s
    cdef float c1 = 0.3333333367, c2 = 0.1999985104, c3 = 0.1429628046, c4 = 0.1085174605, c5 = 0.116194587
    return two * s + two * s * z * (c1 + z * (c2 + z * (c3 + z * (c4 + z * c5))))


cdef inline float normal_f(float x, float *density) noexcept nogil:
    """The normal distribution function at x, and exp(-x**2 / 2).

    Phi(-|x|) = exp(-x**2 / 2) * t * polynomial(1 - t), t = 1 / (1 + k |x|); 1 - t = k |x| t without cancellation.
    """
    cdef float one = 1, k = 0.3125, half = 0.5, e = exp_f(-half * x * x), y = fabsf(x), t, v, q
    cdef float c0 = 0.4999999991, c1 = -0.7766150832, c2 = 0.506760984, c3 = -0.007230112069, c4 = -0.1239169241
    cdef float c5 = -0.01006705068, c6 = 0.02310453576, c7 = 0.03068082518, c8 = -0.005266530829, c9 = -0.02276242637
    cdef float c10 = 0.009986829279, far = 64
    y = far if y > far else y                # Inf * 0 would be NaN; from 15 on e is 0
    t = one / (one + k * y)
    v = k * y * t
    q = c5 + v * (c6 + v * (c7 + v * (c8 + v * (c9 + v * c10))))
    q = e * t * (c0 + v * (c1 + v * (c2 + v * (c3 + v * (c4 + v * q)))))
    density[0] = e
    return one - q if x > 0 else q


cdef inline real exp_(real x) noexcept nogil:
    if real is float:
        return exp_f(x)
    else:
        return exp(x)


cdef inline real expm1_(real x) noexcept nogil:
    if real is float:
        return expm1_f(x)
    else:
        return expm1(x)


cdef inline real tanh_(real x) noexcept nogil:
    if real is float:
        return tanh_f(x)
    else:
        return tanh(x)


cdef inline real log1p_(real u) noexcept nogil:
    if real is float:
        return log1p_f(u)
    else:
        return log1p(u)


cdef inline real normal_(real x, real *density) noexcept nogil:
    if real is float:
        return normal_f(x, density)
    else:
        density[0] = exp(-0.5 * x * x)
        return 0.5 * erfc(-0.7071067811865476 * x)
