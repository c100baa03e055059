"""Update rules, schedules for their hyperparameters, averages of weights and limits on gradients and weights."""

from .adagrad import AdaGrad
from .adam import Adam, AdamW
from .averages import EMA, SWA, Lookahead
from .lbfgs import LBFGS
from .limits import MaxNorm, clip_grad_norm, clip_grad_value
from .plateau import ReduceOnPlateau
from .rmsprop import RMSProp
from .rule import Rule
from .schedules import (
    Constant,
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    OneCycle,
    PiecewiseLinear,
    Schedule,
    StepDecay,
    Triangular,
    WarmRestarts,
    WarmUp,
)
from .sgd import SGD, NesterovLookAhead
from .statistics import recompute_batch_norm

__all__ = [
    "EMA",
    "LBFGS",
    "SGD",
    "SWA",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Constant",
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "Lookahead",
    "MaxNorm",
    "NesterovLookAhead",
    "OneCycle",
    "PiecewiseLinear",
    "RMSProp",
    "ReduceOnPlateau",
    "Rule",
    "Schedule",
    "StepDecay",
    "Triangular",
    "WarmRestarts",
    "WarmUp",
    "clip_grad_norm",
    "clip_grad_value",
    "recompute_batch_norm",
]
