"""Search: which settings are tried, what is written when, and that a kill costs nothing that was finished."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastnet
from fastnet import Flatten, Linear, ReLU, Sequential, config, initializers, optim
from fastnet.search.journal import Journal
from fastnet.search.space import Range, Space
from fastnet.search.work import parts

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 6)).astype(np.float32)
Y = ((X[:, 0] > 0) + 2 * (X[:, 1] > 0)).astype(np.int64)
DATA = {"x_train": X[:60], "y_train": Y[:60], "x_val": X[60:80], "y_val": Y[60:80]}
SPACE = {"lr": fastnet.log_uniform(1e-4, 1.0), "hidden": fastnet.integers(2, 40, log=True), "width": [5, 6]}


def build(settings):
    return Sequential(Linear(6, settings["hidden"]), ReLU(), Linear(settings["hidden"], 4))


def find(runs=6, build=build, data=DATA, space=SPACE, **arguments):
    """A search that says nothing, not even that its best lies at an end."""
    arguments = {"epochs": 2, "progress": False, "batch_size": 20, **arguments}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "search: the best")
        return fastnet.search(build, data, space, runs, **arguments)


def facts(result):
    return [(t.index, t.rung, t.settings, t.score, t.loss, t.epochs, t.val_accuracy, t.failed) for t in result.runs]


# --- where is looked ----------------------------------------------------------------------------------------------------


def test_ranges_draw_evenly_on_their_own_scale():
    rng = np.random.default_rng(1)
    for where in (fastnet.uniform(-2, 5), fastnet.log_uniform(1e-5, 1e-1), fastnet.integers(1, 100, log=True)):
        drawn = np.array([where.draw(rng) for _ in range(2000)])
        assert where.low <= drawn.min() <= drawn.max() <= where.high
        places = np.array([where.position(value) for value in drawn])
        assert abs(places.mean() - 0.5) < 0.03
    dice = [fastnet.integers(1, 6).draw(rng) for _ in range(600)]
    assert {type(value) for value in dice} == {int}
    assert np.bincount(dice)[1:].min() > 60


def test_a_grid_has_as_many_points_per_range_as_the_runs_allow():
    space = Space({"lr": fastnet.log_uniform(1e-4, 1e-2), "p": fastnet.uniform(0, 1), "kind": ["a", "b"], "fixed": 7})
    grid = space.grid(20)
    assert len(grid) == 18
    assert sorted({settings["lr"] for settings in grid}) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert {settings["p"] for settings in grid} == {0.0, 0.5, 1.0}
    assert {settings["fixed"] for settings in grid} == {7}
    assert len(Space({"n": fastnet.integers(1, 3)}).grid(50)) == 3
    assert len(Space({"kind": ["a", "b", "c"]}).grid(1)) == 3


def test_random_tries_as_many_values_of_each_range_as_there_are_runs_and_a_grid_only_its_root():
    space = Space({"a": fastnet.uniform(0, 1), "b": fastnet.uniform(0, 1)})
    assert len({space.random(0, i)["a"] for i in range(25)}) == 25
    assert len({settings["a"] for settings in space.grid(25)}) == 5


def test_settings_depend_on_seed_and_index_alone():
    space = Space(SPACE)
    assert space.random(3, 7) == space.random(3, 7) != space.random(3, 8)
    assert space.random(4, 7) != space.random(3, 7)


def test_a_value_near_an_end_is_noticed_on_the_ranges_own_scale():
    where = fastnet.log_uniform(1e-5, 1e-1)
    assert [where.edge(v) for v in (1.2e-5, 1e-3, 0.08)] == ["lower", None, "upper"]
    (sentence,) = Space({"lr": where, "p": fastnet.uniform(0, 1)}).edges({"lr": 0.08, "p": 0.4})
    assert sentence == "the best lr, 0.08, lies at the upper end of log_uniform(1e-05, 0.1): look beyond it"


def test_a_finer_space_lies_around_the_best_and_inside_the_old_one():
    space = Space({"lr": fastnet.log_uniform(1e-6, 1e-2), "n": fastnet.integers(1, 9), "kind": ["a", "b", "c"]})
    finer = space.narrowed([{"lr": 1e-4, "n": 5, "kind": "b"}], 0.5)
    assert (finer["lr"].low, finer["lr"].high) == pytest.approx((1e-5, 1e-3))
    assert finer["n"] == fastnet.integers(3, 7)
    assert finer["kind"].values == ["b"]
    edge = space.narrowed([{"lr": 9e-3, "n": 9, "kind": "a"}, {"lr": 1e-6, "n": 8, "kind": "c"}], 0.25)
    assert (edge["lr"].low, edge["lr"].high) == pytest.approx((1e-6, 9e-3))  # the second best lies far away
    assert (edge["n"].low, edge["n"].high) == (7, 9)
    assert edge["kind"].values == ["a", "c"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fastnet.uniform(2, 2), ValueError, "uniform: low must be below high"),
        (lambda: fastnet.log_uniform(0, 1), ValueError, "log_uniform: a logarithmic range"),
        (lambda: fastnet.integers(1.5, 3), TypeError, "integers: low must be an integer"),
        (lambda: fastnet.choice(), ValueError, "choice: expected at least one"),
        (lambda: find(space=[1]), TypeError, "search: space must be a mapping"),
        (lambda: find(0), ValueError, "search: runs must be an integer of at least 1, found 0"),
        (lambda: find(folds=1), ValueError, "search: folds must be"),
        (lambda: find(method="guess"), ValueError, "search: method must be"),
        (lambda: find(checkpoint="x"), TypeError, "search: checkpoint of the Solver"),
        (lambda: find(build=Linear(6, 4)), TypeError, "search: build must be a function"),
        (lambda: find(build="no_such_net"), ValueError, "search: there is no model 'no_such_net'"),
        (lambda: find(build=lambda settings: 3), TypeError, "search: build must return a net"),
        (lambda: find(data={"x_train": X, "y_train": Y}), ValueError, "search: data needs x_val"),
        (lambda: find(data={**DATA, "normalize": len}, folds=3), ValueError, "search: data brings a preprocessing"),
    ],
)
def test_what_cannot_be_searched_is_refused(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


# --- what is found ------------------------------------------------------------------------------------------------------


def test_the_best_run_stands_first_and_the_test_split_is_never_seen():
    result = find(8, data={**DATA, "x_test": None, "y_test": "nobody reads this"})
    scores = [trial.score for trial in result.runs]
    assert scores == sorted(scores, reverse=True)
    assert result.best.score == scores[0] > 0.5
    assert result.table().splitlines()[1].split()[:2] == ["1", str(result.best.index)]
    assert result.net().evaluate(DATA["x_val"], DATA["y_val"]) == result.best.score
    assert len(result) == 8


def test_a_search_gives_the_same_result_again_and_leaves_generator_and_threads():
    initializers.manual_seed(3)
    generator, count = initializers.generator(), config.get_num_threads()
    state = generator.bit_generator.state
    first = find(4)
    assert initializers.generator() is generator
    assert generator.bit_generator.state == state
    assert config.get_num_threads() == count
    assert facts(find(4)) == facts(first)
    assert facts(find(6))[0][3] >= facts(first)[0][3]
    assert {t.index: t.score for t in find(6).runs}.items() >= {t.index: t.score for t in first.runs}.items()


def test_settings_reach_rule_and_solver_by_their_names_and_build_may_decide_itself():
    seen = []

    def rule(params, lr, momentum):
        seen.append((lr, momentum))
        return optim.SGD(params, lr, momentum)

    find(1, optimizer=rule, space={"lr": 0.5, "momentum": 0.25, "hidden": 3})
    assert seen == [(0.5, 0.25)]

    def own(settings):
        net = Linear(6, 4)
        return net, {"optimizer": optim.SGD(net.parameters(), settings["speed"]), "batch_size": settings["batch"]}

    result = find(2, build=own, space={"speed": fastnet.uniform(0.1, 1), "batch": [7, 30]})
    assert len(result.runs) == 2


def test_a_model_may_be_named(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (30, 1, 8, 8)).astype(np.uint8)
    data = {"x_train": images, "y_train": np.arange(30) % 3, "x_val": images[:9], "y_val": np.arange(9) % 3}
    space = {"lr": fastnet.log_uniform(1e-4, 1e-2), "hidden": [4, 8], "dropout": fastnet.uniform(0, 0.5)}
    result = find(2, build="lenet_bn", data=data, space=space)
    assert result.net().net[-1].weight.shape == (3, result.best.settings["hidden"])
    assert 0 <= result.net().evaluate(images, data["y_train"]) <= 1


def test_a_run_that_blows_up_counts_as_failed_and_the_search_goes_on():
    result = find(5, space={"lr": [1e38, 0.1], "hidden": 5}, optimizer=optim.SGD)
    failed = [t for t in result.runs if t.failed]
    assert 0 < len(failed) < 5
    assert result.runs[-1] is failed[-1]
    assert "nothing was updated" in failed[0].failed
    assert "failed" in result.table()
    ruin = find(2, space={"lr": 1e38, "hidden": 5}, optimizer=optim.SGD)
    with pytest.raises(ValueError, match=r"none of 2 runs gave a score: .* step 2"):
        ruin.best  # noqa: B018
    assert "none with a score" in repr(ruin)


def test_any_other_error_ends_the_search():
    def bad(settings):
        raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake"):
        find(2, build=bad)


def test_the_border_warning_names_the_range():
    space = {"lr": fastnet.log_uniform(1e-7, 1e-2), "hidden": 20}
    with pytest.warns(
        UserWarning, match=r"search: the best lr, 0.01, lies at the upper end of log_uniform\(1e-07, 0.01\)"
    ):
        result = fastnet.search(build, DATA, space, 3, epochs=9, method="grid", progress=False)
    assert result.table().splitlines()[-1].startswith("warning: the best lr")


def test_folds_validate_on_every_example_once_and_average():
    data = {"x_train": X, "y_train": Y}
    result = find(3, data=data, folds=4)
    for trial in result.runs:
        assert len(trial.scores) == 4
        assert trial.score == pytest.approx(np.mean(trial.scores))
    assert len(result.ensemble(2)) == 8
    seen = np.concatenate([part["x_val"] for part in parts(data, 4)])
    np.testing.assert_array_equal(np.sort(seen, axis=0), np.sort(X, axis=0))
    for part in parts(data, 4):
        assert len(part["x_val"]) + len(part["x_train"]) == len(X)
        assert np.ptp(np.bincount(part["y_val"], minlength=4) * 4 - np.bincount(Y)) <= 8


def test_halving_gives_the_best_third_three_times_the_epochs():
    result = find(9, epochs=9, halving=3)
    assert sorted(t.epochs for t in result.runs) == [1] * 6 + [3] * 2 + [9]
    assert result.best.epochs == 9
    plain = find(9, epochs=9)
    same = next(t for t in plain.runs if t.index == result.best.index)
    assert same.val_accuracy == result.best.val_accuracy  # continued bit for bit


def test_patience_stops_a_run_that_no_longer_improves():
    result = find(4, epochs=30, patience=2, space={"lr": fastnet.log_uniform(1e-7, 1e-6), "hidden": 5})
    assert max(t.epochs for t in result.runs) < 30


def test_regression_is_searched_by_its_validation_loss():
    data = {"x_train": X, "y_train": X[:, :2] * 2, "x_val": X[:30], "y_val": X[:30, :2] * 2}
    result = find(4, build=lambda s: Linear(6, 2), data=data, space={"lr": SPACE["lr"]}, loss=fastnet.losses.MSE())
    assert result.best.score == -result.best.loss == max(t.score for t in result.runs)


def test_the_ensemble_of_the_best_prepares_images_as_in_training(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (60, 1, 3, 2)).astype(np.uint8)
    labels = (images[:, 0, 0, 0] > 127).astype(np.int64)
    data = {"x_train": images, "y_train": labels, "x_val": images[:20], "y_val": labels[:20]}
    result = find(
        4, build=lambda s: Sequential(Flatten(), Linear(6, 2)), data=data, space={"lr": fastnet.uniform(0.01, 0.1)}
    )
    nets = result.ensemble(3)
    assert nets.evaluate_each(images[:20], labels[:20]) == [t.score for t in result.runs[:3]]
    assert nets.predict(images).shape == (60, 2)
    result.to_csv(tmp_path / "runs.csv")
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 5


def test_only_the_best_weights_are_kept(tmp_path):
    result = find(5, keep=2, out=tmp_path / "here")
    assert len(list((tmp_path / "here" / "states").iterdir())) == 2
    assert len(result.ensemble(2)) == 2
    for found in (result, find(5, keep=2)):
        with pytest.raises(LookupError, match=r"were not kept; search\(…, keep=5\)"):
            found.ensemble(3)


def test_the_picture_has_a_panel_per_dimension_and_one_for_the_pair(tmp_path):
    pytest.importorskip("matplotlib")
    figure = find(5).plot(tmp_path / "search.png")
    assert [a.get_title(loc="left") for a in figure.axes if a.get_title(loc="left")] == [
        "lr",
        "hidden",
        "width",
        "score",
    ]
    assert figure.axes[0].get_xscale() == "log"
    assert (tmp_path / "search.png").stat().st_size > 5000
    find(3, space={"lr": [1e38, 0.1], "hidden": 5}, optimizer=optim.SGD).plot()


# --- kill and go on -------------------------------------------------------------------------------------------------------


def lines(folder):
    path = Path(folder) / "runs.jsonl"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("halving", [None, 2])
def test_the_same_call_goes_on_where_an_interruption_stopped_it(tmp_path, halving):
    whole = find(6, epochs=4, halving=halving)
    calls = []

    def stops(settings):
        calls.append(settings)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return build(settings)

    with pytest.raises(KeyboardInterrupt):
        find(6, build=stops, epochs=4, halving=halving, out=tmp_path)
    before = lines(tmp_path)
    assert len(before) == 3
    result = find(6, epochs=4, halving=halving, out=tmp_path)
    assert lines(tmp_path)[:3] == before
    assert facts(result) == facts(whole)
    assert facts(find(6, epochs=4, halving=halving, out=tmp_path)) == facts(whole)
    assert len(lines(tmp_path)) == (6 if halving is None else 6 + 3 + 2)
    assert not list((tmp_path / "states").glob("*.rung*"))
    np.testing.assert_array_equal(result.ensemble(1).predict(X), whole.ensemble(1).predict(X))


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path):
    whole = facts(find(3, out=tmp_path))
    path = tmp_path / "runs.jsonl"
    text = path.read_bytes()
    path.write_bytes(text[:-20])
    assert facts(find(3, out=tmp_path)) == whole
    assert sorted(path.read_bytes().splitlines()[:2]) == sorted(text.splitlines()[:2])
    path.write_bytes(b"no json\n" + text)
    with pytest.raises(fastnet.FormatError, match=r"runs.jsonl, line 1: not a finished run"):
        find(3, out=tmp_path)


def test_another_search_in_the_same_folder_is_refused_and_more_runs_are_not(tmp_path):
    find(2, out=tmp_path)
    with pytest.raises(ValueError, match=r"holds a search whose epochs is 2, found 3"):
        find(2, epochs=3, out=tmp_path)
    with pytest.raises(ValueError, match=r"holds a search whose data is"):
        find(2, data={**DATA, "y_train": 3 - DATA["y_train"]}, out=tmp_path)
    assert len(find(3, out=tmp_path)) == 3
    assert len(lines(tmp_path)) == 3
    assert len(find(2, out=tmp_path)) == 2


def test_numbers_that_json_does_not_know_come_back_as_nan(tmp_path):
    find(2, space={"lr": 1e38, "hidden": 5}, optimizer=optim.SGD, out=tmp_path)
    journal = Journal(tmp_path, 1)
    journal.open(json.loads((tmp_path / "search.json").read_text()), 2)
    assert math.isnan(journal.trials[0, 0].score)
    assert journal.trials[0, 0].failed


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_search import DATA, SPACE, build
import fastnet

def slow(settings):
    time.sleep(0.1)
    return build(settings)

fastnet.search(slow, DATA, SPACE, 12, epochs=2, batch_size=20, processes=2, out=sys.argv[2], progress=False)
"""


