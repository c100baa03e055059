"""Building from source: what is packed, and what the build says when something is missing."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from fastnet import _ext

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="compiler wrappers here are shell scripts")


def run(command, folder, **environment):
    """The finished process, with stdout and stderr as one text."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "FASTNET_ISA")} | environment
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )


def build(folder, tmp_path, **environment):
    """`setup.py build_ext` of the sources in folder, with everything it makes under tmp_path."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    options = ["--build-lib", tmp_path / "lib", "--build-temp", tmp_path / "temp"]
    return run([sys.executable, "setup.py", "-q", "build_ext", *options], folder, **environment)


def wrapper(tmp_path, line):
    """A C compiler that does `line` first."""
    cc = shutil.which(os.environ.get("CC", "").split(" ")[0] or "cc") or pytest.skip("no C compiler")
    script = tmp_path / "wrapped-cc"
    script.write_text(f'#!/bin/bash\n{line}\nexec {cc} "$@"\n')
    script.chmod(0o755)
    return str(script)


def copy_of_the_sources(tmp_path):
    """The files a clone has, without what was built in it."""
    skip = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.egg-info")
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("fastnet", "tests", "bench", "docs"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, clone / name, ignore=skip)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy2(path, clone)
    return clone


def assert_the_help_is_there(finished):
    assert finished.returncode != 0
    for words in (
        "needs a C compiler and the headers of Python",
        "apt install gcc python3-dev",
        "dnf install",
        "xcode-select",
    ):
        assert finished.stdout.count(words) == 1, finished.stdout[-3000:]
    assert "Traceback" not in finished.stdout


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler"])
def test_without_a_compiler_one_message_says_what_to_install(tmp_path, compiler):
    assert_the_help_is_there(build(ROOT, tmp_path, CC=compiler))


def test_without_pythons_headers_one_message_says_what_to_install(tmp_path):
    without = wrapper(tmp_path, 'for a; do shift; case "$a" in -I*python*) ;; *) set -- "$@" "$a" ;; esac; done')
    finished = build(ROOT, tmp_path, CC=without)
    assert_the_help_is_there(finished)
    assert "Python.h" in finished.stdout


@pytest.mark.skipif(not _ext._built("avx2"), reason="only x86-64 has levels to choose from")
def test_a_level_to_build_must_be_one_of_the_levels(tmp_path):
    finished = build(ROOT, tmp_path, FASTNET_LEVELS="avx2,sse9")
    assert finished.returncode != 0
    assert "FASTNET_LEVELS=avx2,sse9: there is no level sse9, only generic, avx2, avx512, amx" in finished.stdout
    assert "Traceback" not in finished.stdout


def test_without_its_kernels_the_import_says_how_to_build_them(tmp_path):
    skip = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "embedded")
    shutil.copytree(ROOT / "fastnet", tmp_path / "fastnet", ignore=skip)
    finished = run([sys.executable, "-c", "import fastnet"], tmp_path)
    assert finished.returncode == 1
    assert "ImportError: fastnet's compiled kernels are missing" in finished.stdout
    assert "python setup.py build_ext --inplace" in finished.stdout


def test_kernels_of_another_python_are_reported_as_missing(tmp_path):
    shutil.copytree(ROOT / "fastnet", tmp_path / "fastnet", ignore=shutil.ignore_patterns("__pycache__", "embedded"))
    for file in (tmp_path / "fastnet" / "_ext").glob("cpu.*.so"):
        file.write_bytes(b"not an extension")
    finished = run([sys.executable, "-c", "import fastnet"], tmp_path)
    assert finished.returncode == 1
    assert "python setup.py build_ext --inplace" in finished.stdout


def test_the_instruction_set_level_must_be_one_of_the_levels():
    finished = run([sys.executable, "-c", "import fastnet"], ROOT, FASTNET_ISA="mmx")
    assert finished.returncode == 1
    assert "FASTNET_ISA='mmx' is not a level; it can be one of generic, avx2, avx512" in finished.stdout


@pytest.mark.slow
def test_without_openmp_it_builds_for_one_thread_and_without_amx_for_the_level_below_and_says_so(tmp_path):
    refusing = wrapper(tmp_path, 'case " $* " in *" -fopenmp "* | *" -mamx-tile "*) echo "not here"; exit 1 ;; esac')
    clone = copy_of_the_sources(tmp_path)
    finished = build(clone, tmp_path, CC=refusing)
    assert finished.returncode == 0, finished.stdout[-3000:]
    assert finished.stdout.count("this compiler has no OpenMP, so the kernels are built for one thread") == 1
    assert finished.stdout.count("does not know AMX, so the level amx is left out") == bool(_ext._built("avx2"))
    shutil.copytree(tmp_path / "lib", clone, dirs_exist_ok=True)
    code = """
