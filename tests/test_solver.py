"""The Solver: it learns, it stops cleanly, and it goes on exactly."""

import copy
import hashlib
import math
import os
import signal
import threading
from functools import partial

import numpy as np
import pytest

import fastnet
from fastnet import optim
from fastnet.callbacks import Callback, EarlyStopping, Lambda
from fastnet.checkpoint import Checkpoint
from fastnet.data import MixUp, Normalize, RandomShift
from fastnet.errors import FormatError
from fastnet.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential
from fastnet.losses import MSE
from fastnet.regularization import L1, L2, ElasticNet
from fastnet.solver import Solver

N, BATCH = 42, 8  # six batches an epoch, the last of two examples


def digits(n=N, seed=0, classes=3):
    """Bytes that are easy to learn: class k is bright in its own corner."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.integers(0, 120, (n, 1, 6, 8), dtype=np.uint8)
    for k in range(classes):
        x[y == k, :, 2 * k : 2 * k + 2, k : k + 4] += 100
    return x, y


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data():
    (x, y), (xv, yv) = digits(), digits(15, seed=1)
    return {"x_train": x, "y_train": y, "x_val": xv, "y_val": yv}


def small_net(dtype=np.float32):
    fastnet.manual_seed(5)
    return Sequential(
        Conv2d(1, 5, (3, 2), padding=1),
        BatchNorm2d(5),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Dropout(0.25),
        Linear(5 * 3 * 4, 3),
    ).astype(dtype)


def quiet(net, data, **settings):
    return Solver(
        net, data, **{"optimizer": partial(optim.SGD, lr=0.05), "batch_size": BATCH, "progress": False, **settings}
    )


def same(a, b):
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def deterministic(history):
    return {name: values for name, values in history.to_dict().items() if name != "seconds"}


def stop_at(step):
    return Lambda(on_step=lambda solver: solver.stop("as asked") if solver.step == step else None)


# --- it learns ----------------------------------------------------------------------------------------------------


def test_fifty_examples_are_learnt_by_heart():
    x, y = digits(50)
    y = np.random.default_rng(2).permutation(y)  # labels that mean nothing
    fastnet.manual_seed(0)
    net = Sequential(Flatten(), Linear(48, 64), ReLU(), Linear(64, 3))
    solver = quiet(net, {"x_train": x, "y_train": y}, optimizer=partial(optim.Adam, lr=3e-3), epochs=40, batch_size=10)
    history = solver.train()
    assert history.train_accuracy[-1] == 1.0
    assert history.loss[-1] < 0.1
    assert solver.evaluate(x, y) == 1.0


def test_the_history_has_a_number_for_every_step_and_every_epoch(data):
    history = quiet(small_net(), data, epochs=3, schedule=lambda step: 0.1 / (step + 1)).train()
    assert history.steps == 18
    assert history.epoch_steps == [6, 12, 18]
    assert history.lr == [0.1 / (step + 1) for step in range(18)]
    for name in ("train_accuracy", "val_accuracy", "val_loss", "seconds", "update_ratio"):
        assert len(getattr(history, name)) == 3, name
    assert history.val_accuracy[-1] > 0.6
    assert all(0 < ratio < 1 for ratio in history.update_ratio)
    assert history.seconds == sorted(history.seconds)
    assert "18 steps" in repr(history)
    assert len(history.table().splitlines()) == 4


def test_the_first_reported_loss_is_that_of_the_first_batch_before_the_update(data):
    solver = quiet(small_net(), data, regularization=0.5)
    net, loss = copy.deepcopy(solver.net), copy.copy(solver.loss)
    x, y = next(iter(solver.loader.batches(0)))
    weights = [p.data for p in net.parameters() if p.decay]
    expected = loss.forward(net.forward(x), y) + 0.25 * sum(float((w.astype(np.float64) ** 2).sum()) for w in weights)
    solver.epochs = 1
    assert solver.train().loss[0] == pytest.approx(expected, rel=1e-6)


def test_one_seed_decides_everything(data):
    runs = []
    for seed in (4, 4, 9):
        net = small_net()
        history = quiet(net, data, epochs=2, seed=seed, augment=RandomShift(1)).train()
        runs.append((net.state_dict(), deterministic(history)))
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not same(runs[0][0], runs[2][0])


@pytest.mark.parametrize("rule", [optim.SGD, optim.Adam])
def test_the_thread_count_changes_no_bit(data, rule):
    digests = set()
    for threads in (1, 2, 3, 7):
        fastnet.set_num_threads(threads)
        net = small_net()
        quiet(net, data, optimizer=partial(rule, lr=0.02), epochs=1, regularization=ElasticNet(1e-3, 1e-3)).train()
        state = net.state_dict()
        digests.add(hashlib.sha256(b"".join(state[name].tobytes() for name in sorted(state))).hexdigest())
    assert len(digests) == 1


def test_float64_nets_train_on_float64_data(data):
    data = {name: (value / 255.0 if value.ndim == 4 else value) for name, value in data.items()}
    solver = quiet(small_net(np.float64), data, epochs=1)
    solver.train()
    assert solver.normalize is None
    assert solver.predict(data["x_val"]).dtype == np.float64


def test_a_regression_reports_losses_and_keeps_the_state_of_the_lowest():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3)).astype(np.float32)
    y = x @ np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, 1.0]], np.float32)
    data = {"x_train": x[:30], "y_train": y[:30], "x_val": x[30:], "y_val": y[30:]}
    fastnet.manual_seed(1)
    solver = quiet(Sequential(Linear(3, 2)), data, loss=MSE(), optimizer=partial(optim.Adam, lr=0.05), epochs=30)
    history = solver.train()
    assert all(map(math.isnan, history.val_accuracy))
    assert history.val_loss[-1] < 0.05 * history.val_loss[0]
    assert solver.best_epoch == 1 + int(np.argmin(history.val_loss))
    assert solver.evaluate(data["x_val"], data["y_val"]) == pytest.approx(history.val_loss[-1])


def test_mixed_labels_have_the_mixture_of_losses(data):
    history = quiet(small_net(), data, epochs=2, augment=MixUp(0.4)).train()
    assert np.isfinite(history.loss).all()


def test_lbfgs_trains_on_the_full_batch(data):
    fastnet.manual_seed(0)
    net = Sequential(Flatten(), Linear(48, 3))
    history = quiet(
        net, data, optimizer=partial(optim.LBFGS, line_search_fn="strong_wolfe"), batch_size=N, epochs=3
    ).train()
    assert history.loss[-1] < 0.1 * history.loss[0]


# --- normalization -------------------------------------------------------------------------------------------------


def test_bytes_are_normalized_by_the_training_split_and_floats_taken_as_they_are(data):
    solver = quiet(small_net(), data)
    x = data["x_val"]
    np.testing.assert_allclose(solver.normalize.mean, (data["x_train"] / 255).mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(solver.predict(x), solver.net.predict(solver.normalize(x)))
    np.testing.assert_array_equal(solver.predict(solver.normalize(x)), solver.predict(x, batch_size=4))
    assert solver.predict(x[:0]).shape == (0, 3)


def test_data_may_bring_their_own_normalization(data):
    mine = Normalize([0.5], [0.25])
    assert quiet(small_net(), {**data, "normalize": mine}).normalize is mine


# --- the best state -----------------------------------------------------------------------------------------------


def test_best_is_the_state_of_the_best_epoch_with_its_running_statistics(data):
    states = []
    solver = quiet(
        small_net(), data, epochs=5, callbacks=[Lambda(on_epoch=lambda s: states.append(s.net.state_dict()))]
    )
    assert same(solver.best, solver.net.state_dict())  # before the first epoch: the present state
    history = solver.train()
    assert solver.best_epoch == 1 + max(range(5), key=lambda i: (history.val_accuracy[i], -history.val_loss[i]))
    assert same(solver.best, states[solver.best_epoch - 1])
    assert "1.running_mean" in solver.best
    solver.net.load_state_dict(solver.best)
    assert solver.evaluate(data["x_val"], data["y_val"]) == max(history.val_accuracy)


def test_there_is_a_best_state_when_the_accuracy_never_rises_above_zero(data):
    data["y_val"] = np.full(15, 7)  # a class that the net does not have would be an error; one it never chooses is not
    fastnet.manual_seed(0)
    net = Sequential(Flatten(), Linear(48, 8))
    net.children()[1].bias.data[7] = -100
    solver = quiet(net, data, epochs=1)
    assert solver.train().val_accuracy == [0.0]
    assert set(solver.best) == {"1.weight", "1.bias"}


def test_without_a_validation_split_the_training_accuracy_decides(data):
    solver = quiet(small_net(), {"x_train": data["x_train"], "y_train": data["y_train"]}, epochs=3)
    history = solver.train()
    assert all(map(math.isnan, history.val_accuracy + history.val_loss))
    assert history.train_accuracy[solver.best_epoch - 1] == max(history.train_accuracy)


@pytest.mark.parametrize("average", [partial(optim.EMA, decay=0.8), optim.SWA])
def test_an_average_is_used_for_evaluation_and_best_and_leaves_the_weights(data, average):
    solver = quiet(small_net(), data, epochs=8, average=average)
    plain = quiet(small_net(), data, epochs=8)
    assert solver.train().loss == plain.train().loss
    assert same(solver.net.state_dict(), plain.net.state_dict())
    own = solver.net.state_dict()
    with solver.average.applied():  # with the statistics that belong to these weights
        optim.recompute_batch_norm(solver.net, solver.normalize(data["x_train"]))
        expected = solver.net.predict(solver.normalize(data["x_val"]))
    solver.net.load_state_dict(own)
    np.testing.assert_array_equal(solver.predict(data["x_val"]), expected)
    assert not np.array_equal(expected, plain.predict(data["x_val"]))


# --- going on exactly -----------------------------------------------------------------------------------------------

RULES = {
    "momentum": partial(optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "rmsprop": partial(optim.RMSProp, lr=1e-3),
    "adam": partial(optim.Adam, lr=1e-2),
    "adamw": partial(optim.AdamW, lr=1e-2),
}


def settings(rule, **more):
    """A run with everything that has a state."""
    return {
        "optimizer": RULES[rule],
        "schedule": {"lr": optim.ReduceOnPlateau(0.02, 0.5, patience=0)}
        if rule == "adam"
        else optim.OneCycle(0.05, 18),
        "augment": RandomShift(1),
        "average": partial(optim.EMA, decay=0.9),
        "regularization": L2(1e-3),
        "epochs": 3,
        **more,
    }


@pytest.mark.parametrize("rule", RULES)
def test_a_resumed_run_has_the_bits_of_the_uninterrupted_one(data, rule, tmp_path):
    whole = quiet(small_net(), data, callbacks=[EarlyStopping(patience=9), Lambda()], **settings(rule))
    history = whole.train()
    for step in range(1, 18, 2 if rule == "momentum" else 5):
        part = quiet(small_net(), data, callbacks=[EarlyStopping(patience=9), stop_at(step)], **settings(rule))
        part.train()
        assert part.step == step
        part.save(tmp_path / "checkpoint")
        fastnet.manual_seed(99)  # initial weights are of no matter
        rest = Solver.resume(
            tmp_path / "checkpoint",
            small_net(),
            data,
            callbacks=[EarlyStopping(patience=9), Lambda()],
            progress=False,
            **settings(rule),
        )
        assert (rest.step, rest.batch_size) == (step, BATCH)
        assert deterministic(rest.train()) == deterministic(history), step
        assert same(rest.net.state_dict(), whole.net.state_dict()), step
        assert same(rest.best, whole.best), step
        assert rest.best_epoch == whole.best_epoch
        assert rest.callbacks[0].state_dict() == whole.callbacks[0].state_dict()


def test_train_goes_on_after_a_stop_and_after_more_epochs_are_wanted(data):
    whole = quiet(small_net(), data, epochs=3)
    whole.train()
    parts = quiet(small_net(), data, epochs=2, callbacks=[stop_at(8)])
    assert parts.train().steps == 8
    assert parts.stopped == "as asked"
    parts.epochs = 3
    assert deterministic(parts.train()) == deterministic(whole.history)
    assert same(parts.net.state_dict(), whole.net.state_dict())
    assert parts.train() is parts.history  # nothing is left to do


def test_checkpoints_are_written_by_epochs_and_steps_and_at_the_end(data, tmp_path):
    every = Checkpoint(tmp_path / "{step:02d}.safetensors", every_epochs=2, every_steps=4)
    quiet(small_net(), data, epochs=3, checkpoint=every).train()
    assert sorted(os.listdir(tmp_path)) == [f"{step:02d}.safetensors" for step in (4, 8, 12, 16, 18)]
    rule = partial(optim.SGD, lr=0.1)
    resumed = Solver.resume(tmp_path / "08.safetensors", small_net(), data, optimizer=rule, progress=False)
    assert (resumed.step, resumed.epoch, resumed.batch, resumed.epochs) == (8, 1, 2, 3)


def test_a_checkpoint_holds_the_nets_state_under_its_own_names(data, tmp_path):
    solver = quiet(small_net(), data, epochs=1, checkpoint=tmp_path / "c.safetensors")
    solver.train()
    other = small_net().load_state_dict(fastnet.load(tmp_path / "c.safetensors"), strict=False)
    assert same(other.state_dict(), solver.net.state_dict())


def test_resume_refuses_what_does_not_belong_and_leaves_the_net(data, tmp_path):
    path, rule = tmp_path / "c.safetensors", RULES["adam"]
    quiet(small_net(), data, optimizer=rule, epochs=1, checkpoint=path).train()
    fastnet.manual_seed(1)
    net = small_net()
    before = net.state_dict()

    def refused(kind, complaint, data=data, **arguments):
        with pytest.raises(kind, match=complaint):
            Solver.resume(path, net, data, **{"optimizer": rule, "progress": False, **arguments})
        assert same(net.state_dict(), before)

    refused(ValueError, "batch_size is 8, found 9", batch_size=9)
    refused(ValueError, "seed is 0, found 3", seed=3)
    refused(ValueError, "data is", data={**data, "y_train": data["y_train"][::-1]})
    refused(ValueError, "SGD", optimizer=RULES["momentum"])
    refused(ValueError, "average", average=optim.EMA)
    refused(ValueError, "callbacks", callbacks=[Lambda()])
    refused(ValueError, "schedules", schedule=optim.ReduceOnPlateau(0.1))
    with pytest.raises(ValueError, match="missing"):
        Solver.resume(path, Sequential(Flatten(), Linear(48, 3)), data, optimizer=rule)
    fastnet.save(net, path)
    refused(FormatError, "no Solver's state")
    fastnet.save(net, path, {"solver": {"step": 1, "seed": 0, "batch_size": 8, "epochs": 1, "data": []}})
    refused(ValueError, "data is")
    fastnet.save(net, path, {"solver": {"seed": 0, "batch_size": 8, "epochs": 1}})
    refused(FormatError, "malformed")
    path.write_bytes(b"something else")
    refused(FormatError, "safetensors")


# --- numbers that are not finite ------------------------------------------------------------------------------------


class Poison(Callback):
    """Makes a weight or a gradient bad in the given step."""

    def __init__(self, step, where):
        self.step, self.where = step, where

    def on_step(self, solver):
        if solver.step == self.step - 1 and self.where == "weight":
            solver.net.children()[6].weight.data[1, 2] = np.nan
        if solver.step == self.step - 1 and self.where == "gradient":
            backward = solver.loss.backward
            solver.loss.backward = lambda: backward() * np.float32(np.inf)


def test_a_loss_that_is_not_finite_stops_before_the_update_and_says_where(data):
    states = {}
    remember = Lambda(on_step=lambda s: states.update({s.step: s.net.state_dict()}))
    solver = quiet(small_net(), data, callbacks=[Poison(4, "weight"), remember])
    with pytest.raises(
        FloatingPointError, match=r"step 4 \(epoch 1, batch 4 of 6\).*layer '6' \(Linear\).*'6.weight' has 1 nan"
    ):
        solver.train()
    assert same(solver.net.state_dict(), states[3])  # running statistics too
    assert (solver.step, solver.history.steps) == (3, 3)
    with pytest.raises(FloatingPointError):  # it stays where it is
        solver.train()


def test_a_gradient_that_is_not_finite_stops_before_the_update_and_says_where(data):
    states = {}
    remember = Lambda(on_step=lambda s: states.update({s.step: s.net.state_dict()}))
    solver = quiet(small_net(), data, callbacks=[Poison(3, "gradient"), remember])
    with pytest.raises(FloatingPointError, match=r"step 3 .*layer '6' \(Linear\): the gradient of parameter '6.bias'"):
        solver.train()
    assert same(solver.net.state_dict(), states[2])


def test_a_batch_that_is_not_finite_is_named_as_the_culprit(data):
    x = data["x_train"].astype(np.float32)
    x[:, 0, 1, 2] = np.nan
    with pytest.raises(FloatingPointError, match=r"step 1 .*the batch itself has \d+ nan"):
        quiet(small_net(), {"x_train": x, "y_train": data["y_train"]}).train()


def test_skip_leaves_out_bad_updates_and_goes_on(data):
    x = data["x_train"].astype(np.float32) / 255
    x[5] = np.inf
    solver = quiet(small_net(), {"x_train": x, "y_train": data["y_train"]}, on_nonfinite="skip", epochs=3)
    history = solver.train()
    assert history.steps == 18
    assert np.isnan(history.loss).sum() + np.isinf(history.loss).sum() == 3  # one batch of each epoch
    assert all(np.isfinite(array).all() for array in solver.net.state_dict().values())


def test_ignore_does_not_look(data):
    solver = quiet(small_net(), data, on_nonfinite="ignore", callbacks=[Poison(2, "weight")], epochs=1)
    assert not np.isfinite(solver.train().loss[1:]).any()


# --- interruptions ---------------------------------------------------------------------------------------------------


def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("hook", ["on_gradients", "on_step", "on_epoch"])
def test_ctrl_c_leaves_the_state_wholly_after_a_step_and_training_goes_on_exactly(data, hook, tmp_path):
    whole = quiet(small_net(), data, epochs=2)
    whole.train()
    once = Lambda(**{hook: lambda s: interrupt() if s.step == (6 if hook == "on_epoch" else 4) and not done else None})
    done = []
    solver = quiet(
        small_net(), data, epochs=2, callbacks=[once], checkpoint=Checkpoint(tmp_path / "c", every_epochs=None)
    )
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    done.append(True)
    assert solver.step == solver.history.steps > 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = Solver.resume(
        tmp_path / "c", small_net(), data, optimizer=partial(optim.SGD, lr=0.05), callbacks=[Lambda()], progress=False
    )
    for each in (solver, resumed):
        assert deterministic(each.train()) == deterministic(whole.history)
        assert same(each.net.state_dict(), whole.net.state_dict())


def test_ctrl_c_within_an_update_waits_for_its_end(data):
    solver = quiet(small_net(), data, epochs=1)
    step, after = solver.optimizer.step, []

    def interrupted_step():
        interrupt()
        step()
        after.append(solver.net.state_dict())

    solver.optimizer.step = interrupted_step
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    assert (solver.step, solver.history.steps) == (1, 1)
    assert same(solver.net.state_dict(), after[0])


def test_a_programs_own_handler_of_the_signal_stays(data):
    seen, before = [], signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        quiet(
            small_net(), data, epochs=1, callbacks=[Lambda(on_step=lambda s: interrupt() if s.step == 2 else None)]
        ).train()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]


def test_two_solvers_cannot_train_one_net_at_once(data):
    net, errors = small_net(), []

    def second(_solver):
        try:
            quiet(net, data, epochs=1).train()
        except RuntimeError as error:
            errors.append(str(error))

    def in_a_thread(solver):
        thread = threading.Thread(target=second, args=(solver,))
        thread.start()
        thread.join()

    quiet(net, data, epochs=1, callbacks=[Lambda(on_train_begin=in_a_thread)]).train()
    assert errors == ["Solver: this net is being trained already, by another Solver or thread"]
    quiet(net, data, epochs=1).train()  # afterwards it may


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_gradients_can_be_limited_between_backward_and_update(data):
    norms = []
    limit = Lambda(on_gradients=lambda s: norms.append(optim.clip_grad_norm(s.net.parameters(), 1e-3)))
    solver = quiet(small_net(), data, epochs=1, optimizer=partial(optim.SGD, lr=1.0), callbacks=[limit])
    before = solver.optimizer.buffer.data.copy()
    solver.train()
    assert len(norms) == 6
    assert np.abs(solver.optimizer.buffer.data - before).max() <= 6e-3


@pytest.mark.parametrize(("term", "value"), [(L2(0.5), 0.25 * 14), (L1(2.0), 12.0), (ElasticNet(2.0, 0.5), 15.5)])
def test_regularization_is_on_decayed_parameters_only(term, value):
    net = Sequential(Linear(3, 1))
    weight, bias = net.parameters()
    weight.data, bias.data = np.array([[1.0, -2.0, 3.0]], np.float32), np.array([5.0], np.float32)
    buffer = optim.SGD(net.parameters(), lr=0.1).buffer
    assert term.forward(buffer) == pytest.approx(value)
    term.backward(buffer)
    np.testing.assert_allclose(weight.grad, term.l1 * np.sign(weight.data) + term.l2 * weight.data)
    assert bias.grad == 0


def test_a_rule_may_be_built_a_class_or_a_function(data):
    net = small_net()
    rule = optim.Adam(net.parameters(), lr=0.01)
    assert quiet(net, data, optimizer=rule).optimizer is rule
    assert isinstance(quiet(net, data, optimizer=optim.Adam).optimizer, optim.Adam)
    assert quiet(net, data, optimizer=lambda params: optim.SGD(params, lr=0.25)).optimizer.lr == 0.25


def test_plain_lines_say_how_it_goes_and_false_is_silent(data, capsys):
    quiet(small_net(), data, epochs=2, progress="lines", callbacks=[stop_at(12)]).train()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2", "stopped after step 12: as asked"]
    assert all(word in lines[0] for word in ("loss", "train", "val", "lr"))
    quiet(small_net(), data, epochs=1, progress=False).train()
    assert capsys.readouterr() == ("", "")


def test_the_bar_is_drawn_with_tqdm(data, capsys):
    pytest.importorskip("tqdm")
    quiet(small_net(), data, epochs=1, progress="bar").train()
    assert "epoch 1/1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, found 0"),
        ({"epochs": 1.5}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"on_nonfinite": "stop"}, "on_nonfinite"),
        ({"callbacks": [print]}, "callbacks"),
        ({"optimizer": 3}, "optimizer"),
        ({"average": 3}, "average"),
        ({"schedule": 0.1}, "schedule"),
        ({"regularization": "L2"}, "regularization"),
        ({"regularization": -1.0}, "strength"),
        ({"progress": "loud"}, "progress"),
    ],
)
def test_bad_arguments_are_refused(data, arguments, complaint):
    with pytest.raises((ValueError, TypeError), match=complaint):
        quiet(small_net(), data, **arguments)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"x_train": None}, "no x_train"),
        ({"y_train": None}, "no y_train"),
        ({"y_val": None}, "no y_val"),
        ({"y_train": np.zeros(3, int)}, "x_train has shape"),
        ({"x_train": np.zeros((0, 1, 6, 8), np.uint8), "y_train": np.zeros(0, int)}, "no examples"),
    ],
)
def test_data_without_pairs_of_examples_are_refused(data, change, complaint):
    with pytest.raises(ValueError, match=complaint):
        quiet(small_net(), {**data, **change})
    with pytest.raises(TypeError, match="net must be a Layer"):
        quiet("net", data)


def test_what_would_train_nothing_is_refused_before_anything_is_trained(data, tmp_path):
    """A rule or an average of another net's parameters, a schedule of a hyperparameter that the rule has not, a file name."""
    net, other = small_net(), small_net()
    before = net.state_dict()

    def refused(complaint, **arguments):
        with pytest.raises(ValueError, match=complaint):
            quiet(net, data, **arguments)
        assert same(net.state_dict(), before)

    refused("optimizer was built on parameters that are not the net's", optimizer=optim.SGD(other.parameters(), 0.1))
    refused("average was built on parameters", average=optim.EMA(other.parameters()))
    refused("SGD has no 'learning_rate' to schedule, only lr", schedule={"learning_rate": lambda step: 0.1})
    refused(r"only \{epoch\} and \{step\}", checkpoint=tmp_path / "{epoch}_{name}.safetensors")
    refused(r"only \{epoch\} and \{step\}", checkpoint=tmp_path / "{epoch:q}.safetensors")
    refused("must name a file", checkpoint=tmp_path)
    rule = optim.SGD(list(net.parameters())[:1], 0.1)  # some of the net's own are welcome
    assert quiet(net, data, optimizer=rule).optimizer is rule


def test_bytes_become_what_the_net_computes_in_and_true_and_false_are_classes():
    rng = np.random.default_rng(3)
    data = {"x_train": rng.integers(0, 256, (24, 1, 6, 8), np.uint8), "y_train": rng.random(24) < 0.5}
    data |= {"x_val": data["x_train"][:5], "y_val": data["y_train"][:5]}
    net = small_net().astype(np.float64)
    history = quiet(net, data, epochs=1).train()
    assert np.isfinite(history.loss + history.val_accuracy).all()
