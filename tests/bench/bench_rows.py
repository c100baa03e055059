"""Measured rows, plans and processes as the tests of the benchmarks want them."""

from bench._harness import measure
from bench._harness.case import Case
from bench._harness.measure import Plan, Row
from bench._harness.workers import Pool, Worker
from fastnet import _ext

PEAKS = {dtype: {"one_core": 1e9, "all_threads": 2e9, "bandwidth": 1e10} for dtype in ("float32", "float64")}
MACHINE = {"processor": "a processor", "threads": 2, "date": "2026-01-02T03:04:05", "level": _ext.level}


def plan(torch=False, size="toy", match="", onnx=False):
    return Plan(size, [_ext.level], torch, threads=1, rounds=2, seconds=1e-4, slot=1e-5, match=match, onnx=onnx)


class Here(Pool):
    """All sides in this process: quick to start, of no use for timing."""

    def __init__(self):
        super().__init__(1, [_ext.level], _ext.level)

    def start(self, name):
        return Worker(1)


def row(times, case_=None):
    return measure.summarise(Row(case_ or Case("forward", "a case", None, flops=4e8)), times, "avx2", PEAKS)
