"""The lecture's tools: is the gradient right, do kernels and reference agree, which rate, what is wrong; and a profile."""

from .doctor import doctor
from .findings import Diagnosis, Finding
from .gradients import check_gradients
from .lr_range import lr_range_test
from .paths import compare_paths
from .profile import Profile, profile_step

__all__ = [
    "Diagnosis",
    "Finding",
    "Profile",
    "check_gradients",
    "compare_paths",
    "doctor",
    "lr_range_test",
    "profile_step",
]
