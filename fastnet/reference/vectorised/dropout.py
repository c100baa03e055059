"""Dropout: numbers, or whole feature maps, set to zero at random; the others scaled up so that the mean stays.

p is the probability to DROP. Whether number i is kept is a hash of (seed, i), the same one as in `functional`, so that both
draw the same masks and no thread count can change them. Srivastava et al. 2014; for maps Tompson et al. 2015.
"""

import numpy as np

from ..shapes import Array, Saved


def _key(seed: int, i: Array) -> Array:
    """64 well mixed bits of the seed, a new key for every 2^32 numbers (SplitMix64).    i uint64  ->  uint64."""
    z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * ((i >> np.uint64(32)) + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_bits(seed: int, count: int) -> Array:
    """32 random bits for each of the numbers 0 … count - 1 (MurmurHash3's finaliser).    ->  (count,) uint32."""
    i = np.arange(count, dtype=np.uint64)
    key = _key(seed, i)
    h = i.astype(np.uint32) * np.uint32(0x9E3779B9) + key.astype(np.uint32)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) + (key >> np.uint64(32)).astype(np.uint32)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def _mask(shape: tuple[int, ...], p: float, seed: int, dtype: np.dtype[np.generic]) -> Array:
    """1 / (1 - p) where a number is kept, else 0; numbers are counted in C order."""
    if p == 1:
        return np.zeros(shape, dtype)
    kept = random_bits(seed, int(np.prod(shape))) >= np.uint32(int(p * 2**32))
    return (kept / (1 - p)).astype(dtype).reshape(shape)


def dropout(x: Array, p: float = 0.5, *, training: bool = True, seed: int = 0) -> tuple[Array, Saved]:
    """y = x / (1 - p) with probability 1 - p, else 0 x, every number by itself; without training y = x.

    x of any shape  ->  y like x, saved.  Images (N, C, H, W) are counted in their memory order (N, H, W, C).
    """
    if not training or p == 0:
        return x, (None,)
    if x.ndim == 4:
        n, c, h, w = x.shape
        mask = _mask((n, h, w, c), p, seed, x.dtype).transpose(0, 3, 1, 2)
    else:
        mask = _mask(x.shape, p, seed, x.dtype)
    return x * mask, (mask,)


def dropout_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy times the mask.    dy like y  ->  dx like x."""
    (mask,) = saved
    return dy if mask is None else dy * mask


def dropout2d(x: Array, p: float = 0.5, *, training: bool = True, seed: int = 0) -> tuple[Array, Saved]:
    """y[n,c] = x[n,c] / (1 - p) with probability 1 - p, else 0 x[n,c]: whole maps.    x (N, C, H, W)  ->  y like x, saved."""
    if not training or p == 0:
        return x, (None,)
    mask = _mask(x.shape[:2], p, seed, x.dtype)[:, :, None, None]
    return x * mask, (mask,)


def dropout2d_backward(dy: Array, saved: Saved) -> Array:
    """dx = dy times the mask.    dy (N, C, H, W)  ->  dx (N, C, H, W)."""
    return dropout_backward(dy, saved)
