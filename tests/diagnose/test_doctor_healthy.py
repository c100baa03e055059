"""The doctor finds nothing in healthy set-ups, changes nothing, and tells what it found in every form."""

import json
from functools import partial

import numpy as np
import pytest
from faulty import Scale

import fastnet
from fastnet import doctor, models, optim
from fastnet.data import Normalize
from fastnet.initializers import he_normal, xavier_normal
from fastnet.layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    LeakyReLU,
    Linear,
    Maxout,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
)
from fastnet.losses import MSE, MulticlassSVM

SGD = partial(optim.SGD, momentum=0.9)


def digits(train, val, seed=0):
    """Some of the embedded digits, as bytes."""
    images = fastnet.data.load("mnist5k")
    rng = np.random.default_rng(seed)
    rows, held = rng.permutation(len(images.x_train))[:train], rng.permutation(len(images.x_val))[:val]
    arrays = images.x_train[rows], images.y_train[rows], images.x_val[held], images.y_val[held]
    return dict(zip(("x_train", "y_train", "x_val", "y_val"), arrays))


def splits(x, y, held=200):
    return {"x_train": x[held:], "y_train": y[held:], "x_val": x[:held], "y_val": y[:held]}


def rings(n=800):
    """Two rings in the plane: no line parts them."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    angle, radius = rng.uniform(0, 2 * np.pi, n), np.where(y, 1.6, 0.6) + 0.1 * rng.standard_normal(n)
    return splits(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32), y)


def blobs(n=700, classes=4, features=9):
    rng = np.random.default_rng(1)
    y = rng.integers(0, classes, n)
    return splits((rng.standard_normal((n, features)) + 2 * np.eye(classes, features)[y]).astype(np.float32), y)


def line(n=600):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((n, 5)).astype(np.float32)
    return splits(x, np.tanh(x @ rng.standard_normal((5, 2))).astype(np.float32) + 0.01)


def drawn(net, draw):
    for layer in net.modules():
        if isinstance(layer, Linear):
            layer.weight.data, layer.bias.data = draw(layer.weight.shape), np.zeros(layer.bias.shape, np.float32)
    return net


def deep(activation, draw):
    return drawn(
        Sequential(Flatten(), Linear(784, 60), activation(), Linear(60, 60), activation(), Linear(60, 10)), draw
    )


def residual():
    block = Residual(Sequential(Conv2d(8, 8, 3, padding=1), BatchNorm2d(8), ReLU()))
    return Sequential(Conv2d(1, 8, 5, stride=3), LeakyReLU(), block, MaxPool2d(2), Flatten(), Linear(128, 10))


def centred(data):
    normalize = Normalize().fit(data)
    return {key: normalize(array) if key[0] == "x" else array for key, array in data.items()}


QUICK = {
    "a convnet with batch norm and dropout": lambda: (
        Sequential(Conv2d(1, 6, 5, stride=2), BatchNorm2d(6), ReLU(), Flatten(), Dropout(0.3), Linear(864, 10)),
        digits(600, 200),
        {"optimizer": optim.Adam, "lr": 2e-3},
    ),
    "rings and tanh": lambda: (
        Sequential(Linear(2, 30), Tanh(), Linear(30, 2)),
        rings(),
        {"optimizer": optim.Adam, "lr": 1e-2},
    ),
    "the margin loss of the SVM, maxout and a user's own layer": lambda: (
        Sequential(Linear(9, 24), Maxout(2), Scale(12), Linear(12, 4)),
        blobs(),
        {"loss": MulticlassSVM(), "optimizer": SGD, "lr": 0.01, "regularization": 1e-3},
    ),
    "regression": lambda: (
        Sequential(Linear(5, 20), BatchNorm1d(20), ReLU(), Linear(20, 2)),
        line(),
        {"loss": MSE(), "optimizer": optim.Adam, "lr": 1e-2},
    ),
}
SLOW = {
    "what `fastnet train` does by default": lambda: (
        models.lenet_bn((1, 28, 28)),
        fastnet.data.load("mnist5k"),
        {"optimizer": partial(optim.AdamW, lr=5e-3)},
    ),
    "LeNet": lambda: (models.lenet((1, 28, 28)), digits(1500, 300), {"optimizer": SGD, "lr": 0.02}),
    "the course's convnet": lambda: (
        models.three_layer_convnet((1, 28, 28), filters=8, hidden=40),
        centred(digits(800, 200)),
        {"optimizer": optim.RMSProp, "lr": 1e-3},
    ),
    "a VGG on few images": lambda: (models.vgg_bn((1, 28, 28)), digits(300, 100), {"seconds": 12}),
    "ResNet-20": lambda: (
        models.resnet20((1, 28, 28)),
        digits(600, 200),
        {"optimizer": SGD, "lr": 0.05},
    ),
    "deep tanh with Xavier's weights": lambda: (
        deep(Tanh, xavier_normal),
        digits(600, 200),
        {"optimizer": SGD, "lr": 0.02},
    ),
    "sigmoid": lambda: (
        deep(Sigmoid, partial(xavier_normal, gain=4)),
        digits(600, 200),
        {"optimizer": optim.Adam, "lr": 3e-3},
    ),
    "deep ReLU with He's weights": lambda: (
        deep(ReLU, he_normal),
        centred(digits(600, 200)),
        {"optimizer": optim.AdaGrad, "lr": 0.02},
    ),
    "residual blocks": lambda: (residual(), digits(600, 200), {"optimizer": SGD, "lr": 0.02}),
}


def examine(make):
    fastnet.manual_seed(2)
    net, data, options = make()
    return doctor(net, data, **options)


@pytest.mark.parametrize("name", QUICK)
def test_nothing_is_wrong_with(name):
    report = examine(QUICK[name])
    assert report.ok, str(report)
    assert {one.check for one in report.passed} >= {
        "numbers",
        "gradients",
        "fit_few",
        "learning_rate",
        "initial_weights",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_nothing_is_wrong_either_with(name):
    report = examine(SLOW[name])
    assert report.ok, str(report)
    assert {one.check for one in report.passed} >= {"numbers", "gradients", "labels"}


@pytest.fixture(scope="module")
def report():
    """A report with a finding of every field and pictures."""
    net = deep(ReLU, he_normal)
    net[3].bias.data[:] = -20
    return doctor(net, digits(300, 100))


def test_it_reads_as_text(report):
    text = str(report)
    assert text.startswith("Doctor: Sequential of 51,370 parameters on 300 training examples of 1 x 28 x 28")
    assert "1. FAULT: dead ReLUs  [dead_relus]" in text
    for word in ("found", "why", "do", "In order:", "Not judged:"):
        assert word in text
    assert "dead_relus" in report
    assert not report.ok


def test_it_is_data(report, tmp_path):
    data = json.loads(report.to_json(tmp_path / "report.json"))
    assert data == json.loads((tmp_path / "report.json").read_text())
    assert data["findings"][0]["check"] == "dead_relus"
    assert data["findings"][0]["numbers"]["4"] == 1
    assert {one["check"] for one in data["passed"]} >= {"gradients", "duplicates"}


def test_it_is_one_page_with_its_pictures(report, tmp_path):
    pytest.importorskip("matplotlib")
    report.to_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.count('src="data:image/png;base64,') == len(report.pictures) >= 4
    assert "http" not in text
    assert "dead ReLUs" in text


def test_without_matplotlib_the_page_says_so(report, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    report.to_html(tmp_path / "report.html")
    assert "fastnet[plot]" in (tmp_path / "report.html").read_text()


def test_net_data_and_rule_are_untouched():
    fastnet.manual_seed(4)
    net = Sequential(Linear(2, 8), BatchNorm1d(8), ReLU(), Dropout(0.2), Linear(8, 2))
    data, rule = rings(300), optim.Adam(net.parameters(), 1e-3)
    before, state, copied = net.state_dict(), net[3].rng.bit_generator.state, {k: a.copy() for k, a in data.items()}
    doctor(net, data, optimizer=rule, seconds=5.0)
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())
    assert all(np.array_equal(array, copied[name]) for name, array in data.items())
    assert net[3].rng.bit_generator.state == state
    assert (rule.steps, rule.lr) == (0, 1e-3)
    assert net.training


@pytest.mark.parametrize(
    ("rule", "lr", "batch_size"),
    [
        (partial(optim.LBFGS, max_iter=3, line_search_fn="strong_wolfe"), 1.0, 500),  # it is for full batches
        (optim.NesterovLookAhead, 0.05, 64),
        (optim.AdaGrad, 0.05, 64),
    ],
    ids=["LBFGS", "NesterovLookAhead", "AdaGrad"],
)
def test_rules_of_every_kind_can_be_judged(rule, lr, batch_size):
    fastnet.manual_seed(4)
    net = Sequential(Linear(9, 24), ReLU(), Linear(24, 4))
    built = rule(net.parameters(), lr=lr)
    report = doctor(net, blobs(), optimizer=built, batch_size=batch_size)
    assert report.ok, str(report)
    assert f"{type(built).__name__} at {lr:.3g}" in report.subject


def test_a_net_that_overfits_shows_its_gap():
    fastnet.manual_seed(4)
    net, data = Sequential(Linear(9, 60), ReLU(), Linear(60, 4)), blobs(260)
    noise = np.random.default_rng(3)
    data["y_train"] = np.where(noise.random(60) < 0.5, noise.integers(0, 4, 60), data["y_train"])
    fastnet.Solver(net, data, optimizer=partial(optim.Adam, lr=0.03), epochs=60, batch_size=20, progress=False).train()
    assert "gap" in doctor(net, data)


@pytest.mark.parametrize(
    ("arguments", "options", "complaint"),
    [
        ((3, {}), {}, "must be a Layer"),
        ((Linear(2, 2), {}), {}, "x_train"),
        ((Linear(2, 2), rings(300), 5), {}, "loss"),
        ((Linear(2, 2), rings(300)), {"optimizer": 7}, "optimizer"),
        ((Linear(2, 2), rings(300)), {"optimizer": optim.SGD}, "needs a learning rate"),
        ((Linear(2, 2), rings(300)), {"batch_size": 1}, "batch_size"),
    ],
)
def test_bad_arguments_are_refused(arguments, options, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        doctor(*arguments, **options)
