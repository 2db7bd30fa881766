"""Raw data to shards: plan, convert in worker processes, write the manifest last.

One task is one shard, so bytes do not depend on the number of workers. Finished shards stay: after an error, a full
disk, a killed worker or Ctrl-C the same command continues where it stopped.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench import __version__
from kt3d_bench.budgets import json_value, read_whole
from kt3d_bench.cores import cores
from kt3d_bench.data.dispatch import Crew, Processes, convert_shards, remove_temporaries
from kt3d_bench.data.format import FIELDS, FORMAT_VERSION
from kt3d_bench.data.index import Labels, ShardIndex, index_path, read_index
from kt3d_bench.data.lease import granted
from kt3d_bench.data.manifest import (
    MANIFEST,
    CropRule,
    Manifest,
    Shard,
    SkippedSample,
    Split,
    counts,
    labels_digest,
    read_manifest,
    sample_list_digest,
    write_manifest,
)
from kt3d_bench.data.plan import Origin, SplitPlan, checked_options, plan_split, read_origin
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.work import CONTINUE, cannot_write, converter_errors
from kt3d_bench.data.writer import doubled_key
from kt3d_bench.errors import (
    ArtefactError,
    MissingDataError,
    PluginError,
    RawDataError,
    UsageError,
    did_you_mean,
)
from kt3d_bench.files import default_data_root, write_atomically
from kt3d_bench.geometry.crops import LONGEST_PX, MARGIN
from kt3d_bench.interrupts import StoppedError
from kt3d_bench.locks import held
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.cards import CARD, Card, read_card
from kt3d_bench.plugins.hookspecs import DatasetPlugin
from kt3d_bench.progress import Reporter
from kt3d_bench.records import Recorded, WorkItem
from kt3d_bench.skeletons import NUM_JOINTS, Quality

if TYPE_CHECKING:
    from kt3d_bench.data.checks.moments import Lookup

STATE = "prepare.json"
"""File that records what the shards of a folder are made from; written first, compared on every later run."""


LOCK = ".preparing.lock"


class PrepareInterruptedError(StoppedError):
    """Ctrl-C or a signal: finished shards are kept."""


def prepare(
    dataset: str | DatasetPlugin,
    *,
    data: Path | str | None = None,
    raw: Path | str | None = None,
    out: Path | str | None = None,
    splits: Sequence[str] | None = None,
    views: Sequence[str] | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    options: Mapping[str, Any] | None = None,
    report: Reporter | None = None,
    overwrite: bool = False,
    check: bool = True,
    samples_per_shard: int | None = None,
) -> Manifest:
    """Convert a dataset's raw data into shards and return their manifest.

    ``raw``, ``out``: default ``raw/<dataset>`` and ``shards/<dataset>`` below the data root ``data``, which is
    ``$KT3D_DATA``, else ``kt3d-data``. ``splits``, ``views``: default all, see ``chosen_splits``. Splits prepared
    earlier with the same configuration stay in the manifest. A split that is not there at all is an error, unless
    ``splits`` or ``views`` leave several: then it is left out and reported. ``workers``: processes (default: one per
    core); 1 converts in this process. ``cluster``: address of a Dask scheduler whose workers convert instead; they must
    see ``raw`` and ``out`` under the same paths. ``options``: the dataset's own options, as values or as text.
    ``overwrite``: replace shards of another configuration instead of refusing. When a raw file was replaced, such as a
    corrupt one, only the shards made from it are written again. ``check``: refuse labels that belong to other images or
    people (``data.checks.belonging``), and a card that says another quality of a joint than the converter writes; the
    shards then stay without a manifest.

    Raises ``UsageError`` for an unknown dataset, split or option; ``RawDataError`` when ``raw`` is missing, corrupt or
    not the dataset's layout, or yields no sample; ``ArtefactError`` when ``out`` holds shards of another configuration
    or cannot be written; ``PluginError`` when the converter fails or breaks its contract;
    ``PrepareInterruptedError`` on Ctrl-C; whatever ``cluster.cluster_crew`` raises. Finished shards survive all these.
    """
    plugin = registry.dataset(dataset) if isinstance(dataset, str) else dataset
    root = Path(data or default_data_root())
    raw, out = Path(raw or root / "raw" / plugin.name).absolute(), Path(out or root / "shards" / plugin.name)
    report = report or Reporter()
    if cluster is not None:
        out = out.absolute()
    card = read_card(plugin.folder)
    wanted = chosen_splits(plugin, splits, views)
    chosen = checked_options(plugin, options or {})
    if not raw.exists():
        raise RawDataError(
            f"there is no raw data of {plugin.name}",
            where=raw,
            hint=f"obtain it (kt3d list {plugin.name} says how)"
            + (f", or make a stand-in: kt3d generate {plugin.name} --out {raw}" if plugin.generate else ""),
        )
    origin = read_origin(plugin, raw)
    plans: list[SplitPlan] = []
    absent: list[MissingDataError] = []
    for split in wanted:
        try:
            plans.append(plan_split(plugin, split, raw=raw, out=out, options=chosen, origin=origin,
                                    num_parts=card.num_parts, samples_per_shard=samples_per_shard))  # fmt: skip
        except MissingDataError as error:
            absent.append(error)
    if absent and (not plans or (splits is None and views is None)):
        raise absent[0]
    for missing in absent:
        report.note(f"Left out: {missing.message}")
    tasks = [task for plan in plans for task in plan.tasks]
    with _locked(out), _crew(workers, cluster, raw, out, report) as crew:
        kept = _claim(plugin, out, plans, chosen, origin, overwrite)
        try:
            convert_shards(f"prepare {plugin.name}", tasks, crew, report)
        except KeyboardInterrupt as error:
            raise PrepareInterruptedError("interrupted", where=out, hint=CONTINUE) from error
        finally:
            remove_temporaries(tasks)
        described = {plan: _describe_split(plan, raw) for plan in plans}
        manifest = _manifest(plugin, card, chosen, origin, described, kept)
        if check:
            for plan, (_, indexes) in described.items():
                _check_quality(plugin, card, plan.split, np.concatenate([one.labels.quality for one in indexes]))
            held = {plan: indexes for plan, (_, indexes) in described.items()}
            _check_belonging(plugin, out, manifest, held, card, raw, report)
        write_manifest(out, manifest)
    return manifest


def chosen_splits(
    plugin: DatasetPlugin, splits: Sequence[str] | None = None, views: Sequence[str] | None = None
) -> list[str]:
    """Return the chosen splits, in the dataset's order.

    ``views`` (or "all") limits them to some views; ``splits`` may name a split in full ("front-test") or for every view
    ("test"). Raises ``UsageError`` for an unknown name, and when the two together leave no split.
    """
    if views and not plugin.views:
        raise UsageError(f"{plugin.name} has one view only", hint="leave out --view")
    for view in views or ():
        if view not in (*plugin.views, "all"):
            raise UsageError(f"{plugin.name} has no view '{view}'", hint=did_you_mean(view, (*plugin.views, "all")))
    seen = plugin.views if not views or "all" in views else [view for view in plugin.views if view in views]
    of_views = [split for split in plugin.splits if not plugin.views or split.partition("-")[0] in seen]
    if splits is None:
        return of_views
    short = {split: split.partition("-")[2] for split in plugin.splits} if plugin.views else {}
    known = list(dict.fromkeys((*plugin.splits, *short.values())))
    for split in splits:
        if split not in known:
            raise UsageError(f"{plugin.name} has no split '{split}'", hint=did_you_mean(split, known))
    found = [split for split in of_views if split in splits or short.get(split) in splits]
    if not found:
        raise UsageError(f"no split of {plugin.name} is both {', '.join(splits)} and seen from {', '.join(seen)}")
    return found


@contextmanager
def _crew(workers: int | None, cluster: str | None, raw: Path, out: Path, report: Reporter) -> Iterator[Crew]:
    with granted(out) as lease:
        if cluster is None:
            yield Processes(workers or cores(), lease)
            return
        from kt3d_bench.data.cluster import cluster_crew

        with cluster_crew(cluster, raw, lease, report) as crew:
            yield crew


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Make the folder and lock it against a second ``prepare``."""
    try:
        with held(out / LOCK, "another kt3d prepare is writing here", "wait for it, or choose another --out"):
            yield
    except OSError as error:
        raise cannot_write(out, error) from error


