"""The course's own names: CS231n's modules, functions and conventions over the kernels of fastnet.

A notebook or script of the course runs with `cs231n` replaced by `fastnet.cs231n`. Conventions that are the course's and
hold nowhere else in the package: batch norm's `momentum` weighs the OLD running statistics, which start at zero and take
the biased variance; dropout's `p` is the probability to KEEP; L2 is 0.5 * reg * sum(W**2), on weights only; random numbers
come from NumPy's global generator (`np.random.seed`). docs/cs231n.md has the whole list.
"""

from . import classifiers, data_utils, fast_layers, gradient_check, layer_utils, layers, optim, solver, vis_utils

__all__ = [
    "classifiers",
    "data_utils",
    "fast_layers",
    "gradient_check",
    "layer_utils",
    "layers",
    "optim",
    "solver",
    "vis_utils",
]
