"""Write predictions in other programs' formats: COCO's person keypoints, and BVH."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kt3d_bench.budgets import json_value, read_whole
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import write_whole
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.pictures.bvh import bvh_text, even_clip
from kt3d_bench.pictures.output import FORMAT, file_stem
from kt3d_bench.progress import Reporter
from kt3d_bench.skeletons import H36M17

_MOST_BYTES = 512 << 20
_JSON_HINT = "give the predictions.json that kt3d predict RUN PICTURE wrote"


def write_as(
    path: Path | str,
    form: Literal["coco", "bvh"],
    *,
    out: Path | None = None,
    rate_hz: float = 30.0,
    report: Reporter | None = None,
) -> list[Path]:
    """Write predictions in another format and return the files.

    "coco": what ``predictions.json`` of pictures holds, as one file (default ``<path>.coco.json``). "bvh": one file per
    person and picture or video, in a folder (default ``<path>.bvh``); of a benchmark's ``.npz``, one per recording,
    which is the part of its keys before the last number. That number counts frames at ``rate_hz``; gaps are
    filled evenly. ``report`` is told how many poses are left out because no hip is known. Raises
    ``ArtefactError`` for a file of another kind and ``UsageError`` where no motion can be written.
    """
    path = Path(path)
    if form == "coco":
        target = out or path.with_name(f"{path.name}.coco.json")
        try:
            text = json.dumps(coco_document(_read_pictures(path), path), allow_nan=False)
        except ValueError as error:
            raise ArtefactError("holds a number that is not finite", where=path, hint=_JSON_HINT) from error
        write_whole(target, text.encode())
        return [target]
    folder = out or path.with_name(f"{path.name}.bvh")
    clips = _recordings(path, rate_hz) if path.suffix.lower() == ".npz" else _pictured(path)
    written: list[Path] = []
    left_out = 0
    for name, (poses, times_s) in clips.items():
        try:
            text = bvh_text(*even_clip(poses, times_s))
        except UsageError:
            left_out += len(poses)
            continue
        written.append(folder / f"{file_stem(name)}.bvh")
        write_whole(written[-1], text.encode())
    if not written:
        raise UsageError("no hip is in any pose, so there is no motion to write", where=path, hint="give others")
    if left_out and report is not None:
        report.note(f"{left_out} poses are left out: their hip is never in the picture")
    return written


def _read_pictures(path: Path) -> Any:
    try:
        found = json_value(read_whole(path, _MOST_BYTES))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"is not readable JSON ({error})", where=path, hint=_JSON_HINT) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ArtefactError("is no file of predicted pictures", where=path, hint=_JSON_HINT)
    return found


def _recordings(path: Path, rate_hz: float) -> dict[str, tuple[Any, Any]]:
    """Return numbered recording -> its poses (F, 17, 3) in the order of their frames, and times (F,)."""
    found = read_predictions(path)
    if {"boxes", "written_by"} <= set(found.meta):
        what = "holds poses of pictures, whose people and times this file does not name"
        raise UsageError(what, where=path, hint="give the predictions.json beside it")
    clips: dict[str, list[tuple[int, int]]] = {}
    for place, key in enumerate(found.keys.tolist()):
        digits = re.search(r"\d{0,15}$", key, re.ASCII)[0]  # type: ignore[index]
        name = key.removesuffix(digits).rstrip("-_/") or "poses"
        clips.setdefault(name, []).append((int(digits or 0), place))
    recordings = {}
    for number, name in enumerate(sorted(clips)):
        frames, places = np.array(sorted(clips[name])).T
        recordings[f"{number:03d}-{name}"] = found.joints_cam_mm[places].astype(np.float64), frames / rate_hz
    return recordings


def _pictured(path: Path) -> dict[str, tuple[Any, Any]]:
    document = _read_pictures(path)
    clips: dict[str, tuple[list[Any], list[float]]] = {}
    absent = [np.nan] * 3
    try:
        for row in document["poses"]:
            name = f"{row['input']:03d}-{document['inputs'][row['input']]['name']}-person{int(row['person'])}"
            poses, times_s = clips.setdefault(name, ([], []))
            poses.append([joint or absent for joint in row["joints_cam_mm"]])
            times_s.append(float(row["time_s"] or 0.0))
            if not math.isfinite(times_s[-1]) or np.isinf(np.array(poses[-1], np.float64)).any():
                raise ValueError
        shape = (-1, len(H36M17), 3)
        return {name: (np.array(poses, np.float64).reshape(shape), np.array(t)) for name, (poses, t) in clips.items()}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtefactError("its poses cannot be read", where=path, hint=_JSON_HINT) from error


def coco_document(document: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Return what ``predictions.json`` holds in the layout of COCO's person keypoints, with this project's 17 joints.

    An image per picture or frame, an annotation per person: ``keypoints`` [x, y, v] with v = 2, or 0, 0, 0 for absent
    joints, and ``keypoints_3d_mm`` [x, y, z] in the camera's frame beside them. COCO's pixels begin at corners: half a
    pixel is added. Raises ``ArtefactError`` for another file.
    """
    images: dict[tuple[int, Any], dict[str, Any]] = {}
    annotations = []
    try:
        for number, row in enumerate(document["poses"], 1):
            told = document["inputs"][row["input"]]
            frame = row["frame"]
            image = images.setdefault(
                (row["input"], frame),
                {"id": len(images) + 1, "file_name": str(told["name"]), "width": int(told["size_px"][0]),
                 "height": int(told["size_px"][1]), **({} if frame is None else {"frame": int(frame)})},
            )  # fmt: skip
            known = [joint is not None for joint in row["joints_px"]]
            flat = [
                value
                for joint in row["joints_px"]
                for value in ([joint[0] + 0.5, joint[1] + 0.5, 2] if joint else [0, 0, 0])
            ]
            x0, y0, x1, y1 = (float(value) for value in row["box_px"])
            annotations.append(
                {"id": number, "image_id": image["id"], "category_id": 1, "iscrowd": 0, "num_keypoints": sum(known),
                 "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1], "area": (x1 - x0 + 1) * (y1 - y0 + 1), "keypoints": flat,
                 "keypoints_3d_mm": row["joints_cam_mm"], "track_id": int(row["person"])}
            )  # fmt: skip
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtefactError("its poses cannot be read", where=where, hint=_JSON_HINT) from error
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(H36M17.joints),
                "skeleton": [[child + 1, parent + 1] for child, parent in H36M17.bones]}  # fmt: skip
    return {"images": list(images.values()), "annotations": annotations, "categories": [category]}
