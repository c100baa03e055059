"""Input: how many images a second are gathered, augmented and normalised?

Bytes of images in a shuffled order become a float32 batch, mirrored, shifted, cut out. fastnet does all of it in one pass over
the bytes (in training a thread does it ahead of the step); NumPy and PyTorch take a pass for each. Every side is given the same
random numbers. The least that must move: a byte read and a float32 written per value. Images a second: those of the case
divided by its time.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bench._harness import Case, Size
from bench._harness.case import Call, Side, TorchSide

Shape = tuple[int, int, int, int]
SETS: dict[str, list[Shape]] = {"toy": [(7, 3, 12, 10)], "quick": [(1024, 3, 32, 32)]}  # a batch (N, C, H, W)
SETS["full"] = [*SETS["quick"], (128, 3, 32, 32), (128, 1, 28, 28), (64, 3, 224, 224)]
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
# what is done -> (mirrored?, pixels of shift, what moves in, size of the box that is cut out)
CHANGES: dict[str, tuple[bool, int, str, int]] = {
    "normalise": (False, 0, "zero", 0),
    "flip": (True, 0, "zero", 0),
    "flip, shift by reflection": (True, 2, "reflect", 0),
    "flip, shift, cut-out": (True, 4, "zero", 4),
}


class Drawn(NamedTuple):
    """The set (4 N, H, W, C) of bytes and a batch's random numbers: which images, which mirrored, from where, which boxes."""

    x: np.ndarray
    index: np.ndarray
    mirrored: np.ndarray
    place: np.ndarray  # (N, 2): rows and columns
    boxes: np.ndarray  # (N, 2): their top left corners


def drawn(shape: Shape, shift: int, box: int) -> Drawn:
    n, c, h, w = shape
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4 * n, h, w, c), np.uint8)
    index, mirrored = rng.permutation(4 * n)[:n], rng.random(n) < 0.5
    boxes = np.stack([rng.integers(0, size - box, n) for size in (h, w)], axis=1)
    return Drawn(x, index, mirrored, rng.integers(-shift, shift + 1, (n, 2)), boxes)


def ours(shape: Shape, change: tuple[bool, int, str, int], side: Side) -> Call:
    flip, shift, mode, box = change
    x, index, mirrored, place, boxes = drawn(shape, shift, box)
    if not side.compiled:
        return partial(numpy_batch, drawn(shape, shift, box), change)
    from fastnet import config, data
    from fastnet.data.batch import Batch

    channels = shape[1]
    normalize = data.Normalize(MEAN[:channels], STD[:channels])
    corners = np.concatenate([boxes, boxes + box], axis=1)

    def batch() -> np.ndarray:
        made = Batch(x, index, index, normalize, config.get_num_threads())
        if flip:
            made.flip(mirrored)
        if shift:
            made.window("shift", place[:, 0], place[:, 1], shape[2:], mode)  # type: ignore[arg-type]
        if box:
            made.cut(corners)
        return made.finish()

    return batch


def numpy_batch(given: Drawn, change: tuple[bool, int, str, int]) -> np.ndarray:
    flip, shift, mode, box = change
    x = given.x[given.index].astype(np.float32)
    n, h, w, c = x.shape
    if flip:
        x[given.mirrored] = x[given.mirrored, :, ::-1]
    if shift:
        around = ((0, 0), (shift, shift), (shift, shift), (0, 0))
        wide = np.pad(x, around, "reflect" if mode == "reflect" else "constant")
        rows = shift + given.place[:, :1] + np.arange(h)
        columns = shift + given.place[:, 1:] + np.arange(w)
        x = wide[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    x = (x / 255 - np.float32(MEAN[:c])) / np.float32(STD[:c])
    if box:
        for image, (top, left) in zip(x, given.boxes):
            image[top : top + box, left : left + box] = 0
    return x.transpose(0, 3, 1, 2)


def torch_call(shape: Shape, change: tuple[bool, int, str, int], side: TorchSide) -> Call:
    """The set as a tensor of bytes, the batch's numbers as tensors: one operation for each change, as a script has them."""
    torch, (flip, shift, mode, box) = side.torch, change
    given = drawn(shape, shift, box)
    x = side.images(np.ascontiguousarray(given.x.transpose(0, 3, 1, 2)))
    index, mirrored, place, boxes = (torch.from_numpy(array) for array in given[1:])
    n, c, h, w = shape
    mean, std = (torch.tensor(values[:c]).view(1, c, 1, 1) for values in (MEAN, STD))
    here, channels = torch.arange(n).view(n, 1, 1, 1), torch.arange(c).view(1, c, 1, 1)
    rows = (shift + place[:, :1] + torch.arange(h)).view(n, 1, h, 1)
    columns = (shift + place[:, 1:] + torch.arange(w)).view(n, 1, 1, w)

    def batch() -> Any:
        made = x[index].float()
        if flip:
            made = torch.where(mirrored.view(n, 1, 1, 1), made.flip(3), made)
        if shift:
            wide = torch.nn.functional.pad(made, (shift,) * 4, "reflect" if mode == "reflect" else "constant")
            made = wide[here, channels, rows, columns]
        made = made.div_(255).sub_(mean).div_(std)
        if box:
            inside = [
                (torch.arange(size) >= start) & (torch.arange(size) < start + box)
                for size, start in ((h, boxes[:, :1]), (w, boxes[:, 1:]))
            ]
            made = made.masked_fill_((inside[0].view(n, 1, h, 1) & inside[1].view(n, 1, 1, w)), 0)
        return made

    return batch


def cases(size: Size) -> Iterator[Case]:
    for shape in SETS[size]:
        n, c, h, w = shape
        for name, change in CHANGES.items():
            yield Case(
                name,
                f"{n:,} images of {c}×{h}×{w}",
                partial(ours, shape, change),
                partial(torch_call, shape, change),
                nbytes=5 * n * c * h * w,
            )
