"""The compiled kernels, at the best instruction-set level that this processor has.

`from fastnet._ext import pool` gives the module `fastnet._ext.<level>.pool`. The level is chosen once, at import, by the
processor's feature bits; `FASTNET_ISA=generic|avx2|avx512|amx` lowers it.
"""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

BUILD = "python setup.py build_ext --inplace    (in a clone)    or    pip install --force-reinstall fastnet"

try:
    from . import cpu
except ImportError as error:
    raise ImportError(
        f"fastnet's compiled kernels are missing or were built for another Python ({error}). Build them with:\n  {BUILD}"
    ) from error

LEVELS = (*cpu.LEVELS, "amx")


def _families() -> list[str]:
    """The kernel families that were built, by the modules of the generic level."""
    return sorted(
        {
            file.name.split(".")[0]
            for file in (Path(__file__).parent / "generic").glob("*.*")
            if file.suffix in (".so", ".pyd")
        }
    )


def available_levels() -> list[str]:
    """The levels that are built and that this processor runs, lowest first."""
    best = LEVELS.index(cpu.best_level())
    return [level for level in LEVELS[: best + 1] if (Path(__file__).parent / level).is_dir()]


def choose(wanted: str | None) -> str:
    """The level to use: the best available one, or a lower one that was asked for."""
    levels = available_levels()
    if not levels:
        raise ImportError(f"fastnet's compiled kernels are missing. Build them with:\n  {BUILD}")
    if not wanted:
        return levels[-1]
    if wanted not in LEVELS:
        raise ImportError(f"FASTNET_ISA={wanted!r} is not a level; it can be one of {', '.join(LEVELS)}")
    return [level for level in levels if LEVELS.index(level) <= LEVELS.index(wanted)][-1]


def load(family: str, at: str) -> ModuleType:
    """The kernels of one family at one level, whatever level is in use: for tests and benchmarks."""
    try:
        return importlib.import_module(f"fastnet._ext.{at}.{family}")
    except ImportError as error:
        raise ImportError(f"fastnet's compiled kernels do not load ({error}). Build them with:\n  {BUILD}") from error


level = choose(os.environ.get("FASTNET_ISA"))
for _family in _families():
    sys.modules[f"{__name__}.{_family}"] = globals()[_family] = load(_family, level)
