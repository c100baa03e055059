"""`load`: a data set by its name."""

import os
from collections.abc import Callable
from pathlib import Path

from .cifar import cifar10, cifar100
from .dataset import Dataset
from .folder import read_folder
from .mnist import fashion_mnist, mnist, mnist5k
from .sources import default_root

# One line per data set: a function of (root, download). CONTRIBUTING has the recipe.
DATASETS: dict[str, Callable[[Path, bool], Dataset]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "mnist5k": mnist5k,
}
FOLDER = "folder:"


def names() -> list[str]:
    """The names that `load` knows, besides folder:PATH."""
    return sorted(DATASETS)


def load(name: str, root: str | os.PathLike[str] | None = None, download: bool = False) -> Dataset:
    """The data set of this name: "mnist5k" (inside the package), "mnist", "fashion_mnist", "cifar10", "cifar100", or
    "folder:PATH" for a folder of your own with one subfolder of images per class.

    root: where the files are; $FASTNET_DATA if it is set, else the user's cache directory. `download` fetches what is
    missing into root. Images come as uint8 (N, C, H, W), channels-last in memory. Where a set has no validation
    split, the last images of every class of its training file are it (`fastnet.data.hold_out`), the same ones every
    time. ValueError for an unknown name, FileNotFoundError if files are missing, FormatError if they are damaged.
    """
    if not isinstance(name, str):
        raise TypeError(f"load: expected the name of a data set, found {type(name).__name__}")
    if name == FOLDER:
        raise ValueError('load: expected a path behind "folder:", found none')
    if name.startswith(FOLDER):
        return read_folder(name[len(FOLDER) :])
    if name not in DATASETS:
        raise ValueError(f"load: data set {name!r} is unknown; expected one of {', '.join(names())} or folder:PATH")
    return DATASETS[name](default_root() if root is None else Path(root).expanduser(), download)
