"""What this machine can do at most, measured: the figures that every benchmark is a share of."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from . import config, memory
from ._ext import amx_peak, peak


class Peaks(NamedTuple):
    """Floating-point operations per second (a multiply-add is two) and bytes read per second.

    The vector units work in the dtype that was asked for, AMX's tiles in bfloat16; below level amx there are no tiles.
    """

    one_core: float
    all_threads: float
    bandwidth: float
    tiles_one_core: float | None = None
    tiles_all_threads: float | None = None


def measure(
    threads: int | None = None,
    dtype: DTypeLike = np.float32,
    *,
    seconds: float = 0.3,
    megabytes: int = 64,
    kernels: Any = peak,
    tiles: Any = amx_peak,
) -> Peaks:
    """Measure the peaks for this many threads (the configured ones if None), at the level in use, in about `seconds`.

    The best of many short runs counts: whatever disturbs a run can only make it slower. Bandwidth is that of reading an
    array of `megabytes`, which should be larger than the caches of the cores. `kernels` is `peak` at some level, `tiles` is
    `amx_peak` or None.
    """
    threads = config.get_num_threads() if threads is None else threads
    each = seconds / (5 if tiles else 3)
    one, every = _multiply_adds(kernels, threads, dtype, each)
    bandwidth = _bandwidth(kernels, threads, each, megabytes)
    return Peaks(one, every, bandwidth, *(_multiply_adds(tiles, threads, np.float32, each) if tiles else ()))


def _multiply_adds(kernels: Any, threads: int, dtype: DTypeLike, seconds: float) -> tuple[float, float]:
    """Operations per second on one core and on all threads, each measured for `seconds`."""
    one = _rate(kernels, 1, dtype, seconds)
    # On a machine busy with other things threads wait for each other, and several can come out below one.
    return one, one if threads == 1 else max(one, _rate(kernels, threads, dtype, seconds))


def _rate(kernels: Any, threads: int, dtype: DTypeLike, seconds: float) -> float:
    out = memory.zeros((threads,), dtype)
    rounds = 20_000  # under a millisecond: short enough to fall between two disturbances
    done = kernels.multiply_adds(out, rounds, threads)
    return float(2 * done / _best(lambda: kernels.multiply_adds(out, rounds, threads), seconds))


def _bandwidth(kernels: Any, threads: int, seconds: float, megabytes: int) -> float:
    x = memory.zeros((megabytes << 17,), np.int64)
    sums = memory.zeros((threads,), np.int64)
    kernels.read(x, sums, threads)
    return x.nbytes / _best(lambda: kernels.read(x, sums, threads), seconds)


def _best(call: Callable[[], object], seconds: float) -> float:
    """The shortest of the calls that fit into `seconds`, of at least three."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
