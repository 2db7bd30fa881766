"""``kt3d score --rescore``: measure entries anew, after the metrics changed, from the predictions that are at hand.

Predictions and test shards are recognised by the digests that an entry carries, wherever below the data root they lie;
an entry whose predictions or shards are gone stays as it is, in the table of its own metric version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kt3d_bench import results
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import Kt3dError
from kt3d_bench.leaderboard.cards import card_path, write_card
from kt3d_bench.leaderboard.entries import Entry, read_boards, rescored, write_entry
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import score, truth_from_shards
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.run_folder import read_run

_PREDICTIONS = ("runs/*/predictions/*.npz", "submissions/*.npz")
_SHARDS = ("shards/*/manifest.json", "generated/*/*/shards/manifest.json")


@dataclass(frozen=True)
class Outcome:
    """What became of one entry."""

    entry: Entry
    """As it is now."""
    done: bool
    said: str


def rescore(leaderboards: Path, *, data_root: Path) -> list[Outcome]:
    """Measure every entry below ``leaderboards`` anew where that is possible, and render the boards.

    Raises ``ArtefactError`` for a broken entry; everything else that stands in the way of one entry is said in its
    outcome.
    """
    files = {_digest(path): path for pattern in _PREDICTIONS for path in sorted(data_root.glob(pattern))}
    shards = dict(_manifests(data_root))
    known = registry.benchmarks()
    outcomes = [
        _outcome(entry, known.get(entry.benchmark), files, shards, leaderboards)
        for entries in read_boards(leaderboards).values()
        for entry in entries
    ]
    results.render(leaderboards)
    return outcomes


def _outcome(
    entry: Entry, benchmark: Benchmark | None, files: dict[str, Path], shards: dict[str, Path], leaderboards: Path
) -> Outcome:
    facts = entry.provenance
    if benchmark is None or benchmark.version != entry.benchmark_version:
        return Outcome(entry, False, f"version {entry.benchmark_version} of the benchmark is not installed")
    path = files.get(facts.predictions_sha256 or "")
    if path is None:
        return Outcome(entry, False, "its predictions are not here")
    folder = shards.get(facts.test_manifest_digest or "")
    if folder is None:
        return Outcome(entry, False, "the shards it was tested on are not here")
    try:
        truth = truth_from_shards(ShardSet.open(folder, benchmark.split))
        now = rescored(entry, score(read_predictions(path), truth, benchmark, incomplete=True, where=path), benchmark)
    except Kt3dError as error:
        return Outcome(entry, False, error.message)
    write_entry(leaderboards, now)
    if card_path(leaderboards, now).is_file():
        write_card(leaderboards, now)
    metric = benchmark.headline[0]
    return Outcome(now, True, f"{metric} {_shown(entry, metric)} -> {_shown(now, metric)}")


def _manifests(data_root: Path) -> Iterator[tuple[str, Path]]:
    """Digest -> folder of all shards below the data root, and of those that its runs were made with."""
    folders = {path.parent for pattern in _SHARDS for path in data_root.glob(pattern)}
    for run in data_root.glob("runs/*/run.yaml"):
        with suppress(Kt3dError):
            folders |= {Path(read["folder"]) for read in read_run(run.parent)["shards"].values()}
    for folder in sorted(folders):
        with suppress(Kt3dError):
            yield read_manifest(folder).digest, folder


def _shown(entry: Entry, metric: str) -> str:
    value = entry.scores.get(metric)
    return f"{'undefined' if value is None else f'{value:.2f}'} (metric version {entry.provenance.metric_version})"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