def _claim(
    plugin: DatasetPlugin,
    out: Path,
    plans: Sequence[SplitPlan],
    options: Mapping[str, Any],
    origin: Origin,
    overwrite: bool,
) -> Manifest | None:
    """Claim ``out`` for this configuration; return the manifest of the splits in it that stay as they are."""
    common = {
        "format_version": FORMAT_VERSION,
        "dataset": plugin.name,
        "options": dict(options),
        "generated": origin.marker or None,
    }
    state = _read_state(out)
    names = {*plugin.splits, *(state["splits"] if state else ())}
    other = any(_shard_files(out, names)) if state is None else state["common"] != json.loads(json.dumps(common))
    recorded: dict[str, str] = {} if state is None or other else state["splits"]
    changed = {plan.split for plan in plans if recorded.get(plan.split, plan.configuration) != plan.configuration}
    if (other or changed) and not overwrite:
        what = "shards of another configuration" if other else f"{min(changed)} shards of other recordings"
        hint = "choose another --out, or replace them with --overwrite"
        raise ArtefactError(f"the folder holds {what}", where=out, hint=hint)
    kept = None if other else _without(out, {plan.split for plan in plans})
    if other or changed:
        if kept is None:
            (out / MANIFEST).unlink(missing_ok=True)
        else:
            write_manifest(out, kept)
        for path in _shard_files(out, names if other else changed):
            path.unlink()
    configurations = {**recorded, **{plan.split: plan.configuration for plan in plans}}
    content = {"common": common, "splits": configurations}
    write_atomically(out / STATE, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    return kept


def holds_stand_in(out: Path) -> bool:
    """Return whether the shards in a folder were made from generated data."""
    state = _read_state(out)
    return state is not None and bool(state["common"].get("generated"))


def _read_state(out: Path) -> dict[str, Any] | None:
    try:
        state = json_value(read_whole(out / STATE))
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(state, dict) and isinstance(state.get("common"), dict) and isinstance(state.get("splits"), dict)
    return state if whole else None


def _without(out: Path, splits: set[str]) -> Manifest | None:
    """Return the manifest without ``splits``; ``None`` when no split remains or the manifest is corrupt."""
    try:
        manifest = read_manifest(out)
    except ArtefactError:
        return None
    left = {name: split for name, split in manifest.splits.items() if name not in splits}
    sources = {name: digest for name, digest in manifest.source_digests.items() if name in left}
    return manifest.model_copy(update={"splits": left, "source_digests": sources}) if left else None


def _shard_files(out: Path, splits: set[str]) -> list[Path]:
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(splits)))})-\d{{6}}\.(?:tar|index\.npz)(?:\..*tmp)?")
    return sorted(path for path in out.iterdir() if pattern.fullmatch(path.name))


