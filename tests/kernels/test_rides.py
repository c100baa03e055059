"""What rides on AMX's products: maps of the source and the Finish of the output, beside passes of their own."""

from typing import get_args
from unittest import mock

import numpy as np
import pytest
from kernels.exactness import WINOGRAD, at_level, threads
from kernels.geometries import FLAVOURS, random_convolution

from fastnet import _ext, config
from fastnet.functional import products
from fastnet.functional.deferred import GRADIENT, ROWS, Deferred, Finish, statistics_wanted
from fastnet.functional.geometry import Geometry

pytestmark = pytest.mark.skipif("amx" not in _ext.available_levels(), reason="this machine has no AMX")
PRECISIONS = get_args(config.Precision)
MOST = {"plain": 75, "odd channels": 45, "grouped": 17}  # channels, about
SHAPES = {  # (N, C, H, W), (F, C/groups, KH, KW), stride, padding
    "rows of 16 images": ((19, 40, 5, 4), (36, 40, 3, 3), 1, 1),
    "several turns": ((2, 130, 6, 9), (35, 130, 3, 5), 1, 1),
    "several blocks": ((2, 34, 31, 46), (66, 34, 3, 3), 1, 1),
    "long rows of few channels": ((2, 5, 9, 70), (33, 5, 3, 4), 1, 2),
    "pairs of outputs": ((3, 14, 9, 38), (16, 14, 3, 5), 1, 2),
    "pairs of outputs of 16 images": ((18, 15, 7, 8), (13, 15, 5, 3), 1, 1),
    "lines of pixels": ((6, 35, 7, 8), (70, 35, 1, 1), 1, 0),
    "phases": ((3, 34, 9, 11), (37, 34, 3, 3), 2, 1),
    "pixels stepped over": ((3, 34, 9, 11), (37, 34, 1, 1), 2, 0),
    "Winograd, at highest": ((9, 70, 13, 10), (65, 70, 3, 3), 1, 1),
    "Winograd in several turns": ((3, 64, 7, 9), (300, 64, 3, 3), 1, 0),
    "Winograd, several blocks of a task": ((3, 64, 75, 76), (66, 64, 3, 3), 1, 1),
}


