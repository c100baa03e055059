"""The weight gradient on AMX: how the taps of a window fall into tiles, and the product into blocks and tasks.

What slots, pairs and streams are: fastnet/_ext/amx_weights.pyx.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..memory import Array
from .geometry import Axis, indices

ROWS = 16  # of a tile: filters, pairs of a step; also its columns: lanes of a slot
SLOT, TILE = 64, 1024  # bytes
CACHE = 1200 << 10  # bytes of a block's operands, in the second-level cache together with the sums on their way
PARTIALS = 5 << 20  # bytes of partial sums
SCRATCH = 4 << 20  # bytes of a task's
TASKS = 16


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

    @property
    def kinds(self) -> int:
        return len(self.piece)


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
    """A function of the shape alone, so that the bits do not depend on the threads."""
    height, half = rows.outputs, -(-rows.outputs // 2)
    if 20 * half * images < 19 * height * -(-images // 2):
        pairs, height, streams = images, half, indices(images, half, 1, 0, half)
    else:
        pairs = -(-images // 2)
        streams = indices(pairs, height, 2, 1, 0)
    w = window(rows, columns, channels)
    taps = len(w.group)
    blocks = w.kinds or -(-channels // ROWS)
    row_tiles, panels, chunks = -(-filters // ROWS), -(-filters // (2 * ROWS)), 1 if w.kinds else -(-blocks // 2)
    reach = int(w.group[:, 2].max()), int(w.group[:, 4].max())
    slots_across = len(w.column_residue) * (columns.outputs + reach[1])
    best = None
    multiply, turn, fill, store = {3: (31, 80, 5, 25), 2: (16, 60, 4, 25), 1: (6, 40, 3, 25)}[planes]
    for filter_slices in _halvings(panels):
        for chunk_slices in _halvings(chunks):
            tall = min(row_tiles, 2 * -(-panels // filter_slices))
            wide = blocks if w.kinds else min(blocks, 2 * -(-chunks // chunk_slices))
            tiles = tall * (taps if w.kinds else wide * taps)
            for many in _doublings(pairs):
                parts = -(-columns.outputs * many // ROWS)
                turned = parts * tall * planes * TILE
                slots = slots_across * many * wide * planes * SLOT
                room = (CACHE - slots * len(w.row_residue) * reach[0]) // (turned + slots * len(w.row_residue))
                lines = max(1, min(height, room))
                lines = -(-height // -(-height // lines))
                if many > 1 and room < 1:
                    break
                steps = lines * parts
                cost = steps * (tiles * multiply + tall * turn) + tiles * store
                cost += (lines + reach[0]) * len(w.row_residue) * slots_across * many * wide * fill
                count = -(-pairs // many) * -(-height // lines)
                bytes_ = 4 * channels * filters * len(rows.taps) * len(columns.taps)
                pieces = 1
                while 2 * pieces * bytes_ <= PARTIALS and 8 * pieces <= count and pieces < 64:
                    pieces *= 2
                if pieces == 1 and tiles * TILE > SCRATCH // 2 and chunk_slices < chunks:
                    continue
                slices = filter_slices * chunk_slices
                total = cost * count * slices
                score = total + 0.5 * total / (pieces * slices) * (1 if total > 50000 else 0)
                if best is None or score < best[0]:
                    best = score, indices(many, lines, pieces, filter_slices, chunk_slices)
    assert best is not None
    return Cut(streams, best[1])


def _halvings(n: int) -> list[int]:
    return sorted({1, *(i for i in (2, 3, 4, 6, 8, 12, 16, 24, 32, 64) if i <= n)})


def _doublings(n: int) -> list[int]:
    return sorted({n, *(1 << i for i in range(n.bit_length()))})
