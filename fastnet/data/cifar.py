"""CIFAR-10 and CIFAR-100 in their binary files: 32 x 32 colour images, one record each of label bytes and pixels.

A CIFAR-10 record is the label and 3 x 32 x 32 pixels, 3,073 bytes; a CIFAR-100 record has a coarse label before the
fine one. Krizhevsky 2009. The pickled files of the same data are not read: the binary ones hold the same and execute
nothing.
"""

import io
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..memory import Array
from .dataset import Dataset, with_held_out
from .files import read_exactly, verify
from .sources import Remote, locate, missing

PIXELS = 3 * 32 * 32
LARGEST = 1 << 30  # bytes of one file: five times the largest official one


@dataclass(frozen=True)
class Layout:
    """What a CIFAR set consists of."""

    name: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str  # the text file of class names
    classes: int
    label_bytes: int  # the last of them is the label
    remote: Remote

    @property
    def members(self) -> tuple[str, ...]:
        return (*self.train, self.test, self.names)


def _remote(name: str, size: int, sha256: str) -> Remote:
    return Remote(
        name, size, sha256, (f"https://www.cs.toronto.edu/~kriz/{name}", f"https://cave.cs.toronto.edu/kriz/{name}")
    )


CIFAR10 = Layout(
    "cifar10",
    "cifar-10-batches-bin",
    tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test_batch.bin",
    "batches.meta.txt",
    10,
    1,
    _remote("cifar-10-binary.tar.gz", 170052171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
)
CIFAR100 = Layout(
    "cifar100",
    "cifar-100-binary",
    ("train.bin",),
    "test.bin",
    "fine_label_names.txt",
    100,
    2,
    _remote("cifar-100-binary.tar.gz", 168513733, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
)


def read_records(data: bytes | bytearray, path: Path, layout: Layout) -> tuple[Array, Array]:
    """(N, 32, 32, 3) images and (N,) labels; FormatError unless they are whole records with labels below `classes`."""
    record = layout.label_bytes + PIXELS
    if not data or len(data) % record:
        raise FormatError(f"{path}: {len(data)} bytes, wanted a multiple of {record}, the length of a record")
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    y = rows[:, layout.label_bytes - 1].astype(np.int64)
    if y.max() >= layout.classes:
        row = int(y.argmax())
        raise FormatError(f"{path}: label {y[row]} in record {row}, wanted less than {layout.classes}")
    images = rows[:, layout.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), y


def read_names(data: bytes | bytearray, path: Path, layout: Layout) -> tuple[str, ...]:
    """The class names, one a line; FormatError if there are not as many as classes."""
    try:
        names = tuple(data.decode("ascii").split())
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: wanted class names in ASCII, found byte 0x{error.object[error.start]:02x}"
        ) from error
    if len(names) != layout.classes:
        raise FormatError(f"{path}: {len(names)} class names, wanted {layout.classes}")
    return names


def read_folder(folder: Path, layout: Layout) -> dict[str, bytes | bytearray]:
    """The files of an unpacked set, by name."""
    contents: dict[str, bytes | bytearray] = {}
    for name in layout.members:
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(missing(layout.name, folder, (name,)))
        size = path.stat().st_size
        if size > LARGEST:
            raise FormatError(f"{path}: {size} bytes, wanted at most {LARGEST}")
        contents[name] = path.read_bytes()
    return contents


def read_archive(path: Path, layout: Layout, sha256: str | None) -> dict[str, bytes | bytearray]:
    """The files of a set, streamed out of its .tar.gz: exact members only, and nothing is written to disk.

    The checksum is compared before the archive is looked into. FormatError if it differs, if a member is missing, comes
    twice, is no plain file or is too large, or if the archive is damaged.
    """
    if sha256 is not None:
        verify(path, sha256)
    wanted = {f"{layout.folder}/{name}": name for name in layout.members}
    contents: dict[str, bytes | bytearray] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = wanted.get(member.name)
                if name is None:
                    continue
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None or name in contents or member.size > LARGEST:
                    raise FormatError(f"{path}: wanted one plain file {member.name} of at most {LARGEST} bytes")
                contents[name] = read_exactly(io.BufferedReader(stream), member.size, path, member.name)  # type: ignore[type-var]
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise FormatError(f"{path}: damaged archive: {error}") from error
    lost = [member for member, name in wanted.items() if name not in contents]
    if lost:
        raise FormatError(f"{path}: the archive has no {', '.join(lost)}")
    return contents


def read_splits(root: Path, download: bool, layout: Layout) -> tuple[Array, Array, Array, Array, tuple[str, ...]]:
    """(x, y, x_test, y_test, class names) in the files' order, x (N, 32, 32, 3): of the files in root itself, else of those in
    root's folder of the set, else of the archive in root.
    """
    folder = root if (root / layout.test).is_file() else root / layout.folder
    if folder.is_dir():
        contents, where = read_folder(folder, layout), folder
    else:
        where, _ = locate(layout.remote, root, (), download, layout.name)
        contents = read_archive(where, layout, layout.remote.sha256)
    parts = [read_records(contents.pop(name), where / name, layout) for name in layout.train]
    x, y = (np.concatenate([part[k] for part in parts]) if len(parts) > 1 else parts[0][k] for k in (0, 1))
    del parts
    x_test, y_test = read_records(contents.pop(layout.test), where / layout.test, layout)
    return x, y, x_test, y_test, read_names(contents[layout.names], where / layout.names, layout)


def _load(root: Path, download: bool, layout: Layout) -> Dataset:
    return with_held_out(*read_splits(root, download, layout), layout.name)


def cifar10(root: Path, download: bool = False) -> Dataset:
    """45,000 / 5,000 / 10,000 images of ten classes: root/cifar-10-batches-bin/, else root/cifar-10-binary.tar.gz.

    The archive must have the official checksum. Unpacked files are checked by their structure only: whole records,
    labels below 10, ten class names; they may hold fewer images, or images of your own.
    """
    return _load(root, download, CIFAR10)


def cifar100(root: Path, download: bool = False) -> Dataset:
    """As `cifar10` with 100 classes (the fine labels): root/cifar-100-binary/, else root/cifar-100-binary.tar.gz."""
    return _load(root, download, CIFAR100)
