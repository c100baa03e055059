"""Losses: PyTorch's values and gradients, finite where they should be, loud where they should not."""

import math

import numpy as np
import pytest

from fastnet import functional
from fastnet.functional import (
    binary_cross_entropy_with_logits,
    huber,
    l1,
    mse,
    multiclass_svm,
    softmax_cross_entropy,
)

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((6, 5))
LABELS = RNG.integers(0, 5, 6)
TARGETS = RNG.standard_normal((6, 5))
SHARES = RNG.random((6, 5))

CASES = [
    ("softmax_cross_entropy", LABELS, {}),
    ("softmax_cross_entropy", LABELS, dict(label_smoothing=0.3)),
    ("softmax_cross_entropy", LABELS, dict(label_smoothing=1.0)),
    ("multiclass_svm", LABELS, {}),
    ("multiclass_svm", LABELS, dict(margin=0.4)),
    ("binary_cross_entropy_with_logits", SHARES, {}),
    ("mse", TARGETS, {}),
    ("l1", TARGETS, {}),
    ("huber", TARGETS, {}),
    ("huber", TARGETS, dict(delta=0.3)),
]
NAMES = sorted({name for name, _, _ in CASES})


def torchs(torch, name, scores, y, options):
    F = torch.nn.functional
    twin = {
        "softmax_cross_entropy": F.cross_entropy,
        "multiclass_svm": lambda s, t, **o: F.multi_margin_loss(s, t, **o) * s.shape[1],
        "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
        "mse": F.mse_loss,
        "l1": F.l1_loss,
        "huber": F.huber_loss,
    }[name]
    leaf = torch.tensor(scores, requires_grad=True)
    value = twin(leaf, torch.tensor(y), **options)
    value.backward()
    return value.item(), leaf.grad.numpy()


def both(name, scores, y, dvalue=1.0, **options):
    value, saved = getattr(functional, name)(scores, y, **options)
    return value, getattr(functional, f"{name}_backward")(dvalue, saved)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1, 300])
@pytest.mark.parametrize(("name", "y", "options"), CASES)
def test_values_and_gradients_are_torchs(name, y, options, scale, dtype):
    torch = pytest.importorskip("torch")
    scores, targets = (scale * SCORES).astype(dtype), y if y.dtype.kind == "i" else y.astype(dtype)
    value, dscores = both(name, scores, targets, **options)
    wanted, gradient = torchs(torch, name, scores, targets, options)
    tolerance = 1e-12 if dtype is np.float64 else 2e-6
    assert type(value) is float
    assert value == pytest.approx(wanted, rel=tolerance)
    assert dscores.dtype == dtype
    np.testing.assert_allclose(dscores, gradient, rtol=tolerance, atol=tolerance * np.abs(gradient).max())


@pytest.mark.parametrize(("name", "y", "options"), CASES)
def test_backward_is_the_slope_of_forward(name, y, options):
    value, dscores = both(name, SCORES, y, dvalue=-2.5, **options)
    forward = getattr(functional, name)
    for seed in range(5):
        direction = np.random.default_rng(seed).standard_normal(SCORES.shape)
        above, below = (forward(SCORES + s * 1e-6 * direction, y, **options)[0] for s in (1, -1))
        assert (dscores * direction).sum() == pytest.approx(-2.5 * (above - below) / 2e-6, rel=1e-6, abs=1e-8)
    assert np.isfinite(value)


@pytest.mark.parametrize(("name", "y", "options"), CASES)
def test_any_memory_layout_and_integer_dtype_will_do(name, y, options):
    value, dscores = both(name, SCORES, y, **options)
    wide = np.zeros((12, 15))
    wide[::-2, ::3] = SCORES
    kinds = [y.astype(k) for k in (np.uint8, np.int16, ">i8")] if y.dtype.kind == "i" else [y, np.asfortranarray(y)]
    for scores in (np.asfortranarray(SCORES), wide[::-2, ::3], SCORES.astype(">f8")):
        before = scores.copy()
        for labels in kinds:
            found, gradient = both(name, scores, labels, **options)
            assert found == pytest.approx(value, rel=1e-15)
            np.testing.assert_allclose(gradient, dscores, rtol=1e-14)
        np.testing.assert_array_equal(scores, before)


def test_untrained_scores_give_chance():
    zeros, y = np.zeros((7, 10), np.float32), np.arange(7)
    assert softmax_cross_entropy(zeros, y)[0] == pytest.approx(math.log(10), rel=1e-6)
    assert multiclass_svm(zeros, y)[0] == 9.0
    assert binary_cross_entropy_with_logits(zeros, zeros)[0] == pytest.approx(math.log(2), rel=1e-6)


