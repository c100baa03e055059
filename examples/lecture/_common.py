"""What the chapters share: the digits, a small net, a run of the Solver, colours and panels, the command line."""

import argparse
import functools
import itertools
import sys
from pathlib import Path

import numpy as np

import fastnet
from fastnet import Flatten, Linear, ReLU, Sequential
from fastnet.plot.figure import BLUE, GREY, ORANGE, figure, finish, frame

COLOURS = (BLUE, ORANGE, "#2f8f5b", "#a63d7a", GREY, "#8a6d00", "#0f9bb0", "#b23a2e", "#000000")
MADE = (".png", ".gif", ".svg", ".html")
CHANCE = 0.1  # accuracy of guessing among ten digits


@functools.cache
def digits(train=4000):
    """The embedded digits as the nets get them: float32, zero mean, unit deviation, fitted on the training split alone."""
    raw = fastnet.data.load("mnist5k")
    normalize = fastnet.data.Normalize().fit(raw)
    data = {name: normalize(raw[name]) if name.startswith("x_") else raw[name] for name in raw if name[1] == "_"}
    return {**data, "x_train": data["x_train"][:train], "y_train": data["y_train"][:train]}


def mlp(*sizes, activation=ReLU, seed=0, between=()):
    """Flatten, then linear layers of these sizes with an activation after each but the last; He's initial weights.

    between: functions of a layer's width; the layers they give stand before its activation.
    """
    fastnet.manual_seed(seed)
    layers = [Flatten()]
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers.append(Linear(inputs, outputs))
        if i + 2 < len(sizes):
            layers += [make(outputs) for make in between] + [activation()]
    return fastnet.initializers.initialize(Sequential(*layers))


def train(net, data, rule, epochs, **arguments):
    """A Solver after so many epochs, or up to where its loss was no number any more."""
    solver = fastnet.Solver(net, data, optimizer=rule, epochs=epochs, progress=False, **arguments)
    try:
        with np.errstate(all="ignore"):
            solver.train()
    except FloatingPointError:
        solver.stopped = "the loss is not finite"
    return solver


def reached(solver):
    """Validation accuracy after the last epoch; that of guessing if the run broke off."""
    return CHANCE if solver.stopped or not solver.history.val_accuracy else solver.history.val_accuracy[-1]


def smooth(values, window=10):
    """The running mean of a curve."""
    values = np.asarray(values, float)
    window = max(1, min(window, len(values)))
    return np.convolve(values, np.ones(window) / window, "valid")


def panels(columns, rows=1, width=4.6, height=3.6):
    """A matplotlib figure and its axes, row by row."""
    drawing = figure(width * columns, height * rows)
    return drawing, list(drawing.subplots(rows, columns, squeeze=False).ravel())


def table(head, rows):
    """Print rows of text and numbers, columns aligned."""
    lines = [head, *([f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))
        )
        print("  ".join([first, *others]).rstrip())


def run(main):
    """The command line of a chapter."""
    about = (sys.modules["__main__"].__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=Path("runs/lecture"), help="folder for pictures (%(default)s)")
    parser.add_argument("--short", action="store_true", help="a toy of it: fewer runs and steps, for tests")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(about, end="\n\n")
    main(options.out, options.short)
    made = [path for path in sorted(options.out.glob(f"{Path(sys.argv[0]).stem}*")) if path.suffix in MADE]
    print(f"\nwritten: {', '.join(map(str, made))}")


__all__ = [
    "BLUE",
    "CHANCE",
    "COLOURS",
    "GREY",
    "ORANGE",
    "digits",
    "finish",
    "frame",
    "mlp",
    "panels",
    "reached",
    "run",
]
__all__ += ["smooth", "table", "train"]
