"""The course's Solver: overfitting, the best state, histories, checkpoints."""

import numpy as np
import pytest
from course import draws

from fastnet.cs231n.classifiers.cnn import ThreeLayerConvNet
from fastnet.cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from fastnet.cs231n.solver import Solver, load_checkpoint


def seed(n=231):
    np.random.seed(n)  # noqa: NPY002 (batches and weights come from this generator, as in the course)


def examples(count, shape, classes=10, start=0):
    """Noise with labels: nothing to generalise, all to remember."""
    rng = np.random.default_rng(start)
    return rng.standard_normal((count, *shape)), rng.integers(0, classes, count)


def data_of(count, shape, held=20):
    (x, y), (x_val, y_val) = examples(count, shape), examples(held, shape, start=1)
    return {"X_train": x, "y_train": y, "X_val": x_val, "y_val": y_val}


@pytest.mark.parametrize(
    ("update_rule", "rate"), [("sgd", 0.5), ("sgd_momentum", 0.1), ("adam", 1e-2), ("rmsprop", 1e-2)]
)
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_fifty_examples_are_learnt_by_heart(update_rule, rate, normalization):
    seed()
    net = FullyConnectedNet([40, 30], input_dim=60, normalization=normalization, weight_scale=0.1, dtype=np.float64)
    solver = Solver(
        net, data_of(50, (3, 4, 5)), update_rule=update_rule, optim_config={"learning_rate": rate},
        num_epochs=30, batch_size=25, verbose=False
    )  # fmt: skip
    solver.train()
    assert max(solver.train_acc_history) == 1.0
    assert solver.loss_history[-1] < solver.loss_history[0] / 4


def test_the_convnet_learns_fifty_images_by_heart():
    seed()
    net = ThreeLayerConvNet((3, 12, 10), num_filters=8, filter_size=3, hidden_dim=30, weight_scale=5e-2)
    solver = Solver(
        net, data_of(50, (3, 12, 10)), update_rule="adam", optim_config={"learning_rate": 3e-3},
        num_epochs=40, batch_size=25, verbose=False
    )  # fmt: skip
    solver.train()
    assert max(solver.train_acc_history) == 1.0


def test_lengths_of_the_histories_and_decay_of_the_rates():
    seed()
    net = TwoLayerNet(input_dim=12, hidden_dim=5)
    solver = Solver(net, data_of(50, (12,)), batch_size=20, num_epochs=3, lr_decay=0.5, verbose=False)
    solver.train()
    assert len(solver.loss_history) == 3 * 2
    assert len(solver.train_acc_history) == len(solver.val_acc_history) == 1 + 3
    assert solver.epoch == 3
    assert set(solver.optim_configs) == {"W1", "b1", "W2", "b2"}
    assert {config["learning_rate"] for config in solver.optim_configs.values()} == {1e-2 * 0.5**3}
    assert solver.best_val_acc == max(solver.val_acc_history)


def test_the_best_state_comes_back_with_its_running_statistics():
    seed()
    net = FullyConnectedNet([20], input_dim=12, normalization="batchnorm", weight_scale=0.1, dtype=np.float64)
    data = data_of(60, (12,), held=200)
    for split in ("train", "val"):
        data[f"y_{split}"] = data[f"X_{split}"][:, :10].argmax(axis=1)
    solver = Solver(
        net, data, optim_config={"learning_rate": 0.05}, lr_decay=3.0, batch_size=15, num_epochs=8, verbose=False
    )  # the rate grows until the net is worse than before
    solver.train()
    assert solver.val_acc_history[-1] < solver.best_val_acc  # so the last state is not the best
    assert solver.check_accuracy(data["X_val"], data["y_val"]) == solver.best_val_acc
    assert set(solver.best_params) == {*net.params, "running_mean1", "running_var1"}
    np.testing.assert_array_equal(net.bn_params[0]["running_var"], solver.best_params["running_var1"])
    other = FullyConnectedNet([20], input_dim=12, normalization="batchnorm", dtype=np.float64)
    other.params = solver.best_params
    np.testing.assert_array_equal(other.loss(data["X_val"]), net.loss(data["X_val"]))
    assert set(other.params) == set(net.params)


