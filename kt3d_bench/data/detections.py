"""What a method found in the images of shards, beside them: 2D joints and masks, tied to the split by its digest.

``<shards>/detections/<name>/<split>.npz``: ``keys`` (N,), ``joints_px`` (N, 17, 2) float32 px of the stored crops,
``confidence`` (N, 17) float32 0..1, and ``meta``, JSON of a ``Maker`` and the split's digest. ``<split>.masks.npz``:
``keys``, ``meta``, ``png`` (bytes,) uint8, one PNG of the size of the crop after the other, 0 = not the person, and
``ends`` (N,) int64, where in ``png`` each of them ends. Labels play no part in either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.budgets import json_value
from kt3d_bench.data.folders import split_digest
from kt3d_bench.data.reader import Masks, ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import file_sha256, npz_bytes, read_npz, write_whole
from kt3d_bench.schema import STRICT, OneOf, parse
from kt3d_bench.skeletons import NUM_JOINTS, Quality
from kt3d_bench.supervision import KINDS

FloatArray = npt.NDArray[np.float32]
LEAST_CONFIDENCE = 0.5
"""Joints that are less sure are no pseudo-labels."""
_MOST_BYTES = 1 << 30
_BYTES_EACH = 1 << 15
"""Of a sample in a large split: noise for a mask of 320 px takes half of it."""


@dataclass(frozen=True)
class Maker:
    """Who made detections, and what must be known of it where others use them."""

    __pydantic_config__ = STRICT
    method: str
    saw: Mapping[str, Mapping[Annotated[str, OneOf(KINDS)], Sequence[int]]]
    """``supervision.Seen``: which labels it had learned from."""
    external_data: Sequence[str]
    """What it declares."""
    run: str = ""
    """"" for a method without training."""
    masks: str = ""
    """Stored masks that it looked at."""


def detections_path(shards: ShardSet, name: str) -> Path:
    """Return where the detections of a split are. Raises ``UsageError`` for a name that is no plain one."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}", name):
        raise UsageError(f"'{name}' cannot be a name of detections", hint="use letters, digits, '-', '_' and '.'")
    return shards.folder / "detections" / name / f"{shards.split}.npz"


def write_detections(
    shards: ShardSet, name: str, joints_px: npt.NDArray[Any], confidence: npt.NDArray[Any], maker: Maker
) -> Path:
    """Write the detections of all samples, in the order of ``shards``; return the file. Raises ``ArtefactError``."""
    path = detections_path(shards, name)
    arrays = {"joints_px": np.asarray(joints_px, np.float32), "confidence": np.asarray(confidence, np.float32)}
    write_whole(path, npz_bytes({**_tie(shards, maker), **arrays}))
    return path


def masks_path(shards: ShardSet, name: str) -> Path:
    """Return where the masks of a split are. Raises ``UsageError`` for a name that is no plain one."""
    return detections_path(shards, name).with_suffix(".masks.npz")


def write_masks(shards: ShardSet, name: str, masks: Sequence[bytes], maker: Maker) -> Path:
    """Write one PNG per sample, in the order of ``shards``; return the file. Raises ``ArtefactError``."""
    path = masks_path(shards, name)
    arrays = {"png": np.frombuffer(b"".join(masks), np.uint8), "ends": np.cumsum([len(one) for one in masks])}
    write_whole(path, npz_bytes({**_tie(shards, maker), **arrays}))
    return path


def _tie(shards: ShardSet, maker: Maker) -> dict[str, npt.NDArray[Any]]:
    told = {**asdict(maker), "split_digest": split_digest(shards.manifest, shards.split)}
    return {"keys": shards.keys, "meta": np.array(json.dumps(told, sort_keys=True))}


def read_detections(shards: ShardSet, name: str) -> tuple[FloatArray, FloatArray, Maker]:
    """Return (N, 17, 2) px of the stored crops and (N, 17) confidences, in the order of ``shards``, and who
    made them.

    Raises ``ArtefactError`` for a file that is missing, corrupt, of other shards or of an earlier version.
    """
    path, hint = detections_path(shards, name), _again(shards, name)
    if not path.is_file():
        raise ArtefactError(f"there are no detections '{name}' of split '{shards.split}'", where=path, hint=hint)
    found = read_npz(path, max_bytes=_most_bytes(shards), hint=hint)
    keys = found.get("keys")
    shapes = {one: found[one].shape for one in ("joints_px", "confidence") if one in found}
    count = len(keys) if keys is not None and keys.ndim == 1 else -1
    real = all(found[one].dtype.kind == "f" for one in shapes)
    if keys is None or not real or shapes != {"joints_px": (count, NUM_JOINTS, 2), "confidence": (count, NUM_JOINTS)}:
        raise ArtefactError(f"holds {', '.join(found)} of shapes {shapes}", where=path, hint=hint)
    maker, rows = _tied(shards, found, path, hint)
    return found["joints_px"][rows].astype(np.float32), found["confidence"][rows].astype(np.float32), maker


