"""The machine, the build and the day of a measurement."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any


def describe(threads: int, levels: list[str]) -> dict[str, Any]:
    """What a reader needs to judge the figures by."""
    import numpy

    from fastnet import _ext

    compiler, flags = _ext.cpu.compiler()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "level": levels[-1],
        "levels": levels,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "fastnet": version("fastnet"),
        "onnxruntime": version("onnxruntime"),
        "compiler": compiler,
        "flags": flags,
    }


def processor() -> str:
    """The model of the processor, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def peaks(threads: int) -> dict[str, dict[str, float | None]]:
    """What this process can do at most, per dtype: see fastnet.peaks."""
    from fastnet import peaks

    return {dtype: peaks.measure(threads, dtype)._asdict() for dtype in ("float32", "float64")}


def torch(threads: int) -> dict[str, Any]:
    """The version of PyTorch and the threads it was given."""
    import torch

    torch.set_num_threads(threads)
    return {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}


def sentences(machine: dict[str, Any], peaks: dict[str, dict[str, Any]]) -> list[str]:
    """The description, as lines to print."""
    level = machine["level"]
    peer = (
        f"PyTorch {machine['torch']} with {machine['torch_threads']} threads" if machine.get("torch") else "no PyTorch"
    )
    found = ", ".join(
        f"{dtype} {p['one_core'] / 1e9:.0f} GFLOP/s on one core, {p['all_threads'] / 1e9:.0f} on all threads"
        for dtype, p in peaks.items()
    )
    floats = peaks["float32"]
    if floats.get("tiles_one_core"):
        one, every = floats["tiles_one_core"] / 1e12, floats["tiles_all_threads"] / 1e12
        found += f", AMX bfloat16 {one:.2f} TFLOP/s on one core, {every:.2f} on all threads"
    return [
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']} at the start, {machine['date']}",
        f"fastnet at {level} with {machine['threads']} threads ({machine['compiler']}), NumPy {machine['numpy']}, {peer}",
        f"measured peaks at {level}: {found}; memory {floats['bandwidth'] / 1e9:.0f} GB/s",
    ]
