"""python -m bench profile: its arguments, and what it writes."""

import json

import pytest

from bench.__main__ import main


def test_a_profile_is_printed_and_its_trace_and_picture_are_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    trace, picture = tmp_path / "step.json", tmp_path / "step.png"
    words = ["profile", "lenet", "--batch", "3", "--steps", "2", "--precision", "medium", "--unfused"]
    assert main([*words, "--trace", str(trace), "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "3 x 1 x 28 x 28" in out
    assert "at medium" in out
    assert out.splitlines()[-2:] == [f"written: {trace.resolve()}", f"written: {picture.resolve()}"]
    assert json.loads(trace.read_text())["traceEvents"]
    assert picture.stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "NET"),
        (["no_such_net"], "invalid choice: 'no_such_net'"),
        (["lenet", "--batch", "0"], "--batch must be at least 1, found 0"),
        (["lenet", "--image", "28"], "--image must be like 3x32x32, found '28'"),
        (["lenet", "--image", "1x2x2"], "images must be at least 4 pixels"),
    ],
)
def test_bad_arguments_get_one_line_and_status_2(words, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["profile", *words])
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err
