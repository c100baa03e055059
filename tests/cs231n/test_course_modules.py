"""What a notebook finds where it looks for it."""

import importlib

import numpy as np
import pytest

from fastnet.cs231n.vis_utils import visualize_grid

LAYERS = "affine_forward relu_backward batchnorm_backward_alt softmax_loss svm_loss conv_forward_naive dropout_forward"
UTILS = "affine_relu_forward conv_relu_pool_backward"
# module: names that notebooks use after a star import of it
STAR = {
    "layers": LAYERS,
    "layer_utils": UTILS,
    "fast_layers": "conv_forward_fast conv_backward_strides conv_forward_im2col max_pool_backward_fast",
    "optim": "sgd sgd_momentum rmsprop adam nesterov adagrad",
    "classifiers.fc_net": f"TwoLayerNet FullyConnectedNet {LAYERS} {UTILS}",
    "classifiers.cnn": f"ThreeLayerConvNet {LAYERS} {UTILS} conv_forward_fast",
    "gradient_check": "eval_numerical_gradient eval_numerical_gradient_array grad_check_sparse",
    "data_utils": "get_CIFAR10_data load_CIFAR10",
    "solver": "Solver",
    "vis_utils": "visualize_grid",
}


@pytest.mark.parametrize("module", STAR)
def test_a_star_import_brings_what_notebooks_rely_on(module):
    found = importlib.import_module(f"fastnet.cs231n.{module}")
    assert set(STAR[module].split()) <= set(found.__all__)
    assert all(callable(getattr(found, name)) for name in found.__all__)


@pytest.mark.parametrize("module", ["layers", "fast_layers", "layer_utils"])
def test_every_forward_has_its_backward(module):
    found = importlib.import_module(f"fastnet.cs231n.{module}")
    for name in found.__all__:
        if "forward" in name:
            assert name.replace("forward", "backward") in found.__all__


def test_a_grid_of_five_images_is_three_wide():
    images = np.arange(5 * 2 * 4 * 3, dtype=float).reshape(5, 2, 4, 3)
    images[1] = 7
    grid = visualize_grid(images, ubound=1.0, padding=2)
    assert grid.shape == (3 * 2 + 2 * 2, 3 * 4 + 2 * 2, 3)
    np.testing.assert_allclose(grid[:2, :4], (images[0] - images[0].min()) / np.ptp(images[0]))
    assert not grid[:2, 6:10].any()
    np.testing.assert_allclose(grid[4:6, 6:10], (images[4] - images[4].min()) / np.ptp(images[4]))
    assert not grid[8:].any()
    with pytest.raises(ValueError, match="wanted images"):
        visualize_grid(images[0])
