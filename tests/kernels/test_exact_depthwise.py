"""Depthwise convolution at tolerance 0: where vectors, tiles and parts end, and what lies outside the image."""

import numpy as np
import pytest
from kernels.exactness import compare
from kernels.geometries import Convolution

from fastnet import _ext, functional


def depthwise(N, channels, H, W, window, stride=(1, 1), padding=(1, 1), dilation=(1, 1), bias=True):
    return Convolution(N, channels, H, W, channels, *window, stride, padding, dilation, channels, bias)


@pytest.mark.parametrize("channels", [2, 3, 4, 7, 8, 11, 16, 17, 24, 32, 47, 65, 1040])
def test_every_remainder_of_channels_is_exact(channels):
    """The last vector overlaps the one before it; fewer channels than a vector holds take a shorter one."""
    rng = np.random.default_rng(channels)
    for stride in ((1, 1), (2, 2)):
        compare(depthwise(2, channels, 5, 7, (3, 3), stride), rng, _ext.available_levels())


@pytest.mark.parametrize("channels", [256, 512, 1024, 2048])
def test_pixels_that_would_meet_in_the_cache_are_exact(channels):
    """Their rows are held with gaps, in float64 from half as many channels on; the gradient has chunks of channels."""
    rng = np.random.default_rng(channels)
    compare(depthwise(2, channels, 5, 7, (3, 3)), rng, _ext.available_levels())
    compare(depthwise(2, channels, 6, 5, (3, 2), (2, 1), (1, 0), (1, 2)), rng, _ext.available_levels())


@pytest.mark.parametrize("width", range(1, 19))
def test_every_length_of_a_row_is_exact(width):
    rng = np.random.default_rng(width)
    for stride in (1, 2, 3):
        compare(depthwise(1, 20, 4, width, (3, 3), (stride, stride)), rng, _ext.available_levels())


@pytest.mark.parametrize("window", [(1, 2), (2, 4), (3, 5), (5, 3), (7, 6), (6, 7), (4, 9)])
@pytest.mark.parametrize(
    ("stride", "dilation"), [((1, 1), (1, 1)), ((2, 1), (1, 1)), ((2, 3), (1, 2)), ((1, 2), (3, 1))]
)
def test_every_window_is_exact_at_strides_and_dilations(window, stride, dilation):
    rng = np.random.default_rng(sum(window))
    case = depthwise(2, 19, 13, 15, window, stride, (window[0] // 2, window[1] // 2), dilation)
    compare(case, rng, _ext.available_levels())


@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_images_beyond_the_second_level_cache_are_exact(stride):
    """From there on what the next row needs is fetched ahead, also behind the last row; the gradient has several parts."""
    compare(depthwise(3, 50, 43, 61, (3, 3), stride), np.random.default_rng(4), _ext.available_levels())


def test_padding_is_zeros_to_be_multiplied_in_the_outputs_and_nothing_at_all_in_the_input_gradient():
    """0 * Inf is NaN: in y where an infinite weight lies on padding, in dw where an infinite dy does; dx has no padding."""
    x, w = np.ones((1, 18, 6, 5), np.float32), np.ones((18, 1, 3, 3), np.float32)
    w[:, :, 0, 0] = np.inf  # lies on padding for the outputs of the first row and the first column
    y, saved = functional.conv2d(x, w, padding=1, groups=18)
    outside = np.zeros((6, 5), bool)
    outside[0], outside[:, 0] = True, True
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(outside, y.shape))
    dy = np.ones_like(y)
    assert not np.isnan(functional.conv2d_backward(dy, saved)[0]).any()
    dy[:, :, 0, 2] = np.inf  # over padding with the taps of the first row
    dw = functional.conv2d_backward(dy, saved)[1]
    np.testing.assert_array_equal(np.isnan(dw[:, 0]), np.broadcast_to(np.eye(3, 1, dtype=bool), (18, 3, 3)))
