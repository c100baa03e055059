"""The numbers that the course's public notebooks print: oracle.json, replayed case by case."""

import json
from pathlib import Path

import numpy as np
import pytest

from fastnet.cs231n import layers, optim

CASES = json.loads((Path(__file__).parent / "oracle.json").read_text())["cases"]


def array(spec):
    """An array from {"linspace": [start, stop, num], "reshape": […]}."""
    return np.linspace(*spec["linspace"]).reshape(spec["reshape"])


def inputs(case):
    """A case's arrays by name: linspaces, or draws replayed in order on a legacy generator."""
    given = case["inputs"]
    if "seed" not in given:
        return {name: array(spec) for name, spec in given.items()}
    random = np.random.RandomState(given["seed"])  # whose stream the notebooks print
    drawn = {}
    for name, kind, *arguments in given["draws"]:
        *bounds, shape = arguments
        drawn[name] = random.randn(*shape) if kind == "randn" else getattr(random, kind)(*bounds, size=shape)
    return drawn


def error(found, wanted):
    """The notebooks' relative error: the largest |a - b| / max(1e-8, |a| + |b|)."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    return np.max(np.abs(found - wanted) / np.maximum(1e-8, np.abs(found) + np.abs(wanted)))


@pytest.mark.parametrize("name", ["affine_forward", "relu_forward", "conv_forward", "max_pool_forward"])
def test_a_layer_gives_the_notebook_s_output(name):
    case = CASES[name]
    function = getattr(layers, case["signature"].split("(")[0])
    out, _ = function(*inputs(case).values(), *case.get("params", {}).values())
    assert error(out, case["expected"]["out"]) <= case["max_rel_error"]


@pytest.mark.parametrize("name", ["sgd_momentum", "adam"])
def test_a_rule_gives_the_notebook_s_next_weights_and_moments(name):
    case = CASES[name]
    arrays = inputs(case)
    w, dw = arrays.pop("w"), arrays.pop("dw")
    next_w, config = getattr(optim, name)(w, dw, {**case["params"]["config"], **arrays})
    found = {"next_w": next_w, **config}
    for key, wanted in case["expected"].items():
        assert error(found[key], wanted) <= case["max_rel_error"], key


def test_the_softmax_loss_of_small_scores_is_the_notebook_s():
    drawn, expected = inputs(CASES["softmax_loss"]), CASES["softmax_loss"]["expected"]
    loss, _ = layers.softmax_loss(drawn["x"] * 0.001, drawn["y"])
    assert loss == pytest.approx(expected["loss"], rel=1e-14)


def activations(case):
    """What the notebooks normalise: max(0, X W1) W2."""
    drawn = inputs(case)
    return np.maximum(0, drawn["X"] @ drawn["W1"]) @ drawn["W2"]


def agrees(found, wanted):
    """Equal in the eight printed digits."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1.01e-8)


def test_batchnorm_brings_the_notebook_s_activations_to_mean_beta_and_deviation_gamma():
    case = CASES["batchnorm_forward_train"]
    a, expected, param = activations(case), case["expected"], case["params"]["bn_param"]
    agrees(a.mean(axis=0), expected["input_mean"])
    agrees(a.std(axis=0), expected["input_std"])
    for gamma, beta, key in (
        ([1.0, 1, 1], [0.0, 0, 0], "gamma1_beta0"),
        ([1.0, 2, 3], [11.0, 12, 13], "gamma=[1,2,3] beta=[11,12,13]"),
    ):
        out, _ = layers.batchnorm_forward(a, np.array(gamma), np.array(beta), dict(param))
        agrees(out.mean(axis=0), expected[key]["mean"])
        agrees(out.std(axis=0), expected[key]["std"])


def test_layernorm_brings_the_notebook_s_activations_to_mean_beta_and_deviation_gamma():
    case = CASES["layernorm_forward"]
    a, expected, param = activations(case), case["expected"], case["params"]
    agrees(a.mean(axis=1), expected["input_mean_axis1"])
    agrees(a.std(axis=1), expected["input_std_axis1"])
    out, _ = layers.layernorm_forward(a, np.ones(3), np.zeros(3), param)
    agrees(out.mean(axis=1), np.zeros(4))
    agrees(out.std(axis=1), expected["gamma1_beta0"]["std_axis1"])
    out, _ = layers.layernorm_forward(a, np.full(3, 3.0), np.full(3, 5.0), param)
    agrees(out.mean(axis=1), expected["gamma3_beta5"]["mean_axis1"])
    agrees(out.std(axis=1), expected["gamma3_beta5"]["std_axis1"])


def test_every_case_of_the_oracle_has_its_test():
    tested = "affine_forward relu_forward conv_forward max_pool_forward sgd_momentum adam softmax_loss"
    assert set(CASES) == {*tested.split(), "batchnorm_forward_train", "layernorm_forward"}
