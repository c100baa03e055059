"""The benchmarks' own arithmetic on known inputs, their processes, and a run of every question on toy sizes."""

import json
import math
import threading
import time
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from bench_rows import MACHINE, PEAKS, Here, plan, row

from bench.__main__ import main
from bench._harness import case, chart, machine, measure, onnx_twin, report, statistics, text
from bench._harness.case import Case
from bench._harness.measure import Row
from bench._harness.statistics import Spread
from bench._harness.workers import Child, settle
from fastnet import _ext

# --- statistics ---------------------------------------------------------------------------------------------------------


def test_spread_is_the_median_with_its_quartiles():
    assert statistics.spread([5, 1, 4, 2, 3]) == Spread(3, 2, 4, 5)
    assert statistics.spread([7]) == Spread(7, 7, 7, 1)


def test_ratios_compare_within_each_round_and_ignore_rounds_of_one_side():
    # The second round was three times slower for both: the ratio does not see it.
    assert statistics.ratios([2.0, 6.0, 2.0], [1.0, 3.0, 1.0, 9.0]) == Spread(2, 2, 2, 3)


def test_geometric_mean_of_a_ratio_and_its_inverse_is_one():
    assert statistics.geometric_mean([4, 0.25]) == pytest.approx(1)
    assert statistics.geometric_mean([2, 8]) == pytest.approx(4)
    assert math.isnan(statistics.geometric_mean([]))


def test_equal_answers_agree_in_any_memory_order():
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 6))
    moved = np.asfortranarray(x)
    assert statistics.disagreement(statistics.fingerprint(moved), statistics.fingerprint(x)) == pytest.approx(
        0, abs=1e-12
    )


@pytest.mark.parametrize("wrong", [np.ones((3, 4)) * 2, np.ones((4, 3)), np.full((3, 4), np.nan)])
def test_wrong_answers_disagree(wrong):
    right = statistics.fingerprint(np.ones((3, 4)))
    assert statistics.disagreement(statistics.fingerprint(wrong), right) >= 1


def test_a_part_that_a_side_did_not_compute_is_not_compared_but_a_missing_part_is_noticed():
    both, one = statistics.fingerprint((np.ones(3), np.ones(2))), statistics.fingerprint((None, np.ones(2)))
    assert statistics.disagreement(one, both) == 0
    assert statistics.disagreement(one[1:], both) == math.inf


# --- the rounds -----------------------------------------------------------------------------------------------------------


def test_a_row_is_held_against_the_fastest_float32_mode_of_torch():
    found = row(
        {"avx2": [0.5, 0.5], "torch NCHW": [2.0, 2.0], "torch channels-last": [1.0, 3.0], "torch bf16 NCHW": [0.1]}
    )
    assert found.best_torch == "torch NCHW"  # the median of 1 and 3 is 2 too, and the first of equals counts
    assert found.against["torch channels-last"].median == 4
    assert found.flops == pytest.approx(8e8)
    assert found.share == pytest.approx(0.4)


def test_a_case_without_multiplications_is_held_against_the_bandwidth():
    found = row({"avx2": [0.5]}, Case("forward", "a case", None, nbytes=1e9))
    assert found.flops is None
    assert found.share == pytest.approx(0.2)


