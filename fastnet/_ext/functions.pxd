"""Activation functions and their derivatives, over numbers that lie together: see fastnet/functional/activations.py."""

from fastnet._ext.types cimport real
from fastnet._ext.vmath cimport exp_, expm1_, gelu_slope_, log1p_, normal_, tanh_

cdef enum:
    F_RELU
    F_LEAKY_RELU
    F_ELU
    F_SIGMOID
    F_TANH
    F_GELU
    F_SILU
    F_SOFTPLUS


cdef inline real logistic(real x, real *rest) noexcept nogil:
    """p = 1 / (1 + exp(-x)) and rest = 1 - p, both without cancellation, and without overflow."""
    cdef real one = 1, e = exp_(-x if x > 0 else x), d = one / (one + e)
    rest[0] = e * d if x > 0 else d
    return d if x > 0 else e * d


cdef inline void function(int f, const real *x, real *y, Py_ssize_t n, real a) noexcept nogil:
    """y = f(x). Comparisons are turned so that NaN stays NaN."""
    cdef Py_ssize_t i
    cdef real zero = 0, twenty = 20, e, v
    if f == F_RELU:
        for i in range(n):
            y[i] = zero if x[i] <= zero else x[i]
    elif f == F_LEAKY_RELU:
        for i in range(n):
            y[i] = x[i] if x[i] > zero else a * x[i]
    elif f == F_ELU:
        for i in range(n):
            v = x[i]
            e = a * expm1_(zero if v > zero else v)
            y[i] = v if v > zero else e
    elif f == F_SIGMOID:
        for i in range(n):
            y[i] = logistic(x[i], &e)
    elif f == F_TANH:
        for i in range(n):
            y[i] = tanh_(x[i])
    elif f == F_GELU:
        for i in range(n):
            y[i] = x[i] * normal_(x[i])
    elif f == F_SILU:
        for i in range(n):
            y[i] = x[i] * logistic(x[i], &e)
    elif f == F_SOFTPLUS:
        for i in range(n):                   # max(x, 0) + log(1 + exp(-|x|))
            v = x[i]
            e = log1p_(exp_(-v if v > zero else v)) + (v if v > zero else zero)
            y[i] = v if v > twenty else e


cdef inline void derivative(int f, const real *s, const real *dy, real *dx, Py_ssize_t n, real a) noexcept nogil:
    """dx = dy * f'(x), from s: the output y for F_RELU, F_SIGMOID and F_TANH, else the input x. dx may be s."""
    cdef Py_ssize_t i
    cdef real one = 1, zero = 0, twenty = 20, e, p, v
    if f == F_RELU:
        for i in range(n):
            v = dy[i]                        # read it in any case: a load under a condition is no vector at the lowest level
            dx[i] = zero if s[i] <= zero else v
    elif f == F_LEAKY_RELU:
        for i in range(n):
            dx[i] = dy[i] if s[i] > zero else a * dy[i]
    elif f == F_ELU:
        for i in range(n):
            v = s[i]
            e = a * exp_(zero if v > zero else v)
            dx[i] = dy[i] if v > zero else dy[i] * e
    elif f == F_SIGMOID:
        for i in range(n):
            dx[i] = dy[i] * (s[i] * (one - s[i]))
    elif f == F_TANH:
        for i in range(n):
            dx[i] = dy[i] * (one - s[i] * s[i])
    elif f == F_GELU:
        for i in range(n):
            dx[i] = dy[i] * gelu_slope_(s[i])
    elif f == F_SILU:
        for i in range(n):
            p = logistic(s[i], &e)
            dx[i] = dy[i] * p * (one + s[i] * e)
    elif f == F_SOFTPLUS:
        for i in range(n):
            p = logistic(s[i], &e)
            dx[i] = dy[i] if s[i] > twenty else dy[i] * p
