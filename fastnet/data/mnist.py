"""MNIST, Fashion-MNIST, and the part of MNIST that is inside the package: 28 x 28 grey images of ten classes."""

from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..memory import Array
from .dataset import Dataset, with_held_out
from .files import verify
from .idx import read_idx
from .sources import Remote, locate

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
EMBEDDED = Path(__file__).parent / "embedded"
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"

MNIST_FILES = {  # length, SHA-256; these files have the MD5 sums that MNIST's mirrors publish
    f"train-{IMAGES}": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    f"train-{LABELS}": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    f"t10k-{IMAGES}": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    f"t10k-{LABELS}": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
}
MNIST_URLS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
FASHION_FILES = {  # length, SHA-256; these files have the MD5 sums that the authors publish
    f"train-{IMAGES}": (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    f"train-{LABELS}": (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    f"t10k-{IMAGES}": (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    f"t10k-{LABELS}": (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
}
FASHION_URLS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
EMBEDDED_FILES = {
    f"mnist5k-{IMAGES}": (813934, "28a1bc8911bcd3882853e502930bf3790571ce53eb7e99417f565a6f09f66e62"),
    f"mnist5k-{LABELS}": (59, "ee243ebfccd41f946eb875bb08e2220388a69a94e2d11454569c6293209708ed"),
}


def read_pair(images: Path, labels: Path) -> tuple[Array, Array]:
    """(N, 28, 28, 1) images and (N,) labels from two idx files; FormatError if they do not belong together."""
    x = read_idx(images, (None, 28, 28), "u1")
    y = read_idx(labels, (len(x),), "u1")
    if len(y) and y.max() > 9:
        row = int(y.argmax())
        raise FormatError(f"{labels}: label {y[row]} at position {row}, wanted 0 to 9")
    return x[:, :, :, None], y.astype(np.int64)


def _load(name: str, root: Path, download: bool, classes: tuple[str, ...]) -> Dataset:
    files, urls = (MNIST_FILES, MNIST_URLS) if name == "mnist" else (FASHION_FILES, FASHION_URLS)
    paths = []
    for file, (size, checksum) in files.items():
        remote = Remote(f"{file}.gz", size, checksum, tuple(f"{url}{file}.gz" for url in urls))
        plain = (file, file.replace("-idx", ".idx"))  # the name some archives give the unpacked file
        path, official = locate(remote, root / name, plain, download, name)
        if official:
            verify(path, checksum)
        paths.append(path)
    return with_held_out(*read_pair(*paths[:2]), *read_pair(*paths[2:]), classes=classes, name=name)


def mnist(root: Path, download: bool = False) -> Dataset:
    """55,000 / 5,000 / 10,000 handwritten digits: root/mnist/train-images-idx3-ubyte.gz and so on, packed or unpacked.

    The packed files are the official ones and must have the official checksum; unpacked ones are checked by structure.
    LeCun, Bottou, Bengio & Haffner 1998.
    """
    return _load("mnist", root, download, DIGITS)


def fashion_mnist(root: Path, download: bool = False) -> Dataset:
    """55,000 / 5,000 / 10,000 pieces of clothing, in files named and checked as MNIST's: root/fashion_mnist/.

    Xiao, Rasul & Vollgraf 2017.
    """
    return _load("fashion_mnist", root, download, CLOTHES)


def mnist5k(root: Path | None = None, download: bool = False) -> Dataset:
    """4,000 / 500 / 500 MNIST digits, balanced, from inside the package; see `embedded/README.md`."""
    paths = []
    for file, (_, checksum) in EMBEDDED_FILES.items():
        paths.append(EMBEDDED / f"{file}.gz")
        verify(paths[-1], checksum)
    x, y = read_pair(*paths)
    x = x.transpose(0, 3, 1, 2)
    a, b = 4000, 4500
    return Dataset(x[:a], y[:a], x[a:b], y[a:b], x[b:], y[b:], classes=DIGITS, name="mnist5k")
