"""Ensembles: two per cent extra?

Train several nets and average what they say; the lecture promises about 2 %. Measured here with nets of different initial
weights, with snapshots of one run whose rate restarts, and with averages of the weights along one run (EMA, SWA, whose
batch norms are recomputed). 1,000 digits to train on, 1,000 others to measure on.
"""

import numpy as np
from _common import BLUE, ORANGE, digits, finish, frame, panels, run, table, train

import fastnet
from fastnet import BatchNorm2d, Conv2d, Ensemble, Flatten, Linear, ReLU, Sequential, optim


def net(seed):
    fastnet.manual_seed(seed)
    layers = [Conv2d(1, 8, 5, stride=2, padding=2, bias=False), BatchNorm2d(8), ReLU()]
    layers += [Conv2d(8, 16, 3, stride=2, padding=1, bias=False), BatchNorm2d(16), ReLU()]
    return fastnet.initializers.initialize(Sequential(*layers, Flatten(), Linear(16 * 49, 10)))


def main(out, short=False):
    data = digits(300 if short else 1000)
    x, y = np.concatenate([data["x_val"], data["x_test"]]), np.concatenate([data["y_val"], data["y_test"]])
    count, epochs = (3, 2) if short else (8, 8)

    def one(seed, length=1, **arguments):
        trained = net(seed)
        return train(
            trained,
            data,
            lambda params: optim.Adam(params, lr=2e-3),
            length * epochs,
            seed=seed,
            batch_size=50,
            **arguments,
        )

    def accuracy(what):
        return float((np.asarray(what.predict(x)).argmax(1) == y).mean())

    nets = [one(seed).net for seed in range(count)]
    each = [accuracy(single) for single in nets]
    growing = [accuracy(Ensemble(nets[: i + 1])) for i in range(count)]

    cycle, states = epochs * -(-len(data["x_train"]) // 50), []  # one net's training is a cycle
    keep = fastnet.callbacks.Lambda(
        on_step=lambda solver: states.append(solver.net.state_dict()) if solver.step % cycle == 0 else None
    )
    single = one(0, length=4, schedule=optim.WarmRestarts(2e-3, cycle), callbacks=[keep])
    snapshots = Ensemble.snapshots(net(0), states)
    averages = {}
    for name, make in (("EMA", lambda params: optim.EMA(params, 0.98)), ("SWA", optim.SWA)):
        solver = one(0, average=make)
        with_average = solver.net.load_state_dict(solver.best) or solver.net
        averages[name] = accuracy(with_average)
    mean, together = float(np.mean(each)), growing[-1]
    rows = [
        [f"one net, mean of {count}", mean, ""],
        ["the best of them (chosen on these very digits)", max(each), f"{max(each) - mean:+.2%}"],
        [f"all {count} together", together, f"{together - mean:+.2%}"],
        ["four together", growing[min(4, count) - 1], f"{growing[min(4, count) - 1] - mean:+.2%}"],
        ["one run of four such trainings, with restarts", accuracy(single.net), f"{accuracy(single.net) - mean:+.2%}"],
        [f"its {len(states)} snapshots together", accuracy(snapshots), f"{accuracy(snapshots) - mean:+.2%}"],
        *([f"weights averaged, {name}", value, f"{value - mean:+.2%}"] for name, value in averages.items()),
    ]
    table(["what decides", "accuracy", "gain"], rows)
    error = (mean * (1 - mean) / len(y)) ** 0.5
    wrong = 1 - (1 - together) / (1 - mean)
    print(
        f"\nstandard error of one accuracy: {error:.2%}. The ensemble makes {wrong:.0%} fewer mistakes than a single net."
    )
    verdict = (
        "reached"
        if together - mean >= 0.02
        else "not reached on these digits, where a single net is nearly right already"
    )
    print(f"the lecture's 2 %: {verdict} ({together - mean:+.2%}).")
    drawing, (axes,) = panels(1, width=7.5, height=4)
    sizes = range(1, count + 1)
    axes.plot(sizes, growing, color=BLUE, marker="o", label="together")
    axes.plot(sizes, each, "o", color=ORANGE, label="each alone")
    axes.axhline(mean, color=ORANGE, linestyle="--", linewidth=0.9, label="mean of single nets")
    frame(axes, "Nets of different initial weights, averaged", "how many nets", "accuracy on 1,000 digits")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    finish(drawing, out / "15_ensembles.png")
    return {"single": mean, "together": together, "gain": together - mean, "snapshots": accuracy(snapshots), **averages}


if __name__ == "__main__":
    run(main)
