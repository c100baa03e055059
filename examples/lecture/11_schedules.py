"""Learning-rate schedules, and the range test that finds where to begin

A high rate gets far and then bounces between the walls; a low one settles and takes for ever. So it is lowered on the way:
by steps, exponentially, as 1/t, when progress stops, along a cosine, or after a warm-up. Momentum may have a schedule too. The
range test lets the rate grow through one short run and shows where the loss falls.
"""

import numpy as np
from _common import COLOURS, digits, finish, frame, mlp, panels, reached, run, table, train

import fastnet
from fastnet import optim


def schedules(peak, steps):
    return {
        "constant": optim.Constant(peak),
        "step: x 0.3 thrice": optim.StepDecay(peak, steps / 4, 0.3),
        "exponential": optim.ExponentialDecay(peak, 0.02 ** (1 / steps)),
        "1/t": optim.InverseTimeDecay(peak, 20 / steps),
        "cosine": optim.CosineDecay(peak, steps),
        "warm restarts": optim.WarmRestarts(peak, steps / 3),
        "one cycle": optim.OneCycle(peak, steps),
        "warm-up, then cosine": optim.WarmUp(optim.CosineDecay(peak, steps - steps // 10), steps // 10),
        "halve on plateau": optim.ReduceOnPlateau(peak, 0.5, patience=0),
    }


def main(out, short=False):
    data, epochs = digits(500 if short else 2000), 2 if short else 8
    batch, seeds = 32, 1 if short else 3
    steps = epochs * -(-len(data["x_train"]) // batch)
    test = fastnet.lr_range_test(
        mlp(784, 64, 10), data, optimizer=optim.SGD, lr_min=1e-4, lr_max=10, steps=60 if short else 200
    )
    test.plot(out / "11_schedules_range_test.png")
    print(test)
    print("The schedules begin or peak at 0.5, which is above that on purpose.\n")
    peak = 0.5  # above what the test advises: who begins so high has to come down
    drawing, (left, right) = panels(2, width=5.6, height=4.2)
    rows, numbers = [], {"suggestion": test.suggestion, "low": test.low, "high": test.high}
    held = {
        "x_val": np.concatenate([data["x_val"], data["x_test"]]),
        "y_val": np.concatenate([data["y_val"], data["y_test"]]),
    }
    for colour, name in zip(COLOURS, schedules(peak, steps)):
        runs = []
        for seed in range(seeds):
            schedule = schedules(peak, steps)[name]
            runs.append(
                train(
                    mlp(784, 64, 10, seed=seed),
                    {**data, **held},
                    lambda params: optim.SGD(params, lr=peak),
                    epochs,
                    schedule=schedule,
                    batch_size=batch,
                    seed=seed,
                )
            )
        last = [float(np.mean(solver.history.loss[-steps // epochs :])) for solver in runs]
        numbers[name] = float(np.mean([reached(solver) for solver in runs]))
        rows.append([name, float(np.mean(last)), f"{numbers[name]:.2%}"])
        left.plot(runs[0].history.lr, color=colour, label=name)
        mean = np.mean([solver.history.epoch_loss() for solver in runs], axis=0)
        right.semilogy(range(1, epochs + 1), mean, color=colour, marker="o", markersize=3)
    frame(left, "The rate", "step", "learning rate")
    left.set_ylim(0, peak * 1.65)
    left.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    frame(right, "The loss", "epoch", "mean loss of the epoch")
    finish(drawing, out / "11_schedules.png")
    table([f"schedule from {peak}", "loss of the last epoch", f"accuracy, mean of {seeds}"], rows)

    annealed = optim.PiecewiseLinear([(0, 0.5), (steps // 2, 0.99)])
    both = {"lr": optim.CosineDecay(0.02, steps), "momentum": annealed}
    solver = train(
        mlp(784, 64, 10),
        {**data, **held},
        lambda params: optim.SGD(params, lr=0.02, momentum=0.5),
        epochs,
        schedule=both,
        batch_size=batch,
    )
    numbers["momentum"] = reached(solver)
    print(f"\nmomentum annealed from 0.5 to 0.99, rate along a cosine: {reached(solver):.2%}")
    print(
        "Over 1,000 images an accuracy has a standard error of about 0.8 %: only the losses tell most schedules apart."
    )
    return numbers


if __name__ == "__main__":
    run(main)
