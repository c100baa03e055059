"""CIFAR-10 in the course's arrays, from small files of the binary form."""

import numpy as np
import pytest

import fastnet
from fastnet.cs231n import data_utils

PER_FILE = 40


@pytest.fixture
def cifar(tmp_path):
    """A folder cifar-10-batches-bin of random images, and those images (N, 3, 32, 32) and labels."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rows = []
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (PER_FILE, 3073), dtype=np.uint8)
        records[:, 0] = rng.permutation(np.arange(PER_FILE) % 10)
        (folder / name).write_bytes(records.tobytes())
        rows.append(records)
    (folder / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)))
    rows = np.concatenate(rows)
    return folder, rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


def test_load_gives_the_files_in_their_order_as_float64(cifar):
    folder, x, y = cifar
    for root in (folder, folder.parent, str(folder)):
        xtr, ytr, xte, yte = data_utils.load_CIFAR10(root)
        assert xtr.shape == (5 * PER_FILE, 32, 32, 3)
        assert xtr.dtype == np.float64
        np.testing.assert_array_equal(np.concatenate([xtr, xte]).transpose(0, 3, 1, 2), x)
        np.testing.assert_array_equal(np.concatenate([ytr, yte]), y)


def test_one_file(cifar):
    folder, x, y = cifar
    images, labels = data_utils.load_CIFAR_batch(folder / "data_batch_2.bin")
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2), x[PER_FILE : 2 * PER_FILE])
    np.testing.assert_array_equal(labels, y[PER_FILE : 2 * PER_FILE])


def test_the_splits_and_the_mean_image(cifar, monkeypatch):
    folder, x, y = cifar
    monkeypatch.setenv("FASTNET_DATA", str(folder.parent))
    data = data_utils.get_CIFAR10_data(num_training=150, num_validation=30, num_test=20)
    assert {name: array.shape for name, array in data.items()} == {
        "X_train": (150, 3, 32, 32), "y_train": (150,), "X_val": (30, 3, 32, 32), "y_val": (30,),
        "X_test": (20, 3, 32, 32), "y_test": (20,),
    }  # fmt: skip
    mean = x[:150].mean(axis=0)
    np.testing.assert_allclose(data["X_val"], x[150:180] - mean)
    np.testing.assert_allclose(data["X_test"], x[200:220] - mean)
    np.testing.assert_array_equal(data["y_val"], y[150:180])
    assert all(data[f"X_{split}"].flags.c_contiguous for split in ("train", "val", "test"))
    plain = data_utils.get_CIFAR10_data(150, 30, 20, subtract_mean=False)
    np.testing.assert_array_equal(plain["X_train"], x[:150])


def test_what_is_missing_is_said(cifar, tmp_path):
    folder, _, _ = cifar
    with pytest.raises(ValueError, match=r"wanted 49000 \+ 1000 .* found 200 and 40"):
        data_utils.get_CIFAR10_data(root=folder)
    with pytest.raises(FileNotFoundError, match="found none of"):
        data_utils.load_CIFAR10(tmp_path / "nowhere")
    pickled = tmp_path / "cifar-10-batches-py"
    pickled.mkdir()
    (pickled / "data_batch_1").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="pickled python version"):
        data_utils.load_CIFAR10(pickled)
    (folder / "short.bin").write_bytes(b"12")
    with pytest.raises(fastnet.FormatError, match="2 bytes, wanted a multiple of 3073"):
        data_utils.load_CIFAR_batch(folder / "short.bin")
