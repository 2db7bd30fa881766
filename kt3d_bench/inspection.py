"""What lies at a path, in sentences: shards, a run, predictions, or a raw dataset and what it lacks."""

from __future__ import annotations

import json
import shlex
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.budgets import read_whole
from kt3d_bench.cores import cores
from kt3d_bench.data.remote import local_folder
from kt3d_bench.errors import ArtefactError, Kt3dError, MissingDataError, PluginError, RawDataError, UsageError
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.cards import read_card
from kt3d_bench.plugins.hookspecs import DatasetPlugin
from kt3d_bench.progress import duration
from kt3d_bench.records import WorkItem
from kt3d_bench.skeletons import H36M17, Quality
from kt3d_bench.standins import MARKER

if TYPE_CHECKING:
    from kt3d_bench.data.manifest import Manifest

_MANIFEST, _RUN = "manifest.json", "run.yaml"


@dataclass(frozen=True)
class _Split:
    """What a raw folder holds of one split: its work items, or why there are none."""

    items: list[WorkItem]
    first: str = ""
    """What ``prepare`` must do before it knows the work items, such as unpacking."""
    refused: str = ""
    """Why the split cannot be prepared."""
    absent: bool = False
    """Whether nothing of it is there: no sign that the folder is meant to be this dataset."""


def inspect(path: Path | str, dataset: str | None = None) -> list[str]:
    """Describe the shards, run, predictions or raw dataset at ``path``; the last sentence says what to do next.

    ``path``: a file, a folder, or the URL of shards. ``dataset``: the dataset that a raw folder should hold (default:
    every installed dataset is tried). Raises ``UsageError`` when nothing is there, ``RawDataError`` when no dataset
    recognises it, and whatever reading the artefact raises.
    """
    path = local_folder(path)
    if not path.exists():
        raise UsageError("there is nothing here", where=path)
    if path.is_file() and path.suffix == ".npz" and _holds_predictions(path):
        return _predictions(path)
    if is_motion(path):
        return _motion(path)
    if (path / _MANIFEST).is_file():
        from kt3d_bench.data.manifest import read_manifest

        return [*_manifest_lines(read_manifest(path)), f"Next: kt3d validate {shlex.quote(str(path))}"]
    if (path / _RUN).is_file():
        return _run(path)
    if path.is_dir() and dataset is None and (several := shards_folders(path)):
        return _folder_of_shards(path, several)
    for folder, (name, kind) in product(path.absolute().parents[:2], ((_MANIFEST, "shards"), (_RUN, "a run"))):
        if (folder / name).is_file():
            raise UsageError(f"this is a part of {kind}", where=path, hint=f"inspect the whole: kt3d inspect {folder}")
    if path.is_file() and path.suffix == ".npz":
        raise ArtefactError(
            "this .npz holds no predictions", where=path, hint="those have arrays 'keys' and 'joints_cam_mm'"
        )
    return _raw(path, dataset)


def facts(path: Path | str, dataset: str | None = None) -> dict[str, Any]:
    """Return what ``inspect`` says of a path for programs: ``kind``, its sentences, the next command, and of shards the
    ``manifest``, of a run its ``run.yaml``, of predictions ``samples``, ``joints`` and ``meta``.

    Raises what ``inspect`` raises.
    """
    *sentences, last = inspect(path, dataset)
    path = local_folder(path)
    found: dict[str, Any] = {"path": str(path), "kind": "raw data", "sentences": sentences}
    found["next"] = last.removeprefix("Next: ")
    if path.is_file() and path.suffix == ".npz":
        from kt3d_bench.metrics.predictions import read_predictions

        predictions = read_predictions(path)
        samples, joints, _ = predictions.joints_cam_mm.shape
        found |= {"kind": "predictions", "samples": samples, "joints": joints, "meta": dict(predictions.meta)}
    elif is_motion(path):
        found["kind"] = "motion"
    elif (path / _MANIFEST).is_file():
        found |= {"kind": "shards", "manifest": json.loads(read_whole(path / _MANIFEST))}
    elif (path / _RUN).is_file():
        from kt3d_bench.run_folder import read_run

        found |= {"kind": "run", "run": read_run(path)}
    elif dataset is None and shards_folders(path):
        found |= {"kind": "folder of shards", "folders": [str(folder) for folder in shards_folders(path)]}
    return found


def is_motion(path: Path) -> bool:
    """Return whether this is a file of recorded motion, by its name."""
    return path.is_file() and path.suffix.lower() in (".bvh", ".amc")


def _motion(path: Path) -> list[str]:
    from kt3d_bench.synth.motion.folder import read_motion

    motion, quoted = read_motion(path), shlex.quote(str(path))
    seconds = len(motion) / motion.rate_hz
    lines = [f"{len(motion)} frames of {len(motion.names)} joints, {seconds:.1f} s: {motion.facts}"]
    if motion.dropped_frames:
        lines.append("The first frame is a rest pose that a conversion inserted; it is left out.")
    lines += [f"No joint was found for {role}." for role in motion.missing]
    lines += [f"These are no person's joints: {doubt}." for doubt in motion.doubts]
    if motion.missing or motion.doubts:
        return [*lines, f"Next: name them: kt3d generate DATASET --motion {quoted} --motion-joints knee_l=NAME,..."]
    return [*lines, f"Next: look at it: kt3d inspect {quoted} --picture motion.png"]


