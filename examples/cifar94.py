"""CIFAR-10 by the recipe of arXiv 2404.00498, from several seeds: accuracy and seconds of training, mean and spread.

    python examples/cifar94.py DIR --seeds 5

DIR holds cifar-10-batches-bin/ ($FASTNET_DATA by default). Once, and with its files: fastnet train --recipe cifar94.
What the recipe does stands in fastnet/recipes/cifar94.py, which reads from top to bottom.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs in a clone, too

import fastnet
from fastnet.recipes import cifar94


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", help="where the data's files are ($FASTNET_DATA)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs, from seed 0 on (%(default)s)")
    parser.add_argument("--epochs", type=float, default=9.9, metavar="X", help="(%(default)s)")
    parser.add_argument("--precision", choices=("highest", "high", "medium"), default="medium", help="(%(default)s)")
    args = parser.parse_args()
    runs = []
    for seed in range(args.seeds):
        result = cifar94.run(root=args.root, epochs=args.epochs, seed=seed, precision=args.precision)
        runs.append([result.seconds, *(100 * share for share in result.accuracy.values())])
        looks = ", ".join(f"{name} {share:.2%}" for name, share in result.accuracy.items())
        print(f"seed {seed}: {result.seconds:.1f} s; {looks}", flush=True)
    print(f"\n{args.seeds} runs at {args.precision}, {fastnet.get_num_threads()} threads\n")
    for name, values in zip(["seconds", *result.accuracy], np.transpose(runs)):
        print(f"{name:21s} {values.mean():7.2f} +- {values.std():.2f}")


if __name__ == "__main__":
    main()
