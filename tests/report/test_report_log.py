"""The log read without trust, and drawn: values by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from report_fake import document, log_lines, write_document

from kt3d_bench.report import log as logs
from kt3d_bench.report.curves import histogram, number, overview, panel, smoothed, thinned
from kt3d_bench.report.log import Series, flag_sentences, read_log, trained_elsewhere
from kt3d_bench.report.page import _curves


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def line(step: object, stage: object = "adapt", **more: object) -> dict[str, object]:
    return {"stage": stage, "step": step, "losses": {"pose": 2.0}, "logs": {}, **more}


def test_stages_curves_and_flags_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(log_lines({"learn": 4, "adapt": 6}))
    found, complaints = read_log(path)
    assert complaints == ()
    assert list(found) == ["learn", "adapt"]
    adapt = found["adapt"]
    kinds = {one.name: one.kind for one in adapt.series}
    assert kinds == {"pose": "loss", "domain": "loss", "pose_spread": "log", "learning rate": "rate",
                     "samples per second": "rate"}  # fmt: skip
    assert [flag.name for flag in adapt.flags] == ["warn_collapse"]
    assert (adapt.steps, adapt.elapsed_s) == (6, 12.0)
    pose = next(one for one in adapt.series if one.name == "pose")
    assert pose.steps == (1, 2, 3, 4, 5, 6)
    assert pose.values[-1] == pytest.approx(8.0 * 2 / 3)
    assert adapt.total is not None
    assert adapt.total.values[-1] == pytest.approx(8.0 * 2 / 3 + 0.5)
    assert flag_sentences(adapt) == ["Stage 'adapt' raised 'warn_collapse' in steps 1 to 3."]


def test_the_validation_curve_is_drawn_after_the_losses(tmp_path: Path) -> None:
    seen = [{"stage": "adapt", "step": step, "validation": {"seen target agreement_px": 3.0 / step}} for step in (1, 5)]
    adapt = read_log(write(tmp_path / "log.jsonl", line(1, logs={"spread": 1.0}), *seen))[0]["adapt"]
    assert [(one.kind, one.name) for one in _curves(adapt)] == [
        ("loss", "pose"), ("validation", "seen target agreement_px"), ("log", "spread"),
    ]  # fmt: skip
    assert _curves(adapt)[1].values == (3.0, 0.6)
    many = replace(_curves(adapt)[1], steps=tuple(range(1, 41)), values=tuple(map(float, range(40))))
    assert panel(many).smooth == "", "its points have no noise of batches"
    assert panel(replace(many, kind="loss")).smooth


def test_a_flag_that_is_up_at_the_end_is_said_so(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", line(1, logs={"warn_x": 0}), line(2, logs={"warn_x": 1}))
    assert flag_sentences(read_log(path)[0]["adapt"]) == [
        "Stage 'adapt' raised 'warn_x' in steps 2 to 2, and so to its end."
    ]


def test_what_cannot_be_used_is_passed_over_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "log.jsonl", line(1), '{"stage": "adapt", "step": 2, "losses"', "[]", line(3, stage=["x"]), "\x00",
        line("4"), line(True), line(5, losses={"pose": None, "other": "high"}), line(6, losses=[1]),
        line(7, losses={"pose": float("nan")}), line(8, lr=1e400),
    )  # fmt: skip
    found, complaints = read_log(path)
    assert complaints == ("4 lines of the log cannot be used and were skipped.",)
    assert [(one.name, one.steps) for one in found["adapt"].series] == [("pose", (1, 8))]


def test_steps_come_in_order_and_the_last_of_a_step_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", line(3), line(1), line(3, losses={"pose": 9.0}))
    series = read_log(path)[0]["adapt"].series[0]
    assert (series.steps, series.values) == ((1, 3), (2.0, 9.0))


def test_curves_are_bounded_in_number(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", line(1, losses={f"loss{n}": 1.0 for n in range(logs.MAX_SERIES + 5)}))
    adapt = read_log(path)[0]["adapt"]
    assert (len(adapt.series), adapt.left_out) == (logs.MAX_SERIES, 5)


def test_a_log_that_is_too_long_is_read_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "log.jsonl", line(1), line(2))
    monkeypatch.setattr(logs, "MAX_BYTES", len(json.dumps(line(1))) + 1)
    found, complaints = read_log(path)
    assert found["adapt"].steps == 1
    assert complaints == ("Only the first 0 MiB of the log were read.",)


def test_no_log_is_no_stage(tmp_path: Path) -> None:
    assert read_log(tmp_path / "log.jsonl") == ({}, ())
    assert read_log(tmp_path)[1] == ("The log cannot be read (Is a directory).",)


def test_a_reused_stage_is_found_in_the_run_that_trained_it(tmp_path: Path) -> None:
    mine, other, third = (tmp_path / name for name in ("mine", "other", "third"))
    stages = document(tmp_path)["stages"]
    write_document(mine, document(tmp_path, stages=[{**stages[0], "reused": True}]))
    write_document(third, document(tmp_path, stages=[{**stages[0], "reused": True}]))
    assert trained_elsewhere(mine, "1" * 64, "learn") is None
    write_document(other, document(tmp_path))
    (other / "log.jsonl").write_text(log_lines({"learn": 5}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.yaml").write_text("{" + "1" * 64)
    found = trained_elsewhere(mine, "1" * 64, "learn")
    assert found is not None
    assert (found[0], found[1].steps) == ("other", 5)
    assert trained_elsewhere(mine, "1" * 64, "adapt") is None
    assert trained_elsewhere(mine, "", "learn") is None


def test_smoothing_is_a_mean_over_a_window_cut_at_the_ends() -> None:
    assert smoothed([1, 2, 3, 4, 5, 6, 7]) == ()
    assert smoothed([4.0] * 20) == ()
    values = [0.0, 3, 0, 3, 0, 3, 0, 3]
    assert smoothed(values) == pytest.approx((1.5, 1, 2, 1, 2, 1, 2, 1.5))


def test_thinning_keeps_both_ends_and_the_order() -> None:
    steps, values = thinned(range(1, 5001), [float(step) for step in range(1, 5001)])
    assert (len(steps), steps[0], steps[-1]) == (300, 1, 5000)
    assert list(values) == [float(step) for step in steps]
    assert list(steps) == sorted(set(steps))


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def test_a_panel_spans_its_frame() -> None:
    drawn = panel(Series("a", "loss", (1, 11, 21), (4.0, 2.0, 0.0)))
    assert points(drawn.raw) == [(46.0, 8.0), (169.0, 60.0), (292.0, 112.0)]
    assert (drawn.log, drawn.smooth, drawn.first, drawn.last) == (False, "", "4", "0")
    assert [text for _, text in drawn.ticks] == ["0", "2", "4"]


def test_an_axis_is_logarithmic_where_the_smoothed_values_span_much() -> None:
    steps = tuple(range(1, 41))
    falling = tuple(1000.0 * 0.8**step for step in range(40))
    assert panel(Series("a", "loss", steps, falling)).log
    assert not panel(Series("a", "loss", steps, tuple(-value for value in falling))).log
    noisy = tuple(1.0 if step % 2 else 0.01 for step in range(40))
    assert not panel(Series("a", "log", steps, noisy)).log
    rates = panel(Series("learning rate", "rate", (1, 2, 3), (1e-3, 1e-4, 1e-5)))
    assert rates.log
    assert [text for _, text in rates.ticks] == ["1e-5", "1e-4", "1e-3"]


@pytest.mark.parametrize("values", [(0.0,), (5.0, 5.0), (-1.0, -1.0), (1e-9, 1e12), (1e-300, 1e-299), (0.0, 1e299)])
def test_any_values_can_be_drawn(values: tuple[float, ...]) -> None:
    drawn = panel(Series("a", "loss", tuple(range(1, len(values) + 1)), values))
    assert all(0 <= x <= 300 and 0 <= y <= 132 for x, y in points(drawn.raw))


def test_the_overview_puts_stages_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(log_lines({"learn": 30, "adapt": 10}))
    drawn = overview(list(read_log(path)[0].values()))
    assert drawn is not None
    assert [span.name for span in drawn.spans] == ["learn", "adapt"]
    left, right = drawn.spans
    assert float(left.left) + float(left.width) == pytest.approx(float(right.left), abs=0.2)
    assert float(left.width) == pytest.approx(3 * float(right.width), abs=0.4)
    assert overview([]) is None


def test_a_histogram_counts_every_sample_once() -> None:
    drawn = histogram([float(value) for value in range(100)] + [5000.0], [("best", 0.0), ("worst", 5000.0)])
    assert drawn is not None
    counted = [int(one.text.split(": ")[1].split()[0]) for one in drawn.bins]
    assert sum(counted) == 101
    assert drawn.beyond == 1
    assert drawn.bins[-1].text.startswith(drawn.ticks[-1][1]) or "and more" in drawn.bins[-1].text
    assert float(drawn.marks[0][0]) < float(drawn.marks[1][0]) <= 892.1
    even = histogram([3.0, 3.0], [])
    assert even is not None
    assert sum(int(one.text.split(": ")[1].split()[0]) for one in even.bins) == 2
    assert histogram([], []) is None
    zeros = histogram([0.0, 0.0], [])
    assert zeros is not None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.5, "1.5"), (100.26, "100.3"), (12.345, "12.35"), (0.0123, "0.012"), (1e-5, "1e-5"),
     (123456.0, "1.23e5"), (-2.5, "-2.5"), (100.0, "100"), (9999.0, "9999")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_a_flag_that_is_up_for_a_moment_is_no_sentence(tmp_path: Path) -> None:
    lines = [line(step, logs={"warn_x": float(step in (1, 4, 9, 10))}) for step in range(1, 11)]
    path = write(tmp_path / "log.jsonl", *lines)
    assert flag_sentences(read_log(path)[0]["adapt"]) == [
        "Stage 'adapt' raised 'warn_x' in steps 9 to 10, and so to its end."
    ]
