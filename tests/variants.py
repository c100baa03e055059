"""The same numbers in every memory layout, and gradients by central differences: what the tests of one family share."""

import numpy as np


def misaligned(x):
    raw = np.empty(x.nbytes + 1, np.uint8)
    y = raw[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    assert not y.flags.aligned
    return y


def read_only(x):
    y = x.copy()
    y.flags.writeable = False
    return y


def negative(x):
    reverse = tuple(slice(None, None, -1) for _ in x.shape)
    return x[reverse].copy()[reverse]


def sliced(x):
    wide = np.zeros([2 * s + 1 for s in x.shape], x.dtype)
    part = tuple(slice(1, None, 2) for _ in x.shape)
    wide[part] = x
    return wide[part]


def last(x):
    """Channels-last memory of images; of other arrays, the first two dimensions (if there are two) exchanged in memory."""
    order = (0, 2, 3, 1) if x.ndim == 4 else (*range(1, x.ndim)[:1], 0, *range(2, x.ndim))
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


LAYOUTS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "channels last": last,
    "negative strides": negative,
    "sliced": sliced,
    "misaligned": misaligned,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "read-only": read_only,
}


def numeric_gradients(function, arrays, dy, step=1e-5):
    """The gradient of sum(function(*arrays) * dy) for every number of every array, by central differences in float64."""
    gradients = []
    for array in arrays:
        gradient = np.empty_like(array)
        for place in np.ndindex(array.shape):
            kept = array[place]
            sums = []
            for shift in (step, -step):
                array[place] = kept + shift
                sums.append(float((function(*arrays) * dy).sum()))
            array[place] = kept
            gradient[place] = (sums[0] - sums[1]) / (2 * step)
        gradients.append(gradient)
    return gradients
