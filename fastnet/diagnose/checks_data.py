"""The doctor looks at the data: numbers, scale, labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..memory import Array
from .findings import Diagnosis, Finding
from .subject import Run, Subject

__all__ = ["balance", "labels", "numbers", "scale", "splits"]

PIECE = 1000  # examples at a time
SIGMAS = 4.0  # above chance: what a probe must reach to have seen something


def splits(subject: Subject) -> list[tuple[str, Array, Array]]:
    named = (("training", subject.raw_train), ("validation", subject.raw_val), ("test", subject.raw_test))
    return [(name, x, y) for name, (x, y) in named if len(x)]


def _counts(array: Array) -> tuple[Array, int]:
    """How many values of each example are not finite, and how many of all are denormal; a piece at a time, for large sets."""
    bad, small, tiny = np.zeros(len(array), np.int64), 0, np.finfo(array.dtype).tiny
    axes = tuple(range(1, array.ndim))
    for start in range(0, len(array), PIECE):
        piece = array[start : start + PIECE]
        bad[start : start + PIECE] = np.sum(~np.isfinite(piece), axis=axes)
        small += int(np.count_nonzero((piece != 0) & (np.abs(piece) < tiny)))
    return bad, small


def numbers(subject: Subject, report: Diagnosis) -> None:
    """NaN, infinities and denormals among the examples."""
    check, total, denormal = "numbers", 0, 0
    for name, x, y in splits(subject):
        for what, array in (("images", x), ("labels", y)):
            if array.dtype.kind != "f":
                continue
            bad, small = _counts(array)
            total += array.size
            denormal += small
            if bad.any():
                rows = np.flatnonzero(bad)
                report.add(
                    Finding(
                        check,
                        "fault",
                        100,
                        f"the {name} {what} hold numbers that are none",
                        f"{int(bad.sum())} values in {len(rows)} of {len(array)} examples are NaN or infinite; the "
                        f"first is example {rows[0]}",
                        "One NaN makes the loss NaN, and one update with it makes every parameter NaN. Batch norm "
                        "carries it into the running statistics, where it stays.",
                        "Remove or repair these examples; look at what made them (a division by a deviation of 0, a "
                        "missing value, a log of 0).",
                        {"split": name, "values": int(bad.sum()), "examples": len(rows), "first": int(rows[0])},
                    )
                )
    if denormal > 0.01 * max(total, 1):
        report.add(
            Finding(
                check,
                "warning",
                30,
                "many inputs are denormal",
                f"{denormal:,} of {total:,} numbers are smaller than the smallest normal float",
                "Such numbers carry no information that a net could use, and arithmetic on them can be many times "
                "slower.",
                "Set them to zero, or scale the data.",
                {"denormal": denormal, "total": total},
            )
        )
    if check not in report:
        report.passes(check, f"no NaN, no infinity in {', '.join(name for name, _, _ in splits(subject))} examples")


def scale(subject: Subject, report: Diagnosis) -> None:
    """Mean and deviation of what the net is given."""
    check = "input_scale"
    x = subject.x[subject.clean]
    if not len(x):
        return report.skips(check, "no example is free of NaN")
    mean, std, most = float(x.mean()), float(x.std()), float(np.abs(x).max())
    numbers = {"mean": mean, "std": std, "largest": most}
    evidence = f"the net is given numbers of mean {mean:.3g} and deviation {std:.3g}, the largest {most:.3g}"
    if std == 0:
        title = "every input is the same"
    elif std > 8 or abs(mean) > max(3 * std, 3):
        title = "the input is not normalised"
    elif std < 0.02:
        title = "the input is much smaller than 1"
    else:
        return report.passes(check, f"mean {mean:.3g}, deviation {std:.3g}")
    report.add(
        Finding(
            check,
            "fault",
            80,
            title,
            evidence,
            "Initial weights are made for inputs around zero with a deviation near 1. Inputs that are all positive "
            "push all gradients of a unit's weights to one side; large ones saturate tanh and sigmoid, and make the "
            "loss and its gradients as many times larger.",
            "Zero-centre and divide by the deviation, fitted on the training split: data.Normalize().fit(data) (a "
            "Solver does that by itself for uint8 images).",
            numbers,
        )
    )


def balance(subject: Subject, report: Diagnosis) -> None:
    """Labels in range, every class present."""
    check = "classes"
    if not subject.labelled:
        return report.skips(check, "y are no class numbers")
    classes, y = subject.classes, subject.raw_train[1]
    outside = [int(label) for label in np.unique(y) if not 0 <= label < classes]
    if outside:
        return report.add(
            Finding(
                "label_range",
                "fault",
                96,
                "labels that the net has no score for",
                f"labels {outside[:5]} are outside 0 … {classes - 1}, the net's {classes} scores",
                "The loss looks the right class up by its number.",
                f"Number the classes from 0, or give the last layer {max(outside) + 1} outputs.",
                {"classes": classes, "outside": outside[:20]},
            )
        )
    counts = np.bincount(y, minlength=classes)
    missing = np.flatnonzero(counts == 0)
    if len(missing) and classes > 1:
        return report.add(
            Finding(
                check,
                "note",
                15,
                "classes without a training example",
                f"{len(missing)} of {classes} classes never occur in training: {missing[:10].tolist()}",
                "A net cannot learn what it is not shown; its scores for these classes only get smaller.",
                "Check how the split was made, and the number of outputs.",
                {"missing": missing[:50].tolist()},
            )
        )
    report.passes(check, f"{classes} classes of {counts.min()} to {counts.max()} training examples")


# --- labels that do not go with the images ----------------------------------------------------------------------------


def _features(x: Array, most: int = 512) -> Array:
    """Examples as rows of moderate length."""
    rows = x.reshape(len(x), -1).astype(np.float64)
    if rows.shape[1] > most and x.ndim == 4:
        step = math.ceil(math.sqrt(rows.shape[1] / most))
        rows = x[:, :, ::step, ::step].reshape(len(x), -1).astype(np.float64)
    return rows


def _probes(x: Array, y: Array, x_new: Array, y_new: Array) -> dict[str, float]:
    """Accuracies of three simple classifiers that need no training run: nearest class mean, 5 nearest neighbours, ridge
    regression on the classes."""
    a, b = _features(x), _features(x_new)
    centre, spread = a.mean(0), a.std() or 1.0
    a, b = (a - centre) / spread, (b - centre) / spread
    labels = np.unique(y)
    target = (y[:, None] == labels).astype(np.float64)
    means = target.T @ a / target.sum(0)[:, None]

    def distances(to: Array) -> Array:
        return np.asarray((to**2).sum(1) - 2 * b @ to.T)

    found = {"nearest class mean": labels[distances(means).argmin(1)]}
    near = np.argpartition(distances(a), min(5, len(a) - 1), axis=1)[:, :5]
    found["5 nearest neighbours"] = labels[target[near].sum(1).argmax(1)]
    gram = a.T @ a + 0.1 * len(a) * np.eye(a.shape[1])
    found["linear regression"] = labels[(b @ np.linalg.solve(gram, a.T @ (target - target.mean(0)))).argmax(1)]
    return {name: float((guess == y_new).mean()) for name, guess in found.items()}


def _above_chance(accuracy: float, y: Array) -> float:
    """How many standard deviations an accuracy is above that of naming the commonest class."""
    chance = float(np.unique(y, return_counts=True)[1].max()) / len(y)
    return (accuracy - chance) / math.sqrt(max(chance * (1 - chance), 1e-9) / len(y))


def labels(subject: Subject, report: Diagnosis, trial: Any) -> None:
    """Do simple classifiers find the labels in the images? `trial()` is a short training run, asked only if "
    "they do not."""
    check = "labels"
    rows = subject.clean
    if not subject.labelled or len(np.unique(subject.y[rows])) < 2 or len(rows) < 100:
        return report.skips(check, "needs class numbers and 100 examples")
    x, y = subject.x[rows], subject.y[rows]
    part = len(x) * 4 // 5
    order = np.random.default_rng([subject.seed, 11]).permutation(len(x))
    fit, held = order[:part], order[part:]
    within = _probes(x[fit], y[fit], x[held], y[held])
    best = max(within, key=lambda name: within[name])
    sigmas = _above_chance(within[best], y[held])
    clean = (
        np.isfinite(subject.x_val.reshape(len(subject.x_val), -1)).all(1) if len(subject.x_val) else np.zeros(0, bool)
    )
    x_val, y_val = subject.x_val[clean], subject.y_val[clean]
    reason = (
        "A net can learn any labels by heart, so the training loss falls all the same; only the validation "
        "accuracy, which stays at chance, tells."
    )
    if sigmas < SIGMAS:
        run: Run = trial()
        learnt = subject.accuracy(run.net, x_val, y_val) if len(x_val) >= 50 else math.nan
        if learnt == learnt and _above_chance(learnt, y_val) >= SIGMAS:
            return report.passes(
                check, f"the net reaches {learnt:.1%} on validation, where simple classifiers see nothing"
            )
        shown = ", ".join(f"{name} {value:.1%}" for name, value in within.items())
        net = f"; the net after {len(run.loss)} steps {learnt:.1%} on validation" if learnt == learnt else ""
        chance = float(np.unique(y[held], return_counts=True)[1].max()) / len(held)
        report.add(
            Finding(
                check,
                "fault",
                90,
                "the labels do not go with the images",
                f"fitted to {part} training examples and asked about {len(held)} others, no classifier beats chance "
                f"({chance:.1%}): {shown}{net}",
                reason,
                "Look at twenty images with their labels. Were images shuffled, sorted or filtered without their "
                "labels?",
                {"chance": chance, **within, "net": learnt},
            )
        )
    elif (
        len(x_val) >= 50
        and (across := _probes(x, y, x_val, y_val))
        and _above_chance(max(across.values()), y_val) < SIGMAS
    ):
        shown = ", ".join(f"{name} {value:.1%}" for name, value in across.items())
        report.add(
            Finding(
                check,
                "fault",
                90,
                "the validation labels do not go with the validation images",
                f"{best} is right on {within[best]:.1%} of training examples it has not seen; on the validation "
                f"split: {shown}",
                reason,
                "Look at twenty validation images with their labels, and at how the split was made.",
                {**across, "training": within[best]},
            )
        )
    else:
        report.passes(check, f"{best} finds {within[best]:.1%} of held-out training labels")
