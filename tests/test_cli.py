"""The command line: a run writes its files, goes on, is evaluated; bad input gets one line and status 2."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastnet
from fastnet import cli, commands
from fastnet.checkpoint import load_settings

TINY = ["--model", "lenet", "--epochs", "1", "--batch-size", "250", "--threads", "1", "--progress", "none"]


pytestmark = pytest.mark.usefixtures("machine")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of one epoch: its folder and what it printed."""
    out = tmp_path_factory.mktemp("run")
    done = fastnet_command("train", *TINY, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def fastnet_command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "fastnet", *arguments], capture_output=True, text=True, **options)


def refused(capsys, *arguments):
    """The one line that a refused command prints."""
    assert cli.main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n")
    assert printed.err.count("\n") == 1
    return printed.err


def test_a_run_writes_its_files_and_prints_its_accuracies(run):
    out, printed = run
    files = {"checkpoint.safetensors", "history.csv", "history.json", "model.safetensors"}
    assert files <= set(os.listdir(out)) <= files | {"curves.png"}
    assert [line.split()[0] for line in printed.splitlines() if line.endswith("%")] == ["train", "validation", "test"]
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == 16
    assert history["epoch_steps"] == [16]
    assert 0.5 < history["val_accuracy"][0] <= 1
    assert len((out / "history.csv").read_text().splitlines()) == 17


