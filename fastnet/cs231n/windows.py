"""conv_param and pool_param, checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..functional import checks
from .arrays import setting


def _positive(op: str, given: Mapping[str, Any], what: str, name: str, least: int = 1) -> int:
    return checks.integer(op, setting(op, given, what, name), f'{what}["{name}"]', least)


def conv_settings(op: str, x: Any, w: Any, b: Any, conv_param: Mapping[str, Any]) -> tuple[int, int]:
    """(stride, pad) of a conv_param; ValueError unless x (N, C, H, W), w (F, C, HH, WW) and b (F,) fit each other."""
    images, filters, biases = np.shape(x), np.shape(w), np.shape(b)
    if len(images) != 4 or len(filters) != 4 or images[1] != filters[1] or biases != filters[:1]:
        raise ValueError(
            f"{op}: wanted x (N, C, H, W), w (F, C, HH, WW) and b (F,), found {images}, {filters} and {biases}"
        )
    return _positive(op, conv_param, "conv_param", "stride"), _positive(op, conv_param, "conv_param", "pad", 0)


def pool_settings(op: str, x: Any, pool_param: Mapping[str, Any]) -> tuple[tuple[int, int], int]:
    """((height, width), stride) of a pool_param for images x (N, C, H, W)."""
    if np.ndim(x) != 4:
        raise ValueError(f"{op}: x must be (N, C, H, W), found shape {np.shape(x)}")
    height, width, stride = (
        _positive(op, pool_param, "pool_param", n) for n in ("pool_height", "pool_width", "stride")
    )
    return (height, width), stride
