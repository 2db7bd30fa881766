"""Find the shards of each role, and generate stand-ins for missing source and pre-training data."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.cores import cores
from kt3d_bench.data.folders import has_shards, shards_folder
from kt3d_bench.data.remote import local_folder
from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.locks import held
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import DatasetPlugin
from kt3d_bench.progress import Reporter
from kt3d_bench.standins import MARKER, held_out_options
from kt3d_bench.supervision import HELD_OUT

if TYPE_CHECKING:
    from kt3d_bench.data.reader import ShardSet
    from kt3d_bench.metrics.benchmarks import Benchmark
    from kt3d_bench.training.config import RunConfig

STAND_IN_SIZES: Mapping[str, tuple[int, int]] = {"laptop": (100, 100), "small": (400, 25), "paper": (2000, 40)}
"""Preset -> people and frames of a stand-in."""
STAND_IN_SEED = 0
GENERATED = "generated"
_PATIENCE_S = 7200.0
_MADE = "kt3d-stand-in.txt"
"""File in a stand-in made here: generator version and arguments."""


@dataclass(frozen=True)
class Domain:
    """The meaning of a name given to --target, --source or --pretrain: a dataset, or one benchmark's part of it."""

    name: str
    """As it was given."""
    plugin: DatasetPlugin
    benchmark: Benchmark | None
    """``None`` where a dataset has no benchmark, or several that share their training data."""

    @property
    def dataset(self) -> str:
        return self.plugin.name

    @property
    def training_splits(self) -> list[str]:
        """Splits to train on, the preferred one first: the benchmark's, else those that no benchmark tests on."""
        if self.benchmark is not None and self.benchmark.train is not None:
            return [self.benchmark.train]
        tested = {benchmark.split for benchmark in registry.benchmarks_of(self.dataset)}
        free = [split for split in self.plugin.splits if split not in tested]
        return sorted(free, key=lambda split: split != "train")

    @property
    def modality(self) -> str:
        """What a method is given of this domain as a target: its benchmarks' modality, else RGB before depth."""
        for benchmark in (self.benchmark,) if self.benchmark else registry.benchmarks_of(self.dataset):
            return benchmark.modality
        return "rgb" if "rgb" in self.plugin.modalities else "depth"


def is_stream(name: str | None) -> bool:
    """Return whether a name given to ``--source`` asks for samples that are generated during training."""
    return name is not None and name.partition(":")[0] == GENERATED


def domain(name: str) -> Domain:
    """Return the domain of a dataset's or a benchmark's name.

    Raises ``UsageError`` for a name that is neither, and for a dataset whose benchmarks train on different splits.
    """
    known = registry.benchmarks()
    if name in known and name not in registry.datasets():
        return Domain(name, registry.dataset(known[name].dataset), known[name])
    if name not in registry.datasets():
        hint = did_you_mean(name, [*registry.datasets(), *known])
        raise UsageError(f"there is no dataset or benchmark '{name}'", hint=hint)
    plugin = registry.dataset(name)
    offered = registry.benchmarks_of(plugin.name)
    if len({benchmark.train for benchmark in offered}) > 1:
        raise UsageError(
            f"'{name}' has several benchmarks that train on different splits",
            hint=f"name one of them instead: {' or '.join(benchmark.id for benchmark in offered)}",
        )
    return Domain(name, plugin, offered[0] if len(offered) == 1 else None)


def locate(config: RunConfig, role: str, domain: Domain, report: Reporter, device: str = "cpu") -> ShardSet:
    """Open the training split of a role's domain; download shards behind a URL first.

    Missing source and pre-training shards are generated, with a note. Raises ``ArtefactError`` for corrupt shards, and
    when the target's are missing, with the ``kt3d prepare`` command to run.
    """
    from kt3d_bench.data.reader import ShardSet

    dataset = domain.dataset
    given = config.shards.get(role)
    folder = shards_folder(config.data_root, dataset) if given is None else local_folder(given)
    if not has_shards(folder):
        if role == "target" or role in config.shards:
            problem = f"there are no shards of '{dataset}', the {role}"
            raise ArtefactError(problem, where=folder, hint=f"make them: kt3d prepare {dataset}")
        folder = stand_in(config, domain, report, device)
    shards = ShardSet.open(folder, training_split(domain, folder))
    fetch(shards, report)
    return shards


def fetch(shards: ShardSet, report: Reporter) -> None:
    """Download every tar of shards that lie behind a URL, with progress in MB. Shards in a folder need nothing."""
    if shards.url is not None:
        report.note(f"shards of '{shards.manifest.dataset}' from {shards.url} are kept in {shards.folder}")
        shards.fetch(report.following(f"fetch {shards.manifest.dataset} {shards.split} (MB)", unit=1 << 20))


def training_split(domain: Domain, folder: Path) -> str:
    """Return the split of these shards to train on. Raises ``ArtefactError`` when they hold none."""
    from kt3d_bench.data.manifest import read_manifest

    present = read_manifest(folder).splits
    for split in domain.training_splits:
        if split in present:
            return split
    raise ArtefactError(
        f"the shards hold {', '.join(sorted(present)) or 'nothing'}, and no split to train on",
        where=folder,
        hint=f"prepare all splits: kt3d prepare {domain.dataset}",
    )


