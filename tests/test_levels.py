"""Levels of instruction sets: AMX is reached where it is, asked for only when wanted, and its refusal costs only speed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastnet import _ext
from fastnet._ext import cpu

has_amx = pytest.mark.skipif(cpu.best_level() != "amx", reason=f"this processor's level is {cpu.best_level()}")
has_build = pytest.mark.skipif(not _ext._built("amx"), reason="the compiler knew no AMX")

# ARCH_GET_XCOMP_PERM: which registers the system has granted so far, without asking for any
GRANTED = """
import ctypes
def has_tiles():
    granted = ctypes.c_uint64()
    assert ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(granted)) == 0
    return bool(granted.value >> 18 & 1)
"""
SMALL_SIGNAL_STACK = """
class Stack(ctypes.Structure):
    _fields_ = [('start', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t)]
memory = ctypes.create_string_buffer(8192)      # room for the registers of AVX-512, but none for 8 KB of tiles
stack = Stack(ctypes.addressof(memory), 0, len(memory))
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0
"""
CONVOLUTION = """
import numpy as np
from fastnet import _ext, functional, reference
rng = np.random.default_rng(0)
x, w = rng.integers(-9, 9, (2, 5, 7, 6)).astype('f'), rng.integers(-9, 9, (4, 5, 3, 2)).astype('f')
np.testing.assert_array_equal(functional.conv2d(x, w)[0], reference.conv2d(x, w)[0])
print(_ext.level, has_tiles())
"""


def run(program, level=None):
    """What the program prints, in a Python of its own that is held to a level."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FASTNET_ISA": level or ""}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


@has_amx
@has_build
@pytest.mark.skipif(bool(os.environ.get("FASTNET_ISA")), reason="FASTNET_ISA lowers the level")
def test_these_tests_run_at_level_amx_though_pytest_sets_a_signal_stack():
    """Its faulthandler does, before fastnet is imported; a stack too small for the tiles would make the system refuse."""
    assert _ext.level == "amx"


@has_amx
@has_build
def test_a_refused_permission_leaves_the_level_below_and_its_answers():
    assert run(GRANTED + CONVOLUTION) == ["amx", "True"]
    assert run(GRANTED + SMALL_SIGNAL_STACK + CONVOLUTION) == ["avx512", "False"]


@has_amx
def test_a_process_that_wants_a_lower_level_asks_for_no_tiles():
    assert run(GRANTED + CONVOLUTION, "avx512") == ["avx512", "False"]


@pytest.mark.parametrize("granted", [True, False])
def test_amx_is_available_where_it_is_built_supported_and_granted(granted, monkeypatch):
    asked = []
    monkeypatch.setattr(cpu, "ask_for_tiles", lambda: asked.append(1) or granted)
    monkeypatch.setattr(_ext, "_built", lambda at: {"a family"})
    monkeypatch.setattr(cpu, "best_level", lambda: "amx")
    assert _ext.choose(None) == _ext.choose("amx") == ("amx" if granted else "avx512")
    assert len(asked) == 2
    assert _ext.choose("avx512") == "avx512"
    monkeypatch.setattr(cpu, "best_level", lambda: "avx2")
    assert _ext.choose(None) == _ext.choose("amx") == "avx2"
    monkeypatch.setattr(cpu, "best_level", lambda: "amx")
    monkeypatch.setattr(_ext, "_built", lambda at: {"a family"} if at != "amx" else set())
    assert _ext.choose("amx") == "avx512"
    assert len(asked) == 2  # nobody asks for tiles that would not be used


@has_amx
@has_build
def test_a_family_without_tiles_is_its_avx512_build_at_level_amx():
    assert _ext.load("max_pool", "amx") is _ext.load("max_pool", "avx512")
    assert _ext.load("amx_peak", "amx").__name__ == "fastnet._ext.amx.amx_peak"


def test_families_of_tiles_are_none_below_level_amx_and_the_others_are_there_at_every_level():
    families = sorted(file.stem for file in Path(_ext.__file__).parent.glob("*.pyx"))
    program = "from fastnet import _ext\nfor family in {!r}: print(getattr(_ext, family) is None)"
    for level in _ext.available_levels():
        found = dict(zip(families, run(program.format(families), level), strict=True))
        assert {family for family, none in found.items() if none == "True"} == {
            family for family in families if family.startswith("amx_") and level != "amx"
        }
