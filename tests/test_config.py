"""Threads, CPU quotas, precision, show_config, the instruction-set level, and what importing leaves alone."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastnet
from fastnet import _ext, config
from fastnet._ext import cpu


def run(program, **environment):
    """The program in a Python of its own, with these variables (None: unset)."""
    merged = {**os.environ, **{k: v for k, v in environment.items() if v is not None}}
    for name in [k for k, v in environment.items() if v is None]:
        merged.pop(name, None)
    return subprocess.run([sys.executable, "-c", program], env=merged, capture_output=True, text=True, timeout=120)


needs_openmp = pytest.mark.skipif(not cpu.has_openmp(), reason="built for one thread")


# --- threads ----------------------------------------------------------------------------------------------------------


@needs_openmp
@pytest.mark.usefixtures("threads")
def test_threads_are_what_was_set():
    for n in (1, 3, np.int64(5), 1024):
        fastnet.set_num_threads(n)
        assert fastnet.get_num_threads() == n
        assert type(fastnet.get_num_threads()) is int


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    ("n", "error"),
    [(0, ValueError), (-1, ValueError), (1025, ValueError), (2**31, ValueError), (1.0, TypeError), (True, TypeError),
     ("2", TypeError), (None, TypeError)],
)  # fmt: skip
def test_a_bad_number_of_threads_is_refused_and_the_old_one_stays(n, error):
    before = fastnet.get_num_threads()
    with pytest.raises(error, match=r"^set_num_threads: expected"):
        fastnet.set_num_threads(n)
    assert fastnet.get_num_threads() == before


@needs_openmp
def test_omp_num_threads_is_the_number_at_the_start():
    quota = config._quota()
    for wanted in (1, 3):
        found = run("import fastnet; print(fastnet.get_num_threads())", OMP_NUM_THREADS=str(wanted))
        assert int(found.stdout) == min(wanted, quota), found.stderr


@needs_openmp
def test_without_omp_num_threads_there_are_no_more_than_the_processors_this_process_may_use():
    found = run("import fastnet; print(fastnet.get_num_threads())", OMP_NUM_THREADS=None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= int(found.stdout) <= cores


V2, QUOTA, PERIOD = (
    "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"
)  # fmt: skip


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({V2: "max 100000\n"}, sys.maxsize),
        ({V2: "200000 100000\n"}, 2),
        ({V2: "250000 100000\n"}, 2),
        ({V2: "50000 100000\n"}, 1),
        ({V2: "300000 50000\n"}, 6),
        ({V2: ""}, sys.maxsize),
        ({V2: "nonsense"}, sys.maxsize),
        ({V2: "100000 0\n"}, sys.maxsize),
        ({QUOTA: "-1\n", PERIOD: "100000\n"}, sys.maxsize),
        ({QUOTA: "350000\n", PERIOD: "100000\n"}, 3),
        ({QUOTA: "10000\n", PERIOD: "100000\n"}, 1),
        ({QUOTA: "100000\n"}, sys.maxsize),
        ({QUOTA: "100000\n", PERIOD: "0\n"}, sys.maxsize),
        ({}, sys.maxsize),
    ],
)
def test_a_containers_quota_is_read_from_either_kind_of_cgroup(files, processors, monkeypatch):
    def read(path, *_, **__):
        try:
            return files[str(path)]
        except KeyError:
            raise FileNotFoundError(path) from None

    monkeypatch.setattr(config.Path, "read_text", read)
    assert config._quota() == processors


# --- precision --------------------------------------------------------------------------------------------------------


def test_precision_is_highest_at_the_start_and_what_was_set_afterwards():
    assert fastnet.get_float32_matmul_precision() == "highest"
    try:
        for level in ("medium", "high", "highest"):
            fastnet.set_float32_matmul_precision(level)
            assert fastnet.get_float32_matmul_precision() == level
    finally:
        fastnet.set_float32_matmul_precision("highest")


def test_a_block_has_its_precision_and_gives_the_former_one_back_even_after_an_error():
    with fastnet.precision("medium"):
        assert fastnet.get_float32_matmul_precision() == "medium"
        with fastnet.precision("high"):
            assert fastnet.get_float32_matmul_precision() == "high"
        assert fastnet.get_float32_matmul_precision() == "medium"
    with pytest.raises(KeyError), fastnet.precision("medium"):
        raise KeyError
    assert fastnet.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("level", ["HIGH", "low", "", None, 1, ["high"], b"high"])
def test_a_precision_that_does_not_exist_is_refused_with_those_that_do(level):
    with pytest.raises(ValueError, match=r"^set_float32_matmul_precision: expected one of .*'highest'"):
        fastnet.set_float32_matmul_precision(level)
    with pytest.raises(ValueError, match="expected one of"), fastnet.precision(level):
        pass
    assert fastnet.get_float32_matmul_precision() == "highest"


# --- show_config ------------------------------------------------------------------------------------------------------


def test_show_config_prints_every_fact_and_returns_them_as_a_dictionary(capsys):
    assert fastnet.show_config() is None
    printed = capsys.readouterr().out
    facts = fastnet.show_config(mode="dicts")
    assert capsys.readouterr().out == ""
    for name in facts:
        assert name in printed
    assert facts["version"] == fastnet.__version__
    assert facts["level"] == _ext.level
    assert facts["level"] in facts["levels available"]
    assert facts["threads"] == fastnet.get_num_threads()
    assert "-ffast-math" not in facts["flags"]
    assert all(value > 0 for name, value in facts.items() if name.endswith("/s"))
    with pytest.raises(ValueError, match="mode must be"):
        fastnet.show_config(mode="json")


# --- the level --------------------------------------------------------------------------------------------------------

PROGRAM = """
import numpy as np, fastnet
from fastnet import _ext, functional
rng = np.random.default_rng(0)
x, w = rng.integers(-9, 9, (2, 5, 7, 6)).astype('f'), rng.integers(-9, 9, (4, 5, 3, 2)).astype('f')
print(_ext.level, fastnet.functional.products.kernels.__name__.split('.')[-2], functional.conv2d(x, w)[0].sum())
"""


def test_a_level_may_be_lowered_and_never_raised_and_the_answers_stay():
    available, sums = _ext.available_levels(), set()
    for wanted in (*available, "amx", "", None):
        found = run(PROGRAM, FASTNET_ISA=wanted, OMP_NUM_THREADS="1")
        assert found.returncode == 0, found.stderr
        level, used, total = found.stdout.split()
        assert level == (wanted if wanted in available else available[-1])
        assert used == ("avx512" if level == "amx" else level)  # what has no tiles to work on
        sums.add(total)
    assert len(sums) == 1


@pytest.mark.parametrize("level", ["avx", "AVX2", "sse", "native", "0"])
def test_a_level_that_does_not_exist_is_refused_with_those_that_do(level):
    with pytest.raises(
        ImportError, match=rf"FASTNET_ISA='{level}' is not a level; it can be one of generic, avx2, avx512, amx"
    ):
        _ext.choose(level)


def test_importing_with_a_bad_level_is_an_import_error_and_no_crash():
    found = run("import fastnet", FASTNET_ISA="avx3")
    assert found.returncode == 1
    assert "ImportError: FASTNET_ISA='avx3' is not a level" in found.stderr


# --- what importing leaves alone --------------------------------------------------------------------------------------


def test_denormal_numbers_stay_after_importing_and_after_work_on_every_thread():
    """-ffast-math in one library would make the whole process flush them to zero."""
    program = """
import numpy as np
small = np.float32(1e-40), np.float64(1e-310)
import fastnet
assert all(n / type(n)(2) > 0 for n in small)
fastnet.set_num_threads(3)
x = np.ones((4, 16, 20, 20), np.float32)
layer = fastnet.Conv2d(16, 32, 3)
layer.backward(layer(x))
assert all(n / type(n)(2) > 0 for n in small)
print('kept')
"""
    assert run(program).stdout == "kept\n"


def test_importing_needs_numpy_alone_and_writes_nothing():
    program = """
import sys
import fastnet
heavy = {'matplotlib', 'tqdm', 'PIL', 'torch', 'scipy', 'pandas', 'cython', 'Cython'} & set(sys.modules)
assert not heavy, heavy
"""
    found = run(program)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