def _describe_split(plan: SplitPlan, raw: Path) -> tuple[Split, list[ShardIndex]]:
    """Return the manifest's entry of a finished split, and the indexes of its shards."""
    shards = [(task, read_index(index_path(task.path))) for task in plan.tasks]
    skipped = tuple(
        SkippedSample(name=one.name, reason=one.reason, where=one.where.removeprefix(f"{raw}{os.sep}"))
        for _, index in shards
        for one in index.skipped
    )
    filled = [(task, index) for task, index in shards if len(index)]
    if not filled:
        raise _nothing_usable(plan.split, skipped, raw)
    _check_unity(plan, [index for _, index in filled])
    keys = np.concatenate([index.keys for _, index in filled])
    labels = Labels.concatenate([index.labels for _, index in filled])
    split = Split(
        samples=len(keys),
        shards=tuple(
            Shard(name=task.path.name, sha256=index.tar_sha256, size=index.tar_size, samples=len(index))
            for task, index in filled
        ),
        counts=counts(labels),
        modalities=tuple(FIELDS[name].modality for name in filled[0][1].fields if FIELDS[name].modality),
        sample_list_digest=sample_list_digest(keys),
        labels_digest=labels_digest(keys, labels),
        skipped=skipped,
    )
    return split, [index for _, index in filled]


