"""``kt3d demo``: the whole line on generated stand-ins, in minutes, without a download or a GPU.

``kt3d reproduce`` with the preset ``tiny``, on small stand-ins of every dataset that a recipe reads, in a folder of its
own; true and predicted skeletons are drawn over test images at the end, and the last run of each board is reported.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from kt3d_bench.cli.console import Terminal, console
from kt3d_bench.data.folders import shards_folder
from kt3d_bench.errors import UsageError
from kt3d_bench.plugins import registry
from kt3d_bench.recipes import pictures
from kt3d_bench.recipes.plan import Options, domains_read, jobs, named
from kt3d_bench.recipes.reproduce import Outcome, Reproduction, reproduce
from kt3d_bench.report.build import write_report
from kt3d_bench.training.sources import make_stand_in

PRESET = "tiny"
BUDGET_MINUTES = 6.0
"""Training time by default: with installation and data the whole stays below ten minutes on two cores."""
MARK = "kt3d-demo.txt"


def run_demo(
    out: Path, *, recipe: str = "demo", budget_minutes: float = BUDGET_MINUTES, workers: int | None = None
) -> list[Outcome]:
    """Run a recipe below ``out`` and say where everything is.

    What a demo generated and prepared before is used again; runs, trained stages and boards are made anew, so that
    the numbers always come from this call. Raises whatever the parts raise.
    """
    began = time.monotonic()
    say = console()
    found = named(recipe)
    options = Options(out, PRESET, seeds=1, budget_minutes=budget_minutes, device="cpu", workers=workers)
    planned = jobs(found, options)
    _make_room(out)
    with Terminal() as report:
        for domain in domains_read(planned):
            plugin = domain.plugin
            arguments = registry.load(f"{registry.generator(plugin)}:DEMO")
            raw, shards = out / "raw" / plugin.name, shards_folder(out, plugin.name)
            make_stand_in(plugin, arguments, raw, shards, report, workers=workers)
        ready = time.monotonic()
        outcomes = whole(reproduce(found, options, report, leaderboards=out / "leaderboards"))
    newest = {outcome.result.entry.board: outcome.result for outcome in outcomes}
    for last in newest.values():
        say.print(last.table(say.width))
    drawn = draw(outcomes, out / "pictures")
    reports = [write_report(last.predictions.parent.parent) for last in newest.values()]
    say.print(f"Data took {ready - began:.0f} s, training and scoring {time.monotonic() - ready:.0f} s.", markup=False)
    say.print(f"Boards: {out / 'leaderboards' / 'README.md'}", markup=False)
    for picture in drawn:
        say.print(f"Picture: {picture}", markup=False)
    for path in reports:
        say.print(f"Report of a run: {path} (kt3d report writes one of any other)", markup=False)
    say.print(
        "These numbers are of generated stand-ins. For the real data: kt3d list, then kt3d prepare.", markup=False
    )
    return outcomes


def whole(done: Reproduction) -> list[Outcome]:
    """All outcomes of a recipe that ended as it should; raises what stopped it else."""
    for failure in done.failures:
        raise failure.error
    if done.interrupted:
        raise KeyboardInterrupt
    return list(done.outcomes)


def draw(outcomes: list[Outcome], folder: Path) -> list[Path]:
    """One PNG per benchmark, with all its rows."""
    names = dict.fromkeys(outcome.result.benchmark.id for outcome in outcomes)
    return [
        pictures.poses(folder / f"{name}.png", [one for one in outcomes if one.result.benchmark.id == name])
        for name in names
    ]


def _make_room(out: Path) -> None:
    """Clear what an earlier demo trained. Raises ``UsageError`` when such things are there and no demo made them."""
    made_anew = ("runs", "stages", "leaderboards", "pictures")
    present = [name for name in made_anew if (out / name).exists()]
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
