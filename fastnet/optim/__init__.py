"""Update rules, schedules for their hyperparameters, averages of weights and limits on gradients and weights."""

from .adagrad import AdaGrad
from .adam import Adam, AdamW
from .rmsprop import RMSProp
from .rule import Rule
from .sgd import SGD

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "RMSProp",
    "Rule",
]
