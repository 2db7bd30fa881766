"""Finding the official files, as archives or unpacked, wherever the root lies; whether all that a split needs is there.

Official names are ``S1/Videos/<name>.<camera>.mp4`` and ``S1/MyPoseFeatures/<feature>/<name>[.<camera>].cdf`` inside
``Videos_S1.tgz`` and ``Poses_<feature>_S1.tgz``; common tools re-root them to ``S1/Poses_<feature>/`` or serve the
archives as ``s1/<feature>.tgz`` or ``<feature>/SubjectSpecific_1.tgz``. So a file is known by its base name, the
folder it lies in and the nearest ``S<number>`` above it, where an archive counts as a folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from kt3d_bench.errors import MissingDataError, RawDataError
from kt3d_bench.rawfiles import contents, listed, near
from kt3d_bench.records import Camera
from kt3d_bench.standins import MARKER
from kt3d_h36m.archives import Source, local_file, tar_members, zip_members
from kt3d_h36m.metadata import read_cameras, read_frame_counts
from kt3d_h36m.recordings import CAMERAS, SPLITS, SUBJECTS, Recording, Selection, find_recording, select

FEATURES: dict[str, tuple[str, str]] = {
    "Videos": (".mp4", "videos"),
    "D3_Positions": (".cdf", "poses in the world (D3_Positions)"),
    "D3_Positions_mono": (".cdf", "poses in the camera (D3_Positions_mono)"),
    "D2_Positions": (".cdf", "image positions (D2_Positions)"),
    "ground_truth_bb": (".mat", "official person boxes (ground_truth_bb)"),
    "D3_Positions_mono_universal": (".cdf", "universal-skeleton poses (not used)"),
}
"""Name -> ending of its files, and what they are."""
_FEATURES = {name.lower(): name for name in FEATURES}
METADATA = "metadata.xml"
SITE = "http://vision.imar.ro/human3.6m/ (registration needed)"
METADATA_HINT = f"put code-v1.2.zip (or its Release-v1.2/metadata.xml) there, from {SITE}"
_SITE_NUMBERS = {1: 1, 6: 5, 7: 6, 2: 7, 3: 8, 4: 9, 5: 11}
"""k of the site's ``SubjectSpecific_<k>.tgz`` -> subject."""
_IMAGE_FOLDER = re.compile(r"s_\d\d_act_\d\d_subact_\d\d_ca_\d\d|imageSequence|S\d+_.+\.\d{8}", re.IGNORECASE)
"""Folders of other layouts with a million images: not official, not walked."""
_RECORDINGS = 30  # Recordings of each subject
_ARCHIVES = (".tgz", ".tar.gz", ".tar")
_GLANCE = 64  # How many files of an archive are looked at to see whether it is Human3.6M's
_CODE = re.compile(r"code|release|metadata|h36m|human3", re.IGNORECASE)
"""Matches the name of a .zip that should hold the cameras."""


