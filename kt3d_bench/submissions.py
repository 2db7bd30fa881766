"""``kt3d submit``: a stranger's predictions become an entry and its model card, or are refused by name.

The file is turned into our own form and kept below the data root, so that ``kt3d score --rescore`` finds it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kt3d_bench import results
from kt3d_bench.data.folders import shards_folder
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.leaderboard.cards import write_card
from kt3d_bench.leaderboard.entries import Entry, Submission, is_name, make_entry, write_entry
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import Scores, score, truth_from_shards
from kt3d_bench.metrics.plausibility import Suspicion, half_precision, suspicions_of
from kt3d_bench.metrics.predictions import Cameras, PredictionFile, placed, read_prediction_file, write_predictions
from kt3d_bench.plugins import registry

FOLDER = "submissions"


@dataclass(frozen=True)
class Statement:
    """What only the author of predictions can say of them."""

    name: str
    title: str = ""
    supervision: str = "not stated"
    target_labels_seen: str = "not stated"
    seed: int | None = None
    link: str = ""
    external_data: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submitted:
    """What was written."""

    benchmark: Benchmark
    scores: Scores
    entry: Entry
    entry_path: Path
    card_path: Path
    predictions: Path
    suspicions: tuple[Suspicion, ...]


def submit(
    path: Path,
    benchmark: str,
    statement: Statement,
    *,
    data_root: Path,
    shards: Path | None = None,
    leaderboards: Path | None = None,
    accept: Sequence[str] = (),
) -> Submitted:
    """Check and measure the predictions at ``path`` (``metrics.predictions`` lists the forms) and write entry and card.

    Raises ``ArtefactError`` for a file that cannot be read or is severely suspicious, unless ``accept`` names each
    suspicion, which the entry then records; ``UsageError`` for an unknown benchmark, a name that is none, and an
    ``accept`` of something that is not suspected. Nothing is written then.
    """
    chosen = registry.benchmark(benchmark)
    if not is_name(statement.name):
        raise UsageError(
            f"'{statement.name}' is no name for a method",
            hint="give one of at most 100 letters, digits, '-', '_' and '.' with --name",
        )
    handed = read_prediction_file(path)
    opened = results.open_test(chosen, shards or shards_folder(data_root, chosen.dataset))
    truth = truth_from_shards(opened)
    given = placed(handed, _cameras(opened), _key_of(chosen), root=chosen.root, where=path)
    scores = score(given, truth, chosen, where=path)
    found = (*_coarse(handed), *suspicions_of(given, truth, chosen))
    found = tuple({one.name: one for one in found}.values())
    _refuse(found, accept, path)
    kept = data_root / FOLDER / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}-{chosen.id}.npz"
    write_predictions(kept, given.keys, given.joints_cam_mm, meta={"method": statement.name, "benchmark": chosen.id})
    entry = make_entry(
        scores,
        chosen,
        method=statement.name,
        title=statement.title,
        supervision=statement.supervision,
        training_data=(),
        target_labels_seen=statement.target_labels_seen,
        seed=statement.seed,
        external_data=statement.external_data,
        submission=Submission(
            form=handed.form,
            file_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            suspicions=tuple(f"{one.name}: {one.sentence}" for one in found),
            link=statement.link,
        ),
        **results.facts_of_files(kept, opened),
    )
    boards = leaderboards or results.default_leaderboards(data_root)
    written = write_entry(boards, entry)
    card = write_card(boards, entry)
    results.render(boards)
    return Submitted(chosen, scores, entry, written, card, kept, found)


def _coarse(handed: PredictionFile) -> tuple[Suspicion, ...]:
    """Numbers that were 16-bit floats when they were written, in whatever unit, before a hip was added to them."""
    units = (half_precision(handed.joints_mm / mm_per_unit) for mm_per_unit in (1.0, 1000.0))
    return tuple(one for one in units if one is not None)


def _refuse(found: Sequence[Suspicion], accept: Sequence[str], path: Path) -> None:
    unknown = sorted(set(accept) - {one.name for one in found})
    if unknown:
        raise UsageError(f"nothing is suspected of '{unknown[0]}'", where=path, hint="leave that --accept out")
    severe = [one for one in found if one.severe and one.name not in accept]
    if severe:
        accepted = " ".join(f"--accept '{one.name}'" for one in severe)
        raise ArtefactError(
            "; ".join(f"{one.name}: {one.sentence}" for one in severe),
            where=path,
            hint=f"correct the file, or, if it is as it should be, add {accepted}",
        )


def _cameras(shards: ShardSet) -> Cameras:
    labels = shards.labels
    return Cameras(shards.keys, labels.joints_cam_mm, labels.rotation, labels.position_world_mm)


def _key_of(benchmark: Benchmark) -> Callable[[str], str | None]:
    names = registry.dataset(benchmark.dataset).names
    return (lambda name: None) if names is None else registry.load_function(names, "sample_key")
