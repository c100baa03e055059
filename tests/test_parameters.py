"""Parameters and the flat buffer in which they lie."""

import numpy as np
import pytest

from fastnet.layers import BatchNorm2d, Conv2d, Linear, Sequential
from fastnet.parameters import LINE, Parameter, ParameterBuffer, flat_gradients, parameter_list

F32 = np.float32


def numbers(shape, seed=0, dtype=F32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def four(dtype=F32):
    """Decayed and not, in turn, of sizes that fill no cache line."""
    shapes = [((5, 3), True), ((7,), False), ((2, 3, 4), True), ((), False)]
    return [Parameter(numbers(s, i, dtype), f"p{i}", decay) for i, (s, decay) in enumerate(shapes)]


# --- one parameter ----------------------------------------------------------------------------------------------------


def test_a_parameter_is_a_copy_with_a_gradient_of_zeros():
    data = numbers((3, 5))
    p = Parameter(data, "weight")
    data[0] = 9
    np.testing.assert_array_equal(p.data, numbers((3, 5)))
    assert p.grad.shape == p.shape == (3, 5)
    assert p.size == 15
    assert not p.grad.any()
    assert p.decay
    assert repr(p) == "Parameter('weight', (3, 5), float32)"
    assert p.data.ctypes.data % LINE == p.grad.ctypes.data % LINE == 0


@pytest.mark.parametrize("dtype", [np.float16, int, bool, complex, object])
def test_only_float32_and_float64_can_be_learned(dtype):
    with pytest.raises(TypeError, match=r"^Parameter 'w': expected float32 or float64, found"):
        Parameter(np.ones(3, dtype), "w")


@pytest.mark.parametrize("which", ["data", "grad"])
def test_assigning_fills_the_place_that_is_there(which):
    p = Parameter(numbers((3, 5)), "w")
    place = getattr(p, which)
    for value in (numbers((3, 5), 1), numbers((3, 5), 2, np.float64), np.asfortranarray(numbers((3, 5), 3))):
        setattr(p, which, value)
        assert getattr(p, which) is place
        np.testing.assert_array_equal(place, value.astype(F32))
    setattr(p, which, place)
    array = getattr(p, which)
    array += 1  # in place, and then assigned to itself
    setattr(p, which, array)
    assert getattr(p, which) is place


@pytest.mark.parametrize("which", ["data", "grad"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.ones((5, 3), F32), ValueError),
        (np.ones(15, F32), ValueError),
        (np.ones((1, 5), F32), ValueError),
        (1.0, ValueError),
        (None, ValueError),
        (np.ones((3, 5), complex), TypeError),
        (np.full((3, 5), None), TypeError),
        (np.full((3, 5), "a"), TypeError),
    ],
)
def test_what_has_another_shape_or_is_no_number_is_refused_and_changes_nothing(which, value, error):
    p = Parameter(numbers((3, 5)), "w")
    before = getattr(p, which).copy()
    with pytest.raises(error):
        setattr(p, which, value)
    np.testing.assert_array_equal(getattr(p, which), before)


def test_a_parameter_has_no_other_attributes():
    p = Parameter(numbers(3), "w")
    with pytest.raises(AttributeError):
        p.gradient = 1
    with pytest.raises(AttributeError):
        p.shape = (1, 3)


# --- the buffer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, np.float64])
def test_all_parameters_lie_in_one_array_decayed_ones_first_each_on_its_own_line(dtype):
    ps = four(dtype)
    for p in ps:
        p.grad = 2 * p.data
    before = [p.data.copy() for p in ps]
    buffer = ParameterBuffer(ps)
    step = LINE // np.dtype(dtype).itemsize
    for p, was, (start, stop) in zip(ps, before, buffer.spans):
        np.testing.assert_array_equal(p.data, was)
        np.testing.assert_array_equal(p.grad, 2 * was)
        assert np.shares_memory(p.data, buffer.data)
        assert np.shares_memory(p.grad, buffer.grad)
        np.testing.assert_array_equal(buffer.data[start:stop].reshape(p.shape), was)
        assert start % step == 0
        assert p.data.ctypes.data % LINE == 0
        assert (stop <= buffer.decayed) == p.decay
    assert buffer.data.size % step == 0
    used = np.zeros(buffer.data.size, bool)
    for start, stop in buffer.spans:
        assert not used[start:stop].any()
        used[start:stop] = True
    assert not buffer.data[~used].any()  # the padding
    assert not buffer.grad[~used].any()
    assert buffer.names == ["p0", "p1", "p2", "p3"]


