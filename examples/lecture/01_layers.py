"""Layers: forward keeps what backward needs

Every layer is a pair: forward computes the output and keeps what the gradient will need, backward takes the slope of the
loss at the output and gives the slope at the input, filling the parameters' gradients on the way. A net is layers in a row,
its backward the same row read from the end. The same operation is there three times: as a layer, as a pair of functions that
hand their cache over openly, and under the course's own name.
"""

import numpy as np
from _common import digits, finish, panels, run, table

import fastnet
from fastnet import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, functional
from fastnet.cs231n import layers as course
from fastnet.layers.watching import Watched


def main(out, short=False):
    fastnet.manual_seed(3)
    data = digits()
    x, y = data["x_train"][:32], data["y_train"][:32]
    net = Sequential(Conv2d(1, 4, 5, padding=2), ReLU(), MaxPool2d(2), Flatten(), Linear(4 * 14 * 14, 10))
    loss = fastnet.losses.SoftmaxCrossEntropy()
    watched = Watched(net)  # a copy that remembers what goes through it
    value = loss.forward(watched.net.forward(x), y)
    dx = watched.net.backward(loss.backward())
    print(net.summary(x.shape[1:]), end="\n\n")
    print(f"loss of the untrained net: {value:.3f}; guessing among ten classes costs ln 10 = {np.log(10):.3f}\n")

    # three ways to the same numbers
    linear = net[4]
    features = np.random.default_rng(0).standard_normal((6, 4 * 14 * 14), np.float32)
    dout = np.random.default_rng(1).standard_normal((6, 10)).astype(np.float32)
    as_layer, layer_dx = linear.forward(features), linear.backward(dout)
    as_pair, saved = functional.linear(features, linear.weight.data, linear.bias.data)
    pair_dx, _, _ = functional.linear_backward(dout, saved)
    as_course, cache = course.affine_forward(features, linear.weight.data.T, linear.bias.data)
    course_dx, _, _ = course.affine_backward(dout, cache)
    apart = max(np.abs(as_layer - other).max() for other in (as_pair, as_course))
    back = max(np.abs(layer_dx - other).max() for other in (pair_dx, course_dx))
    table(
        ["linear layer as", "forward, backward"],
        [
            ["layer", "Linear.forward, .backward"],
            ["functions", "functional.linear, linear_backward"],
            ["course", "cs231n.layers.affine_forward, affine_backward"],
        ],
    )
    print(f"largest difference: forward {apart:.1e}, backward {back:.1e}")

    drawing, places = panels(5, 4, 1.75, 1.7)
    rows = (("0", "convolution"), ("1", "after ReLU"))
    places[0].imshow(x[0, 0], cmap="gray")
    places[0].set_title("image", fontsize=10)
    places[10].imshow(dx[0, 0], cmap="RdBu", vmin=-np.abs(dx[0]).max(), vmax=np.abs(dx[0]).max())
    places[10].set_title("its gradient", fontsize=10)
    for i, (name, title) in enumerate(rows):
        maps, slopes = watched.outputs[name][0], watched.gradients[name][0]
        for channel in range(4):
            up, down = places[5 * i + channel + 1], places[5 * (i + 2) + channel + 1]
            reach = np.abs(maps).max()
            up.imshow(maps[channel], cmap="RdBu", vmin=-reach, vmax=reach)
            up.set_title(f"{title} {channel}", fontsize=10)
            reach = np.abs(slopes).max()
            down.imshow(slopes[channel], cmap="RdBu", vmin=-reach, vmax=reach)
            down.set_title(f"slope, {title.split()[-1]} {channel}", fontsize=10)
    for axes in places:
        axes.set_axis_off()
    drawing.suptitle(
        "Forward above, backward below: one digit in a convolution and its ReLU (blue +, red -)", fontsize=11
    )
    finish(drawing, out / "01_layers.png")
    return {"loss": value, "chance": float(np.log(10)), "forward_apart": float(apart), "backward_apart": float(back)}


if __name__ == "__main__":
    run(main)
