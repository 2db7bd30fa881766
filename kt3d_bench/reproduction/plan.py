"""Plan a recipe: its runs, the stages that they share, the data that they read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kt3d_bench.data.folders import has_shards, shards_folder
from kt3d_bench.errors import ArtefactError, PluginError, UsageError, did_you_mean
from kt3d_bench.files import default_data_root
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import Recipe, RecipeRow
from kt3d_bench.progress import Reporter
from kt3d_bench.supervision import HELD_OUT, level_name
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.resolve import Resolved, resolve
from kt3d_bench.training.sources import Domain, stand_in

if TYPE_CHECKING:
    from kt3d_bench.method import Stage

JOB_MINUTES = 150.0
"""The longest that a run of a recipe with a budget may train."""


@dataclass(frozen=True)
class Options:
    """Options that all rows of a recipe share."""

    data_root: Path = field(default_factory=default_data_root)
    preset: str = "paper"
    seeds: int | None = None
    """Seeds 0, 1, ... of every row; ``None`` = as many as each row asks for."""
    budget_minutes: float | None = None
    """Training time of the first seed's runs together, each shared stage counted once; ``None`` = all steps."""
    steps_scale: float = 1.0
    """Multiplies the steps of every stage."""
    device: str = "auto"
    compiled: bool | None = None
    """As ``RunConfig``."""
    generated: bool = False
    """Whether generated stand-ins may replace missing targets."""
    people: int | None = None
    frames: int | None = None
    """Size of stand-ins; ``None`` = by preset."""
    workers: int | None = None
    held_out: str = HELD_OUT[0]
    """Whose people the test splits of stand-ins show."""

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 1:
            raise UsageError(f"{self.seeds} seeds were asked for", hint="ask for at least 1")
        if self.budget_minutes is not None and not self.budget_minutes > 0:
            raise UsageError(f"the budget is {self.budget_minutes} minutes", hint="give more than 0")


@dataclass(frozen=True)
class Job:
    """One run of a recipe."""

    row: RecipeRow
    config: RunConfig

    @property
    def label(self) -> str:
        return label(self.row)


def label(row: RecipeRow) -> str:
    """Return the name of a row."""
    if row.label:
        return row.label
    settings = "".join(f", {name}={value}" for name, value in row.settings.items())
    return f"{row.method} {level_name(row.supervision, row.joints)}{settings}"


def jobs(recipe: Recipe, options: Options) -> list[Job]:
    """Return the runs, all rows of seed 0 first. Raises ``UsageError`` for an impossible option."""
    planned = []
    for seed in range(max([options.seeds or row.seeds for row in recipe.rows], default=0)):
        for row in recipe.rows:
            if seed < (options.seeds or row.seeds):
                config = RunConfig(
                    method=row.method,
                    supervision=row.supervision,
                    joints=row.joints,
                    target=row.target,
                    preset=options.preset,
                    settings=row.settings,
                    seed=seed,
                    device=options.device,
                    compiled=options.compiled,
                    data_root=options.data_root,
                    steps_scale=options.steps_scale,
                    stand_in_people=options.people,
                    stand_in_frames=options.frames,
                    stand_in_held_out=options.held_out,
                )
                planned.append(Job(row, config))
    if options.budget_minutes is None:
        return planned
    asked = seconds_asked([job for job in planned if job.config.seed == 0])
    scale = min(
        60.0 * options.budget_minutes / (sum(asked) or 1.0), 60.0 * JOB_MINUTES / (max(asked, default=0.0) or 1.0)
    )
    return [replace(job, config=replace(job.config, time_scale=round(scale, 4))) for job in planned]


def seconds_asked(planned: Sequence[Job]) -> list[float]:
    """Return the seconds that each run's stages ask for in a time-limited run, where no run before it trains them."""
    known: set[str] = set()
    asked = [0.0 for _ in planned]
    for number, job in enumerate(planned):
        resolved = resolve(job.config)
        for stage in stages_of(resolved):
            facts = [stage.name, stage.trains, stage.recipe, stage.after, stage.steps, stage.epochs, stage.batch_size,
                     {role: resolved.domains[role].name for role in stage.roles}]  # fmt: skip
            if "target" in stage.roles:
                facts += [job.config.supervision, job.config.joints]
            name = json.dumps([*facts, job.config.seed], sort_keys=True)
            asked[number] += 0.0 if name in known else stage.budget_s or 0.0
            known.add(name)
    return asked


