"""A folder of your own images, one subfolder per class."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FormatError
from ..memory import Array
from .dataset import Dataset

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".ppm": "PPM",
    ".pgm": "PPM",
}
GREY = ("1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N")
MOST_PIXELS = 1 << 26  # of one image: a header that promises more is not believed


def _open(path: Path) -> "Image":
    """The image with its header read and checked, its pixels not yet."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading a folder of images needs Pillow: pip install 'fastnet[images]'") from error
    try:
        image = Image.open(path, formats=[KINDS[path.suffix.lower()]])
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path}: not a readable {KINDS[path.suffix.lower()]} image: {error}") from error
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise FormatError(f"{path}: {image.width} x {image.height} pixels, wanted at most {MOST_PIXELS} in all")
    return image


def _files(folder: Path) -> list[Path]:
    """The image files of a class, by name."""
    files = sorted(
        f for f in folder.iterdir() if f.suffix.lower() in KINDS and not f.name.startswith(".") and f.is_file()
    )
    if not files:
        raise FormatError(f"{folder}: no images; expected files ending in {', '.join(KINDS)}")
    return files


def _subfolders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _split(folder: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """(file, label) of every image below a folder of class folders."""
    pairs = []
    for sub in _subfolders(folder):
        if sub.name not in classes:
            raise FormatError(f"{sub}: class {sub.name!r} does not occur in the training images")
        pairs += [(file, classes.index(sub.name)) for file in _files(sub)]
    return pairs


def _bytes(image: "Image", path: Path) -> "Image":
    """Of an image of 16 bits to the pixel, which Pillow would clip, the upper 8."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
        raise FormatError(f"{path}: pixels from {values.min()} to {values.max()}, wanted 0 to 65535")
    from PIL import Image

    return Image.fromarray((values >> 8).astype(np.uint8))


def _decode(pairs: list[tuple[Path, int]], mode: str, size: tuple[int, int]) -> tuple[Array, Array]:
    """(N, C, H, W) pixels and (N,) labels."""
    images = np.empty((len(pairs), *size, 1 if mode == "L" else 3), np.uint8)
    for row, (path, _) in zip(images, pairs):
        with _open(path) as image:
            try:
                pixels = _bytes(image, path).convert(mode)
                if pixels.size != size[::-1]:
                    pixels = pixels.resize(size[::-1])
            except (OSError, ValueError, SyntaxError) as error:
                raise FormatError(f"{path}: damaged image: {error}") from error
            row[...] = np.asarray(pixels).reshape(row.shape)
    return images.transpose(0, 3, 1, 2), np.array([label for _, label in pairs], np.int64)


def read_folder(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Dataset:
    """A Dataset of PATH/<class>/*.png, or of PATH/train/<class>/*, PATH/val/<class>/*, PATH/test/<class>/*.

    Classes are the names of the subfolders in alphabetical order. Images must have one size, or are resized to `size`
    (height, width); they are grey if all of them are, else RGB. Without split folders the files of each class are
    counted off by name: of every ten, the ninth validates and the tenth tests. With `train` alone there is no other
    split. Needs Pillow (the extra "images"). FormatError for an unreadable image, an empty class, differing sizes.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"folder:{path}: no such folder")
    splits: dict[str, list[tuple[Path, int]]] = {}
    if (path / "train").is_dir():
        classes = [f.name for f in _subfolders(path / "train")]
        for split in ("train", "val", "test"):
            if (path / split).is_dir():
                splits[split] = _split(path / split, classes)
    else:
        classes = [f.name for f in _subfolders(path)]
        splits = {"train": [], "val": [], "test": []}
        for label, name in enumerate(classes):
            files = _files(path / name)
            if len(files) < 10:
                raise FormatError(
                    f"{path / name}: {len(files)} images, wanted at least 10 to split them; "
                    "or make the folders train, val and test"
                )
            for i, file in enumerate(files):
                splits[{8: "val", 9: "test"}.get(i % 10, "train")].append((file, label))
    if len(classes) < 2:
        raise FormatError(f"{path}: {len(classes)} class folders, wanted at least 2")

    found: dict[tuple[int, int], Path] = {}
    mode = "L"
    for file, _ in (pair for pairs in splits.values() for pair in pairs):
        with _open(file) as image:
            found.setdefault((image.height, image.width), file)
            mode = mode if image.mode in GREY else "RGB"
    if size is None:
        if len(found) > 1:
            (one, a), (other, b) = list(found.items())[:2]
            raise FormatError(
                f"{b}: {other[0]} x {other[1]} pixels, but {a} has {one[0]} x {one[1]}; "
                "fastnet.data.read_folder(path, size=(height, width)) resizes them"
            )
        size = next(iter(found))
    arrays: dict[str, Array] = {}
    for split, pairs in splits.items():
        arrays[f"x_{split}"], arrays[f"y_{split}"] = _decode(pairs, mode, size)
    return Dataset(**arrays, classes=classes, name=path.name)
