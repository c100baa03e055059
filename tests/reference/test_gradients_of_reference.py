"""Every backward of the vectorised reference against central differences in float64."""

import numpy as np
import pytest
from operations import CASES, all_cases, arguments, differentiable, run

from fastnet.reference import vectorised

STEP = 1e-5
SMOOTH = [name for name in CASES if hasattr(vectorised, name)]


def finite(given):
    return all(np.isfinite(a).all() for v in given.values() for a in (v if isinstance(v, list) else [v])
               if isinstance(a, np.ndarray))  # fmt: skip


def kinked(name, given):
    """Equal maxima and integers sit on kinks, where one side's slope differs from the other's."""
    return any(isinstance(v, np.ndarray) and v.dtype.kind == "f" and v.size > 1 and (v == np.round(v)).all()
               for v in given.values())  # fmt: skip


def slope(name, given, place, direction, dy):
    """The change of sum(y * dy) per step along a direction in one array."""
    values = []
    start = place.copy()
    for sign in (1, -1):
        place[...] = start + sign * STEP * direction
        y, _ = getattr(vectorised, name)(**given)
        values.append(float(np.sum(y * dy)))
    place[...] = start
    return (values[0] - values[1]) / (2 * STEP)


@pytest.mark.parametrize(("name", "case"), all_cases(SMOOTH))
def test_backward_is_the_slope_of_forward(name, case):
    given = arguments(case)
    if not finite(given) or kinked(name, given):
        given = arguments(case, seed=3)
        for key, value in given.items():
            if isinstance(value, np.ndarray) and key in ("x", "scores", "y") and value.dtype.kind == "f":
                given[key] = np.random.default_rng(5).standard_normal(value.shape)
    y, gradients = run(vectorised, name, given)
    dy = 1.75 if isinstance(y, float) else np.random.default_rng(1).standard_normal(y.shape)
    rng = np.random.default_rng(2)
    for key, gradient in zip(differentiable(name, given), gradients, strict=True) if name != "concat" else []:
        if key is None:
            assert gradient is None
            continue
        for _ in range(3):
            direction = rng.standard_normal(given[key].shape)
            direction /= np.linalg.norm(direction)
            wanted = slope(name, given, given[key], direction, dy)
            assert np.sum(gradient * direction) == pytest.approx(wanted, rel=1e-6, abs=1e-7)


def test_concat_gives_every_input_its_own_slice_of_the_gradient():
    given = arguments(CASES["concat"][0])
    y, gradients = run(vectorised, "concat", given)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    np.testing.assert_array_equal(np.concatenate(gradients, axis=1), dy)
    assert [g.shape for g in gradients] == [x.shape for x in given["xs"]]
