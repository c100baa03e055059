"""The compiled convolution and pooling of the course against the naive loops."""

import numpy as np
import pytest
from course import draws

from fastnet.cs231n import fast_layers, layers

# x, w, stride, pad: filters of 2x3 and 3x2 (an im2col with height and width swapped passes on squares), odd strides
CONVOLUTIONS = [
    ((2, 3, 8, 6), (4, 3, 2, 3), 1, 0),
    ((2, 3, 7, 9), (4, 3, 3, 2), 2, 1),
    ((1, 2, 11, 8), (3, 2, 3, 3), 3, 1),
    ((2, 3, 9, 13), (2, 3, 2, 3), 5, 2),
    ((3, 4, 5, 6), (2, 4, 1, 1), 1, 0),
    ((2, 1, 4, 7), (3, 1, 4, 7), 1, 0),
]
# x, pool_height, pool_width, stride: tiles, overlapping windows, windows with gaps, edges left over
POOLINGS = [
    ((2, 3, 8, 6), 2, 2, 2),
    ((2, 3, 7, 9), 3, 3, 2),
    ((2, 3, 7, 6), 3, 2, 1),
    ((1, 2, 11, 9), 2, 3, 3),
    ((2, 1, 10, 13), 2, 3, 5),
    ((1, 3, 5, 4), 5, 4, 1),
]
ORDERS = {"C": np.ascontiguousarray, "Fortran": np.asfortranarray, "reversed": lambda x: np.flip(np.flip(x).copy())}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("x_shape", "w_shape", "stride", "pad"), CONVOLUTIONS)
@pytest.mark.parametrize("way", ["im2col", "strides", "fast"])
def test_fast_convolution_agrees_with_the_naive_one(way, x_shape, w_shape, stride, pad, order):
    draw, param = draws(231), {"stride": stride, "pad": pad}
    x, w, b = draw(*x_shape), draw(*w_shape), draw(w_shape[0])
    wanted, naive = layers.conv_forward_naive(x, w, b, param)
    found, cache = getattr(fast_layers, f"conv_forward_{way}")(ORDERS[order](x), ORDERS[order](w), b, param)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    dout = draw(*wanted.shape)
    gradients = getattr(fast_layers, f"conv_backward_{way}")(ORDERS[order](dout), cache)
    for g, reference in zip(gradients, layers.conv_backward_naive(dout, naive)):
        np.testing.assert_allclose(g, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("x_shape", "height", "width", "stride"), POOLINGS)
@pytest.mark.parametrize("way", ["fast", "reshape", "im2col"])
def test_fast_pooling_agrees_with_the_naive_one(way, x_shape, height, width, stride, order):
    draw, param = draws(5), {"pool_height": height, "pool_width": width, "stride": stride}
    x = np.round(2 * draw(*x_shape))  # with many equal maxima: the first one wins on both paths
    wanted, naive = layers.max_pool_forward_naive(x, param)
    found, cache = getattr(fast_layers, f"max_pool_forward_{way}")(ORDERS[order](x), param)
    np.testing.assert_array_equal(found, wanted)
    dout = draw(*wanted.shape)
    dx = getattr(fast_layers, f"max_pool_backward_{way}")(ORDERS[order](dout), cache)
    np.testing.assert_allclose(dx, layers.max_pool_backward_naive(dout, naive), rtol=1e-14, atol=1e-14)
    assert dx.flags.c_contiguous


def test_a_nan_stays_in_the_windows_that_see_it():
    x = np.zeros((1, 1, 4, 6))
    x[0, 0, 1, 4] = np.nan
    for forward in (layers.max_pool_forward_naive, fast_layers.max_pool_forward_fast):
        out, _ = forward(x, {"pool_height": 2, "pool_width": 3, "stride": 2})
        np.testing.assert_array_equal(np.isnan(out[0, 0]), [[False, True], [False, False]])


CONVS = [layers.conv_forward_naive, fast_layers.conv_forward_fast]
POOLS = [layers.max_pool_forward_naive, fast_layers.max_pool_forward_fast]


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "param", "kind", "message"),
    [
        ((2, 3, 4, 5), (2, 3, 5, 3), {"stride": 1, "pad": 0}, ValueError, "larger than the padded input"),
        ((2, 3, 4, 5), (2, 4, 3, 3), {"stride": 1, "pad": 0}, ValueError, "wanted x"),
        ((2, 3, 20), (2, 3, 3, 3), {"stride": 1, "pad": 0}, ValueError, "wanted x"),
        ((2, 3, 4, 5), (2, 3, 3, 3), {"stride": 0, "pad": 0}, ValueError, "at least 1, found 0"),
        ((2, 3, 4, 5), (2, 3, 3, 3), {"stride": 1, "pad": -1}, ValueError, "at least 0, found -1"),
        ((2, 3, 4, 5), (2, 3, 3, 3), {"stride": 1.5, "pad": 1}, TypeError, "must be an integer, found 1.5"),
        ((2, 3, 4, 5), (2, 3, 3, 3), {"pad": 1}, KeyError, "needs 'stride'"),
    ],
)
def test_both_convolutions_refuse_what_does_not_fit(conv, x_shape, w_shape, param, kind, message):
    with pytest.raises(kind, match=message):
        conv(np.ones(x_shape), np.ones(w_shape), np.ones(w_shape[0]), param)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("x_shape", "sizes", "kind", "message"),
    [
        ((2, 3, 4, 5), (5, 2, 1), ValueError, "larger than the padded input"),
        ((3, 4, 5), (2, 2, 1), ValueError, r"x must be \(N, C, H, W\)"),
        ((2, 3, 4, 5), (2, 0, 1), ValueError, "at least 1, found 0"),
        ((2, 3, 4, 5), (2, 2, 2.0), TypeError, "must be an integer, found 2.0"),
    ],
)
def test_both_poolings_refuse_what_does_not_fit(pool, x_shape, sizes, kind, message):
    with pytest.raises(kind, match=message):
        pool(np.ones(x_shape), dict(zip(("pool_height", "pool_width", "stride"), sizes)))
