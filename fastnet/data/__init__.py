"""Data sets, their readers, transforms, and the loader that prepares batches ahead."""

from .dataset import Dataset, hold_out
from .folder import read_folder
from .idx import read_idx
from .registry import load, names

__all__ = ["Dataset", "hold_out", "load", "names", "read_folder", "read_idx"]
