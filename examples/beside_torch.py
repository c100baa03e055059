"""Repeat a run of `fastnet train` in PyTorch and lay the two loss curves over each other.

    fastnet train --data cifar10 --model resnet20 --epochs 2 --optimizer momentum --out runs/resnet20
    python examples/beside_torch.py runs/resnet20

The same net with the same initial weights, the same batches in the same order with the same augmentation, the same rule and
schedule. In the first steps the two differ by rounding alone; rounding then grows, as it does between any two libraries,
until the curves agree in their course but not in their digits. Writes torch.csv and beside_torch.png into the run's folder.
Needs PyTorch and matplotlib.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # bench lies in the clone, not in the package

import fastnet
from bench._harness.twins import torch_twin
from fastnet import commands, data, models
from fastnet.checkpoint import load_settings

RULES = {
    "sgd": lambda p, lr, decay: torch.optim.SGD(p, lr, weight_decay=decay),
    "momentum": lambda p, lr, decay: torch.optim.SGD(p, lr, momentum=0.9, weight_decay=decay),
    "nesterov": lambda p, lr, decay: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True, weight_decay=decay),
    "adam": lambda p, lr, decay: torch.optim.Adam(p, lr, weight_decay=decay),
    "adamw": lambda p, lr, decay: torch.optim.AdamW(p, lr, weight_decay=decay),
}


def torch_losses(options, root):
    """The loss of every step of the run that these options describe, and its seconds."""
    _, lr, decay = commands.RULES[options["optimizer"]]
    lr = lr if options["lr"] is None else options["lr"]
    decay = decay if options["weight_decay"] is None else options["weight_decay"]
    images = data.load(options["data"], root)
    shape = images.x_train.shape[1:]
    fastnet.manual_seed(options["seed"])
    net = torch_twin(models.build(options["model"], shape, len(images.classes))).to(memory_format=torch.channels_last)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]  # biases and norms are not decayed
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    rule = RULES[options["optimizer"]](groups, lr, decay)
    loader = data.Loader(
        images.x_train,
        images.y_train,
        options["batch_size"],
        seed=options["seed"],
        augment=commands._augments(options["augment"], options["data"], shape[1:]),
        normalize=data.Normalize().fit(images),
    )
    schedule = commands.SCHEDULES[options["schedule"]](lr, options["epochs"] * len(loader))
    losses, start = [], time.perf_counter()
    for epoch in range(options["epochs"]):
        for x, y in loader.batches(epoch):
            for group in rule.param_groups:
                group["lr"] = lr if schedule is None else schedule(len(losses))
            scores = net(torch.from_numpy(x))
            loss = torch.nn.functional.cross_entropy(
                scores, torch.from_numpy(y), label_smoothing=options["label_smoothing"]
            )
            rule.zero_grad()
            loss.backward()
            rule.step()
            losses.append(loss.item())
        print(f"PyTorch, epoch {epoch + 1}: mean loss {np.mean(losses[-len(loader) :]):.4f}", flush=True)
    return np.array(losses), time.perf_counter() - start


def smooth(losses, width=20):
    """The mean of each loss and those up to `width` before it."""
    total = np.cumsum(np.insert(losses, 0, 0))
    first = np.maximum(np.arange(len(losses)) - width, -1) + 1
    return (total[1:] - total[first]) / (np.arange(1, len(losses) + 1) - first)


def draw(ours, theirs, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for losses, name, color in ((ours, "fastnet", "tab:blue"), (theirs, "PyTorch", "tab:orange")):
        axes.plot(losses, color=color, alpha=0.2, linewidth=0.8)
        axes.plot(smooth(losses), color=color, label=f"{name} (mean of 20 steps)")
    axes.set(xlabel="step", ylabel="training loss", title="One run in two libraries: same weights, batches and rule")
    axes.legend()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder that `fastnet train --out` wrote")
    parser.add_argument("--root", help="where the data's files are ($FASTNET_DATA)")
    args = parser.parse_args()
    torch.set_num_threads(fastnet.get_num_threads())
    options = load_settings(args.run / "checkpoint.safetensors")[1]["about"]["options"]
    with open(args.run / "history.csv", newline="") as file:
        ours = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    theirs, seconds = torch_losses(options, args.root)
    with open(args.run / "torch.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "fastnet", "torch"])
        writer.writerows((i + 1, a, b) for i, (a, b) in enumerate(zip(ours, theirs)))
    draw(ours, theirs, args.run / "beside_torch.png")
    print(f"PyTorch: {seconds:.1f} s of training. Loss, mean over steps:\n\n  steps          fastnet  PyTorch")
    for first in range(0, len(ours), max(1, len(ours) // 8)):
        last = min(first + max(1, len(ours) // 8), len(ours))
        print(f"  {first + 1:5d} - {last:5d}  {ours[first:last].mean():7.4f}  {theirs[first:last].mean():7.4f}")
    print(f"\nlargest difference in the first 20 steps: {np.abs(ours - theirs)[:20].max():.2e}")


if __name__ == "__main__":
    main()
