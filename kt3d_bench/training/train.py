"""Train one run, from a config to the finished folder."""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import installed_versions, write_whole
from kt3d_bench.optimisation import Optimiser, Schedule
from kt3d_bench.plugins import registry
from kt3d_bench.progress import Reporter
from kt3d_bench.run_folder import RUN_FILE, final_checkpoint, write_run
from kt3d_bench.schema import checked
from kt3d_bench.skeletons import H36M17
from kt3d_bench.supervision import Seen, exceeds, grant, labels_name, together
from kt3d_bench.training import ranks
from kt3d_bench.training.claim import claimed
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.environment import FILE, code_states, differences, requirements
from kt3d_bench.training.external import (
    Aid,
    external_data,
    learns_from,
    require_hidden,
    stage_aids,
    test_aids,
    training_target,
)
from kt3d_bench.training.feeds import RoleData
from kt3d_bench.training.resolve import Resolved, resolve, settings_rule
from kt3d_bench.training.sources import is_stream, locate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from kt3d_bench.method import Method, MethodContext, Stage
    from kt3d_bench.training.steps import LoopOptions
    from kt3d_bench.training.trackers import Tracker

_LIBRARIES = ("kt3d-bench", "torch", "lightning-fabric", "numpy", "opencv-python-headless", "simplejpeg")
"""Their versions decide numbers."""


def train(
    config: RunConfig,
    report: Reporter | None = None,
    *,
    resume: bool = False,
    like: Mapping[str, Any] | None = None,
) -> Path:
    """Train one run to its end and return its folder, ``<data root>/runs/<name>``.

    Stages that an earlier run trained under the same conditions are reused. ``resume`` continues the newest unfinished
    run of that name that no other process trains. ``like``: the document of an earlier run; what differs from it is
    reported. Raises ``UsageError`` for impossible options, ``LockedError`` where
    another process trains the run, ``ArtefactError`` for missing target shards and damaged files,
    ``InterruptedRunError`` when it was asked to stop, ``Kt3dError`` for a loss that is not finite.
    """
    from kt3d_bench.training import checkpoint
    from kt3d_bench.training.bounds import require_space
    from kt3d_bench.training.initial import in_words, start_from
    from kt3d_bench.training.loop import run_stages
    from kt3d_bench.training.stages import StageStore
    from kt3d_bench.training.trackers import require_installed, start

    resolved = resolve(config)
    require_installed(config.log)
    fabric = _start_fabric(resolved)
    report = report if report is not None and fabric.is_global_zero else Reporter()
    feeds, method, aids = _build(resolved, fabric, report)
    granted, init = _granted(resolved, method), None
    if config.init is not None:
        init = start_from(method, config.init, config.data_root)
        report.note(in_words(init))
        began, own = (seen.get(resolved.domains["target"].dataset, {}) for seen in (init["saw"], granted))
        init["supervision"] = labels_name(began) if exceeds(began, own) else "none"
    known = together(granted, init["saw"] if init else {})
    require_hidden(aids, known)
    options = _options(resolved, method, init)
    with claimed(fabric, resolved, resume=resume) as folder:
        document = {
            **_document(resolved, options, feeds, method),
            "external_data": _external_data(resolved, method, aids, init),
            "saw": together(known, *(aid.maker.saw for aid in aids)),
            "init": init,
            "processes": fabric.world_size,
        }
        for difference in differences(like, document) if like is not None else ():
            report.note(f"Unlike the earlier run: {difference}")
        kept = {path: path.read_bytes() for path in (folder / RUN_FILE, folder / FILE) if path.is_file()}

        def begin() -> list[Tracker]:
            require_space(folder, method, method.stages())
            write_run(folder, document)
            write_whole(folder / FILE, requirements(document["code"]).encode())
            shown = {"method": resolved.plugin.name, "preset": config.preset, **options.about["config"]}
            return start(config.log, folder, shown)

        store = StageStore(config.data_root / "stages")
        trackers = ranks.by_first(fabric, begin) or []
        try:
            outcomes = run_stages(
                fabric, method, feeds, folder, store, options, report, resume=resume, trackers=trackers
            )
        except ArtefactError:  # such as a resume with other options: what the run was asked for stays on record
            for path, content in kept.items() if fabric.is_global_zero else ():
                write_whole(path, content)
            raise
        finally:
            for tracker in trackers:
                tracker.close()
        if fabric.is_global_zero:
            stages = [asdict(outcome) for outcome in outcomes]
            sizes = {"bone_lengths_mm": bone_lengths_mm(feeds)}
            model = {name: tensor.detach().cpu() for name, tensor in method.state_dict().items()}

            def finish(digest: str) -> None:
                end = {"state": "finished", "finished": _now(), "stages": stages, "checkpoint_sha256": digest}
                write_run(folder, {**document, **end})

            saved = {**options.about, **sizes, "stages": stages, "model": model}
            checkpoint.save(final_checkpoint(folder), saved, ready=finish)
        fabric.barrier()
    return folder


