"""What a recipe gives back."""

from typing import NamedTuple

from ..data import Dataset, Preprocessing
from ..layers import Sequential
from ..training.history import History


class Result(NamedTuple):
    """The trained net in evaluation mode, its architecture's name, what its images need, what happened and how it does.

    accuracy: way of looking at the test images -> share of them that is right, the plain way first.
    seconds: of training, from the first batch to the last update; evaluation is not in it.
    """

    net: Sequential
    model: str
    images: Dataset
    normalize: Preprocessing
    history: History
    accuracy: dict[str, float]
    seconds: float
