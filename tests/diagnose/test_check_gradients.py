"""check_gradients: right nets pass, wrong backwards are found and named, kinks are no errors, nothing is touched."""

import numpy as np
import pytest
from faulty import Bent, Scale, WrongInput, WrongParameter

import fastnet
from fastnet import check_gradients
from fastnet.layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    Maxout,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Tanh,
)
from fastnet.losses import L1, MSE, MulticlassSVM
from fastnet.regularization import ElasticNet


@pytest.fixture(autouse=True)
def seeded():
    fastnet.manual_seed(3)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def labels(n, classes=4, seed=1):
    return np.random.default_rng(seed).integers(0, classes, n)


def convnet():
    return Sequential(
        Conv2d(2, 5, 3, padding=1), BatchNorm2d(5), ReLU(), MaxPool2d(2), Flatten(), Dropout(0.3), Linear(60, 4)
    )


def small(middle):
    return Sequential(Linear(6, 7), Tanh(), middle, Linear(7, 4))


def test_a_right_net_passes_in_every_array_and_at_the_scores():
    report = check_gradients(convnet(), numbers(3, 2, 8, 6), labels(3))
    assert report.ok
    assert report.worst.error < 1e-4
    arrays = {(row.layer, row.parameter) for row in report.rows}
    assert arrays >= {("0", "weight"), ("0", "bias"), ("1", "weight"), ("6", "bias"), ("", "input"), ("loss", "scores")}
    assert not report.suspects


def test_the_net_its_statistics_gradients_and_random_states_are_untouched():
    net = convnet()
    net.forward(numbers(3, 2, 8, 6, seed=5))
    kept = net[0]._saved
    before, rng = net.state_dict(), net[5].rng.bit_generator.state
    net[0].weight.grad = np.ones(net[0].weight.shape)
    net.eval()
    x = numbers(3, 2, 8, 6)
    check_gradients(net, x, labels(3), burn_in=2, samples=2)
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())
    assert net[5].rng.bit_generator.state == rng
    assert (net[0].weight.grad == 1).all()
    assert not net.training
    assert net[0]._saved is kept
    assert np.array_equal(x, numbers(3, 2, 8, 6))
    assert net[0].weight.data.dtype == np.float32


@pytest.mark.parametrize("wrong", [WrongInput, WrongParameter])
def test_a_wrong_backward_is_found_and_its_layer_named(wrong):
    report = check_gradients(small(wrong(7)), numbers(5, 6), labels(5))
    assert not report.ok
    assert report.suspects == ["2"]
    assert report.worst.verdict == "wrong"
    text = str(report)
    assert "NOT RIGHT" in text
    assert f"layer '2' ({wrong.__name__})" in text


def test_a_wrong_layer_deep_inside_others_is_named_and_those_around_it_are_not():
    net = Sequential(Linear(6, 7), Residual(Sequential(Linear(7, 7), WrongInput(7), Tanh())), Linear(7, 4))
    assert check_gradients(net, numbers(5, 6), labels(5)).suspects == ["1.body.1"]


def test_a_users_right_layer_passes():
    assert check_gradients(small(Scale(7)), numbers(5, 6), labels(5)).ok


def test_a_wrong_loss_is_found_at_the_scores():
    class Halved(MSE):
        def backward(self):
            return super().backward() / 2

    report = check_gradients(small(Scale(7)), numbers(5, 6), numbers(5, 4, seed=2), Halved())
    assert not report.ok
    assert not report.suspects
    assert any(row.layer == "loss" and row.verdict == "wrong" for row in report.rows)


def test_a_relu_exactly_at_zero_is_a_kink_and_no_error():
    net = Sequential(Linear(6, 7), ReLU(), Linear(7, 4))
    net[0].weight.data[2] = 0
    net[0].bias.data[2] = 0
    report = check_gradients(net, numbers(5, 6), labels(5), samples=20)
    assert report.ok
    assert report.kinks
    assert {row.layer for row in report.kinks} == {"0"}
    assert all("'1' (ReLU)" in row.kink for row in report.kinks)
    assert "kinks:" in str(report)


def test_equal_maxima_are_a_kink_of_the_pooling():
    net = Sequential(MaxPool2d(2), Flatten(), Linear(4, 3))
    x = numbers(1, 1, 4, 4)
    x[0, 0, :2, :2] = 2.0
    report = check_gradients(net, x, labels(1, 3), samples=16)
    assert report.ok
    assert {row.coordinate[2:] for row in report.kinks} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert all("MaxPool2d" in row.kink for row in report.kinks)


