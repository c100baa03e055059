"""Downloads that can be interrupted: resumed by Range, checked by checksum, and put in place whole or not at all."""

import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import FormatError
from .files import PIECE, sha256

__all__ = ["DownloadError", "download"]


class DownloadError(OSError):
    """A file could not be fetched from any of its addresses."""


class Progress:
    """A line on standard error about a transfer: tqdm's where it is installed, a plain one where not."""

    def __init__(self, name: str, total: int | None, start: int) -> None:
        self.name, self.total, self.done = name, total, start
        self.shown = 0.0
        self.bar: Any = None
        try:
            from tqdm import tqdm

            self.bar = tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, file=sys.stderr)
        except ImportError:
            pass

    def __call__(self, count: int) -> None:
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif time.monotonic() - self.shown > 0.5 and sys.stderr.isatty():
            self._line("\r")
            self.shown = time.monotonic()

    def _line(self, start: str, end: str = "") -> None:
        share = f" of {self.total / 1e6:.1f} MB, {self.done / self.total:4.0%}" if self.total else " MB"
        print(f"{start}{self.name}: {self.done / 1e6:.1f}{share}", end=end, file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        else:
            self._line("\r" if sys.stderr.isatty() else "", "\n")


def _silent(count: int) -> None:
    pass


def _begins_at(response: Any) -> int:
    """The first byte that the server sends: 0 unless it honours the Range that was asked for."""
    if response.status != 206:
        return 0
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    start = span.split("-")[0]
    return int(start) if unit == "bytes" and start.isdigit() else -1


def _fetch(url: str, part: Path, size: int | None, timeout: float, name: str, progress: bool) -> None:
    """Continue the file `part` from this address until it is complete, or raise OSError or HTTPException."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have >= size:
        if have == size:
            return
        part.unlink()
        have = 0
    headers = {"User-Agent": "fastnet", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is longer than the file there: it cannot be the beginning of it
            part.unlink()
        raise
    with response:
        start = _begins_at(response)
        if start not in (0, have):
            raise OSError(f"the server answered with bytes from {start}, wanted {have}")
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else size
        if size is not None and total != size:
            raise OSError(f"the file there has {total} bytes, wanted {size}")
        with open(part, "ab" if start else "wb") as file:
            show: Any = Progress(name, total, start) if progress else None
            advance: Callable[[int], None] = show or _silent
            try:
                while piece := response.read(PIECE):
                    file.write(piece)
                    advance(len(piece))
                    if total is not None and file.tell() > total:
                        raise OSError(f"the server sent more than {total} bytes")
            finally:
                if show is not None:
                    show.__exit__(None, None, None)
                file.flush()
                os.fsync(file.fileno())
            if total is not None and file.tell() < total:
                raise OSError(f"the connection ended after {file.tell()} of {total} bytes")


def download(
    urls: str | Sequence[str],
    path: str | os.PathLike[str],
    *,
    sha256: str,
    size: int | None = None,
    retries: int = 3,
    pause: float = 1.0,
    timeout: float = 30.0,
    progress: bool = True,
) -> Path:
    """Fetch a file from the first of `urls` that serves it with this SHA-256 checksum, and return its path.

    The bytes go to PATH.part, which a later call continues; PATH appears by an atomic rename once the checksum is
    right. Each address is tried `retries` times, with pauses of 1, 2, 4 … times `pause` seconds between; one that
    answers with an error of the client's (404) only once. DownloadError lists what happened at every address;
    FormatError means that the servers were reached and the content was wrong.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    troubles: list[str] = []
    wrong: FormatError | None = None
    for url in [urls] if isinstance(urls, str) else urls:
        for attempt in range(retries):
            if attempt:
                time.sleep(pause * 2 ** (attempt - 1))
            try:
                _fetch(url, part, size, timeout, path.name, progress)
                _put_in_place(part, path, sha256)
                return path
            except FormatError as error:
                wrong = error
                troubles.append(f"{url}: {error}")
            except (OSError, http.client.HTTPException) as error:
                troubles.append(f"{url}: {error}")
                if (
                    isinstance(error, urllib.error.HTTPError)
                    and 400 <= error.code < 500
                    and error.code not in (408, 416, 429)
                ):
                    break
    report = "\n  ".join(dict.fromkeys(troubles))
    if wrong is not None:
        raise FormatError(f"{path.name}: no address served the right content:\n  {report}") from wrong
    raise DownloadError(
        f"{path.name} could not be downloaded:\n  {report}\nWithout a network, fetch it elsewhere and put it at {path}"
    )


def _put_in_place(part: Path, path: Path, wanted: str) -> None:
    """Rename the complete part if its checksum is right; else delete it, so that the next attempt starts afresh."""
    found = sha256(part)
    if found != wanted:
        part.unlink()
        raise FormatError(f"SHA-256 is {found}, wanted {wanted}")
    os.replace(part, path)
    if hasattr(os, "O_DIRECTORY"):  # make the rename itself last
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
