"""Babysitting: the lecture's advice as a doctor

Before hours of training come minutes of looking: is the first loss that of guessing, does regularisation raise it, can the net
learn twenty examples by heart, are the gradients right, is an update a thousandth of its weight, are units dead or
saturated? `fastnet.doctor` looks at all of it and says what it measured, why it matters and what to do. Here it meets a
healthy net, the same at a hundred times its rate, and a tanh net of large weights. The picture is the lecture's: what the
loss says of the rate.
"""

import numpy as np
from _common import COLOURS, digits, finish, frame, mlp, panels, run, smooth, table, train

import fastnet
from fastnet import Tanh
from fastnet.initializers import gaussian, initialize


def patients():
    """name -> (net, rule)."""
    yield "healthy", mlp(784, 64, 10), 0.02
    yield "rate 100 times too high", mlp(784, 64, 10), 2.0
    yield "large weights before tanh", initialize(mlp(784, 64, 64, 10, activation=Tanh), gaussian, std=1.0), 0.02


def main(out, short=False):
    data = fastnet.data.load("mnist5k")
    numbers = {}
    for name, net, lr in patients():
        if short and lr < 1 and name != "healthy":
            continue
        rule = fastnet.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
        diagnosis = fastnet.doctor(net, data, optimizer=rule, seconds=3 if short else 20)
        numbers[name] = [finding.check for finding in diagnosis.serious]
        print(f"--- {name} " + "-" * (70 - len(name)))
        print(str(diagnosis).rstrip(), end="\n\n")
        diagnosis.to_html(out / f"07_babysitting_{name.split()[0]}.html")
    prepared = digits(500 if short else 4000)
    drawing, (left, right) = panels(2, width=5.2)
    rows = []
    for colour, (word, lr) in zip(COLOURS, {"very high": 3.0, "high": 0.3, "good": 0.02, "low": 0.0005}.items()):
        solver = train(
            mlp(784, 64, 10),
            prepared,
            lambda params, lr=lr: fastnet.optim.SGD(params, lr=lr, momentum=0.9),
            1 if short else 4,
        )
        ratio = solver.history.update_ratio[-1] if solver.history.update_ratio else float("nan")
        left.plot(np.minimum(smooth(solver.history.loss, 8), 5), color=colour, label=f"{word}: {lr:g}")
        right.plot(
            range(1, len(solver.history.update_ratio) + 1),
            solver.history.update_ratio,
            color=colour,
            marker="o",
            markersize=4,
        )
        rows.append([f"{word}, {lr:g}", solver.history.loss[0], solver.history.loss[-1], ratio])
    frame(left, "What the loss says of the learning rate (cut off at 5)", "step", "loss")
    left.set_ylim(0, 6.6)
    left.legend(frameon=False, ncols=2, loc="upper right")
    right.set_xticks(range(1, 2 if short else 5))
    frame(right, "How large an update is beside its weights", "epoch", "|change of w| / |w|")
    right.set_yscale("log")
    right.axhline(1e-3, color="#9ca3af", linestyle="--", linewidth=0.8)
    finish(drawing, out / "07_babysitting.png")
    table(["learning rate", "first loss", "last loss", "update / weight"], rows)
    return numbers


if __name__ == "__main__":
    run(main)
