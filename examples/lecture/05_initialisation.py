"""Initial weights: which variance keeps a signal alive

A layer multiplies its input's deviation by a factor; ten layers multiply by its tenth power. Weights of 0.01 let the
activations of a deep tanh net shrink to nothing, weights of 1 drive them all to -1 and 1, and Xavier's variance keeps them.
A ReLU throws half of the variance away, so there Xavier's signal shrinks and He's factor 2 holds it.
"""

import numpy as np
from _common import BLUE, CHANCE, COLOURS, GREY, digits, finish, frame, mlp, panels, reached, run, table, train

import fastnet
from fastnet import ReLU, Tanh
from fastnet.initializers import gaussian, he_normal, initialize, lsuv, orthogonal, sparse, xavier_normal
from fastnet.layers.watching import Watched

DEPTH, WIDTH = 10, 200
SHOWN = {
    "tanh, 0.01": (Tanh, gaussian, {"std": 0.01}),
    "tanh, 1": (Tanh, gaussian, {"std": 1.0}),
    "tanh, Xavier": (Tanh, xavier_normal, {"mode": "fan_in"}),
    "ReLU, Xavier": (ReLU, xavier_normal, {"mode": "fan_in"}),
    "ReLU, He": (ReLU, he_normal, {}),
}
MORE = {
    "tanh, orthogonal": (Tanh, orthogonal, {}),
    "tanh, sparse (15, std 0.26)": (Tanh, sparse, {"std": 15**-0.5}),
    "ReLU, LSUV": (ReLU, None, {}),
}


def main(out, short=False):
    data = digits(500 if short else 4000)
    x, y = data["x_train"][:200], data["y_train"][:200]
    drawing, places = panels(6, len(SHOWN), 1.9, 1.35)
    rows, deviations, numbers = [], {}, {}
    for row, (name, (activation, initializer, options)) in enumerate({**SHOWN, **MORE}.items()):
        net = mlp(784, *[WIDTH] * DEPTH, 10, activation=activation)
        net = lsuv(net, x) if initializer is None else initialize(net, initializer, **options)
        watched = Watched(net)
        loss = fastnet.losses.SoftmaxCrossEntropy()
        loss.forward(watched.net.forward(x), y)
        watched.net.backward(loss.backward())
        layers = [key for key, layer in watched.layers.items() if isinstance(layer, activation)]
        deviations[name] = [float(watched.outputs[key].std()) for key in layers]
        slopes = [float(watched.gradients[key].std()) for key in layers]
        solver = train(net, data, lambda params: fastnet.optim.SGD(params, lr=0.01, momentum=0.9), 1 if short else 3)
        numbers[name] = {"last": deviations[name][-1], "accuracy": reached(solver)}
        back = slopes[0] / slopes[-1] if slopes[-1] else 0.0
        rows.append([name, deviations[name][0], deviations[name][-1], back, reached(solver)])
        if name in SHOWN:
            for i, key in enumerate((layers[0], layers[1], layers[3], layers[5], layers[7], layers[9])):
                axes = places[6 * row + i]
                values = watched.outputs[key].ravel()
                values = values[values != 0] if activation is ReLU else values
                reach = 1.05 if activation is Tanh else 3.0
                axes.hist(values, 50, range=(-reach if activation is Tanh else 0, reach), color=BLUE)
                axes.set_yticks([])
                axes.tick_params(labelsize=7)
                for side in ("top", "right", "left"):
                    axes.spines[side].set_visible(False)
                if row == 0:
                    axes.set_title(f"layer {(1, 2, 4, 6, 8, 10)[i]}", fontsize=10)
                if i == 0:
                    axes.set_ylabel(name, fontsize=10)
                axes.set_xlabel(f"std {watched.outputs[key].std():.2g}", fontsize=8, color=GREY)
    drawing.suptitle("What ten layers give for the digits, before training (of ReLU, what is not zero)", fontsize=11)
    finish(drawing, out / "05_initialisation_histograms.png")
    drawing, (axes,) = panels(1, width=8, height=3.8)
    for colour, (name, values) in zip(COLOURS, deviations.items()):
        axes.semilogy(
            range(1, DEPTH + 1), np.maximum(values, 1e-12), color=colour, marker="o", markersize=3, label=name
        )
    frame(axes, "Deviation of the activations, layer by layer", "layer", "standard deviation")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    finish(drawing, out / "05_initialisation.png")
    table(["weights", "std, layer 1", "std, layer 10", "gradient, layer 1 / 10", "validation accuracy"], rows)
    small, xavier, he = numbers["tanh, 0.01"], numbers["ReLU, Xavier"], numbers["ReLU, He"]
    print(f"\n0.01 leaves a deviation of {small['last']:.0e} and {small['accuracy']:.0%} (guessing: {CHANCE:.0%}).")
    ratio = he["last"] / xavier["last"]
    print(f"He's deviation in layer 10 is {ratio:.0f} times Xavier's behind ReLU; the theory says sqrt(2)^10 = 32.")
    return numbers | {"he_to_xavier": ratio}


if __name__ == "__main__":
    run(main)
