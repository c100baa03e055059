"""The same net for the other sides: a fastnet net's architecture and weights in PyTorch, and in plain NumPy functions."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

Backward = Callable[[Any], Any]

# Layer -> the function of its name in fastnet.reference, and the arguments of torch.nn's layer of the same name.
LAYERS: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "Conv2d": (
        "conv2d",
        lambda layer: {
            "in_channels": layer.in_channels,
            "out_channels": layer.out_channels,
            "kernel_size": layer.geometry.kernel,
            "bias": layer.bias is not None,
            **layer.settings,
        },
    ),
    "Linear": (
        "linear",
        lambda layer: {
            "in_features": layer.in_features,
            "out_features": layer.out_features,
            "bias": layer.bias is not None,
        },
    ),
    "BatchNorm2d": (
        "batch_norm",
        lambda layer: {"num_features": layer.num_features, "eps": layer.eps, "momentum": layer.momentum},
    ),
    "MaxPool2d": (
        "max_pool2d",
        lambda layer: {
            "kernel_size": layer.window.kernel,
            "stride": layer.window.stride,
            "padding": layer.window.padding,
        },
    ),
    "AdaptiveAvgPool2d": ("adaptive_avg_pool2d", lambda layer: {"output_size": layer.output_size}),
    "ReLU": ("relu", lambda layer: {}),
    "Flatten": ("flatten", lambda layer: {}),
}
ONLY_TORCH = {"in_channels", "out_channels", "in_features", "out_features", "num_features", "bias"}
CONVOLUTION = {"kernel_size"}  # which the function reads from the weights


def described(layer: Any) -> tuple[str, dict[str, Any]]:
    """The layer's row of LAYERS, its arguments computed."""
    kind = type(layer).__name__
    if kind not in LAYERS:
        raise TypeError(f"bench/_harness/twins.py: add a row for {kind} to LAYERS")
    function, arguments = LAYERS[kind]
    return function, arguments(layer)


def torch_twin(net: Any) -> Any:
    """A torch.nn.Module that computes what the net computes; names and initial values are the net's."""
    import torch

    twin = _torch(net)
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in net.state_dict().items()})
    return twin.train()


def _torch(layer: Any, first: bool = True) -> Any:
    """One layer. A ReLU works in place, as PyTorch's own nets have it, unless its input is somebody else's too (`first`)."""
    from torch import nn

    kind = type(layer).__name__
    if kind == "Sequential":
        return nn.Sequential(*(_torch(child, first=i == 0) for i, child in enumerate(layer)))
    if kind == "Residual":
        return _residual(_torch(layer.body), nn.Identity() if layer.shortcut is None else _torch(layer.shortcut))
    if kind == "ReLU":
        return nn.ReLU(inplace=not first)
    return getattr(nn, kind)(**described(layer)[1])


def _residual(body: Any, shortcut: Any) -> Any:
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.shortcut(x)

    return Residual()


def numpy_forward(
    layer: Any, x: np.ndarray, ops: ModuleType, first: bool = True, training: bool = True
) -> tuple[np.ndarray, Backward]:
    """y and the function dy -> dx that also writes the gradients, with the functions of `ops` (a reference).

    The net's first convolution (`first`) computes no gradient of its input.
    """
    kind = type(layer).__name__
    if kind == "Sequential":
        backs = []
        for i, child in enumerate(layer):
            x, back = numpy_forward(child, x, ops, first and i == 0, training)
            backs.append(back)
        return x, lambda dy: _through(backs, dy)
    if kind == "Residual":
        y, back = numpy_forward(layer.body, x, ops, first, training)
        if layer.shortcut is None:
            return y + x, lambda dy: back(dy) + dy
        short, short_back = numpy_forward(layer.shortcut, x, ops, first, training)
        return y + short, lambda dy: back(dy) + short_back(dy)
    name, arguments = described(layer)
    parameters = [p for p in (getattr(layer, "weight", None), getattr(layer, "bias", None)) if p is not None]
    statistics = [layer.running_mean, layer.running_var] if kind == "BatchNorm2d" else []
    skipped = ONLY_TORCH | (CONVOLUTION if kind == "Conv2d" else set())
    options = {key: value for key, value in arguments.items() if key not in skipped}
    if kind == "BatchNorm2d":
        options["training"] = training
    y, saved = getattr(ops, name)(x, *(p.data for p in parameters), *statistics, **options)
    options = {"input_gradient": False} if first and kind == "Conv2d" else {}

    def backward(dy: np.ndarray) -> Any:
        found = getattr(ops, f"{name}_backward")(dy, saved, **options)
        if not parameters:
            return found
        for parameter, gradient in zip(parameters, found[1:]):
            parameter.grad = gradient
        return found[0]

    return y, backward


def _through(backs: list[Backward], dy: Any) -> Any:
    for back in reversed(backs):
        dy = back(dy)
    return dy
