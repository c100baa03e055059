"""`cs231n.data_utils`: CIFAR-10 as the course's arrays, from the binary files of the data set.

The course unpickles the "python version" of CIFAR-10, which may run anything that a damaged or forged file says. The
"binary version" on the same page holds the same images, and is what is read here.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..data import cifar
from ..data.sources import default_root
from ..memory import Array

__all__ = ["get_CIFAR10_data", "load_CIFAR10", "load_CIFAR_batch"]

Root = str | os.PathLike[str]


def _course(images: Array) -> Array:
    """(N, 32, 32, 3) bytes as the course has them, in float64."""
    return images.astype(np.float64)


def load_CIFAR_batch(filename: Root) -> tuple[Array, Array]:
    """One binary file, as data_batch_1.bin  ->  X (10000, 32, 32, 3) float64 from 0 to 255, Y (10000,)."""
    path = Path(filename)
    images, labels = cifar.read_records(path.read_bytes(), path, cifar.CIFAR10)
    return _course(images), labels


def load_CIFAR10(ROOT: Root | None = None) -> tuple[Array, Array, Array, Array]:
    """Xtr (50000, 32, 32, 3), Ytr (50000,), Xte (10000, 32, 32, 3), Yte (10000,), in the order of the files, X in float64.

    ROOT: a folder with data_batch_1.bin … data_batch_5.bin and test_batch.bin, or one that holds cifar-10-batches-bin/ or
    cifar-10-binary.tar.gz; None: where `fastnet.data` looks.  FileNotFoundError if the files are not there.
    """
    x, y, x_test, y_test = _read(ROOT)
    return _course(x), y, _course(x_test), y_test


def _read(root: Root | None) -> tuple[Array, Array, Array, Array]:
    """Bytes and labels of the training files and the test file."""
    folder = default_root() if root is None else Path(root).expanduser()
    try:
        return cifar.read_splits(folder, False, cifar.CIFAR10)[:4]
    except FileNotFoundError as error:
        if any((folder / name).exists() for name in ("data_batch_1", "cifar-10-batches-py")):
            raise FileNotFoundError(
                f"{folder} has CIFAR-10's pickled python version, which is not read; get its binary version, "
                f"{cifar.CIFAR10.remote.name}"
            ) from error
        raise


def get_CIFAR10_data(
    num_training: int = 49000,
    num_validation: int = 1000,
    num_test: int = 1000,
    subtract_mean: bool = True,
    root: Root | None = None,
) -> dict[str, Any]:
    """{X_train, y_train, X_val, y_val, X_test, y_test}: images (N, 3, 32, 32) in float64, labels (N,).

    The first num_training images of the training files train, the num_validation after them validate, the first num_test of
    the test file test. With subtract_mean the mean training image is taken from all three.  root: as for `load_CIFAR10`.
    ValueError if there are not as many images.
    """
    x, y, x_test, y_test = _read(root)
    if num_training + num_validation > len(x) or num_test > len(x_test):
        raise ValueError(
            f"get_CIFAR10_data: wanted {num_training} + {num_validation} training and validation images and {num_test} "
            f"test images, found {len(x)} and {len(x_test)}"
        )
    held = slice(num_training, num_training + num_validation)
    parts = {"train": (x[:num_training], y[:num_training]), "val": (x[held], y[held])}
    parts["test"] = x_test[:num_test], y_test[:num_test]
    data: dict[str, Any] = {}
    mean = x[:num_training].mean(axis=0) if subtract_mean and num_training else 0.0
    for split, (images, labels) in parts.items():
        data[f"X_{split}"] = np.ascontiguousarray((_course(images) - mean).transpose(0, 3, 1, 2))
        data[f"y_{split}"] = labels
    return data
