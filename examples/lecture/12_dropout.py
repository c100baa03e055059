"""Dropout: the gap between training and validation

Forcing a net to do without half of its units at every step keeps them from leaning on each other. With 500 digits and two wide
hidden layers there is a gap to close. Inverted dropout scales while training and leaves prediction alone; the vanilla form
scales at prediction and gives the same net. In this chapter p is the probability to DROP.
"""

import numpy as np
from _common import COLOURS, digits, finish, frame, panels, run, table, train

import fastnet
from fastnet import DropConnect, Dropout, Flatten, Linear, ReLU, Sequential, VanillaDropout


def net(p, seed, kind=Dropout):
    fastnet.manual_seed(seed)
    if kind is DropConnect:
        layers = [Flatten(), Linear(784, 128), ReLU(), DropConnect(128, 128, p=p), ReLU(), DropConnect(128, 10, p=p)]
    else:
        layers = [Flatten(), Linear(784, 128), ReLU(), kind(p), Linear(128, 128), ReLU(), kind(p), Linear(128, 10)]
    return fastnet.initializers.initialize(Sequential(*layers))


def main(out, short=False):
    data = digits(500)
    held = {
        "x_val": np.concatenate([data["x_val"], data["x_test"]]),
        "y_val": np.concatenate([data["y_val"], data["y_test"]]),
    }
    data, epochs, seeds = {**data, **held}, 4 if short else 30, 1 if short else 3
    kinds = {f"p = {p}": (Dropout, p) for p in (0.0, 0.25, 0.5, 0.75)}
    kinds |= {"vanilla, p = 0.5": (VanillaDropout, 0.5), "DropConnect, p = 0.5": (DropConnect, 0.5)}
    rows, numbers = [], {}
    drawing, (left, right) = panels(2, width=5.4)
    for colour, (name, (kind, p)) in zip(COLOURS, kinds.items()):
        runs = [
            train(
                net(p, seed, kind),
                data,
                lambda params: fastnet.optim.Adam(params, lr=1e-3),
                epochs,
                seed=seed,
                batch_size=50,
            )
            for seed in range(seeds)
        ]
        curve, risen = (
            np.mean([getattr(solver.history, what) for solver in runs], axis=0) for what in ("val_accuracy", "val_loss")
        )
        fit = float(np.mean([solver.history.train_accuracy[-1] for solver in runs]))
        numbers[name] = {
            "train": fit,
            "val": float(curve[-1]),
            "gap": fit - float(curve[-1]),
            "val_loss": float(risen[-1]),
            "lowest": float(risen.min()),
        }
        rows.append(
            [name, f"{fit:.2%}", f"{curve[-1]:.2%}", f"{fit - curve[-1]:.2%}", float(risen[-1]), float(risen.min())]
        )
        steps = range(1, epochs + 1)
        left.plot(steps, curve, color=colour)
        right.plot(steps, risen, color=colour, label=name)
    frame(left, "Validation accuracy", "epoch", "accuracy")
    left.set_ylim(0.4, 0.9)
    frame(right, "Validation loss", "epoch", "loss")
    right.set_ylim(0.4, 1.7)
    right.legend(frameon=False, fontsize=9, loc=(0.5, 0.4))
    finish(drawing, out / "12_dropout.png")
    table([f"500 digits, {seeds} runs each", "training", "validation", "gap", "validation loss", "its lowest"], rows)
    without, half = numbers["p = 0.0"], numbers["p = 0.5"]
    print(f"\ndropping half changes the gap from {without['gap']:.2%} to {half['gap']:.2%},")
    print(f"and the lowest validation loss from {without['lowest']:.3f} to {half['lowest']:.3f}.")
    if without["gap"] - half["gap"] < 0.01:
        print("That is no smaller gap: nets of this size know 500 digits by heart with half of their units, too.")
    print()
    x = np.abs(np.random.default_rng(0).standard_normal((2000, 50))).astype(np.float32)
    inverted, vanilla = Dropout(0.5), VanillaDropout(0.5)
    means = [
        float(layer.train().forward(x).mean()) / float(layer.eval().forward(x).mean()) for layer in (inverted, vanilla)
    ]
    print(f"mean in training over mean in prediction: inverted {means[0]:.3f}, vanilla {means[1]:.3f}.")
    return numbers | {"inverted_scale": means[0], "vanilla_scale": means[1]}


if __name__ == "__main__":
    run(main)
