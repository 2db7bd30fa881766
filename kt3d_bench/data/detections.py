"""2D detections beside shards: ``<shards>/detections/<name>/<split>.npz``, tied to the split by its digest.

Arrays: ``keys`` (N,), ``joints_px`` (N, 17, 2) float32 px of the stored crops, ``confidence`` (N, 17) float32 0..1, and
``meta``, a JSON object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.budgets import json_value
from kt3d_bench.data.folders import split_digest
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import npz_bytes, read_npz, write_whole
from kt3d_bench.skeletons import NUM_JOINTS

FloatArray = npt.NDArray[np.float32]
_MOST_BYTES = 1 << 30


def detections_path(shards: ShardSet, name: str) -> Path:
    """Return where the detections of a split are. Raises ``UsageError`` for a name that is no plain one."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}", name):
        raise UsageError(f"'{name}' cannot be a name of detections", hint="use letters, digits, '-', '_' and '.'")
    return shards.folder / "detections" / name / f"{shards.split}.npz"


def write_detections(
    shards: ShardSet, name: str, joints_px: npt.NDArray[Any], confidence: npt.NDArray[Any], meta: Mapping[str, Any]
) -> Path:
    """Write the detections of all samples, in the order of ``shards``; return the file. Raises ``ArtefactError``."""
    path = detections_path(shards, name)
    told = {**meta, "split_digest": split_digest(shards.manifest, shards.split)}
    arrays = {
        "keys": shards.keys,
        "joints_px": np.asarray(joints_px, np.float32),
        "confidence": np.asarray(confidence, np.float32),
        "meta": np.array(json.dumps(told, sort_keys=True)),
    }
    write_whole(path, npz_bytes(arrays))
    return path


def read_detections(shards: ShardSet, name: str) -> tuple[FloatArray, FloatArray, dict[str, Any]]:
    """Return (N, 17, 2) px of the stored crops and (N, 17) confidences, in the order of ``shards``, and what
    ``write_detections`` was told.

    Raises ``ArtefactError`` for a file that is missing, corrupt, or of other shards.
    """
    path, hint = detections_path(shards, name), f"make them: kt3d detect {shards.folder} --with {name}"
    if not path.is_file():
        raise ArtefactError(f"there are no detections '{name}' of split '{shards.split}'", where=path, hint=hint)
    found = read_npz(path, max_bytes=_MOST_BYTES, hint=hint)
    keys = found.get("keys")
    shapes = {one: found[one].shape for one in ("joints_px", "confidence") if one in found}
    count = len(keys) if keys is not None and keys.ndim == 1 else -1
    real = all(found[one].dtype.kind == "f" for one in shapes)
    if keys is None or not real or shapes != {"joints_px": (count, NUM_JOINTS, 2), "confidence": (count, NUM_JOINTS)}:
        raise ArtefactError(f"holds {', '.join(found)} of shapes {shapes}", where=path, hint=hint)
    try:
        meta = json_value(str(found["meta"]).encode())
        tied = meta["split_digest"] == split_digest(shards.manifest, shards.split)
    except (KeyError, TypeError, ValueError):
        meta, tied = {}, False
    row_of = {str(key): row for row, key in enumerate(keys)}
    if not tied or not all(str(key) in row_of for key in shards.keys):
        raise ArtefactError("these are detections of other shards", where=path, hint=hint)
    rows = [row_of[str(key)] for key in shards.keys]
    return found["joints_px"][rows].astype(np.float32), found["confidence"][rows].astype(np.float32), meta