class Constant:
    """A model of a student's own that is always wrong, with no more than the course asks of it."""

    def __init__(self):
        self.params = {"W": np.zeros((4, 10))}

    def loss(self, X, y=None):
        scores = np.zeros((len(X), 10)) + np.eye(10)[9]
        return scores if y is None else (1.0, {"W": np.ones((4, 10))})


def test_there_is_a_best_state_though_nothing_is_ever_right():
    data = {
        "X_train": np.ones((8, 4)),
        "y_train": np.zeros(8, int),
        "X_val": np.ones((3, 4)),
        "y_val": np.zeros(3, int),
    }
    model = Constant()
    solver = Solver(model, data, batch_size=4, num_epochs=2, verbose=False)
    solver.train()
    assert solver.best_val_acc == 0
    assert set(solver.best_params) == {"W"}
    assert set(model.params) == {"W"}


def test_accuracies_are_taken_on_as_many_examples_as_asked_in_parts():
    net = Constant()
    x, y = np.ones((250, 4)), np.where(np.arange(250) < 50, 9, 0)
    solver = Solver(net, {"X_train": x, "y_train": y, "X_val": x, "y_val": y}, verbose=False)
    assert solver.check_accuracy(x, y, batch_size=99) == 0.2
    seen = []
    solver.model.loss = lambda X: seen.append(len(X)) or np.zeros((len(X), 10))
    solver.check_accuracy(x, y, num_samples=130, batch_size=60)
    assert seen == [60, 60, 10]


def test_what_is_printed(capsys):
    seed()
    Solver(
        TwoLayerNet(input_dim=12, hidden_dim=5), data_of(40, (12,)), batch_size=20, num_epochs=2, print_every=3
    ).train()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "(Iteration 1 / 4) loss",
        "(Epoch 0 / 2) train acc",
        "(Epoch 1 / 2) train acc",
        "(Iteration 4 / 4) loss",
        "(Epoch 2 / 2) train acc",
    ]


def test_the_same_seed_gives_the_same_run():
    runs = []
    for _ in range(2):
        seed(7)
        net = FullyConnectedNet([9], input_dim=12, dropout_keep_ratio=0.5, weight_scale=0.1)
        solver = Solver(net, data_of(40, (12,)), update_rule="adam", num_epochs=2, batch_size=10, verbose=False)
        solver.train()
        runs.append(solver.loss_history)
    assert runs[0] == runs[1]


def test_checkpoints_hold_parameters_statistics_moments_and_histories(tmp_path):
    seed()
    net = FullyConnectedNet([9], input_dim=12, normalization="batchnorm")
    solver = Solver(
        net, data_of(40, (12,)), update_rule="adam", num_epochs=2, batch_size=20, verbose=False,
        checkpoint_name=str(tmp_path / "run" / "net")
    )  # fmt: skip
    solver.train()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        f"net_epoch_{epoch}.safetensors" for epoch in (0, 1, 2)
    ]
    saved = load_checkpoint(tmp_path / "run" / "net_epoch_2.safetensors")
    assert saved["epoch"] == 2
    assert saved["loss_history"] == solver.loss_history
    assert saved["val_acc_history"] == solver.val_acc_history
    assert saved["optim_configs"]["W1"]["t"] == 4
    np.testing.assert_array_equal(saved["optim_configs"]["W1"]["m"], solver.optim_configs["W1"]["m"])
    other = FullyConnectedNet([9], input_dim=12, normalization="batchnorm")
    other.params = {**saved["params"], **saved["running_statistics"]}
    x = draws(0)(5, 12)
    assert other.loss(x).shape == (5, 10)
    assert set(saved["running_statistics"]) == {"running_mean1", "running_var1"}


def test_bad_arguments_are_refused():
    data, net = data_of(40, (12,)), TwoLayerNet(input_dim=12)
    with pytest.raises(ValueError, match="unknown arguments learning_rate"):
        Solver(net, data, learning_rate=1e-3)
    with pytest.raises(ValueError, match=r"update_rule must be one of .* found 'adem'"):
        Solver(net, data, update_rule="adem")
    with pytest.raises(ValueError, match="found 40 images X_train and 39 labels y_train"):
        Solver(net, {**data, "y_train": data["y_train"][1:]})
    with pytest.raises(ValueError, match="batch_size must be at least 1, found 0"):
        Solver(net, data, batch_size=0)
