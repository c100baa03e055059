"""Random nets, and what they give fused, layer by layer, freed as they go, checkpointed, folded: for test and campaign."""

import copy
from unittest import mock

import numpy as np

import fastnet
from fastnet import config
from fastnet.functional import split
from fastnet.layers import (
    ELU,
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Dropout2d,
    Flatten,
    GroupNorm,
    Identity,
    Layer,
    LeakyReLU,
    Linear,
    Maxout,
    MaxPool2d,
    PReLU,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
    ZeroPad2d,
)

ACTIVATIONS = (
    ReLU,
    ReLU,
    ReLU,
    lambda: LeakyReLU(0.2),
    lambda: LeakyReLU(-0.3),
    lambda: ELU(0.7),
    GELU,
    SiLU,
    Tanh,
    Sigmoid,
    PReLU,
)


class Halved(Layer):
    """A user's layer."""

    def forward(self, x):
        return self._keep(x / 2, x.shape)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        return dy / 2 if input_gradient else None


class Inside(Layer):
    """A user's layer with a net inside."""

    def __init__(self, net):
        super().__init__()
        self.net = self.add_child("net", net)

    def forward(self, x):
        return self._keep(self.net.forward(x) * 3, True)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        return self.net.backward(3 * dy, accumulate=accumulate, input_gradient=input_gradient)


