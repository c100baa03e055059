"""Loss classes: forward gives a float, backward the gradient of the latest forward."""

import numpy as np
import pytest

from fastnet import losses
from fastnet.losses import L1, MSE, BinaryCrossEntropyWithLogits, Huber, MulticlassSVM, SoftmaxCrossEntropy

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((6, 5))
LABELS = RNG.integers(0, 5, 6)
TARGETS = RNG.random((6, 5))

LOSSES = [
    (SoftmaxCrossEntropy(), LABELS, "CrossEntropyLoss", {}),
    (SoftmaxCrossEntropy(label_smoothing=0.2), LABELS, "CrossEntropyLoss", dict(label_smoothing=0.2)),
    (MulticlassSVM(), LABELS, None, {}),
    (MulticlassSVM(margin=0.5), LABELS, None, {}),
    (BinaryCrossEntropyWithLogits(), TARGETS, "BCEWithLogitsLoss", {}),
    (MSE(), TARGETS, "MSELoss", {}),
    (L1(), TARGETS, "L1Loss", {}),
    (Huber(), TARGETS, "HuberLoss", {}),
    (Huber(delta=0.2), TARGETS, "HuberLoss", dict(delta=0.2)),
]


def test_every_loss_is_in_the_table():
    kinds = {type(loss) for loss, *_ in LOSSES}
    assert kinds == set(losses.Loss.__subclasses__()), "add a case for the new loss"
    assert {kind.__name__ for kind in kinds} | {"Loss"} == set(losses.__all__)


@pytest.mark.parametrize(("loss", "y", "twin", "options"), LOSSES)
def test_a_loss_is_torchs(loss, y, twin, options):
    torch = pytest.importorskip("torch")
    if twin is None:  # the course's SVM loss is PyTorch's times the number of classes
        theirs = torch.nn.MultiMarginLoss(margin=loss.margin)
        factor = 5
    else:
        theirs, factor = getattr(torch.nn, twin)(**options), 1
    leaf = torch.tensor(SCORES, requires_grad=True)
    wanted = theirs(leaf, torch.tensor(y)) * factor
    wanted.backward()
    value = loss.forward(SCORES, y)
    assert type(value) is float
    assert value == pytest.approx(wanted.item(), rel=1e-12)
    np.testing.assert_allclose(loss.backward(), leaf.grad.numpy(), rtol=1e-12, atol=1e-15)
    assert loss(SCORES, y) == value


@pytest.mark.parametrize("kind", losses.Loss.__subclasses__())
def test_backward_without_forward_is_an_error_that_names_the_loss(kind):
    with pytest.raises(RuntimeError, match=f"^{kind.__name__}: backward without a forward"):
        kind().backward()


@pytest.mark.parametrize(("loss", "y", "twin", "options"), LOSSES)
def test_a_refused_forward_leaves_the_last_one_for_backward(loss, y, twin, options):
    loss.forward(SCORES, y)
    before = loss.backward()
    with pytest.raises(ValueError, match=r"found shape|shape of the scores"):
        loss.forward(SCORES, y[:4])
    with pytest.raises(ValueError, match="batch is empty"):
        loss.forward(SCORES[:0], y[:0])
    np.testing.assert_array_equal(loss.backward(), before)


BAD = [
    (SoftmaxCrossEntropy, dict(label_smoothing=1.5), ValueError, "between 0 and 1, found 1.5"),
    (SoftmaxCrossEntropy, dict(label_smoothing=-0.1), ValueError, "between 0 and 1, found -0.1"),
    (SoftmaxCrossEntropy, dict(label_smoothing=None), TypeError, "label_smoothing must be a number, found None"),
    (MulticlassSVM, dict(margin="1"), TypeError, "margin must be a number, found '1'"),
    (MulticlassSVM, dict(margin=float("inf")), ValueError, "margin must be a finite number"),
    (Huber, dict(delta=0.0), ValueError, "delta must be above 0, found 0.0"),
    (Huber, dict(delta=-2), ValueError, "delta must be"),
    (Huber, dict(delta=float("nan")), ValueError, "delta must be a finite number"),
]


@pytest.mark.parametrize(("kind", "options", "error", "message"), BAD)
def test_bad_settings_are_refused_at_construction_by_the_losss_name(kind, options, error, message):
    with pytest.raises(error, match=f"^{kind.__name__}: .*{message}"):
        kind(**options)


def test_repr_quotes_the_settings():
    assert repr(Huber(delta=0.5)) == "Huber(delta=0.5)"
    assert repr(MSE()) == "MSE()"
    loss = SoftmaxCrossEntropy(0.1)
    loss.forward(SCORES, LABELS)
    assert repr(loss) == "SoftmaxCrossEntropy(label_smoothing=0.1)"


def test_the_abstract_loss_says_what_a_subclass_lacks():
    with pytest.raises(NotImplementedError, match="Loss has no forward"):
        losses.Loss().forward(SCORES, LABELS)
    with pytest.raises(NotImplementedError, match="Loss has no backward"):
        losses.Loss().backward()
