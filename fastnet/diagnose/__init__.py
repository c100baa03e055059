"""The lecture's tools: is the gradient right, do kernels and reference agree."""

from .gradients import check_gradients
from .paths import compare_paths

__all__ = ["check_gradients", "compare_paths"]
