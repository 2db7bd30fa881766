"""``kt.score``: a run or a prediction file becomes a row on a board. A run that has not predicted yet predicts first.

Importing this imports no torch; only predicting needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kt3d_bench.data.folders import with_target_found
from kt3d_bench.errors import UsageError
from kt3d_bench.files import default_data_root
from kt3d_bench.leaderboard.publish import Result, score_file, score_run, shards_of_test
from kt3d_bench.metrics.conventions import CONVENTIONS, Convention, Printed, as_printed
from kt3d_bench.metrics.evaluate import find_answers
from kt3d_bench.metrics.predictions import join
from kt3d_bench.progress import Reporter
from kt3d_bench.run_folder import newest_run, read_run


def score(
    what: Path | str | None = None,
    benchmark: str | None = None,
    *,
    data: Path | None = None,
    name: str | None = None,
    shards: Path | None = None,
    leaderboards: Path | None = None,
    incomplete: bool = False,
    replace: bool = False,
    report: Reporter | None = None,
) -> Result:
    """Score a run or a prediction file: measure it, write its entry, render the boards.

    ``what`` is a run's folder or name, a prediction file of any accepted form, or ``None`` for the newest finished run.
    ``benchmark`` defaults to what the run or the file says. ``name`` (of the method) and ``shards`` (the test set) go
    with a file; ``replace`` lets it take the place of another result of that name. ``incomplete`` as in ``evaluate``.
    Raises what ``evaluate`` and ``predict`` raise.
    """
    root = data or default_data_root()
    folder = None if what is None else _run(what, root)
    if what is not None and folder is None:
        return score_file(
            Path(what),
            benchmark,
            data=root,
            name=name,
            shards=shards,
            leaderboards=leaderboards,
            incomplete=incomplete,
            replace=replace,
        )
    if name is not None or shards is not None:
        raise UsageError(
            "a name and shards go with a file of predictions", hint="leave them out to score a run of yours"
        )

    def predicted(folder: Path, benchmark: str | None) -> Path:
        from kt3d_bench.training.predict import predict

        return predict(folder, benchmark, report=report)

    folder = folder or newest_run(root)
    return score_run(folder, benchmark, predict=predicted, data=root, leaderboards=leaderboards, incomplete=incomplete)


@dataclass(frozen=True)
class PrintedAs:
    """What other programs would print for the same predictions."""

    path: Path
    benchmark: str
    samples: int
    programs: tuple[tuple[Convention, tuple[Printed, ...], int], ...]
    """Each program's convention, its numbers, and the samples that it would use."""
    warnings: tuple[str, ...] = ()
    """What looks wrong with the predictions, such as their unit."""


def score_as(
    conventions: Sequence[str],
    what: Path | str | None = None,
    benchmark: str | None = None,
    *,
    data: Path | None = None,
    shards: Path | None = None,
) -> PrintedAs:
    """Return what other programs would print for a run's predictions or a prediction file; nothing is written.

    ``conventions`` are names of ``metrics.conventions``, "all" = every one; the rest is as in ``score``. Raises what
    ``score`` raises, and ``UsageError`` for a run that has not predicted.
    """
    root = data or default_data_root()
    folder = newest_run(root) if what is None else _run(what, root)
    path = Path(str(what))
    if folder is not None:
        paths = [one for one in sorted((folder / "predictions").glob("*.npz")) if benchmark in (None, one.stem)]
        if not paths:
            raise UsageError("the run has no such predictions yet", where=folder, hint="make them: kt3d predict")
        path, benchmark = paths[0], paths[0].stem
        document = with_target_found(read_run(folder), folder.absolute().parents[1], root)
        shards = shards or shards_of_test(document, benchmark, root)
    found = find_answers(benchmark, path, data=root, shards=shards)
    pred, _, _ = join(found.predictions, found.truth.keys)
    names = CONVENTIONS if "all" in conventions else conventions
    printed = [(name, *as_printed(name, pred, found.truth.joints_cam_mm, found.truth.action)) for name in names]
    programs = tuple((CONVENTIONS[name], numbers, used) for name, numbers, used in printed)
    warnings = tuple(map(str, found.suspicions()))
    return PrintedAs(path, found.benchmark.id, len(found.truth.keys), programs, warnings)


def _run(what: Path | str, data: Path) -> Path | None:
    """The folder of the run that ``what`` means; ``None`` where it means a file."""
    path, named = Path(what), data / "runs" / what
    if path.is_dir():
        return path
    return named if not path.is_file() and named.is_dir() else None
