"""Batch normalisation: a wider range of learning rates

Batch norm makes every layer's input zero-mean and unit-variance over the batch, so that neither the scale of the weights nor
a careless learning rate can carry it away. The same deep net with and without it, over rates from 1e-4 to 10 and over initial
weights from 1e-3 to 1. Layer norm stands beside it; it does not need the batch.
"""

import numpy as np
from _common import COLOURS, digits, finish, frame, mlp, panels, reached, run, table, train

import fastnet
from fastnet import BatchNorm1d, LayerNorm
from fastnet.initializers import gaussian, initialize

NORMS = {"without": (), "batch norm": (BatchNorm1d,), "layer norm": (LayerNorm,)}
GOOD = 0.85  # accuracy from which on a setting counts as working


def decades(settings, accuracies):
    """Over how many powers of ten the accuracy is good."""
    step = np.log10(settings[1] / settings[0])
    return float(step * sum(value >= GOOD for value in accuracies))


def main(out, short=False):
    data, epochs = digits(500 if short else 2000), 1 if short else 3
    rates = np.geomspace(1e-4, 10, 3 if short else 11)
    scales = np.geomspace(1e-3, 1, 3 if short else 9)
    drawing, (left, right) = panels(2, width=5.4)
    numbers, rows = {}, []
    for colour, (name, norm) in zip(COLOURS, NORMS.items()):
        by_rate, by_scale = [], []
        for lr in rates:
            net = mlp(784, 64, 64, 64, 64, 10, between=norm)
            by_rate.append(
                reached(
                    train(
                        net,
                        data,
                        lambda params, lr=lr: fastnet.optim.SGD(params, lr=lr, momentum=0.9),
                        epochs,
                        batch_size=64,
                    )
                )
            )
        for std in scales:
            net = initialize(mlp(784, 64, 64, 64, 64, 10, between=norm), gaussian, std=float(std))
            by_scale.append(
                reached(
                    train(
                        net,
                        data,
                        lambda params: fastnet.optim.SGD(params, lr=0.02, momentum=0.9),
                        epochs,
                        batch_size=64,
                    )
                )
            )
        left.semilogx(rates, by_rate, color=colour, marker="o", markersize=4, label=name)
        right.semilogx(scales, by_scale, color=colour, marker="o", markersize=4, label=name)
        wide, broad = decades(rates, by_rate), decades(scales, by_scale)
        numbers[name] = {"rates": wide, "scales": broad, "best": max(by_rate)}
        rows.append([name, max(by_rate), f"{wide:.1f}", f"{broad:.1f}"])
    for axes, title, what in (
        (left, "Learning rates", "learning rate"),
        (right, "Initial weights, rate 0.02", "standard deviation of the initial weights"),
    ):
        frame(axes, title, what, "validation accuracy")
        axes.axhline(GOOD, color="#9ca3af", linewidth=0.8, linestyle="--")
        axes.set_ylim(0, 1)
    left.legend(frameon=False, loc="lower center")
    finish(drawing, out / "06_batch_norm.png")
    table(["five layers", "best accuracy", f"decades of rates above {GOOD:.0%}", "decades of weights"], rows)
    return numbers


if __name__ == "__main__":
    run(main)
