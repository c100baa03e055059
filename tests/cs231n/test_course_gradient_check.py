"""Numerical gradients of known functions; x comes back as it was."""

import numpy as np
import pytest
from course import draws

from fastnet.cs231n import gradient_check


def test_the_gradient_of_a_number():
    x = draws(0)(3, 4)
    before = x.copy()
    found = gradient_check.eval_numerical_gradient(lambda x: np.sum(x**3), x, verbose=False)
    np.testing.assert_allclose(found, 3 * x**2, rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(x, before)


def test_verbose_prints_every_place(capsys):
    gradient_check.eval_numerical_gradient(lambda x: x.sum(), np.zeros((2, 1)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(") ")[0] for line in lines] == ["(0, 0", "(1, 0"]


def test_the_gradient_of_an_array_though_f_gives_the_same_array_twice():
    x, df = draws(1)(3, 4), draws(2)(3, 4)
    out = np.empty((3, 4))
    found = gradient_check.eval_numerical_gradient_array(lambda x: np.sin(x, out=out), x, df)
    np.testing.assert_allclose(found, np.cos(x) * df, rtol=1e-7, atol=1e-10)


class Blob:
    def __init__(self, vals):
        self.vals, self.diffs = vals, np.zeros_like(vals)


def test_the_gradients_of_blobs():
    a, b, out = Blob(draws(3)(2, 3)), Blob(draws(4)(2, 3)), Blob(np.zeros((2, 3)))
    out.diffs = draws(5)(2, 3)

    def multiply(a, b, out):
        out.vals[...] = a.vals * b.vals

    da, db = gradient_check.eval_numerical_gradient_blobs(multiply, (a, b), out)
    np.testing.assert_allclose(da, b.vals * out.diffs, rtol=1e-7)
    np.testing.assert_allclose(db, a.vals * out.diffs, rtol=1e-7)


def test_the_sparse_check_prints_small_errors_for_a_right_gradient_and_large_ones_for_a_wrong(capsys):
    x = 1 + draws(6)(5, 4) ** 2
    for gradient, right in ((2 * x, True), (3 * x, False)):
        gradient_check.grad_check_sparse(lambda x: np.sum(x**2), x, gradient, num_checks=4)
        errors = [float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines()]
        assert len(errors) == 4
        assert all((error < 1e-7) == right for error in errors)
    gradient_check.grad_check_sparse(lambda x: 0.0, x, np.zeros_like(x), num_checks=1)
    assert capsys.readouterr().out.endswith("relative error: 0.000000e+00\n")


def test_whole_numbers_cannot_be_moved_by_h():
    with pytest.raises(TypeError, match="array of floats"):
        gradient_check.eval_numerical_gradient(lambda x: 0.0, np.arange(3))


def test_x_comes_back_when_f_fails():
    x = np.ones(3)
    with pytest.raises(ZeroDivisionError):
        gradient_check.eval_numerical_gradient(lambda x: 1 // 0, x)
    np.testing.assert_array_equal(x, np.ones(3))
