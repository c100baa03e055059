"""Data sets, their readers, transforms, and the loader that prepares batches ahead."""

from .augment import AlternatingFlip, Augment, ColorJitter, Cutout, MixUp, RandomCrop, RandomFlip, RandomShift
from .dataset import Dataset, hold_out
from .folder import read_folder
from .idx import read_idx
from .labels import MixedLabels
from .loader import Loader
from .preprocess import PCA, Normalize, Preprocessing, Whiten, ZeroCenter
from .registry import load, names

__all__ = [
    "PCA",
    "AlternatingFlip",
    "Augment",
    "ColorJitter",
    "Cutout",
    "Dataset",
    "Loader",
    "MixUp",
    "MixedLabels",
    "Normalize",
    "Preprocessing",
    "RandomCrop",
    "RandomFlip",
    "RandomShift",
    "Whiten",
    "ZeroCenter",
    "hold_out",
    "load",
    "names",
    "read_folder",
    "read_idx",
]