def bone_lengths_mm(feeds: Mapping[str, RoleData]) -> list[float] | None:
    """Return the mean lengths (16,) of ``H36M17.bones`` in the source, else in a target of which every label was seen:
    they tell how far away somebody is in a picture. ``None`` where there are no such shards, or a bone is not known."""
    feed = feeds.get("source")
    if feed is None and (target := feeds["target"]).grant is not None and target.grant.mask_3d.all():
        feed = target
    if feed is None or not isinstance(feed.shards, ShardSet):
        return None
    found = H36M17.bone_lengths(feed.shards.labels.joints_cam_mm)
    known = np.isfinite(found)
    counts = known.sum(axis=0)
    if not counts.all():
        return None
    means = np.where(known, found, 0.0).sum(axis=0) / counts
    return [float(mean) for mean in means]


def _start_fabric(resolved: Resolved) -> Fabric:
    import torch

    config = resolved.config
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if resolved.accelerator == "cuda":
        torch.backends.cudnn.benchmark = not config.deterministic
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic)
    count = ranks.processes(config.devices, config.num_nodes)
    return ranks.start(count, resolved.accelerator, config.device, resolved.precision)


def _build(resolved: Resolved, fabric: Fabric, report: Reporter) -> tuple[dict[str, RoleData], Method, list[Aid]]:
    """Open the source (whose manifest the context needs), build the method, open what its stages read, and what others
    found in it."""
    from kt3d_bench.method import MethodContext

    domains, config = resolved.domains, resolved.config
    aids: list[Aid] = []

    def opened(role: str) -> RoleData:
        domain = domains[role]
        if role == "source" and is_stream(config.source):
            from kt3d_bench.loading.stream import Stream

            return RoleData(domain, Stream(domain.plugin, config.seed))
        if fabric.is_global_zero:
            locate(config, role, domain, report, resolved.accelerator)
        fabric.barrier()
        shards, seen = locate(config, role, domain, Reporter()), None
        if role == "target":
            shards, seen, theirs = training_target(shards, config, resolved.grant)
            aids.extend(theirs)
        return RoleData(domain, shards, seen, held_out=round(config.hold_out * len(shards)))

    found = {role: opened(role) for role in ("target", "source") if role in domains}
    target, source = found["target"], found.get("source")
    context = MethodContext(
        target_modality=target.domain.modality,
        num_parts=source.shards.num_parts if source is not None else 0,
        supervision=learns_from(config),
        transfers=source is None or (source.domain.dataset, source.split) != (target.domain.dataset, target.split),
    )
    method = build_method(resolved.method, resolved.method_config, context, config.seed)
    stages = method.stages()
    for stage in stages:
        _check_schedule(resolved, stage)
    _require_use(config, method, stages)
    target.shards.require(method.reads)
    read = dict.fromkeys(role for stage in stages for role in stage.roles)
    for role in {**found, **read}:
        if role not in domains:
            raise UsageError(
                f"method '{resolved.plugin.name}' reads {role} data, and no dataset was given for it",
                hint=f"give one: --{role} DATASET",
            )
        if role not in found:
            found[role] = opened(role)
        for stage in stages:
            found[role].shards.require(stage.roles.get(role, ()))
    aids += stage_aids(stages, {role: feed.shards for role, feed in found.items()})
    aids += test_aids(_tests(target), config.masks, method)
    return found, method, aids


def _granted(resolved: Resolved, method: Method) -> Seen:
    """Return which labels the stages see: of a source all, of data for pre-training those in 2D."""
    levels = {"target": resolved.grant, "source": grant("full"), "pretrain": grant("full-2d")}
    read = {role for stage in method.stages() for role in stage.roles}
    return together(*({resolved.domains[role].dataset: levels[role].labels} for role in sorted(read)))


def _require_use(config: RunConfig, method: Method, stages: Sequence[Stage]) -> None:
    """Raise ``UsageError`` for masks and pseudo-labels that would change nothing."""
    read = [stage.roles["target"] for stage in stages if "target" in stage.roles]
    if config.masks and not any("foreground" in one for one in (*read, method.reads)):
        what = f"method '{config.method}' reads no foreground of the target"
        raise UsageError(what, where="--masks", hint="leave it out, or choose settings that read masks")
    if config.pseudo_labels and any("target" in stage.roles and "extrinsics" in stage.asks for stage in stages):
        what = f"method '{config.method}' asks where the target's cameras stand, and pseudo-labels do not say so"
        raise UsageError(what, where="--pseudo-labels", hint="leave it out, or choose settings that do without")
    if config.pseudo_labels and not read:
        raise UsageError(
            f"method '{config.method}' does not train on the target", where="--pseudo-labels", hint="leave it out"
        )


