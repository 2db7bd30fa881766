"""Which rows share a rank, and how runs that differ in their seed become one row."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kt3d_bench.leaderboard.entries import Clips, Entry, Flags, Provenance, encode_entry
from kt3d_bench.leaderboard.publish import _facts_of_run
from kt3d_bench.leaderboard.ranking import TRACKS, Row, difference, ranked_groups
from kt3d_bench.leaderboard.tables import board_markdown, index_markdown
from kt3d_bench.metrics.benchmarks import Benchmark

BENCHMARK = Benchmark(
    id="toy-test", version=2, title="Toy set", dataset="toy", split="test", modality="rgb", headline=("mpjpe_mm",),
    beside=("pck_100",), root=0, reference="root-given", box_rule="joints", sees="the crop", sample_list_digest="a",
)  # fmt: skip
CLIPS = 24
HARD = np.random.default_rng(0).normal(100, 25, CLIPS)
"""How hard each clip is for everybody."""
SIZES = tuple(int(size) for size in np.random.default_rng(1).integers(3, 30, CLIPS))


def entry(method: str, means: np.ndarray | None, *, value: float | None = None, **changes: Any) -> Entry:
    """An entry whose headline value is the mean of its clips' ``means``."""
    clips = None
    if means is not None:
        clips = Clips(names_sha256=changes.pop("names", "f" * 64), samples=SIZES, means={"mpjpe_mm": tuple(means)})
        value = float(np.average(means, weights=SIZES))
    whole: dict[str, Any] = {
        "benchmark": "toy-test", "benchmark_version": 2, "origin": "official", "method": method, "supervision": "none",
        "scores": {"mpjpe_mm": value, "pck_100": 50.0}, "intervals": {"mpjpe_mm": (1.0, 2.0)}, "samples": sum(SIZES),
        "clips": clips, "interval_rule": "expanded-percentile", "seed": 0,
        "provenance": Provenance(sample_list_digest="a", labels_digest="b", metric_version=1),
        "flags": Flags(target_labels_seen="none", training_data=(), reference="root-given", box_rule="joints",
                       selection_rule="last"),
    }  # fmt: skip
    return Entry(**(whole | changes))


def noise(seed: int, size_mm: float) -> np.ndarray:
    return np.random.default_rng(100 + seed).normal(0, size_mm, CLIPS)


def rows(*entries: Entry) -> tuple[Row, ...]:
    [group] = ranked_groups(entries, BENCHMARK)
    return group.rows


def shown(*entries: Entry) -> list[tuple[int | None, str, bool]]:
    return [(row.rank, row.entry.method, row.tied) for row in rows(*entries)]


def test_rows_that_cannot_be_told_apart_share_a_rank() -> None:
    best, near = entry("best", HARD), entry("near", HARD + 0.5 + noise(1, 6))
    worse, same = entry("worse", HARD + 12 + noise(2, 6)), entry("same", HARD + 13 + noise(3, 6))
    found = {method: (rank, tied) for rank, method, tied in shown(worse, near, same, best)}
    assert found == {"best": (1, True), "near": (1, True), "worse": (3, True), "same": (3, True)}


def test_pairing_tells_apart_what_overlapping_intervals_do_not() -> None:
    assert shown(entry("best", HARD), entry("other", HARD + 4 + noise(1, 3))) == [
        (1, "best", False), (2, "other", False),
    ]  # fmt: skip


def test_ties_are_with_the_first_of_the_rank_not_with_a_neighbour() -> None:
    """Each step is too small to see, the whole stair is not."""
    stairs = [entry(f"step{step}", HARD + 1.2 * step + noise(step, 4)) for step in range(8)]
    found = shown(*stairs)
    assert found[0][0] == 1
    assert found[-1][0] > 1
    assert [rank for rank, _, _ in found] == sorted(rank for rank, _, _ in found)


@pytest.mark.parametrize(
    "other",
    [
        entry("other", None, value=101.0),
        entry("other", HARD + 1, names="e" * 64),
        entry("other", HARD + 1).model_copy(
            update={"clips": Clips(names_sha256="f" * 64, samples=(9, *SIZES[1:]), means={"mpjpe_mm": tuple(HARD + 1)})}
        ),
        entry("other", HARD + 1).model_copy(update={"clips": Clips(names_sha256="f" * 64, samples=SIZES, means={})}),
    ],
)
def test_rows_that_cannot_be_compared_clip_by_clip_have_no_rank(other: Entry) -> None:
    best = entry("best", HARD)
    assert difference(Row(None, (best,)), Row(None, (other,)), "mpjpe_mm") is None
    assert shown(best, other) == [(1, "best", False), (None, "other", False)]


