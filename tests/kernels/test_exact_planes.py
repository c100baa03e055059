"""AMX's products of bfloat16 planes at tolerance 0, on integers that need two planes or three.

A plane holds 8 bits. Wide integers fill the planes of one operand while few numbers in the other keep every sum below 2^24:
the answer is exact, and wrong without any one of the products of planes that carry its bits.
"""

import numpy as np
import pytest
from kernels.exactness import at_level
from kernels.geometries import EXACT, FLAVOURS, Convolution, random_convolution

from fastnet import _ext, config, functional, reference

pytestmark = pytest.mark.skipif("amx" not in _ext.available_levels(), reason="only AMX splits numbers into planes")

# precision, bits of the wide operand, bits of the sparse one; and the last pair of planes that they need
KINDS = {
    "medium, 8 bits by 8": ("medium", 8, 8),  # 1 1
    "high, 12 bits by 5": ("high", 12, 5),  # 2 1, and 1 2 the other way round
    "high, 16 bits by signs": ("high", 16, 1),
    "highest, 10 bits by 10": ("highest", 10, 10),  # 2 2
    "highest, 20 bits by signs": ("highest", 20, 1),  # 3 1, and 1 3
    "highest, 24 bits by one sign": ("highest", 24, 1),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_side = pytest.mark.parametrize("wide_first", [True, False], ids=["wide first", "wide second"])
# whole panels, several turns through the channels, one column of tiles, images instead of pixels in a tile, pairs of outputs
LARGE = [
    Convolution(2, 70, 9, 37, 66, 3, 2, (1, 1), (1, 0), (1, 1), 1, False),
    Convolution(3, 600, 5, 7, 36, 3, 3, (1, 1), (1, 1), (1, 1), 1, False),
    Convolution(40, 35, 4, 3, 97, 2, 3, (1, 1), (1, 1), (1, 1), 1, False),
    Convolution(5, 3, 23, 19, 48, 7, 5, (2, 2), (3, 2), (1, 1), 1, False),
    Convolution(3, 66, 17, 16, 80, 1, 1, (1, 1), (0, 0), (1, 1), 1, False),
    Convolution(3, 14, 9, 38, 16, 3, 5, (1, 1), (1, 2), (1, 1), 1, False),
]
ROWS = [(1, 70, 33), (7, 300, 41), (130, 37, 50), (64, 1000, 10), (100, 530, 96)]  # N, C, F of linear layers


def odd(rng, shape, bits):
    """Odd integers of so many bits, of both signs: the last bit is one, so that they fit in nothing narrower. Planes, whose
    signs differ, are in all up to 1/128 larger than the number: it stays that much below the next power of two."""
    return (rng.integers(1 << bits - 1, (1 << bits) - (1 << bits >> 7), shape) | 1) * rng.choice([-1.0, 1.0], shape)


def most_terms(bits, others):
    """So many products, and those of their planes in any order, add up to no more than 2^24."""
    return EXACT // ((1 << bits) * ((1 << others) - 1))


def few(rng, shape, bits, count):
    """Matrix of `shape` with odd integers in `count` places of each row, zeros elsewhere."""
    ranks = rng.random(shape).argsort(axis=1).argsort(axis=1)
    return np.where(ranks < count, odd(rng, shape, bits), 0)


def few_per_filter_and_channel(rng, case, bits, count):
    """w with at most `count` numbers in a filter, and as many under a channel."""
    filters, channels = case.F // case.groups, case.C // case.groups
    w = np.zeros((case.groups, filters, channels, case.KH, case.KW))
    pairs = min(filters, channels)
    for g in range(case.groups):
        for _ in range(min(count, 2 * case.KH * case.KW * max(filters, channels) // pairs)):
            f, c = rng.permutation(filters)[:pairs], rng.permutation(channels)[:pairs]
            w[g, f, c, rng.integers(case.KH, size=pairs), rng.integers(case.KW, size=pairs)] = odd(rng, pairs, bits)
    return w.reshape(case.F, channels, case.KH, case.KW)


def few_per_window(rng, shape, case, bits, count):
    """Images with `count` numbers in a pixel's group of channels, and pixels of them so far apart that no window sees two."""
    n, c, h, w = shape
    x = few(rng, (n * h * w * case.groups, c // case.groups), bits, count).reshape(n, h, w, c).transpose(0, 3, 1, 2)
    kept = np.zeros(shape)
    rows, columns = (
        slice(int(rng.integers(min(size, d * (k - 1) + 1))), None, d * (k - 1) + 1)
        for size, d, k in zip((h, w), case.dilation, (case.KH, case.KW))
    )
    kept[:, :, rows, columns] = x[:, :, rows, columns]
    return kept


def few_per_channel(rng, shape, bits, count):
    """Images with `count` numbers in a channel of all of them together."""
    n, c, h, w = shape
    return few(rng, (c, n * h * w), bits, count).reshape(c, n, h, w).swapaxes(0, 1)


def products(rng, case, bits, others, wide_first):
    """x, w and dy, one set for each of y, dx and dw: of the two that it multiplies one is wide and the other sparse."""
    count, images, maps = most_terms(bits, others), (case.N, case.C, case.H, case.W), (case.N, case.F, *case.output)
    filters = (case.F, case.C // case.groups, case.KH, case.KW)
    if wide_first:
        weights = few_per_filter_and_channel(rng, case, others, count)
        yield "forward", odd(rng, images, bits), weights, np.zeros(maps)
        yield "dx", np.zeros(images), weights, odd(rng, maps, bits)
        yield "dw", odd(rng, images, bits), np.zeros(filters), few_per_channel(rng, maps, others, count)
    else:
        yield "forward", few_per_window(rng, images, case, others, count), odd(rng, filters, bits), np.zeros(maps)
        yield "dx", np.zeros(images), odd(rng, filters, bits), few_per_window(rng, maps, case, others, count)
        yield "dw", few_per_channel(rng, images, others, count), np.zeros(filters), odd(rng, maps, bits)


def answers(operations, x, w, dy, options):
    y, saved = operations[0](x, w, **options)
    dx, dw, _ = operations[1](dy, saved)
    return dict(forward=y, dx=dx, dw=dw)


def check(rng, case, kind, wide_first, rows=False):
    """AssertionError unless all three products equal the reference's; of linear layers if only `rows` are meant."""
    level, bits, others = KINDS[kind]
    name, options = ("linear", {}) if rows else ("conv2d", case.options)
    twins = getattr(reference, name), getattr(reference, f"{name}_backward")
    ours = getattr(functional, name), getattr(functional, f"{name}_backward")
    for product, *given in products(rng, case, bits, others, wide_first):
        if rows:
            given = [a[:, :, 0, 0] for a in given]
        wanted = answers(twins, *given, options)[product]
        largest = answers(twins, *(np.abs(a) for a in given), options)[product].max()
        assert largest < EXACT, "the test's own numbers are too large"
        with at_level("amx"), config.precision(level):
            found = answers(ours, *(a.astype(np.float32) for a in given), options)[product]
        np.testing.assert_array_equal(found, wanted, err_msg=f"{name} {product}, {kind}, {case}")


@each_kind
@each_side
def test_random_convolutions_of_wide_integers_are_exact(kind, wide_first):
    rng = np.random.default_rng(11)
    for i in range(48):
        check(rng, random_convolution(rng, FLAVOURS[i % len(FLAVOURS)], most=17 if i % 3 else 70), kind, wide_first)


@each_kind
@each_side
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_convolutions_of_many_tiles_are_exact_on_wide_integers(case, kind, wide_first):
    check(np.random.default_rng(12), case, kind, wide_first)


@each_kind
@each_side
def test_linear_layers_are_exact_on_wide_integers(kind, wide_first):
    rng = np.random.default_rng(13)
    shapes = ROWS + [tuple(int(n) for n in rng.integers(1, 140, 3)) for _ in range(24)]
    for N, C, F in shapes:
        check(rng, Convolution(N, C, 1, 1, F, 1, 1, (1, 1), (0, 0), (1, 1), 1, False), kind, wide_first, rows=True)


@pytest.mark.parametrize(
    ("kind", "level"),
    [("high, 12 bits by 5", "medium"), ("highest, 10 bits by 10", "high"), ("highest, 20 bits by signs", "high")],
)
@each_side
def test_the_integers_need_the_planes_they_are_meant_for(kind, level, wide_first, monkeypatch):
    """A check that cannot fail proves nothing: with a plane fewer every product must be found wrong."""
    monkeypatch.setitem(KINDS, kind, (level, *KINDS[kind][1:]))
    rng = np.random.default_rng(14)
    case = LARGE[0]
    _, bits, others = KINDS[kind]
    for product, *given in products(rng, case, bits, others, wide_first):
        with at_level("amx"), config.precision(level):
            found = answers(
                (functional.conv2d, functional.conv2d_backward), *(a.astype(np.float32) for a in given), case.options
            )[product]
        wanted = answers((reference.conv2d, reference.conv2d_backward), *given, case.options)[product]
        assert (found != wanted).any(), product
