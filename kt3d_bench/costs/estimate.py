"""``kt.estimate``: stages, steps, hours, memory and disk of a run before it starts.

``rates.yaml`` holds measured rates. A row without a number was not measured, and nothing is estimated from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import yaml

from kt3d_bench.data.folders import has_shards, shards_folder
from kt3d_bench.data.manifest import Split, read_manifest
from kt3d_bench.data.remote import local_folder
from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.files import default_data_root
from kt3d_bench.progress import duration
from kt3d_bench.training.config import RunConfig, RunOptions
from kt3d_bench.training.resolve import Resolved, device_name, resolve
from kt3d_bench.training.sources import training_split
from kt3d_bench.training.train import build_method

if TYPE_CHECKING:
    from kt3d_bench.costs.count import StepCount
    from kt3d_bench.method import Method, Stage

COUNTED_IMAGES = 2
"""Images of a counted step: batch norm needs two."""
MOST_IMAGES_ON_CPU = 8
"""Most images of a step timed on a CPU, which then counts in proportion: larger batches may not fit into memory."""
HOUR_S = 3600.0


@dataclass(frozen=True)
class Hardware:
    """One device as it was measured."""

    name: str
    kind: str
    """"cpu" or "cuda"."""
    what: str
    gflop_per_s: float | None
    """Convolutions and matrix products of training steps, forward and backward (``torch.utils.flop_counter``), over
    the time of the whole step; ``None`` = not measured yet."""
    memory_gb: float | None
    how: str


@dataclass(frozen=True)
class Table:
    """``rates.yaml``."""

    hardware: Mapping[str, Hardware]
    crop_bytes: Mapping[str, float]
    """Modality -> bytes of a stored crop, tar header and share of the labels included."""

    def measured(self, name: str) -> Hardware:
        """Return a row that holds a rate. Raises ``UsageError`` for an unknown name and a row without a rate."""
        if name not in self.hardware:
            hint = did_you_mean(name, self.hardware)
            raise UsageError(f"there is no hardware '{name}'", where="--hardware", hint=hint)
        if self.hardware[name].gflop_per_s is None:
            known = ", ".join(row.name for row in self.hardware.values() if row.gflop_per_s is not None)
            raise UsageError(
                f"the rate of '{name}' has not been measured yet",
                where="--hardware",
                hint=f"give --images-per-second N, or run kt3d estimate --measure on that machine (measured: {known})",
            )
        return self.hardware[name]


def read_table() -> Table:
    content = yaml.safe_load(Path(__file__).with_name("rates.yaml").read_text())
    rows = {name: Hardware(name=name, **row) for name, row in content["hardware"].items()}
    return Table(rows, dict(content["crop_bytes"]["rows"]))


@dataclass(frozen=True)
class StageCost:
    """The cost of one stage."""

    name: str
    samples: int
    """Training samples of its first role: one epoch."""
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
    """Hours of each stage."""
    basis: str
    """What the hours are based on."""
    devices: int
    memory_bytes: float
    """Peak on each device, in the stage that needs most: activations counted, workspaces not."""
    memory_gb: float | None
    """What the hardware has."""
    disk: Mapping[str, tuple[int, float, bool]]
    """Role -> samples, bytes of its shards, whether these were counted (or computed from rates)."""
    bf16: bool

    @property
    def total_hours(self) -> float:
        return sum(self.hours)

    def document(self) -> dict[str, Any]:
        """Return the estimate as plain data."""
        return {**asdict(self), "total_hours": self.total_hours}

    def lines(self) -> list[str]:
        """Return the estimate as sentences."""
        found = []
        for cost, hours in zip(self.stages, self.hours, strict=True):
            each = cost.step.flop / cost.step.images / 1e9
            found.append(
                f"Stage {cost.name}: {cost.steps:,} steps of {cost.batch_size} images ({cost.samples:,} samples per "
                f"epoch), {each:,.2f} GFLOP per image: {duration(hours * HOUR_S)}."
            )
        share = "" if self.devices == 1 else f" at least, on {self.devices} devices that share the work evenly"
        found.append(f"Total: {duration(self.total_hours * HOUR_S)}{share}. Based on {self.basis}.")
        if self.devices > 1:
            most = max(cost.step.gradient_bytes for cost in self.stages)
            found.append(f"In every step each device sends and receives about {2 * most / 1e6:,.0f} MB of gradients.")
        room = "" if self.memory_gb is None else f" of {self.memory_gb:g} GB"
        kind = "bf16 where possible" if self.bf16 else "float32"
        found.append(
            f"Memory of a device: about {self.memory_bytes / 1e9:.2f} GB{room} (weights, gradients, Adam's moments and "
            f"activations in {kind}; workspaces and queued images come on top)."
        )
        for role, (count, size, counted) in self.disk.items():
            how = "from the shards here" if counted else "from the sizes of stand-in crops"
            found.append(f"Disk for the {role}'s training shards: {size / 1e9:.1f} GB ({count:,} samples, {how}).")
        return found


def estimate(
    method: str,
    *,
    samples: Mapping[str, int] | None = None,
    hardware: str | None = None,
    images_per_second: float | None = None,
    measure: bool = False,
    data: Path | str | None = None,
    **options: Unpack[RunOptions],
) -> Estimate:
    """Estimate hours, memory and disk of a run; train nothing. ``method``, ``data`` and ``options`` as in ``kt.train``.

    ``samples``: role -> training samples, for roles whose shards are not here. The hours are based on exactly one of:
    ``hardware``, a row of measured rates such as "cpu-2-cores-busy"; ``images_per_second`` through the longest stage,
    the others in proportion to their counted work; ``measure``, which times a few steps of every stage on this
    machine's ``device``. Several ``devices`` share the work evenly: the hours are then a lower bound.

    Raises ``UsageError`` for impossible options, roles of unknown size, and hardware that was not measured.
    """
    config = RunConfig(method=method, data_root=Path(data or default_data_root()), **options)
    resolved = resolve(config, planning=True)
    if sum((hardware is not None, images_per_second is not None, measure)) != 1:
        raise UsageError(
            "hours need exactly one basis", hint="give one of --hardware NAME, --images-per-second N and --measure"
        )
    table = read_table()
    row = table.measured(hardware) if hardware is not None else None
    kind = resolved.accelerator if measure else row.kind if row is not None else "cuda"
    there = kind == "cuda" and config.precision in ("auto", "bf16-mixed")
    bf16 = resolved.precision == "bf16-mixed" if measure else there
    with nullcontext() if measure else _undrawn():
        built = build_method(resolved.method, resolved.method_config, resolved.planned_context(), config.seed)
    stages = built.stages()
    sizes = {role: _samples(resolved, role, samples or {}) for stage in stages for role in stage.roles}
    costs = [_cost(resolved, built, stage, sizes[next(iter(stage.roles))], bf16) for stage in stages]
    if measure:
        costs = [_timed(resolved, built, stage, cost, bf16) for stage, cost in zip(stages, costs, strict=True)]
    devices = config.devices * config.num_nodes
    hours, basis = _hours(costs, row, images_per_second)
    return Estimate(
        tuple(costs),
        tuple(each / devices for each in hours),
        basis,
        devices,
        max((cost.step.memory_bytes(-(-cost.batch_size // devices)) for cost in costs), default=0.0),
        row.memory_gb if row is not None else None,
        {role: _disk(resolved, role, count, table) for role, count in sizes.items()},
        bf16,
    )


def _undrawn() -> AbstractContextManager[Any]:
    from kt3d_bench.costs.count import Undrawn

    return Undrawn()


def _samples(resolved: Resolved, role: str, given: Mapping[str, int]) -> int:
    folder, split = _shards(resolved, role)
    if role in given:
        return given[role]
    if split is None:
        raise UsageError(
            f"the number of training samples of the {role} is not known: its shards are not here",
            where=folder,
            hint=f"prepare them, or give --samples {role}=N (the dataset's README says how many there are)",
        )
    return split.samples


def _shards(resolved: Resolved, role: str) -> tuple[Path, Split | None]:
    """Where a role's shards belong, and their training split if they are there."""
    config, domain = resolved.config, resolved.domains.get(role)
    folder = shards_folder(config.data_root, domain.dataset if domain is not None else role)
    if role in config.shards:
        folder = local_folder(config.shards[role])
    if domain is None or not has_shards(folder):
        return folder, None
    return folder, read_manifest(folder).splits[training_split(domain, folder)]


