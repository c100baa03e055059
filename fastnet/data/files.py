"""Bytes of a data file that may be damaged or hostile: read with a limit, checked before they are believed."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import FormatError

PIECE = 1 << 20


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """The stream's bytes, a megabyte at a time."""
    while piece := stream.read(PIECE):
        yield piece


def sha256(path: Path) -> str:
    """The SHA-256 checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for piece in pieces(stream):
            digest.update(piece)
    return digest.hexdigest()


def verify(path: Path, wanted: str) -> None:
    """FormatError unless the file has this SHA-256 checksum."""
    found = sha256(path)
    if found != wanted:
        raise FormatError(
            f"{path}: SHA-256 is {found}, wanted {wanted}: the file is damaged or is not the official one. "
            "Delete it and download it again. A file of your own is read too if it is unpacked: then only its "
            "structure is checked"
        )


def read_exactly(stream: BinaryIO, count: int, path: Path, what: str) -> bytearray:
    """The next `count` bytes; FormatError if the file ends before. Memory grows with what is there."""
    data = bytearray()
    try:
        while len(data) < count:
            piece = stream.read(min(PIECE, count - len(data)))
            if not piece:
                raise FormatError(f"{path}: ends after {len(data)} bytes of {what}, wanted {count}")
            data += piece
    except (EOFError, OSError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise FormatError(f"{path}: damaged in {what}: {error}") from error
    return data


def read_end(stream: BinaryIO, path: Path) -> None:
    """FormatError unless the stream ends here."""
    try:
        more = stream.read(1)
    except (EOFError, OSError, zlib.error) as error:
        raise FormatError(f"{path}: damaged at its end: {error}") from error
    if more:
        raise FormatError(f"{path}: has more bytes than its header says")


def open_plain_or_gzip(path: Path) -> BinaryIO:
    """The file's content, unpacked if its first two bytes say that it is gzip."""
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb") if packed else open(path, "rb"))
