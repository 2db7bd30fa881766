"""What a pull request may not bring is refused, one by one; this repository's own boards are fit to be merged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kt3d_bench import check_boards
from kt3d_bench.leaderboard.cards import card_path, write_card
from kt3d_bench.leaderboard.checks import problems
from kt3d_bench.leaderboard.entries import Entry, Submission, encode_entry, make_entry, write_entry
from kt3d_bench.leaderboard.render import render_boards
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import measure
from kt3d_bench.metrics.predictions import Predictions
from kt3d_bench.metrics.truth import Truth

ROOT = Path(__file__).parents[2]
BENCHMARK = Benchmark(
    id="toy-test", version=2, title="Toy", dataset="toy", split="test", modality="rgb",
    headline=("mpjpe_mm", "pa_mpjpe_mm"), beside=("pck_100",), root=0, reference="root-given", box_rule="joints",
    sees="the crop", action_mean=True, sample_list_digest="a" * 64,
)  # fmt: skip
KNOWN = {"toy-test": BENCHMARK}


def test_this_repositorys_boards_are_fit_to_be_merged() -> None:
    assert check_boards(ROOT / "leaderboards") == []


def entry(*, seed: int = 0, submitted: bool = False, **changes: Any) -> Entry:
    rng = np.random.default_rng(seed)
    true = (np.random.default_rng(7).normal(size=(40, 17, 3)) * 300 + np.array([0, 0, 4000])).astype(np.float32)
    pred = (true + rng.normal(size=true.shape) * 50).astype(np.float32)
    keys = np.array([f"s{i:02d}" for i in range(40)])
    clips, actions = (np.array([f"c{i % count}" for i in range(40)]) for count in (8, 3))
    quality = np.full((40, 17), 3, np.uint8)
    known = Truth(keys, true, quality, actions, clips, clips, "a" * 64, "b" * 64, "official")
    handed = Submission(form="kt3d-npz", file_sha256="c" * 64) if submitted else None
    facts: dict[str, Any] = {
        "method": "net", "supervision": "none", "training_data": (), "seed": seed, "checkpoint_sha256": "d" * 64,
        "predictions_sha256": f"{seed:064d}", "test_manifest_digest": "e" * 64, "run": {"preset": "tiny"},
        "submission": handed,
    }  # fmt: skip
    return make_entry(measure(Predictions(keys, pred), known, BENCHMARK), BENCHMARK, **(facts | changes))


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """Boards with a run's entry and a submission, rendered."""
    write_entry(tmp_path, entry())
    handed = entry(seed=1, submitted=True, checkpoint_sha256=None, run={})
    write_entry(tmp_path, handed)
    write_card(tmp_path, handed)
    render_boards(tmp_path, KNOWN, {})
    assert problems(tmp_path, KNOWN, {}) == []
    return tmp_path


def path_of(boards: Path, number: int = 0) -> Path:
    return sorted((boards / "toy-test" / "entries").glob("*.json"), key=lambda path: '"seed": 1' in path.read_text())[
        number
    ]


