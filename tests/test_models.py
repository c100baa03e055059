"""The zoo: every model has the published number of parameters, the right output, and trains."""

import math

import numpy as np
import pytest

import fastnet
from fastnet import layers, models

# name -> [(input shape, classes, options, parameters)]: the last column from the papers' and torchvision's tables, or
# added up by hand where nobody published it.
CASES = {
    "airbench": [((3, 32, 32), 10, {}, 1_972_792), ((1, 28, 19), 7, {"widths": (9, 10, 11)}, 5_403)],
    "three_layer_convnet": [((3, 32, 32), 10, {}, 825_046), ((1, 9, 7), 5, {"filters": 4, "kernel_size": 3}, 5_445)],
    "lenet": [((1, 28, 28), 10, {}, 215_370), ((3, 33, 26), 7, {"dropout": 0.5, "hidden": 9}, 27_951)],
    "lenet_bn": [((1, 28, 28), 10, {}, 215_546), ((3, 33, 26), 7, {"hidden": 9}, 28_008)],
    "vgg_bn": [((3, 32, 32), 10, {}, 1_187_274)],
    "resnet20": [((3, 32, 32), 10, {}, 272_474)],
    "resnet32": [((3, 32, 32), 10, {}, 466_906)],
    "resnet56": [((3, 32, 32), 10, {}, 855_770)],
    "resnet18": [((3, 32, 32), 10, {}, 11_173_962), ((3, 224, 224), 1000, {}, 11_689_512)],
    "resnet34": [((3, 32, 32), 10, {}, 21_282_122), ((3, 224, 224), 1000, {}, 21_797_672)],
    "resnet50": [((3, 32, 32), 10, {}, 23_520_842), ((3, 224, 224), 1000, {}, 25_557_032)],
    "mobilenet_v1": [((3, 32, 32), 10, {}, 3_217_226), ((3, 224, 224), 1000, {}, 4_231_976)],
}
EVERY = [pytest.param(name, *case, id=f"{name}-{case[0][1]}") for name, cases in CASES.items() for case in cases]
SMALL = (3, 20, 12)  # an image no side of which is a power of two or equals another


def parameters(net):
    return sum(p.size for p in net.parameters())


def test_every_model_has_its_case_here():
    assert sorted(CASES) == models.names(), f"add a case for {set(CASES) ^ set(models.names())}"


@pytest.mark.parametrize(("name", "input_shape", "classes", "options", "published"), EVERY)
def test_the_number_of_parameters_is_the_published_one(name, input_shape, classes, options, published):
    assert parameters(models.build(name, input_shape, classes, **options)) == published


@pytest.mark.parametrize("name", models.names())
def test_a_small_image_goes_forward_and_back_and_reaches_every_parameter(name):
    fastnet.manual_seed(0)
    net = models.build(name, SMALL, 7)
    x = np.random.default_rng(1).standard_normal((2, *SMALL), np.float32)
    y = net.forward(x)
    assert y.shape == (2, 7)
    dx = net.backward(np.random.default_rng(2).standard_normal(y.shape, np.float32))
    assert dx.shape == x.shape
    assert np.isfinite(dx).all()
    for parameter in net.parameters():
        assert np.isfinite(parameter.grad).all()
        assert parameter.grad.any(), f"{parameter.name} got no gradient"


@pytest.mark.parametrize("name", ["three_layer_convnet", "lenet", "vgg_bn", "resnet20", "resnet18", "mobilenet_v1"])
def test_a_seed_fixes_the_net_and_its_state_dict_holds_all_of_it(name):
    def build(seed):
        fastnet.manual_seed(seed)
        return models.build(name, SMALL, 7)

    net, same, other = build(5), build(5), build(6)
    x = np.random.default_rng(1).standard_normal((3, *SMALL), np.float32)
    scores = net.forward(x)  # moves the running statistics
    np.testing.assert_array_equal(same.forward(x), scores)
    assert (other.forward(x) != scores).any()
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other.eval().forward(x), net.eval().forward(x))


