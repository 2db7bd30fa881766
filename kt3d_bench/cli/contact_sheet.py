"""Contact sheets of shards and motions: which samples to show, with which caption. ``drawing`` draws them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.checks.findings import Measured, spread
from kt3d_bench.data.format import FIELDS
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.validate import IMAGES, measure, open_whole
from kt3d_bench.drawing import PANEL_PX, Tile, contact_sheet
from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.geometry.foreground import RULES, person_depth
from kt3d_bench.skeletons import H36M17, NUM_JOINTS

if TYPE_CHECKING:
    from kt3d_bench.synth.motion.recorded import Motion

By = Literal["dataset", "action", "worst"]
COUNT = 24
"""Samples of a sheet by default."""
_NEAR = 0.05
"""Share of a limit below which a sample is not worth a look."""


def sheet(
    folders: Sequence[Path], path: Path, *, by: By = "dataset", count: int = COUNT, split: str | None = None
) -> list[str]:
    """Write a PNG of samples with their skeletons over every image they have; return sentences on what it shows.

    ``by``: "dataset" spreads the samples evenly over each folder's splits, "action" over the actions (or subjects,
    cameras, sequences, where there is only one action), "worst" shows what is nearest to or beyond the limit of each
    check, the worst check first. Several folders share ``count``. Shards and images that cannot be read are left out
    and named.

    Raises ``ArtefactError`` where no shard of a folder can be read, ``UsageError`` for an unknown split.
    """
    sections: list[tuple[str, list[Tile]]] = []
    notes: list[str] = []
    for folder in folders:
        opened, broken = _open(folder, split)
        notes += broken
        share = max(1, count // len(folders))
        chosen, how = _chosen(opened, by, share)
        tiles = [_tile(shards, i, remark, by) for shards, i, remark in chosen]
        manifest = opened[0].manifest
        stand_in = ", GENERATED stand-in" if manifest.origin == "generated" else ""
        total = sum(map(len, opened))
        names = ", ".join(shards.split for shards in opened)
        heading = f"{manifest.dataset}{stand_in} - {names} - {len(tiles)} of {total} samples, {how}"
        sections.append((heading, tiles))
        notes += [f"{tile.title}: {problem}" for tile in tiles for problem in tile.problems]
    contact_sheet(path, sections)
    return [f"{sum(len(tiles) for _, tiles in sections)} samples in {path}", *notes]


def motion_sheet(source: Path, path: Path, *, count: int = COUNT) -> list[str]:
    """Write a PNG of ``count`` poses of a recorded motion, each seen from the front; return a sentence on it.

    Raises ``UsageError`` where joints are missing, ``RawDataError`` for a corrupt file.
    """
    from kt3d_bench.synth.motion.folder import read_motion

    motion = read_motion(source)
    if motion.missing:
        hint = f"see which: kt3d inspect {shlex.quote(str(source))}"
        raise UsageError("joints are missing, so there is no pose to draw", where=source, hint=hint)
    poses = _seen_from_the_front(motion)
    tiles = [
        Tile(f"frame {i}", f"{i / motion.rate_hz:.2f} s", {}, np.full((NUM_JOINTS, 2), np.nan), poses[i],
             np.full(NUM_JOINTS, -1, np.int8), (PANEL_PX, PANEL_PX))
        for i in spread(len(motion), count)
    ]  # fmt: skip
    contact_sheet(path, [(f"{source.name}: {len(tiles)} of {len(motion)} frames, from the front", tiles)])
    return [f"{len(tiles)} poses in {path}"]


def _seen_from_the_front(motion: Motion) -> npt.NDArray[np.float64]:
    """Return (F, 17, 3) mm: x to the person's left, y down; NaN for what the skeleton lacks."""
    poses = np.full((len(motion), NUM_JOINTS, 3), np.nan)
    own = {"thorax": "neck", "head": "head", "spine": "spine"}
    own |= {f"{side}_{joint}": f"{joint}_{side[0]}" for side in ("left", "right")
            for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")}  # fmt: skip
    for name, role in own.items():
        if role in motion.joints:
            poses[:, H36M17.index(name)] = motion.role(role)
    left, right = (motion.role(f"hip_{side}") for side in "lr")
    poses[:, H36M17.index("hip")] = (left + right) / 2
    across = (left - right) * (1, 1, 0)
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    x = np.einsum("fjc,fc->fj", poses - poses[:, :1], across)
    return np.stack([x, -poses[..., 2], np.zeros_like(x)], axis=-1)


def _open(folder: Path, split: str | None) -> tuple[list[ShardSet], list[str]]:
    """Return the splits as far as they can be read, and sentences on what cannot."""
    manifest = read_manifest(folder)
    if split is not None and split not in manifest.splits:
        raise UsageError(f"there is no split '{split}'", where=folder, hint=did_you_mean(split, manifest.splits))
    opened, notes = [], []
    for name in sorted(manifest.splits):
        if split in (None, name):
            shards, broken = open_whole(folder, manifest, name)
            opened += [shards] if shards is not None else []
            notes += [f"Left out {folder / finding.shard}: {finding.sentence}" for finding in broken]
    if not opened:
        hint = f"see what is wrong: kt3d validate {shlex.quote(str(folder))}"
        raise ArtefactError("no shard can be read", where=folder, hint=hint)
    return opened, notes


_Chosen = list[tuple[ShardSet, int, str]]
"""(split, sample, remark)"""


def _chosen(opened: Sequence[ShardSet], by: By, count: int) -> tuple[_Chosen, str]:
    if by == "action":
        return _by_action(opened, count)
    if by == "worst" and (worst := _worst(opened, count)):
        return worst, "worst checks first"
    total = sum(map(len, opened))
    shares = [(shards, max(1, round(count * len(shards) / total))) for shards in opened]
    chosen = [(shards, int(i), "") for shards, share in shares for i in spread(len(shards), share)]
    return chosen, "no check is near its limit: spread evenly" if by == "worst" else "spread evenly"


def _by_action(opened: Sequence[ShardSet], count: int) -> tuple[_Chosen, str]:
    """The same number of samples of every action, or of what tells the samples apart where all share one; taken from
    another place in each, so that not all show the first person through the first camera."""
    for name in ("action", "subject", "camera_id", "sequence"):
        groups: dict[str, list[tuple[ShardSet, int]]] = {}
        for shards in opened:
            for i, value in enumerate(getattr(shards.labels, name).tolist()):
                groups.setdefault(value, []).append((shards, i))
        if len(groups) > 1:
            break
    names = [sorted(groups)[i] for i in spread(len(groups), min(count, len(groups)))]
    each = max(1, count // len(names))
    chosen: _Chosen = []
    for number, value in enumerate(names):
        members = groups[value]
        share = min(each, len(members))
        places = [int(len(members) * (turn + number / len(names)) / share) for turn in range(share)]
        chosen += [(*members[place], value) for place in places]
    return chosen, f"by {name.removesuffix('_id')}"


def _worst(opened: Sequence[ShardSet], count: int) -> _Chosen:
    """Of each check its worst sample, then its next, the check furthest beyond its limit first."""
    columns: list[tuple[ShardSet, Measured, npt.NDArray[np.int64]]] = []
    for shards in opened:
        for column in measure(shards, spread(len(shards), IMAGES)):
            order = np.argsort(-column.excess, kind="stable")
            order = order[column.excess[order] > _NEAR][:count]
            if len(order):
                columns.append((shards, column, order))
    columns.sort(key=lambda entry: -float(entry[1].excess[entry[2][0]]))
    chosen: _Chosen = []
    shown: set[tuple[int, int]] = set()
    for rank in range(count):
        for shards, column, order in columns:
            if rank >= len(order) or len(chosen) == count:
                continue
            at = int(order[rank])
            sample = int(column.indices[at])
            if (id(shards), sample) not in shown:
                shown.add((id(shards), sample))
                check, excess = column.check, float(column.excess[at])
                value = f"{column.value[at]:.3g} {check.unit}".strip()
                beyond = "WRONG" if check.level == "error" else "odd"
                mark = beyond if excess > 1 else f"{100 * excess:.0f} % of the limit"
                chosen.append((shards, sample, f"{check.name}: {value}, {mark}"))
    return chosen


def _tile(shards: ShardSet, i: int, remark: str, by: By) -> Tile:
    images: dict[str, npt.NDArray[Any]] = {}
    problems: list[str] = []
    for name in shards.fields:
        modality = FIELDS[name].modality
        if modality:
            try:
                images[modality] = shards.image(i, name)
            except ArtefactError as error:
                problems.append(error.what.partition(": ")[2])
    labels = shards.labels
    facts = [str(getattr(labels, name)[i]) for name in ("subject", "action", "camera_id")]
    rule = shards.manifest.foreground
    person = person_depth(images["depth"], rule) > 0 if "depth" in images and rule in RULES else None
    return Tile(
        title=str(shards.keys[i]),
        caption=remark if by != "dataset" and remark else "  ".join(fact for fact in facts if fact),
        images=images,
        joints_px=labels.joints_px[i],
        joints_cam_mm=labels.joints_cam_mm[i],
        visible=labels.visible[i],
        size_px=(int(labels.size_px[i, 0]), int(labels.size_px[i, 1])),
        num_parts=shards.num_parts,
        person=person,
        alarming="WRONG" in remark,
        problems=tuple(problems),
    )
