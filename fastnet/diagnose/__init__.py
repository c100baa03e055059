"""The lecture's tools: is the gradient right, do kernels and reference agree, which learning rate, what is wrong."""

from .doctor import doctor
from .findings import Diagnosis, Finding
from .gradients import check_gradients
from .lr_range import lr_range_test
from .paths import compare_paths

__all__ = ["Diagnosis", "Finding", "check_gradients", "compare_paths", "doctor", "lr_range_test"]