def cases():
    """(name, scatter, shapes of source and target, shape of w, geometry), the shapes (N, H, W, C)."""
    rng = np.random.default_rng(7)
    for flavour in FLAVOURS:
        for _ in range(2):
            c = random_convolution(rng, flavour, MOST.get(flavour, 24))
            if c.groups > 1 and c.groups == c.C == c.F:
                continue  # depthwise products have kernels of their own
            shape, kernel = (c.N, c.C, c.H, c.W), (c.F, c.C // c.groups, c.KH, c.KW)
            yield str(c), shape, kernel, c.output, Geometry(kernel[2:], c.stride, c.padding, c.dilation, c.groups)
    for name, (shape, kernel, stride, pad) in SHAPES.items():
        size = tuple((shape[2 + i] + 2 * pad - kernel[2 + i]) // stride + 1 for i in (0, 1))
        yield name, shape, kernel, size, Geometry(kernel[2:], (stride,) * 2, (pad,) * 2, (1, 1), 1)


CASES = [
    pytest.param(there, back, w, geometry, scatter, id=f"{name} {'scattered' if scatter else 'gathered'}")
    for name, shape, w, size, geometry in cases()
    for scatter in (False, True)
    for there, back in [[(shape[0], *shape[2:], shape[1]), (shape[0], *size, w[0])][:: -1 if scatter else 1]]
]
each_case = pytest.mark.parametrize(("source", "target", "w_shape", "geometry", "scatter"), CASES)


def normal(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


def product(x, w, b, shape, geometry, scatter, finish=None, precision="highest"):
    out = np.full(shape, np.nan, np.float32)
    with at_level(WINOGRAD), config.precision(precision):
        (products.scatter if scatter else products.gather)(x, w, b, out, geometry, finish)
    return out


def deferred(rng, shape):
    """Some map of some arrays: (what is deferred, what it stands for)."""
    coefficients = normal(rng, (ROWS, shape[3])) if rng.integers(4) else None
    given = (
        normal(rng, shape),
        coefficients,
        normal(rng, shape) if rng.integers(2) and coefficients is not None else None,
    )
    slope = float(rng.choice([0, 1, 0.125]))
    return Deferred(*given, slope), Deferred(*given, slope).memory()


def gradient(rng, shape):
    """Some Finish of a gradient."""
    a, b, add, value = (normal(rng, shape) if rng.integers(2) else None for _ in range(4))
    if a is None:
        b = value = None
    slope = 1.0 if a is None else float(rng.choice([0, 1, 0.25]))
    coefficients = None if a is None else normal(rng, (ROWS, shape[3]))
    return Finish(GRADIENT, np.ones((3, shape[3])), add, value, a, b, coefficients, slope)


def wanted_sums(f, out):
    """(the sums of a Finish in float64, the sums of the magnitudes)."""
    g, a, b = (None if v is None else v.astype(np.float64) for v in (out, f.a, f.b))
    terms = [g]
    if a is not None:
        terms.append(g * (a - f.coefficients[0]))
    if b is not None:
        terms.append(g * (b - f.coefficients[3]))
    return [term.sum((0, 1, 2)) for term in terms], [np.abs(term).sum((0, 1, 2)) for term in terms]


@each_case
def test_a_map_rides_on_the_loading_of_a_source(source, target, w_shape, geometry, scatter):
    rng = np.random.default_rng(source)
    w, b = normal(rng, w_shape), normal(rng, target[3])
    for precision in PRECISIONS:
        x, array = deferred(rng, source)
        found = product(x, w, b, target, geometry, scatter, precision=precision)
        wanted = product(array, w, b, target, geometry, scatter, precision=precision)
        np.testing.assert_array_equal(found, wanted)
        assert x.plain or x._value is None, "it was given a pass of its own"


@each_case
def test_a_gradient_is_finished_as_by_a_pass_of_its_own(source, target, w_shape, geometry, scatter):
    rng = np.random.default_rng(target)
    x, w = normal(rng, source), normal(rng, w_shape)
    for precision in PRECISIONS:
        finish = gradient(rng, target)
        found = product(x, w, None, target, geometry, scatter, finish, precision)
        sums = finish.sums.copy()
        wanted = product(x, w, None, target, geometry, scatter, precision=precision)
        finish.apply(wanted)
        np.testing.assert_array_equal(found, wanted)
        for row, exact, size in zip(sums, *wanted_sums(finish, wanted)):
            assert (np.abs(row - exact) <= 1e-6 * size + 1e-30).all()


@each_case
def test_statistics_are_taken_of_the_output(source, target, w_shape, geometry, scatter):
    rng = np.random.default_rng(w_shape)
    x, w, b = normal(rng, source), normal(rng, w_shape), 100 * normal(rng, target[3])
    for precision in PRECISIONS:
        finish = statistics_wanted(target[3])
        found = product(x, w, b, target, geometry, scatter, finish, precision)
        np.testing.assert_array_equal(found, product(x, w, b, target, geometry, scatter, precision=precision))
        exact = found.astype(np.float64)
        mean = exact.mean((0, 1, 2))
        assert (np.abs(finish.sums[0] - mean) <= 1e-6 * np.abs(exact).mean((0, 1, 2)) + 1e-30).all()
        squares = ((exact - mean) ** 2).sum((0, 1, 2))
        # A float32 number is not nearer to the mean than its own rounding.
        assert (np.abs(finish.sums[1] - squares) <= 1e-6 * squares + 1e-12 * (exact**2).sum((0, 1, 2))).all()


@pytest.mark.parametrize("name", SHAPES)
def test_threads_do_not_change_a_bit_of_what_rides(name):
    source, target, w_shape, geometry, scatter = next(c.values for c in CASES if c.id == f"{name} scattered")
    rng = np.random.default_rng(3)
    (x, _), w, gates = deferred(rng, source), normal(rng, w_shape), gradient(rng, target)
    for finish in (gates, statistics_wanted(target[3])):
        found = []
        for count in (1, 3):
            with threads(count):
                out = product(x, w, None, target, geometry, scatter, finish)
            found.append((out, finish.sums.copy()))
        np.testing.assert_array_equal(found[0][0], found[1][0])
        np.testing.assert_array_equal(found[0][1], found[1][1])


def test_products_need_no_pass_of_their_own_for_a_finish():
    for name in ("several blocks", "lines of pixels", "rows of 16 images", "Winograd, at highest"):
        source, target, w_shape, geometry, scatter = next(c.values for c in CASES if c.id == f"{name} scattered")
        rng = np.random.default_rng(5)
        with mock.patch.object(Finish, "apply", side_effect=AssertionError):
            product(normal(rng, source), normal(rng, w_shape), None, target, geometry, scatter, gradient(rng, target))


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("name", ["several blocks", "long rows of few channels", "Winograd, at highest"])
def test_what_does_not_split_is_computed_anew_with_everything_that_rides(name, strange):
    source, target, w_shape, geometry, scatter = next(c.values for c in CASES if c.id == f"{name} gathered")
    rng = np.random.default_rng(6)
    w, coefficients, a, b = (normal(rng, s) for s in (w_shape, (ROWS, source[3]), source, source))
    coefficients[[1, 4]] = 1
    for array in (a, b):
        before = array[1, 4, 5, 2]
        array[1, 4, 5, 2] = strange
        for slope in (0, 1, 0.5):
            x, finish = Deferred(a, coefficients, b, slope), statistics_wanted(target[3])
            with np.errstate(all="ignore"):
                found = product(x, w, None, target, geometry, scatter, finish)
                wanted = product(x.memory(), w, None, target, geometry, scatter)
                np.testing.assert_array_equal(found, wanted)
                hidden = slope == 0 and strange == -np.inf
                assert np.isfinite(finish.sums).all() == (hidden or np.isfinite(wanted.astype(np.float32) ** 2).all())
        array[1, 4, 5, 2] = before
