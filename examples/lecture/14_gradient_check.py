"""Gradient checking: analytic against numerical

Backward is easily wrong and a wrong one often still learns a little. So it is compared with (f(w + h) - f(w - h)) / 2h, in
float64, at a few coordinates of every array, the data's part and the regularisation's apart. The report names the layer.
The picture shows why centred, why double precision and which h: the truncation falls with h, the rounding rises.
"""

import numpy as np
from _common import COLOURS, digits, finish, frame, panels, run

import fastnet
from fastnet import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, Tanh
from fastnet.layers import Layer


class Scale(Layer):
    """y = a x with a learned number per feature, by a user who forgot the factor on the way back."""

    def __init__(self, features):
        super().__init__()
        self.a = self.add_parameter("a", np.linspace(0.5, 2, features, dtype=np.float32))

    def forward(self, x):
        return self._keep(x * self.a.data, x)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        self._give(self.a, (dy * self._kept()).sum(0), accumulate)
        return dy  # should be dy * self.a.data


def errors(dtype, centred, widths):
    """The relative error of one coordinate's numerical slope, for every h; the truth is backward's in float64."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((20, 12)), rng.standard_normal((9, 12)) / 3
    truth = ((1 - np.tanh(x @ w.T) ** 2)[:, 4] * x[:, 7]).sum()
    x, w = x.astype(dtype), w.astype(dtype)

    def f(step):
        moved = w.copy()
        moved[4, 7] += dtype(step)
        return dtype(np.tanh(x @ moved.T).sum(dtype=dtype))

    found = [(f(h) - f(-h)) / dtype(2 * h) if centred else (f(h) - f(0)) / dtype(h) for h in widths]
    return [abs(float(slope) - truth) / max(abs(float(slope)), abs(truth)) for slope in found]


def main(out, short=False):
    data = digits()
    x, y = data["x_train"][:4], data["y_train"][:4]
    fastnet.manual_seed(1)
    net = Sequential(
        Conv2d(1, 3, 5, stride=2), ReLU(), MaxPool2d(2), Flatten(), Linear(108, 16), Tanh(), Linear(16, 10)
    )
    samples = 4 if short else 12
    good = fastnet.check_gradients(net, x, y, regularization=0.1, samples=samples)
    print(good, end="\n\n")
    wrong = Sequential(Flatten(), Linear(784, 16), Tanh(), Scale(16), Linear(16, 10))
    bad = fastnet.check_gradients(wrong, x, y, samples=samples)
    print("--- the same with a wrong layer of one's own\n")
    print(str(bad).split("\nHow to read")[0].rstrip())
    widths = np.geomspace(1e-12, 1, 40)
    drawing, (axes,) = panels(1, width=8.5, height=4.2)
    lowest = {}
    for colour, (name, dtype, centred) in zip(
        COLOURS,
        (
            ("float64, centred", np.float64, True),
            ("float64, one side", np.float64, False),
            ("float32, centred", np.float32, True),
        ),
    ):
        values = np.maximum(errors(dtype, centred, widths), 1e-13)
        axes.loglog(widths, values, color=colour, label=name)
        lowest[name] = float(values.min())
    for threshold, text in (
        (1e-2, "1e-2: wrong above"),
        (1e-4, "1e-4: fine with kinks below"),
        (1e-7, "1e-7: right below"),
    ):
        axes.axhline(threshold, color="#9ca3af", linestyle="--", linewidth=0.8)
        axes.text(1.2, threshold, text, fontsize=8, va="center")
    axes.axvline(1e-5, color="#d1d5db", linewidth=6, zorder=0)
    frame(axes, "The error of a numerical slope over the step h (grey: the usual 1e-5)", "h", "relative error")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 0.35))
    finish(drawing, out / "14_gradient_check.png")
    print("\nsmallest error over all h:", ", ".join(f"{name} {value:.0e}" for name, value in lowest.items()))
    return {
        "ok": good.ok,
        "worst": float(good.worst.error),
        "wrong_ok": bad.ok,
        "suspects": list(bad.suspects),
        **lowest,
    }


if __name__ == "__main__":
    run(main)
