"""python -m bench profile: where the time of a net's training step goes, as a table, a picture and a trace."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import get_args

import numpy as np

from bench._harness import values
from bench._nets import TRAINED, Trained
from fastnet.cli import Parser

BATCH = 64  # of nets that the benchmarks do not train
EPILOG = """examples:
  python -m bench profile resnet20
  python -m bench profile vgg_bn --precision medium --trace step.json --plot step.png
  FASTNET_ISA=avx512 python -m bench profile lenet --batch 1 --unfused"""


def arguments(words: list[str]) -> argparse.Namespace:
    from fastnet import config, models

    parser = Parser(
        prog="python -m bench profile",
        description="Where the time of a training step goes, per layer and pass (fastnet.diagnose.profile_step).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("net", choices=models.names(), metavar="NET", help=", ".join(models.names()))
    parser.add_argument("--batch", type=int, metavar="N", help=f"images (those of bench steps, else {BATCH})")
    parser.add_argument("--image", metavar="CxHxW", help="their shape (that of bench steps, else 3x32x32)")
    parser.add_argument(
        "--precision", choices=get_args(config.Precision), default="highest", help="of float32 products (%(default)s)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="(fastnet's)")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="measured, after two others (%(default)s)")
    parser.add_argument("--unfused", action="store_true", help="run every layer on its own")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write JSON for chrome://tracing or Perfetto")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a bar per layer (needs matplotlib)")
    asked = parser.parse_args(words)
    for name in ("batch", "threads", "steps"):
        if (found := getattr(asked, name)) is not None and found < 1:
            parser.error(f"--{name} must be at least 1, found {found}")
    if asked.image and not re.fullmatch(r"\d+x\d+x\d+", asked.image):
        parser.error(f"--image must be like 3x32x32, found {asked.image!r}")
    known = TRAINED.get(asked.net, Trained(asked.net, (3, 32, 32), BATCH, 10, 0, 0))
    asked.shape = tuple(map(int, asked.image.split("x"))) if asked.image else known.shape
    asked.batch, asked.classes = asked.batch or known.batch, known.classes
    try:
        asked.built = models.build(asked.net, asked.shape, asked.classes)
    except ValueError as error:
        parser.error(str(error))
    return asked


def main(words: list[str]) -> int:
    asked = arguments(words)
    import fastnet
    from fastnet.diagnose import profile_step
    from fastnet.layers import Sequential

    if asked.threads:
        fastnet.set_num_threads(asked.threads)
    for layer in asked.built.modules():
        if isinstance(layer, Sequential):
            layer.fuse = not asked.unfused
    x = values((asked.batch, *asked.shape))
    y = np.random.default_rng(1).integers(0, asked.classes, asked.batch)
    with fastnet.precision(asked.precision):
        profile = profile_step(asked.built, x, y, steps=asked.steps)
    print(profile)
    for file, write in ((asked.trace, profile.to_chrome_trace), (asked.plot, profile.plot)):
        if file:
            write(file)
            print(f"written: {file.resolve()}")
    return 0
