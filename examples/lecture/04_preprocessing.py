"""Preprocessing: centre, scale, decorrelate, whiten

Data around zero and of one scale make the loss rounder, so one learning rate suits all weights. Every number of a
preprocessing is fitted on the training split alone; fitting on anything else is an error here, and the chapter tries it.
For images, subtracting a mean is what people do; PCA and whitening are shown because the picture explains them.
"""

import numpy as np
from _common import BLUE, finish, frame, mlp, panels, reached, run, table, train

import fastnet
from fastnet.data import PCA, Normalize, Whiten, ZeroCenter


def cloud(out):
    """The lecture's picture: a slanted cloud on its way to a round one."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 2)) @ np.array([[1.6, 0.9], [0.0, 0.35]]) + np.array([2.5, 1.5])
    data = {"x_train": x}
    steps = {"original": x, "zero-centred": x - x.mean(0), "normalised": (x - x.mean(0)) / x.std(0)}
    steps["decorrelated (PCA)"], steps["whitened"] = PCA().fit(data)(x), Whiten().fit(data)(x)
    drawing, places = panels(5, width=2.7, height=2.9)
    for axes, (name, points) in zip(places, steps.items()):
        axes.scatter(points[:, 0], points[:, 1], s=5, color=BLUE, alpha=0.5, linewidths=0)
        frame(axes, name, "", "")
        axes.axhline(0, color="#9ca3af", linewidth=0.8)
        axes.axvline(0, color="#9ca3af", linewidth=0.8)
        axes.set(xlim=(-6, 8), ylim=(-6, 8), aspect="equal")
    finish(drawing, out / "04_preprocessing_cloud.png")
    return np.cov(steps["whitened"].T)


def main(out, short=False):
    covariance = cloud(out)
    raw = fastnet.data.load("mnist5k")
    train_images = raw.x_train[: 300 if short else 4000]
    small = {
        "x_train": train_images,
        "y_train": raw.y_train[: len(train_images)],
        "x_val": raw.x_val,
        "y_val": raw.y_val,
    }
    pca = PCA().fit(small)
    share = np.cumsum(pca.variances) / pca.variances.sum()
    needed = int(np.searchsorted(share, 0.95)) + 1
    keep = 50
    shown = raw.x_val[:8]
    features = pca(shown)[:, :keep]
    rebuilt = features @ pca.directions[:, :keep].T.astype(np.float32) + pca.mean.reshape(-1)
    whitened = Whiten(keep).fit(small)(shown) @ pca.directions[:, :keep].T.astype(np.float32)
    drawing, places = panels(8, 4, 1.3, 1.45)
    groups = {
        "image": shown[:, 0],
        "direction": pca.directions.T[:8].reshape(8, 28, 28),
        f"from {keep} numbers": rebuilt.reshape(8, 28, 28),
        "whitened": whitened.reshape(8, 28, 28),
    }
    for row, (name, tiles) in enumerate(groups.items()):
        for i, tile in enumerate(tiles):
            axes = places[8 * row + i]
            axes.imshow(tile, cmap="gray")
            axes.set_axis_off()
            if i == 0:
                axes.set_title(name, fontsize=10, loc="left")
    finish(drawing, out / "04_preprocessing_digits.png")
    print(f"{needed} of 784 directions hold 95 % of the variance, {keep} hold {share[keep - 1]:.0%}")
    print(f"covariance of the whitened cloud: {covariance.round(4).tolist()}")
    try:
        Normalize().fit(raw.x_val)
    except TypeError as error:
        refusal = str(error)
        print(f"fitting to a bare array is refused: {refusal}\n")

    rows = []
    epochs = 1 if short else 4
    kinds = {
        "bytes 0 … 255 as they are": None,
        "channel mean": ZeroCenter(),
        "mean image": ZeroCenter("pixel"),
        "mean and deviation": Normalize(),
        "PCA, 50 of 784": PCA(keep),
        "whitened, 50 of 784": Whiten(keep),
    }
    for name, step in kinds.items():
        prepare = step.fit(small) if step else lambda x: x.astype(np.float32)
        data = {key: prepare(value) if key.startswith("x_") else value for key, value in small.items()}
        net = mlp(data["x_train"][0].size, 64, 10)
        solver = train(net, data, lambda params: fastnet.optim.SGD(params, lr=0.02, momentum=0.9), epochs)
        rows.append([name, float(np.mean(solver.history.loss[:3])), reached(solver)])
    table(["preprocessing", "first losses", "validation accuracy"], rows)
    print(
        "\nOne rate, 0.02, for all: what it suits is the scale of the input, and bytes are 100 times too large for it."
    )
    return {name: accuracy for name, _, accuracy in rows} | {"refused": refusal, "needed": needed}


if __name__ == "__main__":
    run(main)
