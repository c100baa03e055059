"""The command `fastnet` (and `python -m fastnet`): train, evaluate, doctor, info, bench."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

from . import commands, config, data, models, recipes

__all__ = ["main"]

RAW = argparse.RawDescriptionHelpFormatter


class Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, 1 for a training that broke or a doctor that found
    something, 2 for bad input, 130 for Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["bench"]:  # its arguments are the benchmarks' own
        return commands.bench(given[1:])
    parser = _parser()
    try:
        args = parser.parse_args(given)
        if args.command is None:
            parser.print_help()
            return 0
        if args.command == "train":
            args.given = _given(parser, given)
        return int(args.run(args))
    except SystemExit as stop:  # argparse: --help or an error that is printed already
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return 130
    except FloatingPointError as error:
        return _complain(error, 1)
    except (ValueError, TypeError, OSError, ImportError) as error:
        return _complain(error, 2)


def _complain(error: BaseException, status: int) -> int:
    print(f"fastnet: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _given(parser: Any, arguments: list[str]) -> set[str]:
    """The options that were given, not left at their defaults: a resumed run keeps its own for the others."""
    for action in parser.train._actions:
        action.default = argparse.SUPPRESS
    return set(vars(parser.parse_args(arguments))) - {"command", "run"}


def _parser() -> Any:
    parser: Any = Parser(
        prog="fastnet",
        description="A convolutional-network engine for CPUs.",
        epilog="examples:\n  fastnet train\n  fastnet info\n  fastnet train --help",
        formatter_class=RAW,
    )
    parser.set_defaults(command=None)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    parser.train = _train(subparsers)
    _evaluate(subparsers)
    _doctor(subparsers)
    info = subparsers.add_parser(
        "info",
        help="version, processor, threads, compiler, measured peaks",
        description="What this build of fastnet can do on this machine.",
        epilog="example:\n  fastnet info",
        formatter_class=RAW,
    )
    info.set_defaults(run=commands.info)
    subparsers.add_parser("bench", help="the benchmarks of a clone: fastnet bench --help", add_help=False)
    return parser


def _train(subparsers: Any) -> Parser:
    parser: Parser = subparsers.add_parser(
        "train",
        help="train a model and write its history, curves and checkpoint",
        description=(
            "Train a model. Without options: LeNet with batch norm on the digits inside the package, a few seconds.\n"
            "Writes to --out: model.safetensors (the best epoch), checkpoint.safetensors (to go on from),\n"
            "history.csv, history.json and curves.png."
        ),
        epilog=(
            "examples:\n"
            "  fastnet train\n"
            "  fastnet train --data cifar10 --model resnet20 --epochs 30 --optimizer nesterov --lr 0.1\n"
            "  fastnet train --data folder:photos --model vgg_bn --out runs/photos\n"
            "  fastnet train --out runs/photos --resume --epochs 60\n"
            "  fastnet train --recipe cifar94 --root DIR"
        ),
        formatter_class=RAW,
    )
    what = parser.add_argument_group("what to train")
    listed = "; ".join(f"{name}: {recipes.about(name)}" for name in recipes.names()).replace("%", "%%")
    what.add_argument(
        "--recipe",
        choices=recipes.names(),
        metavar="NAME",
        help=f"a whole run as published, which fixes what is not said beside it ({listed})",
    )
    _data_and_model(what)
    what.add_argument(
        "--augment",
        default="auto",
        metavar="LIST",
        help="none, auto (by the data), or some of shift,crop,flip,cutout,jitter,mixup",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--epochs", type=_epochs, default=14, metavar="N", help="(%(default)s); with a recipe, parts of one too"
    )
    how.add_argument("--batch-size", type=_count, default=64, metavar="N", help="(%(default)s)")
    how.add_argument("--optimizer", default="adamw", choices=commands.RULES, help="(%(default)s)")
    how.add_argument(
        "--lr", type=_positive, metavar="X", help="the highest learning rate (by the optimizer: 0.005 for adamw)"
    )
    how.add_argument("--schedule", default="onecycle", choices=commands.SCHEDULES, help="(%(default)s)")
    how.add_argument(
        "--weight-decay", type=_not_negative, metavar="X", help="(by the optimizer: 0.01 for adamw, else 0.0005)"
    )
    how.add_argument("--label-smoothing", type=_share, default=0.1, metavar="X", help="(%(default)s)")
    how.add_argument(
        "--average",
        type=_share,
        default=0.98,
        metavar="X",
        help="evaluate the weights' exponential average of this decay; 0: the weights themselves (%(default)s)",
    )
    how.add_argument(
        "--seed", type=_whole, default=0, metavar="N", help="of weights, order, augmentation, dropout (%(default)s)"
    )
    machine = parser.add_argument_group("the machine")
    _machine(machine)
    files = parser.add_argument_group("files and messages")
    files.add_argument("--out", type=Path, metavar="DIR", help="(runs/DATA-MODEL)")
    files.add_argument(
        "--resume", action="store_true", help="go on from DIR's checkpoint, with its settings; --epochs may be raised"
    )
    files.add_argument("--progress", choices=("auto", "bar", "lines", "none"), default="auto", help="(%(default)s)")
    parser.set_defaults(run=commands.train)
    return parser


def _evaluate(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a saved model on a data set",
        description="Measure the model in a file that `fastnet train` wrote.",
        epilog=(
            "examples:\n"
            "  fastnet evaluate runs/mnist5k-lenet_bn/model.safetensors\n"
            "  fastnet evaluate runs/mnist5k-lenet_bn/model.safetensors --data mnist --split test --confusion matrix.png"
        ),
        formatter_class=RAW,
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="model.safetensors or checkpoint.safetensors of a run"
    )
    parser.add_argument("--data", help="(the data it was trained on)")
    _files(parser)
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="(%(default)s)")
    parser.add_argument("--batch-size", type=_count, default=256, metavar="N", help="(%(default)s)")
    _machine(parser)
    parser.add_argument("--confusion", type=Path, metavar="PNG", help="draw the confusion matrix (needs matplotlib)")
    parser.set_defaults(run=commands.evaluate)


def _doctor(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="examine a model, its data and its learning rate before training",
        description=(
            "Examine a model, its data and its settings, as a lecturer would: data, first loss, gradients, twenty examples\n"
            "learnt by heart, the learning rate, leaks between the splits. Prints the findings, the heaviest first, and\n"
            "writes doctor.html and doctor.json to --out. The exit status is 0 if nothing is wrong, 1 if something is."
        ),
        epilog=(
            "examples:\n"
            "  fastnet doctor\n"
            "  fastnet doctor --data cifar10 --model resnet20 --optimizer nesterov --lr 0.1\n"
            "  fastnet doctor --data folder:photos --model vgg_bn --out runs/photos"
        ),
        formatter_class=RAW,
    )
    _data_and_model(parser)
    parser.add_argument("--optimizer", default="adamw", choices=commands.RULES, help="(%(default)s)")
    parser.add_argument("--lr", type=_positive, metavar="X", help="(by the optimizer: 0.005 for adamw)")
    parser.add_argument("--batch-size", type=_count, default=64, metavar="N", help="(%(default)s)")
    parser.add_argument("--regularization", type=_not_negative, default=0.0, metavar="X", help="L2 (%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=40.0, metavar="X", help="for its short runs (%(default)s)")
    parser.add_argument("--seed", type=_whole, default=0, metavar="N", help="of weights, batches (%(default)s)")
    _machine(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="(runs/doctor-DATA-MODEL)")
    parser.set_defaults(run=commands.doctor)


def _data_and_model(parser: Any) -> None:
    parser.add_argument("--data", default="mnist5k", help=f"{', '.join(data.names())} or folder:PATH (%(default)s)")
    _files(parser)
    parser.add_argument(
        "--model",
        default="lenet_bn",
        choices=models.names(),
        metavar="NAME",
        help=f"{', '.join(models.names())} (%(default)s)",
    )


def _files(parser: Any) -> None:
    parser.add_argument("--root", metavar="DIR", help="where the data's files are ($FASTNET_DATA, else the cache)")
    parser.add_argument("--download", action="store_true", help="fetch missing files into --root")


def _machine(parser: Any) -> None:
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="(all processors); the results are the same for any number"
    )
    parser.add_argument(
        "--precision", choices=get_args(config.Precision), default="highest", help="of float32 products (%(default)s)"
    )


def _whole(text: str) -> int:
    return _integer(text, 0)


def _count(text: str) -> int:
    return _integer(text, 1)


def _epochs(text: str) -> float:
    return _positive(text) if "." in text else _count(text)


def _integer(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer, found {text!r}") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"expected at least {least}, found {value}")
    return value


def _share(text: str) -> float:
    value = _not_negative(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"expected a number below 1, found {text}")
    return value


def _positive(text: str) -> float:
    value = _not_negative(text)
    if value == 0:
        raise argparse.ArgumentTypeError("expected a number above 0, found 0")
    return value


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from None
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, found {text}")
    return value
