"""Memory: how much does a training step take at its largest moment, and does a step allocate?

Resident memory above import of the steps that `bench/steps.py` times, each side in a process of its own, against the eager mode
of PyTorch that takes least (the compiler of its compiled modes takes more than the nets). And the blocks that fastnet's pool
takes from the system in a step after the first ones: none, if every array finds a place that an earlier one has left.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench._harness import Size
from bench._harness.case import BFLOAT16_MODES, FLOAT32_MODES, TORCH
from bench._harness.figures import Figure, Found
from bench._harness.resident import Resident, ask
from bench._nets import TRAINED

CHOSEN = {"toy": ["lenet"], "quick": ["resnet20"], "full": list(TRAINED)}
MODES = {"highest": FLOAT32_MODES, "medium": BFLOAT16_MODES}
PRECISIONS = {"toy": ["highest"], "quick": ["highest"], "full": list(MODES)}
WANTED = 0.6  # of PyTorch's


def ours(net: str, batch: int, precision: str, threads: int) -> Resident:
    return ask(net, batch, f"fastnet {precision}", threads)


def peak(net: str, batch: int, precision: str, threads: int, turn: int) -> Found:
    found = ours(net, batch, precision, threads)
    return Found(found.nbytes, "" if found.anew else "or less: the peak of the import is in it")


def share(net: str, batch: int, precision: str, threads: int, turn: int) -> Found:
    """fastnet's peak over the smallest one of PyTorch's modes."""
    theirs = {mode: ask(net, batch, f"{TORCH} {mode}", threads).nbytes for mode in MODES[precision]}
    mode = min(theirs, key=lambda mode: theirs[mode])
    return Found(ours(net, batch, precision, threads).nbytes / theirs[mode], f"{theirs[mode] / 1e6:.1f} MB ({mode})")


def fresh(net: str, batch: int, precision: str, threads: int, turn: int) -> Found:
    return Found(ours(net, batch, precision, threads).fresh)


def figures(size: Size) -> Iterator[Figure]:
    for precision in PRECISIONS[size]:
        level = "amx" if precision == "medium" else ""  # below it, every precision computes in float32
        for net in CHOSEN[size]:
            n = 2 if size == "toy" else TRAINED[net].batch
            name, at = f"{precision}: {TRAINED[net].name(n)}", (net, n, precision)
            yield Figure("peak of a step", name, partial(peak, *at), "MB", level=level, turns=1)
            find = partial(share, *at)
            yield Figure("peak over PyTorch's", name, find, "×", WANTED, at_most=True, level=level, turns=1, torch=True)
            find = partial(fresh, *at)
            yield Figure("fresh blocks per step", name, find, "blocks", 0, at_most=True, level=level, turns=1)
