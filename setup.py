"""The compiled kernels of fastnet. Everything else about the package stands in pyproject.toml.

Each `fastnet/_ext/<family>.pyx` becomes C once and is compiled once per instruction-set level, into
`fastnet/_ext/<level>/<family>`; `fastnet/_ext/__init__.py` picks a level at import. `levels` says which flags a level adds;
FASTNET_LEVELS=avx2 builds that one and generic alone, for a machine whose level is known.
Families named `amx_*` work on AMX's tiles and are compiled for that level alone, which has no build of the others.
"""

import copy
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = os.path.join("fastnet", "_ext")
PLAIN = ["cpu", "memory"]  # compiled once, for any machine
KERNELS = sorted(file[:-4] for file in os.listdir(HERE) if file.endswith(".pyx") and file[:-4] not in PLAIN)
SHARED = "fastnet._ext._cyutility"  # Cython's memoryview code, once instead of in every module
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "nonecheck": False,
    "embedsignature": True,
    "warn.unreachable": False,  # of fused types, pairs that are refused
}
DEBUG = os.environ.get("FASTNET_DEBUG") == "1"  # bounds checks on: for the sanitizer runs and for hunting an index
if DEBUG:
    DIRECTIVES |= {"boundscheck": True, "initializedcheck": True}

HELP = """
fastnet needs a C compiler and the headers of Python:
  Debian, Ubuntu   apt install gcc python3-dev python3-venv
  Fedora           dnf install gcc python3-devel
  macOS            xcode-select --install
  Windows          the "Desktop development with C++" workload of Visual Studio Build Tools
"""
NO_OPENMP = """
fastnet: this compiler has no OpenMP, so the kernels are built for one thread.
  Debian, Ubuntu: apt install gcc (libgomp comes with it)    Fedora: dnf install gcc libgomp
  macOS: single-threaded by intention, since two OpenMP runtimes in one process crash
"""
NO_TILES = """
fastnet: this compiler or its assembler does not know AMX, so the level amx is left out (GCC 11, clang 12 or newer have it).
"""

TILES = """
#include <immintrin.h>
void probe(void *to) { _tile_zero(0); _tile_dpbf16ps(0, 1, 2); _tile_stored(0, to, 64); _tile_release(); }
__m512bh probe_bf16(__m512 a, __m512 b) { return _mm512_cvtne2ps_pbh(a, b); }
"""


def levels(msvc):
    """Compiler flags of every instruction-set level that can be built here."""
    if msvc or platform.machine().lower() not in ("x86_64", "amd64"):
        return {"generic": []}
    avx512 = [
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mavx512cd",
        "-mfma",
        "-mprefer-vector-width=512",
    ]
    flags = {
        "generic": ["-O2"],  # for processors without AVX2 alone: depthwise.c takes 16 s instead of 23
        "avx2": ["-mavx2", "-mfma", "-mf16c"],
        "avx512": avx512,
        "amx": [*avx512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"],
    }
    wanted = [name.strip() for name in os.environ.get("FASTNET_LEVELS", "").split(",") if name.strip()] or list(flags)
    unknown = [name for name in wanted if name not in flags]
    if unknown:
        sys.exit(f"FASTNET_LEVELS={','.join(wanted)}: there is no level {unknown[0]}, only {', '.join(flags)}")
    needed = {"generic", *wanted} | ({"avx512"} if "amx" in wanted else set())  # where amx has its other families from
    return {name: flags[name] for name in flags if name in needed}


class BuildLevels(build_ext):
    """Probe the compiler, then build every extension in an object directory of its own, two at a time."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def probe(self, code, flags=()):
        """The compiler's complaint about `code`, or None if it compiles and links."""
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "probe.c")
            with open(source, "w") as file:
                file.write(code)
            try:
                objects = self.compiler.compile(
                    [source], folder, include_dirs=self.include_dirs, extra_postargs=list(flags)
                )
                self.compiler.link_shared_object(objects, os.path.join(folder, "probe.so"), extra_postargs=list(flags))
            except Exception as error:
                return str(error)
        return None

    def build_extensions(self):
        msvc = self.compiler.compiler_type == "msvc"
        complaint = self.probe("#include <Python.h>\nint probe(void) { return PY_MAJOR_VERSION; }\n")
        if complaint:
            sys.exit(f"{HELP}\nWhat the compiler said: {complaint}")
        openmp = ["/openmp"] if msvc else ["-fopenmp"]
        threads = "#include <omp.h>\nint probe(void) { return omp_get_max_threads(); }\n"
        if sys.platform == "darwin" or self.probe(threads, openmp):
            print(NO_OPENMP, file=sys.stderr)
            openmp = []
        # No -ffast-math and no -march=native: both would change or break other people's programs (docs/decisions).
        flags = (
            ["/O2"] if msvc else ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-g1" if DEBUG else "-g0"]
        )
        per_level = levels(msvc)
        if "amx" in per_level and self.probe(TILES, per_level["amx"]):
            print(NO_TILES, file=sys.stderr)
            del per_level["amx"]
        self.extensions = list(self.expand(flags, openmp, per_level))
        self.extensions.sort(key=lambda ext: -os.path.getsize(ext.sources[0]))  # a long one begun last would run alone
        super().build_extensions()

    def expand(self, flags, openmp, per_level):
        """One extension per level for the kernels, one for the rest."""
        for ext in self.extensions:
            family = ext.name.rpartition(".")[2]
            for level, extra in per_level.items() if family in KERNELS else [("", [])]:
                if family.startswith("amx_") != (level == "amx"):
                    continue
                one = copy.copy(ext)
                one.name = f"fastnet._ext.{level}.{family}" if level else ext.name
                one.extra_compile_args = [*flags, *extra, *openmp]
                one.extra_link_args = openmp
                os.makedirs(os.path.join(HERE, level), exist_ok=True)  # where --inplace copies it to
                one.define_macros = [
                    ("FASTNET_LEVEL", f'"{level or "any"}"'),
                    ("FASTNET_FLAGS", f'"{" ".join(flags + extra + openmp)}"'),
                ]
                yield one

    def build_extension(self, ext):
        one = copy.copy(self)
        one.build_temp = os.path.join(self.build_temp, ext.name)  # the levels share their C files, not their objects
        build_ext.build_extension(one, ext)


def extensions():
    """The C files, written by Cython into build/ (never beside the sources)."""
    from Cython.Build import cythonize

    depends = [os.path.join(HERE, file) for file in sorted(os.listdir(HERE)) if file.endswith((".h", ".pxd"))]
    modules = [
        Extension(f"fastnet._ext.{name}", [os.path.join(HERE, f"{name}.pyx")], depends=depends, include_dirs=[HERE])
        for name in KERNELS + PLAIN
    ]
    forks = multiprocessing.get_start_method() == "fork"  # processes started otherwise would run this file again
    os.makedirs("build/cython", exist_ok=True)
    utility = os.path.join("build", "cython", "_cyutility.c")
    subprocess.run([sys.executable, "-m", "cython", "-3", f"--generate-shared={utility}"], check=True)
    built = cythonize(
        modules,
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
        annotate=os.environ.get("FASTNET_ANNOTATE") == "1",
        shared_utility_qualified_name=SHARED,
        nthreads=(os.cpu_count() or 0) if forks else 0,
        quiet=True,
    )
    return [*built, Extension(SHARED, [utility])]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildLevels})