def shards_folders(path: Path) -> list[Path]:
    """The folder itself where it holds shards, else those directly in it that do."""
    if (path / _MANIFEST).is_file():
        return [path]
    return sorted(folder.parent for folder in path.glob(f"*/{_MANIFEST}")) if path.is_dir() else []


def _holds_predictions(path: Path) -> bool:
    """Whether any array is one of a prediction file's; neither a shard's index nor a run's scores is one. A file that
    cannot be opened is left to its reader to name."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            others = path.name.endswith(".index.npz") or "counted.npy" in names
            return bool({"keys.npy", "joints_cam_mm.npy"} & names) and not others
    except (OSError, zipfile.BadZipFile):
        return True


def _predictions(path: Path) -> list[str]:
    from kt3d_bench.metrics.predictions import read_predictions

    predictions = read_predictions(path)
    benchmark = "" if predictions.meta.get("benchmark") else " --benchmark ID"
    return [
        f"{len(predictions.keys)} predictions of {predictions.joints_cam_mm.shape[1]} joints",
        *(f"{name}: {value}" for name, value in sorted(predictions.meta.items())),
        f"Next: kt3d score {shlex.quote(str(path))}{benchmark}",
    ]


def _manifest_lines(manifest: Manifest) -> Iterator[str]:
    version, maker = manifest.format_version, manifest.tool_version
    yield f"Shards of {manifest.dataset}, format version {version}, made by kt3d {maker}."
    if manifest.origin == "generated":
        generator = f"generator version {manifest.generator_version}"
        yield f"They hold GENERATED stand-in data ({generator}), not the real dataset."
    else:
        yield "They were made from the official data."
    for name, split in sorted(manifest.splits.items()):
        megabytes = sum(shard.size for shard in split.shards) / 1e6
        images = ", ".join(split.modalities) or "poses but no images"
        yield f"Split {name}: {split.samples} samples with {images}, in {len(split.shards)} shards, {megabytes:.1f} MB."
        counted = {"subjects": split.counts.subject, "actions": split.counts.action, "cameras": split.counts.camera}
        yield from (f"  {what}: {_tally(counts)}" for what, counts in counted.items() if set(counts) != {""})
        yield from split.skipped_lines()
        yield f"  sample list {split.sample_list_digest[:12]}, labels {split.labels_digest[:12]}"
    by_quality: dict[str, list[str]] = {}
    for joint, code in zip(H36M17.joints, manifest.quality, strict=True):
        by_quality.setdefault(Quality(code).name.lower(), []).append(joint)
    yield from (f"Joints {quality}: {', '.join(joints)}." for quality, joints in sorted(by_quality.items()))
    if manifest.num_parts:
        yield f"Part masks have {manifest.num_parts} classes, background included."
    crop = manifest.crop
    yield f"Crops: box from {manifest.box_rule}, margin {crop.margin:g}, longest side {crop.longest_px} px."
    if manifest.foreground != "given":
        yield f"Depth images hold more than the person, who is found by the rule '{manifest.foreground}'."
    if manifest.options:
        yield "Options: " + ", ".join(f"{name} = {value}" for name, value in sorted(manifest.options.items())) + "."
    yield f"Licence: {manifest.licence}"
    yield f"Redistribution: {manifest.redistribution}"
    yield f"Cite: {manifest.citation}"


def _tally(counts: Mapping[str, int], most: int = 12) -> str:
    named = [f"{name or '(none)'} {number}" for name, number in counts.items()]
    return ", ".join(named[:most]) + (f" and {len(named) - most} more" if len(named) > most else "")


def _folder_of_shards(path: Path, folders: Sequence[Path]) -> list[str]:
    from kt3d_bench.data.manifest import read_manifest

    lines = [f"{len(folders)} prepared datasets:"]
    for folder in folders:
        try:
            manifest = read_manifest(folder)
        except ArtefactError as error:
            lines.append(f"  {error.message}")
            continue
        splits = ", ".join(f"{name} {split.samples} samples" for name, split in sorted(manifest.splits.items()))
        lines.append(f"  {folder}: {manifest.dataset} ({manifest.origin}), {splits}")
    return [*lines, f"Next: kt3d inspect {shlex.quote(str(folders[0]))}"]


def _run(path: Path) -> list[str]:
    from kt3d_bench.run_folder import read_run

    document = read_run(path)
    config = document["config"]
    data = [
        f"{role}: {shards['dataset']} ({shards['origin']}), {shards['samples']} samples in {shards['folder']}"
        for role, shards in document["shards"].items()
    ]
    return [
        f"a run of {config['method']}, supervision {config['supervision']}, preset {config['preset']}: "
        f"{document.get('state', 'state not known')}",
        *data,
        f"started by: {document.get('command', 'not recorded')}",
        f"Next: kt3d score --run {shlex.quote(str(path))}",
    ]


def _raw(path: Path, dataset: str | None) -> list[str]:
    """A raw folder: what the named dataset says of it, or those datasets of which something is there."""
    if dataset:
        return _as_dataset(registry.dataset(dataset), path)
    lines: list[str] = []
    for plugin in registry.datasets().values():
        plans = _plans(plugin, path)
        if not all(found.absent for found in plans.values()):
            lines += _as_dataset(plugin, path, plans)
    if lines:
        return lines
    meant = [name for name in registry.datasets() if name in path.absolute().parts[-2:]]
    if path.is_dir() and len(meant) == 1:
        return _as_dataset(registry.dataset(meant[0]), path)
    hint = "kt3d inspect PATH --dataset NAME says what that one misses here"
    raise RawDataError("nothing of any dataset is here", where=path, hint=hint)


def _as_dataset(plugin: DatasetPlugin, path: Path, plans: Mapping[str, _Split] | None = None) -> list[str]:
    """What a dataset's own reader says of a folder, what each split would give and cost, and how to get the rest."""
    if not path.is_dir():
        hint = f"kt3d inspect {shlex.quote(str(path.parent))} --dataset {plugin.name}"
        raise RawDataError("raw data is a folder", where=path, hint=hint)
    generated = " (generated stand-in)" if (path / MARKER).is_file() else ""
    lines = [f"{plugin.title}{generated}"]
    try:
        lines += registry.load_function(plugin.convert, "describe")(path)
    except RawDataError as error:
        lines.append(error.message)
    plans = _plans(plugin, path) if plans is None else plans
    lines += [line for line in _splits(plugin, plans, path) if line not in lines]
    whole = [split for split, found in plans.items() if not found.refused]
    if len(whole) < len(plans):
        lines.append("How to obtain what is missing:")
        lines += [f"  {number}. {step}" for number, step in enumerate(read_card(plugin.folder).how_to_obtain, 1)]
    lines = [f"{plugin.name}: {line}" for line in lines]
    quoted = shlex.quote(str(path))
    if not whole:
        return [*lines, f"Next: when it is there: kt3d inspect {quoted} --dataset {plugin.name}"]
    only = "" if len(whole) == len(plans) else "".join(f" --split {split}" for split in whole)
    return [*lines, f"Next: kt3d prepare {plugin.name} --raw {quoted}{only}"]


