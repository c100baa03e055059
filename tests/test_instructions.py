"""What was compiled: an instruction stands only in the modules of levels that may execute it."""

import re
import shutil
import subprocess

import pytest

from fastnet import _ext

VECTORS = r"\tv[a-z0-9]+ "  # AVX's coding, and that of everything after it
WIDE = r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]"  # the registers of AVX-512
BFLOAT16 = r"\tv(dpbf16|cvtne)"
TILES = r"%tmm|tilecfg|tilerelease"
FORBIDDEN = {
    ".": f"{VECTORS}|{TILES}",  # modules without a level
    "generic": f"{VECTORS}|{TILES}",
    "avx2": f"{WIDE}|{BFLOAT16}|{TILES}",
    "avx512": f"{BFLOAT16}|{TILES}",
}
USED = {
    "generic": ("peak", r"\tmulps .*%xmm"),
    "avx2": ("peak", r"\tvfmadd\d+ps .*%ymm"),
    "avx512": ("peak", r"\tvfmadd\d+ps .*%zmm"),
    "amx": ("amx_peak", r"\ttdpbf16ps .*%tmm"),
}

pytestmark = [
    pytest.mark.skipif(not shutil.which("objdump"), reason="no objdump here"),
    pytest.mark.skipif(not _ext._built("avx2"), reason="built for the level generic alone"),
]


def skip_unless_built(level):
    if not _ext._built(level):
        pytest.skip(f"the level {level} was not built: the compiler did not know it, or FASTNET_LEVELS named others")


def found(pattern, module):
    """The instructions of a compiled module that match."""
    command = ["objdump", "-d", "--no-show-raw-insn", module]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) > 1000
    return [line for line in lines if re.search(pattern, line)]


@pytest.mark.parametrize("level", FORBIDDEN)
def test_no_module_has_an_instruction_above_its_level(level):
    skip_unless_built(level)
    modules = sorted((_ext.HERE / level).glob("*.so"))
    assert {module.name: found(FORBIDDEN[level], module)[:3] for module in modules} == {
        module.name: [] for module in modules
    }


@pytest.mark.parametrize("level", USED)
def test_the_instructions_that_a_level_is_for_are_used_and_are_seen_by_this_test(level):
    skip_unless_built(level)
    family, pattern = USED[level]
    module = next((_ext.HERE / level).glob(f"{family}.*.so"))
    assert found(pattern, module)
