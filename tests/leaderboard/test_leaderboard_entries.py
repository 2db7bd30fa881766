"""Entries: what makes two results the same one, and every way in which an entry file can be wrong."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import installed_versions
from kt3d_bench.leaderboard.entries import (
    Entry,
    TrainingData,
    encode_entry,
    make_entry,
    metric_code_sha256,
    read_boards,
    read_entries,
    read_entry,
    write_entry,
)
from kt3d_bench.leaderboard.wording import supervision_name
from kt3d_bench.metrics.benchmarks import Benchmark, protocol_digest
from kt3d_bench.metrics.evaluate import measure
from kt3d_bench.metrics.predictions import Predictions
from kt3d_bench.metrics.truth import Truth

BENCHMARK = Benchmark(
    id="toy-test", version=2, title="Toy", dataset="toy", split="test", modality="rgb",
    headline=("mpjpe_mm", "pa_mpjpe_mm"), beside=("pck_100",), root=0, reference="root-given", box_rule="joints",
    sees="the crop", action_mean=True,
)  # fmt: skip
SOURCE = TrainingData(role="source", dataset="clean", origin="generated", labels="3d", split_digest="e" * 64)


def entry(
    *, origin: str = "generated", noise_mm: float = 50.0, holes: int = 0, absent: int = 0, **changes: Any
) -> Entry:
    rng = np.random.default_rng(0)
    true = (rng.normal(size=(12, 17, 3)) * 300 + np.array([0, 0, 4000])).astype(np.float32)
    keys = np.array([f"s{i:02d}" for i in range(12)])
    pred = (true + rng.normal(size=true.shape) * noise_mm).astype(np.float32)
    pred[:holes] = np.nan
    pred[:, :absent] = np.nan
    words = np.array(["a", "b", "c"] * 4)
    known = Truth(keys, true, np.full((12, 17), 3, np.uint8), words, words, words, "a" * 64, "b" * 64, origin)
    found = measure(Predictions(keys, pred, {}), known, BENCHMARK, incomplete=True)
    facts: dict[str, Any] = {"method": "floor", "supervision": "none", "training_data": [SOURCE], "seed": 1}
    return make_entry(found, BENCHMARK, **(facts | changes))


def test_an_entry_says_what_it_is_of() -> None:
    made = entry(
        joints=6, supervision="partial", generator_version=4, checkpoint_sha256="f" * 64, command="kt3d train",
        wall_seconds=12.5, run={"preset": "tiny", "steps": 3}, external_data=["a weight file"], selection_rule="oracle",
        target_labels_seen="6 joints, 2D and 3D", settings_rule="validation",
    )  # fmt: skip
    assert set(made.scores) == {"mpjpe_mm", "pa_mpjpe_mm", "pck_100", "action_mean_mpjpe_mm"}
    assert made.intervals.keys() == {"mpjpe_mm", "pa_mpjpe_mm", "pck_100"}
    assert supervision_name(made) == "partial, 6 joints"
    assert supervision_name(entry(joints=1, supervision="partial")) == "partial, 1 joint"
    assert made.provenance.sample_list_digest == "a" * 64
    assert made.provenance.checkpoint_sha256 == "f" * 64
    assert made.provenance.versions["numpy"] == np.__version__
    assert made.flags.training_data == (SOURCE,)
    assert (made.flags.reference, made.flags.box_rule, made.flags.selection_rule) == ("root-given", "joints", "oracle")
    assert made.flags.settings_rule == "validation"
    with pytest.raises(ArtefactError, match=r"settings_rule: Input should be 'not stated', 'published'"):
        entry(settings_rule="guessed")
    assert (made.samples, made.unanswered, made.undefined) == (12, 0, {})


def test_an_entry_does_not_tell_its_makers_folders() -> None:
    made = entry(
        command="kt3d train --data /home/jane/data",
        run={"config": {"data_root": "/home/jane/data"}},
        settings={"weights": "/home/jane/r50.pth", "sizes": (1, 2)},
    )
    assert made.provenance.command == "kt3d train --data data"
    assert made.provenance.run == {"config": {"data_root": "data"}}
    assert made.settings == {"weights": "r50.pth", "sizes": [1, 2]}
    assert made.identity == entry(settings={"weights": "/mnt/r50.pth", "sizes": (1, 2)}).identity
    assert entry(run={"config": "odd"}).provenance.run == {"config": "odd"}


def test_the_test_datas_origin_decides_the_board() -> None:
    assert entry(origin="official").board == "toy-test"
    assert entry(origin="generated").board == "generated/toy-test"


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    made = entry()
    path = write_entry(tmp_path, made)
    assert path == tmp_path / "generated" / "toy-test" / "entries" / made.file_name
    assert made.file_name == f"floor-{made.identity}.json"
    assert read_entry(path) == made
    assert path.read_bytes() == encode_entry(entry())
    assert list(json.loads(path.read_text())) == sorted(json.loads(path.read_text()))


def test_a_rerun_replaces_its_own_entry_and_no_other(tmp_path: Path) -> None:
    first = write_entry(tmp_path, entry(noise_mm=50))
    other = write_entry(tmp_path, entry(seed=2))
    again = write_entry(tmp_path, entry(noise_mm=20, command="another machine"))
    assert again == first
    assert other != first
    found = read_entries(first.parent.parent)
    assert len(found) == 2
    assert {one.provenance.command for one in found} == {"", "another machine"}


@pytest.mark.parametrize(
    "change",
    [{"method": "other"}, {"supervision": "full"}, {"seed": None}, {"joints": 3}, {"settings": {"weight": 0.5}}],
)
def test_whatever_makes_another_result_makes_another_identity(change: dict[str, Any]) -> None:
    assert entry(**change).identity != entry().identity


@pytest.mark.parametrize("change", [{"title": "Better name"}, {"wall_seconds": 3.0}, {"noise_mm": 5.0}])
def test_what_describes_the_same_result_does_not(change: dict[str, Any]) -> None:
    assert entry(**change).identity == entry().identity


def test_an_entry_carries_what_a_board_needs_to_compare_and_break_down() -> None:
    made = entry()
    assert made.clips.samples == (4, 4, 4)
    assert made.clips.names_sha256 == hashlib.sha256(b"a\nb\nc").hexdigest()
    for metric, means in made.clips.means.items():
        assert np.average(means, weights=made.clips.samples) == pytest.approx(made.scores[metric], abs=1e-4)
    assert set(made.clips.means) == {"mpjpe_mm", "pa_mpjpe_mm", "pck_100"}
    assert len(made.breakdown.pck_curve) == 31
    assert made.breakdown.pck_curve[20] == pytest.approx(made.scores["pck_100"], abs=1e-4)
    assert set(made.breakdown.by_action) == {"a", "b", "c"}
    assert made.breakdown.by_joint["hip"]["mpjpe_mm"] == 0.0
    assert made.provenance.metric_code_sha256 == metric_code_sha256()
    assert made.provenance.protocol_digest == protocol_digest(BENCHMARK)
    assert made.interval_rule == "expanded-percentile"


def test_numbers_in_a_row_stay_on_one_line_and_read_back(tmp_path: Path) -> None:
    made = entry()
    text = encode_entry(made).decode()
    assert '"samples": [ 4, 4, 4 ]' in text
    assert max(map(len, text.splitlines())) > 200
    assert json.loads(text)["clips"]["samples"] == [4, 4, 4]
    assert read_entry(write_entry(tmp_path, made)) == made


def test_what_came_later_is_left_out_where_it_says_nothing() -> None:
    made = entry()
    bare = made.model_copy(update={
        "clips": None, "breakdown": None, "interval_rule": "percentile", "degenerate": {},
        "provenance": made.provenance.model_copy(update={"metric_code_sha256": None, "protocol_digest": None}),
    })  # fmt: skip
    document = json.loads(encode_entry(bare))
    assert not {"clips", "breakdown", "interval_rule", "degenerate"} & set(document)
    assert not {"metric_code_sha256", "protocol_digest", "submission"} & set(document["provenance"])
    assert not {"also_reads", "settings_rule"} & set(document["flags"])
    assert Entry.model_validate(document) == bare


def test_undefined_numbers_are_null_and_counted(tmp_path: Path) -> None:
    made = entry(holes=2)
    assert made.unanswered == 2
    assert made.undefined == {"mpjpe_mm": 2, "pa_mpjpe_mm": 2}
    nothing = entry(absent=2)
    assert nothing.scores["mpjpe_mm"] is None
    assert nothing.scores["pck_100"] == 0.0
    assert nothing.degenerate == {"a counted joint without a finite answer": 12}
    assert read_entry(write_entry(tmp_path, nothing)) == nothing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "../escape"}, "method"),
        ({"method": ""}, "method"),
        ({"wall_seconds": float("nan")}, "wall_seconds"),
        ({"settings": {"x": object()}}, "settings cannot be stored as JSON"),
        ({"settings": {"x": float("nan")}}, "settings cannot be stored as JSON"),
        ({"run": {"rate": float("inf")}}, "run cannot be stored as JSON"),
        ({"checkpoint": "abc"}, "checkpoint: Extra"),
        ({"joints": -1}, "joints"),
    ],
)
def test_what_cannot_be_stored_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        entry(**change)


def test_tuples_are_stored_as_lists(tmp_path: Path) -> None:
    made = entry(settings={"sizes": (1, 2)}, run={"stages": ({"steps": 3},)})
    assert made.settings == {"sizes": [1, 2]}
    assert read_entry(write_entry(tmp_path, made)) == made


def test_entries_are_frozen() -> None:
    with pytest.raises(ValidationError):
        entry().method = "x"  # type: ignore[misc]


def changed(made: Entry, change: Any) -> str:
    document = json.loads(encode_entry(made))
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(rank=1), "rank: Extra inputs"),
        (lambda d: d["flags"].update(honest=True), "flags.honest: Extra inputs"),
        (lambda d: d["provenance"].pop("labels_digest"), "provenance.labels_digest: Field required"),
        (lambda d: d.pop("scores"), "scores: Field required"),
        (lambda d: d["scores"].update(accuracy=1.0), "unknown metric 'accuracy'"),
        (lambda d: d["scores"].update(mpjpe_mm="low"), "scores.mpjpe_mm"),
        (lambda d: d.update(samples=-3), "samples"),
        (lambda d: d.update(format_version=2), "format_version"),
        (lambda d: d.update(origin="real"), "origin"),
        (lambda d: d.update(benchmark="../../etc"), "benchmark"),
        (lambda d: d["settings"].update(x=float("nan")), "is not readable JSON"),
        (lambda d: d["intervals"].update(mpjpe_mm=[1.0]), "intervals.mpjpe_mm"),
        (lambda d: d["clips"]["samples"].append(4), "has 3 values for 4 clips"),
        (lambda d: d["clips"]["means"].update(accuracy=[1, 2, 3]), "unknown metric 'accuracy'"),
        (lambda d: d["clips"].update(names_sha256="short"), "clips.names_sha256"),
        (lambda d: d["breakdown"]["pck_curve"].pop(), "breakdown.pck_curve"),
        (lambda d: d["provenance"].update(metric_code_sha256="no"), "provenance.metric_code_sha256"),
        (lambda d: d.update(interval_rule="guess"), "interval_rule"),
    ],
)
def test_broken_entries_are_refused_with_file_and_field(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(changed(entry(), change))
    with pytest.raises(ArtefactError, match=message) as caught:
        read_entry(path)
    assert caught.value.where == str(path)
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000])
def test_files_that_are_no_entry(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"x\.json"):
        read_entry(path)


@pytest.mark.parametrize("place", ["settings", "title", "run", "command"])
def test_text_that_cannot_be_encoded_is_refused(tmp_path: Path, place: str) -> None:
    """JSON may name half of a surrogate pair, which no file and no terminal takes; of a path, it is written out."""
    path = write_entry(tmp_path, entry())
    half = "\ud800"

    def change(document: Any) -> None:
        target = document["provenance"] if place in ("run", "command") else document
        target[place] = {"a": half} if place in ("run", "settings") else half

    path.write_text(changed(entry(), change))
    with pytest.raises(ArtefactError, match=r"\.json: is not readable JSON \(.*hex escape") as caught:
        read_entries(path.parent.parent)
    caught.value.message.encode()
    assert entry(settings={"a": half}).settings == {"a": r"\ud800"}


def test_a_file_far_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_bench.leaderboard.entries._MAX_BYTES", 100)
    with pytest.raises(ArtefactError, match="it is larger than"):
        read_entry(write_entry(tmp_path, entry()))


def test_an_entry_lies_under_its_own_name_on_its_own_board(tmp_path: Path) -> None:
    path = write_entry(tmp_path, entry())
    moved = path.with_name("floor-better.json")
    path.rename(moved)
    with pytest.raises(ArtefactError, match=f"holds the entry {path.name}"):
        read_entries(path.parent.parent)
    moved.rename(path)
    real = tmp_path / "toy-test" / "entries"
    real.mkdir(parents=True)
    (real / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ArtefactError, match="belongs on the board 'generated/toy-test'"):
        read_entries(real.parent)


def test_all_boards_are_found(tmp_path: Path) -> None:
    write_entry(tmp_path, entry())
    write_entry(tmp_path, entry(origin="official"))
    (tmp_path / "notes").mkdir()
    assert {board: len(found) for board, found in read_boards(tmp_path).items()} == {
        "generated/toy-test": 1,
        "toy-test": 1,
    }
    assert read_boards(tmp_path / "nowhere") == {}
    assert read_entries(tmp_path / "notes") == ()


def test_versions_are_read_without_importing() -> None:
    found = installed_versions(["numpy", "no-such-library"])
    assert found == {"python": platform.python_version(), "numpy": np.__version__}


def test_paths_that_are_no_utf8_are_written_out() -> None:
    from kt3d_bench.leaderboard.entries import _json

    assert _json({"folder": "a\udcff\\b", "n": [1]}, "run") == {"folder": "a\\udcff\\b", "n": [1]}
