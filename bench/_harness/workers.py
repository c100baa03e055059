"""The processes that compute: for the naive sides, each instruction-set level, PyTorch and its compiled modes, ONNX Runtime.

A level is chosen at import, and two thread pools in one process slow each other (a pool's threads spin for milliseconds after
their work), so each side has a process, and the sides run strictly in turn. Parent and child speak JSON, a line each way:
{"do": "open", …} prepares a case and computes its answer, {"do": "run", …} times some calls, {"do": "close"} forgets the case.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from . import machine
from .case import LOOPS, NUMPY, ONNX, TORCH, Call, Case, Side, TorchSide, cases, figures, forget
from .statistics import disagreement, fingerprint, largest_error

CLONE = Path(__file__).resolve().parents[2]
TORCH_LIMITS = {  # the same limit for the other side, when ours is lowered; AVX-512 is all that its float32 products use
    "generic": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}


REST, BUSY, PATIENCE = 0.003, 0.1, 1.0  # seconds to look for, share of them that is no rest, seconds to wait at most


def settle() -> None:
    """Return when this process's threads rest. After its last work a pool's threads spin, for 4 ms (libgomp), 28 (ONNX Runtime)
    or 107 (OpenBLAS), as measured, and who is timed next would share the cores with them: 5 times as slow."""
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        start, used = time.perf_counter(), time.process_time()
        time.sleep(REST)
        if time.process_time() - used < BUSY * (time.perf_counter() - start):
            return


class Prepared(NamedTuple):
    call: Call
    part: int
    precision: str | None  # of fastnet's products; None: not fastnet's


class Worker:
    """The sides of one process. `do` takes a request and returns a reply, or a reply with "error"."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.calls: dict[str, Prepared] = {}
        self.known: dict[tuple[str, str], dict[str, Case]] = {}
        self.exact: dict[bool, Any] = {}  # is it PyTorch's? -> the open case in float64

    def do(self, request: dict[str, Any], timeout: float = 0) -> dict[str, Any]:
        request = dict(request)
        try:
            return getattr(self, f"_{request.pop('do')}")(**request)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}

    def stop(self) -> None:
        self.calls.clear()

    def _open(self, question: str, size: Any, case: str, column: str, part: int, exact: bool = False) -> dict[str, Any]:
        """Prepare a case: the seconds of its first call and a fingerprint of the answer; with `exact` its error too."""
        known = self.known.setdefault((question, size), {})
        known.update({} if known else {c.key: c for c in cases(question, size)})
        prepared = self._build(known[case], column, part)
        start = time.perf_counter()
        answer = prepared.call()
        seconds = (time.perf_counter() - start) * part
        settle()
        found = fingerprint(answer)
        if part > 1:  # a part of the batch is nobody else's answer: it is compared here
            away = disagreement(found, fingerprint(self._build(known[case], NUMPY, part).call()))
            if away > known[case].tolerance:
                return {"error": f"differs from NumPy by {away:.1e}"}
            found = []
        self.calls[column] = prepared
        reply = {"seconds": seconds, "answer": found}
        return reply | ({"off": largest_error(answer, self._exact(known[case], column))} if exact else {})

    def _build(self, case: Case, column: str, part: int = 1, dtype: str = "") -> Prepared:
        if column == ONNX:
            assert case.onnx is not None
            return Prepared(case.onnx(self.threads), part, None)
        if not column.startswith(TORCH):
            side = Side(column, part, dtype)
            self._configure(side.precision)
            return Prepared(case.ours(side), part, side.precision)
        import torch

        torch.set_num_threads(self.threads)
        assert case.torch is not None
        return Prepared(case.torch(TorchSide(column, part)), part, None)

    def _configure(self, precision: Any) -> None:
        from fastnet import config

        config.set_num_threads(self.threads)
        config.set_float32_matmul_precision(precision)

    def _exact(self, case: Case, column: str) -> Any:
        """The beginning of the case's answer, computed in float64 by whoever computes the column."""
        torch = column.startswith(TORCH)
        if torch not in self.exact:
            wanted = f"{TORCH} float64" if torch else column.split(" ")[0]
            self.exact[torch] = self._build(case, wanted, case.exact, "float64").call()
        return self.exact[torch]

    def _run(self, column: str, calls: int) -> dict[str, Any]:
        """Seconds per call, of `calls` calls in a row; where they are short, one call before them wakes the threads."""
        call, part, precision = self.calls[column]
        if precision is not None:
            self._configure(precision)
        gc.disable()
        if calls > 1:
            call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        seconds = time.perf_counter() - start
        gc.enable()
        settle()
        return {"seconds": seconds / calls * part}

    def _figure(self, question: str, size: Any, figure: str, turn: int) -> dict[str, Any]:
        found = next(f for f in figures(question, size) if f.key == figure).find(self.threads, turn)
        return found._asdict()

    def _close(self) -> dict[str, Any]:
        """Forget the open case and give its memory back: the arrays of the largest take gigabytes."""
        self.calls.clear()
        self.exact.clear()
        forget()
        gc.collect()
        if "torch._dynamo" in sys.modules:
            sys.modules["torch._dynamo"].reset()  # what was compiled for the case
        if "fastnet" in sys.modules:
            from fastnet import memory

            memory.empty_cache()
            self._configure("highest")
        return {}

    def _peaks(self) -> dict[str, Any]:
        return machine.peaks(self.threads)

    def _torch(self) -> dict[str, Any]:
        return machine.torch(self.threads)