def _check_quality(plugin: DatasetPlugin, card: Card, split: str, quality: npt.NDArray[np.uint8]) -> None:
    """Raise ``PluginError`` when (N, 17) qualities are not those of the card; a sample may lack any joint."""
    wrong = ((quality != card.quality) & (quality > Quality.ABSENT)).any(axis=0)
    if wrong.any():
        joint = int(np.argmax(wrong))
        others = f" and {int(wrong.sum()) - 1} more joints" if wrong.sum() > 1 else ""
        written = ", ".join(Quality(code).name.lower() for code in np.unique(quality[:, joint]) if code)
        raise PluginError(
            f"the card says that {card.joints[joint].joint} is {card.joints[joint].quality}, and the converter writes "
            f"{written} into split {split}{others}",
            where=plugin.folder / CARD,
            hint=f"correct the card, or convert() in {plugin.convert}",
        )


def _check_belonging(
    plugin: DatasetPlugin,
    out: Path,
    manifest: Manifest,
    plans: Mapping[SplitPlan, Sequence[ShardIndex]],
    card: Card,
    raw: Path,
    report: Reporter,
) -> None:
    """Raise ``RawDataError`` when labels of a split belong to other images or people; report what cannot be checked."""
    from kt3d_bench.data.checks.belonging import FIT, belonging, complaints

    found: list[str] = []
    misfits = () if manifest.origin == "generated" else card.misfits
    for plan, indexes in plans.items():
        listed = list(zip(manifest.splits[plan.split].shards, indexes, strict=True))
        shards = ShardSet.of(out, plan.split, manifest, listed)
        outcomes, unchecked = belonging(shards, misfits, _recorded(plugin, plan, indexes))
        found += complaints(outcomes, shards.labels, plan.split)
        for one in unchecked:
            if one.check is FIT:
                report.note(f"Not checked in {plan.split}: {one.check.what} ({one.reason}).")
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise RawDataError(
            f"labels and images do not belong together: {found[0]}{more}",
            where=raw,
            hint="correct the raw data, or leave these recordings out, and run the same command again; --no-check "
            "keeps them, and kt3d validate then lists them all",
        )


def _recorded(plugin: DatasetPlugin, plan: SplitPlan, indexes: Sequence[ShardIndex]) -> Lookup | None:
    """Return the look-up of all frames of each sample's recording; ``None`` where the converter has none. Work items
    are read one after the other and only the last is kept. A raw file that cannot be read says nothing."""
    function = getattr(registry.load(plugin.convert), "recorded", None)
    if function is None:
        return None
    names = np.concatenate([np.array(index.items)[index.item_of] for index in indexes])
    items = {item.name: item for item in plan.items}

    @lru_cache(maxsize=1)
    def read(name: str) -> Recorded | None:
        with suppress(RawDataError):
            return recording_of(function, items[name], plugin.convert)
        return None

    return lambda i: read(str(names[i]))


def recording_of(function: Callable[[WorkItem], Any], item: WorkItem, module: str) -> Recorded | None:
    """Return what ``recorded`` of a converter says of a work item. Raises as ``checked_recording``, ``RawDataError``
    for raw data that cannot be read, ``PluginError`` for any other exception."""
    where = f"{module}.recorded, item {item.name}"
    with converter_errors("recorded()", item, lambda: where):
        return checked_recording(function(item), where)


