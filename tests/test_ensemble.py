"""Ensembles: means of probabilities, of scores and of weights."""

import numpy as np
import pytest

import fastnet
from fastnet import BatchNorm1d, Ensemble, Linear, ReLU, Sequential, Solver, optim
from fastnet.ensemble import softmax

X = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + 2 * (X[:, 1] > 0)


def net(seed=0, norm=False):
    fastnet.manual_seed(seed)
    return Sequential(Linear(6, 5), *([BatchNorm1d(5)] if norm else []), ReLU(), Linear(5, 4))


def trained(net, epochs=3, **arguments):
    data = {"x_train": X, "y_train": Y, "x_val": X[:7], "y_val": Y[:7]}
    rule = optim.SGD(net.parameters(), 0.3)
    solver = Solver(net, data, optimizer=rule, batch_size=10, epochs=epochs, progress=False, **arguments)
    solver.train()
    return solver


def test_probabilities_are_the_mean_of_the_nets_softmax():
    nets = [net(seed) for seed in range(3)]
    both = Ensemble(nets)
    wanted = np.mean([softmax(one.predict(X)) for one in nets], axis=0)
    np.testing.assert_allclose(both.predict(X, batch_size=8), wanted, rtol=1e-6)
    np.testing.assert_allclose(both.predict(X).sum(1), 1, rtol=1e-12)
    assert both.evaluate(X, Y) == (wanted.argmax(1) == Y).mean()
    assert both.evaluate_each(X, Y) == [(one.predict(X).argmax(1) == Y).mean() for one in nets]
    assert (len(both), both[2]) == (3, nets[2])
    assert repr(both) == "Ensemble(3 nets, average='probabilities')"


def test_scores_may_be_averaged_and_weighed_instead():
    nets = [net(seed) for seed in range(2)]
    mean = Ensemble(nets, average="scores", weights=[3, 1]).predict(X)
    np.testing.assert_allclose(mean, 0.75 * nets[0].predict(X) + 0.25 * nets[1].predict(X), rtol=1e-5, atol=1e-6)


def test_one_net_is_an_ensemble_too_and_ensembles_may_be_nested():
    inner = Ensemble([net(0), net(1)])
    np.testing.assert_allclose(Ensemble([inner]).predict(X), inner.predict(X), rtol=1e-12)
    np.testing.assert_array_equal(Ensemble([net(1)]).predict(X).argmax(1), net(1).predict(X).argmax(1))


def test_softmax_of_huge_scores_is_finite():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0, -1e4], [3.0, 3.0, 3.0]])), [[1, 0, 0], [1 / 3] * 3])


def test_solvers_prepare_images_themselves_and_nets_get_them_prepared():
    images = np.random.default_rng(1).integers(0, 255, (24, 1, 2, 3)).astype(np.uint8)
    data = {"x_train": images, "y_train": np.arange(24) % 4}
    solvers = []
    for seed in range(2):
        fastnet.manual_seed(seed)
        flat = Sequential(fastnet.Flatten(), Linear(6, 4))
        solvers.append(Solver(flat, data, optimizer=optim.SGD(flat.parameters(), 0.1), epochs=1, progress=False))
        solvers[-1].train()
    wanted = Ensemble(solvers).predict(images)
    nets = Ensemble([solver.net for solver in solvers], normalize=solvers[0].normalize)
    np.testing.assert_allclose(nets.predict(images), wanted, rtol=1e-5)
    np.testing.assert_allclose(nets.predict(solvers[0].normalize(images)), wanted, rtol=1e-5)


def test_snapshots_of_one_run_are_taken_at_the_end_of_each_cycle(tmp_path):
    model = net()
    checkpoint = fastnet.Checkpoint(tmp_path / "{epoch}.safetensors", every_epochs=2)
    solver = trained(model, epochs=6, schedule=optim.WarmRestarts(0.3, 6), checkpoint=checkpoint)
    assert solver.history.lr[5] < 0.05 < solver.history.lr[6] == 0.3
    files = [tmp_path / f"{epoch}.safetensors" for epoch in (2, 4, 6)]
    together = Ensemble.snapshots(model, files)
    assert len(together) == 3
    np.testing.assert_array_equal(together[2].predict(X), model.predict(X))
    assert (together[0].predict(X) != model.predict(X)).any()
    states = [one.state_dict() for one in together]
    np.testing.assert_array_equal(Ensemble.snapshots(model, states).predict(X), together.predict(X))


def test_the_mean_net_has_the_mean_weights_and_statistics_of_its_own():
    model = net(norm=True)
    solver = trained(model, epochs=1)
    states = [model.state_dict()]
    solver.epochs = 3
    solver.train()
    states.append(model.state_dict())
    mean = Ensemble.mean_net(model, states, X)
    for name in ("0.weight", "3.bias"):
        np.testing.assert_allclose(mean.state_dict()[name], (states[0][name] + states[1][name]) / 2, rtol=1e-6)
    np.testing.assert_allclose(mean[1].running_mean, mean[0].predict(X).mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_equal(model.state_dict(), states[1])
    with pytest.raises(ValueError, match=r"has batch norm: give x"):
        Ensemble.mean_net(model, states)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Ensemble([]), ValueError, "at least one net"),
        (lambda: Ensemble(net()), TypeError, "a list of nets, found Sequential"),
        (lambda: Ensemble([net(), 3]), TypeError, "found int"),
        (lambda: Ensemble([net()], average="votes"), ValueError, "'probabilities' or 'scores', found 'votes'"),
        (lambda: Ensemble([net()], weights=[1, 2]), ValueError, "expected 1 weights"),
        (lambda: Ensemble([net()], weights=[0]), ValueError, "expected 1 weights"),
        (lambda: Ensemble([net()], normalize=3), TypeError, "a function of images"),
        (lambda: Ensemble([net(), Linear(6, 3)]).predict(X), ValueError, r"gives shape \(30, 3\)"),
        (lambda: Ensemble([net()]).evaluate(X, Y[:3]), ValueError, "expected scores"),
        (lambda: Ensemble.mean_net(net(), []), ValueError, "at least one state"),
    ],
)
def test_what_does_not_go_together_is_refused(make, error, message):
    with pytest.raises(error, match=f"^Ensemble.*{message}"):
        make()
