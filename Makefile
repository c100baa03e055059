# Everything from a bare clone with python3 (3.10 or newer, with venv) and a C compiler. The environment is .venv in this folder.

PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
KERNELS := $(wildcard fastnet/_ext/*.pyx fastnet/_ext/*.pxd fastnet/_ext/*.h)
TORCH_VERSION := 2.13.0
comma := ,

.PHONY: help bench bench-full test test-slow lint build gallery annotate campaign torch clean

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

bench: .venv/ready $(if $(TORCH),torch)  ## train on the embedded data, then the speed tables (TORCH=1: beside PyTorch)
	$(PY) -m fastnet train --out runs/bench
	$(PY) -m bench --quick

bench-full: .venv/ready $(if $(TORCH),torch)  ## all benchmarks in full (TORCH=1: beside PyTorch); keep the machine quiet
	$(PY) -m bench

test: .venv/ready  ## the test suite
	$(PY) -m pytest -m "not slow"

test-slow: .venv/ready  ## the tests left out of `make test`: installations from nothing, long runs
	$(PY) -m pytest -m slow

lint: .venv/ready  ## style and types: ruff, mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

build: .venv/ready  ## compile the kernels that changed (in place: an editable installation sees them at once)

gallery: .venv/ready  ## the lecture's chapters, each with its picture and numbers, on one page: runs/gallery/index.html
	$(PY) examples/lecture/gallery.py --out runs/gallery

annotate: .venv/ready  ## Cython's report on which kernel lines call Python, as HTML in build/cython
	rm -rf build/cython
	FASTNET_ANNOTATE=1 $(PY) setup.py -q build_ext --inplace
	@find build/cython -name '*.html'

campaign: .venv/ready  ## the long random tests (tests/campaign_*.py); minutes
	@set -e; for each in $(basename $(notdir $(wildcard tests/campaign_*.py))); do PYTHONPATH=tests $(PY) -m $$each; done

torch: .venv/ready  ## PyTorch into .venv: a second oracle for the tests, an opponent for the benchmarks
	$(PIP) install torch==$(TORCH_VERSION)

clean:  ## remove what was built; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .venv/ready $(addprefix fastnet/_ext/,generic avx2 avx512 amx)
	find fastnet bench tests -name __pycache__ -prune -exec rm -rf {} +
	find fastnet/_ext -name '*.so' -delete

# The first installation compiles everything (two to three minutes); afterwards an edited kernel is compiled where it stands.
.venv/ready: pyproject.toml setup.py $(KERNELS)
	$(if $(filter pyproject.toml setup.py,$?),\
	  test -x $(PY) || $(PYTHON) -m venv .venv && $(PIP) install -e ".[dev$(comma)bench]",\
	  $(PY) setup.py -q build_ext --inplace)
	@touch $@
