"""Activations: which one lets the gradient through

Sigmoid and tanh are flat on both sides, and a flat function passes no gradient: deep nets of them hardly learn. ReLU does
not saturate for positive input and costs nothing; leaky ReLU, ELU and Maxout do not die either. Eight layers deep, each
with the initial weights that suit it, on the digits.
"""

import numpy as np
from _common import COLOURS, digits, finish, frame, mlp, panels, reached, run, smooth, table, train

import fastnet
from fastnet import ELU, LeakyReLU, Linear, Maxout, ReLU, Sequential, Sigmoid, Tanh
from fastnet.initializers import he_normal, initialize, xavier_normal

KINDS = {"ReLU": ReLU, "Leaky ReLU": LeakyReLU, "ELU": ELU, "Tanh": Tanh, "Sigmoid": Sigmoid}


def deep(name, depth=8, width=64):
    """A chain of linear layers; Maxout takes the larger of two each."""
    if name == "Maxout":
        fastnet.manual_seed(0)
        layers = [fastnet.Flatten(), Linear(784, 2 * width), Maxout(2)]
        for _ in range(depth - 1):
            layers += [Linear(width, 2 * width), Maxout(2)]
        return initialize(Sequential(*layers, Linear(width, 10)), xavier_normal, mode="fan_in")
    net = mlp(784, *[width] * depth, 10, activation=KINDS[name])
    return initialize(net, xavier_normal if name in ("Tanh", "Sigmoid") else he_normal)


def main(out, short=False):
    data, epochs = digits(500 if short else 4000), 1 if short else 4
    drawing, (shape, slope, curves) = panels(3, width=4.2)
    x = np.linspace(-4, 4, 401)[:, None]
    rows, numbers = [], {}
    for colour, width, name in zip(COLOURS, (7, 4.5, 2.2, 1.5, 1.5, 1.5), [*KINDS, "Maxout"]):  # they lie on each other
        if name != "Maxout":  # of one number it is the identity
            layer = KINDS[name]()
            y = layer.forward(x)
            dy = layer.backward(np.ones_like(x))
            shape.plot(x[:, 0], y[:, 0], color=colour, label=name, linewidth=width)
            slope.plot(x[:, 0], dy[:, 0], color=colour, linewidth=width)
        net = deep(name)
        solver = train(net, data, lambda params: fastnet.optim.SGD(params, lr=0.02, momentum=0.9), epochs)
        numbers[name] = reached(solver)
        rows.append([name, float(solver.history.epoch_loss()[-1]), numbers[name]])
        curves.plot(smooth(solver.history.loss), color=colour, label=f"{name}: {numbers[name]:.1%}")
    frame(shape, "The functions", "x", "y")
    shape.set_ylim(-1.6, 4)
    shape.legend(frameon=False, fontsize=8)
    frame(slope, "Their slopes", "x", "dy/dx")
    frame(curves, "Eight layers: loss, validation accuracy", "step", "loss")
    curves.legend(frameon=False, fontsize=8)
    finish(drawing, out / "03_activations.png")
    table(["activation", "loss of the last epoch", "validation accuracy"], rows)
    best = max(numbers, key=numbers.get)
    print(f"\nsigmoid ends at {numbers['Sigmoid']:.1%} (guessing: 10 %), the best, {best}, at {numbers[best]:.1%}.")
    print("Its slope is 1/4 at most: through eight layers less than a sixty-thousandth of the gradient arrives.")
    return numbers


if __name__ == "__main__":
    run(main)
