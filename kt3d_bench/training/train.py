"""Train one run, from a config to the finished folder."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.errors import UsageError
from kt3d_bench.progress import Reporter
from kt3d_bench.run_folder import final_checkpoint, write_run
from kt3d_bench.training import ranks
from kt3d_bench.training import run as runs
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.run import Resolved
from kt3d_bench.training.sources import Located, is_stream, locate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from kt3d_bench.method import Method, MethodContext, Stage
    from kt3d_bench.training.loop import StageOutcome
    from kt3d_bench.training.streams import Streamed


def train(config: RunConfig, report: Reporter | None = None, *, resume: bool = False) -> Path:
    """Train one run to its end and return its folder, ``<data root>/runs/<name>``.

    Stages that an earlier run trained under the same conditions are reused. ``resume`` continues the newest unfinished
    run of that name. Raises ``UsageError`` for impossible options, ``ArtefactError`` for missing
    target shards and damaged files, ``InterruptedRunError`` after Ctrl-C, ``Kt3dError`` for a loss that is not finite.
    """
    from kt3d_bench.training.loop import run_stages
    from kt3d_bench.training.stages import StageStore

    resolved = runs.resolve(config)
    fabric = start_fabric(resolved)
    report = report if report is not None and fabric.is_global_zero else Reporter()
    located, method, context = _build(resolved, fabric, report)
    folder = _folder(resolved, fabric, resume)
    document = {**_document(resolved, context, located), "processes": fabric.world_size}
    if fabric.is_global_zero:
        write_run(folder, document)
    feeds = {role: _feed(resolved, found) for role, found in located.items()}
    outcomes = run_stages(
        fabric,
        method,
        feeds,
        folder,
        StageStore(config.data_root / "stages"),
        _options(resolved, context),
        report,
        resume=resume,
    )
    if fabric.is_global_zero:
        _finish(folder, document, method, outcomes, _about(resolved, context))
    fabric.barrier()
    return folder


def start_fabric(resolved: Resolved) -> Fabric:
    """Start the processes and return Fabric."""
    import torch

    config = resolved.config
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if resolved.accelerator == "cuda":
        torch.backends.cudnn.benchmark = True
    count = ranks.processes(config.devices, config.num_nodes)
    return ranks.start(count, resolved.accelerator, config.device, resolved.precision)


def _build(
    resolved: Resolved, fabric: Fabric, report: Reporter
) -> tuple[dict[str, Located | Streamed], Method, MethodContext]:
    """Open the source (whose manifest the context needs), build the method, open what its stages read."""
    from kt3d_bench.method import MethodContext

    domains, config = resolved.domains, resolved.config

    def opened(role: str) -> Located | Streamed:
        if role == "source" and is_stream(config.source):
            return _streamed(resolved)
        if fabric.is_global_zero:
            locate(config, role, domains[role], report, resolved.accelerator)
        fabric.barrier()
        return locate(config, role, domains[role], Reporter())

    located = {role: opened(role) for role in ("target", "source") if role in domains}
    source = located.get("source")
    context = MethodContext(
        target_modality=domains["target"].modality,
        num_parts=source.shards.num_parts if source is not None else 0,
        supervision=config.supervision,
        transfers=source is None or source.place != located["target"].place,
    )
    method = build_method(resolved.method, resolved.method_config, context, config.seed)
    for stage in method.stages():
        _check_schedule(resolved, stage)
    located["target"].shards.require(method.reads)
    for role, found in located.items():
        _check_images(method, role, found)
    for role in {role: None for stage in method.stages() for role in stage.roles}:
        if role not in domains:
            raise UsageError(
                f"method '{resolved.plugin.name}' reads {role} data, and no dataset was given for it",
                hint=f"give one: --{role} DATASET",
            )
        if role not in located:
            located[role] = opened(role)
            _check_images(method, role, located[role])
    return located, method, context


def _check_images(method: Method, role: str, found: Located | Streamed) -> None:
    for stage in method.stages():
        found.shards.require(stage.roles.get(role, ()))


def _check_schedule(resolved: Resolved, stage: Stage) -> None:
    length = stage.steps if stage.epochs is None else stage.epochs
    if not 0 <= stage.learning_rate < math.inf or stage.batch_size < 1 or (length is not None and not length >= 0):
        raise UsageError(
            f"stage '{stage.name}' of '{resolved.plugin.name}' has learning rate {stage.learning_rate}, batch size "
            f"{stage.batch_size}, length {length}; none may be negative, and a batch holds at least one sample",
            where="--set",
        )


def build_method(kind: type[Method], config: Any, context: MethodContext, seed: int) -> Method:
    """Build a method whose initial weights depend on the seed only."""
    import torch

    torch.manual_seed(seed)
    return kind(config, context)


def _streamed(resolved: Resolved) -> Streamed:
    from kt3d_bench.loading.stream import Stream
    from kt3d_bench.training.streams import Streamed

    domain = resolved.domains["source"]
    return Streamed("source", domain, Stream(domain.plugin, resolved.config.seed))


def _feed(resolved: Resolved, found: Located | Streamed) -> Any:
    from kt3d_bench.training.feeds import ShardFeed
    from kt3d_bench.training.streams import Streamed, StreamFeed

    if isinstance(found, Streamed):
        return StreamFeed(found.shards)
    return ShardFeed(found.shards, resolved.grant if found.role == "target" else None)


def _folder(resolved: Resolved, fabric: Fabric, resume: bool) -> Path:
    """Claim the folder in the main process and tell the others."""
    folder = runs.claim_folder(resolved, resume=resume) if fabric.is_global_zero else None
    if fabric.world_size > 1:
        folder = fabric.broadcast(folder)
    assert folder is not None
    return folder


def _options(resolved: Resolved, context: MethodContext) -> Any:
    from kt3d_bench.training.steps import LoopOptions

    config = resolved.config
    versions = runs.versions()
    return LoopOptions(
        seed=config.seed,
        steps_scale=config.steps_scale,
        time_scale=config.time_scale,
        clip_norm=config.clip_norm,
        checkpoint_steps=config.checkpoint_steps,
        checkpoint_s=config.checkpoint_s,
        acceleration=_acceleration(resolved),
        about=_about(resolved, context),
        facts={"precision": resolved.precision, "kt3d-bench": versions.get("kt3d-bench", "")},
    )


def _acceleration(resolved: Resolved) -> Any:
    from kt3d_bench.training.acceleration import choose

    config = resolved.config
    return choose(
        resolved.accelerator,
        config.preset,
        resolved.precision,
        channels_last=config.channels_last,
        compiled=config.compiled,
    )


def _about(resolved: Resolved, context: MethodContext) -> dict[str, Any]:
    """Return what a checkpoint needs to rebuild its method without any other file."""

    return {
        "method": resolved.plugin.name,
        "config": asdict(resolved.method_config),
        "context": asdict(context),
        "seed": resolved.config.seed,
        "versions": runs.versions(),
    }


def _document(resolved: Resolved, context: MethodContext, located: Mapping[str, Located | Streamed]) -> dict[str, Any]:

    return {
        "state": "training",
        "command": runs.command_line(),
        "started": _now(),
        "config": asdict(resolved.config),
        "method_config": asdict(resolved.method_config),
        "context": asdict(context),
        "accelerator": resolved.accelerator,
        "precision": resolved.precision,
        "acceleration": _acceleration(resolved).document(),
        "target_labels": {
            "joints_2d": [int(joint) for joint in resolved.grant.mask_2d.nonzero()[0]],
            "joints_3d": [int(joint) for joint in resolved.grant.mask_3d.nonzero()[0]],
        },
        "selection_rule": "last",
        "shards": {role: found.document() for role, found in sorted(located.items())},
        "versions": runs.versions(),
    }


def _finish(
    folder: Path,
    document: Mapping[str, Any],
    method: Method,
    outcomes: tuple[StageOutcome, ...],
    about: Mapping[str, Any],
) -> None:
    """Write the final checkpoint, then record in ``run.yaml`` that the run is complete."""

    from kt3d_bench.training import checkpoint

    stages = [asdict(outcome) for outcome in outcomes]
    model = {name: tensor.detach().cpu() for name, tensor in method.state_dict().items()}
    digest = checkpoint.save(final_checkpoint(folder), {**about, "stages": stages, "model": model})
    write_run(
        folder,
        {**document, "state": "finished", "finished": _now(), "stages": stages, "checkpoint_sha256": digest},
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
