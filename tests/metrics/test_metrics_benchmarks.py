"""Benchmark and published files: what is read, what is refused, and the ones this repository defines."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from kt3d_bench.errors import ArtefactError, PluginError
from kt3d_bench.metrics.benchmarks import (
    all_benchmarks,
    protocol_digest,
    read_benchmarks,
    read_published,
)

DATASETS = Path(__file__).parents[2] / "datasets"
GOOD = {
    "id": "toy-test",
    "version": 2,
    "title": "Toy",
    "dataset": "toy",
    "split": "test",
    "modality": "depth",
    "headline": ["mpjpe_mm"],
    "root": None,
    "reference": "from-depth",
    "box_rule": "mask",
    "sees": "the crop",
}


def folder(tmp_path: Path, *entries: object, name: str = "a") -> Path:
    place = tmp_path / name
    place.mkdir()
    (place / "benchmarks.yaml").write_text(yaml.safe_dump({"benchmarks": [copy.deepcopy(entry) for entry in entries]}))
    return place


def test_defaults_and_lists(tmp_path: Path) -> None:
    [toy] = read_benchmarks(folder(tmp_path, GOOD | {"beside": ["pck_100"], "joints": [0, 3, 6]}))
    assert toy.joints == (0, 3, 6)
    assert toy.metrics == ("mpjpe_mm", "pck_100")
    assert (toy.root, toy.selection_rule, toy.action_mean, toy.footnotes) == (None, "last", False, ())
    assert (toy.train, toy.foreground, toy.original_joints) == (None, "given", ())
    [everything] = read_benchmarks(folder(tmp_path, GOOD | {"joints": "all"}, name="b"))
    assert everything.joints == tuple(range(17))


def test_the_protocol_digest_changes_with_the_meaning_alone(tmp_path: Path) -> None:
    [toy] = read_benchmarks(folder(tmp_path, GOOD))
    for same in ({"title": "Better"}, {"footnotes": ("Said.",)}, {"beside": ("pck_100",)}, {"train": "train"},
                 {"sample_list_digest": "a" * 64}, {"samples": 9}, {"frames_every": 64}):  # fmt: skip
        assert protocol_digest(replace(toy, **same)) == protocol_digest(toy)
    for other in ({"version": 3}, {"root": 0}, {"joints": (1, 2)}, {"box_rule": "joints"}, {"sees": "all"},
                  {"min_quality": "exact"}, {"reference": "root-given"}):  # fmt: skip
        assert protocol_digest(replace(toy, **other)) != protocol_digest(toy)


def test_frames_that_are_multiples_count(tmp_path: Path) -> None:
    [toy] = read_benchmarks(folder(tmp_path, GOOD))
    frames = np.array([59, 64, 69, 0, 128])
    assert list(toy.scored(frames)) == [0, 1, 2, 3, 4]
    assert list(replace(toy, frames_every=64).scored(frames)) == [1, 3, 4]
    with pytest.raises(
        ArtefactError, match="toy/test: none of the 2 frames is one that benchmark 'toy-test' scores: mu"
    ):
        replace(toy, frames_every=10).scored(frames[:2])


def test_a_folder_without_the_file_has_none(tmp_path: Path) -> None:
    assert read_benchmarks(tmp_path) == ()
    assert read_published(tmp_path) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heading": ["mpjpe_mm"]}, r"toy-test: unknown field 'heading', did you mean 'headline'\?"),
        ({"id": "Toy Test"}, "id is .*expected lower-case letters, digits and '-'"),
        ({"id": "../x"}, "id is .*expected lower-case letters, digits and '-'"),
        ({"version": 0}, "version is .*expected (at least 1|a whole number)"),
        ({"version": True}, "version is .*expected (at least 1|a whole number)"),
        ({"root": 17}, "root is 17 .int.: expected at most 16"),
        ({"title": 3}, "title is 3 .int.: expected text"),
        ({"modality": "ir"}, "modality is 'ir' .str.: known names: depth, rgb"),
        ({"reference": "given"}, r"reference is 'given' .str.: did you mean 'root-given'\?"),
        ({"box_rule": "guess"}, "box_rule is 'guess' .str.: known names: detector, joints, mask"),
        ({"selection_rule": "best"}, "selection_rule is 'best'"),
        ({"min_quality": "absent"}, "min_quality is 'absent'"),
        ({"headline": "mpjpe_mm"}, "headline is 'mpjpe_mm' .str.: expected a list"),
        ({"headline": []}, r"headline is \[\] .list.: expected at least one"),
        ({"headline": ["mpjpe"]}, r"headline.0 is 'mpjpe' .str.: did you mean 'mpjpe_mm'\?"),
        ({"beside": ["mpjpe_mm"]}, "a metric is named twice"),
        ({"joints": []}, r"joints is \[\] .list.: expected at least one"),
        ({"joints": [0, 0]}, "joints is .*expected different ones"),
        ({"joints": [17]}, "joints.0 is 17 .int.: expected at most 16"),
        ({"joints": 18446744073709551616}, "joints is 18446744073709551616 .int.: expected a list"),
        ({"original_joints": [1, [[]]]}, r"original_joints.1 is \[\[\]\] .list.: expected a whole number"),
        ({"version": float("inf")}, "version is inf .float.: expected a whole number"),
        ({5: "x"}, "5 is 5 .int."),
        ({"original_joints": [17]}, "original_joints.0 is 17"),
        ({"original_joints": [1, 1]}, "original_joints is .*expected different ones"),
        ({"original_joints": 3}, "original_joints is 3 .int.: expected a list"),
        ({"beside": ["map_100"]}, "the metric 'map_100' needs 'original_joints'"),
        ({"train": 3}, "train is 3 .int.: expected text"),
        ({"train": "test"}, "'train' must be another split than 'split'"),
        ({"sample_list_digest": "abc"}, "sample_list_digest is 'abc' .str.: expected 64 hexadecimal digits"),
        ({"samples": 0}, "samples is 0 .int.: expected at least 1"),
        ({"frames_every": 0}, "frames_every is 0 .int.: expected at least 1"),
        ({"foreground": None}, "foreground is None .NoneType.: expected text"),
        ({"foreground": ""}, "foreground is '' .str.: expected text"),
    ],
)
def test_wrong_fields_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    place = folder(tmp_path, GOOD | changes)
    with pytest.raises(PluginError, match=message) as caught:
        read_benchmarks(place)
    assert caught.value.where == str(place / "benchmarks.yaml")


def test_all_problems_of_all_benchmarks_are_said_at_once(tmp_path: Path) -> None:
    short = {name: value for name, value in GOOD.items() if name != "sees"}
    place = folder(tmp_path, short, GOOD | {"id": "other", "version": -1, "root": "hip"}, 7)
    with pytest.raises(PluginError) as caught:
        read_benchmarks(place)
    for part in (
        "toy-test: the field 'sees' is missing",
        "other: version is -1",
        "other: root is 'hip'",
        "number 3: expected a mapping",
    ):
        assert part in caught.value.message


def test_one_id_twice(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="the id 'toy-test' is used twice"):
        read_benchmarks(folder(tmp_path, GOOD, GOOD))
    with pytest.raises(PluginError, match=r"which .* defines too"):
        all_benchmarks([folder(tmp_path, GOOD, name="b"), folder(tmp_path, GOOD, name="c")])


@pytest.mark.parametrize(
    "text", ["benchmarks: [", "- 1", "benchmarks: 3", "benchmarks: []\nmore: 1", "!!python/name:os.x"]
)
def test_a_file_that_is_not_the_format(tmp_path: Path, text: str) -> None:
    (tmp_path / "benchmarks.yaml").write_text(text)
    with pytest.raises(PluginError, match=r"benchmarks\.yaml"):
        read_benchmarks(tmp_path)


def test_benchmarks_keep_the_order_of_their_file(tmp_path: Path) -> None:
    known = all_benchmarks([folder(tmp_path, GOOD | {"id": "zebra"}, GOOD)])
    assert list(known) == ["zebra", "toy-test"]


PUBLISHED = {
    "sources": {"x2020": "X, a paper, 2020"},
    "published": {
        "toy-test": {"source": "x2020", "rows": [{"method": "M", "scores": {"mpjpe_mm": 3, "pck_100": None}}]}
    },
}


def test_published_rows(tmp_path: Path) -> None:
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(PUBLISHED))
    (found,) = read_published(tmp_path).values()
    assert found.benchmark == "toy-test"
    assert found.source == "X, a paper, 2020"
    assert found.rows[0].scores == {"mpjpe_mm": 3.0, "pck_100": None}
    assert (found.rows[0].source, found.rows[0].protocol_text) == ("", "protocol not known")


def test_a_row_has_a_source_and_a_protocol_of_its_own(tmp_path: Path) -> None:
    rows = [
        {"method": "M", "scores": {}, "source": "x2020", "protocol": "true 2D", "comparable": False},
        {"method": "M", "scores": {}, "comparable": False},
    ]
    block = {"source": "x2020", "where": "Table 2", "rows": rows, "ablation": copy.deepcopy(rows[:1])}
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(PUBLISHED | {"published": {"toy-test": block}}))
    found = read_published(tmp_path)["toy-test"]
    assert [row.source for row in (*found.rows, *found.ablation)] == ["X, a paper, 2020", "", "X, a paper, 2020"]
    assert [row.protocol_text for row in found.rows] == [
        "not comparable: true 2D",
        "not comparable: protocol not known",
    ]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"source": "y", "rows": []}, "published.toy-test: source is 'y', .*x2020"),
        (
            {"source": "x2020", "rows": [{"method": "M", "scores": {}, "source": "z"}]},
            "toy-test: source is 'z', .*x2020",
        ),
        ({"source": "x2020"}, "the field 'published.toy-test.rows' is missing"),
        (
            {"source": "x2020", "rows": [], "row": 1},
            r"unknown field 'row' in .*toy-test, did you mean 'rows'\?",
        ),
        (
            {"source": "x2020", "rows": [{"method": "M", "scores": {"mpjpe": 1}}]},
            "scores.name 'mpjpe' .* did you mean 'mpjpe_mm'",
        ),
        (
            {"source": "x2020", "rows": [{"method": "M", "scores": {"mpjpe_mm": "low"}}]},
            "scores.mpjpe_mm is 'low' .str.",
        ),
        (
            {"source": "x2020", "rows": [{"method": "M", "scores": {}, "mpjpe_mm": 1}]},
            "unknown field 'mpjpe_mm' in published.toy-test.rows.0",
        ),
        ({"source": "x2020", "rows": [3]}, "rows.0 is 3 .int.: expected a mapping"),
        (3, "published.toy-test is 3 .int.: expected a mapping"),
        ({"source": "x2020", "rows": [{"method": "M", "scores": {}, "cite": float("inf")}]}, "rows.0.cite is inf"),
        ({"source": "x2020", "rows": [{"method": "M", "scores": {"mpjpe_mm": float("nan")}}]}, "mpjpe_mm is nan"),
        ({"source": ["x2020"], "rows": []}, r"source is \['x2020'\] .list.: expected text"),
    ],
)
def test_wrong_published_blocks_are_refused(tmp_path: Path, block: object, message: str) -> None:
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(PUBLISHED | {"published": {"toy-test": block}}))
    with pytest.raises(PluginError, match=message) as caught:
        read_published(tmp_path)
    assert caught.value.where == str(tmp_path / "published.yaml")


def folders() -> list[Path]:
    return sorted(path.parent for path in DATASETS.glob("*/benchmarks.yaml"))


def test_this_repositorys_benchmarks() -> None:
    known = all_benchmarks(folders())
    assert {"h36m-s9s11-64", "ubc3v-hard"} <= set(known)
    studio = known["h36m-s9s11-64"]
    assert (studio.root, studio.reference, studio.box_rule, studio.action_mean) == (0, "root-given", "joints", True)
    assert studio.headline == ("mpjpe_mm", "pa_mpjpe_mm")
    synthetic = known["ubc3v-hard"]
    assert (synthetic.root, synthetic.reference) == (None, "from-depth")
    assert synthetic.headline == ("mpjpe_mm", "pck_100")
    for benchmark in known.values():
        assert benchmark.joints == tuple(range(17))


def test_reported_rows_as_the_paper_prints_them() -> None:
    tables = {name: block for place in folders() for name, block in read_published(place).items()}
    studio, synthetic = tables["h36m-s9s11-64"], tables["ubc3v-hard"]
    own = [row for row in studio.rows if not row.source]
    assert (len(own), len(synthetic.rows), len(synthetic.ablation)) == (27, 4, 4)
    levels = {row.supervision: row.scores for row in studio.rows if row.method == "knowledge transfer"}
    assert levels["none"] == {"mpjpe_mm": 78.5, "pa_mpjpe_mm": 68.9}
    assert levels["partial"] == {"mpjpe_mm": 55.2, "pa_mpjpe_mm": 45.2}
    assert levels["full"] == {"mpjpe_mm": 46.3, "pa_mpjpe_mm": 36.1}
    assert len(levels) == 7
    assert sum(row.scores["mpjpe_mm"] for row in studio.rows if row.cite) == pytest.approx(1626.3)
    assert not any(row.comparable for row in tables["itop-front"].rows + tables["itop-top"].rows if not row.source)
    assert any("72.5" in note for note in studio.notes)
    assert [row.scores["mpjpe_mm"] for row in synthetic.rows] == [56.4, 23.6, 17.3, 19.0]
    assert [row.scores["mpjpe_mm"] for row in synthetic.ablation] == [19.06, 21.34, 27.11, 30.48]
