"""What several architectures share: convolution with batch norm, the residual block, He's initial weights."""

from typing import Literal, get_args

import numpy as np

from .. import initializers
from ..functional import checks
from ..layers import BatchNorm2d, Conv2d, ConvTranspose2d, Layer, Linear, ReLU, Residual, Sequential

Shape = tuple[int, int, int]
Stem = Literal["auto", "cifar", "imagenet"]


def checked(op: str, input_shape: Shape, classes: int, least: int = 1) -> Shape:
    """(C, H, W), of height and width at least `least`; ValueError otherwise."""
    if len(input_shape) != 3:
        raise ValueError(f"{op}: input_shape must be (C, H, W), found {input_shape}")
    checks.integer(op, classes, "classes", 1)
    c, h, w = (checks.integer(op, size, f"input_shape {input_shape}: every size", 1) for size in input_shape)
    if min(h, w) < least:
        raise ValueError(f"{op}: images must be at least {least} pixels high and wide, found {h} x {w}")
    return c, h, w


def for_photographs(op: str, stem: Stem, h: int, w: int) -> bool:
    """Whether the net starts with the strides made for photographs: as `stem` says, "auto" from 96 pixels on."""
    if stem not in get_args(Stem):
        raise ValueError(f"{op}: stem must be one of {get_args(Stem)}, found {stem!r}")
    return stem == "imagenet" or (stem == "auto" and min(h, w) >= 96)


def conv_bn(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, groups: int = 1, relu: bool = True
) -> list[Layer]:
    """Convolution of an odd window that keeps the size (at stride 1), batch norm and, unless told otherwise, ReLU.

    No bias: the batch norm's mean would take it away again, and its beta is one.
    """
    padding = kernel_size // 2
    conv = Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, groups=groups, bias=False)
    return [conv, BatchNorm2d(out_channels), *([ReLU()] if relu else [])]


def residual(body: Sequential, in_channels: int, out_channels: int, stride: int) -> list[Layer]:
    """relu(body(x) + shortcut(x)): the identity where shapes allow it, else a 1x1 convolution with batch norm.

    He, Zhang, Ren & Sun 2016 ("Deep residual learning"), figure 2; the projection is its option B.
    """
    same = stride == 1 and in_channels == out_channels
    shortcut = None if same else Sequential(*conv_bn(in_channels, out_channels, 1, stride, relu=False))
    return [Residual(body, shortcut), ReLU()]


def zero_last_gammas(net: Layer) -> None:
    """Start every residual block as the identity: gamma = 0 in its body's last batch norm.

    Goyal et al. 2017 ("Accurate, large minibatch SGD"), section 5.1.
    """
    for block in net.modules():
        if isinstance(block, Residual):
            gammas = [layer.weight for layer in block.children()[0].modules() if isinstance(layer, BatchNorm2d)]
            if gammas[-1] is not None:
                gammas[-1].data = np.zeros(gammas[-1].shape)


def he_initialised(net: Sequential) -> Sequential:
    """The net with He-normal weights and zero biases, but N(0, 0.01^2) in its last linear layer.

    No ReLU follows that one, and with small weights the first loss is near that of guessing, ln(classes).
    He, Zhang, Ren & Sun 2015; the last layer after Goyal et al. 2017, section 5.1.
    """
    weighted = [layer for layer in net.modules() if isinstance(layer, Conv2d | ConvTranspose2d | Linear)]
    for layer in weighted:
        draw = initializers.gaussian if layer is weighted[-1] else initializers.he_normal
        layer.weight.data = draw(layer.weight.shape)
        if layer.bias is not None:
            layer.bias.data = np.zeros_like(layer.bias.data)
    return net