def _tests(target: RoleData) -> list[ShardSet]:
    """Return those splits of the target's shards that its benchmarks test on."""
    shards, domain = target.shards, target.domain
    if not isinstance(shards, ShardSet):
        return []
    offered = [domain.benchmark] if domain.benchmark else registry.benchmarks_of(domain.dataset)
    splits = sorted({benchmark.split for benchmark in offered} & shards.manifest.splits.keys())
    return [ShardSet.open(shards.folder, split) for split in splits]


def _check_schedule(resolved: Resolved, stage: Stage) -> None:
    length = stage.steps if stage.epochs is None else stage.epochs
    where = f"stage '{stage.name}' of '{resolved.plugin.name}'"
    wrong = checked(Schedule, stage.schedule)[1]
    for optimiser in stage.optimisers.values():
        wrong += checked(Optimiser, optimiser)[1]
    if stage.batch_size < 1:
        wrong.append(f"batch_size is {stage.batch_size}: expected at least 1")
    if length is not None and not 0 <= length < math.inf:
        wrong.append(f"its length is {length}: expected at least 0")
    if stage.average is not None and not 0 <= stage.average < 1:
        wrong.append(f"average is {stage.average}: expected from 0 to below 1")
    if wrong:
        raise UsageError(f"{where}: {'; '.join(wrong)}", hint="change the --set that decides this")


def build_method(kind: type[Method], config: Any, context: MethodContext, seed: int) -> Method:
    """Build a method whose initial weights depend on the seed only."""
    import torch

    torch.manual_seed(seed)
    return kind(config, context)


def _options(resolved: Resolved, method: Method, init: Mapping[str, Any] | None) -> LoopOptions:
    from kt3d_bench.training.acceleration import choose
    from kt3d_bench.training.steps import LoopOptions

    config, versions = resolved.config, installed_versions(_LIBRARIES)
    layout = {"channels_last": config.channels_last, "compiled": config.compiled}
    return LoopOptions(
        seed=config.seed,
        steps_scale=config.steps_scale,
        time_scale=config.time_scale,
        clip_norm=config.clip_norm,
        checkpoint_steps=config.checkpoint_steps,
        checkpoint_s=config.checkpoint_s,
        validate_every=config.validate_every,
        sharing=ranks.processes(config.devices, config.num_nodes).sharing,
        acceleration=choose(resolved.accelerator, config.preset, resolved.precision, **layout),
        about={
            "method": resolved.plugin.name,
            "config": asdict(resolved.method_config),
            "context": asdict(method.context),
            "seed": config.seed,
            "versions": versions,
        },
        facts={
            "precision": resolved.precision,
            "kt3d-bench": versions.get("kt3d-bench", ""),
            **({"deterministic": True} if config.deterministic else {}),
            "init": init["sha256"] if init else None,
        },
    )


def _document(
    resolved: Resolved, options: LoopOptions, feeds: Mapping[str, RoleData], method: Method
) -> dict[str, Any]:
    return {
        "state": "training",
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": _now(),
        "config": asdict(resolved.config),
        "method_config": options.about["config"],
        "context": options.about["context"],
        "accelerator": resolved.accelerator,
        "precision": resolved.precision,
        "acceleration": asdict(options.acceleration),
        "target_labels": resolved.grant.labels,
        "selection_rule": "last",
        "settings_rule": settings_rule(resolved.plugin, resolved.config.settings),
        "shards": {role: found.document() for role, found in sorted(feeds.items())},
        "versions": options.about["versions"],
        "code": code_states(["kt3d_bench", resolved.method.__module__.partition(".")[0]]),
    }


def _external_data(
    resolved: Resolved, method: Method, aids: Sequence[Aid], init: Mapping[str, Any] | None
) -> list[str]:
    """What a run declares: of its method, of the detections that it uses, of the run that it starts from, and that the
    places of the target's cameras are known."""
    stages = method.stages()
    placed = any("target" in one.roles and (one.views is not None or "extrinsics" in one.asks) for one in stages)
    found = [*resolved.plugin.external_data, *external_data(aids), *(init["external_data"] if init else ())]
    return list(dict.fromkeys(found)) + ["places of the target's cameras"] * placed


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