def test_a_test_set_of_few_clips_ranks_nothing_and_says_why() -> None:
    def short(method: str, value: float, count: int) -> Entry:
        clips = Clips(names_sha256="f" * 64, samples=(3,) * count, means={"mpjpe_mm": (value,) * count})
        return entry(method, None, value=value, clips=clips)

    [few] = ranked_groups([short("a", 50.0, 5), short("b", 90.0, 5)], BENCHMARK)
    assert [(row.rank, row.entry.method) for row in few.rows] == [(None, "a"), (None, "b")]
    assert few.unranked == "the test set has 5 clips, and a paired test needs 6"
    [enough] = ranked_groups([short("a", 50.0, 6), short("b", 90.0, 6)], BENCHMARK)
    assert [row.rank for row in enough.rows] == [1, 2]


@pytest.mark.parametrize(
    ("seen", "track"),
    [("none", "none"), ("partial-2d", "some"), ("full-3d", "some"), ("a few", "some"), ("full", "all"),
     ("full (source is the same dataset)", "all"), ("not stated", "not stated")],
)  # fmt: skip
def test_rows_are_ranked_within_their_track(seen: str, track: str) -> None:
    flags = entry("m", HARD).flags.model_copy(update={"target_labels_seen": seen})
    found = rows(entry("first", HARD), entry("second", HARD + 20), entry("other", HARD - 20, flags=flags))
    assert {row.entry.method: (row.track, row.rank) for row in found} == {
        "first": ("none", 1 if track != "none" else 2),
        "second": ("none", 2 if track != "none" else 3),
        "other": (track, 1),
    }
    [group] = ranked_groups([one for row in found for one in row.entries], BENCHMARK)
    assert [name for name, _ in group.tracks] == sorted({"none", track}, key=TRACKS.index)


def test_the_board_says_when_rows_were_not_tested() -> None:
    said = "Not ranked: b; its entry holds no values per clip, so that no paired test is possible."
    tested = board_markdown("toy-test", BENCHMARK, [entry("a", HARD), entry("b", HARD + 9)])
    assert said not in tested
    assert said in board_markdown("toy-test", BENCHMARK, [entry("a", HARD), entry("b", None, value=500.0)])
    old = entry("a", None, value=500.0, interval_rule="percentile")
    assert "plain percentiles" in board_markdown("toy-test", BENCHMARK, [old])
    assert "plain percentiles" not in tested


def test_seeds_of_one_configuration_are_one_row() -> None:
    seeds = [entry("m", HARD + shift + noise(seed, 2), seed=seed) for seed, shift in ((2, 3.0), (0, -3.0), (1, 0.0))]
    found = rows(*seeds, entry("n", HARD + 40))
    assert [len(row.entries) for row in found] == [3, 1]
    row = found[0]
    values = [one.scores["mpjpe_mm"] for one in seeds]
    assert row.seeds == (0, 1, 2)
    assert row.value("mpjpe_mm") == pytest.approx(np.mean(values))
    assert row.spread("mpjpe_mm") == pytest.approx(np.std(values, ddof=1))
    low, high = row.interval("mpjpe_mm")
    assert low < row.value("mpjpe_mm") < high
    assert found[1].interval("mpjpe_mm") == (1.0, 2.0)
    assert found[1].spread("mpjpe_mm") is None
    text = board_markdown("toy-test", BENCHMARK, [*seeds, entry("n", HARD + 40)])
    cell = f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} [{low:.1f}, {high:.1f}]"
    assert f"| 1 | m (3 seeds) | none | none | not stated | {cell} | 50.0 ± 0.0 | 0, 1, 2 |" in text
    assert "±: standard deviation over the seeds" in text


@pytest.mark.parametrize(
    "change",
    [{"supervision": "full"}, {"settings": {"a": 1}}, {"joints": 3}, {"title": "x"}, {"seed": None},
     {"provenance": Provenance(sample_list_digest="a", labels_digest="b", metric_version=1,
                               run={"method_config": {"steps": 9}})}],
)  # fmt: skip
def test_whatever_else_differs_makes_another_row(change: dict[str, Any]) -> None:
    assert len(rows(entry("m", HARD), entry("m", HARD + 1, **({"seed": 1} | change)))) == 2


