"""Run all rows of a recipe: train, predict, score, and put each row on its board.

Shared stages are trained once: the stage store below the data root hands them from run to run. A finished run stays as
it is and an interrupted one continues, so the same call can be repeated until everything is done. Two calls at once
wait for one another, row by row.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.errors import Kt3dError, UsageError
from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.leaderboard.publish import Result
from kt3d_bench.locks import held
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.plugins.hookspecs import Recipe
from kt3d_bench.progress import Reporter
from kt3d_bench.reproduction.plan import Job, Options, in_words, jobs, with_data
from kt3d_bench.run_folder import RUN_FILE, finished
from kt3d_bench.scoring import score
from kt3d_bench.training.resolve import resolve


@dataclass(frozen=True)
class Outcome:
    """One finished run of a recipe."""

    job: Job
    result: Result
    kept: bool = False
    """Whether the run had been finished before."""

    @property
    def label(self) -> str:
        return self.job.label


@dataclass(frozen=True)
class Failure:
    """A run that failed, and why."""

    job: Job
    error: Kt3dError


@dataclass(frozen=True)
class Reproduction:
    """What became of a recipe's runs, and the files that show it."""

    recipe: Recipe
    outcomes: tuple[Outcome, ...]
    failures: tuple[Failure, ...] = ()
    interrupted: bool = False
    """Stopped by the user or the scheduler; the same call continues."""
    tables: Sequence[SimpleNamespace] = ()
    """As ``recipes.tables.tables``."""
    summary: Path | None = None
    """The tables, as Markdown."""
    pictures: Sequence[Path] = ()


def run_all(
    recipe: Recipe,
    options: Options,
    report: Reporter,
    *,
    leaderboards: Path,
    before: Callable[[Job], None] | None = None,
    after: Callable[[Sequence[Outcome]], None] = lambda _: None,
) -> Reproduction:
    """Run all rows of ``recipe`` for all seeds, write their entries and render the boards; each as soon as it is there.
    ``before`` provides the shards of a run just before it starts; without it those of all runs are found or made first.
    ``after`` is called after each run, with all that are finished.

    A run whose training fails (for example with a loss that is not finite) is reported, and the others go on. Raises
    what planning raises, before anything is trained.
    """
    planned = jobs(recipe, options)
    if before is None:
        planned = with_data(planned, options, report)
    if options.budget_minutes is not None and planned:
        report.note(in_words(planned))
    outcomes: list[Outcome] = []
    failures: list[Failure] = []
    for number, job in enumerate(planned, 1):
        report.note(f"[{number}/{len(planned)}] {job.label}, seed {job.config.seed}")
        if before is not None:
            before(job)
            (job,) = with_data([job], options, report)
        try:
            outcomes.append(_run(job, report, leaderboards))
            report.note(f"{job.label}, seed {job.config.seed}: {_headline(outcomes[-1].result)}")
            after(outcomes)
        except InterruptedRunError:
            return Reproduction(recipe, tuple(outcomes), tuple(failures), interrupted=True)
        except UsageError:
            raise
        except Kt3dError as error:
            report.note(f"{job.label}, seed {job.config.seed}, failed: {error.message}")
            failures.append(Failure(job, error))
    return Reproduction(recipe, tuple(outcomes), tuple(failures))


def _run(job: Job, report: Reporter, leaderboards: Path) -> Outcome:
    from kt3d_bench.training.train import train

    config = replace(job.config, name=run_name(job))
    folder = config.data_root / "runs" / str(config.name)
    lock, busy = folder.with_name(f".{folder.name}.lock"), f"another process runs {job.label}, seed {config.seed}"
    with held(lock, busy, "try again when it has ended", wait_s=math.inf, waiting=report.note):
        kept = finished(folder)
        if kept:
            report.note(f"the run {folder.name} is already finished")
        else:
            train(config, report, resume=(folder / RUN_FILE).exists())
        result = score(folder, data=config.data_root, leaderboards=leaderboards, report=report)
    return Outcome(job, result, kept)


def _headline(result: Result) -> str:
    """The numbers that rank a run."""
    values = [(METRICS[name], result.entry.scores.get(name)) for name in result.benchmark.headline]
    return ", ".join(f"{m.title} {'undefined' if v is None else f'{v:.1f}'} {m.unit}" for m, v in values)


def run_name(job: Job) -> str:
    """Return a name that says what the run is, with a digest of its config and data.

    Equal runs of different recipes have the same name."""
    config = job.config
    facts = {
        "settings": dict(config.settings),
        "time_scale": config.time_scale,
        "steps_scale": config.steps_scale,
        "compiled": config.compiled,
        "data": {role: read_manifest(Path(folder)).digest for role, folder in config.shards.items()},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return f"{resolve(config).base_name}-{digest}"
