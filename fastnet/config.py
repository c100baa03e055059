"""The two settings that every call consults, threads and float32 precision, and what this build can do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ._ext import cpu

Precision = Literal["highest", "high", "medium"]


def _quota() -> int:
    """Whole processors that the container's CPU quota grants (cgroup v2, then v1); without a quota, very many."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(limit) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        limit, period = (folder / "cpu.cfs_quota_us").read_text(), (folder / "cpu.cfs_period_us").read_text()
        return max(1, int(limit) // int(period)) if int(limit) > 0 else sys.maxsize
    except (OSError, ValueError, ZeroDivisionError):
        return sys.maxsize


MOST = 1024  # threads: far beyond them OpenMP ends the process, because the system refuses to make them

_threads = max(1, min(cpu.openmp_threads(), _quota(), MOST))
_precision: Precision = "highest"


def set_num_threads(n: int) -> None:
    """Let every kernel use n threads. Results are the same bits for any n. ValueError if n < 1 or n > 1024."""
    global _threads
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"set_num_threads: expected an integer, found {type(n).__name__}")
    if n < 1:
        raise ValueError(f"set_num_threads: expected at least 1, found {n}")
    if n > MOST:
        raise ValueError(f"set_num_threads: expected at most {MOST}, found {n}")
    _threads = int(n) if cpu.has_openmp() else 1


def get_num_threads() -> int:
    """The threads a kernel uses: OMP_NUM_THREADS or the processors at hand, no more than a container's CPU quota."""
    return _threads


def set_float32_matmul_precision(level: Precision) -> None:
    """Choose how float32 products are computed: "highest" (as exact as a float32 FMA chain), "high" (about 16 significant
    bits) or "medium" (bfloat16 products, float32 sums). A level is a permission: a kernel may always be more exact.

    On a processor with AMX they are six, three and one product of bfloat16 numbers; below it "high" and "medium" let 3x3
    convolutions take Winograd's F(4x4, 3x3). ValueError for any other level.
    """
    global _precision
    if level not in get_args(Precision):
        raise ValueError(f"set_float32_matmul_precision: expected one of {get_args(Precision)}, found {level!r}")
    _precision = level


def get_float32_matmul_precision() -> Precision:
    """The level that `set_float32_matmul_precision` chose; "highest" at the start."""
    return _precision


@contextmanager
def precision(level: Precision) -> Iterator[None]:
    """`with fastnet.precision("medium"): …` — the level inside the block, the former one after it."""
    before = get_float32_matmul_precision()
    set_float32_matmul_precision(level)
    try:
        yield
    finally:
        set_float32_matmul_precision(before)