def test_a_run_that_held_samples_out_is_another_row() -> None:
    config = {"method": "m", "preset": "tiny", "supervision": "none", "settings": {"side": 16}, "seed": 0}
    plain, whole, held = (
        _facts_of_run({"config": config | more, "shards": {}})["settings"]
        for more in ({}, {"hold_out": 0.0}, {"hold_out": 0.5})
    )
    assert plain == whole == {"preset": "tiny", "side": 16}
    assert held == {**plain, "hold_out": 0.5}
    one, other = entry("m", HARD, settings=whole), entry("m", HARD + 1, settings=held)
    assert one.file_name != other.file_name
    assert len(rows(one, other)) == 2


def trained_on(seed: int, **source: Any) -> Entry:
    """The entry of a run whose ``run.yaml`` records this source."""
    config = {"method": "m", "preset": "tiny", "supervision": "none", "settings": {}, "seed": seed}
    shards = {"dataset": "clean", "origin": "generated", **source}
    facts = _facts_of_run({"config": config, "shards": {"source": shards}})
    made = entry("m", HARD + seed, seed=seed)
    return made.model_copy(
        update={"flags": made.flags.model_copy(update={"training_data": tuple(facts["training_data"])})}
    )


def stream(version: int, seed: int) -> dict[str, Any]:
    digest = f"{version}{seed}" * 32
    return {"manifest_digest": digest, "split_digest": digest, "stream": {"version": version, "seed": seed}}


@pytest.mark.parametrize(
    ("one", "other", "folds"),
    [
        ({"split_digest": "s", "manifest_digest": "a"}, {"split_digest": "s", "manifest_digest": "b"}, True),
        ({"split_digest": "s", "manifest_digest": "a"}, {"split_digest": "t", "manifest_digest": "a"}, False),
        ({"split_digest": "", "manifest_digest": "a"}, {"manifest_digest": "a"}, True),
        ({"manifest_digest": "a"}, {"manifest_digest": "b"}, False),
        (stream(2, seed=0), stream(2, seed=1), True),
        (stream(2, seed=0), stream(3, seed=1), False),
        (stream(2, seed=0), {"manifest_digest": "a"}, False),
    ],
)
def test_seeds_fold_by_the_split_that_they_read(one: dict[str, Any], other: dict[str, Any], folds: bool) -> None:
    """A split added to the source's shards changes their manifest only; a stream's seed is the run's."""
    first, second = trained_on(0, **one), trained_on(1, **other)
    assert len(rows(first, second)) == (1 if folds else 2)
    assert Entry.model_validate_json(encode_entry(first)) == first
    (written,) = json.loads(encode_entry(first))["flags"]["training_data"]
    assert None not in written.values()


def test_the_spread_over_seeds_is_part_of_the_comparison() -> None:
    """Clip by clip the rows differ clearly; their seeds scatter more than they differ."""
    apart = [entry("one", HARD + shift, seed=seed) for seed, shift in enumerate((-0.1, 0.0, 0.1))]
    other = [entry("two", HARD + 3 + noise(7, 1) + shift, seed=seed) for seed, shift in enumerate((-0.1, 0.0, 0.1))]
    assert [row.rank for row in rows(*apart, *other)] == [1, 2]
    wild = [entry("two", HARD + 3 + noise(7, 1) + shift, seed=seed) for seed, shift in enumerate((-9.0, 0.0, 9.0))]
    assert [row.rank for row in rows(*apart, *wild)] == [1, 1]


def test_a_seed_without_every_answer_keeps_the_row_from_being_ranked() -> None:
    found = rows(entry("m", HARD), entry("m", HARD, seed=1, unanswered=2), entry("n", HARD + 9))
    assert [(row.rank, row.entry.method) for row in found] == [(1, "n"), (None, "m")]
    text = board_markdown("toy-test", BENCHMARK, [entry("m", HARD), entry("m", HARD, seed=1, unanswered=2)])
    assert "m (2 seeds, 2 unanswered)" in text


def test_samples_that_drop_out_of_the_mean_cost_the_rank() -> None:
    """Truth without enough joints costs nobody anything; a pose that cannot be aligned costs its own row the rank."""
    best = entry("collapsed", HARD - 30, undefined={"mpjpe_mm": 3}, degenerate={"all joints in one point": 2})
    other = entry("whole", HARD, undefined={"mpjpe_mm": 1})
    assert [(row.rank, row.entry.method) for row in rows(best, other)] == [(1, "whole"), (None, "collapsed")]
    assert [row.rank for row in rows(other, entry("also", HARD + 20, undefined={"mpjpe_mm": 1}))] == [1, 2]
    text = board_markdown("toy-test", BENCHMARK, [best, other])
    assert "Predictions of collapsed that are no poses: all joints in one point in 2 samples." in text
    assert "Not ranked: collapsed; its headline value is undefined for samples where other rows' is not." in text


