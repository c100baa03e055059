"""The doctor lets copies of the net learn: the gradient, twenty examples, the learning rate, what it remembers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from ..memory import Array
from .findings import Diagnosis, Finding
from .gradients import check_gradients
from .subject import Run, Subject

__all__ = ["fit", "gap", "gradient", "learning_rate", "update_ratio"]

FEW = 20  # examples that any net must be able to learn by heart
STEPS = 200  # in which it must
STILL = 0.35  # of the loss: a trial that gains more in its few steps has no rate that is far from right
ENOUGH = 20  # steps of a trial that can be judged


def gradient(subject: Subject, report: Diagnosis, seconds: float) -> None:
    """check_gradients on four examples."""
    check = "gradients"
    if not subject.net.parameters():
        return report.skips(check, "the net has no parameters")
    x, y = subject.batch(4)
    try:
        found = check_gradients(
            subject.net, x, y, subject.loss, regularization=subject.term, samples=4, seconds=seconds, seed=subject.seed
        )
    except FloatingPointError as error:
        return report.skips(check, str(error))
    worst = found.worst
    if worst is None:
        return report.skips(check, "every gradient that was looked at vanishes")
    told = (
        f"{worst.place}: analytic {worst.analytic:.4g}, numeric {worst.numeric:.4g}, relative error {worst.error:.1e}"
    )
    numbers = {"error": worst.error, "layers": found.suspects, "place": worst.place}
    wrong = [row for row in found.compared if row.verdict == "wrong"]
    reason = (
        "Training with a wrong gradient often works a little, which hides it. Backward must agree with (f(w + h) - "
        "f(w - h)) / 2h to 1e-7 or so, where the loss has kinks to 1e-4; above 1e-2 it is wrong."
    )
    advice = (
        "fastnet.check_gradients(net, x, y) prints every coordinate; read the layer's backward against its forward."
    )
    if found.suspects:
        mine = [row for row in found.alone if row.layer == found.suspects[0]]
        layer = max(mine, key=lambda row: row.error)
        report.add(
            Finding(
                check,
                "fault",
                98,
                f"the backward of layer {layer.layer!r} ({layer.kind}) is wrong",
                f"by itself, {layer.parameter}{list(layer.coordinate)}: analytic {layer.analytic:.4g}, numeric "
                f"{layer.numeric:.4g}, relative error {layer.error:.1e}; in the net, {told}",
                reason,
                advice,
                numbers,
            )
        )
    elif any(row.layer == "loss" or row.part == "regularization" for row in wrong):
        row = next(row for row in wrong if row.layer == "loss" or row.part == "regularization")
        what = f"loss ({row.kind})" if row.layer == "loss" else "regularization"
        report.add(Finding(check, "fault", 97, f"the gradient of the {what} is wrong", told, reason, advice, numbers))
    elif wrong:
        report.add(
            Finding(
                check,
                "note",
                25,
                "the gradient check is not clean, though every layer by itself is right",
                told,
                reason + " Deep nets with batch norm over few examples come near that by rounding and kinks alone.",
                advice,
                numbers,
            )
        )
    else:
        report.passes(check, f"worst relative error {worst.error:.1e} at {worst.place} ({len(found.rows)} coordinates)")


def few(subject: Subject) -> Array:
    """Rows of twenty clean examples, of as many classes as there are."""
    rows = subject.clean
    if subject.labelled:
        rank = np.zeros(len(rows), np.int64)
        for label in np.unique(subject.y[rows]):
            mine = np.flatnonzero(subject.y[rows] == label)
            rank[mine] = np.arange(len(mine))
        rows = rows[np.argsort(rank, kind="stable")]
    return np.sort(rows[:FEW])


def fit(subject: Subject, report: Diagnosis, seconds: float) -> list[Run]:
    """Can the net learn twenty examples by heart? Adam at three rates, without regularization."""
    check = "fit_few"
    rows = few(subject)
    if len(rows) < 2 or not subject.net.parameters():
        report.skips(check, "needs parameters and examples")
        return []
    x, y = subject.x[rows], subject.y[rows]
    runs: list[Run] = []
    best, right = math.inf, 0.0
    for lr in (1e-3, 1e-2, 1e-4):
        batches: Iterator[tuple[Array, Array]] = itertools.repeat((x, y))
        start = runs[0].start if runs else math.nan
        until = 0.02 * abs(start) if runs else 0.02
        run = subject.run(STEPS, lr=lr, batches=batches, seconds=seconds / (4 if runs else 2), plain=True, until=until)
        runs.append(run)
        accuracy = subject.accuracy(run.net, x, y)
        low = min(run.loss) if not run.problem else math.inf
        best, right = min(best, low), max(right, accuracy if accuracy == accuracy else 0.0)
        if low < 0.1 * abs(run.start) or (right == 1.0 and low < 0.5 * abs(run.start)):
            report.passes(
                check,
                f"the loss of {len(rows)} examples falls from {run.start:.3g} to {low:.3g} in {len(run.loss)} steps",
            )
            return runs
    longest = max(len(run.loss) for run in runs)
    if longest < STEPS // 2:
        report.skips(check, f"in its time the net made {longest} steps, too few to tell; give more seconds")
        return runs
    known = f", {right:.0%} of them right" if subject.labelled else ""
    report.add(
        Finding(
            check,
            "fault",
            72,
            f"the net cannot learn {len(rows)} examples by heart",
            f"after {longest} steps of Adam the loss has gone from {runs[0].start:.3g} to {best:.3g}{known} (the "
            "best of the rates 1e-3, 1e-2 and 1e-4, without regularization)",
            "Any net of some size can. Where it cannot, something does not work: a gradient that is wrong or does "
            "not arrive, labels that contradict each other, outputs that the loss does not fit.",
            "Do not train on all data before this works. Look at the findings above; then take layers out until it "
            "does.",
            {"start": runs[0].start, "best": best, "accuracy": right},
        )
    )
    return runs


def learning_rate(subject: Subject, report: Diagnosis, trial: Run, steps: int, seconds: float) -> list[Run]:
    """Does the loss fall at this rate, and how does it at others?"""
    check = "learning_rate"
    rule = subject.rule_name
    told = (
        f"{rule} at {trial.lr:.3g}: the loss goes from {trial.start:.3g} to {trial.end:.3g} in {len(trial.loss)} steps"
    )
    highest = max(trial.loss, default=math.nan)
    leapt = highest > 2 * abs(trial.start)  # batch norm may catch a rate that was too high
    if leapt:
        told += f", {highest:.3g} in between"
    if trial.gain >= STILL and not leapt:
        report.passes(check, told)
        return [trial]
    if len(trial.loss) < ENOUGH and not trial.problem:
        report.skips(check, f"in its time the net made {len(trial.loss)} steps, too few to tell; give more seconds")
        return [trial]
    runs = [trial]
    for factor in (0.01, 100.0, 0.1, 10.0):
        runs.append(subject.run(steps, optimizer=subject.optimizer, lr=subject.lr * factor, seconds=seconds / 4))
    most = max((run.gain for run in runs if math.isfinite(run.gain)), default=-math.inf)
    # of the rates that do about as well, the one nearest to the given one
    good = [run for run in runs if run.gain >= 0.8 * most] if most > 0 else [trial]
    best = min(good, key=lambda run: abs(math.log(run.lr / trial.lr)) if trial.lr else run.lr)
    factor = best.lr / trial.lr if trial.lr else 1.0
    better = best.gain > 0.15 and best.gain >= 2 * max(trial.gain, 0.0)
    if leapt and factor < 1:
        better |= best.end < 0.7 * trial.end
    ratio = float(np.median(trial.ratio)) if trial.ratio else math.nan
    others = ", ".join(f"{run.lr:.1e}: {run.end:.3g}" for run in sorted(runs, key=lambda run: run.lr))
    numbers = {"lr": trial.lr, "better": best.lr, "start": trial.start, "end": trial.end, "update_ratio": ratio}
    evidence = f"{told}{' (' + trial.problem + ')' if trial.problem else ''}; at other rates it ends at {others}"
    if ratio == ratio:
        evidence += f"; ||update|| / ||w|| is {ratio:.1e}"
    far = factor >= 50 or factor <= 0.02
    if better and factor > 1:
        title, reason = (
            "the learning rate is too low",
            "A loss that barely changes means a rate that is probably too low: the steps are in the right "
            "direction, but so small that the net stands still. Updates should be about 1e-3 of the weights.",
        )
    elif better and factor < 1:
        title, reason = (
            "the learning rate is too high",
            "A loss that explodes, jumps or becomes NaN means a rate that is too high: each step goes far past the "
            "minimum along the steepest direction. Updates should be about 1e-3 of the weights.",
        )
    else:
        if trial.problem or trial.gain < 0.02:
            report.skips(check, f"{told}; no other rate does much better")
        else:
            report.passes(check, f"{told}; no other rate does much better")
        return runs
    advice = f"Begin with {best.lr:.1e}; fastnet.lr_range_test draws the loss over all rates."
    report.add(
        Finding(check, "fault" if far or trial.problem else "warning", 62, title, evidence, reason, advice, numbers)
    )
    return runs


def update_ratio(subject: Subject, report: Diagnosis, trial: Run) -> None:
    """||update|| / ||weights||, near 1e-3."""
    check = "update_ratio"
    ratios = [ratio for ratio in trial.ratio if math.isfinite(ratio)]
    if not ratios:
        return report.skips(check, "no update was made")
    ratio = float(np.median(ratios))
    if 1e-5 <= ratio <= 1e-1:
        return report.passes(check, f"updates are {ratio:.1e} of the weights (1e-3 is usual)")
    report.add(
        Finding(
            check,
            "note",
            40,
            f"updates are very {'small' if ratio < 1e-3 else 'large'} beside the weights",
            f"||update|| / ||w|| is {ratio:.1e} (median of {len(ratios)} steps of {subject.rule_name} at "
            f"{trial.lr:.2g})",
            "About 1e-3 is usual; much less and nothing changes, much more and the weights are thrown about.",
            "Change the learning rate by that factor, or look at the size of the weights.",
            {"ratio": ratio},
        )
    )


def gap(subject: Subject, report: Diagnosis) -> None:
    """Training and validation accuracy of the net as it came."""
    check = "gap"
    if not subject.labelled or len(subject.x_val) < 50:
        return report.skips(check, "needs labels and 50 validation examples")
    train = subject.accuracy(subject.net_copy(), subject.x[subject.clean], subject.y[subject.clean])
    val = subject.accuracy(subject.net_copy(), subject.x_val, subject.y_val)
    n = len(subject.x_val)
    error = math.sqrt(0.25 / n)
    if train - val > max(0.15, 5 * error):
        return report.add(
            Finding(
                check,
                "warning",
                45,
                "the net knows the training examples much better than others",
                f"{train:.1%} of training examples are right, {val:.1%} of {n} validation examples",
                "A large gap is overfitting: the net remembers. No gap at all means that it could be larger.",
                "More data or augmentation, weight decay, dropout, a smaller net, or an earlier stop.",
                {"train": train, "val": val},
            )
        )
    report.passes(check, f"training {train:.1%}, validation {val:.1%}")