@pytest.mark.parametrize("name", ["three_layer_convnet", "lenet", "vgg_bn", "resnet20", "mobilenet_v1"])
def test_a_new_net_guesses(name):
    fastnet.manual_seed(0)
    net = models.build(name, (3, 33, 32), 10)
    x = np.random.default_rng(1).standard_normal((30, 3, 33, 32), np.float32)
    scores = net.forward(x).astype(np.float64)
    loss = np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[:, 3])
    assert loss == pytest.approx(math.log(10), abs=0.5)


def test_weights_before_a_relu_are_he_normal_and_the_last_ones_small():
    fastnet.manual_seed(0)
    net = models.lenet()
    for layer in (net[0], net[3], net[7]):
        assert layer.weight.data.std() == pytest.approx(math.sqrt(2 / layer.weight.data[0].size), rel=0.05)
        assert not layer.bias.data.any()
    assert net[-1].weight.data.std() == pytest.approx(0.01, rel=0.05)
    assert not net[-1].bias.data.any()


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet50"])
def test_with_zero_last_gamma_every_residual_block_starts_as_its_shortcut(name):
    net = models.build(name, SMALL, 7, zero_last_gamma=True)
    blocks = [layer for layer in net if isinstance(layer, layers.Residual)]
    x = np.random.default_rng(1).standard_normal((2, *SMALL), np.float32)
    for layer in net:
        if layer in blocks:
            assert not layer.children()[0].forward(x).any()
        x = layer.forward(x)
    assert len(blocks) == {"resnet20": 9, "resnet18": 8, "resnet50": 16}[name]


def test_resnet_parameters_come_in_torchvisions_order():
    shapes = [p.shape for _, p in models.resnet18((3, 224, 224), 1000).named_parameters()]
    bn = lambda c: [(c,), (c,)]  # noqa: E731
    stem = [(64, 3, 7, 7), *bn(64)]
    block = [(64, 64, 3, 3), *bn(64)] * 2
    wider = [(128, 64, 3, 3), *bn(128), (128, 128, 3, 3), *bn(128), (128, 64, 1, 1), *bn(128)]
    assert shapes[: 3 + 12 + 9] == stem + block * 2 + wider
    assert shapes[-2:] == [(1000, 512), (1000,)]


@pytest.mark.parametrize(
    ("stem", "size", "first_window", "scale"),
    [("imagenet", 40, 7, 4), ("cifar", 128, 3, 1), ("auto", 95, 3, 1), ("auto", 96, 7, 4)],
)
def test_resnet_stem_by_name_or_by_image_size(stem, size, first_window, scale):
    net = models.resnet18((3, size, size + 1), 10, stem=stem)
    first = net.children()[0]
    assert first.weight.shape == (64, 3, first_window, first_window)
    assert any(isinstance(layer, layers.MaxPool2d) for layer in net.children()) == (scale == 4)


def test_mobilenets_width_multiplies_its_channels():
    shapes = [p.shape for _, p in models.mobilenet_v1(SMALL, 7, width=0.25).named_parameters()]
    assert shapes[0] == (8, 3, 3, 3)
    assert (8, 1, 3, 3) in shapes  # depthwise
    assert shapes[-2] == (7, 256)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.build("resnet19"), "there is no 'resnet19'; there are airbench, lenet, lenet_bn, mob"),
        (lambda: models.build("names"), "there is no 'names'"),
        (lambda: models.lenet((1, 3, 28)), "lenet: images must be at least 4 pixels high and wide, found 3 x 28"),
        (lambda: models.vgg_bn((3, 32, 7)), "vgg_bn: images must be at least 8 pixels high and wide, found 32 x 7"),
        (lambda: models.resnet20((32, 32)), r"resnet20: input_shape must be \(C, H, W\), found \(32, 32\)"),
        (lambda: models.resnet20((0, 32, 31)), "resnet20: input_shape .* must be at least 1, found 0"),
        (lambda: models.resnet20(classes=0), "resnet20: classes must be at least 1, found 0"),
        (lambda: models.resnet18(stem="oak"), "resnet18: stem must be one of .*, found 'oak'"),
        (lambda: models.mobilenet_v1(width=0), "mobilenet_v1: width must be above 0, found 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
