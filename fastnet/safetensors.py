"""The safetensors format, read strictly and written whole: named arrays and text, nothing that could run.

A file is 8 bytes (little-endian length of the header), the header (JSON: name -> dtype, shape, data_offsets; the key
"__metadata__" holds text by name), and the arrays' bytes without gap or overlap. Files written here carry a CRC-32 of
every array with its name, type and shape, and one of the other metadata; `read` verifies them when they are there,
so a flipped bit is found. Any damage raises FormatError.  Format: https://github.com/huggingface/safetensors
"""

import json
import math
import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from .errors import FormatError
from .files import replace_file
from .memory import Array

__all__ = ["read", "write"]

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # NumPy has no bfloat16: read widens it to float32, exactly
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
NAMES = {np.dtype(kind): name for name, kind in DTYPES.items() if name != "BF16"}
LONGEST_HEADER = 100_000_000  # bytes; the limit of the format's own library
MOST_DIMENSIONS = 32  # NumPy 1's limit
CHECKSUMS = "fastnet.crc32"  # our metadata: JSON, array name -> CRC-32, and "" -> that of the other metadata
WRITER = "fastnet.writer"  # says that checksums must be there


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays and texts to path: the new file appears whole or the old one stays (`files.replace_file`).

    TypeError or ValueError, before anything is written, if a name is not text or an array's dtype is not in the format.
    """
    arrays = {name: _writable(name, array) for name, array in tensors.items()}
    # widest first, so that every array starts at a multiple of its item size
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    texts = {WRITER: "1", **(metadata or {})}
    for key, text in texts.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"safetensors: metadata must be text by name, found {key!r}: {type(text).__name__}")
    header: dict[str, Any] = {}
    sums = {"": _text_sum(texts)}
    start = 0
    for name in order:
        array = arrays[name]
        entry = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, start + array.nbytes]}
        header[name] = entry
        sums[name] = _sum(name, entry, array)
        start += array.nbytes
    texts[CHECKSUMS] = json.dumps(sums, separators=(",", ":"), ensure_ascii=False)
    head = json.dumps({"__metadata__": texts, **header}, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    if len(head) > LONGEST_HEADER:
        raise ValueError(f"safetensors: a header of {len(head)} bytes is longer than the format's {LONGEST_HEADER}")

    def fill(file: BinaryIO) -> None:
        file.write(struct.pack("<Q", len(head)) + head)
        for name in order:
            file.write(_bytes(arrays[name]))

    replace_file(path, fill)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """(arrays by name, metadata) of the file; FormatError says what is wrong with it, OSError that it does not open."""
    path = os.fspath(path)  # a number is no path, though `open` would take it for a descriptor
    with open(path, "rb") as file:
        try:
            return _read(file)
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None


def _read(file: BinaryIO) -> tuple[dict[str, Array], dict[str, str]]:
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        raise FormatError(f"a safetensors file starts with 8 bytes of length, this one has {len(start)} bytes")
    (length,) = struct.unpack("<Q", start)
    if length > min(size - 8, LONGEST_HEADER):
        raise FormatError(
            f"the header should have {length} bytes, but only {size - 8} follow (or it is no safetensors file)"
        )
    header = _header(file.read(length), length)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise FormatError("__metadata__ must hold text by name")
    layout = _layout(header, size - 8 - length)
    sums = _sums(metadata, header)
    tensors = {}
    for name, (begin, end) in layout.items():
        entry = header[name]
        array = np.empty(math.prod(entry["shape"]), DTYPES[entry["dtype"]])
        if file.readinto(_bytes(array)) != end - begin:  # type: ignore[attr-defined]
            raise FormatError(f"the file ended within {name!r}: it changed while it was read")
        array = array.reshape(entry["shape"])
        if sums is not None and sums[name] != _sum(name, entry, array):
            raise FormatError(f"{name!r} does not have its checksum: the file is damaged")
        tensors[name] = _native(name, entry["dtype"], array)
    return {name: tensors[name] for name in header}, metadata


def _header(text: bytes, length: int) -> dict[str, Any]:
    if len(text) != length or not text.startswith(b"{"):
        raise FormatError("the header does not start with '{': it is no safetensors file")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise FormatError(f"the header is not valid JSON: {error}") from None
    assert isinstance(header, dict)  # it started with a brace
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise FormatError("the header gives a name twice")
    return found


def _refuse(constant: str) -> Any:
    raise FormatError(f"the header holds {constant}, which is not JSON")


def _layout(header: dict[str, Any], size: int) -> dict[str, tuple[int, int]]:
    """name -> (begin, end) in the order of the bytes, which must follow each other and fill `size`."""
    layout: dict[str, tuple[int, int]] = {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise FormatError(f"{name!r} must have dtype, shape and data_offsets, found {entry!r:.80}")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise FormatError(f"{name!r} has the dtype {dtype!r:.80}, expected one of {', '.join(DTYPES)}")
        if not _counts(shape) or len(shape) > MOST_DIMENSIONS:
            raise FormatError(f"{name!r} has the shape {shape!r:.80}: not up to {MOST_DIMENSIONS} sizes")
        if not _counts(offsets) or len(offsets) != 2:
            raise FormatError(f"{name!r} has the data_offsets {offsets!r:.80}, expected [begin, end]")
        if math.prod(extent for extent in shape if extent) >= 1 << 59:  # NumPy counts the others even where one is 0
            raise FormatError(f"{name!r} has the shape {shape!r:.80}, larger than any array")
        if math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize != offsets[1] - offsets[0]:
            raise FormatError(
                f"{name!r} has {offsets[1] - offsets[0]} bytes, which is not {dtype} of shape {shape!r:.80}"
            )
        layout[name] = (offsets[0], offsets[1])
    layout = dict(sorted(layout.items(), key=lambda item: item[1]))
    at = 0
    for name, (begin, end) in layout.items():
        if begin != at:
            raise FormatError(
                f"{name!r} begins at byte {begin} of the data, expected {at}: arrays overlap or leave a gap"
            )
        at = end
    if at != size:
        raise FormatError(f"the arrays take {at} bytes, the file has {size}: it is cut off or has something appended")
    return layout


def _counts(value: Any) -> bool:
    """Is it a list of integers from 0 up (True and 1.0 are none)?"""
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _sums(metadata: dict[str, str], header: dict[str, Any]) -> dict[str, Any] | None:
    """The checksums by name, with that of the metadata verified; None where a file of another writer has none."""
    if CHECKSUMS not in metadata:
        if WRITER in metadata:
            raise FormatError("the checksums are missing: the file is damaged")
        return None
    try:
        sums = json.loads(metadata[CHECKSUMS], object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the checksums are not valid JSON: {error}") from None
    if not isinstance(sums, dict) or sums.keys() != {"", *header}:
        raise FormatError("the checksums are not those of the arrays: the file is damaged")
    if sums[""] != _text_sum({key: text for key, text in metadata.items() if key != CHECKSUMS}):
        raise FormatError("the metadata does not have its checksum: the file is damaged")
    return sums


def _text_sum(texts: Mapping[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(sorted(texts.items())).encode()):08x}"


def _sum(name: str, entry: dict[str, Any], array: Array) -> str:
    """CRC-32 of an array's name, type, shape and bytes."""
    about = json.dumps([name, entry["dtype"], entry["shape"]]).encode()
    return f"{zlib.crc32(_bytes(array), zlib.crc32(about)):08x}"


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _writable(name: Any, array: Any) -> Array:
    """The array, C-ordered and little-endian."""
    if not isinstance(name, str) or name == "__metadata__" or not name:
        raise ValueError(f"safetensors: expected a name of an array, found {name!r}")
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(f"safetensors: {name!r} must be a NumPy array, found {type(array).__name__}")
    kind = array.dtype.newbyteorder("<")
    if kind not in NAMES:
        raise TypeError(f"safetensors: {name!r} has dtype {array.dtype}, which the format does not know")
    if array.ndim > MOST_DIMENSIONS:
        raise ValueError(f"safetensors: {name!r} has {array.ndim} dimensions, more than {MOST_DIMENSIONS}")
    return np.asarray(array, kind, order="C")


def _native(name: str, dtype: str, array: Array) -> Array:
    """The array in this machine's byte order and in a type that NumPy has."""
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    if dtype == "BOOL" and (array.view(np.uint8) > 1).any():
        raise FormatError(f"{name!r} is BOOL but holds bytes other than 0 and 1")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
