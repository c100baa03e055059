"""Memory of a training step, measured in a process of its own.

Resident memory is what the system counts, so it sees every allocator. It is that of the largest moment of some steps, net and
batch included, above the moment after import; a step of a tiny net counts as import, because libraries do much at their first.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

CLONE = Path(__file__).resolve().parents[2]
STEPS = 3  # after the first two
PATIENCE = 300  # seconds
TINY = "lenet", 2  # a net and a batch


class Resident(NamedTuple):
    """Bytes at the largest moment; blocks that fastnet's pool took from the system per step after the first two; whether the
    system let the largest moment begin after import (else it may be one of the import)."""

    nbytes: int
    fresh: float
    anew: bool


@lru_cache
def ask(net: str, batch: int, column: str, threads: int) -> Resident:
    """Ask a new process, which inherits the instruction-set level of this one."""
    words = {"net": net, "batch": batch, "column": column, "threads": threads}
    pools = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [sys.executable, "-m", "bench._harness.resident", json.dumps(words)],
        cwd=CLONE,
        env={**os.environ, **pools},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if done.returncode:
        raise RuntimeError(f"{column}: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
    return Resident(**json.loads(done.stdout.splitlines()[-1]))


def resident(key: str) -> int:
    """VmRSS (now) or VmHWM (the largest moment) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not tell {key}")


def forget_peak() -> bool:
    """Let VmHWM begin anew; False where the system does not allow it: then the peak is that of the whole process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def measured(net: str, batch: int, column: str, threads: int) -> Resident:
    """What `ask` wants to know, of this process."""
    from bench import steps
    from bench._nets import TRAINED
    from fastnet import memory, set_float32_matmul_precision, set_num_threads

    from .case import TORCH, Side, TorchSide

    set_num_threads(threads)
    if column.startswith(TORCH):
        side: Any = TorchSide(column)
        side.torch.set_num_threads(threads)
        build: Any = steps.torch_call
    else:
        side, build = Side(column), steps.ours
        set_float32_matmul_precision(side.precision)
    build(TRAINED[TINY[0]], TINY[1], side)()
    gc.collect()
    memory.empty_cache()
    anew, before = forget_peak(), resident("VmRSS")
    step = build(TRAINED[net], batch, side)  # which makes two steps
    fresh = memory.statistics()["fresh"]
    for _ in range(STEPS):
        step()
    return Resident(resident("VmHWM") - before, (memory.statistics()["fresh"] - fresh) / STEPS, anew)


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.argv[1]))._asdict()))
