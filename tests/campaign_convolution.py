"""Many random convolutions, transposed ones and linear layers at tolerance 0.

    PYTHONPATH=tests python -m campaign_convolution [geometries] [seed]

Not collected by pytest: 10,000 geometries take some minutes. It stops at the first difference and prints the geometry, the
level and the arguments that run it again.
"""

import sys
import time

import numpy as np
from kernels.exactness import compare, compare_linear, compare_transposed
from kernels.geometries import FLAVOURS, random_convolution

from fastnet import _ext

KINDS = (*FLAVOURS, "transposed", "linear")


def main(count=10_000, seed=0):
    levels = _ext.available_levels()
    print(f"{count} geometries, seed {seed}, levels {', '.join(levels)}, float32 and float64, forward and gradients")
    print("each level at a precision drawn for it: highest, high or medium")
    start = time.perf_counter()
    for i in range(count):
        rng = np.random.default_rng((seed, i))  # each geometry by itself, so that any one can be run again
        flavour = KINDS[i % len(KINDS)]
        try:
            if flavour == "transposed":
                compare_transposed(rng, levels)
            elif flavour == "linear":
                compare_linear(rng, levels)
            else:
                compare(random_convolution(rng, flavour, most=17 if i % 3 else 70), rng, levels)
        except BaseException:
            print(f"at geometry {i} ({flavour}), seed {seed}", file=sys.stderr)
            raise
        if (i + 1) % 500 == 0:
            print(f"{i + 1:7d} exact, {time.perf_counter() - start:.0f} s", flush=True)
    print("no difference")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
