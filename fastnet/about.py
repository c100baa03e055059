"""What this build of fastnet is, and what it found on this machine."""

from importlib import metadata
from typing import Any, Literal

import numpy as np

from . import _ext, config, peaks
from ._ext import cpu

try:
    __version__ = metadata.version("fastnet")
except metadata.PackageNotFoundError:  # imported from a clone that was built in place and never installed
    __version__ = "0+uninstalled"


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Print version, instruction-set levels, threads, compiler and measured peaks; with mode="dicts" return them instead.

    The peaks are measured now, in about a third of a second: float32 operations per second (a multiply-add is two) on one
    core and on all threads, at level amx bfloat16 ones too, and bytes read per second.
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"show_config: mode must be 'stdout' or 'dicts', found {mode!r}")
    compiler, flags = cpu.compiler()
    measured = peaks.measure()
    facts = {
        "version": __version__,
        "numpy": np.__version__,
        "level": _ext.level,
        "levels available": _ext.available_levels(),
        "float32 matmul precision": config.get_float32_matmul_precision(),
        "threads": config.get_num_threads(),
        "openmp": cpu.has_openmp(),
        "compiler": compiler,
        "flags": flags,
        "peak of one core, GFLOP/s": round(measured.one_core / 1e9, 1),
        "peak of all threads, GFLOP/s": round(measured.all_threads / 1e9, 1),
        "read bandwidth, GB/s": round(measured.bandwidth / 1e9, 1),
    }
    if measured.tiles_one_core and measured.tiles_all_threads:
        facts |= {
            "AMX bfloat16 peak of one core, TFLOP/s": round(measured.tiles_one_core / 1e12, 2),
            "AMX bfloat16 peak of all threads, TFLOP/s": round(measured.tiles_all_threads / 1e12, 2),
        }
    if mode == "dicts":
        return facts
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
    return None
