"""The house's order: what every file of the repository keeps to."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {".py", ".pyx", ".pxd", ".h"}
GENERATED = {".c", ".cpp", ".so", ".pyd", ".o", ".a", ".dll", ".pyc", ".whl", ".pickle", ".pkl"}


def tracked() -> list[Path]:
    """Files under version control, or an empty list where there is no repository (an unpacked sdist)."""
    if not (ROOT / ".git").exists():
        return []
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def names(paths) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def is_binary(path: Path) -> bool:
    return b"\0" in path.read_bytes()


def may_be_binary(path: Path) -> bool:
    place = path.relative_to(ROOT).parts
    return place[:3] == ("fastnet", "data", "embedded") or (place[0] in ("docs", "bench") and path.suffix == ".png")


FILES = tracked()
HOUSE = [path for path in FILES if path.suffix in SOURCES and path.relative_to(ROOT).parts[0] in ("fastnet", "bench")]
in_a_clone = pytest.mark.skipif(not FILES, reason="no git repository here")


@in_a_clone
def test_no_file_names_a_place_of_the_machine_it_was_written_on():
    places = [f"/{place}/".encode() for place in ("work", "home", "root")]
    assert not names(path for path in FILES if any(place in path.read_bytes() for place in places))


@in_a_clone
def test_nothing_generated_or_binary_is_tracked():
    assert not names(path for path in FILES if path.suffix in GENERATED)
    assert not names(path for path in FILES if is_binary(path) and not may_be_binary(path))


@in_a_clone
def test_what_is_tracked_is_not_ignored():
    ignored = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(ignored, cwd=ROOT, capture_output=True, check=True, text=True).stdout == ""


def test_every_kernel_file_has_its_stub():
    kernels = ROOT.glob("fastnet/_ext/*.pyx")
    assert not names(path for path in kernels if not path.with_suffix(".pyi").is_file())


@in_a_clone
def test_every_source_file_says_first_what_it_is_about():
    opening = {".h": "/*"}
    assert not names(path for path in HOUSE if not path.read_text().startswith(opening.get(path.suffix, '"""')))


@in_a_clone
def test_no_source_file_has_become_two_rooms():
    long = {
        name: lines for name, path in zip(names(HOUSE), HOUSE) if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long, f"over 400 lines: split {long}"


@in_a_clone
def test_lines_end_without_spaces_and_files_with_a_newline():
    texts = [(path, path.read_bytes()) for path in FILES if not is_binary(path) and not may_be_binary(path)]
    assert not names(path for path, text in texts if b" \n" in text or b"\r\n" in text)
    assert not names(path for path, text in texts if text and not text.endswith(b"\n"))
