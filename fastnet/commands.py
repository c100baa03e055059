"""What the commands of the command line do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import config, data, diagnose, models, optim, plot, recipes
from .about import show_config
from .callbacks import Lambda
from .checkpoint import Checkpoint, load_settings, save
from .errors import FormatError
from .files import replace_file
from .initializers import manual_seed
from .layers.base import Layer
from .losses import SoftmaxCrossEntropy
from .memory import Array
from .solver import PREFIX, Solver
from .training.history import History

# name -> (rule of (params, lr, weight_decay), the usual highest learning rate, the usual weight decay)
RULES: dict[str, tuple[Any, float, float]] = {
    "sgd": (optim.SGD, 0.1, 5e-4),
    "momentum": (partial(optim.SGD, momentum=0.9), 0.05, 5e-4),
    "nesterov": (partial(optim.SGD, momentum=0.9, nesterov=True), 0.05, 5e-4),
    "adagrad": (optim.AdaGrad, 0.02, 5e-4),
    "rmsprop": (optim.RMSProp, 1e-3, 5e-4),
    "adam": (optim.Adam, 3e-3, 5e-4),
    "adamw": (optim.AdamW, 5e-3, 1e-2),
}
# name -> schedule of the highest learning rate and the number of steps
SCHEDULES: dict[str, Any] = {
    "constant": lambda lr, steps: None,
    "onecycle": lambda lr, steps: optim.OneCycle(lr, steps),
    "cosine": lambda lr, steps: optim.CosineDecay(lr, steps),
    "step": lambda lr, steps: optim.StepDecay(lr, max(1, steps // 3), 0.1),
    "exponential": lambda lr, steps: optim.ExponentialDecay(lr, 0.01 ** (1 / steps)),
    "plateau": lambda lr, steps: optim.ReduceOnPlateau(lr, 0.5, patience=3),
}
# name -> transform for images of this height and width
AUGMENTS: dict[str, Any] = {
    "shift": lambda h, w: data.RandomShift((max(1, h // 14), max(1, w // 14))),
    "crop": lambda h, w: data.RandomCrop((h, w), padding=(max(1, h // 8), max(1, w // 8))),
    "flip": lambda h, w: data.RandomFlip(),
    "cutout": lambda h, w: data.Cutout((max(1, h // 4), max(1, w // 4))),
    "jitter": lambda h, w: data.ColorJitter(0.2, 0.2, 0.2),
    "mixup": lambda h, w: data.MixUp(),
}
# what "auto" stands for: digits must not be mirrored, photographs may
AUTO = {"mnist5k": "shift", "mnist": "shift", "fashion_mnist": "shift,flip"}
KEPT: tuple[str, ...] = (
    "data",
    "root",
    "model",
    "augment",
    "epochs",
    "batch_size",
    "optimizer",
    "lr",
    "schedule",
    "weight_decay",
)
KEPT += ("average", "label_smoothing", "seed", "precision")  # the options that a resumed run takes from its checkpoint


def train(args: Namespace) -> int:
    """Train, then write model, history and curves and print what came out."""
    if args.recipe is not None:
        return follow(args)
    if args.epochs != int(args.epochs):
        raise ValueError(f"train: --epochs must be a whole number without --recipe, found {args.epochs}")
    args.epochs = int(args.epochs)
    out: Path = args.out or Path("runs", _folder(args))
    path = out / "checkpoint.safetensors"
    if args.resume:
        _take_settings(args, path)
    _machine(args)
    images = data.load(args.data, args.root, args.download)
    shape, classes = images.x_train.shape[1:], len(images.classes)
    manual_seed(args.seed)
    net = models.build(args.model, shape, classes)
    rule, lr, decay = RULES[args.optimizer]
    lr = lr if args.lr is None else args.lr
    decay = decay if args.weight_decay is None else args.weight_decay
    steps = args.epochs * -(-len(images.x_train) // args.batch_size)
    about = {
        "model": args.model,
        "input_shape": list(shape),
        "classes": list(images.classes),
        "options": {name: getattr(args, name) for name in KEPT},
    }
    settings: dict[str, Any] = {
        "optimizer": partial(rule, lr=lr, weight_decay=decay),
        "schedule": SCHEDULES[args.schedule](lr, steps),
        "loss": SoftmaxCrossEntropy(label_smoothing=args.label_smoothing),
        "average": partial(optim.EMA, decay=args.average) if args.average else None,
        "callbacks": [Lambda(on_gradients=partial(_shorten_average, args.average))] if args.average else [],
        "batch_size": args.batch_size,
        "epochs": args.epochs,
        "augment": _augments(args.augment, args.data, shape[1:]),
        "checkpoint": Checkpoint(path, about=about),
        "seed": args.seed,
        "progress": {"auto": None, "none": False}.get(args.progress, args.progress),
    }
    size = f"{sum(p.size for p in net.parameters()):,} parameters"
    print(
        f"{args.model}, {size}, on {args.data}: {len(images.x_train):,} training images, seed {args.seed}", flush=True
    )
    solver = Solver.resume(path, net, images, **settings) if args.resume else Solver(net, images, **settings)
    about["normalize"] = {name: value.tolist() for name, value in solver.normalize.state_dict().items()}
    solver.checkpoint.about = about  # type: ignore[union-attr]  # it was given
    out.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is better known before training
    start = time.perf_counter()
    try:
        history = solver.train()
    except KeyboardInterrupt:
        print(
            f"\nstopped after step {solver.step}; `fastnet train --out {out} --resume` goes on from there",
            file=sys.stderr,
        )
        raise
    seconds = time.perf_counter() - start
    net.load_state_dict(solver.best)
    solver.average = None  # the best state holds it already
    results = [_accuracy(solver, images, split) for split in ("train", "val", "test")]
    save(net, out / "model.safetensors", {"about": about, "epoch": solver.best_epoch})
    _write_history(history, out)
    picture = _draw(history, out / "curves.png")
    print(
        f"\nbest epoch {solver.best_epoch} of {history.epochs}, {seconds:.1f} s, {config.get_num_threads()} threads\n"
    )
    print("split        images   accuracy")
    for name, n, accuracy in filter(None, results):
        print(f"{name:10s} {n:8,d} {accuracy:10.2%}")
    print(f"\nin {out}: model.safetensors, checkpoint.safetensors, history.csv, history.json{picture}")
    return 0


def _folder(args: Namespace) -> str:
    """The folder that is named after data and model."""
    return f"{args.data.replace(':', '-').replace(os.sep, '-')}-{args.model}"


# the options of a recipe, and the names under which it takes them
FREE = {"data": "name", "root": "root", "download": "download", "epochs": "epochs", "batch_size": "batch_size"}
FREE |= {"seed": "seed", "precision": "precision"}


def follow(args: Namespace) -> int:
    """Train by a recipe, then write and print as `train` does."""
    fixed = sorted(args.given - {*FREE, "recipe", "threads", "out", "progress"})
    if fixed:
        option = "--" + fixed[0].replace("_", "-")
        raise ValueError(f"train: the recipe {args.recipe} says itself what to do about {option}")
    if args.threads is not None:
        config.set_num_threads(args.threads)
    out: Path = args.out or Path("runs", args.recipe)
    out.mkdir(parents=True, exist_ok=True)
    options = {FREE[name]: getattr(args, name) for name in args.given & FREE.keys()}
    say = (lambda line: None) if args.progress == "none" else partial(print, flush=True)
    result = recipes.get(args.recipe)(**options, say=say)
    about = {
        "model": result.model,
        "input_shape": list(result.images.image_shape),
        "classes": list(result.images.classes),
        "options": {"recipe": args.recipe, "data": result.images.name, **options},
        "normalize": {name: value.tolist() for name, value in result.normalize.state_dict().items()},
    }
    save(result.net, out / "model.safetensors", {"about": about, "epoch": result.history.epochs})
    _write_history(result.history, out)
    picture = _draw(result.history, out / "curves.png")
    print(
        f"\n{args.recipe}: {result.seconds:.1f} s of training, {config.get_num_threads()} threads\n\ntest images seen"
    )
    for name, accuracy in result.accuracy.items():
        print(f"{name:21s} {accuracy:10.2%}")
    print(f"\nin {out}: model.safetensors, history.csv, history.json{picture}")
    return 0


def _shorten_average(decay: float, solver: Solver) -> None:
    """Let the average forget faster in the first steps, or it would still hold the weights from before training."""
    solver.average.decay = min(decay, (solver.step + 1) / (solver.step + 10))


def _take_settings(args: Namespace, path: Path) -> None:
    """Let a resumed run have the options of its checkpoint; those given now must agree, but for the number of epochs."""
    if not path.is_file():
        raise ValueError(f"train: nothing to resume: there is no {path}")
    about = load_settings(path)[1].get("about", {})
    before = about.get("options") if isinstance(about, dict) else None
    if not isinstance(before, dict) or before.keys() != set(KEPT):
        raise FormatError(f"{path}: not written by `fastnet train`")
    for name in KEPT:
        if name in args.given and name not in ("epochs", "root") and getattr(args, name) != before[name]:
            option = "--" + name.replace("_", "-")
            raise ValueError(
                f"train: this run has {option} {before[name]}, found {getattr(args, name)}; it cannot change"
            )
        if name not in args.given:
            setattr(args, name, before[name])


def _machine(args: Namespace) -> None:
    if args.threads is not None:
        config.set_num_threads(args.threads)
    config.set_float32_matmul_precision(args.precision)


def _augments(names: str, dataset: str, size: tuple[int, ...]) -> list[Any]:
    """The transforms of a list such as "shift,flip"."""
    if names == "auto":
        names = AUTO.get(dataset, "crop,flip")
    chosen = [] if names in ("none", "") else names.split(",")
    for name in chosen:
        if name not in AUGMENTS:
            raise ValueError(
                f"train: --augment {name!r} is unknown; expected none, auto or some of {','.join(AUGMENTS)}"
            )
    return [AUGMENTS[name](*size) for name in chosen]


def _accuracy(solver: Solver, images: Any, split: str) -> tuple[str, int, float] | None:
    x, y = getattr(images, f"x_{split}"), getattr(images, f"y_{split}")
    return None if x is None else ({"val": "validation"}.get(split, split), len(x), solver.evaluate(x, y))


def _write_history(history: History, out: Path) -> None:
    history.to_csv(out / "history.csv")
    # nan is no JSON: it becomes null
    numbers = {k: [v if v == v else None for v in values] for k, values in history.to_dict().items()}
    text = json.dumps(numbers).encode()
    replace_file(out / "history.json", lambda file: file.write(text))


def _draw(history: History, path: Path) -> str:
    """Draw the curves if matplotlib is there; what to add to the list of files."""
    try:
        history.plot(path)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return ""
    return f", {path.name}"


def evaluate(args: Namespace) -> int:
    """Accuracy and loss of a saved model, for all classes and for each."""
    _machine(args)
    net, about = _saved_model(args.checkpoint)
    name = args.data or about["options"]["data"]
    images = data.load(name, args.root, args.download)
    if f"x_{args.split}" not in images:
        raise ValueError(f"evaluate: {name} has no {args.split} split")
    x, y = images[f"x_{args.split}"], images[f"y_{args.split}"]
    if list(x.shape[1:]) != about["input_shape"] or len(images.classes) != len(about["classes"]):
        wanted = f"{len(about['classes'])} classes of images {tuple(about['input_shape'])}"
        found = f"{len(images.classes)} classes of images {tuple(x.shape[1:])}"
        raise ValueError(f"evaluate: the model knows {wanted}, {name} has {found}")
    normalize = data.Normalize()
    normalize.load_state_dict({key: np.array(value) for key, value in about["normalize"].items()})
    size = args.batch_size
    pieces = [net.predict(normalize(x[i : i + size]), size) for i in range(0, len(x), size)]
    scores = np.concatenate(pieces)
    matrix = plot.confusion_matrix(scores, y)
    loss = SoftmaxCrossEntropy().forward(scores, y)
    print(f"{about['model']} on {name}, {args.split} split, {len(x):,} images\n")
    print("class            images   accuracy")
    for i, label in enumerate(images.classes):
        if n := matrix[i].sum():
            print(f"{label:14.14s} {n:8,d} {matrix[i, i] / n:10.2%}")
    print(f"{'all':14s} {len(x):8,d} {np.trace(matrix) / len(x):10.2%}\n\nloss {loss:.4f}")
    if args.confusion:
        plot.confusion(matrix, args.confusion, names=images.classes)
        print(f"drawn: {args.confusion}")
    return 0


def _saved_model(path: Path) -> tuple[Layer, dict[str, Any]]:
    """The net of a file that `train` wrote (of a checkpoint: its best epoch), and what the file says about it."""
    arrays, settings = load_settings(path)
    about = settings.get("about")
    wanted = {"model", "input_shape", "classes", "options", "normalize"}
    if not isinstance(about, dict) or about.keys() != wanted:
        raise FormatError(f"{path}: not written by `fastnet train`, so it does not say which model it is of")
    net = models.build(about["model"], tuple(about["input_shape"]), len(about["classes"]))
    best = f"{PREFIX}/best/state/"
    state: dict[str, Array] = {name.removeprefix(best): a for name, a in arrays.items() if name.startswith(best)}
    net.load_state_dict(state or {name: a for name, a in arrays.items() if not name.startswith(PREFIX + "/")})
    return net, about


def doctor(args: Namespace) -> int:
    """Examine a new model of that name on the data; 1 if something is wrong."""
    out: Path = args.out or Path("runs", f"doctor-{_folder(args)}")
    _machine(args)
    images = data.load(args.data, args.root, args.download)
    manual_seed(args.seed)
    net = models.build(args.model, images.x_train.shape[1:], len(images.classes))
    rule, lr, _ = RULES[args.optimizer]
    report = diagnose.doctor(
        net,
        images,
        optimizer=partial(rule, lr=lr if args.lr is None else args.lr),
        regularization=args.regularization,
        batch_size=args.batch_size,
        seed=args.seed,
        seconds=args.seconds,
    )
    print(f"{args.model} on {args.data}\n{report}")
    out.mkdir(parents=True, exist_ok=True)
    report.to_json(out / "doctor.json")
    report.to_html(out / "doctor.html")
    print(f"\nin {out}: doctor.html, doctor.json")
    return 0 if report.ok else 1


def info(args: Namespace) -> int:
    """Print the configuration."""
    show_config()
    return 0


def bench(arguments: list[str]) -> int:
    """Hand over to `python -m bench`, which lives in a clone and not in an installed package."""
    for folder in (Path.cwd(), Path(__file__).resolve().parent.parent):
        if (folder / "bench" / "__main__.py").is_file() and (folder / "fastnet" / "_ext").is_dir():
            # From where the user is, whose paths they are; `bench` is the clone's, whatever lies here.
            run = f"import runpy, sys; sys.path[0] = {str(folder)!r}; runpy.run_module('bench', {{}}, '__main__', True)"
            return subprocess.call([sys.executable, "-c", run, *arguments])
    message = "fastnet bench: the benchmarks are not part of the installed package; run this in a clone of fastnet"
    print(message, file=sys.stderr)
    return 2
