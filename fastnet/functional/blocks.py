"""The weight gradient on AMX: how the taps of a window fall into tiles, and the product into blocks and tasks.

What slots, pairs and streams are: fastnet/_ext/amx_weights.pyx.
"""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from ..memory import Array
from .geometry import Axis, indices

ROWS = 16  # of a tile: filters, pairs of a step; also its columns: lanes of a slot
SLOT, TILE = 64, 1024  # bytes
CACHE = 3 << 19  # bytes of a block's operands: the second-level cache less the sums on their way
SCRATCH = 4 << 20  # bytes of a task's operands and sums
PARTIALS = 5 << 20  # bytes of partial sums
CHAIN = 64  # steps of a block, at most: the sum of one is rounded at each of them
# Measured, in ns, by planes: the products of two tiles, turning a tile of dy, filling a slot; sums of a tile added to others.
COSTS = {3: (43, 95, 5.5, 20), 2: (22, 80, 4.2, 20), 1: (8, 50, 2.8, 20)}
ADDING = 0.1  # ns for a byte of partial sums


class Window(NamedTuple):
    """The taps of a window as pairs of residue and place on either axis.

    group[g] = (kind of slot, row residue, row, column residue, column) of a tap or, folded, of a little window of them;
    piece[kind, i] = (line, first number, length) of what a folded slot holds, length 0: nothing more;
    origin[k] = where number k of a filter's gradient stands among the sums of a chunk of 32 channels (folded: of all), whose
    tiles lie in pairs, 16 rows of 32 sums.
    """

    row_residue: Array
    column_residue: Array
    group: Array
    piece: Array
    origin: Array


