"""Where data sets live: the folder on this machine, and the official files with their addresses and checksums."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .download import download as fetch


@dataclass(frozen=True)
class Remote:
    """An official file: its name, length in bytes, SHA-256 checksum, and the addresses that serve it, best first."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


def default_root() -> Path:
    """$FASTNET_DATA, else the folder "fastnet" in the user's cache directory as this platform has it."""
    if chosen := os.environ.get("FASTNET_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fastnet" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastnet"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastnet"


def locate(remote: Remote, folder: Path, unpacked: tuple[str, ...], download: bool, what: str) -> tuple[Path, bool]:
    """(path, official): the first of the files `unpacked` that exists, else the official file, downloaded if that is
    allowed.

    FileNotFoundError names the paths that were tried and the ways to get the file.
    """
    for name in unpacked:
        if (folder / name).is_file():
            return folder / name, False
    path = folder / remote.name
    if not path.is_file():
        if not download:
            raise FileNotFoundError(missing(what, folder, (*unpacked, remote.name)))
        fetch(remote.urls, path, sha256=remote.sha256, size=remote.size)
    return path, True


def missing(what: str, folder: Path, names: tuple[str, ...]) -> str:
    """What to tell someone whose data set is not there."""
    return (
        f"data set {what}: found none of {', '.join(names)} in {folder}. Call load({what!r}, download=True), "
        "or give the folder that holds it by root=... or the environment variable FASTNET_DATA"
    )
