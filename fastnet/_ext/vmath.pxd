"""exp, expm1, tanh, log1p and the normal distribution for float, as plain arithmetic that the compiler vectorises.

The C library's functions are calls, one number at a time. Here each is a range reduction and a polynomial without branches,
good to about 2 units in the last place, the normal distribution to 3e-7 (tests/functional/test_activations.py measures it). The
coefficients are least-squares fits weighted towards the smallest largest error. double takes the C library's functions: it is for checking gradients.
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


cdef inline float normal_f(float x) noexcept nogil:
    """Phi(x) - 1/2, the normal distribution function less its middle: odd, x times a quotient of polynomials in x**2.

    Good to 1.7e-7, 3 units in the last place of 1/2: 12 multiply-adds and a division, where exp(-x**2 / 2) alone takes 20. Like
    1 + erf(x / sqrt(2)), it leaves the far left tail of Phi (below -4: 3e-5) without its last digits.
    """
    cdef float half = 0.5, far = 5.5, z = x * x, p, q    # 1 - Phi(5.5) = 2e-8, half a unit
    cdef float p0 = 0.3989422346, p1 = 0.03385277947, p2 = 0.004677269262, p3 = 0.0001688270839, p4 = 6.352132679e-06
    cdef float p5 = 2.274933498e-08, q0 = 1, q1 = 0.2515222525, q2 = 0.02864594889, q3 = 0.001884452783, q4 = 7.364798133e-05
    cdef float q5 = 1.197504137e-06
    p = x * (p0 + z * (p1 + z * (p2 + z * (p3 + z * (p4 + z * p5)))))
    q = q0 + z * (q1 + z * (q2 + z * (q3 + z * (q4 + z * q5))))
    p = p / q
    p = half if x > far else p
    return -half if x < -far else p


cdef inline float gelu_slope_f(float x) noexcept nogil:
    """Phi(x) - 1/2 + x exp(-x**2 / 2) / sqrt(2 pi), the slope of x Phi(x) less 1/2: odd too, good to 3e-7."""
    cdef float half = 0.5, zero = 0, far = 6, z = x * x, p, q      # x times the density at 6 is 4e-8
    cdef float p0 = 0.7978854234, p1 = -0.03077127854, p2 = 0.0142400134, p3 = 2.187773568e-05, p4 = 3.629699009e-05
    cdef float p5 = 2.021622488e-07, p6 = -3.395495439e-11, q0 = 1, q1 = 0.2947761135, q2 = 0.04108504713, q3 = 0.003541534393
    cdef float q4 = 0.0001933349005, q5 = 9.138182891e-06
    p = x * (p0 + z * (p1 + z * (p2 + z * (p3 + z * (p4 + z * (p5 + z * p6))))))
    q = q0 + z * (q1 + z * (q2 + z * (q3 + z * (q4 + z * q5))))
    p = p / q
    p = half + zero * x if x > far else p                # NaN at infinity, as infinity times a density of 0 is
    return zero * x - half if x < -far else p


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


cdef inline real normal_(real x) noexcept nogil:
    """Phi(x)."""
    if real is float:
        return <float>0.5 + normal_f(x)
    else:
        return 0.5 * erfc(-0.7071067811865476 * x)


cdef inline real gelu_slope_(real x) noexcept nogil:
    """The derivative of x Phi(x)."""
    if real is float:
        return <float>0.5 + gelu_slope_f(x)
    else:
        return 0.5 * erfc(-0.7071067811865476 * x) + x * exp(-0.5 * x * x) * 0.3989422804014327
