"""The course's layers: gradients against central differences, conventions, any memory order."""

import numpy as np
import pytest
from course import check_gradients, draws, relative_error

from fastnet.cs231n import fast_layers, layer_utils, layers
from fastnet.cs231n.gradient_check import eval_numerical_gradient

CONV = {"stride": 2, "pad": 1}
POOL = {"pool_height": 2, "pool_width": 3, "stride": 2}


def train(**more):
    return {"mode": "train", **more}


def with_fixed(function, *fixed):
    """The function with its last arguments fixed, and dictionaries copied at every call."""
    return lambda *arrays: function(*arrays, *(dict(f) if isinstance(f, dict) else f for f in fixed))


# name: forward of arrays, backward, shapes of the arrays
LAYERS = {
    "affine": (layers.affine_forward, layers.affine_backward, [(10, 2, 3), (6, 5), (5,)]),
    "relu": (layers.relu_forward, layers.relu_backward, [(10, 11)]),
    "relu of images": (layers.relu_forward, layers.relu_backward, [(2, 3, 5, 4)]),
    "batchnorm": (with_fixed(layers.batchnorm_forward, train()), layers.batchnorm_backward, [(4, 5), (5,), (5,)]),
    "batchnorm_alt": (
        with_fixed(layers.batchnorm_forward, train()),
        layers.batchnorm_backward_alt,
        [(4, 5), (5,), (5,)],
    ),
    "batchnorm in test mode": (
        with_fixed(
            layers.batchnorm_forward, {"mode": "test", "running_mean": np.arange(5.0), "running_var": np.full(5, 2.0)}
        ),
        layers.batchnorm_backward,
        [(4, 5), (5,), (5,)],
    ),
    "layernorm": (with_fixed(layers.layernorm_forward, {}), layers.layernorm_backward, [(4, 6), (6,), (6,)]),
    "dropout": (with_fixed(layers.dropout_forward, train(p=0.4, seed=123)), layers.dropout_backward, [(10, 11)]),
    "dropout in test mode": (
        with_fixed(layers.dropout_forward, {"mode": "test", "p": 0.4}),
        layers.dropout_backward,
        [(10, 11)],
    ),
    "conv naive": (
        with_fixed(layers.conv_forward_naive, CONV),
        layers.conv_backward_naive,
        [(2, 3, 5, 4), (2, 3, 3, 2), (2,)],
    ),
    "conv fast": (
        with_fixed(fast_layers.conv_forward_fast, CONV),
        fast_layers.conv_backward_fast,
        [(3, 2, 5, 7), (4, 2, 3, 2), (4,)],
    ),
    "max pool naive": (
        with_fixed(layers.max_pool_forward_naive, POOL),
        layers.max_pool_backward_naive,
        [(2, 3, 5, 7)],
    ),
    "max pool fast": (
        with_fixed(fast_layers.max_pool_forward_fast, POOL),
        fast_layers.max_pool_backward_fast,
        [(2, 3, 5, 7)],
    ),
    "spatial batchnorm": (
        with_fixed(layers.spatial_batchnorm_forward, train()),
        layers.spatial_batchnorm_backward,
        [(2, 3, 4, 5), (3,), (3,)],
    ),
    "spatial groupnorm": (
        with_fixed(layers.spatial_groupnorm_forward, 2, {}),
        layers.spatial_groupnorm_backward,
        [(2, 6, 4, 5), (1, 6, 1, 1), (1, 6, 1, 1)],
    ),
    "spatial groupnorm with flat gamma": (
        with_fixed(layers.spatial_groupnorm_forward, 3, {"eps": 1e-3}),
        layers.spatial_groupnorm_backward,
        [(2, 6, 4, 5), (6,), (6,)],
    ),
    "affine_relu": (layer_utils.affine_relu_forward, layer_utils.affine_relu_backward, [(2, 3, 4), (12, 10), (10,)]),
    "affine_bn_relu": (
        with_fixed(layer_utils.affine_bn_relu_forward, train()),
        layer_utils.affine_bn_relu_backward,
        [(6, 3, 4), (12, 5), (5,), (5,), (5,)],
    ),
    "conv_relu": (
        with_fixed(layer_utils.conv_relu_forward, {"stride": 1, "pad": 1}),
        layer_utils.conv_relu_backward,
        [(2, 3, 6, 5), (4, 3, 3, 2), (4,)],
    ),
    "conv_bn_relu": (
        with_fixed(
            lambda x, w, b, gamma, beta, bn: layer_utils.conv_bn_relu_forward(
                x, w, b, gamma, beta, {"stride": 1, "pad": 1}, bn
            ),
            train(),
        ),
        layer_utils.conv_bn_relu_backward,
        [(2, 3, 6, 5), (4, 3, 3, 2), (4,), (4,), (4,)],
    ),
    "conv_relu_pool": (
        with_fixed(layer_utils.conv_relu_pool_forward, {"stride": 1, "pad": 1}, {**POOL, "stride": 1}),
        layer_utils.conv_relu_pool_backward,
        [(2, 3, 6, 5), (4, 3, 3, 2), (4,)],
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_agree_with_central_differences(name):
    forward, backward, shapes = LAYERS[name]
    draw = draws(231)
    # batch norm takes a shift away again, so the slope of such a bias is 0 but for the rounding of the differences
    if "_bn_" in name:
        frozen = draw(*shapes[2])
        shapes = shapes[:2] + shapes[3:]
        check_gradients(
            lambda x, w, gamma, beta: forward(x, w, frozen, gamma, beta),
            lambda dout, cache: tuple(g for i, g in enumerate(backward(dout, cache)) if i != 2),
            [draw(*shape) for shape in shapes],
            1e-8,
        )
    else:
        check_gradients(forward, backward, [draw(*shape) for shape in shapes], 1e-8)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_takes_any_memory_order_and_gives_c_order(name):
    forward, backward, shapes = LAYERS[name]
    draw = draws(3)
    arrays = [draw(*shape) for shape in shapes]
    wide = [np.repeat(a, 2, axis=-1)[..., ::2] for a in arrays]
    out, cache = forward(*arrays)
    dout = draw(*out.shape)
    wanted = backward(dout, cache)
    for other in ([np.asfortranarray(a) for a in arrays], wide):
        found, cache = forward(*other)
        assert type(found) is np.ndarray
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, out, rtol=1e-13, atol=1e-13)
        for g, w in zip(as_tuple(backward(np.asfortranarray(dout), cache)), as_tuple(wanted)):
            np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)


