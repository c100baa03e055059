"""The idx format of the MNIST files: a magic number, the dimensions, the values.

Bytes 0 and 1 are zero, byte 2 is the type of the values, byte 3 the number of dimensions; the dimensions follow as
big-endian 32-bit integers, and the values in C order, big-endian. LeCun, Cortes & Burges, "The MNIST database".
"""

import math
import os
import struct
from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..memory import Array
from .files import open_plain_or_gzip, read_end, read_exactly

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
LIMIT = 1 << 32  # bytes: larger than any idx file in use, and small enough to refuse a header that promises the moon


def read_idx(
    path: str | os.PathLike[str], shape: tuple[int | None, ...] | None = None, dtype: str | None = None
) -> Array:
    """The array in an idx file, plain or gzip; `shape` (None = any size) and `dtype` are what the caller wants of it.

    FormatError if the magic number, the type, the dimensions or the length are not as wanted, or the file is damaged.
    """
    path = Path(path)
    with open_plain_or_gzip(path) as stream:
        magic = read_exactly(stream, 4, path, "the magic number")
        if magic[0] or magic[1] or magic[2] not in TYPES or not 1 <= magic[3] <= 4:
            raise FormatError(
                f"{path}: magic number 0x{magic.hex()}, wanted 0x0000TTDD with an idx type TT and 1 to 4 dimensions"
            )
        kind, ndim = np.dtype(TYPES[magic[2]]), magic[3]
        if dtype is not None and kind != np.dtype(dtype):
            raise FormatError(f"{path}: values are {kind}, wanted {np.dtype(dtype)}")
        found = struct.unpack(f">{ndim}I", read_exactly(stream, 4 * ndim, path, "the dimensions"))
        if shape is not None and (ndim != len(shape) or any(w not in (None, f) for w, f in zip(shape, found))):
            wanted = " x ".join("any" if w is None else str(w) for w in shape)
            raise FormatError(f"{path}: dimensions {' x '.join(map(str, found))}, wanted {wanted}")
        count = math.prod(found) * kind.itemsize
        if count > LIMIT:
            raise FormatError(f"{path}: the header promises {count} bytes, wanted at most {LIMIT}")
        data = read_exactly(stream, count, path, "values")
        read_end(stream, path)
    return np.frombuffer(data, kind).reshape(found).astype(kind.newbyteorder("="), copy=False)
