"""`cs231n.vis_utils`: images and filters side by side in one array, for plt.imshow."""

import math
from typing import Any

import numpy as np

from ..memory import Array

__all__ = ["visualize_grid"]


def visualize_grid(Xs: Any, ubound: float = 255.0, padding: int = 1) -> Array:
    """Images (N, H, W, C) as one square grid (H', W', C), each stretched to 0 … ubound, `padding` zeros between them.

    An image of one value alone becomes 0. Places of the grid that no image fills stay 0.
    """
    Xs = np.asarray(Xs, np.float64)
    if Xs.ndim != 4 or 0 in Xs.shape:
        raise ValueError(f"visualize_grid: wanted images (N, H, W, C), found shape {Xs.shape}")
    n, height, width, channels = Xs.shape
    side = math.isqrt(n - 1) + 1
    grid = np.zeros((side * (height + padding) - padding, side * (width + padding) - padding, channels))
    for k, image in enumerate(Xs):
        top, left = k // side * (height + padding), k % side * (width + padding)
        low, span = image.min(), image.max() - image.min()
        grid[top : top + height, left : left + width] = ubound * (image - low) / (span or 1.0)
    return grid