def as_tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_works_in_float32_and_on_whole_numbers(name):
    forward, backward, shapes = LAYERS[name]
    draw = draws(5)
    arrays = [np.round(3 * draw(*shape)) for shape in shapes]
    out, cache = forward(*arrays)
    assert forward(*(a.astype(int) for a in arrays))[0].dtype == np.float64
    np.testing.assert_array_equal(forward(*(a.astype(int) for a in arrays))[0], out)
    single, cache = forward(*(a.astype(np.float32) for a in arrays))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, out, rtol=1e-4, atol=1e-4)
    assert {g.dtype for g in as_tuple(backward(np.ones(out.shape), cache))} == {np.dtype(np.float32)}


@pytest.mark.parametrize("loss", [layers.softmax_loss, layers.svm_loss])
def test_gradients_of_the_losses_agree_with_central_differences(loss):
    x, y = 0.001 * draws(231)(50, 10), np.random.default_rng(1).integers(0, 10, 50)
    _, dx = loss(x, y)
    wanted = eval_numerical_gradient(lambda x: loss(x, y)[0], x, verbose=False)
    assert relative_error(dx, wanted) < 1e-7


def test_losses_of_equal_scores_are_at_chance():
    x, y = np.zeros((5, 10)), np.arange(5)
    assert layers.softmax_loss(x, y)[0] == pytest.approx(np.log(10))
    assert layers.svm_loss(x, y)[0] == pytest.approx(9)


