"""Images, and weights seen as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..layers import Conv2d, Layer
from ..memory import Array
from .figure import Path, finish, grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def filters(w: Array | Layer, path: Path = None, *, columns: int | None = None) -> Figure:
    """The filters w (F, C, KH, KW) of a convolution as tiles: in colour for C = 3, else one grey tile per channel.

    Of a net, those of its first convolution. ValueError if it has none.
    Grey tiles show negative weights dark and positive ones bright, all on one scale; colours are scaled per filter.
    """
    if isinstance(w, Layer):
        first = next((layer for layer in w.modules() if isinstance(layer, Conv2d)), None)
        if first is None:
            raise ValueError("filters: the net has no convolution")
        w = first.weight.data
    w = np.asarray(w, np.float64)
    if w.ndim != 4 or 0 in w.shape:
        raise ValueError(f"filters: expected weights (F, C, KH, KW), found shape {w.shape}")
    f, c = w.shape[:2]
    if c == 3:
        low = w.min((1, 2, 3), keepdims=True)
        span = w.max((1, 2, 3), keepdims=True) - low
        tiles = ((w - low) / np.where(span > 0, span, 1)).transpose(0, 2, 3, 1)
        title = f"{f} filters"
    else:
        tiles = w.reshape(f * c, *w.shape[2:])
        title = f"{f} filters" if c == 1 else f"{f} filters of {c} channels"
        columns = columns or (c if c > 1 else None)
    scale = float(np.abs(w).max()) or 1.0
    return finish(grid(tiles, title, None, columns, -scale, scale), path)


def images(
    x: Array,
    path: Path = None,
    *,
    titles: Sequence[object] | None = None,
    columns: int | None = None,
    title: str | None = None,
    tile: float = 0.9,
) -> Figure:
    """Images x (N, C, H, W) of 1 or 3 channels as a grid; uint8 as they are, other numbers scaled to their range.

    titles stand above the images, title above them all; a tile is so many inches wide.
    """
    x = np.asarray(x)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"images: expected (N, C, H, W) with 1 or 3 channels, found shape {x.shape}")
    if titles is not None and len(titles) != len(x):
        raise ValueError(f"images: expected {len(x)} titles, found {len(titles)}")
    return finish(grid(as_tiles(x), title, titles, columns, 0.0, 1.0, tile), path)


def as_tiles(x: Array) -> Array:
    """Images (N, C, H, W) of 1 or 3 channels as (N, H, W) or (N, H, W, 3) in 0 … 1."""
    if x.dtype == np.uint8:
        values = x / 255.0
    else:
        low, high = float(x.min()), float(x.max())
        values = (x - low) / ((high - low) or 1.0)
    tiles: Array = values[:, 0] if x.shape[1] == 1 else values.transpose(0, 2, 3, 1)
    return tiles
