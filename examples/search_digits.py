"""Search hyperparameters for the embedded digits, then let the best five nets decide together.

    python examples/search_digits.py [--runs 60] [--epochs 4] [--processes 2] [--out runs/search_digits]

Random search over learning rate, weight decay, dropout and width, one thread per process. Kill it whenever you like (Ctrl-C,
or harder): the same command goes on, and no finished run is repeated. At the end: the table, a picture, a finer space to
search next, and on the test split, which the search has never seen, the best single net beside the ensemble of the best
five. A difference within the standard error of the test split proves nothing: 500 digits have one of about 0.6 %.
Needs joblib; the picture needs matplotlib.
"""

import argparse
import math
import os
import sys
import time
import warnings
from pathlib import Path

import fastnet
from fastnet import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU, Sequential

SPACE = {
    "lr": fastnet.log_uniform(1e-4, 1e-1),
    "weight_decay": fastnet.log_uniform(1e-6, 1e-1),
    "dropout": fastnet.uniform(0.0, 0.7),
    "filters": fastnet.integers(4, 24, log=True),
}


def build(settings):
    """Twice (convolution of stride 2 - batch norm - relu), dropout, linear; He-normal weights. Small: a run takes a second."""
    f = settings["filters"]
    layers = [Conv2d(1, f, 5, stride=2, padding=2, bias=False), BatchNorm2d(f), ReLU()]
    layers += [Conv2d(f, 2 * f, 3, stride=2, padding=1, bias=False), BatchNorm2d(2 * f), ReLU()]
    net = Sequential(*layers, Flatten(), Dropout(settings["dropout"]), Linear(2 * f * 49, 10))
    return fastnet.initializers.initialize(net)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=Path("runs/search_digits"))
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "search: the best")  # the table says it too

    data = fastnet.data.load("mnist5k")
    began = time.perf_counter()
    result = fastnet.search(
        build,
        data,
        SPACE,
        options.runs,
        epochs=options.epochs,
        optimizer=fastnet.optim.AdamW,
        processes=options.processes,
        out=options.out,
    )
    print(f"{time.perf_counter() - began:.1f} s, {sum(t.seconds for t in result.runs):.1f} s of training\n")
    print(result.table(10))
    print("\na finer space:")
    for name, where in result.narrow().items():
        print(f"  {name}: {where!r}")
    result.to_csv(options.out / "runs.csv")
    try:
        result.plot(options.out / "runs.png")
    except ImportError as error:
        print(error, file=sys.stderr)

    nets = result.ensemble(min(5, len(result)))
    each, together = nets.evaluate_each(data.x_test, data.y_test), nets.evaluate(data.x_test, data.y_test)
    best = max(each)
    error = math.sqrt(best * (1 - best) / len(data.y_test))
    print(f"\ntest accuracy of the best run:   {each[0]:.2%}")
    print(f"of each of the best {len(nets)}:           {', '.join(f'{value:.2%}' for value in each)}")
    print(f"of their ensemble:               {together:.2%}")
    print(
        f"ensemble against the best run:   {together - each[0]:+.2%}; against the best of them: {together - best:+.2%}"
    )
    print(f"standard error of one accuracy:  {error:.2%}")


if __name__ == "__main__":
    main()
