"""The one training loop: stages in order, on Lightning Fabric, resumable to the bit.

Each step's random numbers are a function of the run's seed, the stage, the step and the process: torch's generators
are seeded anew before every step, so a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import write_whole
from kt3d_bench.method import Method, Stage
from kt3d_bench.progress import Reporter
from kt3d_bench.training import acceleration, checkpoint
from kt3d_bench.training.feeds import Feed
from kt3d_bench.training.stages import (
    StageStore,
    check_frozen,
    check_stages,
    code_digests,
    freeze_all_but,
    frozen_digests,
    stage_digest,
    stage_steps,
    trained_state,
)
from kt3d_bench.training.steps import (
    LoopContext,
    LoopOptions,
    StageRun,
    checkpoints,
    graceful_stop,
    limit_s,
    seed_step,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric


WORLDS = "processes.json"


@dataclass(frozen=True)
class StageOutcome:
    """How one stage came about."""

    name: str
    roles: tuple[str, ...]
    digest: str
    steps: int
    seconds: float
    """What it took to train, when it was trained."""
    reused: bool
    worlds: tuple[int, ...] = (1,)
    """With how many processes; several numbers where it was interrupted and went on with another."""


def run_stages(
    fabric: Fabric,
    method: Method,
    feeds: Mapping[str, Feed],
    folder: Path,
    store: StageStore,
    options: LoopOptions,
    report: Reporter,
    *,
    resume: bool = False,
) -> tuple[StageOutcome, ...]:
    """Train all stages of ``method`` in order, reusing stored ones; writes ``log.jsonl`` and ``checkpoints/``.

    Raises ``Kt3dError`` for a loss that is not finite, ``InterruptedRunError`` after Ctrl-C or SIGTERM, ``PluginError``
    when the method breaks its contract, ``ArtefactError`` for a checkpoint that does not fit.
    """
    stages = method.stages()
    check_stages(method, stages)
    acceleration.prepare(method, options.acceleration, fabric.device, report)
    outcomes: list[StageOutcome] = []
    with graceful_stop() as stop:
        context = LoopContext(fabric, method, feeds, folder, options, report, stop)
        saved = newest_checkpoint(folder, report) if resume else None
        worlds = read_worlds(folder) if resume else {}
        for stage in stages:
            outcomes.append(_stage(context, stage, outcomes, store, saved, worlds))
    return tuple(outcomes)


def _stage(
    context: LoopContext,
    stage: Stage,
    earlier: Sequence[StageOutcome],
    store: StageStore,
    saved: Mapping[str, Any] | None,
    finished_worlds: Mapping[str, tuple[int, ...]],
) -> StageOutcome:
    """Train, resume or reuse one stage. Its digest is taken once the method has prepared the stage's start.

    How many processes trained it is part of the digest, as batch norm and random numbers depend on it a little. A run
    may go on with another number all the same: the digest then names one after the other, and ``finished_worlds`` how
    it was with the stages this run has finished.
    """
    method, fabric = context.method, context.fabric
    seed_step(context.options.seed, stage.name, "start", 0)
    method.start_stage(stage)
    steps = stage_steps(stage, context.feeds[next(iter(stage.roles))].samples, context.options.steps_scale)
    initial = checkpoint.state_digest(trained_state(method, stage))

    def digest_of(worlds: Sequence[int]) -> str:
        return stage_digest(
            stage,
            data={role: context.feeds[role].digest for role in stage.roles},
            earlier={outcome.name: outcome.digest for outcome in earlier},
            initial=initial,
            steps=steps,
            seed=context.options.seed,
            input_px=method.input_px,
            extra={
                "limit_s": limit_s(stage, context.options),
                "clip_norm": context.options.clip_norm,
                "worlds": list(worlds),
                "code": code_digests(method, stage),
                "acceleration": context.options.acceleration.document(),
                **context.options.shares,
            },
        )

    inside = saved if saved is not None and saved["stage"] == stage.name else None
    worlds = tuple(inside["worlds"]) if inside else finished_worlds.get(stage.name, (fabric.world_size,))
    digest = digest_of(worlds)
    fabric.barrier()
    about = store.restore(digest, method, stage)
    if about is not None:
        if fabric.is_global_zero:
            context.report.note(f"stage '{stage.name}' was trained before and is reused")
        return StageOutcome(stage.name, tuple(stage.roles), digest, about["steps"], about["seconds"], True, worlds)
    if inside is not None:
        if inside["digest"] != digest:
            raise ArtefactError(
                f"the run was interrupted in stage '{stage.name}' with other data, settings or versions",
                where=context.folder,
                hint="resume with the options it was started with, or train under a new --name",
            )
        method.load_state_dict(inside["model"])
    before_worlds = worlds if inside else ()
    if before_worlds[-1:] != (fabric.world_size,):
        worlds = (*before_worlds, fabric.world_size)
        digest = digest_of(worlds)
    freeze_all_but(method, stage)
    before = frozen_digests(method, stage)
    done, seconds = StageRun(context, stage, steps, digest, worlds, inside).run()
    check_frozen(method, stage, before)
    if fabric.is_global_zero:
        store.save(digest, method, stage, {**context.options.about, "steps": done, "seconds": seconds})
        write_worlds(context.folder, {**read_worlds(context.folder), stage.name: worlds})
        for path in checkpoints(context.folder):
            path.unlink()
            checkpoint.sidecar(path).unlink(missing_ok=True)
        context.report.finish()
    fabric.barrier()
    return StageOutcome(stage.name, tuple(stage.roles), digest, done, seconds, False, worlds)


def read_worlds(folder: Path) -> dict[str, tuple[int, ...]]:
    """Stage that a run has finished -> ``StageOutcome.worlds``. Empty where that is not known."""
    try:
        content = json.loads((folder / "checkpoints" / WORLDS).read_text())
        return {str(stage): tuple(int(world) for world in worlds) for stage, worlds in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_worlds(folder: Path, worlds: Mapping[str, Sequence[int]]) -> None:
    write_whole(folder / "checkpoints" / WORLDS, json.dumps(worlds).encode())


def newest_checkpoint(folder: Path, report: Reporter) -> dict[str, Any] | None:
    """A run's newest sound checkpoint inside a stage; a damaged one is said and passed over for the one before it.

    ``None`` when there is none; ``ArtefactError`` when all are damaged.
    """
    problem: ArtefactError | None = None
    for path in reversed(checkpoints(folder)):
        try:
            return checkpoint.load(path)
        except ArtefactError as error:
            problem = problem or error
            report.note(f"{error.message}: going back to the checkpoint before it")
    if problem is not None:
        raise problem
    return None
