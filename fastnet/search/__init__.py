"""Hyperparameter search: random or grid, coarse to fine, in several processes, and continued after a kill.

Needs joblib (`pip install "fastnet[search]"`) for more than one process.
"""

from .drive import search
from .result import SearchResult
from .space import Choice, Range, choice, integers, log_uniform, uniform
from .work import Trial

__all__ = ["Choice", "Range", "SearchResult", "Trial", "choice", "integers", "log_uniform", "search", "uniform"]
