"""Reproduce a paper's table or figure, or run the demo."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kt3d_bench.data.folders import shards_folder
from kt3d_bench.errors import UsageError
from kt3d_bench.files import default_data_root, write_whole
from kt3d_bench.leaderboard.publish import default_leaderboards
from kt3d_bench.locks import held
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import Recipe
from kt3d_bench.progress import Reporter
from kt3d_bench.reproduction import pictures
from kt3d_bench.reproduction.plan import Job, Options, domains_read, jobs, named
from kt3d_bench.reproduction.runs import Outcome, Reproduction, run_all
from kt3d_bench.reproduction.tables import benchmarks, markdown, tables
from kt3d_bench.standins import check_held_out
from kt3d_bench.supervision import HELD_OUT
from kt3d_bench.training.sources import make_stand_in

DEMO_MINUTES = 6.0
"""Training time of the demo: with installation and data everything takes less than ten minutes on two cores."""
MARK = "kt3d-demo.txt"


def reproduce(
    recipe: str,
    *,
    preset: str = "paper",
    seeds: int | None = None,
    budget_minutes: float | None = None,
    steps_scale: float = 1.0,
    device: str = "auto",
    compiled: bool | None = None,
    generated: bool = False,
    people: int | None = None,
    frames: int | None = None,
    workers: int | None = None,
    held_out: str = "test",
    data: Path | None = None,
    out: Path | None = None,
    leaderboards: Path | None = None,
    report: Reporter | None = None,
) -> Reproduction:
    """Run every row of a recipe, and set the paper's numbers beside them. Call it again to continue.

    What rows share is trained once. ``seeds`` = runs per row (default: what each row asks for); ``budget_minutes`` =
    training time of the first seed's runs together, shared stages counted once and no run longer than ``JOB_MINUTES``
    (default: all steps); ``generated``
    allows generated stand-ins, of ``people`` and ``frames``, in place of targets that are not there. Shards, stages
    and runs are below ``data`` (default: ``KT3D_DATA`` or ``kt3d-data``). The table and the pictures go to ``out``, by
    default ``<data>/reproductions/<recipe>-<preset>``. ``held_out`` "validation": generated stand-ins alone, with other
    people in their test splits, on whom settings are chosen; everything, the boards too, lies below
    ``<data>/validation``, apart from results.

    Raises ``UsageError`` for an unknown recipe or an impossible option, and ``ArtefactError`` for missing targets,
    before anything is trained. A run that fails is listed in ``failures``.
    """
    check_held_out(held_out)
    found, root = named(recipe), data or default_data_root()
    if held_out != HELD_OUT[0]:
        root, generated = root / held_out, True
        leaderboards = leaderboards or root / "leaderboards"
    options = Options(
        root,
        preset,
        seeds,
        budget_minutes,
        steps_scale,
        device,
        compiled,
        generated,
        people,
        frames,
        workers,
        held_out,
    )
    boards = leaderboards or default_leaderboards(root)
    done = run_all(found, options, report or Reporter(), leaderboards=boards)
    if not done.outcomes:
        return done
    folder = out or root / "reproductions" / f"{recipe}-{preset}"
    summary, published = folder / f"{recipe}.md", registry.published()
    write_whole(summary, markdown(found, done.outcomes, published).encode())
    return replace(
        done,
        tables=tables(found, done.outcomes, published),
        summary=summary,
        pictures=pictures.draw(found, done.outcomes, folder),
    )


def demo(
    out: Path,
    *,
    recipe: str = "demo",
    budget_minutes: float = DEMO_MINUTES,
    workers: int | None = None,
    report: Reporter | None = None,
) -> Reproduction:
    """Run a recipe with the preset "tiny" on small stand-ins of every dataset that it reads, below ``out``.

    Data that an earlier demo generated is used again. Runs, trained stages and boards are replaced, so that the numbers
    always come from this call. Raises ``UsageError`` when ``out`` holds runs that no demo made, ``LockedError`` beside
    another demo there. A run that fails is listed in ``failures``.
    """
    report, found = report or Reporter(), named(recipe)
    options = Options(out, "tiny", seeds=1, budget_minutes=budget_minutes, device="cpu", workers=workers)
    jobs(found, options)  # Refuses impossible options before anything is replaced
    with held(out / ".lock", "another demo runs here", "wait for it, or choose another --out"):
        return _demo(found, options, report)


def _demo(found: Recipe, options: Options, report: Reporter) -> Reproduction:
    out, workers, made = options.data_root, options.workers, set[str]()
    _make_room(out)

    def make_data(job: Job) -> None:
        for domain in domains_read([job]):
            plugin = domain.plugin
            if plugin.name not in made:
                arguments = registry.load(f"{registry.generator(plugin)}:DEMO")
                raw, shards = out / "raw" / plugin.name, shards_folder(out, plugin.name)
                make_stand_in(plugin, arguments, raw, shards, report, workers=workers)
                made.add(plugin.name)

    def picture(outcomes: Sequence[Outcome], name: str) -> Path:
        return pictures.poses(out / "pictures" / f"{name}.png", [o for o in outcomes if o.result.benchmark.id == name])

    def first_picture(outcomes: Sequence[Outcome]) -> None:
        if len(outcomes) == 1:
            report.note(f"first picture: {picture(outcomes, outcomes[0].result.benchmark.id)}")

    boards = out / "leaderboards"
    done = run_all(found, options, report, leaderboards=boards, before=make_data, after=first_picture)
    return replace(done, pictures=[picture(done.outcomes, name) for name in benchmarks(done.outcomes)])


def _make_room(out: Path) -> None:
    """Delete what an earlier demo trained."""
    replaced = ("runs", "stages", "leaderboards", "pictures")
    present = [name for name in replaced if (out / name).exists()]
    if present and not (out / MARK).exists():
        raise UsageError(
            f"holds {', '.join(present)} that no demo made, and a demo would replace them",
            where=out,
            hint="choose another --out",
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in present:
        shutil.rmtree(out / name)
    (out / MARK).write_text("Everything in this folder was made by kt3d demo and may be deleted.\n")
