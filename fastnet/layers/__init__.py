"""Layers with explicit forward and backward."""

from .activations import ELU, GELU, LeakyReLU, Maxout, PReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .base import Layer
from .containers import Concat, Residual, Sequential
from .convolution import Conv2d, ConvTranspose2d
from .dropconnect import DropConnect
from .dropout import Dropout, Dropout2d, VanillaDropout
from .linear import Linear
from .normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from .pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from .scale import Scale
from .shape import Flatten, Identity, ZeroPad2d

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "DropConnect",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GroupNorm",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Maxout",
    "PReLU",
    "ReLU",
    "Residual",
    "Scale",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "VanillaDropout",
    "ZeroPad2d",
]