def test_the_level_that_counts_and_torch_run_in_every_round_and_slow_naive_sides_once():
    asked = []

    class Recorder(Here):
        def of(self, column):
            return self

        def do(self, request, timeout=0):
            asked.append((request["column"], request["calls"]))
            return {"seconds": 2e-5}

    wanted = {"NumPy": 5.0, _ext.level: 5.0, "torch NCHW": 5.0}
    times = measure._rounds(wanted, plan(), Recorder())
    assert times["NumPy"] == [5.0]  # its first call took longer than all that it may have
    assert len(times[_ext.level]) == len(times["torch NCHW"]) >= 2
    turns = [column for column, _ in asked[4:]]
    assert turns == [_ext.level, "torch NCHW"] * (len(turns) // 2)


# --- which sides and cases ------------------------------------------------------------------------------------------------


PRECISE = Case(
    "forward", "a case", None, torch=lambda side: None, modes=("NCHW", "bf16 NCHW"), precisions=case.PRECISIONS
)


def test_precisions_are_timed_where_products_depend_on_them():
    assert PRECISE.columns(["avx512", "amx"], torch=False) == ["NumPy", "avx512", "amx", "amx high", "amx medium"]
    assert PRECISE.columns(["avx2", "avx512"], torch=False) == ["NumPy", "avx2", "avx512", "avx512 high"]


def test_naive_sides_and_bfloat16_can_be_left_out():
    found = PRECISE.columns(["avx2", "avx512"], torch=True, naive=False)
    assert found == ["avx512", "avx512 high", "torch NCHW", "torch bf16 NCHW"]
    assert PRECISE.columns(["avx2"], torch=True, naive=False, float32=True) == ["avx2", "avx2 high", "torch NCHW"]


def test_compiled_modes_can_be_left_out_and_are_prepared_first():
    compiled = Case("step", "a case", None, torch=lambda side: None, modes=("NCHW", "compiled NCHW"), numpy=False)
    assert plan(torch=True).columns(compiled) == [_ext.level, "torch NCHW", "torch compiled NCHW"]
    assert replace(plan(torch=True), compiled=False).columns(compiled) == [_ext.level, "torch NCHW"]
    asked = []

    class Recorder(Here):
        def of(self, column):
            return self

        def do(self, request, timeout=0):
            asked.append(request.get("column"))
            return {"seconds": 2e-5, "answer": []}

    found = measure.measure("steps", compiled, plan(torch=True), Recorder(), PEAKS)
    assert asked[:3] == ["torch compiled NCHW", _ext.level, "torch NCHW"]
    assert found.times.keys() == {_ext.level, "torch NCHW", "torch compiled NCHW"}


def test_match_chooses_cases_and_knows_two_ways_to_write_a_shape():
    chosen = [c.key for c in plan(match="weight.*4->7 3x3").cases("conv")]
    assert chosen == ["weight gradient: toy 4→7 3×3/2 9×9, batch 2"]


def test_precisions_are_held_against_their_like():
    found = row(
        {
            "avx2": [4.0, 8.0],
            "avx2 high": [2.0, 2.0],
            "avx2 medium": [1.0, 1.0],
            "torch NCHW": [8.0, 8.0],
            "torch bf16 NCHW": [3.0, 3.0],
        }
    )
    assert found.duels["highest"] == ("avx2", "torch NCHW", Spread(1.5, 1.25, 1.75, 2))
    assert found.duels["high"] == ("avx2 high", "avx2", Spread(3, 2.5, 3.5, 2))
    assert found.duels["medium"] == ("avx2 medium", "torch bf16 NCHW", Spread(3, 3, 3, 2))


def test_the_error_is_the_largest_difference_over_the_part_that_is_known():
    exact = np.array([[3.0, 4.0], [0.0, 0.0]])  # its root mean square is 2.5
    found = np.array([[3.0, 4.5], [0.25, 0.0], [7.0, 7.0]], np.float32)
    assert statistics.largest_error(found, exact) == pytest.approx(0.2)
    assert statistics.largest_error(np.full((2, 2), np.nan, np.float32), exact) == math.inf


# --- the processes ----------------------------------------------------------------------------------------------------------


def test_a_child_process_runs_at_the_level_it_was_given_and_says_what_went_wrong():
    child = Child(1, {"FASTNET_ISA": "generic"})
    try:
        request = {"do": "open", "question": "update_rules", "size": "toy", "part": 1}
        found = next(case.cases("update_rules", "toy")).key
        reply = child.do({**request, "case": found, "column": "generic"})
        assert reply["seconds"] > 0
        assert child.do({"do": "run", "column": "generic", "calls": 2})["seconds"] > 0
        assert "no such case" in child.do({**request, "case": "no such case", "column": "generic"})["error"]
    finally:
        child.stop()
    assert child.do({"do": "close"}) == {"error": "stopped"}


def test_the_sentences_about_the_machine_name_the_peaks_with_tiles_and_without():
    described = machine.describe(2, ["avx2", "amx"])
    last = machine.sentences(described, PEAKS)[-1]
    assert last.startswith("measured peaks at amx: float32 1 GFLOP/s on one core, 2 on all threads, float64 1")
    assert "AMX" not in last
    tiles = {"tiles_one_core": 3e12, "tiles_all_threads": 6e12}
    last = machine.sentences(described, {dtype: p | tiles for dtype, p in PEAKS.items()})[-1]
    assert last.endswith(", AMX bfloat16 3.00 TFLOP/s on one core, 6.00 on all threads; memory 10 GB/s")


def test_a_child_process_that_takes_too_long_is_stopped():
    child = Child(1, {})
    assert "no answer within" in child.do({"do": "peaks"}, timeout=0.01)["error"]
    assert child.process.poll() is not None


def test_a_side_replies_when_its_threads_rest():
    until = time.perf_counter() + 0.05

    def spin():
        while time.perf_counter() < until:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    settle()
    assert time.perf_counter() >= until
    thread.join()


# --- every question ---------------------------------------------------------------------------------------------------------


def test_every_question_says_what_it_asks_and_has_cases_of_every_size():
    assert {"batch_norm", "conv", "course", "pooling", "steps", "update_rules"} <= set(case.names())
    for name, asks in case.questions().items():
        assert "?" in asks, f"bench/{name}.py: let the first line of the docstring be the question"
        kinds = {kind for kind in ("cases", "figures") if hasattr(case.question(name), kind)}
        assert len(kinds) == 1, f"bench/{name}.py: add a function cases(size), or figures(size)"
        for size in ("toy", "quick", "full"):
            keys = [c.key for c in getattr(case, kinds.copy().pop())(name, size)]
            assert keys, f"bench/{name}.py: add a case of size {size!r}"
            assert len(set(keys)) == len(keys), f"bench/{name}.py: two cases of size {size!r} have the same name"


@pytest.mark.parametrize("name", [name for name in case.names() if hasattr(case.question(name), "cases")])
def test_all_sides_of_a_question_agree_on_toy_sizes(name, tmp_path):
    chosen = plan(torch=find_spec("torch") is not None, onnx=onnx_twin.installed())
    with Here() as pool:
        rows = measure.ask(name, chosen, pool, PEAKS, lambda line: None)
    for r in rows:
        assert r.absent == ({case.ONNX: onnx_twin.MISSING} if r.case.onnx and not chosen.onnx else {}), r.case.key
        assert r.wrong == {}, r.case.key
        assert r.times.keys() == set(chosen.columns(r.case)), r.case.key
        assert all(
            error < 5e-2 if "bf16" in side or "medium" in side else error < 1e-4 for side, error in r.errors.items()
        )
        assert not r.case.exact or r.errors.keys() >= {_ext.level}, r.case.key
    result = report.as_json(name, "a title?", rows, plan(), MACHINE, PEAKS)
    report.write(tmp_path, name, result, rows, ["a line about the machine"])
    assert_schema(json.loads((tmp_path / f"{name}.json").read_text()), rows)
    written = (tmp_path / f"{name}.md").read_text()
    assert all(r.case.key in written for r in rows)
    assert _ext.level in written


def assert_schema(result, rows):
    assert result["schema"] == report.SCHEMA
    parts = {"question", "title", "machine", "peaks", "plan", "rows", "geometric_means", "duels", "errors"}
    assert parts <= result.keys()
    assert len(result["rows"]) == len(rows)
    for found in result["rows"]:
        assert found["seconds"][_ext.level].keys() == {"median", "low", "high", "count"}
        assert 0 < found["seconds"][_ext.level]["low"] <= found["seconds"][_ext.level]["high"]
        assert _ext.level not in found["times_as_fast_as"]
    for means in result["geometric_means"].values():
        assert all(mean > 0 for mean in means.values())


# --- the report -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "said"),
    [
        (123.4, "123 s"),
        (1.234, "1.23 s"),
        (0.0456, "45.6 ms"),
        (0.9999e-3, "1 ms"),
        (7.891e-6, "7.89 µs"),
        (1e-8, "0.01 µs"),
    ],
)
def test_times_have_three_digits_and_a_unit(t, said):
    assert text.seconds(t) == said


