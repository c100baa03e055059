"""How exact the precisions are on real numbers, beside float64: `highest` as a chain of float32 multiply-adds, as promised."""

import numpy as np
import pytest
from kernels.exactness import at_level

from fastnet import _ext, config, functional, reference

pytestmark = pytest.mark.skipif("amx" not in _ext.available_levels(), reason="no AMX, which alone multiplies planes")

CONVOLUTIONS = [  # x, w: sums of 4,608, 576 and 1,030 products forward, of 42 to 7,192 in the gradient of the weights
    ((1, 512, 6, 7), (40, 512, 3, 3)),
    ((4, 64, 15, 14), (70, 64, 3, 3)),
    ((2, 1030, 7, 6), (48, 1030, 1, 1)),
    ((8, 19, 33, 31), (24, 19, 3, 3)),
]
LINEAR = [((20, 8192), (35, 8192)), ((70, 8192), (35, 8192)), ((4100, 65), (40, 65))]
each_case = pytest.mark.parametrize(("x_shape", "w_shape"), CONVOLUTIONS + LINEAR)
each_sign = pytest.mark.parametrize("positive", [False, True], ids=["normal inputs", "after a ReLU"])


def arrays(x_shape, w_shape, positive):
    rng = np.random.default_rng(21)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in (x_shape, w_shape))
    x = np.maximum(x, 0) if positive else x
    maps = (x_shape[0], w_shape[0], *(n - k + 1 for n, k in zip(x_shape[2:], w_shape[2:])))
    return x, w, rng.standard_normal(maps).astype(np.float32)


def answers(module, x, w, dy):
    name = "conv2d" if x.ndim == 4 else "linear"
    y, saved = getattr(module, name)(x, w)
    return dict(zip(("y", "dx", "dw"), (y, *getattr(module, f"{name}_backward")(dy, saved)[:2])))


def chain(a, b):
    """a @ b by float32 multiply-adds, one after the other: exact products, a sum rounded once for each."""
    sums = np.zeros((len(a), b.shape[1]), np.float32)
    wide = a.T.astype(np.float64), b.astype(np.float64)
    for column, row in zip(*wide):
        sums = (sums + column[:, None] * row).astype(np.float32)
    return sums


def windows(x, kernel):
    """The numbers under a window, a row for each: (N OH OW, KH KW C)."""
    seen = np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3)).transpose(0, 2, 3, 4, 5, 1)
    return seen.reshape(np.prod(seen.shape[:3]), -1)


def chains(x, w, dy):
    """y, dx and dw as chains."""
    if x.ndim == 2:
        return dict(y=chain(x, w.T), dx=chain(dy, w), dw=chain(dy.T, x))
    (n, c), (f, _, kh, kw), last = x.shape[:2], w.shape, dy.transpose(0, 2, 3, 1)
    y = chain(windows(x, (kh, kw)), w.transpose(2, 3, 1, 0).reshape(-1, f))
    padded = np.pad(dy, ((0, 0), (0, 0), (kh - 1,) * 2, (kw - 1,) * 2))
    dx = chain(windows(padded, (kh, kw)), w[:, :, ::-1, ::-1].transpose(2, 3, 0, 1).reshape(-1, c))
    dw = chain(last.reshape(-1, f).T, windows(x, (kh, kw)))
    return dict(
        y=y.reshape(last.shape).transpose(0, 3, 1, 2),
        dx=dx.reshape(n, *x.shape[2:], c).transpose(0, 3, 1, 2),
        dw=dw.reshape(f, kh, kw, c).transpose(0, 3, 1, 2),
    )


def errors(found, wanted):
    """The largest and the root mean square error, as fractions of the root mean square of what is wanted."""
    off, size = np.abs(found - wanted), np.sqrt(np.square(wanted).mean())
    return off.max() / size, np.sqrt(np.square(off).mean()) / size


def measured(given, precision):
    wanted = answers(reference, *(a.astype(np.float64) for a in given))
    with at_level("amx"), config.precision(precision):
        found = answers(functional, *given)
    return wanted, found


@each_case
@each_sign
def test_highest_errs_no_more_than_a_chain_of_multiply_adds(x_shape, w_shape, positive):
    given = arrays(x_shape, w_shape, positive)
    wanted, found = measured(given, "highest")
    for name, chained in chains(*given).items():
        (worst, usual), (most, rms) = errors(found[name], wanted[name]), errors(chained, wanted[name])
        assert worst <= most, (name, worst, most)
        assert usual <= rms, (name, usual, rms)


@each_case
@each_sign
@pytest.mark.parametrize(("precision", "usual", "worst"), [("high", 5e-6, 6e-5), ("medium", 2.7e-3, 2e-2)])
def test_the_lower_precisions_keep_what_their_planes_hold(precision, usual, worst, x_shape, w_shape, positive):
    """Two planes err by 2^-16 of a product and one by 2^-8, at most; the largest error is that of one output in thousands."""
    wanted, found = measured(arrays(x_shape, w_shape, positive), precision)
    for name in wanted:
        largest, mean = errors(found[name], wanted[name])
        assert largest <= worst, (name, largest)
        assert mean <= usual, (name, mean)
