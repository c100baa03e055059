"""A convolutional-network engine for CPUs: explicit forward and backward, hot loops in Cython."""

from .initializers import manual_seed

__all__ = ["manual_seed"]
