"""``kt3d estimate``: stages, steps, hours, memory and disk of a run that has not been started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.costs.rates import Hardware, Table, measured, read_table
from kt3d_bench.errors import UsageError
from kt3d_bench.plugins import registry
from kt3d_bench.progress import duration
from kt3d_bench.training import run as runs
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.run import Resolved

if TYPE_CHECKING:
    from kt3d_bench.costs.count import StepCount
    from kt3d_bench.method import Method

COUNTED_IMAGES = 2
"""Of a counted step: batch norm needs two."""
MOST_IMAGES_ON_CPU = 8
"""Of a timed step, which then counts in proportion: a large batch would not fit into an ordinary machine's memory."""
HOUR_S = 3600.0


@dataclass(frozen=True)
class StageCost:
    """One stage."""

    name: str
    samples: int
    """Of its first role: an epoch."""
    steps: int
    batch_size: int
    """Over all devices."""
    step: StepCount

    @property
    def flop(self) -> float:
        return self.steps * self.flop_per_step

    @property
    def flop_per_step(self) -> float:
        return self.step.flop / self.step.images * self.batch_size


@dataclass(frozen=True)
class Estimate:
    """What a run will take."""

    stages: tuple[StageCost, ...]
    hours: tuple[float, ...]
    """Of each stage."""
    basis: str
    """What the hours rest on."""
    devices: int
    memory_bytes: float
    """On each device, at the most: the stage that needs most, its activations counted, workspaces not."""
    memory_gb: float | None
    """What the hardware has."""
    disk: Mapping[str, tuple[int, float, bool]]
    """Role -> samples, bytes of its shards, whether they were counted (or reckoned from rates)."""
    bf16: bool

    @property
    def total_hours(self) -> float:
        return sum(self.hours)