def with_masks(shards: ShardSet, name: str) -> tuple[ShardSet, Maker]:
    """Return shards whose foreground is the masks that are stored as ``name``, and who made them.

    Raises ``ArtefactError`` for a file that is missing, corrupt, of other shards or of an earlier version.
    """
    path, hint = masks_path(shards, name), _again(shards, name)
    if not path.is_file():
        raise ArtefactError(f"there are no masks '{name}' of split '{shards.split}'", where=path, hint=hint)
    found = read_npz(path, max_bytes=_most_bytes(shards), hint=hint)
    nothing = np.zeros((0, 0))
    png, ends, keys = (found.get(one, nothing) for one in ("png", "ends", "keys"))
    kinds = png.dtype == np.uint8 and ends.dtype.kind == "i" and ends.ndim == 1
    if not kinds or ends.shape != keys.shape or not _rise(ends, png.size):
        raise ArtefactError(f"holds {', '.join(found)}, and no masks", where=path, hint=hint)
    maker, rows = _tied(shards, found, path, hint)
    starts = np.concatenate([[0], ends[:-1]])
    images = {str(keys[row]): png[starts[row] : ends[row]].tobytes() for row in rows}
    there = shards.modalities if "foreground" in shards.modalities else (*shards.modalities, "foreground")
    external = f"{shards.external} masks {file_sha256(path)}"
    return replace(shards, masks=Masks(path, images), modalities=there, external=external), maker


def with_pseudo_labels(shards: ShardSet, name: str) -> tuple[ShardSet, Maker]:
    """Return shards whose only labels are the 2D joints that are stored as ``name`` with at least
    ``LEAST_CONFIDENCE``, and who made them. The true labels, boxes and camera poses are not in it.

    Raises what ``read_detections`` raises.
    """
    joints_px, confidence, maker = read_detections(shards, name)
    sure, old = confidence >= LEAST_CONFIDENCE, shards.labels
    labels = replace(
        old,
        joints_px=np.where(sure[..., None], joints_px, np.float32(np.nan)),
        joints_cam_mm=np.full_like(old.joints_cam_mm, np.nan),
        visible=np.full_like(old.visible, -1),
        quality=np.full_like(old.quality, Quality.APPROXIMATE),
        box_px=np.full_like(old.box_px, np.nan),
        rotation=np.broadcast_to(np.eye(3), old.rotation.shape),
        position_world_mm=np.full_like(old.position_world_mm, np.nan),
    )
    external = f"{shards.external} labels {file_sha256(detections_path(shards, name))}"
    return replace(shards, labels=labels, external=external), maker


def _again(shards: ShardSet, name: str) -> str:
    return f"make them: kt3d detect {shards.folder} --with {name}"


def _rise(ends: npt.NDArray[Any], size: int) -> bool:
    """Return whether ends of parts follow one another, up to ``size``."""
    return bool((np.diff(ends, prepend=0) > 0).all()) and (int(ends[-1]) if len(ends) else 0) == size


def _most_bytes(shards: ShardSet) -> int:
    """Return what a file of the split may unpack to."""
    return max(_MOST_BYTES, shards.manifest.splits[shards.split].samples * _BYTES_EACH)


def _tied(shards: ShardSet, found: Mapping[str, npt.NDArray[Any]], path: Path, hint: str) -> tuple[Maker, list[int]]:
    """Return who made a file, and its rows in the order of ``shards``. Raises ``ArtefactError`` for another split's and
    for one that does not say what its maker saw."""
    try:
        meta = json_value(str(found["meta"]).encode())
        tied = meta.pop("split_digest") == split_digest(shards.manifest, shards.split)
    except (AttributeError, KeyError, TypeError, ValueError):
        meta, tied = {}, False
    row_of = {str(key): row for row, key in enumerate(found["keys"])}
    if not tied or not all(str(key) in row_of for key in shards.keys):
        raise ArtefactError("these are detections of other shards", where=path, hint=hint)
    return parse(Maker, meta, error=ArtefactError, where=path, hint=hint), [row_of[str(key)] for key in shards.keys]
