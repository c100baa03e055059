"""Layers with explicit forward and backward."""

from .base import Layer
from .containers import Residual, Sequential
from .convolution import Conv2d, ConvTranspose2d
from .linear import Linear

__all__ = ["Conv2d", "ConvTranspose2d", "Layer", "Linear", "Residual", "Sequential"]
