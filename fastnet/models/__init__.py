"""The zoo: functions `name(input_shape=(C, H, W), classes=10, *, options) -> Sequential`, one architecture per file.

Weights come from `fastnet.initializers.generator()`, so `fastnet.manual_seed(n)` before the call fixes the net.
To add one: a file with its function, and its line here; `tests/test_models.py` then asks for its facts.
"""

from typing import Any

from ..layers import Sequential
from .airbench import airbench
from .cifar_resnet import resnet20, resnet32, resnet56
from .convnet import three_layer_convnet
from .lenet5 import lenet
from .lenet_bn import lenet_bn
from .mobilenet import mobilenet_v1
from .resnet import resnet18, resnet34, resnet50
from .vgg import vgg_bn

__all__ = [
    "airbench",
    "build",
    "lenet",
    "lenet_bn",
    "mobilenet_v1",
    "names",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet50",
    "resnet56",
    "three_layer_convnet",
    "vgg_bn",
]


def names() -> list[str]:
    """The models there are, in alphabetical order."""
    return [name for name in __all__ if name not in ("build", "names")]


def build(name: str, input_shape: tuple[int, int, int] | None = None, classes: int = 10, **options: Any) -> Sequential:
    """The model of that name, for images (C, H, W) (by default the shape it was published for, in its CIFAR form).

    ValueError for a name that is not among `names()`, or images too small for the model.
    """
    if name not in names():
        raise ValueError(f"models.build: there is no {name!r}; there are {', '.join(names())}")
    if input_shape is not None:
        options["input_shape"] = input_shape
    net: Sequential = globals()[name](classes=classes, **options)
    return net
