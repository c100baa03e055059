"""Batch-norm statistics recomputed under weights that no step has seen."""

from functools import partial

import numpy as np
import pytest

import fastnet
from fastnet import BatchNorm1d, BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU, Sequential, optim

X = np.random.default_rng(0).standard_normal((20, 3, 5, 4)).astype(np.float32) * 3 + 1


def net():
    fastnet.manual_seed(2)
    return Sequential(
        Conv2d(3, 6, 3), BatchNorm2d(6), ReLU(), Flatten(), Dropout(0.5), Linear(36, 7), BatchNorm1d(7, momentum=0.3)
    )


def test_the_statistics_of_one_batch_are_its_own():
    model = net()
    optim.recompute_batch_norm(model, X)
    inner = model[0].eval().forward(X)
    np.testing.assert_allclose(model[1].running_mean, inner.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model[1].running_var, inner.var((0, 2, 3), ddof=1), rtol=1e-4)
    assert model[1].num_batches_tracked == 1


def test_several_batches_are_weighed_by_their_sizes():
    model, twin = net(), net()
    optim.recompute_batch_norm(model, [X[:12], X[:0], X[12:]])
    inner = twin[0].eval().forward(X)
    parts = [inner[:12], inner[12:]]
    variances = sum(len(p) / 20 * p.var((0, 2, 3), ddof=1, dtype=float) for p in parts)
    np.testing.assert_allclose(model[1].running_mean, inner.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model[1].running_var, variances, rtol=1e-4)
    assert model[6].num_batches_tracked == 2


def test_it_is_pytorchs_update_bn_but_for_dropout():
    torch = pytest.importorskip("torch")
    ours = Sequential(Conv2d(3, 6, 3), BatchNorm2d(6))
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.BatchNorm2d(6))
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    optim.recompute_batch_norm(ours, X, batch_size=10)
    torch.optim.swa_utils.update_bn(torch.utils.data.DataLoader(torch.tensor(X), batch_size=10), theirs)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-5, atol=1e-6)


def test_weights_modes_momentum_and_random_states_stay():
    model = net()
    model[1].eval()
    before = {name: value for name, value in model.state_dict().items() if "running" not in name and "num" not in name}
    random = model[4].rng.bit_generator.state
    assert optim.recompute_batch_norm(model, X, batch_size=19) is model  # two batches of ten: none of a single example
    assert {name: model.state_dict()[name].tolist() for name in before} == {n: v.tolist() for n, v in before.items()}
    assert [layer.training for layer in model] == [True, False, True, True, True, True, True]
    assert (model[1].momentum, model[6].momentum) == (0.1, 0.3)
    assert model[4].rng.bit_generator.state == random


@pytest.mark.parametrize("x", [X[:0], [], [X, X[:, :2]]], ids=["empty", "nothing", "wrong"])
def test_a_refusal_leaves_the_statistics_as_they_were(x):
    model = net()
    optim.recompute_batch_norm(model, 2 * X)
    before = model.state_dict()
    with pytest.raises(ValueError):
        optim.recompute_batch_norm(model, x)
    np.testing.assert_equal(model.state_dict(), before)


@pytest.mark.parametrize("average", [partial(optim.EMA, decay=0.9), optim.SWA], ids=["EMA", "SWA"])
def test_a_solver_evaluates_averages_with_statistics_of_their_own(average):
    rng = np.random.default_rng(1)
    data = {"x_train": rng.standard_normal((60, 3, 5, 4)).astype(np.float32), "y_train": rng.integers(0, 7, 60)}
    data |= {"x_val": data["x_train"][:15], "y_val": data["y_train"][:15]}
    model = net()
    rule = optim.SGD(model.parameters(), 0.3)
    solver = fastnet.Solver(model, data, optimizer=rule, batch_size=20, epochs=4, average=average, progress=False)
    solver.train()
    own = model.state_dict()
    found = solver.predict(data["x_val"])
    np.testing.assert_equal(model.state_dict(), own)
    twin = net()
    twin.load_state_dict(solver.average.state_dict()["average"], strict=False)
    optim.recompute_batch_norm(twin, data["x_train"])
    np.testing.assert_allclose(found, twin.predict(data["x_val"]), rtol=1e-5, atol=1e-6)
    if solver.best_epoch == solver.epoch:
        np.testing.assert_allclose(solver.best["1.running_mean"], twin[1].running_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(solver.predict(data["x_val"]), found)
