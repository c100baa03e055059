"""A case, one row of a question's table, and the sides that it is timed on.

A side is one way to compute the case. fastnet's compiled functions, vectorised NumPy and plain loops have the same names and
signatures, so a case says once what to call (`ours`); what PyTorch calls, it says beside it (`torch`), with the modes to try.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from .figures import Figure

Size = Literal["toy", "quick", "full"]
Call = Callable[[], Any]  # what is timed; returns an array, or a tuple of arrays, numbers and None: the answer

LOOPS, NUMPY, TORCH, ONNX = "loops", "NumPy", "torch", "ONNX Runtime"
FLOAT32_MODES = ("NCHW", "channels-last")
BFLOAT16_MODES = ("bf16 NCHW", "bf16 channels-last")
PRECISIONS = ("highest", "high", "medium")  # of fastnet's products; a column without one is at "highest"


@dataclass(frozen=True)
class Case:
    """One row: `ours(side)` and `torch(side)` prepare the inputs and return the call to time.

    group and name identify it; means are made over each group, the picture has one bar per group and family where the rows
    are many. flops and nbytes (memory that must be read and written) are those of one call. Plain loops are timed if
    `loops`, on a `loops`-th of the batch (see Side.batch), and their time multiplied; NumPy if `numpy`, the levels below
    the one that counts if `lower`, that one at each of `precisions`. `onnx(threads)` prepares the call of ONNX Runtime.
    Answers may differ by `tolerance` times their root mean square. With `exact` their error is found too: `ours` and
    `torch` build the case in float64 for an `exact`-th of the batch, and what it gives is the beginning of the right answer.
    """

    group: str
    name: str
    ours: Callable[[Side], Call]
    torch: Callable[[TorchSide], Call] | None = None
    modes: tuple[str, ...] = FLOAT32_MODES
    onnx: Callable[[int], Call] | None = None
    flops: float = 0
    nbytes: float = 0
    dtype: str = "float32"
    family: str = ""
    loops: int = 0
    numpy: bool = True
    lower: bool = True
    precisions: tuple[str, ...] = ("highest",)
    exact: int = 0
    tolerance: float = 1e-4

    @property
    def key(self) -> str:
        return f"{self.group}: {self.name}"

    def columns(
        self, levels: list[str], torch: bool, naive: bool = True, float32: bool = False, onnx: bool = False
    ) -> list[str]:
        """The sides of this case, slowest kind first; the level that counts is the last of `levels`.

        Without `naive` loops, NumPy and the lower levels are left out; with `float32` the modes that compute in bfloat16.
        """
        best = levels[-1]
        found = [LOOPS] * bool(self.loops) + [NUMPY] * self.numpy + levels[:-1] * self.lower if naive else []
        found.append(best)
        # Below AMX "medium" is "high", which lets 3x3 convolutions take Winograd's larger tiles.
        lower = PRECISIONS[1:] if best == "amx" else PRECISIONS[1:2]
        found += [f"{best} {precision}" for precision in lower if precision in self.precisions]
        if torch and self.torch:
            found += [f"{TORCH} {mode}" for mode in self.modes if not (float32 and "bf16" in mode)]
        return found + [ONNX] * bool(onnx and self.onnx)


class Side:
    """Loops, NumPy, or fastnet at the level of this process and the column's precision: `ops` has the operations."""

    def __init__(self, column: str, part: int = 1, dtype: str = "") -> None:
        self.column, self.part, self.dtype = column, part, dtype
        self.compiled = column not in (LOOPS, NUMPY)
        self.precision = "highest" if " " not in column else column.split(" ")[1]
        kind = {LOOPS: "fastnet.reference.loops", NUMPY: "fastnet.reference.vectorised"}.get(
            column, "fastnet.functional"
        )
        self.ops: ModuleType = importlib.import_module(kind)

    def batch(self, n: int) -> int:
        """Examples to compute out of n: fewer for plain loops, which take the same time for each, and for exact answers."""
        return max(1, n // self.part)

    def images(self, x: np.ndarray) -> np.ndarray:
        """x (N, C, H, W) in the memory order of this side: channels-last for fastnet, as it is for the others."""
        if not self.compiled:
            return self.weights(x)
        from fastnet import memory

        y = memory.empty_images(x.shape, self.dtype or x.dtype)
        np.copyto(y, x)
        return y

    def weights(self, w: np.ndarray) -> np.ndarray:
        """w in the dtype of this side, if it has one of its own."""
        return w.astype(self.dtype or w.dtype, copy=False)


class TorchSide:
    """PyTorch in one mode: "NCHW" or "channels-last", with "bf16", "float64" or "compiled" where a question offers them."""

    def __init__(self, column: str, part: int = 1) -> None:
        import torch

        self.column, self.mode, self.torch, self.part = column, column.removeprefix(f"{TORCH} "), torch, part
        self.channels_last = "channels-last" in self.mode
        self.bfloat16, self.compiled = "bf16" in self.mode, "compiled" in self.mode
        kind = torch.bfloat16 if self.bfloat16 else torch.float64 if "float64" in self.mode else None
        self.dtype: Any = kind

    def batch(self, n: int) -> int:
        """Examples to compute out of n, as on the other sides."""
        return max(1, n // self.part)

    def images(self, x: np.ndarray) -> Any:
        """x (N, C, H, W) as a tensor in this mode's memory order and dtype."""
        order = self.torch.channels_last if self.channels_last else self.torch.contiguous_format
        return self.tensor(x).to(memory_format=order)

    def weights(self, w: np.ndarray) -> Any:
        """w as a tensor in this mode's dtype, windows in its memory order."""
        return self.images(w) if w.ndim == 4 else self.tensor(w)

    def tensor(self, x: np.ndarray) -> Any:
        """x as a tensor in this mode's dtype."""
        found = self.torch.from_numpy(np.ascontiguousarray(x))
        return found.to(self.dtype) if self.dtype and found.is_floating_point() else found


def values(shape: tuple[int, ...], seed: int = 0, dtype: str = "float32", first: int | None = None) -> np.ndarray:
    """Normal numbers, the same ones on every side; of the first examples only, if so wanted."""
    return _values(shape, seed, dtype)[:first].copy()


@lru_cache(maxsize=3)  # the sides of a process ask for the same arrays one after the other
def _values(shape: tuple[int, ...], seed: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.dtype(dtype).type)


_shared: dict[Any, Any] = {}


def shared(side: Side | TorchSide, key: Any, make: Callable[[], Any]) -> Any:
    """What `make` gives, made once for all columns of a process that want the same: fastnet's precisions do. It lives until
    the case is closed, and the calls must not write to it."""
    kind = side.column if isinstance(side, TorchSide) else side.column.split(" ")[0]
    full = (kind, side.part, side.dtype, key)
    if full not in _shared:
        _shared[full] = make()
    return _shared[full]


def forget() -> None:
    """Free the arrays of the case that was open."""
    _values.cache_clear()
    _shared.clear()


def questions() -> dict[str, str]:
    """Name -> what it asks (the first line of its docstring) of every question in the folder."""
    return {name: question(name).__doc__.strip().splitlines()[0] for name in names()}  # type: ignore[union-attr]


def names() -> list[str]:
    folder = Path(__file__).parent.parent
    return sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))


def question(name: str) -> ModuleType:
    return importlib.import_module(f"bench.{name}")


def cases(name: str, size: Size) -> Iterator[Case]:
    """What a question times; nothing if it asks for figures."""
    yield from question(name).cases(size) if hasattr(question(name), "cases") else ()


def figures(name: str, size: Size) -> Iterator[Figure]:
    """The figures that a question asks for; nothing if it times cases."""
    yield from question(name).figures(size) if hasattr(question(name), "figures") else ()
