"""One table of inputs for every operation: what the comparisons of functional, reference, loops and PyTorch run on.

CASES maps an operation to functions that draw its arguments by name; no two dimensions of one array are equal. A new
operation needs its cases here: the tests that walk the public names say so.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

# Arguments that have gradients, in the order of backward's.
ARRAYS = ("x", "w", "b", "gamma", "beta", "a", "scores", "xs")


class Draw:
    """Random arguments of one dtype, the same for the same seed."""

    def __init__(self, dtype, seed=0):
        self.dtype, self.rng = np.dtype(dtype), np.random.default_rng(seed)

    def __call__(self, *shape):
        """Normal numbers."""
        return self.rng.standard_normal(shape).astype(self.dtype)

    def positive(self, *shape):
        return self.rng.uniform(0.5, 2, shape).astype(self.dtype)

    def between(self, low, high, *shape):
        return self.rng.uniform(low, high, shape).astype(self.dtype)

    def labels(self, rows, classes):
        return self.rng.integers(0, classes, rows)

    def few(self, *shape):
        """Small integers: many equal maxima, sums without rounding."""
        return self.rng.integers(-2, 3, shape).astype(self.dtype)

    def spiked(self, *shape):
        """Normal numbers with a NaN and both infinities among them."""
        x = self(*shape)
        places = self.rng.choice(x.size, 3, replace=False)
        x.ravel()[places] = np.nan, np.inf, -np.inf
        return x

    def last(self, *shape):
        """An (N, C, H, W) view of channels-last memory, as feature maps have it."""
        n, c, h, w = shape
        return self(n, h, w, c).transpose(0, 3, 1, 2)

    def sliced(self, *shape):
        """A view with negative and wide strides."""
        return self(*(2 * s for s in shape))[tuple(slice(None, None, -2) for _ in shape)]


Case = Callable[[Draw], dict[str, Any]]

CASES: dict[str, list[Case]] = {
    "conv2d": [
        lambda r: dict(x=r(2, 3, 7, 5), w=r(4, 3, 3, 2), b=r(4)),
        lambda r: dict(x=r.last(3, 4, 9, 8), w=r(5, 4, 2, 3), stride=(2, 3), padding=(1, 2)),
        lambda r: dict(x=r(2, 6, 11, 9), w=r(4, 3, 3, 2), b=r(4), padding=2, dilation=(3, 2), groups=2),
        lambda r: dict(x=r(2, 5, 8, 7), w=r(5, 1, 3, 4), b=r(5), padding=1, groups=5),
        lambda r: dict(x=r.sliced(2, 3, 6, 5), w=r(6, 1, 2, 3), groups=3, stride=(1, 2)),
        lambda r: dict(x=r.last(2, 7, 4, 5), w=r(3, 7, 1, 1), b=r(3)),
        lambda r: dict(x=r(1, 2, 3, 4), w=r(3, 2, 3, 4), b=r(3)),
        lambda r: dict(x=r(2, 3, 6, 5), w=r(4, 3, 4, 3), padding="same", dilation=(1, 2)),
    ],
    "conv_transpose2d": [
        lambda r: dict(x=r(2, 3, 5, 4), w=r(3, 5, 3, 2), b=r(5)),
        lambda r: dict(x=r.last(2, 4, 3, 5), w=r(4, 3, 4, 3), stride=(2, 3), padding=(1, 0), output_padding=(1, 2)),
        lambda r: dict(x=r(2, 6, 4, 3), w=r(6, 2, 2, 3), b=r(6), stride=2, groups=3, dilation=(2, 1)),
        lambda r: dict(x=r(2, 3, 4, 5), w=r(3, 2, 3, 2), dilation=3, output_padding=2, padding=1),
    ],
    "linear": [
        lambda r: dict(x=r(4, 7), w=r(5, 7), b=r(5)),
        lambda r: dict(x=r.sliced(3, 8), w=r(2, 8)),
    ],
    "max_pool2d": [
        lambda r: dict(x=r(2, 3, 8, 6), kernel_size=2),
        lambda r: dict(x=r.last(2, 5, 9, 7), kernel_size=(3, 2), stride=(2, 1), padding=(1, 0)),
        lambda r: dict(x=r.few(2, 3, 10, 9), kernel_size=3, stride=2, padding=1),
        lambda r: dict(x=r(2, 3, 11, 10), kernel_size=(2, 3), stride=(3, 2), dilation=(3, 2), ceil_mode=True),
        lambda r: dict(x=r.spiked(2, 3, 7, 6), kernel_size=3, stride=2),
        lambda r: dict(x=-np.inf * r.positive(1, 2, 5, 4), kernel_size=3, stride=2, padding=1),
    ],
    "avg_pool2d": [
        lambda r: dict(x=r(2, 3, 8, 6), kernel_size=2),
        lambda r: dict(x=r.last(2, 5, 9, 7), kernel_size=(3, 2), stride=(2, 1), padding=(1, 0)),
        lambda r: dict(x=r(2, 3, 10, 8), kernel_size=3, stride=2, padding=1, ceil_mode=True),
        lambda r: dict(x=r(2, 3, 10, 7), kernel_size=(3, 4), stride=(2, 3), padding=(1, 2), count_include_pad=False),
        lambda r: dict(x=r(2, 3, 9, 11), kernel_size=4, stride=3, padding=2, ceil_mode=True, count_include_pad=False),
        lambda r: dict(x=r.spiked(2, 3, 7, 6), kernel_size=2),
    ],
    "adaptive_avg_pool2d": [
        lambda r: dict(x=r(2, 3, 8, 7), output_size=1),
        lambda r: dict(x=r.last(2, 5, 9, 7), output_size=(4, 3)),
        lambda r: dict(x=r(2, 3, 4, 5), output_size=(6, 7)),
    ],
    "batch_norm": [
        lambda r: dict(
            x=r(4, 3, 5, 6), gamma=r(3), beta=r(3), running_mean=r(3), running_var=r.positive(3), momentum=0.3
        ),
        lambda r: dict(
            x=r.last(4, 3, 5, 6), gamma=r(3), beta=r(3), running_mean=r(3), running_var=r.positive(3), training=False
        ),
        lambda r: dict(x=r(6, 5), gamma=r(5), beta=r(5), running_mean=r(5), running_var=r.positive(5), eps=1e-3),
        lambda r: dict(x=r(3, 4, 2, 5)),
        lambda r: dict(x=r.sliced(7, 4), gamma=r(4), beta=r(4)),
    ],
    "layer_norm": [
        lambda r: dict(x=r(4, 7), normalized_shape=7, gamma=r(7), beta=r(7)),
        lambda r: dict(x=r.last(3, 4, 2, 5), normalized_shape=(4, 2, 5), gamma=r(4, 2, 5), beta=r(4, 2, 5), eps=1e-3),
        lambda r: dict(x=r(3, 4, 2, 5), normalized_shape=(5,), gamma=r(5), beta=r(5)),
        lambda r: dict(x=r(2, 6), normalized_shape=(6,)),
    ],
    "group_norm": [
        lambda r: dict(x=r(2, 6, 4, 5), num_groups=3, gamma=r(6), beta=r(6)),
        lambda r: dict(x=r.last(3, 4, 2, 5), num_groups=1, gamma=r(4), beta=r(4), eps=1e-3),
        lambda r: dict(x=r(2, 3, 4, 5), num_groups=3),
    ],
    "relu": [lambda r: dict(x=r.last(2, 3, 5, 4)), lambda r: dict(x=r.spiked(4, 7)), lambda r: dict(x=r.few(3, 5))],
    "leaky_relu": [
        lambda r: dict(x=r(2, 3, 5, 4)),
        lambda r: dict(x=r.spiked(4, 7), negative_slope=0.2),
    ],
    "elu": [lambda r: dict(x=r(2, 3, 5, 4)), lambda r: dict(x=3 * r.sliced(4, 7), alpha=0.7)],
    "sigmoid": [lambda r: dict(x=r(2, 3, 5, 4)), lambda r: dict(x=60 * r(4, 7)), lambda r: dict(x=r.spiked(4, 7))],
    "tanh": [lambda r: dict(x=r.last(2, 3, 5, 4)), lambda r: dict(x=20 * r(4, 7)), lambda r: dict(x=r.spiked(4, 7))],
    "maxout": [
        lambda r: dict(x=r(2, 6, 5, 4), pieces=3),
        lambda r: dict(x=r.few(5, 8), pieces=2),
        lambda r: dict(x=r.spiked(3, 6), pieces=2),
    ],
    "prelu": [
        lambda r: dict(x=r.last(2, 3, 5, 4), a=r(3)),
        lambda r: dict(x=r(2, 3, 5, 4), a=r(1)),
        lambda r: dict(x=r(4, 7), a=r(7)),
    ],
    "gelu": [lambda r: dict(x=r(2, 3, 5, 4)), lambda r: dict(x=4 * r(4, 7))],
    "silu": [lambda r: dict(x=r(2, 3, 5, 4)), lambda r: dict(x=30 * r(4, 7))],
    "softplus": [lambda r: dict(x=r(2, 3, 5, 4)), lambda r: dict(x=30 * r(4, 7))],
    "dropout": [
        lambda r: dict(x=r(2, 3, 5, 4), p=0.3, seed=7),
        lambda r: dict(x=r.last(2, 3, 5, 4), seed=2**63 + 11),
        lambda r: dict(x=r(6, 11), p=0.8, seed=1),
        lambda r: dict(x=r(6, 11), p=0.8, training=False),
        lambda r: dict(x=r(3, 5), p=0.0),
        lambda r: dict(x=r(3, 5), p=1.0),
    ],
    "dropout2d": [
        lambda r: dict(x=r(4, 7, 2, 3), p=0.3, seed=7),
        lambda r: dict(x=r.last(4, 7, 2, 3), seed=5),
        lambda r: dict(x=r(4, 7, 2, 3), training=False),
    ],
    "zero_pad2d": [
        lambda r: dict(x=r(2, 3, 5, 4), padding=2),
        lambda r: dict(x=r.last(2, 3, 5, 4), padding=(1, 0, 3, 2)),
    ],
    "concat": [
        lambda r: dict(xs=[r(2, 3, 5, 4), r.last(2, 1, 5, 4), r(2, 6, 5, 4)]),
        lambda r: dict(xs=[r(2, 3, 5, 4)]),
    ],
    "flatten": [lambda r: dict(x=r(2, 3, 5, 4)), lambda r: dict(x=r.last(2, 3, 5, 4)), lambda r: dict(x=r(4, 7))],
    "softmax_cross_entropy": [
        lambda r: dict(scores=r(6, 5), y=r.labels(6, 5)),
        lambda r: dict(scores=200 * r(6, 5), y=r.labels(6, 5)),
        lambda r: dict(scores=r.sliced(7, 4), y=r.labels(7, 4).astype(np.uint8), label_smoothing=0.1),
    ],
    "multiclass_svm": [
        lambda r: dict(scores=r(6, 5), y=r.labels(6, 5)),
        lambda r: dict(scores=3 * r(6, 5), y=r.labels(6, 5), margin=0.5),
    ],
    "binary_cross_entropy_with_logits": [
        lambda r: dict(scores=r(6, 5), y=r.between(0, 1, 6, 5)),
        lambda r: dict(scores=100 * r(7, 4), y=r.labels((7, 4), 2).astype(r.dtype)),
    ],
    "mse": [lambda r: dict(scores=r(6, 5), y=r(6, 5))],
    "l1": [lambda r: dict(scores=r(6, 5), y=r(6, 5)), lambda r: dict(scores=r.few(6, 5), y=r.few(6, 5))],
    "huber": [
        lambda r: dict(scores=r(6, 5), y=r(6, 5)),
        lambda r: dict(scores=3 * r(6, 5), y=r(6, 5), delta=0.4),
    ],
}


def all_cases(names):
    """Parameters for pytest: (name, case), one for every case of these operations."""
    import pytest

    return [pytest.param(name, case, id=f"{name}-{i}") for name in names for i, case in enumerate(CASES[name])]


def arguments(case, dtype=np.float64, seed=0):
    """The arguments of one case, drawn afresh."""
    return case(Draw(dtype, seed))


def differentiable(name, given):
    """The names of the given arrays whose gradients backward returns, None where an optional one was left out."""
    optional = {"b", "gamma", "beta"}
    if name in ("batch_norm", "layer_norm", "group_norm"):
        order = ("x", "gamma", "beta")
    elif name in ("conv2d", "conv_transpose2d", "linear"):
        order = ("x", "w", "b")
    else:
        order = tuple(key for key in ARRAYS if key in given)
    return tuple(key if key in given else None for key in order if key in given or key in optional)


def run(module, name, given, seed=1, **backward_options):
    """(y, [gradients]) of one operation and its backward, for a dy that depends on y's shape and the seed only."""
    y, saved = getattr(module, name)(**given)
    if isinstance(y, float):
        dy = 1.75
    else:
        dy = np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)
    gradients = getattr(module, f"{name}_backward")(dy, saved, **backward_options)
    return y, list(gradients) if isinstance(gradients, tuple | list) else [gradients]


def signature(function):
    """Names, kinds and defaults of the parameters, without annotations."""
    return [(p.name, p.kind.description, p.default) for p in inspect.signature(function).parameters.values()]


def assert_same(found, wanted, tolerance, what):
    """Equal shapes and dtypes, and values within tolerance times the largest wanted (finite) number."""
    if wanted is None or isinstance(wanted, float):
        assert type(found) is type(wanted), f"{what}: found {type(found).__name__}, wanted {type(wanted).__name__}"
    if wanted is None:
        return
    if isinstance(wanted, np.ndarray):
        assert isinstance(found, np.ndarray), f"{what}: found {type(found).__name__}, wanted an array"
        assert found.shape == wanted.shape, f"{what}: found shape {found.shape}, wanted {wanted.shape}"
        assert found.dtype == wanted.dtype, f"{what}: found {found.dtype}, wanted {wanted.dtype}"
    finite = np.abs(np.asarray(wanted)[np.isfinite(wanted)])
    scale = float(finite.max()) if finite.size else 0.0
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * scale, err_msg=what)
