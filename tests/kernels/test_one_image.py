"""Products of one image, as inference asks for them: shared out between threads, the same bits on any number of them."""

import numpy as np
import pytest
from kernels.exactness import WINOGRAD, at_level, threads

from fastnet import _ext, config, functional, reference
from fastnet.functional import split

LEVELS = [*_ext.available_levels(), *([WINOGRAD] if "amx" in _ext.available_levels() else [])]
PRODUCTS = [  # x, w, options: half a million multiply-adds and more, one block of pixels for a single thread
    ((1, 16, 33, 30), (20, 16, 5, 5), {"padding": 2}),
    ((1, 3, 34, 31), (40, 3, 7, 7), {"padding": 3, "stride": (1, 2)}),
    ((1, 66, 15, 14), (70, 66, 3, 3), {"padding": 1}),
    ((1, 130, 9, 7), (200, 130, 1, 1), {}),
]


def arrays(x_shape, w_shape):
    rng = np.random.default_rng(31)
    return [rng.standard_normal(shape).astype(np.float32) for shape in (x_shape, w_shape, w_shape[:1])]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("x_shape", "w_shape", "options"), PRODUCTS, ids=str)
def test_one_image_has_the_same_bits_on_any_number_of_threads(x_shape, w_shape, options, level):
    x, w, b = arrays(x_shape, w_shape)
    found = []
    with at_level(level):
        for count in (1, 2, 3, 7):
            with threads(count):
                found.append(functional.conv2d(x, w, b, **options)[0])
    wanted = reference.conv2d(*(a.astype(np.float64) for a in (x, w, b)), **options)[0]
    assert np.abs(found[0] - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert {y.tobytes() for y in found} == {found[0].tobytes()}


@pytest.mark.skipif("amx" not in _ext.available_levels(), reason="tiles are those of AMX")
@pytest.mark.parametrize(("x_shape", "splits"), [((1, 64, 6, 4), False), ((9, 64, 6, 4), True), ((1, 64, 4, 11), True)])
def test_tiles_that_few_pixels_fill_are_left_to_vectors_at_highest(x_shape, splits):
    x, w, b = arrays(x_shape, (72, 64, 3, 3))
    image, options = np.ascontiguousarray(x.transpose(0, 2, 3, 1)), split.POINT._replace(kernel=(3, 3), padding=(1, 1))
    out = np.empty((*image.shape[:3], 72), np.float32)
    with config.precision("highest"):
        assert split.correlate(image, w, b, out, options, scatter=False) == splits