def test_the_svm_counts_wrong_classes_only_and_a_met_margin_costs_nothing():
    scores = np.array([[3.0, 2.0, 1.5], [0.0, 5.0, 2.0]])  # the first row's margin to class 1 is exactly met
    value, dscores = both("multiclass_svm", scores, np.array([0, 2]))
    assert value == (0 + 4) / 2
    np.testing.assert_array_equal(dscores, [[0, 0, 0], [0, 0.5, -0.5]])


def test_huber_is_a_parabola_and_then_its_tangent():
    d = np.array([[-3.0, -1.0, 0.0, 0.5, 2.0]])
    value, dscores = both("huber", d, np.zeros_like(d))
    assert value == (2.5 + 0.5 + 0 + 0.125 + 1.5) / 5
    np.testing.assert_array_equal(dscores * 5, [[-1, -1, 0, 0.5, 1]])


def test_l1_has_no_slope_where_scores_and_targets_are_equal():
    np.testing.assert_array_equal(both("l1", np.array([[1.0, 2.0]]), np.array([[1.0, 5.0]]))[1], [[0, -0.5]])


def test_huge_scores_neither_overflow_nor_warn():
    huge = np.array([[1e4, -1e4, 0], [-1e38, 1e38, 3e38]], np.float32)
    value, dscores = both("softmax_cross_entropy", huge[:1], np.array([0]))
    assert value == 0
    assert (dscores == 0).all()
    value, dscores = both("softmax_cross_entropy", huge[:1], np.array([1]))
    assert value == 2e4
    np.testing.assert_array_equal(dscores, [[1, -1, 0]])
    value, dscores = both("binary_cross_entropy_with_logits", huge, (huge > 0).astype(np.float32))
    assert value == pytest.approx(math.log(2) / 6)
    assert np.abs(dscores).max() == pytest.approx(0.5 / 6)
    assert both("huber", huge[1:], np.zeros((1, 3)))[0] == pytest.approx(5e38 / 3, rel=1e-6)
    assert both("mse", huge[1:], np.zeros((1, 3)))[0] == np.inf


@pytest.mark.parametrize(("name", "y", "options"), CASES)
def test_a_nan_score_makes_the_value_nan_and_leaves_the_gradients_of_other_rows_alone(name, y, options):
    """PyTorch's SVM loses a NaN (its comparison is false); here no loss does."""
    scores = SCORES.copy()
    scores[2, 3] = np.nan
    value, dscores = both(name, scores, y, **options)
    assert math.isnan(value)
    others = np.arange(6) != 2
    np.testing.assert_array_equal(dscores[others], both(name, SCORES, y, **options)[1][others])


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "mse", "huber"])
def test_an_infinite_score_gives_torchs_value_and_gradient(name):
    torch = pytest.importorskip("torch")
    y = next(y for case, y, _ in CASES if case == name)
    for bad in (np.inf, -np.inf):
        scores = SCORES.copy()
        scores[2, 3] = bad
        value, dscores = both(name, scores, y)
        wanted, gradient = torchs(torch, name, scores, y, {})
        np.testing.assert_allclose(value, wanted, rtol=1e-12)
        np.testing.assert_allclose(dscores, gradient, rtol=1e-12, atol=1e-15)


def test_an_infinite_logit_against_its_target_costs_infinity():
    for bad in (np.inf, -np.inf):
        value, dscores = both("binary_cross_entropy_with_logits", np.array([[bad, 1.0]]), np.array([[0.25, 1.0]]))
        assert value == np.inf
        assert dscores[0, 0] == (0.75 if bad > 0 else -0.25) / 2


def test_a_score_of_minus_infinity_costs_nothing_unless_it_is_wanted():
    scores = np.array([[0.0, -np.inf, 0.0]])
    assert softmax_cross_entropy(scores, np.array([0]))[0] == pytest.approx(math.log(2))
    assert softmax_cross_entropy(scores, np.array([1]))[0] == np.inf


