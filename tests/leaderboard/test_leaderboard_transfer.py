"""How much of a domain gap a row closes, and when that is not defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap

from kt3d_bench.leaderboard.entries import Clips, Entry, Flags, Provenance, TrainingData
from kt3d_bench.leaderboard.ranking import ranked_groups
from kt3d_bench.leaderboard.transfer import Transfer, transfers
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.uncertainty import share_interval

BENCHMARK = Benchmark(
    id="toy-test", version=1, title="Toy", dataset="toy", split="test", modality="rgb", headline=("mpjpe_mm",),
    root=0, reference="root-given", box_rule="joints", sees="the crop", sample_list_digest="a",
)  # fmt: skip
PCK = Benchmark(**{**BENCHMARK.__dict__, "headline": ("pck_100",)})
SYNTHETIC, ADAPT = "a" * 64, "b" * 64
CLIPS = 12


def entry(method: str, value: float, roles: str = "source target", level: str = "none", **changes: Any) -> Entry:
    """An entry whose roles name data sets: the source is ``clean``, the target ``toy``, unless ``role=name``."""
    named = [one.partition("=") for one in roles.split()]
    names = {"source": "clean", "target": "toy", "pretrain": "outdoor"}
    training = tuple(
        TrainingData(role=role, dataset=name or names[role], origin=changes.get("source_origin", "official"))
        for role, _, name in named
    )
    changes.pop("source_origin", None)
    stages = changes.pop("stages", (SYNTHETIC, ADAPT) if "target" in roles else (SYNTHETIC,))
    clips = Clips(names_sha256="f" * 64, samples=(5,) * CLIPS,
                  means=dict.fromkeys(("mpjpe_mm", "pck_100"), (value,) * CLIPS))  # fmt: skip
    whole: dict[str, Any] = {
        "clips": clips,
        "benchmark": "toy-test", "benchmark_version": 1, "origin": "official", "method": method, "supervision": level,
        "scores": {"mpjpe_mm": value, "pck_100": value}, "samples": 100, "seed": 0,
        "provenance": Provenance(sample_list_digest="a", labels_digest="b", metric_version=1,
                                 run={"stages": [{"digest": digest} for digest in stages]}),
        "flags": Flags(target_labels_seen=changes.pop("seen", level), training_data=training, reference="root-given",
                       box_rule="joints", selection_rule="last"),
    }  # fmt: skip
    return Entry(**(whole | changes))


def of(*entries: Entry, benchmark: Benchmark = BENCHMARK) -> dict[tuple[str, str], Transfer]:
    [group] = ranked_groups(entries, benchmark)
    return {(one.row.entry.method, one.row.entry.supervision): one for one in transfers(group, benchmark)}


BEFORE, AFTER = entry("before", 100.0, "source"), entry("m", 50.0, level="full")


@pytest.mark.parametrize(("value", "closed"), [(100.0, 0.0), (75.0, 0.5), (50.0, 1.0), (110.0, -0.2), (40.0, 1.2)])
def test_the_share_of_the_gap(value: float, closed: float) -> None:
    found = of(BEFORE, AFTER, entry("m", value))
    assert found["m", "none"].closed == pytest.approx(closed)
    assert found["m", "none"].kind == "adapted"
    assert (found["before", "none"].kind, found["m", "full"].kind) == ("unadapted", "oracle")
    assert found["before", "none"].closed is None
    assert found["m", "none"].sources == (("clean", "official"),)


def test_higher_may_be_better() -> None:
    rows = entry("before", 20.0, "source"), entry("m", 80.0, level="full"), entry("m", 65.0)
    assert of(*rows, benchmark=PCK)["m", "none"].closed == pytest.approx(0.75)


def test_the_row_without_adaptation_bears_the_name_or_shares_all_its_stages() -> None:
    other_stages = entry("before", 100.0, "source", stages=("c" * 64,))
    assert of(other_stages, AFTER, entry("m", 75.0))["m", "none"].closed is None
    same_name = entry("m", 90.0, "source", "source-only", seen="none", stages=())
    assert of(same_name, AFTER, entry("m", 70.0))["m", "none"].closed == pytest.approx(0.5)
    more_stages = entry("before", 100.0, "source", stages=(SYNTHETIC, "c" * 64))
    assert of(more_stages, AFTER, entry("m", 75.0))["m", "none"].closed is None
    no_stages = entry("before", 100.0, "source", stages=())
    assert of(no_stages, AFTER, entry("m", 75.0))["m", "none"].closed is None


def test_of_several_the_best_one_counts() -> None:
    better = entry("lifted", 80.0, "source")
    found = of(BEFORE, better, AFTER, entry("m", 65.0))["m", "none"]
    assert found.unadapted is not None
    assert found.unadapted.entry.method == "lifted"
    assert found.closed == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("others", "row", "why"),
    [
        ([AFTER], entry("m", 70.0), "without data of the target"),
        ([BEFORE], entry("m", 70.0), "with all labels of the target"),
        ([BEFORE, entry("m", 50.0, level="full", settings={"weight": 1})], entry("m", 70.0), "with all labels"),
        ([BEFORE, entry("other", 50.0, level="full")], entry("m", 70.0), "with all labels"),
        ([BEFORE, entry("m", 50.0, "source=real target", level="full")], entry("m", 70.0), "with all labels"),
        ([entry("before", 100.0, "source", source_origin="generated"), AFTER], entry("m", 70.0), "without data"),
        ([entry("before", 100.0, "source", unanswered=1), AFTER], entry("m", 70.0), "without data"),
        ([BEFORE, entry("m", 100.0, level="full")], entry("m", 70.0), "no better"),
        ([BEFORE, entry("m", 120.0, level="full")], entry("m", 70.0), "no better"),
        ([BEFORE, AFTER], entry("m", 70.0, unanswered=1), "not ranked"),
    ],
)
def test_when_it_is_undefined_it_says_why(others: list[Entry], row: Entry, why: str) -> None:
    found = of(*others, row)["m", "none"]
    assert found.closed is None
    assert why in found.why_undefined


def test_a_gap_that_cannot_be_told_from_none_gives_no_share() -> None:
    def clips(means: Any) -> dict[str, Any]:
        stored = Clips(names_sha256="f" * 64, samples=(5,) * CLIPS, means={"mpjpe_mm": tuple(float(m) for m in means)})
        return {"clips": stored}

    hard = np.linspace(50, 150, CLIPS)
    noise = np.random.default_rng(0).normal(0, 20, CLIPS)
    before = entry("before", 100.0, "source", **clips(hard + noise))
    after = entry("m", 99.0, level="full", **clips(hard - 1))
    found = of(before, after, entry("m", 99.5, **clips(hard)))["m", "none"]
    assert found.closed is None
    assert "cannot be told from none" in found.why_undefined
    clear = entry("m", 60.0, level="full", **clips(hard - 40))
    share = of(before, clear, entry("m", 80.0, **clips(hard - 20)))["m", "none"]
    assert share.closed == pytest.approx(0.5)
    assert share.interval is not None
    assert share.interval[0] < 0.5 < share.interval[1]


def test_the_share_has_the_interval_of_a_joint_bootstrap_over_clips() -> None:
    """Against SciPy's paired bootstrap, whose plain percentiles lie inside the expanded ones and close to them."""
    rng = np.random.default_rng(3)
    start = rng.normal(200, 20, 60)
    row, end = start - rng.normal(20, 8, 60), start - rng.normal(60, 8, 60)
    found = share_interval(start, row, end, np.full(60, 4))
    assert found is not None
    plain = bootstrap(
        (start, row, end), lambda s, r, e, axis=-1: (s.mean(axis) - r.mean(axis)) / (s.mean(axis) - e.mean(axis)),
        paired=True, vectorized=True, n_resamples=4000, method="percentile", rng=np.random.default_rng(4),
    ).confidence_interval  # fmt: skip
    assert found == pytest.approx((plain.low, plain.high), abs=0.01)
    wider = share_interval(start, row, end, np.full(60, 4), seeds_sd=(0.0, 8.0, 0.0))
    assert wider is not None
    assert wider[1] - wider[0] > 2 * (found[1] - found[0])
    assert share_interval(start[:5], row[:5], end[:5], np.full(5, 4)) is None
    assert share_interval(start, row, start, np.full(60, 4)) is None


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (entry("m", 1.0, "source=toy"), "in-domain"),
        (entry("m", 1.0, "source=toy source"), "in-domain"),
        (entry("m", 1.0, "target", "full"), "target-only"),
        (entry("m", 1.0, "pretrain"), "target-only"),
        (entry("m", 1.0, ""), "not stated"),
        (entry("m", 1.0, "source", seen="full"), "adapted"),
    ],
)
def test_rows_that_are_no_step_between_domains(row: Entry, kind: str) -> None:
    [found] = of(row).values()
    assert found.kind == kind
    assert found.closed is None