@pytest.mark.skipif(os.name == "nt", reason="process groups are killed otherwise there")
def test_two_killed_processes_lose_no_finished_run(tmp_path):
    pytest.importorskip("joblib")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    out, here = tmp_path / "out", Path(__file__).parent
    arguments = [sys.executable, script, here, out]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(arguments, cwd=here.parent, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while len(lines(out)) < 4 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = lines(out)
    assert 4 <= len(before) < 12
    result = find(12, out=out)
    assert lines(out)[: len(before)] == before
    assert len(lines(out)) == 12
    assert facts(result) == facts(find(12))


def test_processes_give_what_one_gives():
    pytest.importorskip("joblib")
    assert facts(find(4, processes=2)) == facts(find(4))


def test_the_surrounding_parallel_config_decides_when_no_number_is_given():
    joblib = pytest.importorskip("joblib")
    before = config.get_num_threads()
    config.set_num_threads(3)
    try:
        with joblib.parallel_config(backend="threading", n_jobs=3):  # the hardest: all runs share one generator
            found = find(6, processes=None)
        assert config.get_num_threads() == 3
    finally:
        config.set_num_threads(before)
    assert facts(found) == facts(find(6))


def test_the_example_runs_and_says_what_the_ensemble_gained(tmp_path):
    here = Path(__file__).parent.parent
    script = [
        sys.executable,
        here / "examples" / "search_digits.py",
        "--runs",
        "2",
        "--epochs",
        "1",
        "--processes",
        "1",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([*script, "--out", tmp_path], env=environment, capture_output=True, text=True, check=True)
    assert "ensemble against the best run:" in done.stdout
    assert (tmp_path / "runs.csv").exists()


def test_without_joblib_one_process_works_and_two_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    find(1)
    with pytest.raises(ImportError, match=r'pip install "fastnet\[search\]"'):
        find(1, processes=2)


def test_each_run_has_one_thread_unless_told():
    seen = []

    def look(settings):
        seen.append(config.get_num_threads())
        return build(settings)

    find(1, build=look)
    find(1, build=look, threads=2)
    assert seen == [1, 2]


def test_every_finished_run_gets_a_line_of_progress(capsys):
    find(2, progress=True)
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in shown] == ["run 1/2", "run 2/2"]
    assert "best so far" in shown[1]
    find(4, progress=True, halving=2, epochs=2)
    assert capsys.readouterr().err.startswith("rung 1 of 2: 4 runs of 1 epoch")


def test_a_range_is_what_it_says():
    assert repr(fastnet.log_uniform(1e-5, 0.1)) == "log_uniform(1e-05, 0.1)"
    assert repr(fastnet.integers(2, 9, log=True)) == "integers(2, 9, log=True)"
    assert repr(fastnet.choice("a", len)) == "choice('a', len)"
    assert Range(1, 2) == fastnet.uniform(1, 2) != fastnet.log_uniform(1, 2)
