"""The doctor looks at the net before training: its weights, modes, first loss and regularization."""

from __future__ import annotations

import copy
import math

import numpy as np

from .. import layers as zoo
from ..layers.base import Layer
from ..layers.watching import detached, leaves
from ..losses import BinaryCrossEntropyWithLogits, MulticlassSVM, SoftmaxCrossEntropy
from ..memory import Array
from ..parameters import ParameterBuffer
from ..regularization import L2
from .findings import Diagnosis, Finding
from .subject import Subject

__all__ = ["first_loss", "modes", "regularization", "weights"]

BATCH = 256


def _weighted(net: Layer) -> list[tuple[str, Layer, Array]]:
    """(name, layer, weights) of those that have a matrix or filters."""
    return [
        (name, layer, parameter.data)
        for name, layer in leaves(net)
        for own, parameter in layer._parameters.items()
        if own == "weight" and parameter.data.ndim >= 2
    ]


def weights(subject: Subject, report: Diagnosis) -> None:
    """All-zero weights, equal units, numbers that are none."""
    broken = [name for name, p in subject.net.named_parameters() if not np.isfinite(p.data).all()]
    if broken:
        return report.add(
            Finding(
                "parameters",
                "fault",
                99,
                "parameters that are NaN or infinite",
                f"{len(broken)} of them, the first is {broken[0]!r}",
                "Whatever passes such a weight is NaN, and so is every gradient.",
                "Draw the weights anew, or load the last good checkpoint, and look for what made them: a rate too "
                "high, a NaN among the data.",
                {"parameters": broken[:20]},
            )
        )
    check = "initial_weights"
    weighted = _weighted(subject.net)
    hidden = weighted[:-1] if len(weighted) > 1 else []
    # a last layer of zeros is fine (its units differ by their labels), so is a residual branch that starts closed
    inside = {id(one) for block in subject.net.modules() if isinstance(block, zoo.Residual) for one in block.modules()}
    same = [
        (name, layer, w)
        for name, layer, w in hidden
        if len(w) > 1 and id(layer) not in inside and bool((w == w[:1]).all())
    ]
    if not same:
        return report.passes(check, f"the units of all {len(weighted)} layers with weights differ")
    zero = [name for name, _, w in same if not w.any()]
    name, layer, _ = same[0]
    what = "zero" if len(zero) == len(same) else "equal"
    report.add(
        Finding(
            check,
            "fault",
            94,
            f"all weights of hidden layers are {what}",
            f"{len(same)} of {len(weighted)} layers with weights, the first is layer {name!r} "
            f"({type(layer).__name__}): all its {layer._parameters['weight'].data.shape[0]} units compute the same",
            "Units that compute the same get the same gradient and stay the same for ever; with zeros the gradient "
            "does not even pass to the layers before. Nothing breaks the symmetry.",
            "Draw the weights: initializers.he_normal before ReLU, xavier_normal before tanh. Biases may be zero.",
            {"layers": [one for one, _, _ in same], "zero": zero},
        )
    )


def modes(subject: Subject, report: Diagnosis) -> None:
    """Layers that are not in the mode of the net."""
    check = "modes"
    norms = [(name, layer) for name, layer in leaves(subject.net) if "running_mean" in layer._buffers]
    asleep = [(name, layer) for name, layer in norms if not layer.training]
    untracked = [name for name, layer in asleep if not int(layer._buffers.get("num_batches_tracked", np.ones(())))]
    others = [name for name, layer in leaves(subject.net) if not layer.training and (name, layer) not in asleep]
    reason = (
        "In evaluation mode batch norm uses its running statistics, which then no batch updates; before training "
        "they are 0 and 1, so it does not normalise, and it keeps nothing for backward. Dropout drops nothing."
    )
    if asleep and (subject.net.training or untracked):
        name, layer = asleep[0]
        state = "statistics are the initial 0 and 1" if untracked else "statistics are frozen"
        return report.add(
            Finding(
                check,
                "fault",
                95,
                "batch norm was left in evaluation mode",
                f"{len(asleep)} of {len(norms)} batch norms, the first is layer {name!r} ({type(layer).__name__}); "
                f"the net itself is in {'training' if subject.net.training else 'evaluation'} mode; their {state}",
                reason,
                "net.train() before training, net.eval() (or net.predict, which does it by itself) before evaluation.",
                {"layers": [one for one, _ in asleep], "untracked": untracked},
            )
        )
    if others and subject.net.training:
        return report.add(
            Finding(
                check,
                "warning",
                60,
                "layers in evaluation mode inside a net in training mode",
                f"{len(others)} layers, the first is {others[0]!r}",
                reason,
                "net.train() sets all of them.",
                {"layers": others},
            )
        )
    report.passes(check, f"all layers are in {'training' if subject.net.training else 'evaluation'} mode")


def _chance(subject: Subject) -> float:
    """The loss of guessing; nan where it is not known."""
    loss, classes = subject.loss, subject.classes
    if isinstance(loss, SoftmaxCrossEntropy) and classes > 1:
        return math.log(classes)
    if isinstance(loss, MulticlassSVM) and classes > 1:
        return (classes - 1) * loss.margin
    return math.log(2) if isinstance(loss, BinaryCrossEntropyWithLogits) else math.nan


def first_loss(subject: Subject, report: Diagnosis) -> None:
    """Is the first loss that of guessing?"""
    check = "first_loss"
    chance = _chance(subject)
    if not math.isfinite(chance):
        return report.skips(check, f"no loss of guessing is known for {type(subject.loss).__name__}")
    net = detached(subject.net)
    x, y = subject.batch(BATCH)
    with np.errstate(all="ignore"):
        value = float(copy.deepcopy(subject.loss).forward(net.forward(x), y))
    shown = f"{value:.3f}, guessing gives {chance:.3f}"
    if value > 2 * chance:
        return report.add(
            Finding(
                check,
                "warning",
                50,
                "the first loss is far above that of guessing",
                f"the loss on {len(x)} training examples is {shown}",
                "An untrained net should find all classes about equally likely (softmax: ln of their number, SVM: "
                "their number less one). A larger loss means scores that are large and wrong: the first steps are "
                "spent on taking that back.",
                "Smaller weights in the last layer (models do that: N(0, 0.01^2)), normalised inputs, or a look at "
                "the labels.",
                {"loss": value, "chance": chance},
            )
        )
    report.passes(check, f"the loss is {shown}" + ("; this net has learnt already" if value < 0.8 * chance else ""))


def regularization(subject: Subject, report: Diagnosis) -> None:
    """Does the loss rise with the regularization?"""
    check = "regularization"
    net = detached(subject.net)
    decayed = [p for p in net.parameters() if p.decay]
    if not decayed:
        return report.skips(check, "no parameter is decayed")
    buffer = ParameterBuffer.of(net.parameters())
    term = subject.term if subject.term is not None else L2(subject.weight_decay or 1e-3)
    value = float(term.forward(buffer))
    if value > 0 and math.isfinite(value):
        return report.passes(check, f"{term!r} adds {value:.3g} to the loss")
    report.add(
        Finding(
            check,
            "warning",
            35,
            "the loss does not rise with the regularization",
            f"{term!r} adds {value:.3g} at the first weights",
            "A penalty on weights is positive as soon as there are weights.",
            "Look at the term's forward; if the weights are all zero, at the initialisation.",
            {"value": value},
        )
    )
