"""The same net in PyTorch: the architecture of a fastnet net, layer by layer, with its weights."""

from __future__ import annotations

from typing import Any


def torch_twin(net: Any) -> Any:
    """A torch.nn.Module that computes what the net computes; names and initial values are the net's."""
    import torch

    twin = _twin(net)
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in net.state_dict().items()})
    return twin.train()


def _twin(layer: Any, first: bool = True) -> Any:
    """One layer. A ReLU works in place, as PyTorch's own nets have it, unless its input is somebody else's too (`first`)."""
    from torch import nn

    kind = type(layer).__name__
    if kind == "Sequential":
        return nn.Sequential(*(_twin(child, first=i == 0) for i, child in enumerate(layer)))
    if kind == "Residual":
        return _residual(_twin(layer.body), nn.Identity() if layer.shortcut is None else _twin(layer.shortcut))
    if kind == "Conv2d":
        sizes = layer.in_channels, layer.out_channels, layer.geometry.kernel
        return nn.Conv2d(*sizes, **layer.settings, bias=layer.bias is not None)
    if kind == "Linear":
        return nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    if kind == "BatchNorm2d":
        return nn.BatchNorm2d(layer.num_features, eps=layer.eps, momentum=layer.momentum)
    if kind == "MaxPool2d":
        return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
    if kind == "AdaptiveAvgPool2d":
        return nn.AdaptiveAvgPool2d(layer.output_size)
    if kind == "ReLU":
        return nn.ReLU(inplace=not first)
    if kind == "Flatten":
        return nn.Flatten()
    raise TypeError(f"torch_twin: say here what PyTorch calls the layer {layer!r}")


def _residual(body: Any, shortcut: Any) -> Any:
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.shortcut(x)

    return Residual()