def _cost(resolved: Resolved, method: Method, stage: Stage, samples: int, bf16: bool) -> StageCost:
    from kt3d_bench.costs.count import count_step, made_up_batches
    from kt3d_bench.training.stages import stage_steps

    images = min(COUNTED_IMAGES, stage.batch_size)
    batches = made_up_batches(stage, images, method.input_px, method.context.num_parts, resolved.grant)
    step = count_step(method, stage, batches, bf16=bf16)
    steps = stage_steps(stage, samples, resolved.config.steps_scale)
    return StageCost(stage.name, samples, steps, stage.batch_size, step)


def _timed(resolved: Resolved, method: Method, stage: Stage, cost: StageCost, bf16: bool) -> StageCost:
    from kt3d_bench.costs.count import made_up_batches, time_step

    images = max(COUNTED_IMAGES, stage.batch_size // (resolved.config.devices * resolved.config.num_nodes))
    if resolved.accelerator == "cpu":
        images = min(images, MOST_IMAGES_ON_CPU)
    batches = made_up_batches(stage, images, method.input_px, method.context.num_parts, resolved.grant)
    seconds, held = time_step(method, stage, batches, device_name(resolved.config.device), bf16=bf16)
    step = replace(cost.step, seconds=seconds / images * cost.step.images)
    if held is not None:
        step = replace(step, activation_bytes=round(max(0, held - step.fixed_bytes) / images * step.images))
    return replace(cost, step=step)


def _hours(
    costs: Sequence[StageCost], row: Hardware | None, images_per_second: float | None
) -> tuple[list[float], str]:
    """Hours of each stage on one device, and what they are based on."""
    if row is not None and row.gflop_per_s is not None:
        per_s = row.gflop_per_s * 1e9
        return [cost.flop / per_s / HOUR_S for cost in costs], f"{row.what}: {row.gflop_per_s:g} GFLOP/s ({row.how})"
    if images_per_second is not None:
        if not images_per_second > 0:
            raise UsageError(f"--images-per-second is {images_per_second:g}", hint="give a number above 0")
        longest = max(costs, key=lambda cost: cost.flop, default=None)
        if longest is None or not longest.flop:
            return [0.0 for _ in costs], "nothing: no stage is trained"
        per_flop_s = longest.batch_size / longest.flop_per_step / images_per_second
        return [cost.flop * per_flop_s / HOUR_S for cost in costs], (
            f"{images_per_second:g} images/s through stage '{longest.name}', as given; other stages by their work"
        )
    timed = [(cost, cost.step.seconds or 0.0) for cost in costs]
    return [cost.steps * each / cost.step.images * cost.batch_size / HOUR_S for cost, each in timed], (
        "a few steps of each stage, timed on this machine just now, without loading"
    )


def _disk(resolved: Resolved, role: str, count: int, table: Table) -> tuple[int, float, bool]:
    _, split = _shards(resolved, role)
    if split is not None:
        return count, sum(shard.size for shard in split.shards) / max(split.samples, 1) * count, True
    modalities = resolved.domains[role].plugin.modalities
    return count, (table.crop_bytes["labels"] + sum(table.crop_bytes[name] for name in modalities)) * count, False
