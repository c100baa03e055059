"""No kernel reads or writes beyond its arrays, which lie between pages that must not be touched."""

import sys

import numpy as np
import pytest
import walls
from kernels.exactness import WINOGRAD, at_level
from kernels.geometries import FLAVOURS, Convolution, random_convolution
from operations import CASES, all_cases, arguments

from fastnet import _ext, functional, memory
from fastnet.functional import split_winograd, winograd

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the walls are Linux's")
LEVELS = [*_ext.available_levels(), *([WINOGRAD] if "amx" in _ext.available_levels() else [])]
each_side = pytest.mark.parametrize("front", [False, True], ids=["behind", "before"])


def walled(given, front):
    """Arguments with every array among them, or in a list of theirs, between walls."""
    if isinstance(given, np.ndarray) and given.size:
        return walls.between(given, front)
    if isinstance(given, list):
        return [walled(one, front) for one in given]
    return {key: walled(one, front) for key, one in given.items()} if isinstance(given, dict) else given


def both_ways(name, given, front):
    y, saved = getattr(functional, name)(**walled(given, front))
    getattr(functional, f"{name}_backward")(walled(np.ones_like(y), front) if isinstance(y, np.ndarray) else 1.0, saved)


def convolution(geometry, level, dtype, front):
    x, w, b, _ = geometry.arrays(np.random.default_rng(3))
    given = dict(x=x.astype(dtype), w=w.astype(dtype), b=None if b is None else b.astype(dtype))
    with at_level(level):
        both_ways("conv2d", given | geometry.options, front)


@pytest.fixture(autouse=True)
def pool(monkeypatch, request):
    """What the engine takes from its pool stands between walls, too."""
    monkeypatch.setattr(memory, "Block", walls.aligned(request.node.callspec.params["front"]))


@each_side
@pytest.mark.parametrize(("name", "case"), all_cases(CASES))
def test_operations_stay_within_their_arrays(name, case, front):
    both_ways(name, arguments(case, np.float32), front)


@each_side
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_random_convolutions_stay_within_their_arrays(flavour, level, front):
    rng = np.random.default_rng(FLAVOURS.index(flavour))
    for dtype in (np.float32, np.float64) * 3:
        convolution(random_convolution(rng, flavour, 23), level, dtype, front)


@each_side
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize(("c", "f", "groups"), [(66, 33, 1), (35, 80, 1), (97, 66, 1), (70, 290, 1), (34, 36, 2)])
def test_winograds_products_stay_within_their_arrays(c, f, groups, tile, level, front, monkeypatch):
    monkeypatch.setattr(winograd, "tile", lambda *outputs: tile)
    monkeypatch.setattr(winograd, "pays", lambda images, rows, columns: True)
    monkeypatch.setattr(split_winograd, "CHANNELS", {1: 16, 2: 16, 3: 16})
    convolution(Convolution(2, c, 6, 5, f, 3, 3, (1, 1), (1, 1), (1, 1), groups, True), level, np.float32, front)


@each_side
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("f", [4, 8, 16])
def test_groups_of_half_a_vector_stay_within_their_arrays(f, level, front):
    convolution(Convolution(3, 6, 9, 7, f, 2, 3, (1, 1), (0, 1), (1, 1), 2, False), level, np.float32, front)
