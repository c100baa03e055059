"""The passes over flat arrays, at every instruction-set level, for lengths around their chunks and lanes."""

import numpy as np
import pytest

from fastnet import _ext, memory

LENGTHS = [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 50_003]
AT = pytest.mark.parametrize("level", _ext.available_levels())
KIND = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def integers(n, dtype, seed):
    """Small whole numbers: sums and products of them are exact, so the kernels must be too."""
    array = memory.empty((n,), dtype)
    array[:] = np.random.default_rng(seed).integers(-9, 10, n)
    return array


def pieces(*rows):
    """Stretches (start, stop, factor of lr, factor of decay) as the update rules take them."""
    return np.array(rows, np.float64).reshape(-1, 4)


@AT
@KIND
@pytest.mark.parametrize("n", LENGTHS)
def test_passes_over_whole_numbers_are_exact(level, dtype, n):
    flat = _ext.load("flat", level)
    a, b = integers(n, dtype, 1), integers(n, dtype, 2)
    x, y = a.copy(), b.copy()
    assert flat.dot(a, b, 2) == float((x.astype(np.int64) * y.astype(np.int64)).sum())
    flat.swap(a, b, 2)
    np.testing.assert_array_equal(a, y)
    np.testing.assert_array_equal(b, x)
    flat.axpy(a, b, 3.0, -2.0, 2)
    np.testing.assert_array_equal(a, 3 * x - 2 * y)
    flat.lerp(b, a, 0.25, 2)
    np.testing.assert_array_equal(b, x + (a - x) / 4)
    flat.limit(a, -2.0, 11.0, 2)
    np.testing.assert_array_equal(a, np.clip(-2 * (3 * x - 2 * y), -11, 11))


@AT
@KIND
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_sgd_on_whole_numbers_is_exact_wherever_the_decayed_part_ends(level, dtype, n, share):
    w, g, v = (integers(n, dtype, seed) for seed in range(3))
    decayed = int(share * n)
    d = g + 2 * w * (np.arange(n) < decayed)
    expected = w - 4 * (d + 3 * (3 * v + d))
    velocity = 3 * v + d
    _ext.load("update", level).sgd(w, g, v, pieces((0, decayed, 1, 1), (decayed, n, 1, 0)), 4.0, 3.0, True, 2.0, 2)
    np.testing.assert_array_equal(w, expected)
    np.testing.assert_array_equal(v, velocity)


@AT
@KIND
def test_each_piece_has_its_own_rate_and_decay_and_what_is_in_none_stays(level, dtype):
    n = 40_007
    w, g, v = (integers(n, dtype, seed) for seed in range(3))
    lr, decay, learns = np.full(n, 4.0), np.zeros(n), np.ones(n, bool)
    lr[20_000:] = 8
    decay[100:33_000] = 6
    learns[:100], learns[30_000:30_016] = False, False
    d = g + decay * w
    expected = np.where(learns, w - lr * (d + 3 * (3 * v + d)), w), np.where(learns, 3 * v + d, v)
    table = pieces((100, 20_000, 1, 3), (20_000, 30_000, 2, 3), (30_016, 33_000, 2, 3), (33_000, n, 2, 0))
    _ext.load("update", level).sgd(w, g, v, table, 4.0, 3.0, True, 2.0, 2)
    np.testing.assert_array_equal(w, expected[0])
    np.testing.assert_array_equal(v, expected[1])


@AT
def test_arrays_of_other_lengths_are_refused(level):
    update, flat = _ext.load("update", level), _ext.load("flat", level)
    a, b = np.zeros(5), np.zeros(4)
    with pytest.raises(ValueError, match="5 weights, found 4 gradients"):
        update.sgd(a, b, None, pieces(), 0.1, 0.0, False, 0.0, 1)
    with pytest.raises(ValueError, match="5 weights, found a piece from 3 to 6"):
        update.sgd(a, a, None, pieces((0, 3, 1, 1), (3, 6, 1, 1)), 0.1, 0.0, False, 0.0, 1)
    with pytest.raises(ValueError, match="5 weights, found a state of 4"):
        update.adagrad(a, a, b, pieces((0, 5, 1, 1)), 0.1, 1e-8, 0.0, 1)
    with pytest.raises(ValueError, match="5 elements, found 4"):
        flat.dot(a, b, 1)
    for two in (lambda: flat.lerp(a, b, 0.5, 1), lambda: flat.swap(a, b, 1), lambda: flat.axpy(a, b, 1.0, 1.0, 1)):
        with pytest.raises(ValueError, match=r"expected 5 elements in both .* found 4"):
            two()
