"""The references against PyTorch, forward and backward, on the table of inputs."""

import numpy as np
import pytest
from kernels.geometries import FLAVOURS, random_convolution, random_pool, random_transposed
from operations import CASES, all_cases, arguments, assert_same, differentiable, run

from fastnet.reference import loops, vectorised

torch = pytest.importorskip("torch")
F = torch.nn.functional


def _conv(function):
    return lambda x, w, b=None, **options: function(x, w, b, **options)


def _one(function):
    return lambda x, **options: function(x, **options)


def _loss(function):
    return lambda scores, y, **options: function(scores, y, **options)


def _pad(x, padding):
    return F.pad(x, (padding,) * 4 if isinstance(padding, int) else padding)


def _maxout(x, pieces):
    return x.unflatten(1, (-1, pieces)).max(2).values


def _batch_norm(x, gamma=None, beta=None, running_mean=None, running_var=None, *, training=True, **options):
    return F.batch_norm(x, running_mean, running_var, gamma, beta, training, **options)


def _layer_norm(x, normalized_shape, gamma=None, beta=None, **options):
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    return F.layer_norm(x, shape, gamma, beta, **options)


WITHOUT = {"dropout", "dropout2d"}  # the mask is our own hash
TORCH = {
    "conv2d": _conv(F.conv2d),
    "conv_transpose2d": _conv(F.conv_transpose2d),
    "linear": _conv(F.linear),
    "max_pool2d": _one(F.max_pool2d),
    "avg_pool2d": _one(F.avg_pool2d),
    "adaptive_avg_pool2d": _one(F.adaptive_avg_pool2d),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": lambda x, num_groups, gamma=None, beta=None, **o: F.group_norm(x, num_groups, gamma, beta, **o),
    "relu": _one(F.relu),
    "leaky_relu": _one(F.leaky_relu),
    "elu": _one(F.elu),
    "sigmoid": _one(torch.sigmoid),
    "tanh": _one(torch.tanh),
    "maxout": _maxout,
    "prelu": lambda x, a: F.prelu(x, a),
    "gelu": _one(F.gelu),
    "silu": _one(F.silu),
    "softplus": _one(F.softplus),
    "zero_pad2d": _pad,
    "concat": lambda xs: torch.cat(xs, 1),
    "flatten": lambda x: x.flatten(1),
    "softmax_cross_entropy": _loss(F.cross_entropy),
    # PyTorch divides by the number of classes, the course does not
    "multiclass_svm": lambda scores, y, **o: F.multi_margin_loss(scores, y, **o) * scores.shape[1],
    "binary_cross_entropy_with_logits": _loss(F.binary_cross_entropy_with_logits),
    "mse": _loss(F.mse_loss),
    "l1": _loss(F.l1_loss),
    "huber": _loss(F.huber_loss),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny arrays: PyTorch's threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_operation_has_its_torch_twin():
    assert set(CASES) == TORCH.keys() | WITHOUT


def tensor(value, gradient):
    if isinstance(value, list):
        return [tensor(v, gradient) for v in value]
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "iu":
        value = value.astype(np.int64)
    return torch.tensor(value.copy(), requires_grad=gradient)


def torch_run(name, given, seed=1):
    """(y, [gradients]) as operations.run gives them; the running statistics are the caller's arrays."""
    wanted = differentiable(name, given)
    tensors = {key: tensor(value, key in wanted) for key, value in given.items()}
    y = TORCH[name](**tensors)
    dy = 1.75 if y.ndim == 0 else torch.tensor(np.random.default_rng(seed).standard_normal(y.shape), dtype=y.dtype)
    (y * dy).sum().backward()
    leaves = [leaf for key in wanted for leaf in (tensors.get(key) if key == "xs" else [tensors.get(key)])]
    after = {key: tensors[key].numpy() for key in ("running_mean", "running_var") if key in tensors}
    return y.detach().numpy(), [None if leaf is None else leaf.grad.numpy() for leaf in leaves], after


def agree(module, name, given, tolerance=1e-10):
    y, gradients, after = torch_run(name, given)
    found, ours = run(module, name, given)
    assert_same(np.asarray(found), y, tolerance, f"{name}: y")
    for i, (gradient, wanted) in enumerate(zip(ours, gradients, strict=True)):
        assert_same(gradient, wanted, tolerance, f"{name}: gradient {i}")
    for key, wanted in after.items():
        np.testing.assert_allclose(given[key], wanted, rtol=1e-12, err_msg=key)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("module", [vectorised, loops], ids=["vectorised", "loops"])
@pytest.mark.parametrize(("name", "case"), all_cases(TORCH))
def test_the_references_are_what_torch_computes(module, name, case):
    if hasattr(module, name):
        given = arguments(case)
        if name == "max_pool2d" and np.isnan(given["x"]).any():
            # torch sends the gradient to the last of several NaN, we to the first.
            given["x"][np.isnan(given["x"])] = 7.5
        agree(module, name, given)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_random_convolutions_are_torchs(flavour):
    rng = np.random.default_rng(FLAVOURS.index(flavour))
    for _ in range(12):
        geometry = random_convolution(rng, flavour)
        x, w, b, _ = geometry.arrays(rng)
        agree(vectorised, "conv2d", dict(x=x, w=w, **({} if b is None else {"b": b}), **geometry.options))


def test_random_transposed_convolutions_are_torchs():
    rng = np.random.default_rng(30)
    for _ in range(60):
        x, w, b, options = random_transposed(rng)
        agree(vectorised, "conv_transpose2d", dict(x=x, w=w, **({} if b is None else {"b": b}), **options))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_random_pools_are_torchs(name):
    rng = np.random.default_rng(31)
    for _ in range(80):
        shape, options = random_pool(rng, dilated=name == "max_pool2d")
        if name == "avg_pool2d":
            options["count_include_pad"] = bool(rng.integers(2))
        agree(vectorised, name, dict(x=rng.integers(-3, 4, shape).astype(float), **options))