BAD = [
    *((name, np.zeros((0, 5)), np.zeros((0,) if k < 2 else (0, 5), int), {}, ValueError, "batch is empty")
      for name, k in [("softmax_cross_entropy", 0), ("multiclass_svm", 1), ("mse", 2), ("l1", 3), ("huber", 4)]),
    *((name, SCORES, labels, {}, error, message)
      for name in ("softmax_cross_entropy", "multiclass_svm")
      for labels, error, message in [
          (np.array([0, 1, 2, 5, 1, 0]), ValueError, "label 5 in row 3 is outside 0 … 4"),
          (np.array([0, 1, -1, 4, 1, 0]), ValueError, "label -1 in row 2 is outside"),
          (np.array([0.0, 1, 2, 3, 4, 0]), TypeError, "labels must be integers, found float64"),
          (np.array([0.0, 1, 2.5, 3, 4, 0]), ValueError, "label 2.5 in row 2 is not an integer"),
          (LABELS > 2, TypeError, "labels must be integers, found bool"),
          (LABELS[:5], ValueError, r"expected 6 labels of shape \(6,\), found shape \(5,\)"),
          (LABELS[:, None], ValueError, r"found shape \(6, 1\)"),
          (np.eye(5)[LABELS].astype(int), ValueError, r"found shape \(6, 5\)"),
          (None, TypeError, "labels must be integers, found object"),
      ]),
    *((name, scores, LABELS, {}, error, message)
      for name in ("softmax_cross_entropy", "multiclass_svm")
      for scores, error, message in [
          (SCORES[:, :0], ValueError, "dimension of zero"),
          (SCORES[None], ValueError, "scores must have 2 dimensions"),
          (SCORES.astype(int), TypeError, "scores must be float32 or float64, found int64"),
          (SCORES.tolist(), TypeError, "scores must be a NumPy array, found list"),
      ]),
    *((name, SCORES, y, {}, error, message)
      for name in ("mse", "l1", "huber", "binary_cross_entropy_with_logits")
      for y, error, message in [
          (TARGETS[:, :1], ValueError, r"shape of the scores \(6, 5\), found \(6, 1\)"),
          (TARGETS[0], ValueError, r"found \(5,\)"),
          (0.5, ValueError, r"found \(\)"),
          (TARGETS.astype(complex), TypeError, "y must hold numbers, found complex128"),
          (TARGETS.astype(str), TypeError, "y must hold numbers"),
      ]),
    ("binary_cross_entropy_with_logits", SCORES, np.full((6, 5), 1.5), {}, ValueError, r"found 1.5 at \(0, 0\)"),
    ("binary_cross_entropy_with_logits", SCORES, np.full((6, 5), np.nan), {}, ValueError, r"in \[0, 1\], found nan"),
    ("softmax_cross_entropy", SCORES, LABELS, dict(label_smoothing=1.1), ValueError, "between 0 and 1, found 1.1"),
    ("softmax_cross_entropy", SCORES, LABELS, dict(label_smoothing=-0.1), ValueError, "between 0 and 1"),
    ("softmax_cross_entropy", SCORES, LABELS, dict(label_smoothing="0"), TypeError, "must be a number, found '0'"),
    ("multiclass_svm", SCORES, LABELS, dict(margin=np.nan), ValueError, "margin must be a finite number"),
    ("multiclass_svm", SCORES, LABELS, dict(margin=None), TypeError, "margin must be a number"),
    ("huber", SCORES, TARGETS, dict(delta=0), ValueError, "delta must be above 0"),
    ("huber", SCORES, TARGETS, dict(delta=-1.0), ValueError, "delta must be"),
    ("huber", SCORES, TARGETS, dict(delta=np.inf), ValueError, "delta must be a finite number"),
    ("huber", SCORES, TARGETS, dict(delta=True), TypeError, "delta must be a number, found True"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "scores", "y", "options", "error", "message"), BAD)
def test_a_bad_call_is_refused_by_name_and_changes_nothing(name, scores, y, options, error, message):
    before = SCORES.copy(), LABELS.copy(), TARGETS.copy()
    with pytest.raises(error, match=f"^{name}: .*{message}"):
        getattr(functional, name)(scores, y, **options)
    for now, then in zip((SCORES, LABELS, TARGETS), before):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(("name", "y", "options"), CASES)
def test_dvalue_must_be_a_number(name, y, options):
    _, saved = getattr(functional, name)(SCORES, y, **options)
    with pytest.raises(TypeError, match=f"^{name}_backward: dvalue must be a number"):
        getattr(functional, f"{name}_backward")(SCORES, saved)


def test_the_table_of_bad_calls_is_long_enough():
    assert len(BAD) >= 40
    assert {name for name, *_ in BAD} == set(NAMES)


def test_targets_of_another_precision_are_converted():
    for pair in (mse, l1, huber, binary_cross_entropy_with_logits):
        assert pair(SCORES.astype(np.float32), SHARES)[1][0].dtype == np.float32
        assert pair(SCORES, (SHARES > 0.5))[0] == pair(SCORES, (SHARES > 0.5).astype(float))[0]
