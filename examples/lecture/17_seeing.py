"""Seeing: what a trained net does, in pictures

Curves of loss and accuracy, the filters of the first layer, activations and gradients of every layer, the pixels a decision
depends on, the digits it gets wrong and which it takes for which. A small convnet on the embedded digits.
"""

import numpy as np
from _common import digits, run, train

import fastnet
from fastnet import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, plot


def main(out, short=False):
    data = digits(300 if short else 4000)
    fastnet.manual_seed(0)
    layers = [Conv2d(1, 12, 7, padding=3), ReLU(), MaxPool2d(2), Conv2d(12, 24, 5, padding=2), ReLU(), MaxPool2d(2)]
    net = fastnet.initializers.initialize(Sequential(*layers, Flatten(), Linear(24 * 49, 10)))
    net[0].weight.data *= 0.1  # so that what was learnt stands out from what was drawn
    solver = train(
        net,
        data,
        lambda params: fastnet.optim.Adam(params, lr=1e-3),
        1 if short else 6,
        batch_size=64,
        regularization=5e-3,
    )
    print(solver.history.table(), end="\n\n")
    x, y = data["x_test"], data["y_test"]
    scores = net.predict(x)
    taken = scores.argmax(1)
    solver.history.plot(out / "17_seeing_curves.png")
    plot.filters(net, out / "17_seeing_filters.png", columns=6)
    plot.activations(net, data["x_train"][:100], out / "17_seeing_activations.png")
    plot.gradients(net, data["x_train"][:100], data["y_train"][:100], path=out / "17_seeing_gradients.png")
    first = [int(np.flatnonzero(y == digit)[0]) for digit in range(10)]
    plot.saliency(net, x[first], path=out / "17_seeing_saliency.png")
    matrix = plot.confusion_matrix(scores, y)
    plot.confusion(matrix, out / "17_seeing_confusion.png")
    wrong = int((taken != y).sum())
    if wrong:
        plot.misclassified(x, scores, y, out / "17_seeing_mistakes.png", count=10)
    off = matrix - np.diag(np.diag(matrix))
    worst = np.unravel_index(off.argmax(), off.shape)
    print(
        f"{wrong} of {len(y)} test digits are wrong; most often a {worst[0]} is taken for a {worst[1]} ({off.max()} times)"
    )
    return {"wrong": wrong, "accuracy": 1 - wrong / len(y), "of": len(y)}


if __name__ == "__main__":
    run(main)
