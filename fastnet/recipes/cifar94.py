"""CIFAR-10 to 94 % in ten epochs: the recipe of "airbench94", Jordan 2024 (arXiv 2404.00498).

Every trick is one step below: filters that whiten patches and are not learned, the other convolutions beginning as the identity
(models.airbench), Nesterov's SGD with decoupled rates, a triangular schedule, smoothed labels, every image mirrored in every
second epoch, averaged weights, and a look at each test image from both sides.
"""

import itertools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import config, data, models, optim
from ..data.batch import Batch
from ..data.preprocess import Preprocessing
from ..initializers import manual_seed
from ..layers import BatchNorm2d, Sequential
from ..losses import SoftmaxCrossEntropy
from ..memory import Array, channels_last
from ..training.history import History
from .result import Result

MOMENTUM = 0.85
RATE = 11.5 / (1 + 1 / (1 - MOMENTUM))  # 1.5 for batches of 1024: a gradient acts through 1 + 1 / (1 - momentum) steps
DECAY = 0.0153 / 11.5  # of the rate: each step takes 0.2 % of a weight, at the schedule's top
NORMS = 64.0  # times the rate for the shifts of batch norm; their decay stays
SAMPLE = 1000  # training images on which accuracy is looked at


class Splits(NamedTuple):
    """Bytes and labels to train and to measure on, and what makes numbers of the bytes."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array
    normalize: Preprocessing


def run(
    name: str = "cifar10",
    root: Any = None,
    *,
    epochs: float = 9.9,
    batch_size: int = 1024,
    seed: int = 0,
    precision: config.Precision = "medium",
    widths: tuple[int, int, int] = (64, 256, 256),
    download: bool = False,
    say: Callable[[str], None] = print,
) -> Result:
    """Train on all training images of a set (its validation split too) and measure on its test split, which chooses nothing.

    epochs need not be whole; a batch is all images at most. ValueError for a set without a test split.
    FloatingPointError if the loss is not finite.
    """
    if not 0 < epochs < math.inf:
        raise ValueError(f"cifar94: epochs must be positive, found {epochs}")
    images = data.load(name, root, download)
    splits = all_of(images)
    manual_seed(seed)
    net = models.build("airbench", splits.x.shape[1:], len(images.classes), widths=widths)
    whiten(net[0], splits.normalize(splits.x[:5000]))
    with config.precision(precision):
        history = train(net, splits, epochs, min(batch_size, len(splits.x)), seed, say)
        accuracy = test(net, splits)
    return Result(net, "airbench", images, splits.normalize, history, accuracy, history.seconds[-1])


def all_of(images: data.Dataset) -> Splits:
    """The set with the validation split among the training images."""
    if images.x_test is None or images.y_test is None:
        raise ValueError(f"cifar94: {images.name} has no test split")
    x, y = images.x_train, images.y_train
    if images.x_val is not None and images.y_val is not None:
        x = np.concatenate([channels_last(x), channels_last(images.x_val)]).transpose(0, 3, 1, 2)
        y = np.concatenate([y, images.y_val])
    return Splits(x, y, images.x_test, images.y_test, data.Normalize().fit({"x_train": x}))


def whiten(conv: Any, x: Array, eps: float = 5e-4) -> None:
    """Fill conv with filters v / sqrt(variance + eps) for every direction v of the windows of images x, and with their
    negatives, and freeze them: what comes out has unit variance in every direction and no correlation.  Section 3.2.
    """
    _, c, kh, kw = conv.weight.shape
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (2, 3))  # (N, C, H', W', KH, KW)
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, c * kh * kw)
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / np.sqrt(variances + eps)).T[::-1].reshape(-1, c, kh, kw)  # the largest variance first
    conv.weight.data = np.concatenate([filters, -filters]).astype(np.float32)
    conv.weight.requires_grad = False
    conv.bias.data[...] = 0


def train(
    net: Sequential, splits: Splits, epochs: float, batch_size: int, seed: int, say: Callable[[str], None]
) -> History:
    """The training run: what learns at which rate, on what, and how it is averaged."""
    for p in net.parameters():
        p.decay = True
    norms: list[Any] = [layer for layer in net.modules() if isinstance(layer, BatchNorm2d)]
    for norm in norms:
        norm.weight.requires_grad = False
        norm.bias.lr_factor, norm.bias.decay = NORMS, 1 / NORMS
    augment = [data.AlternatingFlip(), data.RandomShift(2, mode="reflect")]
    loader = data.Loader(
        splits.x, splits.y, batch_size, seed=seed, augment=augment, normalize=splits.normalize, drop_last=True
    )
    steps = math.ceil(len(loader) * epochs)
    rate, peak = RATE * batch_size / 1024, max(1, int(0.23 * steps))
    schedule = optim.PiecewiseLinear([(0, 0.2 * rate), (peak, rate), (max(steps, peak + 1), 0.07 * rate)])
    rule = optim.SGD(net.parameters(), schedule(0), momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
    statistics = [array for _, array in net.named_buffers() if array.dtype.kind == "f"]
    average = optim.Lookahead(net.parameters(), every=5, buffers=statistics)
    loss = SoftmaxCrossEntropy(label_smoothing=0.2)
    history, seconds = History(), 0.0
    net.free_after_backward()  # of 1,024 images a step keeps 1 GB

    for epoch in range(math.ceil(epochs)):
        start = time.perf_counter()
        net.train()
        if epoch == 3:
            # The whitening convolution's bias has learned enough (section 3.2). From here on backward passes over that layer,
            # and over the input gradient of the convolution behind it.
            net[0].requires_grad_(False)
        for x, y in itertools.islice(loader, steps - history.steps):
            value = loss.forward(net.forward(x), y)  # type: ignore[arg-type]  # nobody mixes labels here
            if not math.isfinite(value):
                raise FloatingPointError(f"cifar94: step {history.steps + 1}: the loss is {value}")
            net.backward(loss.backward(), input_gradient=False)
            rule.lr = schedule(history.steps)
            rule.step()
            history.loss.append(value)
            history.lr.append(rule.lr)
            average.decay = 0.95**5 * (history.steps / steps) ** 3
            average.update()
        if history.steps == steps:
            average.settle()
        seconds += time.perf_counter() - start
        write_down(history, net, splits, loss, seconds)
        loss_now, right = history.epoch_loss()[-1], history.val_accuracy[-1]
        say(f"epoch {epoch + 1:2d}  loss {loss_now:.4f}  test {right:.2%}  {seconds:.1f} s of training")
    net.free_after_backward(False).eval()
    return history


def write_down(history: History, net: Sequential, splits: Splits, loss: SoftmaxCrossEntropy, seconds: float) -> None:
    """End an epoch; in the columns of the validation split stand the test images."""
    found = scores(net, splits.x_test, splits.normalize)
    history.train_accuracy.append(share(scores(net, splits.x[:SAMPLE], splits.normalize), splits.y[:SAMPLE]))
    history.val_accuracy.append(share(found, splits.y_test))
    history.val_loss.append(loss.forward(found, splits.y_test))
    history.update_ratio.append(math.nan)
    history.epoch_steps.append(history.steps)
    history.seconds.append(seconds)


def test(net: Sequential, splits: Splits) -> dict[str, float]:
    """Accuracy by one look at each image, by two (mirrored), and by six: mirrored, and moved by a pixel.  Section 3.5."""

    views = [(shift, mirror) for shift in (0, -1, 1) for mirror in (False, True)]
    seen = [scores(net, splits.x_test, splits.normalize, shift, mirror) for shift, mirror in views]
    mirrored = (seen[0] + seen[1]) / 2
    looks = {"plain": seen[0], "mirrored": mirrored, "mirrored and shifted": mirrored / 2 + sum(seen[2:]) / 8}
    return {name: share(found, splits.y_test) for name, found in looks.items()}


def scores(net: Sequential, x: Array, normalize: Preprocessing, shift: int = 0, mirror: bool = False) -> Array:
    """Scores of images x, seen from `shift` pixels further down and to the right, and mirrored."""
    pixels, found = channels_last(x), []
    with net.evaluating():
        for start in range(0, len(x), 512):
            rows = np.arange(start, min(start + 512, len(x)))
            batch = Batch(pixels, rows, rows, normalize, config.get_num_threads())
            if shift:
                place = np.full(len(rows), shift)
                batch.window("cifar94", place, place, (x.shape[2], x.shape[3]), "reflect")
            if mirror:
                batch.flip(np.ones(len(rows), bool))
            found.append(net.forward(batch.finish()))
    return np.concatenate(found)


def share(scores: Array, y: Array) -> float:
    """The share of images whose highest score is that of their class."""
    return float((scores.argmax(1) == y).mean())
