"""The doctor finds each seeded fault, as its first finding, with its evidence."""

from functools import partial

import numpy as np
import pytest
from faulty import ScaledAfterwards, TwiceScaled, WrongInput, WrongParameter

import fastnet
from fastnet import doctor, optim
from fastnet.data import Normalize
from fastnet.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential, Sigmoid, Tanh
from fastnet.losses import SoftmaxCrossEntropy

SGD = partial(optim.SGD, momentum=0.9)


@pytest.fixture(autouse=True)
def seeded():
    fastnet.manual_seed(3)


@pytest.fixture(scope="module")
def digits():
    """600 digits to train on and 200 to validate, as bytes."""
    images = fastnet.data.load("mnist5k")
    rng = np.random.default_rng(0)
    rows, held = rng.permutation(len(images.x_train))[:600], rng.permutation(len(images.x_val))[:200]
    return {
        "x_train": images.x_train[rows],
        "y_train": images.y_train[rows],
        "x_val": images.x_val[held],
        "y_val": images.y_val[held],
    }


def convnet(*middle):
    return Sequential(
        Conv2d(1, 6, 5, stride=2, padding=2), BatchNorm2d(6), ReLU(), MaxPool2d(2), Flatten(), *middle, Linear(294, 10)
    )


def dense(activation=ReLU):
    return Sequential(Flatten(), Linear(784, 50), activation(), Linear(50, 40), activation(), Linear(40, 10))


def floats(digits, prepare=lambda x: (x - 33.0) / 78.0):
    """The same digits, as floating-point numbers that somebody has prepared."""
    return {key: prepare(array.astype(np.float32)) if key[0] == "x" else array for key, array in digits.items()}


def first(report):
    """The heaviest finding; no finding at all is a failure."""
    assert report.serious, str(report)
    assert report.findings == sorted(report.findings, key=lambda one: -one.weight)
    one = report.findings[0]
    assert one.evidence
    assert one.reason
    assert one.advice
    return one


@pytest.mark.parametrize(
    ("rule", "lr"), [(SGD, 2.0), (optim.Adam, 0.3), (optim.AdamW, 0.3)], ids=["momentum", "adam", "adamw"]
)
@pytest.mark.parametrize("net", [dense, convnet])
def test_a_learning_rate_100_times_too_high(digits, net, rule, lr):
    one = first(doctor(net(), digits, optimizer=rule, lr=lr))
    assert (one.check, one.title) == ("learning_rate", "the learning rate is too high")
    assert one.numbers["better"] <= 0.1 * lr


@pytest.mark.parametrize(("rule", "lr"), [(SGD, 2e-4), (optim.Adam, 1e-5)], ids=["momentum", "adam"])
@pytest.mark.parametrize("net", [dense, convnet])
def test_a_learning_rate_100_times_too_low(digits, net, rule, lr):
    one = first(doctor(net(), digits, optimizer=rule, lr=lr))
    assert (one.check, one.title) == ("learning_rate", "the learning rate is too low")
    assert one.numbers["better"] >= 10 * lr


@pytest.mark.parametrize("value", [0.0, 0.01])
def test_all_weights_zero_or_equal(digits, value):
    net = dense()
    for parameter in net.parameters():
        parameter.data[...] = value
    one = first(doctor(net, digits))
    assert one.check == "initial_weights"
    assert "layer '1'" in one.evidence


@pytest.mark.parametrize("activation", [Tanh, Sigmoid])
def test_saturation_from_large_weights(digits, activation):
    net = dense(activation)
    for i in (1, 3):
        net[i].weight.data *= 30
    report = doctor(net, digits, optimizer=SGD, lr=0.02)
    assert first(report).check == "saturation"
    assert activation.__name__.lower() in report.findings[0].title


def test_dead_relus(digits):
    net = dense()
    net[3].bias.data[:] = -20
    one = first(doctor(net, digits))
    assert one.check == "dead_relus"
    assert one.numbers["4"] == 1
    assert "layer '4'" in one.evidence


def test_labels_shuffled_against_the_images(digits):
    shuffled = {**digits, "y_train": np.random.default_rng(1).permutation(digits["y_train"])}
    one = first(doctor(convnet(), shuffled))
    assert one.check == "labels"
    assert one.numbers["nearest class mean"] < 0.3


def test_labels_of_the_validation_split_shuffled(digits):
    shuffled = {**digits, "y_val": np.random.default_rng(1).permutation(digits["y_val"])}
    one = first(doctor(convnet(), shuffled))
    assert one.title == "the validation labels do not go with the validation images"