def test_means_are_taken_per_group_and_over_all():
    rows = []
    for group, slow in (("forward", 2.0), ("forward", 8.0), ("backward", 1.0)):
        rows.append(row({"avx2": [1.0, 1.0, 1.0], "torch NCHW": [slow] * 3}, Case(group, f"{slow}", None)))
    found = report.means(rows)
    assert found["forward"][report.BEST_TORCH] == pytest.approx(4)
    assert found["backward"][report.BEST_TORCH] == pytest.approx(1)
    assert found["all"][report.BEST_TORCH] == pytest.approx(16 ** (1 / 3))


def test_a_wrong_answer_is_shown_and_not_timed():
    found = row({"avx2": [1.0]})
    found.wrong["NumPy"] = math.inf
    assert "WRONG ANSWER" in report.troubles([found])[0]
    json.dumps(report.as_json("conv", "?", [found], plan(), MACHINE, PEAKS), allow_nan=False)


def test_a_picture_has_a_panel_per_group_and_the_mean_of_a_family(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        row({"avx2": [1.0], "torch NCHW": [slow]}, Case(group, f"{group} {slow}", None, family="a net"))
        for group, slow in (("forward", 2.0), ("forward", 8.0), ("backward", 0.5))
    ]
    assert chart.baseline(rows) == report.BEST_TORCH
    assert chart.panels(rows)["forward"] == {"a net": {"avx2": pytest.approx(4), report.BEST_TORCH: pytest.approx(1)}}
    assert chart.draw(tmp_path / "a.png", "?", rows, MACHINE)
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert not chart.draw(tmp_path / "b.png", "?", [Row(rows[0].case)], MACHINE)


# --- the command ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--only", "nothing"], "no question 'nothing'"),
        (["--threads", "0"], "--threads must be at least 1, found 0"),
        (["--seconds", "nan"], "--seconds must be positive, found nan"),
        (["--level", "mmx"], "--level"),
        (["--match", "("], "--match: not a regular expression"),
    ],
)
def test_bad_arguments_get_one_line_and_status_2(words, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_help_lists_the_questions(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in case.names())
