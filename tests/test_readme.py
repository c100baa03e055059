"""What README and CONTRIBUTING promise: the example runs as it stands, commands, links and file names exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastnet

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
per_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def example():
    """All Python of the page, one after the other: what follows uses the names of what came before."""
    return "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))


def test_the_examples_run_as_they_stand_and_learn_the_digits(tmp_path):
    command = [sys.executable, "-c", example()]
    path = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    finished = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    accuracy = float(re.findall(r"test accuracy ([\d.]+)", finished.stdout)[-1])
    assert accuracy > 0.95
    assert fastnet.load(tmp_path / "digits.safetensors")


@per_page
def test_relative_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing, "pictures are made by `fastnet train` and `python -m bench`"


@per_page
def test_files_named_in_the_text_exist(page):
    named = set(re.findall(r"`((?:fastnet|tests|bench|docs|tools)/[\w./]*)`", page.read_text()))
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


@per_page
def test_make_targets_named_in_the_text_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    spoken = re.findall(r"(?:^|`)make ([a-z-]+(?: [a-z-]+)*)", page.read_text(), re.MULTILINE)
    named = {target for words in spoken for target in words.split(" ")}
    assert not named - targets


def test_readme_names_both_commands():
    assert "\nmake bench " in README
    assert "\nmake test " in README