def test_a_checkpoint_chosen_by_the_targets_labels_costs_the_rank() -> None:
    flags = entry("m", HARD).flags.model_copy(update={"selection_rule": "oracle"})
    found = rows(entry("peeked", HARD - 30, flags=flags), entry("blind", HARD))
    assert [(row.rank, row.entry.method) for row in found] == [(1, "blind"), (None, "peeked")]
    text = board_markdown("toy-test", BENCHMARK, [entry("peeked", HARD - 30, flags=flags)])
    assert "Not ranked: peeked; its checkpoint was chosen by the target's labels." in text
    assert "Checkpoint selection 'oracle': peeked." in text


def test_ties_are_shown() -> None:
    entries = [entry("best", HARD), entry("near", HARD + 0.5 + noise(1, 6)), entry("worse", HARD + 30)]
    text = board_markdown("toy-test", BENCHMARK, entries)
    assert "| 1= | best |" in text
    assert "| 1= | near |" in text
    assert "| 3 | worse |" in text
    assert "= after a rank" in text
    best = entries[0].scores["mpjpe_mm"]
    assert f"best {best:.1f} mm MPJPE, not told apart from 1 other row." in index_markdown(
        {"toy-test": entries}, {"toy-test": BENCHMARK}
    )


def test_a_row_that_reads_more_than_the_benchmarks_images_says_so() -> None:
    flags = entry("m", HARD).flags.model_copy(update={"also_reads": ("foreground",)})
    told = entry("m", HARD, flags=flags)
    text = board_markdown("toy-test", BENCHMARK, [told, entry("m", HARD + 1), entry("n", HARD + 2, seed=None)])
    assert "| m (also reads motion foreground) |" in text
    assert "| m |" in text
    assert "Not ranked: m (also reads motion foreground); it reads more than the benchmark gives." in text
    assert [(row.entry.flags.also_reads, row.rank) for row in rows(told, entry("m", HARD + 1, seed=1))] == [
        ((), 1), (("foreground",), None),
    ]  # fmt: skip
    assert len(rows(told, entry("m", HARD + 1, seed=1))) == 2
    assert Entry.model_validate_json(encode_entry(told)) == told


def test_real_data_on_another_sample_list_is_never_ranked_nor_shown_with_the_official_one() -> None:
    pinned = replace(BENCHMARK, sample_list_digest="a" * 64)
    official = Provenance(sample_list_digest="a" * 64, labels_digest="b", metric_version=1)
    best, fair = entry("best", HARD - 20), entry("fair", HARD, provenance=official)
    first, other = ranked_groups([best, fair], pinned)
    assert [(row.rank, row.entry.method) for row in first.rows] == [(1, "fair")]
    assert [(row.rank, row.entry.method) for row in other.rows] == [(None, "best")]
    reason = "sample list a is not the official one (aaaaaaaaaaaa)"
    assert (first.unranked, other.unranked) == ("", reason)
    text = board_markdown("toy-test", pinned, [best, fair])
    assert text.count(f"These rows are not ranked: {reason}.") == 1
    assert text.index("| 1 | fair |") < text.index("These rows are not ranked") < text.index("| best |")
    stand_ins = [one.model_copy(update={"origin": "generated"}) for one in (best, fair)]
    assert {row.rank for group in ranked_groups(stand_ins, pinned) for row in group.rows} == {1}


@pytest.mark.parametrize(
    ("published", "reason"),
    [(sum(SIZES), ""), (4863, f"{sum(SIZES)} samples, and the published test set has 4863"),
     (None, "the benchmark pins no sample list")],
)  # fmt: skip
def test_a_published_number_of_samples_pins_the_list_and_without_one_nothing_real_is_ranked(
    published: int | None, reason: str
) -> None:
    counted = replace(BENCHMARK, sample_list_digest=None, samples=published)
    [group] = ranked_groups([entry("m", HARD)], counted)
    assert ([row.rank for row in group.rows], group.unranked) == ([None if reason else 1], reason)
    stand_in = entry("m", HARD).model_copy(update={"origin": "generated"})
    assert [row.rank for row in ranked_groups([stand_in], counted)[0].rows] == [1]
