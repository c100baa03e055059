"""Layers with explicit forward and backward."""

from .base import Layer
from .containers import Residual, Sequential
from .convolution import Conv2d, ConvTranspose2d
from .linear import Linear
from .pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from .shape import Flatten, Identity, ZeroPad2d

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "Conv2d",
    "ConvTranspose2d",
    "Flatten",
    "Identity",
    "Layer",
    "Linear",
    "MaxPool2d",
    "Residual",
    "Sequential",
    "ZeroPad2d",
]