def test_a_run_draws_its_curves(run):
    pytest.importorskip("matplotlib")
    assert (run[0] / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_saved_model_says_what_it_is_of(run):
    arrays, settings = load_settings(run[0] / "model.safetensors")
    assert settings["about"]["model"] == "lenet"
    assert settings["about"]["input_shape"] == [1, 28, 28]
    assert len(settings["about"]["normalize"]["mean"]) == 1
    net = fastnet.models.build("lenet", (1, 28, 28), 10).load_state_dict(arrays)
    assert np.isfinite(net.predict(np.zeros((2, 1, 28, 28), np.float32))).all()


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint.safetensors"])
def test_evaluate_repeats_the_accuracy_of_the_run(run, name, capsys, tmp_path):
    wanted = next(line.split()[-1] for line in run[1].splitlines() if line.startswith("test"))
    assert cli.main(["evaluate", str(run[0] / name), "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert next(line.split()[-1] for line in printed.splitlines() if line.startswith("all")) == wanted
    assert len([line for line in printed.splitlines() if line.endswith("%")]) == 11


def test_evaluate_draws_the_confusion_matrix(run, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    model, picture = str(run[0] / "model.safetensors"), str(tmp_path / "m.png")
    assert cli.main(["evaluate", model, "--split", "val", "--confusion", picture]) == 0
    assert (tmp_path / "m.png").is_file()
    assert "500 images" in capsys.readouterr().out


def test_the_same_command_gives_the_same_model(run, tmp_path, capsys):
    assert cli.main(["train", *TINY, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "model.safetensors").read_bytes() == (run[0] / "model.safetensors").read_bytes()


def test_a_resumed_run_keeps_its_settings_and_has_the_bits_of_the_uninterrupted_one(tmp_path, capsys):
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    two = [*TINY, "--optimizer", "momentum", "--schedule", "constant", "--seed", "3", "--augment", "none"]
    assert cli.main(["train", *two, "--epochs", "2", "--out", whole]) == 0
    assert cli.main(["train", *two, "--out", parts]) == 0
    assert cli.main(["train", "--resume", "--epochs", "2", "--threads", "1", "--progress", "none", "--out", parts]) == 0
    assert fastnet_files(whole, "loss") == fastnet_files(parts, "loss")
    first, second = (fastnet.load(Path(folder) / "model.safetensors") for folder in (whole, parts))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def fastnet_files(folder, column):
    return json.loads((Path(folder) / "history.json").read_text())[column]


def test_a_run_stopped_by_ctrl_c_can_be_resumed(tmp_path):
    command = [sys.executable, "-m", "fastnet", "train", *TINY, "--epochs", "200", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume` goes on from there" in errors
    assert "Traceback" not in errors
    _, settings = load_settings(tmp_path / "checkpoint.safetensors")
    assert settings["solver"]["step"] >= 16


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train", "--epochs", "0"], "at least 1"),
        (["train", "--epochs", "two"], "expected an integer, found 'two'"),
        (["train", "--lr", "-1"], "at least 0"),
        (["train", "--lr", "0"], "above 0"),
        (["train", "--lr", "nan"], "at least 0"),
        (["train", "--label-smoothing", "1"], "below 1"),
        (["train", "--model", "alexnet"], "alexnet"),
        (["train", "--optimizer", "adamax"], "adamax"),
        (["train", "--seed", "-3"], "at least 0"),
        (["train", "--unknown"], "--unknown"),
        (["train", "--data", "imagenet"], "imagenet"),
        (["train", "--data", "folder:not-there"], "not-there"),
        (["train", "--data", "mnist", "--root", "not-there"], "not-there"),
        (["train", "--augment", "shift,rotate"], "rotate"),
        (["train", "--resume"], "nothing to resume"),
        (["evaluate"], "CHECKPOINT"),
        (["evaluate", "not-there"], "not-there"),
        (["doctor", "--lr", "0"], "above 0"),
        (["doctor", "--model", "alexnet"], "alexnet"),
        (["doctor", "--data", "folder:not-there"], "not-there"),
        (["doctor", "--batch-size", "1"], "batch_size"),
        (["fly"], "fly"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(arguments, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complaint in refused(capsys, *arguments)
    assert os.listdir(tmp_path) == []


def test_files_of_another_kind_are_refused(run, capsys, tmp_path):
    (tmp_path / "text").write_text("not a model")
    assert "safetensors" in refused(capsys, "evaluate", str(tmp_path / "text"))
    fastnet.save({"x": np.zeros(3)}, tmp_path / "other")
    assert "not written by `fastnet train`" in refused(capsys, "evaluate", str(tmp_path / "other"))
    fastnet.save({"x": np.zeros(3)}, tmp_path / "checkpoint.safetensors")
    assert "not written by `fastnet train`" in refused(capsys, "train", "--resume", "--out", str(tmp_path))


def test_a_resumed_run_refuses_other_settings(run, capsys):
    line = refused(capsys, "train", "--resume", "--seed", "5", "--out", str(run[0]))
    assert "this run has --seed 0, found 5" in line


def test_a_training_that_breaks_has_status_1(tmp_path, capsys):
    arguments = ["train", *TINY, "--optimizer", "sgd", "--lr", "1e30", "--schedule", "constant", "--out", str(tmp_path)]
    assert cli.main(arguments) == 1
    line = capsys.readouterr().err
    assert "step" in line
    assert "parameter" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["doctor"], ["info"]])
def test_help_is_everywhere_and_has_examples(command, capsys):
    assert cli.main([*command, "--help"]) == 0
    assert "example" in capsys.readouterr().out


def test_without_a_command_it_prints_the_help(capsys):
    assert cli.main([]) == 0
    assert "usage: fastnet" in capsys.readouterr().out


@pytest.mark.parametrize(("lr", "status", "said"), [("0.02", 0, "nothing wrong"), ("20", 1, "rate is too high")])
def test_doctor_prints_its_findings_and_writes_them(lr, status, said, tmp_path, capsys):
    options = ["--model", "lenet", "--optimizer", "momentum", "--lr", lr, "--threads", "1", "--out", str(tmp_path)]
    assert cli.main(["doctor", *options]) == status
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "doctor.html").read_text()
    assert json.loads((tmp_path / "doctor.json").read_text())["ok"] is (status == 0)


def test_info_prints_the_configuration(capsys):
    assert cli.main(["info"]) == 0
    assert "threads" in capsys.readouterr().out


def test_bench_hands_its_arguments_over_in_a_clone_and_says_so_elsewhere(tmp_path, monkeypatch, capsys):
    clone, elsewhere = tmp_path / "clone", tmp_path / "elsewhere"
    for folder in (clone / "bench", clone / "fastnet" / "_ext", elsewhere / "bench"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    program = "import os, sys; print(*sys.argv[1:], file=open('seen', 'w')); sys.exit(7)"
    (clone / "bench" / "__main__.py").write_text(program)
    (elsewhere / "bench" / "__main__.py").write_text("raise SystemExit('not a clone')")  # a folder of that name alone
    monkeypatch.chdir(clone)
    assert cli.main(["bench", "--quick", "conv"]) == 7
    assert (clone / "seen").read_text() == "--quick conv\n"
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(commands, "__file__", str(clone / "fastnet" / "commands.py"))
    assert cli.main(["bench", "--plot", "here.png"]) == 7
    assert (elsewhere / "seen").read_text() == "--plot here.png\n"  # the paths are those of where the user is
    monkeypatch.setattr(commands, "__file__", str(elsewhere / "fastnet" / "commands.py"))
    assert "in a clone" in refused(capsys, "bench")
