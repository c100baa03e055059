"""The lecture's chapters run and show what they claim, its table tells the truth, the course's assignment runs as a script."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

ROOT = Path(__file__).parent.parent
LECTURE = ROOT / "examples" / "lecture"
if not LECTURE.is_dir():
    pytest.skip("no examples here", allow_module_level=True)
COURSE = ROOT / "examples" / "cs231n"
ASSIGNMENT = [path.stem for path in sorted(COURSE.glob("[a-z]*.py"))]
CHAPTERS = [path.stem for path in sorted(LECTURE.glob("[0-9][0-9]_*.py"))]
QUICK = ["01_layers", "09_update_rules", "10_trajectories", "14_gradient_check", "16_losses"]


@pytest.fixture
def lecture(monkeypatch):
    """A module of examples/lecture by name."""
    monkeypatch.syspath_prepend(str(LECTURE))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return importlib.import_module


@pytest.fixture
def table(lecture):
    return lecture("table")


def test_every_row_of_the_table_has_its_tests_and_chapter_and_every_chapter_a_row(table):
    assert table.problems() == []


def test_the_page_is_what_the_table_says(table):
    assert table.PAGE.read_text("utf-8") == table.text(), "python examples/lecture/table.py writes it"


def test_a_row_without_test_or_chapter_and_a_chapter_without_row_are_noticed(table, monkeypatch):
    rows = table.rows()
    spoilt = [{**rows[0], "tests": []}, {**rows[1], "tests": ["tests/test_solver.py::test_of_nothing"]}, *rows[2:-1]]
    spoilt[2] = {**rows[2], "chapter": "99_nothing.py"}
    monkeypatch.setattr(table, "rows", lambda: spoilt)
    assert [sentence.split(": ", 1)[1] for sentence in table.problems()] == [
        "has no test",
        "there is no test tests/test_solver.py::test_of_nothing",
        "there is no chapter 99_nothing.py",
        "stands in no row",
        "stands in no row",
    ]


def chapter(lecture, name, out, short):
    """The numbers of a chapter, which must be JSON, and its pictures."""
    numbers = lecture(name).main(out, short)
    json.dumps(numbers)
    pictures = [path for path in out.iterdir() if path.suffix in (".png", ".svg", ".gif")]
    assert pictures
    assert all(path.name.startswith(name) and path.stat().st_size > 1000 for path in pictures)
    return numbers


def claims(name, numbers):
    """What must show itself, far from chance."""
    if name == "01_layers":
        assert numbers["forward_apart"] < 1e-4
        assert numbers["backward_apart"] < 1e-4
    elif name == "02_sgd_loop":
        assert min(numbers["small"], numbers["medium"]) > numbers["full"]
    elif name == "03_activations":
        assert min(numbers, key=numbers.get) == "Sigmoid"
    elif name == "04_preprocessing":
        assert numbers["mean and deviation"] > numbers["bytes 0 … 255 as they are"] + 0.3
    elif name == "05_initialisation":
        assert numbers["tanh, 0.01"]["last"] < 1e-3 < 0.1 < numbers["tanh, Xavier"]["last"]
        assert 10 < numbers["he_to_xavier"] < 100
    elif name == "06_batch_norm":
        assert numbers["batch norm"]["rates"] >= numbers["without"]["rates"]
    elif name == "07_babysitting":
        assert numbers["healthy"] == []
        assert numbers["rate 100 times too high"][0] == "learning_rate"
        assert numbers["large weights before tanh"][0] == "saturation"
    elif name == "08_search":
        assert numbers["wins"] > 0.6
        assert numbers["random"] > numbers["grids"]
    elif name == "09_update_rules":
        assert numbers["forms_apart"] < 1e-8
        momentum, nesterov = numbers["100, 0.95"]
        assert nesterov < momentum
        assert numbers["AdaGrad after 1000"] < 0.2 < numbers["RMSProp after 1000"]
    elif name == "11_schedules":
        assert numbers["cosine"] > numbers["constant"]
    elif name == "12_dropout":
        assert numbers["p = 0.5"]["lowest"] < numbers["p = 0.0"]["lowest"]
    elif name == "13_regularisation":
        assert numbers["L1, 0.001"]["zeros"] > 0.5 > numbers["L2, 0.01"]["zeros"]
        assert numbers["L2, 0.01"]["norm"] < numbers["none"]["norm"] / 2
    elif name == "14_gradient_check":
        assert numbers["ok"]
        assert not numbers["wrong_ok"]
        assert numbers["suspects"] == ["3"]
    elif name == "15_ensembles":
        assert numbers["gain"] > 0.01
    elif name == "16_losses":
        assert numbers["start"]["svm"] == pytest.approx(9, rel=1e-6)
        assert numbers["slopes"]["squared (MSE)"] < numbers["slopes"]["Huber, delta 1"]


@pytest.mark.parametrize("name", QUICK)
def test_a_toy_of_a_chapter_runs_and_shows_its_claim(name, lecture, tmp_path):
    claims(name, chapter(lecture, name, tmp_path, short=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_runs_and_shows_its_claim(name, lecture, tmp_path):
    claims(name, chapter(lecture, name, tmp_path, short=False))


def test_the_gallery_has_a_section_per_chapter_and_goes_on_after_a_failure(lecture, tmp_path, monkeypatch, capsys):
    gallery = lecture("gallery")
    good, bad = lecture("01_layers"), lecture("14_gradient_check")
    monkeypatch.setattr(bad, "main", lambda out, short: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["gallery.py", "--out", str(tmp_path), "--short", "--only", "01", "14"])
    assert gallery.main() == 1
    page = (tmp_path / "index.html").read_text("utf-8")
    assert page.count("<h2 ") == 2
    assert '<img src="01_layers.png"' in page
    assert "ZeroDivisionError" in page
    assert good.__doc__.splitlines()[0] in page
    assert set(json.loads((tmp_path / "numbers.json").read_text())) == {"01_layers", "14_gradient_check"}
    assert "FAILED" in capsys.readouterr().out


def assignment(name, out, *options):
    """What a script of the course's assignment prints; its checks must hold, and no warning may come."""
    command = [sys.executable, "-W", "error", str(COURSE / f"{name}.py"), "--out", str(out), *options]
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "FASTNET_DATA": str(out)}
    done = subprocess.run(command, env={**os.environ, **own}, cwd=out, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "all checks hold" in done.stdout
    assert list(out.glob("*.png"))
    return done.stdout


def test_the_assignment_has_four_scripts_of_cells():
    assert ASSIGNMENT == ["batch_normalization", "convolutional_networks", "dropout", "fully_connected_nets"]
    for name in ASSIGNMENT:
        text = (COURSE / f"{name}.py").read_text("utf-8")
        assert text.startswith("# %% [markdown]\n# # CS231n")
        assert text.count("\n# %%\n") > 3


@pytest.mark.parametrize("name", ["dropout", "convolutional_networks"])
def test_a_toy_of_the_assignment_runs_on_the_digits_where_there_is_no_cifar(name, tmp_path):
    assert "The embedded digits take its place" in assignment(name, tmp_path, "--toy")


@pytest.mark.slow
@pytest.mark.parametrize("name", ASSIGNMENT)
def test_the_assignment_runs_and_its_checks_hold(name, tmp_path):
    assignment(name, tmp_path)