class Author:
    """Writes a net layer by layer; `shape` is what the next layer gets, (C, H, W)."""

    def __init__(self, rng, shape):
        self.rng, self.shape = rng, shape

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def activation(self):
        return ACTIVATIONS[self.rng.integers(len(ACTIVATIONS))]()

    def norm(self, channels):
        return BatchNorm2d(channels, affine=bool(self.rng.random() < 0.8), momentum=self.pick(0, 0.1, 1), eps=0.05)

    def convolution(self, filters=None, keep=False):
        c, h, w = self.shape
        f = filters or int(self.rng.integers(1, 9)) * self.pick(1, 1, 2)
        groups = 1
        if filters is None and self.rng.random() < 0.3:
            groups = self.pick(*(g for g in range(1, c + 1) if c % g == 0))
            f = groups * self.pick(1, 1, 2)
        kernel = self.pick(1, 2, 3, 3) if not keep else self.pick(1, 3)
        dilation = 1 if keep else self.pick(1, 1, 1, 2)
        stride = 1 if keep else self.pick(1, 1, 2, 3)
        padding = kernel // 2 if keep else int(self.rng.integers(0, kernel))
        size = [(n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for n in (h, w)]
        if min(size) < 1:
            return self.convolution(filters, keep)
        self.shape = (f, *size)
        bias = bool(self.rng.random() < 0.5)
        return Conv2d(c, f, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias)

    def same(self, filters, length):
        """Layers that leave the image's size; the last gives `filters`."""
        found = []
        for _ in range(length):
            found += [self.convolution(self.shape[0], keep=True), self.norm(self.shape[0]), self.activation()]
        found.append(self.convolution(filters, keep=True))
        if self.rng.random() < 0.6:
            found.append(self.norm(filters))
        if self.rng.random() < 0.3:
            found.append(self.activation())
        if self.rng.random() < 0.3:
            found.insert(0, self.pick(self.norm, lambda c: self.activation(), lambda c: Identity())(self.start))
        return Sequential(*found, checkpoint=bool(self.rng.random() < 0.15))

    def residual(self):
        c, h, w = self.shape
        self.start = c
        how = self.rng.integers(5)
        if how == 4:
            inner = self.pick(Sequential(), Sequential(Residual(self.activation()), self.norm(c)), Identity())
            return Residual(inner, self.pick(None, Identity(), Sequential(), Sequential(self.norm(c))))
        filters = c if how < 2 else int(self.rng.integers(1, 9))
        body = self.same(filters, int(self.rng.integers(0, 2)))
        self.shape = (c, h, w)
        short = None if how == 0 else self.same(filters, 0)
        if how == 1:
            short = self.pick(self.activation, Identity, lambda: Sequential(self.norm(c), Identity()))()
        self.shape = (filters, h, w)
        return Residual(body, short)

    def concat(self):
        c, h, w = self.shape
        self.start = c
        branches, total = [], 0
        for _ in range(int(self.rng.integers(1, 4))):
            self.shape = (c, h, w)
            f = int(self.rng.integers(1, 6))
            branches.append(self.same(f, 0))
            total += f
        self.shape = (total, h, w)
        return Concat(*branches)

    def pool(self):
        c, h, w = self.shape
        kernel = min(self.pick(2, 3), h, w)
        stride, padding = self.pick(1, 2, 3), int(self.rng.integers(0, kernel // 2 + 1))
        kind = self.pick(MaxPool2d, MaxPool2d, AvgPool2d)
        self.shape = (c, *((n + 2 * padding - kernel) // stride + 1 for n in (h, w)))
        return kind(kernel, stride, padding)

    def next(self, depth):
        c, h, w = self.shape
        kind = self.rng.integers(16)
        if kind < 4:
            block = [self.convolution()]
            block.append(self.norm(self.shape[0]))
            block.append(self.activation())
            return block[: self.rng.integers(1, 4)]
        if kind == 4:
            return [self.norm(c)]
        if kind in (5, 6):
            return [self.activation()]
        if kind in (7, 8):
            return [self.residual()]
        if kind == 9:
            return [self.concat()]
        if kind == 10:
            return [self.pool()]
        if kind == 11:
            return [self.pick(Identity(), Halved(), Dropout(0.3), Dropout2d(0.3), Maxout(1), GroupNorm(1, c))]
        if kind == 12 and h * w < 80:
            f = int(self.rng.integers(1, 5))
            self.shape = (f, 2 * h, 2 * w)
            return [ConvTranspose2d(c, f, 2, stride=2)]
        if kind == 13 and depth < 2:
            inner = Sequential(*self.layers(int(self.rng.integers(0, 4)), depth + 1), checkpoint=self.pick(True, False))
            return [self.pick(lambda: inner, lambda: inner, lambda: Inside(inner))()]
        if kind == 14:
            self.shape = (c, h + 1, w + 2)
            return [ZeroPad2d((2, 0, 1, 0))]
        return [self.convolution()]

    def layers(self, count, depth=0):
        return [layer for _ in range(count) for layer in self.next(depth)]


def random_net(rng):
    """(net, the shape of one example)."""
    fastnet.manual_seed(int(rng.integers(1 << 30)))
    shape = (int(rng.integers(1, 7)), int(rng.integers(3, 12)), int(rng.integers(3, 12)))
    author = Author(rng, shape)
    layers = author.layers(int(rng.integers(1, 7)))
    end = rng.integers(4)
    if end == 0:
        layers += [Flatten(), Linear(int(np.prod(author.shape)), 6), BatchNorm1d(6), ReLU(), Linear(6, 5)]
    elif end == 1:
        layers += [AdaptiveAvgPool2d(1), Flatten(), Linear(author.shape[0], 5)]
    net = Sequential(*layers, checkpoint=bool(rng.random() < 0.1))
    for _, parameter in net.named_parameters():
        parameter.data += rng.uniform(-0.3, 0.3, parameter.shape).astype(np.float32)
        if rng.random() < 0.1:
            parameter.requires_grad = False
    return net, shape


def taught(net, x, dy, fuse=True, free=False, checkpoint=None, **backward):
    """What one step gives: the output, the input's gradient, every parameter's, the buffers."""
    net = copy.deepcopy(net).free_after_backward(free)
    for layer in net.modules():
        if isinstance(layer, Sequential):
            layer.fuse = fuse
            layer.checkpoint = layer.checkpoint if checkpoint is None else checkpoint
    y = net.forward(x)
    dx = net.backward(dy, **backward)
    found = {name: parameter.grad for name, parameter in net.named_parameters()}
    return {"y": y, "dx": dx, **found, **{"buffer " + name: buffer for name, buffer in net.named_buffers()}}


def distance(one, other):
    """The largest difference, in units of the largest number of its group, and where; differing NaN count as infinite."""
    groups = [[key for key in other if (key == "y" or key.startswith("buffer ")) == outer] for outer in (True, False)]
    worst = (0.0, "")
    for group in groups:
        sizes = [np.abs(other[k]).max(initial=0, where=np.isfinite(other[k])) for k in group if other[k] is not None]
        largest = max([*sizes, 1e-3])  # no less: where a net gives zeros, of its gradients only roundings are left
        for key in group:
            a, b = one[key], other[key]
            assert (a is None) == (b is None), key
            if a is None or not a.size:
                continue
            if not (np.isfinite(a) == np.isfinite(b)).all():
                return np.inf, key
            gap = np.abs(np.where(np.isfinite(b), a - b, 0)).max()
            worst = max(worst, (float(gap / largest), key))
    return worst


def same_bits(one, other, which):
    for key, value in one.items():
        assert value is None or np.array_equal(value, other[key], equal_nan=True), f"{which}: {key}"


def check(rng):
    """One random net, printed where two ways to run it differ (AssertionError)."""
    net, shape = random_net(rng)
    dtype = (np.float32, np.float64)[rng.integers(2)]
    net.astype(dtype)
    batch = int(rng.integers(2, 6))
    x = rng.standard_normal((batch, *shape)).astype(dtype)
    if rng.random() < 0.3:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        x.flags.writeable = False
    y = copy.deepcopy(net).forward(x)
    dy = (rng.standard_normal(y.shape) * (rng.random(y.shape) < 0.8)).astype(dtype)
    if dy.ndim == 4 and rng.random() < 0.5:
        dy = np.ascontiguousarray(dy.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        dy.flags.writeable = False
    threads = config.get_num_threads()
    try:
        precision = ("highest", "high", "medium")[rng.integers(3)]
        with config.precision(precision), mock.patch.dict(split.WORTH, {1: 0}), np.errstate(all="ignore"):
            config.set_num_threads(1)
            fused = taught(net, x, dy)
            alone = taught(net, x, dy, fuse=False)
            # Numbers rounded to bfloat16 give the maxima of pooling other winners; that all are finite is asked for still.
            bound = 1e-8 if dtype == np.float64 else np.inf if precision == "medium" else 3e-3
            gap, where = distance(fused, alone)
            assert gap < bound, f"fused and layer by layer: {where} differs by {gap:.1e}"
            config.set_num_threads(int(rng.integers(2, 4)))
            same_bits(fused, taught(net, x, dy), "threads")
            config.set_num_threads(1)
            same_bits(fused, taught(net, x, dy, free=True), "free_after_backward")
            gap, where = distance(fused, taught(net, x, dy, checkpoint=False))
            assert gap < bound, f"checkpoint: {where} differs by {gap:.1e}"
            short = taught(net, x, dy, input_gradient=False)
            assert short.pop("dx") is None
            same_bits(short, fused, "without the input's gradient")
            net.eval()
            single = copy.deepcopy(net)
            for layer in single.modules():
                layer.fuse = False
            wanted, got = single.forward(x), net.forward(x)
            gap, _ = distance({"y": got}, {"y": wanted})
            assert gap < bound, f"evaluation: {gap:.1e}"
            folded = net.fold()
            for _ in range(3):
                gap, _ = distance({"y": folded.forward(x)}, {"y": wanted})
                assert gap < bound, f"folded: {gap:.1e}"
    except BaseException:
        print(net, shape, batch, dtype.__name__)
        raise
    finally:
        config.set_num_threads(threads)
