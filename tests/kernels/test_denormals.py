"""Denormal numbers: zero in products of float32, kept in those of float64 and in everything else the process does."""

import platform
import sys

import numpy as np
import pytest
from kernels.exactness import at_level, threads

from fastnet import _ext, functional

LEVELS = pytest.mark.parametrize("level", _ext.available_levels())
flushes = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="this processor computes with denormals at full speed"
)
PRODUCTS = {  # forward, backward, the shapes of x and w, options
    "conv2d": (functional.conv2d, functional.conv2d_backward, (2, 5, 7, 6), (4, 5, 3, 2), dict(padding=1)),
    "depthwise": (functional.conv2d, functional.conv2d_backward, (2, 6, 9, 7), (6, 1, 3, 2), dict(groups=6)),
    "conv_transpose2d": (
        functional.conv_transpose2d, functional.conv_transpose2d_backward, (2, 5, 7, 6), (5, 4, 3, 2), dict(stride=2)
    ),
    "linear": (functional.linear, functional.linear_backward, (7, 40), (11, 40), {}),
}  # fmt: skip


def products(name, x_size, w_size, dy_size, dtype=np.float32):
    """y, dx and dw of one operation on arrays whose numbers are all of these sizes."""
    forward, backward, x_shape, w_shape, options = PRODUCTS[name]
    y, saved = forward(np.full(x_shape, x_size, dtype), np.full(w_shape, w_size, dtype), **options)
    dx, dw, _ = backward(np.full(y.shape, dy_size, dtype), saved)
    return y, dx, dw


@flushes
@LEVELS
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_denormal_factor_and_a_denormal_result_are_zero_in_float32(name, level):
    with at_level(level):
        y, dx, dw = products(name, 1e-40, 1e10, 1e10)
        assert not y.any()
        assert (dx > 1e19).all()
        assert not dw.any()
        y, dx, dw = products(name, 1e10, 1e-40, 1e-40)
        assert not y.any()
        assert not dx.any()
        assert not dw.any()
        for array in products(name, 1e-20, -1e-20, 1e-20):
            assert not array.any()


@LEVELS
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_float64_underflow_gradually(name, level):
    with at_level(level):
        for array in products(name, 2.0**-1060, 2.0, 2.0**-14, np.float64):
            assert array.any()
            assert (array % 2.0**-1074 == 0).all()


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_denormals_stay_everywhere_else_after_work_on_every_thread(name, count):
    small = np.full((3, 7, 50, 90), -1e-40, np.float32)
    with threads(count):
        products(name, 1e-40, 1.0, 1e-40)
        assert sys.float_info.min / 2 != 0
        assert (small / 2 != 0).all()
        assert (functional.leaky_relu(small)[0] < 0).all()  # on the same worker threads


def test_numbers_near_the_denormal_ones_give_the_same_bits_on_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, w, dy = (
        (rng.standard_normal(shape) * 10.0 ** rng.uniform(-45, -18, shape)).astype(np.float32)
        for shape in ((5, 16, 20, 18), (24, 16, 3, 2), (5, 24, 18, 17))
    )
    found = []
    for count in (1, 2, 3):
        with threads(count):
            y, saved = functional.conv2d(x, w)
            found.append([a.tobytes() for a in (y, *functional.conv2d_backward(dy, saved)[:2])])
    assert found[0] == found[1] == found[2]
