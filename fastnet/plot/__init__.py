"""Pictures: training curves, filters, histograms of what goes through a net, saliency, mistakes, confusion matrices, images.

Needs matplotlib (`pip install "fastnet[plot]"`). Every function returns a matplotlib Figure, which a notebook shows,
and saves it if it gets a path; no window system is needed.
"""

from .classes import confusion, confusion_matrix, misclassified
from .curves import curves
from .histograms import activations, gradients
from .images import filters, images
from .saliency import saliency

__all__ = [
    "activations",
    "confusion",
    "confusion_matrix",
    "curves",
    "filters",
    "gradients",
    "images",
    "misclassified",
    "saliency",
]