def stand_in(
    config: RunConfig,
    domain: Domain,
    report: Reporter,
    device: str,
    *,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
) -> Path:
    """Generate and prepare a stand-in unless it is there; return the folder of its shards.

    ``splits``: by default the one to train on.
    """
    from kt3d_bench.data.manifest import read_manifest

    plugin, wanted = domain.plugin, list(splits or domain.training_splits[:1])
    arguments = stand_in_arguments(config, plugin)
    size = f"{arguments['people']}x{arguments['frames']}"
    kind = "" if config.stand_in_held_out == HELD_OUT[0] else f"{config.stand_in_held_out}-"
    home = config.data_root / "generated" / plugin.name / f"{kind}{size}"
    raw, out = home / "raw", home / "shards"
    there = read_manifest(out) if has_shards(out) else None
    version = registry.load(f"{registry.generator(plugin)}:VERSION")
    whole = there is not None and there.generator_version == version and set(wanted) <= there.splits.keys()
    if whole and (not raw.exists() or is_stand_in(raw, plugin, arguments)):
        report.note(f"no shards of '{plugin.name}': using the generated stand-in in {out}")
        return out
    report.note(
        f"no shards of '{plugin.name}': generating a stand-in in {home} (people x frames: {size}); "
        f"for the real data: kt3d prepare {plugin.name}"
    )
    make_stand_in(plugin, arguments, raw, out, report, splits=wanted, device=device, workers=workers)
    return out


def make_stand_in(
    plugin: DatasetPlugin,
    arguments: Mapping[str, Any],
    raw: Path,
    out: Path,
    report: Reporter,
    *,
    splits: Sequence[str] | None = None,
    device: str = "cpu",
    workers: int | None = None,
) -> None:
    """Generate a stand-in in ``raw`` and prepare its ``splits`` (default: all) in ``out``; keep what the same generator
    already made of the same arguments, and wait for another process that makes it.

    Raises ``UsageError`` when ``raw`` holds something that was not generated.
    """
    workers = workers or cores()
    busy, hint = f"another process makes the stand-in of {plugin.name}", "try again when it has ended"
    with held(raw.parent / ".lock", busy, hint, wait_s=_PATIENCE_S, waiting=report.note):
        _make_stand_in(plugin, arguments, raw, out, report, splits, device, workers)


def _make_stand_in(
    plugin: DatasetPlugin,
    arguments: Mapping[str, Any],
    raw: Path,
    out: Path,
    report: Reporter,
    splits: Sequence[str] | None,
    device: str,
    workers: int,
) -> None:
    from kt3d_bench.data.prepare import holds_stand_in, prepare

    if not is_stand_in(raw, plugin, arguments):
        old = raw.with_name(f"{raw.name}.old")  # renamed first: what is half removed would be taken for a user's
        shutil.rmtree(old, ignore_errors=True)
        if any((raw / mark).is_file() for mark in (MARKER, _MADE)):
            raw.rename(old)
            shutil.rmtree(old)
        generate = registry.load_function(registry.generator(plugin), "generate")
        progress = report.following(f"generate {plugin.name}")
        generate(raw, seed=STAND_IN_SEED, motion=None, device=device, workers=workers, progress=progress, **arguments)
        (raw / _MADE).write_text(_described(plugin, arguments))
    old_shards = holds_stand_in(out)
    prepare(plugin, raw=raw, out=out, splits=splits, workers=workers, report=report, overwrite=old_shards)


def is_stand_in(raw: Path, plugin: DatasetPlugin, arguments: Mapping[str, Any]) -> bool:
    """Return whether ``raw`` holds what the present generator makes of ``arguments``."""
    made = raw / _MADE
    return made.is_file() and made.read_text() == _described(plugin, arguments)


def _described(plugin: DatasetPlugin, arguments: Mapping[str, Any]) -> str:
    version = registry.load(f"{registry.generator(plugin)}:VERSION")
    return f"version {version}, seed {STAND_IN_SEED}, {sorted(arguments.items())}\n"


def stand_in_arguments(config: RunConfig, plugin: DatasetPlugin) -> dict[str, Any]:
    """Return the generator's arguments: for ``tiny`` those of the dataset's demo, else a size by preset."""
    if config.preset in STAND_IN_SIZES:
        arguments: dict[str, Any] = dict(zip(("people", "frames"), STAND_IN_SIZES[config.preset], strict=True))
        arguments |= getattr(registry.load(registry.generator(plugin)), "SIZES", {}).get(config.preset, {})
    else:
        arguments = dict(registry.load(f"{registry.generator(plugin)}:DEMO"))
    if config.stand_in_held_out != HELD_OUT[0]:
        generate = registry.load_function(registry.generator(plugin), "generate")
        tested = bool(registry.benchmarks_of(plugin.name))
        arguments |= held_out_options(generate, config.stand_in_held_out, tested=tested)
    given = {"people": config.stand_in_people, "frames": config.stand_in_frames}
    return arguments | {name: value for name, value in given.items() if value is not None}
