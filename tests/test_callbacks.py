"""Callbacks: early stopping, the CSV file, functions, in the order of a run."""

import csv
import math
from types import SimpleNamespace

import pytest

from fastnet.callbacks import Callback, CsvLogger, EarlyStopping, Lambda
from fastnet.training.history import History


def a_solver(*accuracies):
    """What a callback sees after epochs with these validation accuracies."""
    history = History()
    for i, accuracy in enumerate(accuracies):
        history.loss += [1.0, 0.5]
        history.lr += [0.1, 0.1]
        history.epoch_steps.append(2 * (i + 1))
        history.train_accuracy.append(0.25)
        history.val_accuracy.append(accuracy)
        history.val_loss.append(1 - accuracy)
        history.update_ratio.append(1e-3)
        history.seconds.append(i + 1.0)
    solver = SimpleNamespace(history=history, reasons=[])
    solver.stop = solver.reasons.append
    return solver


def stops_after(stopping, accuracies):
    for n in range(1, len(accuracies) + 1):
        solver = a_solver(*accuracies[:n])
        stopping.on_train_begin(solver)
        stopping.on_epoch(solver)
        if solver.reasons:
            return n, solver.reasons[0]
    return None


def test_early_stopping_waits_its_patience_from_the_best_epoch_on():
    n, reason = stops_after(EarlyStopping(patience=2), [0.5, 0.6, 0.6, 0.55, 0.9])
    assert (n, reason) == (4, "val_accuracy did not improve for 2 epochs")
    assert stops_after(EarlyStopping(patience=2), [0.5, 0.4, 0.6, 0.5, 0.7]) is None


def test_early_stopping_wants_losses_to_fall_and_takes_nan_for_no_improvement():
    assert stops_after(EarlyStopping("val_loss", patience=1), [0.5, 0.6, 0.7]) is None
    assert stops_after(EarlyStopping("val_loss", patience=1), [0.5, 0.4])[0] == 2
    assert stops_after(EarlyStopping(patience=2), [math.nan, math.nan, 0.5])[0] == 2


def test_early_stopping_does_not_count_improvements_of_less_than_min_delta():
    assert stops_after(EarlyStopping(patience=2, min_delta=0.1), [0.5, 0.55, 0.58, 0.9])[0] == 3


def test_early_stopping_goes_on_from_its_state():
    first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
    stops_after(first, [0.5, 0.4])
    second.load_state_dict(first.state_dict())
    assert (second.best, second.waited) == (0.5, 1)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"patience": 0}, "patience"), ({"patience": 1.5}, "patience"), ({"min_delta": -1}, "min_delta")],
)
def test_early_stopping_refuses_bad_settings(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        EarlyStopping(**arguments)
    with pytest.raises(ValueError, match="no column 'speed'"):
        EarlyStopping("speed").on_train_begin(a_solver(0.5))


def test_csv_logger_writes_one_row_per_step_and_fills_epochs_in_their_last(tmp_path):
    CsvLogger(tmp_path / "log.csv").on_epoch(a_solver(0.5, 0.75))
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["epoch"], row["val_accuracy"]) for row in rows] == [
        ("1", "1", ""),
        ("2", "1", "0.5"),
        ("3", "2", ""),
        ("4", "2", "0.75"),
    ]
    assert [float(row["loss"]) for row in rows] == [1.0, 0.5, 1.0, 0.5]


def test_lambda_takes_functions_of_the_solver():
    seen = []
    callback = Lambda(
        on_step=lambda solver: seen.append(("step", solver)), on_epoch=lambda solver: seen.append(("epoch", solver))
    )
    callback.on_train_begin("s")
    callback.on_step("s")
    callback.on_epoch("s")
    assert seen == [("step", "s"), ("epoch", "s")]
    with pytest.raises(TypeError, match="on_step"):
        Lambda(on_step=3)


def test_a_callback_without_memory_refuses_a_state():
    assert Callback().state_dict() == {}
    Callback().load_state_dict({})
    with pytest.raises(ValueError, match="no state"):
        Callback().load_state_dict({"a": 1})
