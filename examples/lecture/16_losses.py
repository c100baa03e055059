"""Losses: what a mistake costs

Softmax is never content, the SVM is once the margin is met, and both start where guessing puts them: ln 10 and 9. For numbers
instead of classes, the squared error lets one outlier decide, the absolute one does not, and Huber's is smooth in between.
Classification by squared error works too, and the lecture advises against it: see the table.
"""

import numpy as np
from _common import COLOURS, digits, finish, frame, mlp, panels, run, table, train

import fastnet
from fastnet import Linear, Sequential, losses, optim


def line(loss, x, y, steps):
    """Slope and intercept that a loss finds."""
    fastnet.manual_seed(0)
    net = Sequential(Linear(1, 1))
    rule = optim.Adam(net.parameters(), lr=0.05)
    for _ in range(steps):
        loss.forward(net.forward(x), y)
        net.backward(loss.backward())
        rule.step()
    return float(net[0].weight.data[0, 0]), float(net[0].bias.data[0])


def main(out, short=False):
    data, epochs = digits(500 if short else 4000), 1 if short else 5
    zero, some = np.zeros((60, 10), np.float32), np.arange(60) % 10
    start = {
        "softmax": losses.SoftmaxCrossEntropy().forward(zero, some),
        "svm": losses.MulticlassSVM().forward(zero, some),
    }
    print(
        f"scores of zero cost: softmax {start['softmax']:.4f} (ln 10 = {np.log(10):.4f}), SVM {start['svm']:.4f} (10 - 1 = 9)\n"
    )

    drawing, (left, middle, right) = panels(3, width=4.4, height=3.9)
    margins = np.linspace(-3, 4, 200)
    two = np.stack([margins, np.zeros_like(margins)], 1)
    for colour, (name, loss) in zip(
        COLOURS,
        {
            "softmax": losses.SoftmaxCrossEntropy(),
            "SVM": losses.MulticlassSVM(),
            "softmax, smoothed 0.1": losses.SoftmaxCrossEntropy(0.1),
        }.items(),
    ):
        left.plot(margins, [loss.forward(row[None], np.array([0])) for row in two], color=colour, label=name)
    frame(left, "Two classes", "score of the right class minus the other", "loss")
    left.legend(frameon=False)
    distance = np.linspace(-3, 3, 121)
    regression = {"squared (MSE)": losses.MSE(), "absolute (L1)": losses.L1(), "Huber, delta 1": losses.Huber()}
    for colour, (name, loss) in zip(COLOURS, regression.items()):
        middle.plot(
            distance, [loss.forward(np.array([[d]]), np.zeros((1, 1))) for d in distance], color=colour, label=name
        )
    frame(middle, "A number", "found minus wanted", "loss")
    middle.set_ylim(0, 5)
    middle.legend(frameon=False)

    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (40, 1)).astype(np.float32)
    y = (1.5 * x + 0.5 + 0.2 * rng.standard_normal(x.shape)).astype(np.float32)
    y[np.argsort(x[:, 0])[-4:]] -= 12  # four outliers at the right end
    right.scatter(x, y, s=14, color="#6b7280")
    slopes = {}
    for colour, (name, loss) in zip(COLOURS, regression.items()):
        slope, intercept = line(loss, x, y, 100 if short else 800)
        slopes[name] = slope
        ends = np.array([-2, 2])
        right.plot(ends, slope * ends + intercept, color=colour, label=f"{name}: {slope:.2f}")
    frame(right, "A line of slope 1.5, and four outliers", "x", "y")
    right.legend(frameon=False, fontsize=8, loc="lower left")
    finish(drawing, out / "16_losses.png")
    table(["regression of a slope of 1.5", "slope found"], [[name, value] for name, value in slopes.items()])

    rows, accuracies = [], {}
    one_hot = {
        **data,
        "y_train": np.eye(10, dtype=np.float32)[data["y_train"]],
        "y_val": np.eye(10, dtype=np.float32)[data["y_val"]],
    }
    for name, loss, given, lr in (
        ("softmax", losses.SoftmaxCrossEntropy(), data, 0.02),
        ("SVM", losses.MulticlassSVM(), data, 0.005),
        ("logistic, one per class", losses.BinaryCrossEntropyWithLogits(), one_hot, 0.1),
        ("squared error, one-hot", losses.MSE(), one_hot, 0.1),
    ):
        solver = train(
            mlp(784, 64, 10), given, lambda params, lr=lr: optim.SGD(params, lr=lr, momentum=0.9), epochs, loss=loss
        )
        accuracies[name] = float((solver.net.predict(data["x_val"]).argmax(1) == data["y_val"]).mean())
        rows.append([name, lr, accuracies[name]])
    print()
    table(["classification by", "rate", "validation accuracy"], rows)
    return {"start": start, "slopes": slopes, "accuracies": accuracies}


if __name__ == "__main__":
    run(main)
