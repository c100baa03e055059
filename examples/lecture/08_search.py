"""Hyperparameter search: random beats a grid

Where one hyperparameter matters and another does not, a grid of 16 runs tries four values of the one that matters, a random
search sixteen. Both search learning rate (which matters) and weight decay (which here hardly does) for a net of one hidden
layer. One search is an anecdote: whether a grid is good depends on where its points happen to lie. So two thousand searches
of either kind are read off the curve through a pool of 64 runs. Then the lecture's second piece of advice, from coarse to
fine, around the best.
"""

import warnings

import numpy as np
from _common import BLUE, GREY, ORANGE, digits, finish, frame, mlp, panels, run

import fastnet

SPACE = {"lr": fastnet.log_uniform(1e-4, 3.0), "weight_decay": fastnet.log_uniform(1e-7, 1e-4)}


def build(settings):
    return mlp(784, 32, 10)


def many_searches(rates, scores, count, repeats=2000):
    """Best accuracies of so many random searches and of as many grids, wherever the grid's first rate happens to lie.

    Both read accuracies off the curve through the pool's runs: weight decay moves them less than chance does.
    """
    order = np.argsort(rates)
    places, heights = np.log(np.array(rates)[order]), scores[order]
    low, high = np.log(SPACE["lr"].low), np.log(SPACE["lr"].high)
    rng, side = np.random.default_rng(0), int(count**0.5)
    at = low + (high - low) * rng.random((repeats, count))
    spread = low + (high - low) * (np.arange(side) + rng.random((repeats, 1))) / side
    return np.interp(at, places, heights).max(1), np.interp(spread, places, heights).max(1)


def main(out, short=False):
    data = digits(300 if short else 1000)
    warnings.filterwarnings("ignore", "search: the best")  # the border's warning is printed with the result

    def search(space, runs, **options):
        return fastnet.search(
            build,
            data,
            space,
            runs,
            epochs=1 if short else 2,
            optimizer=fastnet.optim.SGD,
            keep=1,
            progress=False,
            batch_size=64,
            **options,
        )

    count, pool_size = (4, 8) if short else (16, 64)
    grid = search(SPACE, count, method="grid")
    pool = search(SPACE, pool_size, seed=1)
    scores = np.array([trial.score if not trial.failed else 0.0 for trial in pool.runs])
    draws, grids = many_searches([trial.settings["lr"] for trial in pool.runs], scores, count)
    wins = float((draws > grids).mean())
    fine = search(pool.narrow(), count, seed=2)
    print(
        f"this grid of {count}, {int(count**0.5)} rates: best {grid.best.score:.3f} at rate {grid.best.settings['lr']:.3g}"
    )
    for name, best in ((f"random, {count} rates", draws), (f"grids, {int(count**0.5)} rates", grids)):
        low, high = np.quantile(best, (0.05, 0.95))
        print(f"2,000 {name}: best {best.mean():.3f} on average, nine in ten between {low:.3f} and {high:.3f}")
    print(f"random is the better one in {wins:.0%} of 2,000 pairs")
    print(f"all {pool_size} of the pool:            best {pool.best.score:.3f} at lr {pool.best.settings['lr']:.3g}")
    print(f"{count} finer ones around its best: best {fine.best.score:.3f} at lr {fine.best.settings['lr']:.3g}")
    for sentence in grid.warnings:
        print(f"the grid's warning: {sentence}")
    error = (pool.best.score * (1 - pool.best.score) / len(data["y_val"])) ** 0.5
    print(f"standard error of one accuracy: {error:.3f}; smaller differences than that prove nothing.")

    drawing, places = panels(3, width=4.3)
    for axes, (title, result) in zip(places, (("Grid", grid), ("Random", pool))):
        good = [t for t in result.runs if not t.failed]
        if result is pool:
            good = sorted(good, key=lambda t: t.index)[:count]
        points = axes.scatter(
            [t.settings["lr"] for t in good],
            [t.settings["weight_decay"] for t in good],
            c=[t.score for t in good],
            cmap="viridis",
            vmin=0.1,
            vmax=1,
            s=45,
        )
        axes.set(xscale="log", yscale="log")
        values = len({t.settings["lr"] for t in good})
        frame(axes, f"{title}: {values} learning rates", "learning rate", "weight decay")
        for trial in good:
            axes.axvline(trial.settings["lr"], ymax=0.04, color=GREY, linewidth=1)
    drawing.colorbar(points, ax=places[1], label="validation accuracy")
    for result, colour, name in ((pool, ORANGE, "random"), (fine, "#2f8f5b", "finer"), (grid, BLUE, "grid")):
        places[2].scatter(
            [t.settings["lr"] for t in result.runs],
            [0 if t.failed else t.score for t in result.runs],
            s=22,
            color=colour,
            label=name,
            alpha=0.8,
        )
    places[2].set(xscale="log")
    frame(places[2], "What matters is the rate", "learning rate", "validation accuracy")
    places[2].legend(frameon=False, loc="lower center")
    finish(drawing, out / "08_search.png")
    return {
        "grid": grid.best.score,
        "random": float(draws.mean()),
        "grids": float(grids.mean()),
        "wins": wins,
        "fine": fine.best.score,
    }


if __name__ == "__main__":
    run(main)