@dataclass(frozen=True)
class RawFolder:
    """What lies under a raw folder. Keys are (recording, camera identifier); the camera is "" for D3_Positions."""

    root: Path
    files: dict[str, dict[tuple[Recording, str], Source]] = field(default_factory=dict)  # Feature -> files
    metadata: Source | None = None
    archives: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Files in the right place whose names mean no recording; ``_ALL`` sequences are not among them."""

    def subjects(self, feature: str) -> tuple[int, ...]:
        return tuple(sorted({recording.subject for recording, _ in self.files.get(feature, {})}))

    @property
    def poses_from(self) -> str:
        """The feature to take poses from: the one that more subjects have."""
        return max(("D3_Positions", "D3_Positions_mono"), key=lambda feature: len(self.subjects(feature)))

    @property
    def generated(self) -> bool:
        """Whether this is a generated stand-in, which may hold only some of the recordings."""
        return (self.root / MARKER).is_file()


def scan(root: Path, *, subjects: Iterable[int] | None = None, without: Iterable[str] = ()) -> RawFolder:
    """List what is there, archives included. Archives that by their name hold only other ``subjects``, features
    ``without`` use, or what lies there unpacked and complete stay closed: a video archive takes its time. Unpacked
    files win over archived ones. Archives of other datasets are left alone.

    Raises ``RawDataError`` when ``root`` is not a folder or an archive is damaged.
    """
    if not root.is_dir():
        raise RawDataError("is not a folder", where=root, hint=f"put the official download there, from {SITE}")
    wanted, unused = None if subjects is None else set(subjects), set(without)
    files: dict[str, dict[tuple[Recording, str], Source]] = {feature: {} for feature in FEATURES}
    metadata: list[Source] = []
    archives: list[Path] = []
    unknown: list[str] = []

    def add(parts: Sequence[str], source: Source) -> None:
        name = parts[-1].lower()
        if name == METADATA:
            metadata.append(source)
            return
        feature, subject = _feature(parts[:-1]), _subject(parts[:-1])
        if feature is None or subject is None or not name.endswith(ending := FEATURES[feature][0]):
            return
        if wanted is not None and subject not in wanted:
            return
        name, camera = _split_name(parts[-1][: -len(ending)])
        recording = find_recording(subject, name)
        if recording is not None and (camera == "") == (feature == "D3_Positions"):
            files[feature].setdefault((recording, camera), source)
        elif not name.startswith("_"):
            unknown.append(str(source))

    for path in _walk(root):
        if path.name.lower().endswith(_ARCHIVES):
            archives.append(path)
        elif path.name.lower().endswith(".zip"):
            metadata += _zip_metadata(path)
        else:
            add(path.relative_to(root).parts, Source(str(path)))
    for archive in archives:
        outer = _outer(archive, root)
        feature, subject = _feature(outer), _subject(outer)
        closed = feature in unused or (wanted is not None and subject is not None and subject not in wanted)
        closed = closed or (feature is not None and _complete(files[feature], feature, subject))
        for member in () if closed else _members(archive, outer):
            add((*outer, *PurePosixPath(member).parts), Source(str(archive), member))
    return RawFolder(
        root,
        {feature: dict(sorted(found.items())) for feature, found in files.items()},
        _preferred(metadata),
        tuple(str(path.relative_to(root)) for path in archives),
        tuple(sorted(unknown)),
    )


def find_metadata(root: Path) -> Source | None:
    """Return the official ``metadata.xml`` anywhere under ``root``, unpacked or in a .zip; ``None`` = not there.

    Raises ``RawDataError`` when a .zip is damaged.
    """
    found: list[Source] = []
    for path in _walk(root):
        if path.name.lower() == METADATA:
            found.append(Source(str(path)))
        elif path.name.lower().endswith(".zip"):
            found += _zip_metadata(path)
    return _preferred(found)


def _preferred(metadata: Iterable[Source]) -> Source | None:
    return min(metadata, key=lambda source: (source.member is not None, source), default=None)


def cameras_of(metadata: Source | None, root: Path, more: str = "") -> dict[tuple[int, str], Camera]:
    """Read the calibrated cameras. Raises ``RawDataError`` when ``metadata.xml`` is missing or damaged."""
    if metadata is None:
        what = f"metadata.xml with the cameras is missing{near(root, METADATA)}"
        raise RawDataError(what, where=root, hint=METADATA_HINT + more)
    with local_file(metadata) as path:
        return read_cameras(path)


def holds_videos(root: Path) -> bool:
    """Return whether official videos lie under ``root``, or an archive that by its name holds some. Opens nothing."""
    for path in _walk(root):
        if path.name.lower().endswith((*_ARCHIVES, ".mp4")):
            outer = _outer(path, root) if path.name.lower().endswith(_ARCHIVES) else path.relative_to(root).parts[:-1]
            if _feature(outer) == "Videos" and _subject(outer) is not None:
                return True
    return False


def _complete(found: Mapping[tuple[Recording, str], Source], feature: str, subject: int | None) -> bool:
    unpacked = sum(one.subject == subject and source.member is None for (one, _), source in found.items())
    return unpacked == _full(feature)


def _full(feature: str) -> int:
    """Return how many files of a feature every subject has."""
    return _RECORDINGS * (1 if feature == "D3_Positions" else len(CAMERAS))


def _walk(root: Path) -> Iterator[Path]:
    """Yield all files in a fixed order; folders reached through links are entered once."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _IMAGE_FOLDER.fullmatch(name))
        yield from (path for name in sorted(names) if (path := Path(folder, name)).is_file())


