"""The lecture's tools: is the gradient right, do kernels and reference agree, which learning rate."""

from .gradients import check_gradients
from .lr_range import lr_range_test
from .paths import compare_paths

__all__ = ["check_gradients", "compare_paths", "lr_range_test"]