def _places(axis: Axis) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """The residues of an axis, and (which of them, place) of every offset."""
    residues = sorted({o % axis.step for o in axis.offsets})
    return residues, {o: (residues.index(o % axis.step), o // axis.step) for o in axis.offsets}


def _close(axis: Axis) -> bool:
    return all(b - a == 1 for a, b in zip(axis.offsets, axis.offsets[1:]))


@lru_cache(maxsize=1024)
def window(rows: Axis, columns: Axis, channels: int) -> Window:
    """The window that reads `channels` channels at every tap."""
    if channels < ROWS:
        return _folded(rows, columns, channels)
    down, row = _places(rows)
    across, column = _places(columns)
    group = [(0, *row[r], *column[c]) for r in rows.offsets for c in columns.offsets]
    c, tap = np.divmod(np.arange(2 * ROWS * len(group)), len(group))
    tile = c // ROWS * len(group) + tap
    return Window(
        indices(*down), indices(*across), np.array(group, np.intp), np.empty((0, 1, 3), np.intp), _stand(tile, c % ROWS)
    )


def _stand(tile: Array, lane: Array) -> Array:
    stand: Array = (tile // 2 * (2 * ROWS * ROWS) + tile % 2 * ROWS + lane).astype(np.intc)
    return stand


def _folded(rows: Axis, columns: Axis, channels: int) -> Window:
    """Few channels: the numbers of neighbouring pixels lie side by side in x, and a line of the window in slots of 16 of them.
    The rest of several lines shares a slot."""
    starts = columns.offsets[:1] if _close(columns) else columns.offsets
    length = channels * (len(columns.offsets) if _close(columns) else 1)
    whole, rest = divmod(length, ROWS)
    lines = min(len(rows.offsets), ROWS // rest) if rest and _even(rows) else 1
    gap = rows.offsets[1] - rows.offsets[0] if lines > 1 else 0
    pieces = [[(0, i * ROWS, ROWS)] for i in range(whole)]
    if rest:
        pieces.append([(i * gap, whole * ROWS, rest) for i in range(lines)])
    used_rows = Axis(rows.outputs, 0, 1, rows.step, rows.lead, rows.taps, rows.offsets)
    down, row = _places(used_rows)
    across, column = _places(Axis(columns.outputs, 0, 1, columns.step, columns.lead, columns.taps, starts))
    group: list[tuple[int, ...]] = []
    tile_of = {}
    for kind in range(len(pieces)):
        every = lines if rest and kind == whole else 1
        for u in range(0, len(rows.offsets), every):
            for v, start in enumerate(starts):
                for i in range(u, min(u + every, len(rows.offsets))):
                    tile_of[kind, i, v] = (len(group), (i - u) * rest)
                group.append((kind, *row[rows.offsets[u]], *column[start]))
    piece = np.zeros((len(pieces), max(map(len, pieces)), 3), np.intp)
    for kind, some in enumerate(pieces):
        piece[kind, : len(some)] = some
    tiles, at = [], []
    for c in range(channels):
        for u in range(len(rows.offsets)):
            for v in range(len(columns.offsets)):
                number = c if len(starts) > 1 else v * channels + c
                tile, lane = tile_of[number // ROWS, u, v if len(starts) > 1 else 0]
                tiles.append(tile)
                at.append(lane + number % ROWS)
    return Window(
        indices(*down), indices(*across), np.array(group, np.intp), piece, _stand(np.array(tiles), np.array(at))
    )


def _even(axis: Axis) -> bool:
    return len({b - a for a, b in zip(axis.offsets, axis.offsets[1:])}) <= 1


class Cut(NamedTuple):
    """`streams` = (pairs, rows, step of the image from pair to pair, image and row of the second stream); `sizes` = (pairs and
    rows of a block, parts of the pixels, slices of filters and of chunks of channels)."""

    streams: Array
    sizes: Array


@lru_cache(maxsize=1024)
def cut(images: int, rows: Axis, columns: Axis, channels: int, filters: int, planes: int) -> Cut:
    """The cheapest cut by the costs above: a function of the shape alone, so that the bits do not depend on the threads."""
    height, pairs = rows.outputs, _up(images, 2)
    streams = indices(pairs, height, 2, 1, 0)
    half = _up(height, 2)
    if half * images < 0.95 * height * pairs:  # an odd image would be paired with nothing
        height, pairs = half, images
        streams = indices(pairs, height, 1, 0, half)
    w = window(rows, columns, channels)
    multiply, turn, fill, add = COSTS[planes]
    down, across = int(w.group[:, 2].max()), int(w.group[:, 4].max())
    kinds = len(w.piece)
    panels, chunks = _up(filters, 2 * ROWS), 1 if kinds else _up(channels, 2 * ROWS)
    size = 4 * filters * channels * len(rows.taps) * len(columns.taps)
    found = []
    for filter_slices, chunk_slices, many in product(_sizes(panels), _sizes(chunks), _sizes(pairs)):
        tall = min(_up(filters, ROWS), 2 * _up(panels, filter_slices))
        blocks = kinds or min(_up(channels, ROWS), 2 * _up(chunks, chunk_slices))
        tiles = tall * len(w.group) * (1 if kinds else blocks)
        parts = _up(columns.outputs * many, ROWS)
        slots = len(w.row_residue) * len(w.column_residue) * (columns.outputs + across) * many * blocks
        each = parts * tall * planes * TILE + slots * planes * SLOT  # bytes of a row
        lines = max(1, min(height, (CACHE - slots * planes * SLOT * down) // each, CHAIN // parts))
        lines = _up(height, _up(height, lines))
        room = lines * each + slots * planes * SLOT * down
        count = _up(pairs, many) * _up(height, lines)
        cost = lines * parts * (tiles * multiply + tall * turn) + (lines + down) * slots * fill + tiles * add
        for shares in _sizes(min(count, max(1, PARTIALS // size), 32)):
            if shares > 1 or room + tiles * TILE <= SCRATCH:
                slices = filter_slices * chunk_slices
                total = cost * count * slices + (shares > 1) * shares * size * ADDING
                largest = cost * _up(count, shares)  # of the tasks, for which the other threads may have to wait
                found.append(
                    (max(0, room - CACHE), total + largest / 2, (many, lines, shares, filter_slices, chunk_slices))
                )
    return Cut(streams, indices(*min(found)[2]))


def _up(a: int, b: int) -> int:
    return -(-a // b)


def _sizes(n: int) -> list[int]:
    """Powers of two below n, and n."""
    return [*(1 << i for i in range((n - 1).bit_length())), n]
