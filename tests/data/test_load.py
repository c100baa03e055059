"""Data sets by name, and what a data set is."""

import importlib.util
import os
import time
from pathlib import Path

import numpy as np
import pytest

import fastnet.data
from fastnet.data import Dataset, hold_out, mnist, sources
from fastnet.errors import FormatError

TOOL = Path(__file__).parents[2] / "tools" / "make_mnist5k.py"


def test_the_embedded_digits_are_4000_500_500_and_balanced_from_the_first_image_on():
    data = fastnet.data.load("mnist5k")
    assert repr(data) == "Dataset(mnist5k: train 4,000, val 500, test 500 images of 1x28x28 uint8, 10 classes)"
    for split, n in (("train", 4000), ("val", 500), ("test", 500)):
        x, y = data[f"x_{split}"], data[f"y_{split}"]
        assert x.shape == (n, 1, 28, 28)
        assert x.dtype == np.uint8
        assert y.dtype == np.int64
        assert (y == np.arange(n) % 10).all()
    assert data.classes == tuple("0123456789")


def test_no_embedded_digit_is_in_two_splits():
    data = fastnet.data.load("mnist5k")
    images = {bytes(x) for split in ("train", "val", "test") for x in data[f"x_{split}"]}
    assert len(images) == 5000


def test_the_embedded_digits_are_small_load_quickly_and_carry_their_licence():
    start = time.perf_counter()
    fastnet.data.load("mnist5k")
    assert time.perf_counter() - start < 0.3
    assert sum(file.stat().st_size for file in mnist.EMBEDDED.iterdir()) < 1_500_000
    assert "ShareAlike" in (mnist.EMBEDDED / "LICENSE.txt").read_text()


def test_a_damaged_embedded_file_is_noticed(tmp_path, monkeypatch):
    for file in mnist.EMBEDDED.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    images = tmp_path / "mnist5k-images-idx3-ubyte.gz"
    content = bytearray(images.read_bytes())
    content[5000] ^= 1
    images.write_bytes(content)
    monkeypatch.setattr(mnist, "EMBEDDED", tmp_path)
    with pytest.raises(FormatError, match=r"mnist5k-images-idx3-ubyte.gz: SHA-256 is \w+, wanted \w+"):
        fastnet.data.load("mnist5k")


def test_the_maker_of_the_embedded_set_splits_by_class_in_turns(tmp_path):
    spec = importlib.util.spec_from_file_location("make_mnist5k", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    labels = np.repeat(np.arange(10), 4)
    rows = np.random.default_rng(0).integers(0, 256, (40, 785))
    rows[:, 784] = labels
    np.savetxt(tmp_path / "in.csv", rows, "%d", ",")
    images, names = tool.make(tmp_path / "in.csv", tmp_path, (2, 1, 1))
    x, y = fastnet.data.read_idx(images), fastnet.data.read_idx(names)
    assert (y == np.tile(np.arange(10), 4)).all()
    wanted = [4 * label + which for which in range(4) for label in range(10)]
    np.testing.assert_array_equal(x.reshape(40, 784), rows[wanted, :784])
    before = images.read_bytes()
    assert tool.make(tmp_path / "in.csv", tmp_path, (2, 1, 1))[0].read_bytes() == before


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'mnits' is unknown; expected one of cifar10, .*, mnist5k or folder:PATH"):
        fastnet.data.load("mnits")


@pytest.mark.parametrize("name", sorted(set(fastnet.data.names()) - {"mnist5k"}))
def test_a_set_that_is_not_there_says_where_it_looked_and_what_to_do(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="download=True") as caught:
        fastnet.data.load(name, root=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "FASTNET_DATA" in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_the_root_is_the_variable_else_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(sources.sys, "platform", "linux")
    monkeypatch.setenv("FASTNET_DATA", str(tmp_path / "here"))
    assert sources.default_root() == tmp_path / "here"
    monkeypatch.delenv("FASTNET_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert sources.default_root() == tmp_path / "cache" / "fastnet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sources.default_root() == Path.home() / ".cache" / "fastnet"
    monkeypatch.setattr(sources.sys, "platform", "darwin")
    assert sources.default_root() == Path.home() / "Library" / "Caches" / "fastnet"
    monkeypatch.setattr(sources.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert sources.default_root() == tmp_path / "local" / "fastnet" / "Cache"


@pytest.mark.skipif("FASTNET_DATA" not in os.environ, reason="FASTNET_DATA names no folder of data sets")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_the_sets_of_this_machine_load_and_have_a_balanced_validation_split(name):
    try:
        data = fastnet.data.load(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    classes = len(data.classes)
    assert (np.bincount(data.y_val) == 5000 // classes).all()
    assert len(data.y_test) == 10000
    assert data.x_train.transpose(0, 2, 3, 1).flags.c_contiguous


def small(**change):
    x = np.zeros((4, 2, 3, 5), np.uint8)
    arguments = {"x_train": x, "y_train": np.array([0, 1, 2, 0]), "classes": "abc", "name": "small"} | change
    return Dataset(**arguments)


def test_a_data_set_is_a_mapping_of_what_it_has():
    data = small(x_val=np.ones((1, 2, 3, 5), np.uint8), y_val=np.array([2]))
    assert list(data) == ["x_train", "y_train", "x_val", "y_val", "classes", "name"]
    assert dict(data)["y_val"].tolist() == [2]
    assert data.get("x_test") is None
    assert data.x_test is None
    assert len(data) == 6
    assert data.image_shape == (2, 3, 5)
    with pytest.raises(KeyError, match="data set small has x_train, y_train"):
        data["x_test"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": np.array([0, 1, 2])}, r"expected 4 labels of shape \(4,\), found shape \(3,\)"),
        ({"y_train": np.array([0, 1, 3, 0])}, "label 3 in row 2 is outside 0 … 2"),
        ({"x_val": np.zeros((1, 2, 3, 4), np.uint8), "y_val": np.array([0])}, r"x_val of shape \(N, 2, 3, 5\)"),
        ({"x_val": np.zeros((1, 2, 3, 5), np.uint8)}, "the val split needs both images and labels"),
    ],
)
def test_a_data_set_that_does_not_fit_together_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_the_last_of_every_class_are_held_out_in_equal_numbers():
    y = np.array([0, 1, 1, 1, 0, 1, 1, 0, 0, 1] * 4)
    train, held = hold_out(y, 2)
    assert np.bincount(y[held]).tolist() == [2, 2]
    assert held.tolist() == [36, 37, 38, 39]
    for label in range(2):
        assert train[y[train] == label].max() < held[y[held] == label].min()
    assert sorted([*train, *held]) == list(range(40))


def test_a_class_too_small_to_hold_anything_out_of_is_named():
    y = np.array([0] * 39 + [1])
    with pytest.raises(ValueError, match="class 1 has 1 of 40 examples, expected more than 2"):
        hold_out(y, 2)
