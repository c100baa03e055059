"""A convolutional-network engine for CPUs: explicit forward and backward, hot loops in Cython."""

from . import (
    callbacks,
    cs231n,
    data,
    diagnose,
    functional,
    initializers,
    layers,
    losses,
    memory,
    models,
    optim,
    plot,
    recipes,
    reference,
    regularization,
    trajectories,
)
from .about import __version__, show_config
from .callbacks import Callback
from .checkpoint import Checkpoint, load, save
from .config import (
    get_float32_matmul_precision,
    get_num_threads,
    precision,
    set_float32_matmul_precision,
    set_num_threads,
)
from .diagnose import check_gradients, compare_paths, doctor, lr_range_test
from .ensemble import Ensemble
from .errors import FormatError
from .initializers import manual_seed
from .layers import *  # noqa: F403  # every layer, under its name in `layers.__all__`
from .layers import __all__ as _layers
from .layers.plan import plan
from .search import choice, integers, log_uniform, search, uniform
from .solver import Solver

__all__ = [
    "Callback",
    "Checkpoint",
    "Ensemble",
    "FormatError",
    "Solver",
    "__version__",
    "callbacks",
    "check_gradients",
    "choice",
    "compare_paths",
    "cs231n",
    "data",
    "diagnose",
    "doctor",
    "functional",
    "get_float32_matmul_precision",
    "get_num_threads",
    "initializers",
    "integers",
    "layers",
    "load",
    "log_uniform",
    "losses",
    "lr_range_test",
    "manual_seed",
    "memory",
    "models",
    "optim",
    "plan",
    "plot",
    "precision",
    "recipes",
    "reference",
    "regularization",
    "save",
    "search",
    "set_float32_matmul_precision",
    "set_num_threads",
    "show_config",
    "trajectories",
    "uniform",
]
__all__ += _layers