def test_what_is_written_on_one_side_is_seen_on_the_other():
    ps = four()
    buffer = ParameterBuffer(ps)
    buffer.data += 1
    np.testing.assert_array_equal(ps[2].data, numbers((2, 3, 4), 2) + 1)
    ps[1].grad = np.full(7, 5.0)
    start, stop = buffer.spans[1]
    assert (buffer.grad[start:stop] == 5).all()
    views = buffer.views(np.arange(buffer.data.size, dtype=F32))
    assert {name: v.shape for name, v in views.items()} == {p.name: p.shape for p in ps}
    assert views["p1"][0] == start


def test_a_net_goes_on_to_compute_with_its_parameters_in_the_buffer():
    net = Sequential(Conv2d(3, 4, 3), BatchNorm2d(4))
    x = numbers((2, 3, 6, 5))
    net.eval()
    before = net.forward(x).copy()
    buffer = ParameterBuffer(net.parameters())
    np.testing.assert_array_equal(net.forward(x), before)
    assert sum(p.size for p in net.parameters() if p.decay) <= buffer.decayed
    net.train()
    net.backward(net.forward(x))
    assert buffer.grad.any()
    assert len(flat_gradients(net.parameters())) == 1


def test_a_second_buffer_of_the_same_parameters_is_the_same_memory_in_any_order():
    ps = four()
    first = ParameterBuffer(ps)
    for order in (ps, ps[::-1], [ps[2], ps[0], ps[3], ps[1]]):
        second = ParameterBuffer.of(order)
        assert second.data is first.data
        assert second.grad is first.grad
        assert second.decayed == first.decayed
        assert [second.spans[order.index(p)] for p in ps] == first.spans
    first.check("SGD")


def test_a_buffer_of_a_selection_moves_it_and_the_first_one_says_so():
    ps = four()
    first = ParameterBuffer(ps)
    second = ParameterBuffer.of(ps[:2])
    assert second.data is not first.data
    second.check("Adam")
    with pytest.raises(RuntimeError, match=r"^SGD: parameter 'p0' has moved .* build SGD anew"):
        first.check("SGD")
    assert len(flat_gradients(ps)) == 4
    assert len(flat_gradients(ps[:2])) == 1


def test_a_change_of_decay_asks_for_another_layout():
    ps = four()
    first = ParameterBuffer(ps)
    ps[0].decay = False
    second = ParameterBuffer.of(ps)
    assert second.data is not first.data
    assert second.decayed < first.decayed
    np.testing.assert_array_equal(ps[0].data, numbers((5, 3), 0))


def test_conversion_leaves_the_buffer_and_the_buffer_notices():
    net = Sequential(Linear(5, 3))
    buffer = ParameterBuffer(net.parameters())
    net.astype(np.float64)
    with pytest.raises(RuntimeError, match="has moved"):
        buffer.check("Adam")
    assert ParameterBuffer.of(net.parameters()).data.dtype == np.float64


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ([], ValueError, "no parameters: the net has nothing to learn"),
        (None, TypeError, "expected a list of Parameters"),
        (3, TypeError, "expected a list of Parameters"),
        ([np.ones(3)], TypeError, r"expected Parameters \(layer.parameters\(\)\), found ndarray"),
        ("ab", TypeError, "found str"),
        (Linear(2, 3), TypeError, "found Linear"),
        (Linear(2, 3).named_parameters(), TypeError, "found tuple"),
        ((lambda p: [p, p])(Parameter(np.ones(2))), ValueError, "listed twice"),
        ([*four(), *four(np.float64)], TypeError, r"one dtype, found \['float32', 'float64'\]"),
    ],
)
def test_what_is_no_list_of_parameters_is_refused_and_none_moves(parameters, error, message):
    with pytest.raises(error, match=f"^ParameterBuffer: .*{message}"):
        ParameterBuffer(parameters)


def test_parameters_of_one_name_have_no_views_by_name():
    buffer = ParameterBuffer([Parameter(np.ones(2), "w"), Parameter(np.ones(3), "w")])
    with pytest.raises(ValueError, match=r"different names, found \['w'\] more than once"):
        buffer.views(buffer.data)


def test_a_list_of_parameters_may_come_from_a_generator():
    ps = four()
    assert parameter_list("op", (p for p in ps)) == ps
    assert flat_gradients([]) == []