def in_words(planned: Sequence[Job]) -> str:
    """Return a sentence on how long the training of time-limited runs takes at most."""
    minutes = [seconds * (job.config.time_scale or 0.0) / 60.0
               for job, seconds in zip(planned, seconds_asked(planned), strict=True)]  # fmt: skip
    longest = max(range(len(minutes)), key=minutes.__getitem__)
    return (
        f"{len(planned)} runs with at most {sum(minutes):.0f} minutes of training, and {minutes[longest]:.0f} for the "
        f"longest, {planned[longest].label}"
    )


def stages_of(resolved: Resolved) -> tuple[Stage, ...]:
    """Return the stages that a run will have, without its data and without memory for its weights."""
    import torch

    with torch.device("meta"):
        method = resolved.method(resolved.method_config, resolved.planned_context())
    return method.stages()


def with_data(planned: Sequence[Job], options: Options, report: Reporter) -> list[Job]:
    """Return the same runs with the folders of the shards that they read; missing shards are generated first.

    Raises ``ArtefactError`` naming all missing targets, before anything is generated or trained, unless generated ones
    are allowed.
    """
    needed = [(job, _roles(job.config)) for job in planned]
    splits: dict[str, dict[str, None]] = {}
    for _, roles in needed:
        for role, domain in roles.items():
            found = splits.setdefault(domain.dataset, {})
            found |= dict.fromkeys(domain.training_splits[:1])
            if role == "target":
                tests = (domain.benchmark,) if domain.benchmark is not None else registry.benchmarks_of(domain.dataset)
                found |= {benchmark.split: None for benchmark in tests}
    root, targets = options.data_root, dict.fromkeys(roles["target"].dataset for _, roles in needed)
    missing = [name for name in targets if not has_shards(shards_folder(root, name))]
    if missing and not options.generated:
        raise ArtefactError(
            f"there are no shards of {', '.join(missing)}",
            where=root / "shards",
            hint=f"make them ({'; '.join(f'kt3d prepare {name}' for name in missing)}), or add --generated to use "
            "generated stand-ins, whose rows go to boards of their own",
        )
    folders: dict[str, Path] = {}
    for job, roles in needed:
        for domain in roles.values():
            if domain.dataset not in folders:
                own, wanted = shards_folder(root, domain.dataset), list(splits[domain.dataset])
                if not has_shards(own):
                    own = stand_in(job.config, domain, report, "cpu", splits=wanted, workers=options.workers)
                folders[domain.dataset] = own
    return [
        replace(job, config=replace(job.config, shards={role: folders[d.dataset] for role, d in roles.items()}))
        for job, roles in needed
    ]


def domains_read(planned: Sequence[Job]) -> list[Domain]:
    """Return what the runs read, each dataset once, by name."""
    found = {domain.dataset: domain for job in planned for domain in _roles(job.config).values()}
    return [found[name] for name in sorted(found)]


def _roles(config: RunConfig) -> Mapping[str, Domain]:
    """Role -> domain, for the roles that a run opens: target and source always, others where a stage reads them."""
    resolved = resolve(config)
    read = {"target", "source", *(role for stage in stages_of(resolved) for role in stage.roles)}
    return {role: domain for role, domain in resolved.domains.items() if role in read}


def named(recipe: str) -> Recipe:
    """Return an installed recipe.

    Raises ``UsageError`` for an unknown name, and ``PluginError`` when one of its pictures or claims, or its report,
    names a row that it does not have."""
    found = registry.recipe(recipe)
    known = [label(row) for row in found.rows]
    drawn = [name for picture in found.pictures for name in (*picture.rows, *picture.reference)]
    drawn += [found.report] if found.report else []
    compared = [name for claim in found.claims for name in (claim.row, claim.than, claim.goal) if name]
    for name in (*drawn, *compared):
        if name not in known:
            raise PluginError(
                f"a picture, claim or report names the row '{name}', which the recipe does not have",
                where=f"recipe '{recipe}'",
                hint=did_you_mean(name, known),
            )
    return found
