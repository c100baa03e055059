"""Recipes: every one runs from the command line on a small set and writes its files; cifar94 is the same run in PyTorch."""

import itertools
import json
import math
import os
import runpy
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import fastnet
from fastnet import cli, config, data, models, recipes
from fastnet.recipes import cifar94

CLASSES = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder in CIFAR-10's layout: coarse patterns, one per class, under noise."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "cifar-10-batches-bin").mkdir()
    rng = np.random.default_rng(0)
    patterns = np.kron(rng.integers(0, 180, (10, 3, 8, 8)), np.ones((1, 1, 4, 4), int))
    for name, n in [*((f"data_batch_{i}", 30) for i in range(1, 6)), ("test_batch", 40)]:
        y = np.arange(n) % 10
        x = patterns[y] + rng.integers(0, 76, (n, 3, 32, 32))
        rows = np.concatenate([y[:, None], x.reshape(n, -1)], axis=1).astype(np.uint8)
        rows.tofile(folder / "cifar-10-batches-bin" / f"{name}.bin")
    (folder / "cifar-10-batches-bin" / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


pytestmark = pytest.mark.usefixtures("machine")


def started(root, widths=(9, 12, 10)):
    """(net with whitening filters, splits) as `cifar94.run` has them before training."""
    splits = cifar94.all_of(data.load("cifar10", root))
    fastnet.manual_seed(3)
    net = models.build("airbench", widths=widths)
    cifar94.whiten(net[0], splits.normalize(splits.x))
    return net, splits


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_is_listed_trains_from_the_command_line_and_its_model_can_be_evaluated(name, root, tmp_path, capsys):
    assert cli.main(["train", "--help"]) == 0
    assert f"{name}: {recipes.about(name)}" in " ".join(capsys.readouterr().out.split())
    out = tmp_path / "out"
    options = ["--root", str(root), "--epochs", "1.5", "--batch-size", "40", "--threads", "1", "--out", str(out)]
    assert cli.main(["train", "--recipe", name, *options]) == 0
    printed = capsys.readouterr().out
    assert [line.split("  ")[0] for line in printed.splitlines() if line.endswith("%")] == [
        "plain",
        "mirrored",
        "mirrored and shifted",
    ]
    files = {"model.safetensors", "history.csv", "history.json"}
    assert files <= set(os.listdir(out)) <= files | {"curves.png"}
    history = json.loads((out / "history.json").read_text())
    assert history["epoch_steps"] == [3, 5]
    assert cli.main(["evaluate", str(out / "model.safetensors"), "--root", str(root), "--precision", "medium"]) == 0
    plain = next(line.split()[-1] for line in printed.splitlines() if line.startswith("plain"))
    assert next(line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("all")) == plain


def test_what_a_recipe_fixes_is_refused_beside_it(capsys):
    assert cli.main(["train", "--recipe", "cifar94", "--lr", "0.1"]) == 2
    assert "the recipe cifar94 says itself what to do about --lr" in capsys.readouterr().err
    assert cli.main(["train", "--epochs", "1.5"]) == 2
    assert "--epochs must be a whole number without --recipe, found 1.5" in capsys.readouterr().err
    with pytest.raises(ValueError, match="there is no 'cifar95'; there are cifar94"):
        recipes.get("cifar95")


def test_a_run_that_cannot_be_or_breaks_says_why(root, monkeypatch):
    with pytest.raises(ValueError, match="epochs must be positive, found 0"):
        cifar94.run(root=root, epochs=0)
    images = data.load("cifar10", root)
    untested = data.Dataset(images.x_train, images.y_train, classes=images.classes, name="half")
    with pytest.raises(ValueError, match="cifar94: half has no test split"):
        cifar94.all_of(untested)
    monkeypatch.setattr(cifar94, "RATE", 1e30)
    net, splits = started(root, (3, 4, 5))
    with pytest.raises(FloatingPointError, match=r"cifar94: step \d+: the loss is"), np.errstate(all="ignore"):
        cifar94.train(net, splits, 3, 30, 0, lambda line: None)


def test_the_same_seed_gives_the_same_run_and_another_one_another(root):
    def run(seed):
        return recipes.get("cifar94")(
            "cifar10", root, epochs=1, batch_size=40, seed=seed, widths=(9, 8, 7), say=lambda line: None
        )

    one, same, other = run(1), run(1), run(2)
    assert one.history.loss == same.history.loss
    assert one.accuracy == same.accuracy
    assert one.history.loss != other.history.loss
    assert all((a == same.net.state_dict()[name]).all() for name, a in one.net.state_dict().items())


def test_whitening_filters_give_uncorrelated_maps_of_variance_one(root):
    net, splits = started(root)
    maps = net[0].forward(splits.normalize(splits.x)).transpose(1, 0, 2, 3).reshape(24, -1).astype(np.float64)
    second = maps @ maps.T / maps.shape[1]
    np.testing.assert_array_equal(maps[12:], -maps[:12])
    np.testing.assert_allclose(second[:12, :12], np.eye(12), atol=0.02)  # less eps / variance


def test_the_whitening_convolution_is_computed_in_float32_at_medium(root):
    """Its finest maps are noise of a thousandth of the image: as large as bfloat16's rounding of it."""
    net, splits = started(root)
    x = splits.normalize(splits.x)
    found = {}
    for precision in ("highest", "medium"):
        with config.precision(precision):
            found[precision] = net[0].forward(x)
    np.testing.assert_array_equal(found["medium"], found["highest"])


def test_the_example_prints_seconds_and_accuracies_of_its_seeds(root, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["cifar94.py", str(root), "--seeds", "2", "--epochs", "1"])
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr(cifar94, "run", partial(cifar94.run, widths=(9, 8, 7)))
    runpy.run_path(str(Path(__file__).parent.parent / "examples" / "cifar94.py"), run_name="__main__")
    table = capsys.readouterr().out.split("threads")[1].strip().splitlines()
    assert [line.split("  ")[0].strip() for line in table] == ["seconds", "plain", "mirrored", "mirrored and shifted"]


def test_a_run_learns_the_patterns_and_leaves_alone_what_is_frozen(root):
    net, splits = started(root)
    before = net.state_dict()
    history = cifar94.train(net, splits, 6, 25, 0, lambda line: None)
    assert np.mean(history.loss[-5:]) < np.mean(history.loss[:5]) - 0.05
    same = {name for name, p in net.named_parameters() if (p.data == before[name]).all()}
    assert same == {"0.weight", *(f"{i}.{j}.weight" for i in (2, 3, 4) for j in (2, 5))}
    assert net[0].bias.data.any()  # it learned for three epochs
    looks = cifar94.test(net, splits)
    assert min(looks.values()) > 0.25  # of ten classes


def test_views_of_an_image_are_its_mirror_image_and_its_neighbours(root):
    """`scores` of a net that shows what it is fed."""
    _, splits = started(root)
    x = splits.x_test[:7]
    wide = np.pad(splits.normalize(x), ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect")
    look = fastnet.Sequential(fastnet.Flatten())
    for shift in (-1, 0, 1):
        window = wide[:, :, 1 + shift : 33 + shift, 1 + shift : 33 + shift]
        for mirror in (False, True):
            seen = cifar94.scores(look, x, splits.normalize, shift, mirror).reshape(x.shape)
            np.testing.assert_allclose(seen, window[..., ::-1] if mirror else window, atol=1e-6)


def torch_losses(torch, net, splits, epochs, batch_size, seed):
    """The run of `cifar94.train` with PyTorch's layers, gradients and rule, on the same batches: losses and final state."""
    nn = torch.nn

    class Scale(nn.Module):
        def forward(self, x):
            return x / 9

    def block(inputs, width):
        norms = [nn.BatchNorm2d(width, eps=1e-12, momentum=0.4) for _ in range(2)]
        for norm in norms:
            norm.weight.requires_grad = False
        convolutions = [nn.Conv2d(c, width, 3, padding=1, bias=False) for c in (inputs, width)]
        return nn.Sequential(
            convolutions[0], nn.MaxPool2d(2), norms[0], nn.GELU(), convolutions[1], norms[1], nn.GELU()
        )

    widths = [8 * splits.x.shape[1], *(net[i][0].out_channels for i in (2, 3, 4))]
    blocks = [block(c, f) for c, f in itertools.pairwise(widths)]
    twin = nn.Sequential(
        nn.Conv2d(3, 24, 2),
        nn.GELU(),
        *blocks,
        nn.MaxPool2d(3),
        nn.Flatten(),
        nn.Linear(widths[-1], 10, bias=False),
        Scale(),
    )
    twin.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in net.state_dict().items()})
    twin[0].weight.requires_grad = False
    # a sum over the batch, as the paper has it: fastnet's losses are means
    kilo = 1024 * (1 + 1 / (1 - 0.85))
    lr, decay = 11.5 / kilo, 0.0153 * batch_size / kilo
    shifts = [m.bias for m in twin.modules() if isinstance(m, nn.BatchNorm2d)]
    rest = [p for p in twin.parameters() if p.requires_grad and all(p is not s for s in shifts)]
    rule = torch.optim.SGD(
        [
            {"params": shifts, "lr": 64 * lr, "weight_decay": decay / (64 * lr)},
            {"params": rest, "lr": lr, "weight_decay": decay / lr},
        ],
        momentum=0.85,
        nesterov=True,
    )
    augment = [data.AlternatingFlip(), data.RandomShift(2, mode="reflect")]
    loader = data.Loader(
        splits.x, splits.y, batch_size, seed=seed, augment=augment, normalize=splits.normalize, drop_last=True
    )
    steps = math.ceil(len(loader) * epochs)
    factors = np.interp(np.arange(steps + 1), [0, int(0.23 * steps), steps], [0.2, 1, 0.07])
    schedule = torch.optim.lr_scheduler.LambdaLR(rule, lambda step: factors[step])
    slow = {name: a.clone() for name, a in twin.state_dict().items() if a.is_floating_point()}
    losses = []
    for epoch in range(math.ceil(epochs)):
        twin[0].bias.requires_grad = epoch < 3
        for x, y in loader:
            out = twin(torch.from_numpy(x))
            loss = nn.functional.cross_entropy(out, torch.from_numpy(y), label_smoothing=0.2, reduction="sum")
            rule.zero_grad(set_to_none=True)
            loss.backward()
            rule.step()
            schedule.step()
            losses.append(loss.item() / len(y))
            if len(losses) % 5 == 0:
                share = 1 - 0.95**5 * (len(losses) / steps) ** 3
                for name, a in twin.state_dict().items():
                    if a.is_floating_point():
                        slow[name].lerp_(a, share)
                        a.copy_(slow[name])
            if len(losses) == steps:
                return losses, slow
    raise AssertionError("the loader had too few batches")


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-6), (np.float64, 1e-12)], ids=["float32", "float64"])
def test_the_run_is_the_one_of_pytorch_step_by_step(root, dtype, tolerance, monkeypatch):
    torch = pytest.importorskip("torch")
    net, splits = started(root)
    net.astype(dtype)
    monkeypatch.setattr(data, "Loader", partial(data.Loader, dtype=dtype))
    monkeypatch.setattr(cifar94, "Batch", partial(cifar94.Batch, dtype=dtype))
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, np.dtype(dtype).name))
    epochs, batch_size = 4.5, 32  # 18 steps; the frozen layer is passed over in the last six
    try:
        theirs, state = torch_losses(torch, net, splits, epochs, batch_size, 7)
    finally:
        torch.set_default_dtype(before)
    with config.precision("highest"):
        ours = cifar94.train(net, splits, epochs, batch_size, 7, lambda line: None).loss
    assert len(ours) == len(theirs) == 18
    np.testing.assert_allclose(ours[:10], theirs[:10], atol=tolerance)
    np.testing.assert_allclose(ours, theirs, atol=10 * tolerance)  # rounding grows as the runs go on
    for name, a in net.state_dict().items():
        if name in state:
            near = {"rtol": 500 * tolerance, "atol": 50 * tolerance}
            np.testing.assert_allclose(a, state[name].numpy(), err_msg=name, **near)
