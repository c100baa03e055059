"""What the four scripts of the assignment share: options, data, the notebooks' measure of error, checks, pictures."""

import argparse
import json
from pathlib import Path

import numpy as np

import fastnet
from fastnet.cs231n.data_utils import get_CIFAR10_data
from fastnet.plot.figure import BLUE, GREY, ORANGE, figure, finish, frame

COLOURS = (BLUE, ORANGE, "#2f8f5b", "#a63d7a", GREY, "#8a6d00", "#0f9bb0")
ORACLE = Path(__file__).parent.parent.parent / "tests" / "cs231n" / "oracle.json"


class Assignment:
    """The command line of a script, its checks and its pictures.

    In a notebook the options have their defaults: short runs. `of(toy, short, full)` chooses by them.
    """

    def __init__(self, name):
        parser = argparse.ArgumentParser(description=f"CS231n, assignment 2: {name}, with fastnet.cs231n")
        parser.add_argument("--full", action="store_true", help="the assignment's sizes: minutes instead of seconds")
        parser.add_argument("--toy", action="store_true", help="a few steps of everything, for tests")
        parser.add_argument("--root", help="folder of cifar-10-batches-bin (default: $FASTNET_DATA)")
        parser.add_argument("--out", type=Path, default=Path("runs/cs231n"), help="folder for pictures (%(default)s)")
        self.options = parser.parse_known_args()[0]  # a notebook's kernel has arguments of its own
        self.options.out.mkdir(parents=True, exist_ok=True)
        self.name, self.failed = name, []

    def of(self, toy, short, full):
        return toy if self.options.toy else full if self.options.full else short

    def data(self):
        """CIFAR-10 as the course prepares it; without its files the embedded digits in the same form."""
        train = self.of(500, 5000, 49000)
        try:
            return get_CIFAR10_data(num_training=train, num_validation=self.of(200, 1000, 1000), root=self.options.root)
        except FileNotFoundError as error:
            print(
                f"CIFAR-10 is not there ({error}).\nThe embedded digits take its place: accuracies are much higher.\n"
            )
        raw = fastnet.data.load("mnist5k")
        mean = raw.x_train.mean(axis=0, dtype=np.float64)
        data = {f"X_{part}": raw[f"x_{part}"] - mean for part in ("train", "val", "test")}
        data |= {f"y_{part}": raw[f"y_{part}"] for part in ("train", "val", "test")}
        return {**data, "X_train": data["X_train"][:train], "y_train": data["y_train"][:train]}

    def check(self, what, found, wanted, limit):
        """Print the relative error of a result beside what the assignment allows."""
        value = rel_error(np.asarray(found), np.asarray(wanted))
        if not value <= limit:
            self.failed.append(what)
        print(f"  {what:44s} relative error {value:.1e}, allowed {limit:.0e}{'' if value <= limit else '  WRONG'}")

    def holds(self, what, truth):
        """Print whether something holds that is no error."""
        if not truth:
            self.failed.append(what)
        print(f"  {what}: {'yes' if truth else 'NO'}")

    def curves(self, file, solvers):
        """Loss, training and validation accuracy of named Solvers, as the notebooks draw them."""
        drawing = figure(13, 3.8)
        places = drawing.subplots(1, 3)
        for colour, (name, solver) in zip(COLOURS, solvers.items()):
            places[0].plot(solver.loss_history, ".", color=colour, markersize=3, alpha=0.6)
            places[1].plot(solver.train_acc_history, "-o", color=colour, markersize=4, label=name)
            places[2].plot(solver.val_acc_history, "-o", color=colour, markersize=4)
        for axes, title, x, y in zip(
            places, ("Loss", "Training accuracy", "Validation accuracy"), ("step", "epoch", "epoch"), ("loss", "", "")
        ):
            frame(axes, title, x, y)
        places[1].legend(frameon=False, fontsize=8)
        self.save(drawing, file)

    def save(self, drawing, file):
        finish(drawing, self.options.out / file)
        print(f"  drawn: {self.options.out / file}")

    def done(self):
        """The last cell: an error if a check failed."""
        if self.failed:
            raise SystemExit(f"{self.name}: these checks failed: {', '.join(self.failed)}")
        print(f"\n{self.name}: all checks hold")


def rel_error(x, y):
    """The notebooks' measure: the largest |x - y| / max(1e-8, |x| + |y|)."""
    return float(np.max(np.abs(x - y) / np.maximum(1e-8, np.abs(x) + np.abs(y))))


def case(name):
    """(inputs by name, settings, expected values, allowed error) of a check whose numbers the notebooks print."""
    one = json.loads(ORACLE.read_text(encoding="utf-8"))["cases"][name]
    inputs = {key: np.linspace(*spec["linspace"]).reshape(spec["reshape"]) for key, spec in one["inputs"].items()}
    return inputs, one.get("params", {}), one["expected"], one["max_rel_error"]


__all__ = ["COLOURS", "Assignment", "case", "figure", "frame", "rel_error"]
