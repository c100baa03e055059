"""A convolutional-network engine for CPUs: explicit forward and backward, hot loops in Cython."""

from .checkpoint import Checkpoint, load, save
from .errors import FormatError
from .initializers import manual_seed

__all__ = ["Checkpoint", "FormatError", "load", "manual_seed", "save"]
