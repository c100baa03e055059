"""The compiled kernels, at the best instruction-set level that this processor has.

`from fastnet._ext import pool` gives the module `fastnet._ext.<level>.pool`. The level is chosen once, at import, by the
processor's feature bits; `FASTNET_ISA=generic|avx2|avx512|amx` lowers it. Families named `amx_*` exist at level amx only
and are None below it; every other family is the build for avx512 there.
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

LEVELS = cpu.LEVELS
HERE = Path(__file__).parent


def _built(at: str) -> set[str]:
    """The kernel families that were built for a level."""
    return {file.name.split(".")[0] for file in (HERE / at).glob("*.*") if file.suffix in (".so", ".pyd")}


def available_levels(highest: str = LEVELS[-1]) -> list[str]:
    """The levels up to `highest` that are built and that this processor runs, lowest first.

    For "amx" the operating system is asked for the tile registers; where it refuses, that level is not available.
    """
    best = min(LEVELS.index(cpu.best_level()), LEVELS.index(highest))
    return [level for level in LEVELS[: best + 1] if _built(level) and (level != "amx" or cpu.ask_for_tiles())]


def choose(wanted: str | None) -> str:
    """The level to use: the best available one, or a lower one that was asked for."""
    if wanted and wanted not in LEVELS:
        raise ImportError(f"FASTNET_ISA={wanted!r} is not a level; it can be one of {', '.join(LEVELS)}")
    levels = available_levels(wanted or LEVELS[-1])
    if not levels:
        raise ImportError(f"fastnet's compiled kernels are missing. Build them with:\n  {BUILD}")
    return levels[-1]


def load(family: str, at: str) -> ModuleType:
    """The kernels of one family at one level, whatever level is in use: for tests and benchmarks."""
    if at == "amx" and not family.startswith("amx_"):
        at = "avx512"
    try:
        return importlib.import_module(f"fastnet._ext.{at}.{family}")
    except ImportError as error:
        raise ImportError(f"fastnet's compiled kernels do not load ({error}). Build them with:\n  {BUILD}") from error


level = choose(os.environ.get("FASTNET_ISA"))
for _family in _built("generic") | (_built("amx") if level == "amx" else set()):
    sys.modules[f"{__name__}.{_family}"] = globals()[_family] = load(_family, level)
if level != "amx":
    globals().update(dict.fromkeys((file.stem for file in HERE.glob("amx_*.pyi")), None))
