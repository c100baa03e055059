"""Fifty steps of one net three times: fused, layer by layer, and in PyTorch. How far apart are the losses?

    python examples/same_curves.py [--model resnet20] [--data mnist5k] [--steps 50] [--out runs/same_curves.png]

The same initial weights, the same batches, SGD with momentum, float32 at `highest`. Prints the largest difference of a loss
and draws the three curves. Needs PyTorch; matplotlib for the picture.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # bench lies in the clone, not in the package

import fastnet
from bench._harness.twins import torch_twin
from fastnet import data, losses, models, optim

BATCH, RATE, MOMENTUM = 128, 0.005, 0.9


def batches(images, steps):
    """(x, y) of every step, the pixels from -1 to 1."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        chosen = rng.integers(0, len(images.x_train), BATCH)
        yield images.x_train[chosen].astype(np.float32) / 127.5 - 1, images.y_train[chosen].astype(np.int64)


def ours(net, images, steps, fuse):
    for layer in net.modules():
        if isinstance(layer, fastnet.Sequential):
            layer.fuse = fuse
    loss, rule = losses.SoftmaxCrossEntropy(), optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
    found = []
    for x, y in batches(images, steps):
        found.append(loss.forward(net.forward(x), y))
        net.backward(loss.backward(), input_gradient=False)
        rule.step()
    return np.array(found)


def theirs(net, images, steps):
    rule = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
    found = []
    for x, y in batches(images, steps):
        loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y))
        rule.zero_grad()
        loss.backward()
        rule.step()
        found.append(loss.item())
    return np.array(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20", choices=models.names())
    parser.add_argument("--data", default="mnist5k", help="what fastnet.data.load takes")
    parser.add_argument("--root", help="where the data's files are")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("runs/same_curves.png"))
    args = parser.parse_args()
    images = data.load(args.data, args.root)

    def built():
        fastnet.manual_seed(0)
        return models.build(args.model, images.x_train.shape[1:], len(images.classes))

    torch.set_num_threads(fastnet.get_num_threads())
    curves = {
        "fused": ours(built(), images, args.steps, True),
        "layer by layer": ours(built(), images, args.steps, False),
        "PyTorch": theirs(torch_twin(built()), images, args.steps),
    }
    first, last = curves["fused"][[0, -1]]
    print(f"{args.model} on {args.data}, {args.steps} steps of {BATCH}: loss {first:.4f} to {last:.4f}")
    for other in ("layer by layer", "PyTorch"):
        gap = np.abs(curves["fused"] - curves[other])
        largest = f"largest difference {gap.max():.2g} (step {gap.argmax() + 1})"
        print(f"fused and {other}: {largest}, in the first ten steps {gap[:10].max():.2g}")
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(7, 4))
    for (name, curve), (width, style) in zip(curves.items(), ((5, "-"), (2.5, "-"), (1.2, "--"))):
        axes.plot(np.arange(1, args.steps + 1), curve, style, linewidth=width, label=name)
    axes.set(xlabel="step", ylabel="loss", title=f"{args.model} on {args.data}")
    axes.legend()
    figure.savefig(args.out, dpi=120, bbox_inches="tight")
    print(f"picture: {args.out}")


if __name__ == "__main__":
    main()