def test_margins_of_the_svm_and_maxout_pass_and_have_kinks_of_their_own():
    net = Sequential(Linear(6, 8), Maxout(2), Linear(4, 3))
    assert check_gradients(net, numbers(5, 6), labels(5, 3), MulticlassSVM()).ok
    net[2].weight.data[:] = 0
    net[2].bias.data[:] = [0, 1, 0]  # the margin of class 1 to a label 2 is violated, that of class 0 just so
    report = check_gradients(net, numbers(2, 6), np.array([1, 1]), MulticlassSVM())
    assert all("loss (MulticlassSVM)" in row.kink for row in report.kinks)
    assert report.kinks


def test_a_kink_in_a_users_layer_is_seen_by_the_slopes_of_its_sides():
    net = Sequential(Linear(6, 7), Bent(), Linear(7, 4))
    net[0].weight.data[1] = 0
    net[0].bias.data[1] = 0
    report = check_gradients(net, numbers(1, 6), labels(1), samples=20)
    assert report.ok
    assert {row.kink for row in report.kinks} == {"a layer whose kinks are not known"}


def test_regularization_is_checked_apart_and_not_on_biases():
    report = check_gradients(small(BatchNorm1d(7)), numbers(5, 6), labels(5), regularization=ElasticNet(0.01, 0.1))
    assert report.ok
    apart = {(row.layer, row.parameter) for row in report.rows if row.part == "regularization"}
    assert apart == {("0", "weight"), ("3", "weight")}
    assert "regularization part, worst" in str(report)


def test_a_wrong_regularization_does_not_hide_behind_the_data_nor_accuse_a_layer():
    class Wrong(ElasticNet):
        def backward(self, buffer):
            buffer.grad[: buffer.decayed] += 2 * self.l2 * buffer.data[: buffer.decayed]

    report = check_gradients(small(Scale(7)), numbers(5, 6), labels(5), regularization=Wrong(l2=0.1))
    assert not report.ok
    assert not report.suspects
    assert {row.part for row in report.rows if row.verdict == "wrong"} == {"regularization"}


def test_gradients_that_vanish_on_both_sides_are_counted_apart():
    net = Sequential(Linear(6, 7), ReLU(), Linear(7, 4))
    net[0].weight.data[:] = 0
    net[0].bias.data[:] = -1
    report = check_gradients(net, numbers(5, 6), labels(5))
    zero = [row for row in report.rows if row.verdict == "zero"]
    assert {(row.layer, row.parameter) for row in zero} >= {("0", "weight"), ("0", "bias"), ("2", "weight")}
    assert report.ok


def test_a_loss_that_is_no_function_gets_a_note():
    class Noisy(Scale):
        def forward(self, x):
            return super().forward(x) * (1 + 0.1 * np.random.default_rng().random())

    report = check_gradients(small(Noisy(7)), numbers(5, 6), labels(5))
    assert any("no function" in note for note in report.notes)


def test_burn_in_moves_the_copy_away_from_the_first_weights():
    net = small(Tanh())
    rows = [check_gradients(net, numbers(5, 6), labels(5), burn_in=n, samples=3).rows[-1] for n in (0, 20)]
    assert rows[0].analytic != rows[1].analytic


def test_the_same_seed_gives_the_same_rows_and_another_one_others():
    net, x, y = small(Tanh()), numbers(5, 6), labels(5)
    first, again, other = (check_gradients(net, x, y, seed=seed, samples=4).to_dict() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_l1_regression_passes():
    assert check_gradients(small(Tanh()), numbers(5, 6), numbers(5, 4, seed=2), L1()).ok


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((np.zeros((2, 6), np.uint8), labels(2)), "float32 or float64"),
        ((numbers(0, 6), labels(0)), "at least one example"),
        ((numbers(2, 6), labels(2), 3), "forward"),
    ],
)
def test_bad_arguments_are_refused(arguments, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        check_gradients(small(Tanh()), *arguments)


def test_a_loss_that_is_not_finite_has_no_gradient_to_check():
    with pytest.raises(FloatingPointError, match="nan"):
        check_gradients(small(Tanh()), np.full((2, 6), np.nan, np.float32), labels(2))
