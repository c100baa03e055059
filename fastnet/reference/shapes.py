"""What loops and vectorised NumPy share: the sizes of outputs, and nothing of the arithmetic."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Pair = int | Sequence[int]
Saved = tuple[Any, ...]


def pair(value: Pair) -> tuple[int, int]:
    """(height, width) of an integer or a pair."""
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def window_size(
    op: str, size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool = False
) -> tuple[int, int]:
    """How many windows fit: OH = (H + 2 PH - DH (KH - 1) - 1) // SH + 1, and OW likewise.

    With ceil_mode the division rounds up, but a window that would begin beyond the input and its leading padding is
    left out. ValueError if no window fits.
    """
    sizes = []
    for n, k, s, p, d in zip(pair(size), pair(kernel), pair(stride), pair(padding), pair(dilation)):
        room = n + 2 * p - d * (k - 1) - 1
        count = room // s + 1
        if ceil_mode and room % s and count * s < n + p:
            count += 1  # even where the window is larger than the padded input, as in PyTorch
        if count < 1:
            raise ValueError(
                f"{op}: a window that reaches over {d * (k - 1) + 1} is larger than the padded input of {n + 2 * p}"
            )
        sizes.append(count)
    return sizes[0], sizes[1]


def conv2d_size(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair | str, dilation: Pair
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(OH, OW) and (PH, PW), the zeros above and to the left. "same" keeps the size: it needs DH (KH - 1) zeros in all,
    half of them above and an odd one below.
    """
    if padding != "same":
        assert not isinstance(padding, str)
        return window_size("conv2d", size, kernel, stride, padding, dilation), pair(padding)
    if pair(stride) != (1, 1):
        raise ValueError(f'conv2d: padding="same" needs stride 1, found {pair(stride)}')
    (KH, KW), (DH, DW) = pair(kernel), pair(dilation)
    return pair(size), (DH * (KH - 1) // 2, DW * (KW - 1) // 2)


def transposed_size(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, output_padding: Pair, dilation: Pair
) -> tuple[int, int]:
    """The image size whose convolution gives `size`: H = (OH - 1) SH - 2 PH + DH (KH - 1) + output padding + 1."""
    sizes = [
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, k, s, p, extra, d in zip(
            pair(size), pair(kernel), pair(stride), pair(padding), pair(output_padding), pair(dilation)
        )
    ]
    if min(sizes) < 1:
        raise ValueError(f"conv_transpose2d: the output would have the size {sizes[0]} x {sizes[1]}")
    return sizes[0], sizes[1]


def sides(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) of an integer or of these four."""
    left, right, top, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    if min(left, right, top, bottom) < 0:
        raise ValueError(f"zero_pad2d: padding must be at least 0, found {padding}")
    return int(left), int(right), int(top), int(bottom)
