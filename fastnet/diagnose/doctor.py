"""`doctor`: the lecture's advice on babysitting, as checks that say what they measured."""

from __future__ import annotations

import time
from typing import Any

from ..functional import checks
from ..layers.base import Layer
from ..losses import Loss
from ..regularization import Regularization
from . import checks_activations, checks_data, checks_leaks, checks_start, checks_training, pictures
from .findings import Diagnosis
from .subject import Run, Subject

__all__ = ["doctor"]

OP = "doctor"
STEPS = 60  # of a trial
# While one of these stands, what training does says nothing of the rate or the net: it follows from them.
ROOTS = {"numbers", "label_range", "parameters", "initial_weights", "modes", "gradients", "not_finite", "labels"}
# These, too, change which rate is right.
SCALES = {"input_scale", "saturation", "dead_relus"}


def doctor(
    net: Layer,
    data: Any,
    loss: Loss | Any = None,
    *,
    optimizer: Any = None,
    lr: float | None = None,
    regularization: Regularization | float | None = None,
    batch_size: int = 64,
    seed: int = 0,
    seconds: float = 40.0,
) -> Diagnosis:
    """Examine a net, its data and its settings before (or after) training; what is wrong, the heaviest finding first.

    net, data, loss, regularization   as in Solver: uint8 images are normalized, data's own `normalize` is used
    optimizer, lr   a rule of fastnet.optim, a class, or what builds one, and its learning rate: they are judged. Without
                    them the rate is not judged, and an Adam at 1e-3 does the short runs
    batch_size, seed   of those runs
    seconds         about how long the runs together may take; what a slow net does in less of them is judged by that

    The net and the data are not changed: copies learn. Print the result, or take .findings, .to_json(path), .to_html(path).
    ValueError or TypeError for arguments that do not fit.  CS231n, winter 2016, lecture 6, and notes "Neural Networks, part 3".
    """
    began = time.perf_counter()
    batch_size = checks.integer(OP, batch_size, "batch_size", 2)
    seed = checks.integer(OP, seed, "seed", 0)
    seconds = checks.number(OP, seconds, "seconds", 0.1)
    if lr is not None:
        lr = checks.number(OP, lr, "lr", 0.0)
    subject = Subject(OP, net, data, loss, optimizer, lr, regularization, batch_size, seed)
    report = Diagnosis(_name(subject))
    rounds = _Rounds(subject, report, seconds)
    rounds.data()
    if len(subject.clean) < 2:
        report.skips("net", "there are not two examples without NaN")
    elif not subject.net.parameters():
        report.skips("net", "it has no parameters")
    else:
        rounds.start()
        rounds.training()
    report.seconds = time.perf_counter() - began
    return report


def _name(subject: Subject) -> str:
    size = sum(p.size for p in subject.net.parameters())
    what = f"{type(subject.net).__name__} of {size:,} parameters on {len(subject.raw_train[0]):,} training examples"
    rule = f", {subject.rule_name} at {subject.lr:.3g}" if subject.rule_name else ""
    return f"{what} of {' x '.join(map(str, subject.x.shape[1:]))}{rule}"


class _Rounds:
    """The checks in their order, and the runs that several of them look at."""

    def __init__(self, subject: Subject, report: Diagnosis, seconds: float) -> None:
        self.subject, self.report, self.seconds = subject, report, seconds
        self._trial: Run | None = None

    def trial(self) -> Run:
        """A short training with the user's own settings, made once."""
        if self._trial is None:
            self._trial = self.subject.run(
                STEPS, optimizer=self.subject.optimizer, lr=self.subject.given_lr, seconds=self.seconds / 4
            )
        return self._trial

    def data(self) -> None:
        subject, report = self.subject, self.report
        checks_data.numbers(subject, report)
        checks_data.scale(subject, report)
        checks_leaks.duplicates(subject, report)
        checks_leaks.preprocessing(subject, report)
        if len(subject.clean) >= 2:
            checks_data.balance(subject, report)

    def start(self) -> None:
        subject, report = self.subject, self.report
        checks_start.weights(subject, report)
        checks_start.modes(subject, report)
        if "label_range" in report or "parameters" in report:
            return
        checks_start.first_loss(subject, report)
        checks_start.regularization(subject, report)
        views = checks_activations.look(subject)
        checks_activations.activations(subject, report, views)
        checks_activations.dropout(subject, report)
        report.pictures += pictures.of_layers(views)
        report.pictures += pictures.of_examples(subject)
        if "not_finite" not in report:
            checks_training.gradient(subject, report, self.seconds / 5)

    def training(self) -> None:
        subject, report = self.subject, self.report
        named = [one for one in report.findings if one.check in ROOTS and one.severity == "fault"]
        if not named:
            checks_data.labels(subject, report, self.trial)
            named = [one for one in report.findings if one.check in ROOTS and one.severity == "fault"]
        if named:
            why = f"first mend this: {named[0].title}"
            for check in ("fit_few", "learning_rate", "update_ratio", "gap"):
                report.skips(check, why)
            return
        few = checks_training.fit(subject, report, self.seconds / 4)
        trial = self.trial()
        runs = [trial]
        blocked = next((one for one in report.serious if one.check in SCALES), None)
        if subject.optimizer is None and subject.given_lr is None:
            report.skips("learning_rate", "no optimizer was given; lr_range_test finds a rate")
        elif blocked is not None or "fit_few" in report:
            title = blocked.title if blocked is not None else "the net cannot learn twenty examples"
            report.skips("learning_rate", f"first mend this: {title}")
        else:
            runs = checks_training.learning_rate(subject, report, trial, STEPS, self.seconds / 3)
        checks_training.update_ratio(subject, report, trial)
        checks_training.gap(subject, report)
        report.pictures += pictures.of_runs(runs, few, subject.rule_name)