def test_batchnorm_s_momentum_weighs_the_old_statistics_which_start_at_zero_and_are_biased():
    draw, param = draws(7), train(momentum=0.9)
    first, second = 3 + 2 * draw(20, 3), 1 - draw(20, 3)
    for x in (first, second):
        layers.batchnorm_forward(x, np.ones(3), np.zeros(3), param)
    mean = 0.9 * (0.1 * first.mean(axis=0)) + 0.1 * second.mean(axis=0)
    var = 0.9 * (0.1 * first.var(axis=0)) + 0.1 * second.var(axis=0)
    np.testing.assert_allclose(param["running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(param["running_var"], var, rtol=1e-12)


def test_batchnorm_in_test_mode_uses_the_running_statistics_and_leaves_them():
    draw, param = draws(8), train()
    gamma, beta = draw(3), draw(3)
    for _ in range(200):
        layers.batchnorm_forward(5 + 3 * draw(40, 3), gamma, beta, param)
    before = param["running_mean"].copy(), param["running_var"].copy()
    x = 5 + 3 * draw(7, 3)
    out, _ = layers.batchnorm_forward(x, gamma, beta, {**param, "mode": "test"})
    np.testing.assert_allclose(out, gamma * (x - before[0]) / np.sqrt(before[1] + 1e-5) + beta, rtol=1e-12)
    np.testing.assert_array_equal(before, (param["running_mean"], param["running_var"]))
    np.testing.assert_allclose(before[0], 5, atol=0.5)


def test_spatial_batchnorm_is_batchnorm_of_every_pixel():
    draw = draws(9)
    x, gamma, beta = draw(2, 3, 4, 5), draw(3), draw(3)
    spatial, flat = train(), train()
    out, _ = layers.spatial_batchnorm_forward(x, gamma, beta, spatial)
    wanted, _ = layers.batchnorm_forward(x.transpose(0, 2, 3, 1).reshape(-1, 3), gamma, beta, flat)
    np.testing.assert_allclose(out, wanted.reshape(2, 4, 5, 3).transpose(0, 3, 1, 2), rtol=1e-13)
    np.testing.assert_allclose(spatial["running_var"], flat["running_var"], rtol=1e-13)


@pytest.mark.parametrize("p", [0.25, 0.4, 0.7])
def test_dropout_s_p_is_the_probability_to_keep(p):
    x = np.full((500, 501), 10.0)
    out, cache = layers.dropout_forward(x, train(p=p))
    assert (out == 0).mean() == pytest.approx(1 - p, abs=0.01)
    assert out.mean() == pytest.approx(10, abs=0.1)
    np.testing.assert_allclose(out[out != 0], 10 / p)
    np.testing.assert_array_equal(layers.dropout_backward(x, cache), out)
    np.testing.assert_array_equal(layers.dropout_forward(x, {"mode": "test", "p": p})[0], x)


def test_dropout_s_masks_come_from_the_seed_or_from_numpy_s_generator():
    x = np.ones((30, 40))
    draw = lambda **more: layers.dropout_forward(x, train(p=0.5, **more))[0]  # noqa: E731
    np.testing.assert_array_equal(draw(seed=4), draw(seed=4))
    assert (draw(seed=4) != draw(seed=5)).any()
    assert (draw() != draw()).any()
    np.random.seed(231)  # noqa: NPY002 (as the notebooks do)
    first = draw()
    np.random.seed(231)  # noqa: NPY002
    np.testing.assert_array_equal(draw(), first)


@pytest.mark.parametrize("filters", [1, 2])
def test_a_sandwich_s_cache_outlives_a_change_of_its_output(filters):
    draw, param = draws(2), {"stride": 1, "pad": 1}
    arrays = draw(2, 3, 5, 4), draw(filters, 3, 3, 2), draw(filters)
    out, cache = layer_utils.conv_relu_forward(*arrays, param)
    dout = draw(*out.shape)
    wanted = layer_utils.conv_relu_backward(dout, cache)
    out[...] = 0
    for found, before in zip(layer_utils.conv_relu_backward(dout, cache), wanted):
        np.testing.assert_array_equal(found, before)


def test_relu_s_cache_outlives_a_change_of_its_output():
    x = draws(2)(4, 5)
    out, cache = layers.relu_forward(x)
    out[...] = 0
    np.testing.assert_array_equal(layers.relu_backward(np.ones((4, 5)), cache), x > 0)


BAD = [
    (lambda: layers.affine_forward(np.ones((2, 3)), np.ones((4, 5)), np.ones(5)), ValueError, "linear"),
    (lambda: layers.affine_forward(np.ones((2, 3)), np.ones((3, 5)), np.ones(4)), ValueError, "b must have shape"),
    (lambda: layers.relu_forward(np.ones(3, complex)), TypeError, "real numbers"),
    (lambda: layers.relu_backward(np.ones(4), layers.relu_forward(np.ones(3))[1]), ValueError, "dout must have"),
    (lambda: layers.dropout_forward(np.ones(3), train(p=0.0)), ValueError, "KEEP"),
    (lambda: layers.dropout_forward(np.ones(3), train(p=1.5)), ValueError, "KEEP"),
    (lambda: layers.dropout_forward(np.ones(3), {"p": 0.5, "mode": "trian"}), ValueError, "trian"),
    (lambda: layers.dropout_forward(np.ones(3), {"mode": "train"}), KeyError, "needs 'p'"),
    (lambda: layers.batchnorm_forward(np.ones((4, 3)), np.ones(3), np.ones(3), {}), KeyError, "needs 'mode'"),
    (lambda: layers.batchnorm_forward(np.ones((4, 3)), np.ones(2), np.ones(3), train()), ValueError, "gamma"),
    (lambda: layers.batchnorm_forward(np.ones((1, 3)), np.ones(3), np.ones(3), train()), ValueError, "at least 2"),
    (lambda: layers.batchnorm_forward(np.ones((4, 3, 2, 2)), np.ones(3), np.ones(3), train()), ValueError, "2 dim"),
    (
        lambda: layers.spatial_groupnorm_forward(np.ones((2, 6, 3, 4)), np.ones(6), np.ones(6), 4, {}),
        ValueError,
        "does not divide",
    ),
    (
        lambda: layers.spatial_groupnorm_forward(np.ones((2, 6, 3, 4)), np.ones((6, 1, 1)), np.ones(6), 3, {}),
        ValueError,
        "gamma",
    ),
    (lambda: layers.softmax_loss(np.ones((3, 4)), np.array([0, 1, 4])), ValueError, "label 4 in row 2"),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_arguments_are_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_refused_batch_leaves_the_running_statistics():
    param = train(running_mean=np.ones(3), running_var=np.ones(3))
    with pytest.raises(ValueError, match="at least 2"):
        layers.batchnorm_forward(np.ones((1, 3)), np.ones(3), np.ones(3), param)
    np.testing.assert_array_equal(param["running_mean"], np.ones(3))


def test_an_empty_batch_gives_empty_outputs_and_zero_gradients():
    out, cache = layers.affine_forward(np.ones((0, 2, 3)), np.ones((6, 5)), np.ones(5))
    assert out.shape == (0, 5)
    dx, dw, db = layers.affine_backward(out, cache)
    assert (dx.shape, dw.shape, db.shape) == ((0, 2, 3), (6, 5), (5,))
    assert not dw.any()
    assert not db.any()
    x, w, b = np.ones((0, 3, 5, 4)), np.ones((2, 3, 3, 2)), np.ones(2)
    out, cache = layer_utils.conv_relu_pool_forward(x, w, b, {"stride": 1, "pad": 1}, POOL)
    dx, dw, db = layer_utils.conv_relu_pool_backward(out, cache)
    assert dx.shape == x.shape
    assert not dw.any()
