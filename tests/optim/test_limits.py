"""Limits: gradients clipped by norm and by value, weights held to a norm."""

import math

import numpy as np
import pytest

from fastnet import optim
from fastnet.parameters import Parameter

SHAPES = {"weight": (3, 5, 2, 4), "bias": (7,), "long": (20_011, 3)}


def net(dtype=np.float64, built=False):
    """Parameters with gradients, each in memory of its own or, built, together in a rule's buffer."""
    rng = np.random.default_rng(9)
    parameters = [Parameter(rng.standard_normal(s).astype(dtype), n, decay=n != "bias") for n, s in SHAPES.items()]
    if built:
        optim.SGD(parameters, 0.1)
    for p in parameters:
        p.grad = rng.standard_normal(p.shape).astype(dtype)
    return parameters


def grads(parameters):
    return [p.grad.copy() for p in parameters]


BUILT = pytest.mark.parametrize("built", [False, True])


@BUILT
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_the_norm_is_that_of_all_gradients_together_and_what_is_longer_is_scaled(built, dtype, tolerance):
    parameters = net(dtype, built)
    before = grads(parameters)
    norm = optim.clip_grad_norm(parameters, 5.0)
    assert norm == pytest.approx(math.sqrt(sum(float((g.astype(float) ** 2).sum()) for g in before)), rel=1e-12)
    for p, g in zip(parameters, before):
        np.testing.assert_allclose(p.grad, g * (5.0 / (norm + 1e-6)), rtol=tolerance)
    assert optim.clip_grad_norm(parameters, 9.0) == pytest.approx(5.0, rel=1e-5)


@BUILT
def test_shorter_gradients_stay_to_the_bit(built):
    parameters = net(built=built)
    before = grads(parameters)
    for most in (1e4, math.inf):
        optim.clip_grad_norm(parameters, most)
        for p, g in zip(parameters, before):
            np.testing.assert_array_equal(p.grad, g)


@BUILT
@pytest.mark.parametrize("spoiler", [None, math.nan, math.inf])
def test_clipping_is_that_of_pytorch(built, spoiler):
    torch = pytest.importorskip("torch")
    for value in (False, True):
        parameters = net(built=built)
        if spoiler is not None:
            parameters[0].grad[1, 2, 0, 3] = spoiler
        tensors = [torch.zeros(p.shape, dtype=torch.float64) for p in parameters]
        for p, q in zip(parameters, tensors):
            q.grad = torch.tensor(np.array(p.grad))
        if value:
            optim.clip_grad_value(parameters, 0.7)
            torch.nn.utils.clip_grad_value_(tensors, 0.7)
        else:
            norm = optim.clip_grad_norm(parameters, 3.0)
            np.testing.assert_allclose(norm, float(torch.nn.utils.clip_grad_norm_(tensors, 3.0)), rtol=1e-12)
        for p, q in zip(parameters, tensors):
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-12)


def test_the_norm_has_the_same_bits_for_any_thread_count(threads):
    norms = set()
    for n in (1, 2, 5):
        threads(n)
        norms.add(optim.clip_grad_norm(net(built=True), 1.0))
    assert len(norms) == 1


def test_a_norm_that_is_not_finite_is_an_error_when_asked_for():
    parameters = net()
    parameters[1].grad[3] = math.nan
    before = grads(parameters)
    with pytest.raises(ValueError, match="clip_grad_norm: the norm of the gradients is nan"):
        optim.clip_grad_norm(parameters, 1.0, error_if_nonfinite=True)
    for p, g in zip(parameters, before):
        np.testing.assert_array_equal(p.grad, g)


def test_clipping_does_not_move_parameters():
    parameters = net()
    places = [p.grad.ctypes.data for p in parameters]
    optim.clip_grad_norm(parameters, 1.0)
    optim.clip_grad_value(parameters[:2], 0.1)
    assert [p.grad.ctypes.data for p in parameters] == places


def test_clipping_a_part_of_a_net_leaves_the_rest_alone():
    parameters = net(built=True)
    rest = parameters[2].grad.copy()
    optim.clip_grad_value(parameters[:2], 0.01)
    assert max(float(np.abs(p.grad).max()) for p in parameters[:2]) == 0.01
    np.testing.assert_array_equal(parameters[2].grad, rest)


def test_nothing_to_clip_has_norm_zero():
    assert optim.clip_grad_norm([], 1.0) == 0.0
    optim.clip_grad_value([], 1.0)


def test_clipping_takes_the_parameters_of_several_dtypes():
    a, b = Parameter(np.zeros(3, np.float32), "a"), Parameter(np.zeros(2), "b")
    a.grad, b.grad = np.array([2.0, 0, 1], np.float32), np.array([0.0, 2.0])
    assert optim.clip_grad_norm([a, b], 1.5) == 3.0
    np.testing.assert_allclose(a.grad, [1, 0, 0.5], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_max_norm_scales_the_units_that_are_too_long_and_no_others(dtype, tolerance):
    parameters = net(dtype)
    before = [p.data.copy() for p in parameters]
    optim.MaxNorm(parameters, 1.5).apply()
    for p, w in zip(parameters, before):
        if p.data.ndim == 1:
            np.testing.assert_array_equal(p.data, w)
            continue
        lengths = np.sqrt((w.reshape(len(w), -1).astype(float) ** 2).sum(1)).reshape(-1, *[1] * (w.ndim - 1))
        np.testing.assert_allclose(p.data, w * np.minimum(1, 1.5 / lengths), rtol=tolerance)
        short = lengths.reshape(-1) <= 1.5
        np.testing.assert_array_equal(p.data[short], w[short])
    assert short.any()
    assert not short.all()


def test_max_norm_leaves_what_does_not_decay_and_what_is_empty():
    embedding, empty = Parameter(np.full((2, 3), 9.0), "e", decay=False), Parameter(np.zeros((0, 4)), "empty")
    limit = optim.MaxNorm([embedding, empty], 1.0)
    limit.apply()
    assert (embedding.data == 9.0).all()
    limit.c = 2.0
    assert limit.c == 2.0
