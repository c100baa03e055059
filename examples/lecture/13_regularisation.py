"""Regularisation: what each penalty does to the weights

L2 makes weights small and spread out, L1 makes most of them zero, max-norm leaves them alone below a bound, label smoothing
touches the targets instead. None acts on biases or on the parameters of norms. One net of a hidden layer, 500 digits, and the
weights of its first layer as pictures.
"""

import numpy as np
from _common import digits, finish, mlp, panels, run, table, train

import fastnet
from fastnet.losses import SoftmaxCrossEntropy
from fastnet.optim import Adam, MaxNorm
from fastnet.regularization import L1, L2, ElasticNet


def kinds():
    """name -> arguments of the Solver."""
    yield "none", {}
    yield "L2, 0.01", {"regularization": L2(0.01)}
    yield "L1, 0.001", {"regularization": L1(0.001)}
    yield "elastic net", {"regularization": ElasticNet(0.0005, 0.005)}
    yield "max-norm 1", {"limit": 1.0}
    yield "smoothing 0.1", {"loss": SoftmaxCrossEntropy(label_smoothing=0.1)}


def main(out, short=False):
    data = digits(500)
    held = {
        "x_val": np.concatenate([data["x_val"], data["x_test"]]),
        "y_val": np.concatenate([data["y_val"], data["y_test"]]),
    }
    data, epochs = {**data, **held}, 4 if short else 40
    rows, numbers = [], {}
    drawing, places = panels(8, 6, 1.15, 1.15)
    for row, (name, arguments) in enumerate(kinds()):
        net, arguments = mlp(784, 64, 10), dict(arguments)
        limit = arguments.pop("limit", None)
        if limit is not None:
            bound = MaxNorm(net.parameters(), limit)
            arguments["callbacks"] = [fastnet.callbacks.Lambda(on_step=lambda solver, bound=bound: bound.apply())]
        solver = train(net, data, lambda params: Adam(params, lr=2e-3), epochs, batch_size=50, **arguments)
        w = net[1].weight.data
        fit, val = solver.history.train_accuracy[-1], solver.history.val_accuracy[-1]
        scores = net.predict(data["x_val"])
        shifted = scores - scores.max(1, keepdims=True)
        cost = float(np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(scores)), data["y_val"]]))
        zeros = float((np.abs(w) < 1e-3).mean())
        longest = float(np.linalg.norm(w, axis=1).max())
        rows.append([name, f"{fit:.1%}", f"{val:.1%}", cost, float(np.linalg.norm(w)), longest, f"{zeros:.0%}"])
        numbers[name] = {
            "train": fit,
            "val": val,
            "loss": cost,
            "norm": float(np.linalg.norm(w)),
            "longest": longest,
            "zeros": zeros,
        }
        strongest = np.argsort(-np.linalg.norm(w, axis=1))[:8]
        reach = np.abs(w[strongest]).max()
        for i, unit in enumerate(strongest):
            axes = places[8 * row + i]
            axes.imshow(w[unit].reshape(28, 28), cmap="RdBu", vmin=-reach, vmax=reach)
            axes.set_xticks([])
            axes.set_yticks([])
            if i == 0:
                axes.set_ylabel(name, fontsize=9)
    drawing.suptitle("Weights of the eight strongest units of the first layer (blue +, red -)", fontsize=11)
    finish(drawing, out / "13_regularisation.png")
    table(["500 digits", "training", "validation", "cross-entropy", "|W1|", "longest unit", "below 0.001"], rows)
    print(f"\none accuracy over {len(data['y_val'])} digits has a standard error of about 0.9 %.")
    return numbers


if __name__ == "__main__":
    run(main)