def _plans(plugin: DatasetPlugin, path: Path) -> dict[str, _Split]:
    module = registry.load(plugin.convert)
    plan, deferred = registry.load_function(plugin.convert, "plan"), getattr(module, "deferred", None)
    options = {name: option.default for name, option in plugin.options.items()}
    found: dict[str, _Split] = {}
    for split in plugin.splits:
        try:
            first = deferred(path, split) if callable(deferred) else None
            if not isinstance(first, str | None):
                what = f"deferred() returned {first!r}, expected a sentence or None"
                raise PluginError(what, where=f"module {plugin.convert}")
            items = [] if first else list(plan(path, split, options))
            missing = "" if first or items else "nothing of it is here"
            found[split] = _Split(items, first or "", missing, absent=bool(missing))
        except PluginError:
            raise
        except Kt3dError as error:
            absent = isinstance(error, MissingDataError) or not path.is_dir()
            found[split] = _Split([], refused=error.message, absent=absent)
    return found


def _splits(plugin: DatasetPlugin, plans: Mapping[str, _Split], path: Path) -> Iterator[str]:
    """Describe every split, with samples, disk and time estimated from a few samples of one of them."""
    from kt3d_bench.data.estimate import probe

    known = next((found.items for found in plans.values() if found.items), None)
    measured = probe(plugin.convert, known) if known else ""
    at_once = cores()
    total = 0.0
    for split, found in plans.items():
        view = next((f"view {view}, " for view in plugin.views if split.startswith(f"{view}-")), "")
        if found.refused or found.first:
            why = " cannot be prepared" if found.refused else ""
            yield f"{view}split '{split}'{why}: {found.refused or found.first}"
            continue
        samples = sum(item.expected_samples for item in found.items)
        cost = ""
        if not isinstance(measured, str):
            size, seconds = measured.disk_bytes(samples), measured.seconds(len(found.items), samples, at_once)
            total += size
            cost = f", about {in_bytes(size)} of shards and {duration(seconds)} on {at_once} cores"
        yield f"{view}split '{split}' gives about {samples} samples{cost}"
    if isinstance(measured, str):
        if measured:
            yield f"Disk and time are not known: {measured}"
        return
    yield (
        f"These are estimates: {measured.samples} samples of {measured.items} work items, converted just now, took "
        f"{1000 * measured.seconds_per_sample:.0f} ms and {in_bytes(measured.bytes_per_sample)} each"
    )
    free = shutil.disk_usage(path).free
    if total > free:
        yield f"That is more than is free on the disk of {path}: {in_bytes(free)}"


def in_bytes(size: float) -> str:
    """12.3 GB, with a unit that suits."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"
