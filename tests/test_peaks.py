"""The measured peaks: the kernels do what they count, at every level."""

import numpy as np
import pytest

from fastnet import _ext, peaks


@pytest.mark.parametrize("level", _ext.available_levels())
@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 4), (np.float64, 8)])
def test_multiply_adds_counts_whole_registers_and_ends_at_the_fixed_point(level, dtype, size):
    kernels = _ext.load("peak", level)
    out = np.zeros(3, dtype)
    done = kernels.multiply_adds(out, 100, 2)
    assert done % (3 * 100 * 12) == 0
    assert done // (3 * 100 * 12) * size in (size, 16, 32, 64)  # bytes of one register
    np.testing.assert_array_equal(out, 12)  # twelve chains s -> s / 2 + 1 / 2, each at 1


@pytest.mark.skipif("amx" not in _ext.available_levels(), reason="no AMX here")
def test_a_tile_product_counts_every_multiply_add_and_each_is_done():
    out = np.zeros(3, np.float32)
    done = _ext.load("amx_peak", "amx").multiply_adds(out, 1000, 2)
    assert done == 3 * 1000 * 4 * 16 * 16 * 32
    np.testing.assert_array_equal(out, 4 * 32 * 1000)


@pytest.mark.parametrize("level", _ext.available_levels())
def test_read_reads_every_number_once(level):
    x = np.arange(10_007, dtype=np.int64)
    sums = np.zeros(5, np.int64)
    _ext.load("peak", level).read(x, sums, 2)
    assert sums.sum() == x.sum()
    assert np.all(sums > 0)


def test_measured_peaks_are_positive_and_threads_never_lower_them():
    found = peaks.measure(threads=2, seconds=0.02, megabytes=1)
    assert found.one_core > 1e8
    assert found.all_threads >= found.one_core
    assert found.bandwidth > 1e7
    assert (found.tiles_one_core is None) == (_ext.level != "amx")


@pytest.mark.skipif(_ext.level != "amx", reason=f"the level is {_ext.level}")
def test_the_peak_of_the_tiles_is_measured_where_there_are_tiles():
    found = peaks.measure(threads=2, seconds=0.05, megabytes=1)
    assert found.tiles_one_core > 1e9
    assert found.tiles_all_threads >= found.tiles_one_core
    without = peaks.measure(threads=2, seconds=0.02, megabytes=1, tiles=None)
    assert without.tiles_one_core is without.tiles_all_threads is None
