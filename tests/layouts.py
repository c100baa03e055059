"""The same numbers in every way that NumPy can hold them."""

import tempfile

import numpy as np


def memory_layouts(x, folder=None):
    """(name, array equal to x) of every layout; with a folder a file mapped into memory too."""
    yield "fortran", np.asfortranarray(x)
    if x.ndim == 4:
        yield "channels-last", np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    backwards = (slice(None, None, -1),) * x.ndim
    yield "negative strides", np.ascontiguousarray(x[backwards])[backwards]
    wide = np.zeros([3 * n + 2 for n in x.shape], x.dtype)
    middle = tuple(slice(1, 1 + 3 * n, 3) for n in x.shape)
    wide[middle] = x
    yield "sliced", wide[middle]
    yield "sliced at the front", np.concatenate([x, x])[: len(x)]
    yield "byte-swapped", x.astype(x.dtype.newbyteorder())
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    yield "misaligned", raw
    packed = np.zeros(x.shape, np.dtype([("tag", np.uint8), ("value", x.dtype)]))
    packed["value"] = x
    yield "a field of records", packed["value"]
    fixed = x.copy()
    fixed.flags.writeable = False
    yield "read-only", fixed
    yield "a subclass", x.view(type("Own", (np.ndarray,), {}))
    if folder is not None:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            mapped = np.memmap(file, x.dtype, "w+", shape=x.shape)
        mapped[...] = x
        yield "memmap", mapped


def broadcast(x):
    """(stride-0 view, its copy): the first number of every row and every example, repeated."""
    view = np.broadcast_to(x[:1, ..., :1], x.shape)
    return view, view.copy()