def _outer(archive: Path, root: Path) -> tuple[str, ...]:
    """Return the folders above an archive's members: its own folders and its name without the ending."""
    stem = next(archive.name[: -len(ending)] for ending in _ARCHIVES if archive.name.lower().endswith(ending))
    return (*archive.relative_to(root).parts[:-1], stem)


def _feature(folders: Sequence[str]) -> str | None:
    """Return the feature that the innermost folder names: ``Poses_D3_Positions_S1`` -> ``D3_Positions``."""
    for folder in reversed(folders):
        name = re.sub(r"_s\d+$", "", folder.lower()).removeprefix("poses_")
        name = "ground_truth_bb" if name == "segments_mat_gt_bb" else name
        if name in _FEATURES:
            return _FEATURES[name]
    return None


def _subject(folders: Sequence[str]) -> int | None:
    for folder in reversed(folders):
        if match := re.search(r"(?:^|_)[sS](\d{1,2})$", folder):
            return int(match[1])
        if match := re.fullmatch(r"SubjectSpecific_(\d)", folder, re.IGNORECASE):
            return _SITE_NUMBERS.get(int(match[1]))
    return None


def _split_name(stem: str) -> tuple[str, str]:
    """Split ``Directions 1.54138969`` into (``Directions 1``, ``54138969``); no camera gives ""."""
    name, dot, camera = stem.rpartition(".")
    return (name, camera) if dot and camera in CAMERAS else (stem, "")


def _members(archive: Path, outer: Sequence[str]) -> list[str]:
    """Return the names of an archive's files; none when neither ``outer`` nor its first members show that it is
    Human3.6M's: it may be another dataset's, and large."""
    names: list[str] = []
    ours = _feature(outer) is not None or _subject(outer) is not None
    members = tar_members(archive)
    try:
        for name in islice(members, _GLANCE):
            names.append(name)
            parts = (*outer, *PurePosixPath(name).parts)
            ours = ours or _feature(parts[:-1]) is not None or parts[-1].lower() == METADATA
        return [*names, *members] if ours else []
    except RawDataError:
        if ours:
            raise
        return []


def _zip_metadata(archive: Path) -> list[Source]:
    try:
        names = sorted(name for name in zip_members(archive) if PurePosixPath(name).name.lower() == METADATA)
    except RawDataError:
        if _CODE.search(archive.name):
            raise
        return []
    return [Source(str(archive), name) for name in names]


def check_complete(found: RawFolder, selection: Selection, *, partial: bool, boxes: bool) -> None:
    """Raise ``RawDataError`` for the first kind of thing that is missing, ``MissingDataError`` when nothing is there.

    A ``partial`` or generated folder may lack subjects and recordings, but not one half of a recording.
    """
    features = {feature: found.subjects(feature) for feature in found.files}
    poses_from, subjects, where = found.poses_from, selection.subjects, found.root
    if not any(features.values()) and found.metadata is None:
        raise MissingDataError(
            f"holds no Human3.6M for S{', S'.join(map(str, subjects))} (found: {contents(where)})",
            where=where,
            hint=f"put Videos_S1.tgz, Poses_D3_Positions_S1.tgz, ... and code-v1.2.zip there, from {SITE}, or make a "
            "stand-in with `kt3d generate h36m`",
        )
    if found.metadata is None:
        what = f"metadata.xml with the cameras is missing{near(where, METADATA)}"
        raise RawDataError(what, where=where, hint=METADATA_HINT)

    def missing(what: str, archive: str, more: str = "", *, why: str = "") -> RawDataError:
        beside = near(where, f"{archive}.tgz") or _strangers(found)
        return RawDataError(
            f"{what} are missing{why}{beside}", where=where, hint=f"put {archive}.tgz there, from {SITE}{more}"
        )

    partial = partial or found.generated
    present = [s for s in subjects if s in features["Videos"] or s in features[poses_from]]
    for s in present if partial and present else subjects:
        if s not in features[poses_from]:
            universal = " (D3_Positions_mono_universal does not fit the images)"
            why = universal if s in features["D3_Positions_mono_universal"] else ""
            raise missing(f"the poses of S{s}", f"Poses_{poses_from}_S{s}", why=why)
        if s not in features["Videos"]:
            raise missing(f"the videos of S{s}", f"Videos_S{s}")
    for s in subjects if boxes else ():
        if s in features["Videos"] and s not in features["ground_truth_bb"]:
            raise missing(f"the official boxes of S{s}", f"Segments_mat_gt_bb_S{s}", ", or leave --boxes at joints")
    if files := list(_missing_files(found, selection, partial, boxes)):
        raise RawDataError(
            f"{len(files)} files are missing: {listed(files)}{_strangers(found)}",
            where=where,
            hint="unpack the archives again, leave recordings out with --drop, or accept a part of the dataset with "
            "--partial yes",
        )


