"""The two references agree: loops that read like the formula, and NumPy that hides it."""

import numpy as np
import pytest
from kernels.geometries import FLAVOURS, random_convolution, random_pool, random_transposed
from operations import CASES, all_cases, arguments, assert_same, run, signature

from fastnet.reference import loops, vectorised

IN_LOOPS = [name for name in CASES if name in loops.__all__]


def agree(name, given):
    wanted, found = run(vectorised, name, given), run(loops, name, given)
    assert_same(found[0], wanted[0], 1e-11, f"{name}: y")
    for i, pair in enumerate(zip(found[1], wanted[1], strict=True)):
        assert_same(*pair, 1e-10, f"{name}: gradient {i}")


@pytest.mark.parametrize("name", loops.__all__)
def test_a_loop_has_the_signature_of_its_vectorised_twin(name):
    assert signature(getattr(loops, name)) == signature(getattr(vectorised, name))


@pytest.mark.parametrize(("name", "case"), all_cases(IN_LOOPS))
def test_loops_and_numpy_agree_on_the_table(name, case):
    agree(name, arguments(case))


def test_both_move_the_running_statistics_alike():
    given = [arguments(CASES["batch_norm"][0]) for _ in range(2)]
    loops.batch_norm(**given[0])
    vectorised.batch_norm(**given[1])
    for which in ("running_mean", "running_var"):
        np.testing.assert_allclose(given[0][which], given[1][which], rtol=1e-13)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_they_agree_on_random_convolutions_to_the_last_bit(flavour):
    rng = np.random.default_rng(FLAVOURS.index(flavour))
    for _ in range(4):
        geometry = random_convolution(rng, flavour, most=4)
        while geometry.N * geometry.H * geometry.W * geometry.C * geometry.F > 4000:
            geometry = random_convolution(rng, flavour, most=4)
        x, w, b, dy = geometry.arrays(rng)
        y, saved = loops.conv2d(x, w, b, **geometry.options)
        z, kept = vectorised.conv2d(x, w, b, **geometry.options)
        np.testing.assert_array_equal(y, z, err_msg=str(geometry))
        for found, wanted in zip(loops.conv2d_backward(dy, saved), vectorised.conv2d_backward(dy, kept), strict=True):
            assert_same(found, wanted, 0, str(geometry))


def test_they_agree_on_random_transposed_convolutions():
    rng = np.random.default_rng(20)
    for _ in range(15):
        x, w, b, options = random_transposed(rng, most=3)
        if x.size * w.size > 40_000:
            continue
        agree("conv_transpose2d", dict(x=x, w=w, b=b, **options))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_they_agree_on_random_pools(name):
    rng = np.random.default_rng(21)
    for _ in range(25):
        shape, options = random_pool(rng, dilated=name == "max_pool2d", most=3)
        if name == "avg_pool2d":
            options["count_include_pad"] = bool(rng.integers(2))
        agree(name, dict(x=rng.integers(-3, 4, shape).astype(float), **options))


def test_they_agree_on_random_adaptive_pools():
    rng = np.random.default_rng(22)
    for _ in range(15):
        shape = tuple(rng.integers(1, 8, 4))
        agree("adaptive_avg_pool2d", dict(x=rng.standard_normal(shape), output_size=tuple(rng.integers(1, 8, 2))))
