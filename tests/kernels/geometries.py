"""Random geometries of convolution and pooling, and integers so small that every partial sum is exact.

A float32 sum of products of integers is exact, in whatever order it is added, while it stays below 2^24. Kernels may
then be compared with the reference at tolerance 0: what differs is a wrong index and never a rounding.
"""

import math
from dataclasses import dataclass, fields

import numpy as np

EXACT = 1 << 24  # float32 holds every integer up to here
LARGEST = 32


@dataclass(frozen=True)
class Convolution:
    """The numbers of one convolution: x (N, C, H, W), w (F, C/groups, KH, KW)."""

    N: int
    C: int
    H: int
    W: int
    F: int
    KH: int
    KW: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    bias: bool

    def __str__(self):
        return " ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))

    @property
    def options(self):
        return dict(stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)

    @property
    def output(self):
        """(OH, OW)."""
        size = zip((self.H, self.W), (self.KH, self.KW), self.stride, self.padding, self.dilation)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in size)

    def arrays(self, rng):
        """x, w, b, dy of integers, as float64; b is None without bias."""
        OH, OW = self.output
        longest = max(
            self.C // self.groups * self.KH * self.KW,  # terms of one y
            self.F // self.groups * self.KH * self.KW,  # of one dx
            self.N * OH * OW,  # of one dw
        )
        x = integers(rng, (self.N, self.C, self.H, self.W), longest)
        w = integers(rng, (self.F, self.C // self.groups, self.KH, self.KW), longest)
        b = integers(rng, (self.F,), longest) if self.bias else None
        return x, w, b, integers(rng, (self.N, self.F, OH, OW), longest)


def integers(rng, shape, longest):
    """Integers of [-r, r], r at most 32, as float64: sums of `longest` products and one more number stay exact."""
    r = min(LARGEST, math.isqrt(EXACT // (longest + 1)))
    assert r > 0, f"no exact inputs for sums of {longest} terms"
    return rng.integers(-r, r + 1, shape).astype(np.float64)


def layouts(x):
    """x in the memory orders that callers have: NCHW, channels-last, and a view with wide and negative strides."""
    n, c, h, w = x.shape
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    wide = np.zeros((n, c, 2 * h, w), x.dtype)[:, :, ::2, ::-1]
    wide[...] = x
    return [np.ascontiguousarray(x), last, wide]


FLAVOURS = ("plain", "grouped", "depthwise", "pointwise", "three channels", "odd channels", "one image", "tiny map")


def random_convolution(rng, flavour="plain", most=17):
    """A convolution of one flavour that has at least one window, with about `most` channels at most."""

    def upto(limit, least=1):
        return int(rng.integers(least, limit + 1))

    def both(draw):
        return draw(), draw()

    while True:
        C, F, groups = upto(most), upto(most), 1
        N, H, W = upto(3), upto(14), upto(14)
        KH, KW = both(lambda: int(rng.choice([1, 2, 3, 3, 3, 4, 5, 7])))
        if flavour == "grouped":
            groups = upto(5, 2)
            C, F = groups * upto(5), groups * upto(5)
        elif flavour == "depthwise":
            C = groups = upto(2 * most)
            F = C * upto(2)
        elif flavour == "pointwise":
            KH = KW = 1
            C, F = upto(3 * most), upto(3 * most)
        elif flavour == "three channels":
            C, F = 3, upto(3 * most)
        elif flavour == "odd channels":
            C, F = 2 * upto(most) + 1, 2 * upto(most) + 1
        elif flavour == "one image":
            N, H, W = 1, upto(24), upto(24)
        elif flavour == "tiny map":
            H, W = upto(4), upto(4)
        stride = both(lambda: int(rng.choice([1, 1, 1, 2, 2, 3])))
        padding = int(rng.integers(0, KH + 1)), int(rng.integers(0, KW + 1))
        dilation = both(lambda: int(rng.choice([1, 1, 1, 2, 3])))
        found = Convolution(N, C, H, W, F, KH, KW, stride, padding, dilation, groups, bool(rng.integers(2)))
        if min(found.output) > 0:
            return found


def random_transposed(rng, most=9):
    """(x, w, b, options) of a transposed convolution: one that leads back from a random convolution's output."""
    while True:
        back = random_convolution(rng, str(rng.choice(FLAVOURS)), most)
        OH, OW = back.output
        sizes = zip((OH, OW), (back.KH, back.KW), back.stride, back.padding, back.dilation)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in sizes]
        extra = back.H - least[0], back.W - least[1]  # what the division by the stride left over
        if min(least) > 0 and all(e < max(s, d) for e, s, d in zip(extra, back.stride, back.dilation)):
            longest = max(back.C, back.F, back.N * OH * OW) * back.KH * back.KW
            x = integers(rng, (back.N, back.F, OH, OW), longest)
            w = integers(rng, (back.F, back.C // back.groups, back.KH, back.KW), longest)
            b = integers(rng, (back.C,), longest) if back.bias else None
            return x, w, b, dict(back.options, output_padding=extra)


def random_pool(rng, *, dilated=True, most=9):
    """(shape of x, options) of a pooling that has at least one window and pads no more than half a window."""
    while True:
        shape = tuple(int(rng.integers(1, limit + 1)) for limit in (3, most, 12, 12))
        kernel = tuple(int(k) for k in rng.integers(1, 5, 2))
        stride = None if rng.integers(3) == 0 else tuple(int(s) for s in rng.integers(1, 4, 2))
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        dilation = tuple(int(d) for d in rng.choice([1, 1, 2, 3], 2)) if dilated else (1, 1)
        # every window must see a real pixel: then the answer does not hang on what padding counts for
        if all(n >= d * (k - 1) + 1 for n, k, d in zip(shape[2:], kernel, dilation)):
            options = dict(kernel_size=kernel, stride=stride, padding=padding, ceil_mode=bool(rng.integers(2)))
            return shape, options | (dict(dilation=dilation) if dilated else {})
