"""The doctor looks for what leaks from one split into another: images, and statistics of the preprocessing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..memory import Array
from .checks_data import splits
from .findings import Diagnosis, Finding
from .subject import Subject

__all__ = ["duplicates", "preprocessing"]

SAMPLE = 2000  # examples that are enough for a deviation


def _keys(x: Array) -> list[int]:
    return [hash(np.ascontiguousarray(one).tobytes()) for one in x]


def duplicates(subject: Subject, report: Diagnosis) -> None:
    """The same image in training and in validation or test."""
    check = "duplicates"
    if not len(subject.raw_val[0]) and not len(subject.raw_test[0]):
        return report.skips(check, "there is no validation split")
    train = subject.raw_train[0]
    places: dict[int, int] = {}
    for i, key in enumerate(_keys(train)):
        places.setdefault(key, i)
    for name, x, _ in splits(subject)[1:]:
        pairs = [
            (places[key], i)
            for i, key in enumerate(_keys(x))
            if key in places and np.array_equal(train[places[key]], x[i])
        ]
        share = len(pairs) / len(x)
        if not pairs:
            continue
        some = ", ".join(f"{i} = training {j}" for j, i in pairs[:3])
        report.add(
            Finding(
                check,
                "fault" if share >= 0.005 else "note",
                85 if share >= 0.005 else 20,
                f"training images are in the {name} split too",
                f"{len(pairs)} of {len(x)} {name} images ({share:.1%}) are identical to a training image: {some}",
                "The split is there to measure what the net does with images it has not seen. On these it only has "
                "to remember.",
                "Remove duplicates before splitting; split by source (person, video, day), not by image.",
                {"split": name, "images": len(pairs), "share": share, "first": [list(pair) for pair in pairs[:5]]},
            )
        )
    if check not in report:
        report.passes(check, "no training image is in another split")


def _mean_sum(x: Array) -> tuple[Array, int]:
    return x.sum(0, dtype=np.float64).reshape(-1), len(x)


def preprocessing(subject: Subject, report: Diagnosis) -> None:
    """Statistics of the preprocessing that come from more than the training split."""
    check = "preprocessing"
    train = subject.raw_train[0]
    others = [x for _, x, _ in splits(subject)[1:] if x.dtype == train.dtype and x.shape[1:] == train.shape[1:]]
    if not others:
        return report.skips(check, "there is no other split")
    reason = (
        "Everything that is fitted, the mean as well as the weights, belongs to the training split alone; with "
        "numbers from validation or test images, the score on these is that of a method which has seen them."
    )
    advice = "Fit on the training split only, and apply that to all splits: data.Normalize().fit(data) looks at x_train alone."
    found = _own_statistics(subject, others) if subject.own_normalize else _centred(train, others)
    if found is None:
        return report.passes(check, "its statistics are those of the training split, or of none")
    title, evidence, numbers = found
    report.add(Finding(check, "fault", 78, title, evidence, reason, advice, numbers))


Leak = tuple[str, str, dict[str, Any]]


def _unions(train: Array, others: list[Array]) -> list[tuple[str, list[Array]]]:
    unions = [("training and validation together", [train, others[0]])]
    return unions if len(others) < 2 else [*unions, ("all splits together", [train, *others])]


def _own_statistics(subject: Subject, others: list[Array]) -> Leak | None:
    """The data's own preprocessing: whose mean is it?"""
    mean = np.asarray(getattr(subject.normalize, "mean", np.zeros(0)), np.float64)
    train = subject.raw_train[0]
    if not mean.size or train.ndim not in (2, 4):
        return None
    unit = 255.0 if train.dtype == np.uint8 else 1.0

    def mean_of(parts: list[Array]) -> Array:
        total: Array = sum(part.sum(0, dtype=np.float64) for part in parts) / sum(map(len, parts)) / unit
        if total.ndim == 3:  # (C, H, W), as the preprocessing has it: (C,) or (H, W, C)
            return total.mean((1, 2)) if mean.ndim == 1 else total.transpose(1, 2, 0)
        return total.reshape(mean.shape) if total.size == mean.size else total

    own = mean_of([train])
    if own.shape != mean.shape:
        return None
    off = float(np.abs(mean - own).max())
    for name, parts in [*_unions(train, others), ("validation", [others[0]])]:
        distance = float(np.abs(mean - mean_of(parts)).max())
        if distance < 0.05 * off and off > 1e-7:
            evidence = (
                f"its mean differs from that of the training images by {off:.2g}, from that of {name} by {distance:.2g}"
            )
            return f"the preprocessing was fitted to {name}", evidence, {"from_training": off, "from_union": distance}
    return None


def _centred(train: Array, others: list[Array]) -> Leak | None:
    """Examples that came normalised: over which of them is the mean exactly 0?"""
    if train.dtype.kind != "f":
        return None
    spread = float(train[:SAMPLE].std(dtype=np.float64)) or 1.0
    sums = [_mean_sum(x) for x in (train, *others)]
    channels = train.shape[1] if train.ndim == 4 else 0

    def off_centre(parts: list[tuple[Array, int]], per_channel: bool) -> float:
        """The root mean square of the means, of channels or of all features, in deviations of the data."""
        mean = sum(total for total, _ in parts) / sum(n for _, n in parts)
        if per_channel:
            mean = np.asarray(mean).reshape(channels, -1).mean(1)
        return float(np.sqrt(np.mean(np.square(mean)))) / spread

    for per_channel in (False, True) if channels else (False,):
        own = off_centre(sums[:1], per_channel)
        # rounding of float32 data leaves 1e-7; a sample's mean is off by 1 / sqrt(its size)
        each = [off_centre([one], per_channel) for one in sums[1:]]
        if own < 3e-6:
            if min(each) < 3e-6 and not np.array_equal(train[:1], others[0][:1]):
                evidence = f"training and other splits each have a mean of 0 (to {max(own, min(each)):.1g} deviations)"
                return (
                    "each split was normalised by its own statistics",
                    evidence,
                    {"training": own, "other": min(each)},
                )
            continue
        for name, count in (("training and validation together", 2), ("all splits together", 3)):
            if count <= len(sums) and (both := off_centre(sums[:count], per_channel)) < min(3e-6, 0.02 * own):
                evidence = (
                    f"the mean of {name} is 0 (to {both:.1g} deviations), that of training alone is off by {own:.2g}"
                )
                return f"the data were normalised by {name}", evidence, {"training": own, "union": both}
    return None