def test_an_input_that_nobody_normalised(digits):
    one = first(doctor(dense(), floats(digits, lambda x: x)))
    assert one.check == "input_scale"
    assert one.numbers["largest"] == 255


@pytest.mark.parametrize("wrong", [WrongInput, WrongParameter])
def test_a_wrong_backward_in_a_users_own_layer(digits, wrong):
    one = first(doctor(convnet(Linear(294, 7), wrong(7), Linear(7, 294)), digits))
    assert one.check == "gradients"
    assert f"layer '6' ({wrong.__name__})" in one.title


def test_a_wrong_backward_in_a_users_own_loss(digits):
    class Doubled(SoftmaxCrossEntropy):
        def backward(self):
            return 2 * super().backward()

    one = first(doctor(dense(), digits, Doubled()))
    assert one.check == "gradients"
    assert "loss (Doubled)" in one.title


@pytest.mark.parametrize("whole", [False, True])
def test_batch_norm_left_in_evaluation_mode(digits, whole):
    net = convnet()
    (net if whole else net[1]).eval()
    one = first(doctor(net, digits))
    assert one.check == "modes"
    assert "layer '1' (BatchNorm2d)" in one.evidence
    assert net[1].training is False


@pytest.mark.parametrize("split", ["train", "val"])
def test_nan_in_the_data(digits, split):
    data = floats(digits)
    data[f"x_{split}"] = data[f"x_{split}"].copy()
    data[f"x_{split}"][17, 0, 3, 4] = np.nan
    one = first(doctor(convnet(), data))
    assert one.check == "numbers"
    assert one.numbers["first"] == 17


@pytest.mark.parametrize(("twice", "ratio"), [(TwiceScaled, 2.0), (ScaledAfterwards, 2.0)])
def test_dropout_scaled_twice(digits, twice, ratio):
    one = first(doctor(convnet(twice(0.5)), digits))
    assert one.check == "dropout"
    assert one.numbers["ratio"] == pytest.approx(ratio, rel=0.05)
    assert twice.__name__ in one.evidence
    assert "dropout" not in doctor(convnet(Dropout(0.5)), digits)


@pytest.mark.parametrize("per_pixel", [False, True])
def test_preprocessing_fitted_to_training_and_validation(digits, per_pixel):
    x = np.concatenate([digits["x_train"], digits["x_val"]]).astype(np.float64)
    mean = x.mean(0) if per_pixel else x.mean()
    data = floats(digits, lambda one: ((one - mean) / x.std()).astype(np.float32))
    one = first(doctor(dense(), data))
    assert one.check == "preprocessing"
    assert "training and validation together" in one.title


def test_the_datas_own_preprocessing_fitted_to_all(digits):
    every = np.concatenate([digits["x_train"], digits["x_val"]])
    data = {**digits, "normalize": Normalize().fit({"x_train": every})}
    assert first(doctor(dense(), data)).check == "preprocessing"
    data["normalize"] = Normalize().fit(digits)
    assert "preprocessing" not in doctor(dense(), data)


def test_the_same_images_in_training_and_validation(digits):
    x_val, y_val = digits["x_val"].copy(), digits["y_val"].copy()
    x_val[5:15], y_val[5:15] = digits["x_train"][40:50], digits["y_train"][40:50]
    one = first(doctor(dense(), {**digits, "x_val": x_val, "y_val": y_val}))
    assert one.check == "duplicates"
    assert one.numbers["images"] == 10
    assert one.numbers["first"][0] == [40, 5]


def test_labels_that_the_net_has_no_score_for(digits):
    net = Sequential(Flatten(), Linear(784, 9))
    one = first(doctor(net, digits))
    assert one.check == "label_range"
    assert one.numbers["outside"] == [9]


def test_parameters_that_are_nan(digits):
    net = dense()
    net[3].weight.data[2, 5] = np.nan
    one = first(doctor(net, digits))
    assert one.check == "parameters"
    assert "'3.weight'" in one.evidence


def test_a_signal_that_vanishes_on_its_way(digits):
    net = Sequential(Flatten(), *(layer for i in range(6) for layer in (Linear(784 if not i else 40, 40), Tanh())))
    for layer in net:
        if isinstance(layer, Linear):
            layer.weight.data *= 0.02
            layer.bias.data *= 0
    assert "signal" in doctor(net.append(Linear(40, 10)), digits)


def test_a_first_loss_far_from_that_of_guessing(digits):
    net = dense()
    net[5].weight.data *= 100
    one = first(doctor(net, digits))
    assert one.check == "first_loss"
    assert one.numbers["loss"] > 2 * one.numbers["chance"]
