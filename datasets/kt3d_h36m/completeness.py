"""Whether a raw folder holds what a split needs; if not, which official file to get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kt3d_bench.errors import MissingDataError, RawDataError
from kt3d_bench.standins import MARKER
from kt3d_h36m.foreign import refusals
from kt3d_h36m.layout import CODE_MEND, SITE, RawFolder
from kt3d_h36m.selection import Selection
from kt3d_h36m.sequences import CAMERAS, recordings


def check_complete(
    found: RawFolder, subjects: Sequence[int], selection: Selection, *, partial: bool, boxes: bool
) -> str:
    """The feature to take poses from. Raises ``RawDataError`` for the first kind of thing that is missing,
    ``MissingDataError`` when nothing is there.

    A ``partial`` or generated folder may lack subjects and recordings, but not one half of a recording.
    """
    root = found.root
    features = {feature: found.subjects(feature) for feature in found.files}
    if not any(features.values()) and (refused := next(refusals(root), None)):
        raise refused
    if not any(features.values()) and found.metadata is None:
        inside = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
        raise MissingDataError(
            f"holds no Human3.6M for S{', S'.join(map(str, subjects))} (found: {inside})",
            where=root,
            hint=f"it takes Videos_S1.tgz, Poses_D3_Positions_S1.tgz, ... and code-v1.2.zip from {SITE}, or a "
            "stand-in by `kt3d generate h36m`",
        )
    if found.metadata is None:
        raise RawDataError(
            "metadata.xml with the cameras is missing",
            where=root,
            hint=CODE_MEND,
        )
    poses_from = max(("D3_Positions", "D3_Positions_mono"), key=lambda feature: len(set(features[feature])))
    partial = partial or (root / MARKER).is_file()
    present = [s for s in subjects if s in features["Videos"] or s in features[poses_from]]
    for subject in present if partial and present else subjects:
        if subject not in features[poses_from]:
            universal = subject in features["D3_Positions_mono_universal"]
            raise RawDataError(
                f"the poses of S{subject} are missing"
                + (" (D3_Positions_mono_universal does not fit the images)" if universal else ""),
                where=root,
                hint=f"put Poses_{poses_from}_S{subject}.tgz there, from {SITE}",
            )
        if subject not in features["Videos"]:
            raise RawDataError(
                f"the videos of S{subject} are missing",
                where=root,
                hint=f"put Videos_S{subject}.tgz there, from {SITE}",
            )
    if boxes and (lacking := [s for s in subjects if s in features["Videos"] and s not in features["ground_truth_bb"]]):
        raise RawDataError(
            f"the official boxes of S{lacking[0]} are missing",
            where=root,
            hint=f"put Segments_mat_gt_bb_S{lacking[0]}.tgz there, from {SITE}, or leave --boxes at joints",
        )
    missing = [*missing_files(found, poses_from, subjects, selection, partial, boxes)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise RawDataError(
            f"{len(missing)} files are missing: {'; '.join(missing[:3])}{more}",
            where=root,
            hint="unpack the archives again, leave recordings out with --drop, or accept a part of the dataset with "
            "--partial yes",
        )
    return poses_from


def missing_files(
    found: RawFolder, poses_from: str, subjects: Sequence[int], selection: Selection, partial: bool, boxes: bool
) -> Iterator[str]:
    """Official names of absent files. Of a partial set, only one file without its counterpart counts."""
    videos, poses = found.files["Videos"], found.files[poses_from]
    for recording in recordings():
        if recording.subject not in subjects:
            continue
        folder = f"S{recording.subject}"
        for camera_id in CAMERAS:
            if selection.reason(recording, camera_id) is not None:
                continue
            world = poses_from == "D3_Positions"
            has_pose = (recording, "" if world else camera_id) in poses
            has_video = (recording, camera_id) in videos
            if partial and not has_pose and not has_video:
                continue
            if not has_video:
                yield f"{folder}/Videos/{recording.file_name}.{camera_id}.mp4"
            if not has_pose and (not world or camera_id == CAMERAS[0]):
                camera = "" if world else f".{camera_id}"
                yield f"{folder}/MyPoseFeatures/{poses_from}/{recording.file_name}{camera}.cdf"
            if boxes and (recording, camera_id) not in found.files["ground_truth_bb"]:
                yield f"{folder}/MySegmentsMat/ground_truth_bb/{recording.file_name}.{camera_id}.mat"