def edited(boards: Path, change: Callable[[dict[str, Any]], Any], number: int = 0) -> list[str]:
    """Problems after an entry was changed and written as the program would write it."""
    path = path_of(boards, number)
    document = json.loads(path.read_text())
    change(document)
    path.write_bytes(encode_entry(Entry.model_validate(document)))
    render_boards(boards, KNOWN, {})
    return problems(boards, KNOWN, {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["scores"].update(mpjpe_mm=70.0), "'mpjpe_mm' is not the mean of its clips"),
        (lambda d: d["scores"].update(action_mean_mpjpe_mm=70.0), "is not the mean of its actions"),
        (lambda d: d["scores"].update(pck_100=99.9), "'pck_100' does not lie on the PCK curve"),
        (lambda d: d["intervals"].update(mpjpe_mm=[1.0, 2.0]), "the interval of 'mpjpe_mm' does not hold its value"),
        (lambda d: d["intervals"].update(mpjpe_mm=[1.0, 900.0]), "'mpjpe_mm' is not what its clips give"),
        (lambda d: d["intervals"].pop("mpjpe_mm"), "the interval of 'mpjpe_mm' is not what its clips give"),
        (lambda d: d.update(samples=3), "its clips hold more or fewer samples than it has"),
        (lambda d: d.update(samples=99999), "its clips hold more or fewer samples than it has"),
        (lambda d: d.update(samples=99999), "has 99999 samples"),
        (lambda d: d["breakdown"]["by_joint"].update({j: {"mpjpe_mm": 1.0} for j in d["breakdown"]["by_joint"]}),
         "'mpjpe_mm' does not lie between its values by joint"),
        (lambda d: d["breakdown"]["by_subject"].update({s: {"mpjpe_mm": 1.0} for s in d["breakdown"]["by_subject"]}),
         "'mpjpe_mm' does not lie between its values by subject"),
        (lambda d: d["breakdown"]["pck_curve"].__setitem__(slice(0, 3), [60.0, 59.0, 58.0]), "the PCK curve falls"),
        (lambda d: d["provenance"].update(predictions_sha256=None), "cannot be verified: predictions_sha256"),
        (lambda d: d["provenance"].update(labels_digest="b"), "cannot be verified: labels_digest"),
        (lambda d: d["provenance"].update(checkpoint_sha256=None), "a run's checkpoint_sha256 and settings"),
        (lambda d: d["provenance"].update(run={}), "a run's checkpoint_sha256 and settings"),
        (lambda d: d["provenance"].update(predictions_sha256=f"{1:064d}"), "has the same predictions as"),
        (lambda d: d["provenance"].update(predictions_sha256="c" * 64), "has the same predictions as"),
        (lambda d: d["provenance"].update(protocol_digest="f" * 64), "measured by another protocol than version 2"),
        (lambda d: d["provenance"].update(metric_version=99), "metric version 99, newer than"),
    ],
)  # fmt: skip
def test_edited_and_unverifiable_entries_are_refused(boards: Path, change: Any, said: str) -> None:
    assert any(said in problem for problem in edited(boards, change))


def test_a_newer_version_than_the_benchmarks_is_refused(boards: Path) -> None:
    path = path_of(boards)
    path.unlink()
    write_entry(boards, entry().model_copy(update={"benchmark_version": 3}))
    assert any("of version 3 of the benchmark, which has only 2" in one for one in problems(boards, KNOWN, {}))


def test_an_edited_table_is_refused(boards: Path) -> None:
    for name in ("README.md", "toy-test/README.md"):
        path = boards / name
        before = path.read_text()
        path.write_text(before.replace("net", "best net"))
        assert problems(boards, KNOWN, {}) == [
            f"{name}: is not what the entries say; render the boards with: kt3d leaderboard build"
        ]
        path.unlink()
        assert problems(boards, KNOWN, {}) == [f"{name}: is missing; render the boards with: kt3d leaderboard build"]
        path.write_text(before)


def test_an_unknown_field_and_other_bytes_are_refused(boards: Path) -> None:
    path = path_of(boards)
    before = path.read_text()
    path.write_text(before.replace('"method":', '"better": true, "method":'))
    assert any("better: Extra inputs" in one for one in problems(boards, KNOWN, {}))
    path.write_text(before + "\n")
    assert any("is not as the program writes it" in one for one in problems(boards, KNOWN, {}))


def test_files_that_belong_to_nothing_are_refused(boards: Path) -> None:
    (boards / "toy-test" / "entries" / "notes.txt").write_text("x")
    (boards / "toy-test" / "cards" / "other.md").write_text("x")
    (boards / "stranger" / "entries").mkdir(parents=True)
    found = problems(boards, KNOWN, {})
    assert "toy-test/entries/notes.txt: is not an entry" in found
    assert "toy-test/cards/other.md: belongs to no entry" in found
    assert "stranger: there is no such benchmark" in found


def test_a_submission_needs_its_card_and_the_card_its_facts(boards: Path) -> None:
    path = card_path(boards, Entry.model_validate_json(path_of(boards, 1).read_bytes()))
    before = path.read_text()
    path.write_text(before + "\nMore notes.\n")
    assert problems(boards, KNOWN, {}) == []
    path.write_text(before.replace("| Metric version | 1 |", "| Metric version | 2 |"))
    assert any("is not what its entry says" in one for one in problems(boards, KNOWN, {}))
    path.unlink()
    assert any("the model card is missing" in one for one in problems(boards, KNOWN, {}))


def test_text_on_a_card_stays_text() -> None:
    from kt3d_bench.leaderboard.cards import card_markdown

    one = entry(submitted=True, title="a | b\n# <img>", external_data=["*x* | y"])
    text = card_markdown(one)
    assert r"# a \| b \# \<img> on" in text
    assert r"\*x\* \| y" in text
