"""Mini-batch SGD in ten lines

Sample a batch, forward, backward, update: that is all of training, and the loop below does it in ten lines. `fastnet.Solver`
is the same loop with shuffling, validation, history, checkpoints and resume. The lecture's second claim: the gradient of a
small batch is good enough. For the same number of examples looked at, many cheap steps get further than few exact ones.
"""

import numpy as np
from _common import COLOURS, digits, finish, frame, mlp, panels, run, smooth, table, train

import fastnet


def by_hand(net, x, y, *, steps, batch, lr):
    loss, rule = fastnet.losses.SoftmaxCrossEntropy(), fastnet.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    rng = np.random.default_rng(0)
    history = []
    for _ in range(steps):
        rows = rng.choice(len(x), batch, replace=False)  # sample
        scores = net.forward(x[rows])  # forward
        history.append(loss.forward(scores, y[rows]))
        net.backward(loss.backward())  # backward
        rule.step()  # update
    return history


def main(out, short=False):
    data = digits(500 if short else 4000)
    x, y = data["x_train"], data["y_train"]
    seen = (2 if short else 8) * len(x)  # examples that every run may look at
    drawing, (left, right) = panels(2)
    rows = []
    for colour, batch in zip(COLOURS, (16, 128, len(x))):
        net = mlp(784, 64, 10)
        history = by_hand(net, x, y, steps=seen // batch, batch=batch, lr=0.02)
        right_ones = float((net.predict(data["x_val"]).argmax(1) == data["y_val"]).mean())
        name = "all" if batch == len(x) else str(batch)
        rows.append([name, seen // batch, history[-1], right_ones])
        window = max(1, min(1024 // batch, len(history)))  # about as many examples in every mean
        left.plot(np.arange(len(history)) * batch, history, color=colour, alpha=0.2, linewidth=0.7)
        mean = smooth(history, window)
        left.plot((np.arange(len(mean)) + (window - 1) / 2) * batch, mean, color=colour, label=f"batch {name}")
    frame(left, "Ten lines, three batch sizes", "examples seen", "loss of the batch, and its mean")
    left.legend(frameon=False)
    table(["batch", "steps", "last loss", "validation accuracy"], rows)

    solver = train(
        mlp(784, 64, 10), data, lambda params: fastnet.optim.SGD(params, lr=0.02, momentum=0.9), seen // len(x)
    )
    print(f"\nthe Solver, batch 128: {solver.history.val_accuracy[-1]:.4g} on the validation split")
    right.plot(solver.history.loss, color=COLOURS[1], linewidth=1, label="Solver, batch 128")
    right.plot(
        by_hand(mlp(784, 64, 10), x, y, steps=seen // 128, batch=128, lr=0.02),
        color=COLOURS[4],
        linewidth=1,
        label="ten lines, batch 128",
    )
    frame(right, "The same loop inside the Solver", "step", "loss of the batch")
    right.legend(frameon=False)
    finish(drawing, out / "02_sgd_loop.png")
    return {"small": rows[0][-1], "medium": rows[1][-1], "full": rows[2][-1], "solver": solver.history.val_accuracy[-1]}


if __name__ == "__main__":
    run(main)