class Child:
    """A Worker in a process of its own, with the same `do`."""

    def __init__(self, threads: int, environment: dict[str, str]) -> None:
        pools = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench._harness.workers", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=CLONE,
            env={**os.environ, **pools, **environment},
        )
        self.dead = ""

    def do(self, request: dict[str, Any], timeout: float = 600) -> dict[str, Any]:
        if self.dead:
            return {"error": self.dead}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        clock = threading.Timer(timeout, self._kill, [f"no answer within {timeout:g} s"])
        clock.start()
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            reply = self.process.stdout.readline()
        except (OSError, ValueError):
            reply = b""
        finally:
            clock.cancel()
        if reply.endswith(b"\n"):
            return json.loads(reply)
        self.stop(self.dead or f"the process ended with status {self.process.wait()}")
        return {"error": self.dead}

    def _kill(self, reason: str) -> None:
        self.dead = self.dead or reason
        self.process.kill()

    def stop(self, reason: str = "stopped") -> None:
        self._kill(reason)
        self.process.communicate()  # what is left in the pipes, and their end


class Pool:
    """The process of each side, started when first asked for. `level` limits PyTorch too when it is not the best one."""

    def __init__(self, threads: int, levels: list[str], best: str) -> None:
        self.threads, self.level = threads, levels[-1]
        self.limits = {} if self.level == best else TORCH_LIMITS.get(self.level, {})
        self.workers: dict[str, Child | Worker] = {}
        self.starting = threading.Lock()

    def of(self, column: str) -> Child | Worker:
        # A compiled mode may have to be stopped, alone; the precisions of a level share its process.
        alone = column == ONNX or "compiled" in column
        name = column if alone else "naive" if column in (LOOPS, NUMPY) else column.split(" ")[0]
        with self.starting:
            if name not in self.workers:
                self.workers[name] = self.start(name)
        return self.workers[name]

    def start(self, name: str) -> Child | Worker:
        if name.startswith(TORCH):
            return Child(self.threads, self.limits)
        return Child(self.threads, {} if name in ("naive", ONNX) else {"FASTNET_ISA": name})

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.stop()


def main() -> None:
    worker = Worker(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints goes to the terminal, not into the conversation
    for line in sys.stdin.buffer:
        answers.write(json.dumps(worker.do(json.loads(line))).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
