"""What a question's rows say together: means, errors, the roofline; and questions that ask for figures."""

import json

import pytest
from bench_rows import MACHINE, PEAKS, Here, plan, row

from bench._harness import case, figures, measure, report, resident, roofline, summary
from bench._harness.case import Case
from bench._harness.statistics import Spread
from fastnet import _ext

PRECISE_TIMES = {
    "avx2": [1.0],
    "avx2 high": [0.5],
    "avx2 medium": [0.25],
    "torch NCHW": [2.0],
    "torch bf16 NCHW": [0.5],
}
ERRORS = {"avx2": 1e-6, "avx2 high": 1e-5, "avx2 medium": 8e-3, "torch NCHW": 2e-6, "torch bf16 NCHW": 4e-3}


def precise_rows():
    """Two rows of two products and nets; the second is ten times slower than PyTorch and three times as wrong."""
    rows = [row(PRECISE_TIMES, Case("forward", "one", None, flops=4e9, nbytes=1e7, family="a net"))]
    rows[0].errors = ERRORS
    slower = PRECISE_TIMES | {"torch NCHW": [0.1]}
    rows.append(row(slower, Case("weight gradient", "two", None, flops=1e9, nbytes=1e8, family="another net")))
    rows[1].errors = ERRORS | {"avx2": 6e-6}
    return rows


def test_a_summary_names_the_worst_entry_of_every_scope():
    found = summary.duels(precise_rows())
    assert list(found) == ["forward", "weight gradient", "a net", "another net", "all"]
    assert found["a net"]["highest"]["mean"] == pytest.approx(2)
    worst = found["all"]["highest"]
    assert (worst["name"], worst["count"], worst["below_one"]) == ("weight gradient: two", 2, 1)
    assert worst["worst"] == pytest.approx(0.1)
    assert found["all"]["high"]["mean"] == pytest.approx(2)
    assert found["all"]["medium"]["mean"] == pytest.approx(2)


def test_a_summary_of_errors_counts_where_they_are_larger_than_those_of_torch():
    found = summary.errors(precise_rows())
    assert found["highest"]["largest"] == 6e-6
    assert (found["highest"]["beside"], found["highest"]["above"]) == (2, 1)
    assert (found["highest"]["worst_ratio"], found["highest"]["worst_name"]) == (
        pytest.approx(3),
        "weight gradient: two",
    )
    assert found["medium"]["worst_ratio"] == pytest.approx(2)
    assert "beside" not in found["high"]  # PyTorch has nothing like it
    said = "\n".join(summary.sentences(precise_rows()))
    assert "larger than PyTorch's on 1 of 2 entries" in said
    assert "worst 0.1: weight gradient: two" in said


def test_precisions_are_compared_where_they_are_timed_even_without_errors():
    plain = row({"avx2": [1.0], "torch NCHW": [2.0]})
    assert not report.has_precisions([plain])
    steps = row({"avx2": [1.0], "torch NCHW": [2.0]}, Case("step", "one", None, precisions=("highest", "medium")))
    assert report.has_precisions([steps])
    assert report.has_precisions(precise_rows())
    assert summary.sentences([steps]) == [
        "highest × torch float32: geometric mean 2 of 1 entries, 0 below 1; worst 2: step: one"
    ]


def test_errors_have_a_table_beside_the_times():
    times, errors = report.tables(precise_rows(), "avx2")[""]
    assert times[0][-3:] == ["× best torch", "high × highest", "medium × torch bf16"]
    assert times[1][-2:] == ["2×", "2×"]
    assert errors[0] == ["largest error", *ERRORS, "highest / best torch"]
    assert [line[-1] for line in errors[1:]] == ["0.5", "3"]
    assert list(report.sections(precise_rows() * 20)) == ["a net", "another net"]


# --- the roofline -----------------------------------------------------------------------------------------------------------

TILES = {dtype: peak | {"tiles_all_threads": 24e9} for dtype, peak in PEAKS.items()}


def test_the_ceiling_is_that_of_the_tiles_over_the_products_of_a_precision():
    assert measure.ceiling(PEAKS) == 2e9
    assert [measure.ceiling(TILES, "float32", precision) for precision in case.PRECISIONS] == [4e9, 8e9, 24e9]
    assert measure.ceiling(TILES, "float64") == 2e9


def test_a_point_of_the_roofline_is_speed_over_intensity():
    assert roofline.points(precise_rows(), "medium", "avx2")[0] == ("forward", 400, 16e9, 8e9)
    assert roofline.points([row({"avx2": [1.0]})], "highest", "avx2") == []  # a case without its bytes


def test_the_roofline_has_a_panel_per_precision_that_was_timed(tmp_path):
    pytest.importorskip("matplotlib")
    machine_ = MACHINE | {"level": "avx2"}
    assert roofline.draw(tmp_path / "a.png", "?", precise_rows(), machine_, TILES)
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert not roofline.draw(tmp_path / "b.png", "?", [row({"avx2": [1.0]})], machine_, PEAKS)


# --- the figures ------------------------------------------------------------------------------------------------------------


def test_figures_are_found_on_toy_sizes(tmp_path):
    with Here() as pool:
        answers = figures.ask("limits", plan(), pool, lambda line: None)
    assert {a.figure.group for a in answers} >= {"first call", "memory"}
    assert [a.error for a in answers] == [""] * len(answers)
    assert all(a.found.median > 0 for a in answers if a.figure.group != "memory")
    figures.write(tmp_path, "limits", "a title?", answers, MACHINE, ["a line about the machine"])
    assert len(json.loads((tmp_path / "limits.json").read_text())["figures"]) == len(answers)
    assert all(a.figure.key in (tmp_path / "limits.md").read_text() for a in answers)


def test_the_memory_of_a_step_is_measured_in_a_process_of_its_own():
    with Here() as pool:
        answers = {a.figure.group: a for a in figures.ask("memory", plan(), pool, lambda line: None)}
    assert answers.keys() == {"peak of a step", "fresh blocks per step"}  # without PyTorch no share of its memory
    assert [a.error for a in answers.values()] == ["", ""]
    assert 1e5 < answers["peak of a step"].found.median < 1e8
    assert answers["fresh blocks per step"].found.median >= 0
    with pytest.raises(RuntimeError, match="KeyError: 'no such net'"):
        resident.ask("no such net", 2, "fastnet highest", 1)


def test_two_threads_need_two_and_a_level_needs_to_be_there():
    keys = [f.key for f in plan().figures("limits")]
    assert any(key.startswith("second thread") for key in keys)
    with Here() as pool:
        pool.of = lambda column: Silent()
        asked = {a.figure.key for a in figures.ask("limits", plan(), pool, lambda line: None)}
    assert not any(key.startswith("second thread") for key in asked)
    levels = {key.split(": ")[1].split(",")[0] for key in asked if key.startswith("share")}
    assert levels <= {_ext.level}


class Silent:
    def do(self, request, timeout=0):
        return {"error": "nobody is here"}


def test_a_figure_meets_its_mark_from_the_right_side():
    most = figures.Figure("memory", "a figure", None, "MB", 4e6, at_most=True)
    assert figures.Answer(most, Spread(3e6, 3e6, 3e6, 1)).met
    least = figures.Figure("share", "a figure", None, "%", 0.8)
    missed = figures.Answer(least, Spread(0.75, 0.7, 0.8, 3))
    assert not missed.met
    assert figures.grid([missed])[1] == ["share: a figure", "75% (70%–80%)", "≥ 80%", "missed"]
