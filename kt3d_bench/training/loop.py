"""The one training loop: stages in order, on Lightning Fabric, resumable to the bit.

Each step's random numbers are a function of the run's seed, the stage, the step and the process: torch's generators
are seeded anew before every step, so a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.errors import ArtefactError
from kt3d_bench.interrupts import InterruptedRunError, graceful_stop
from kt3d_bench.method import OWN, Method, Stage
from kt3d_bench.progress import Reporter
from kt3d_bench.training import acceleration, bounds, checkpoint, interim
from kt3d_bench.training.feeds import Feed
from kt3d_bench.training.log import StageLog
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
from kt3d_bench.training.steps import Clock, Learner, LoopContext, LoopOptions, opened, seed_step
from kt3d_bench.training.trackers import Tracker
from kt3d_bench.training.validation import Validation

if TYPE_CHECKING:
    from lightning_fabric import Fabric


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
    trackers: Sequence[Tracker] = (),
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
        context = LoopContext(fabric, method, feeds, folder, options, report, stop, trackers)
        saved = interim.newest(folder, report) if resume else None
        worlds = interim.read_worlds(folder) if resume else {}
        for stage in stages:
            outcomes.append(_stage(context, stage, outcomes, store, saved, worlds))
        if fabric.broadcast(stop.requested):
            raise InterruptedRunError(
                "stopped after the last stage; nothing is lost",
                where=folder,
                hint="continue with the same command and --resume",
            )
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

    It includes how many processes trained, as batch norm and random numbers depend on it a little. A run may go on with
    another number: the digest then names one after the other; ``finished_worlds`` has those of its finished stages.
    """
    method, fabric = context.method, context.fabric
    seed_step(context.options.seed, stage.name, "start", 0)
    method.start_stage(stage)
    steps = stage_steps(stage, context.feeds[next(iter(stage.roles))].samples, context.options.steps_scale)
    options, before_it = context.options, {outcome.name: outcome.digest for outcome in earlier}
    facts = {
        "data": {role: context.feeds[role].digest for role in stage.roles},
        **({"detections": _detections(context, stage)} if stage.detections else {}),
        "after": {name: before_it[name] for name in stage.after},
        "initial": checkpoint.state_digest(trained_state(method, stage)),
        "steps": steps,
        "seed": options.seed,
        "input_px": method.input_px,
    }
    extra = {
        "limit_s": options.limit_s(stage),
        "clip_norm": options.clip_norm,
        "code": code_digests(method, stage),
        "acceleration": asdict(options.acceleration),
        **options.facts,
    }

    def digest_of(worlds: Sequence[int]) -> str:
        return stage_digest(stage, {**facts, "extra": {**extra, "worlds": list(worlds)}})

    inside = saved if saved is not None and saved["stage"] == stage.name else None
    worlds = tuple(inside["worlds"]) if inside else finished_worlds.get(stage.name, (fabric.world_size,))
    digest = digest_of(worlds)
    fabric.barrier()
    about = store.restore(digest, method, stage)
    if about is not None:
        if fabric.is_global_zero:
            context.report.note(f"stage '{stage.name}' was trained before and is reused")
            if inside is not None:
                interim.delete(interim.listed(context.folder))
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
    done, seconds = train_stage(context, stage, steps, {"digest": digest, "worlds": list(worlds)}, inside)
    check_frozen(method, stage, before)
    if fabric.is_global_zero:
        interim.write_worlds(context.folder, {**interim.read_worlds(context.folder), stage.name: worlds})
        store.save(digest, method, stage, {**context.options.about, "steps": done, "seconds": seconds})
        interim.delete(interim.listed(context.folder))
        context.report.finish()
    fabric.barrier()
    return StageOutcome(stage.name, tuple(stage.roles), digest, done, seconds, False, worlds)


def _detections(context: LoopContext, stage: Stage) -> dict[str, str]:
    """Role -> digest of its detections; of those that the method finds itself, the digest of the whole method."""
    own = checkpoint.state_digest(context.method.state_dict()) if OWN in stage.detections.values() else ""
    return {
        role: own if name == OWN else context.feeds[role].detections_digest(name)
        for role, name in sorted(stage.detections.items())
    }


def train_stage(
    context: LoopContext, stage: Stage, steps: int, identity: Mapping[str, Any], saved: Mapping[str, Any] | None
) -> tuple[int, float]:
    """Train one stage to its end, from the checkpoint ``saved`` on if there is one; return its steps and seconds.

    ``identity``: what its checkpoints record beside their content. Raises ``Kt3dError`` for a loss that is not finite
    and where memory runs out, ``InterruptedRunError`` when asked to stop.
    """
    learner = Learner(context, stage, saved)
    with opened(context, stage, saved, shared=bool(learner.optimizers)) as sources:
        clock = Clock(context, stage, steps, saved)
        validation = Validation(context, stage, clock, learner)
        log = StageLog(context, stage, clock, learner, sources)
        saver = interim.Saver(context, stage, clock, learner, sources, log, identity)
        validation.look_if_due(log)
        settings = context.options.about.get("config", {})
        streams = {role: iter(source) for role, source in sources.items()}
        while (progress := clock.look()).fraction < 1.0:
            if clock.stop:
                saver.stop()
            with bounds.explained(stage, settings, context.fabric.device):
                losses = learner.step({role: next(stream) for role, stream in streams.items()}, progress)
            clock.step += 1
            log.add(losses)
            validation.look_if_due(log)
            saver.save_if_due()
        validation.look_if_due(log, end=True)
    log.finish()
    learner.finish()
    return clock.step, round(clock.elapsed_s, 3)