def estimate(
    config: RunConfig,
    *,
    samples: Mapping[str, int] | None = None,
    hardware: str | None = None,
    images_per_second: float | None = None,
    measure: bool = False,
    table: Table | None = None,
) -> Estimate:
    """Estimate a run of ``config``.

    ``samples``: role -> training samples, for roles whose shards are not here. Exactly one thing gives the hours:
    ``hardware``, a measured row of the table; ``images_per_second`` through the longest stage, the others in proportion
    to their counted work; or ``measure``, which times a few steps of every stage on this machine's ``config.device``.
    Several ``config.devices`` share the work evenly: the hours are then a lower bound.

    Raises ``UsageError`` for what cannot be asked for, for roles whose size is not known, and for rates that were never
    measured.
    """
    if sum((hardware is not None, images_per_second is not None, measure)) != 1:
        raise UsageError(
            "the hours need one thing to rest on",
            hint="give --hardware NAME, --images-per-second N or --measure, and only one of them",
        )
    table = table or read_table()
    row = measured(hardware, table) if hardware is not None else None
    resolved = runs.resolve(config, planning=True)
    kind = resolved.accelerator if measure else row.kind if row is not None else "cuda"
    bf16 = kind == "cuda" and config.precision in ("auto", "bf16-mixed")
    method = _method(resolved)
    sizes = _sizes(resolved, method, samples or {})
    costs = tuple(_cost(resolved, method, number, sizes, bf16) for number in range(len(method.stages())))
    if measure:
        costs = tuple(_timed(resolved, method, number, cost, bf16) for number, cost in enumerate(costs))
    devices = config.devices * config.num_nodes
    hours, basis = _hours(costs, row, images_per_second)
    return Estimate(
        costs,
        tuple(each / devices for each in hours),
        basis,
        devices,
        max((cost.step.memory_bytes(-(-cost.batch_size // devices)) for cost in costs), default=0.0),
        row.memory_gb if row is not None else None,
        {role: _disk(resolved, method, role, count, table) for role, count in sizes.items()},
        bf16,
    )


def _method(resolved: Resolved) -> Method:
    from kt3d_bench.method import MethodContext
    from kt3d_bench.training.train import build_method

    domains = resolved.domains
    source = domains.get("source")
    context = MethodContext(
        target_modality=domains["target"].modality,
        num_parts=registry.card(source.dataset).num_parts if source is not None else 0,
        supervision=resolved.config.supervision,
        transfers=source is None or source.plugin is not domains["target"].plugin,
    )
    return build_method(resolved.method, resolved.method_config, context, resolved.config.seed)


def _sizes(resolved: Resolved, method: Method, samples: Mapping[str, int]) -> dict[str, int]:
    from kt3d_bench.data.folders import has_shards
    from kt3d_bench.data.manifest import read_manifest
    from kt3d_bench.training.sources import training_split

    sizes: dict[str, int] = {}
    for role in dict.fromkeys(role for stage in method.stages() for role in stage.roles):
        folder = _folder(resolved, role)
        if role in samples:
            sizes[role] = samples[role]
        elif role in resolved.domains and has_shards(folder):
            sizes[role] = read_manifest(folder).splits[training_split(resolved.domains[role], folder)].samples
        else:
            raise UsageError(
                f"how many training samples the {role} has is not known: its shards are not here",
                where=folder,
                hint=f"prepare them, or give --samples {role}=N (the dataset's README says how many there are)",
            )
    return sizes


def _folder(resolved: Resolved, role: str) -> Path:
    from kt3d_bench.data.folders import shards_folder
    from kt3d_bench.data.remote import local_folder

    if role in resolved.config.shards:
        return local_folder(resolved.config.shards[role])
    dataset = resolved.domains[role].dataset if role in resolved.domains else role
    return shards_folder(resolved.config.data_root, dataset)


def _cost(resolved: Resolved, method: Method, number: int, sizes: Mapping[str, int], bf16: bool) -> StageCost:
    from kt3d_bench.costs.count import count_step, made_up_batches
    from kt3d_bench.training.stages import stage_steps

    stage = method.stages()[number]
    count = sizes[next(iter(stage.roles))]
    images = min(COUNTED_IMAGES, stage.batch_size)
    batches = made_up_batches(stage, images, method.input_px, method.context.num_parts, resolved.grant)
    step = count_step(method, stage, batches, bf16=bf16)
    return StageCost(stage.name, count, stage_steps(stage, count, resolved.config.steps_scale), stage.batch_size, step)


def _timed(resolved: Resolved, method: Method, number: int, cost: StageCost, bf16: bool) -> StageCost:
    from kt3d_bench.costs.count import made_up_batches, time_step

    stage = method.stages()[number]
    devices = resolved.config.devices * resolved.config.num_nodes
    images = max(COUNTED_IMAGES, stage.batch_size // devices)
    if resolved.accelerator == "cpu":
        images = min(images, MOST_IMAGES_ON_CPU)
    batches = made_up_batches(stage, images, method.input_px, method.context.num_parts, resolved.grant)
    device = resolved.config.device if ":" in resolved.config.device else resolved.accelerator
    seconds, held = time_step(method, stage, batches, device, bf16=bf16)
    step = replace(cost.step, seconds=seconds / images * cost.step.images)
    if held is not None:
        step = replace(step, activation_bytes=round(max(0, held - step.fixed_bytes) / images * step.images))
    return replace(cost, step=step)


def _hours(
    costs: tuple[StageCost, ...], row: Hardware | None, images_per_second: float | None
) -> tuple[list[float], str]:
    """Hours of each stage on one device, and what they rest on."""
    if row is not None and row.gflop_per_s is not None:
        per_s = row.gflop_per_s * 1e9
        return [cost.flop / per_s / HOUR_S for cost in costs], f"{row.what}: {row.gflop_per_s:g} GFLOP/s ({row.how})"
    if images_per_second is not None:
        if not images_per_second > 0:
            raise UsageError(f"--images-per-second is {images_per_second:g}, expected more than nothing")
        longest = max(costs, key=lambda cost: cost.flop, default=None)
        if longest is None or not longest.flop:
            return [0.0 for _ in costs], "nothing is trained"
        per_flop_s = longest.batch_size / longest.flop_per_step / images_per_second
        return [cost.flop * per_flop_s / HOUR_S for cost in costs], (
            f"{images_per_second:g} images/s through stage '{longest.name}', as given; other stages by their work"
        )
    timed = [(cost, cost.step.seconds or 0.0) for cost in costs]
    return [cost.steps * each / cost.step.images * cost.batch_size / HOUR_S for cost, each in timed], (
        "a few steps of each stage, timed on this machine just now; loading not included"
    )


def _disk(resolved: Resolved, method: Method, role: str, count: int, table: Table) -> tuple[int, float, bool]:
    from kt3d_bench.data.folders import has_shards
    from kt3d_bench.data.manifest import read_manifest
    from kt3d_bench.training.sources import training_split

    folder = _folder(resolved, role)
    if has_shards(folder):
        split = read_manifest(folder).splits[training_split(resolved.domains[role], folder)]
        each = sum(shard.size for shard in split.shards) / max(split.samples, 1)
        return count, each * count, True
    modalities = resolved.domains[role].plugin.modalities
    each = table.crop_bytes["labels"] + sum(table.crop_bytes[name] for name in modalities)
    return count, each * count, False


def lines(found: Estimate) -> list[str]:
    """An estimate in words."""
    said = []
    for cost, hours in zip(found.stages, found.hours, strict=True):
        each = cost.step.flop / cost.step.images / 1e9
        said.append(
            f"Stage {cost.name}: {cost.steps:,} steps of {cost.batch_size} images ({cost.samples:,} samples an epoch), "
            f"{each:,.2f} GFLOP an image: {duration(hours * HOUR_S)}."
        )
    share = "" if found.devices == 1 else f" on {found.devices} devices that share the work evenly, at the least"
    said.append(f"Together {duration(found.total_hours * HOUR_S)}{share}. Rests on {found.basis}.")
    if found.devices > 1:
        most = max(cost.step.gradient_bytes for cost in found.stages)
        said.append(f"At every step each device sends and receives about {2 * most / 1e6:,.0f} MB of gradients.")
    room = "" if found.memory_gb is None else f" of {found.memory_gb:g} GB"
    kind = "bf16 where it may" if found.bf16 else "float32"
    said.append(
        f"Memory of a device: about {found.memory_bytes / 1e9:.2f} GB{room} (weights, gradients, Adam's moments and "
        f"activations in {kind}; workspaces and images waiting come on top)."
    )
    for role, (count, size, counted) in found.disk.items():
        how = "as the shards here" if counted else "from the sizes of stand-in crops"
        said.append(f"Disk for the {role}'s training shards: {size / 1e9:.1f} GB ({count:,} samples, {how}).")
    return said


def document(found: Estimate) -> dict[str, Any]:
    """An estimate as plain data."""
    from dataclasses import asdict

    return {**asdict(found), "total_hours": found.total_hours}