def _strangers(found: RawFolder) -> str:
    """Return the files that lie where official ones do under names that mean no recording, for an error message."""
    names = [str(Path(name).relative_to(found.root)) for name in found.unknown if Path(name).is_relative_to(found.root)]
    return f", and of these the names mean no recording: {listed(names)}" if names else ""


def _missing_files(found: RawFolder, selection: Selection, partial: bool, boxes: bool) -> Iterator[str]:
    """Yield the official names of absent files. Of a partial set, only one file without its counterpart counts."""
    world = found.poses_from == "D3_Positions"
    for recording in selection.recordings():
        for camera_id in CAMERAS:
            has_pose = (recording, "" if world else camera_id) in found.files[found.poses_from]
            has_video = (recording, camera_id) in found.files["Videos"]
            left_out = selection.reason(recording, camera_id) is not None
            if left_out or (partial and not has_pose and not has_video):
                continue
            folder, name = f"S{recording.subject}", f"{recording.file_name}.{camera_id}"
            if not has_video:
                yield f"{folder}/Videos/{name}.mp4"
            if not has_pose and (not world or camera_id == CAMERAS[0]):
                yield f"{folder}/MyPoseFeatures/{found.poses_from}/{recording.file_name if world else name}.cdf"
            if boxes and (recording, camera_id) not in found.files["ground_truth_bb"]:
                yield f"{folder}/MySegmentsMat/ground_truth_bb/{name}.mat"


def describe_official(found: RawFolder) -> Iterator[str]:
    """Yield sentences for ``kt3d inspect``: what was found, which counts disagree, what is missing."""
    if found.metadata is None and not any(found.files.values()):
        yield f"No Human3.6M was found here, in none of the layouts that are read; it comes from {SITE}."
        return
    packed = sum(source.member is not None for files in found.files.values() for source in files.values())
    whole = sum(len(files) for files in found.files.values())
    how = "archives, read in place" if packed == whole else "unpacked" if not packed else "archives and unpacked files"
    yield f"Layout: the official download, {how}." if whole else "Nothing of Human3.6M is here but metadata.xml."
    if found.archives:
        yield f"Archives, read in place: {', '.join(found.archives)}."
    if any(source.member is not None for source in found.files["Videos"].values()):
        yield (
            "Reading a packed video means reading its archive up to it: unpack the archives where time matters "
            "(tar -xzf)."
        )
    for feature, (_, title) in FEATURES.items():
        if files := found.files[feature]:
            counts = {s: sum(recording.subject == s for recording, _ in files) for s in found.subjects(feature)}
            listing = ", ".join(f"S{subject} {count}/{_full(feature)}" for subject, count in counts.items())
            yield f"{len(files)} {title}: {listing}."
    if found.unknown:
        yield f"{len(found.unknown)} files whose names mean no recording, such as {found.unknown[0]}."
    if found.metadata is None:
        yield f"metadata.xml is missing: {METADATA_HINT}."
    else:
        with local_file(found.metadata) as path:
            cameras, counted = read_cameras(path), read_frame_counts(path)
        yield f"{len(cameras)} calibrated cameras in {found.metadata}."
        if counted:
            known = sum(one.poses for (s, action, _), one in counted.items() if s in SUBJECTS and action > 1)
            yield f"It announces {known} poses of labelled subjects."
    for split, subjects in SPLITS.items():
        lacking = [f"Videos_S{s}.tgz" for s in subjects if s not in found.subjects("Videos")]
        lacking += [f"Poses_{found.poses_from}_S{s}.tgz" for s in subjects if s not in found.subjects(found.poses_from)]
        if lacking:
            yield f"Split {split} lacks {', '.join(lacking)}: get them from {SITE}."
            continue
        yield f"Split {split} has all of its subjects."
        if absent := list(_missing_files(found, select(split), partial=found.generated, boxes=False)):
            yield f"Of their files {len(absent)} are missing: {listed(absent)}; unpack the archives again."
