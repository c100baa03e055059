"""The shapes that are timed are those of the nets."""

import numpy as np
import pytest

import fastnet
from bench import _nets
from fastnet.layers import Conv2d, Linear


@pytest.mark.parametrize("net", _nets.SMALL)
def test_the_layers_that_are_timed_are_those_of_the_models(net):
    table, trained = _nets.SMALL[net], _nets.TRAINED[net]
    convolutions, linear = layers_of(net, trained.shape, trained.classes)
    assert set(table.convolutions) == convolutions
    assert set(table.linear) == linear
    assert table.batches == (trained.batch,)


@pytest.mark.parametrize("net", ["resnet50", "mobilenet_v1"])
def test_the_layers_of_large_nets_are_those_of_the_models_for_photographs(net):
    convolutions, linear = layers_of(net, (3, 224, 224), 1000)
    assert set(_nets.LARGE[net].convolutions) == convolutions
    assert set(_nets.LARGE[net].linear) == linear


def test_the_layers_of_vgg16_have_its_published_number_of_weights():
    table = _nets.LARGE["vgg16"]
    often = [1, 1, 1, 1, 1, 2, 1, 2, 3]  # times that each of its convolutions occurs
    found = sum(n * layer.c * layer.f * 9 for n, layer in zip(often, table.convolutions, strict=True))
    biases = 64 * 2 + 128 * 2 + 256 * 3 + 512 * 6 + 4096 * 2 + 1000
    assert found + sum(c * f for c, f in table.linear) + biases == 138_357_544


@pytest.mark.parametrize("net", _nets.TRAINED)
def test_the_work_of_a_net_is_that_of_its_model(net):
    trained = _nets.TRAINED[net]
    found = fastnet.models.build(net, trained.shape, trained.classes).summary(trained.shape)
    first = next(row.multiply_adds for row in found.rows if row.multiply_adds)
    assert (trained.multiply_adds, trained.first) == (found.multiply_adds, first)


def layers_of(net, shape, classes):
    """The different convolutions and linear layers that the model computes with, as rows of the tables."""
    convolutions, linear = {}, set()
    model = fastnet.models.build(net, shape, classes).eval()
    for layer in model.modules():
        if isinstance(layer, Conv2d):
            watch(layer, convolutions)
        if isinstance(layer, Linear):
            linear.add((layer.in_features, layer.out_features))
    model.forward(np.zeros((1, *shape), np.float32))
    return set(convolutions), linear


def watch(layer, seen):
    """Note the row of a convolution when it is computed."""
    forward, geometry = layer.forward, layer.geometry

    def noted(x):
        assert geometry.padding == (geometry.kernel[0] // 2,) * 2
        assert x.shape[2] == x.shape[3]
        row = layer.in_channels, layer.out_channels, geometry.kernel[0], geometry.stride[0], x.shape[2], geometry.groups
        seen[row] = None
        return forward(x)

    layer.forward = noted
