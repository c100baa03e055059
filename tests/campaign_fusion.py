"""Many random nets: fused against layer by layer, freed as they go, checkpointed, in evaluation mode and folded.

    PYTHONPATH=tests python -m campaign_fusion [nets] [seed]

Not collected by pytest: 3,000 nets take a minute per level. It stops at the first difference and prints the net and the
arguments that run it again. The levels below the machine's run in processes of their own (FASTNET_ISA).
"""

import os
import subprocess
import sys
import time

import numpy as np
from nets_at_random import check

from fastnet import _ext


def some(count, seed, first=0):
    """Nets of this level; each by itself, so that any one can be run again."""
    start = time.perf_counter()
    for i in range(first, first + count):
        try:
            check(np.random.default_rng((seed, i)))
        except BaseException:
            print(f"at net {i}, seed {seed}, level {_ext.level}", file=sys.stderr)
            raise
        if (i + 1) % 500 == 0:
            print(f"{i + 1:7d} agree, level {_ext.level}, {time.perf_counter() - start:.0f} s", flush=True)


def main(count=3000, seed=0):
    print(f"{count} nets, seed {seed}: outputs, gradients and running statistics")
    some(count, seed)
    for level in _ext.available_levels():
        if level != _ext.level and "FASTNET_ISA" not in os.environ:
            command = [sys.executable, "-m", "campaign_fusion", str(count), str(seed)]
            subprocess.run(command, env={**os.environ, "FASTNET_ISA": level}, check=True)
    print("no difference")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