def checked_recording(recording: Any, where: str) -> Recorded | None:
    """Return what a converter's ``recorded()`` returned; ``None`` where it holds no frame.

    Raises ``PluginError`` naming ``where`` for anything but ``None`` and a rightly filled in record.
    """
    if recording is None:
        return None
    hint = "correct the converter"
    if not isinstance(recording, Recorded):
        what = f"recorded() returned {type(recording).__name__}, expected Recorded or None"
        raise PluginError(what, where=where, hint=hint)
    frames, joints_cam_mm = recording.frames, recording.joints_cam_mm
    arrays = isinstance(frames, np.ndarray) and isinstance(joints_cam_mm, np.ndarray)
    if arrays and frames.size == joints_cam_mm.size == 0:
        return None
    shapes = arrays and frames.ndim == 1 and joints_cam_mm.shape == (len(frames), NUM_JOINTS, 3)
    if not shapes or frames.dtype.kind not in "iu" or joints_cam_mm.dtype.kind not in "iuf":
        what = (
            f"recorded() returned frames {_array_type(frames)} and joints_cam_mm {_array_type(joints_cam_mm)}, "
            f"expected whole numbers (F,) and mm (F, {NUM_JOINTS}, 3)"
        )
        raise PluginError(what, where=where, hint=hint)
    if not (frames[1:] > frames[:-1]).all():
        raise PluginError("recorded() returned frames that do not ascend", where=where, hint=f"sort them: {hint}")
    return recording


def _array_type(array: Any) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__


def _nothing_usable(split: str, skipped: Sequence[SkippedSample], raw: Path) -> RawDataError:
    damaged = next((one for one in skipped if one.where), None)
    if damaged is not None:
        others = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        what = f"{damaged.reason} (split {split} has no usable sample: {damaged.name}{others} skipped)"
        return RawDataError(what, where=raw / damaged.where)
    reasons = Counter(one.reason for one in skipped).most_common(5)
    why = "; ".join(f"{number} skipped: {reason}" for reason, number in reasons) or "the converter yielded none"
    hint = f"compare the folder with the official download: kt3d inspect {shlex.quote(str(raw))}"
    return RawDataError(f"split {split} has no usable sample ({why})", where=raw, hint=hint)


def _check_unity(plan: SplitPlan, indexes: Sequence[ShardIndex]) -> None:
    """Raise ``PluginError`` when a key appears in two shards, or shards hold different fields."""
    first = indexes[0]
    item_of: dict[str, str] = {}
    for index in indexes:
        if (index.fields, index.tangential_factor) != (first.fields, first.tangential_factor):
            what = f"items {first.items[0]} and {index.items[0]} hold different images or distortion formulas"
            raise PluginError(what, where=f"split {plan.split}", hint="every sample of a split must hold the same")
        for key, number in zip(index.keys.tolist(), index.item_of.tolist(), strict=True):
            if key in item_of:
                raise doubled_key(key, item_of[key], index.items[number])
            item_of[key] = index.items[number]


def _manifest(
    plugin: DatasetPlugin,
    card: Card,
    options: Mapping[str, Any],
    origin: Origin,
    described: Mapping[SplitPlan, tuple[Split, Sequence[ShardIndex]]],
    kept: Manifest | None,
) -> Manifest:
    qualities = [one.labels.quality.min(axis=0) for _, indexes in described.values() for one in indexes]
    if kept is not None:
        qualities.append(np.array(kept.quality, np.uint8))
    return Manifest(
        format_version=FORMAT_VERSION,
        dataset=plugin.name,
        origin="generated" if origin.generated else "official",
        generator_version=origin.version,
        splits={**(kept.splits if kept else {}), **{plan.split: split for plan, (split, _) in described.items()}},
        num_parts=card.num_parts,
        part_mirror=card.part_mirror,
        quality=tuple(int(code) for code in np.min(qualities, axis=0)),
        box_rule=str(options.get("boxes", card.box_rule)),
        foreground=card.foreground,
        crop=CropRule(margin=MARGIN, longest_px=LONGEST_PX),
        source_digests={
            **(kept.source_digests if kept else {}),
            **{plan.split: plan.source_digest for plan in described},
        },
        options=dict(options),
        licence=card.licence,
        redistribution=card.redistribution,
        citation=card.citation,
        tool_version=__version__,
    )