import numpy as np, fastnet
from fastnet import _ext
assert _ext.level != "amx" and "amx" not in _ext.available_levels()
assert _ext.amx_peak is None
fastnet.set_num_threads(4)
assert fastnet.get_num_threads() == 1, fastnet.get_num_threads()
y = fastnet.Conv2d(3, 5, 3).forward(np.ones((2, 3, 9, 8), np.float32))
assert y.shape == (2, 5, 7, 6)
"""
    finished = run([sys.executable, "-c", code], clone)
    assert finished.returncode == 0, finished.stdout


@pytest.mark.slow
@pytest.mark.skipif(not _ext._built("avx2"), reason="only x86-64 has levels to choose from")
def test_a_build_of_one_level_has_that_and_generic(tmp_path):
    finished = build(copy_of_the_sources(tmp_path), tmp_path, FASTNET_LEVELS="avx2")
    assert finished.returncode == 0, finished.stdout[-3000:]
    built = {file.parent.name for file in (tmp_path / "lib" / "fastnet" / "_ext").glob("*/*.so")}
    assert built == {"generic", "avx2"}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["clone", "sdist", "editable"])
def test_it_installs_in_build_isolation_with_numpy_as_its_only_dependency(tmp_path, way):
    clone = copy_of_the_sources(tmp_path)
    if way == "sdist":
        archive = sdist(clone, tmp_path)
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path / "unpacked")
        (source,) = (tmp_path / "unpacked").iterdir()
    else:
        source = clone
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    finished = run([python, "-m", "pip", "install", *(["-e"] if way == "editable" else []), source], tmp_path)
    assert finished.returncode == 0, finished.stdout[-3000:]
    listed = run([python, "-m", "pip", "list", "--format", "freeze"], tmp_path).stdout
    packages = {line.partition("==")[0].partition(" ")[0].lower() for line in listed.split("\n") if line}
    assert packages - {"pip", "setuptools", "wheel", "[notice]"} == {"fastnet", "numpy"}
    code = (
        "import fastnet; x, y = (fastnet.data.load('mnist5k')[k] for k in ('x_test', 'y_test')); print(x.shape, len(y))"
    )
    finished = run([python, "-c", code], tmp_path)
    assert finished.stdout.strip() == "(500, 1, 28, 28) 500", finished.stdout
    assert run([python, "-m", "fastnet", "info"], tmp_path).returncode == 0
    assert run([tmp_path / "venv" / "bin" / "fastnet", "--help"], tmp_path).returncode == 0


def sdist(folder, tmp_path):
    finished = run([sys.executable, "setup.py", "-q", "sdist", "-d", tmp_path / "dist"], folder)
    assert finished.returncode == 0, finished.stdout[-3000:]
    (archive,) = (tmp_path / "dist").iterdir()
    return archive


@pytest.mark.slow
def test_the_sdist_has_every_source_and_nothing_built(tmp_path):
    pytest.importorskip("Cython")
    clone = copy_of_the_sources(tmp_path)
    with tarfile.open(sdist(clone, tmp_path)) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    folders = ("fastnet", "tests", "bench")
    wanted = {str(p.relative_to(clone)) for folder in folders for p in (clone / folder).rglob("*") if p.is_file()}
    wanted = {name for name in wanted if "/results/" not in name} | {
        "pyproject.toml",
        "setup.py",
        "README.md",
        "LICENSE",
    }
    assert wanted <= packed, f"missing in the sdist: {sorted(wanted - packed)}"
    assert not [name for name in packed if name.endswith((".so", ".c", ".o", ".pyc"))]
