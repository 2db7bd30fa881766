"""Predict pictures with a run, or with a method without stages: what ``kt3d predict RUN INPUT...`` does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from kt3d_bench import __version__
from kt3d_bench.errors import ArtefactError, Kt3dError, RawDataError, UsageError
from kt3d_bench.files import default_data_root, write_whole
from kt3d_bench.pictures.boxes import BoxRule, Tracks, box_rule
from kt3d_bench.pictures.cameras import Calibration, camera_of, read_calibration
from kt3d_bench.pictures.clips import FRAMES_AT_ONCE, Place, lifted
from kt3d_bench.pictures.inputs import (
    Picture,
    Unit,
    find_inputs,
    frame_count,
    give_back_memory,
    read_picture,
    shown_names,
    video_container,
    video_frames,
)
from kt3d_bench.pictures.output import InputRecord, Record, file_stem, write_bvh, write_record
from kt3d_bench.pictures.overlay import VideoWriter, encoded, overlay
from kt3d_bench.pictures.page import Gallery, write_page
from kt3d_bench.pictures.people import DEPTH_FROM, Found, Person, Pose, Predictor, Root, lengths_record, pose_of
from kt3d_bench.pictures.smooth import OneEuro
from kt3d_bench.plugins import registry
from kt3d_bench.progress import Reporter
from kt3d_bench.run_folder import final_checkpoint, found_run, read_run
from kt3d_bench.skeletons import H36M17

if TYPE_CHECKING:
    from kt3d_bench.metrics.predictions import Predictions

MOST_AT_ONCE = 32
"""People that are predicted together."""
TRIM_EVERY = 8 * FRAMES_AT_ONCE
"""Frames of a video after which freed memory goes back to the system."""
DEPTH_RULE = "central-body"
"""How the person is found in depth images where the run does not say."""
_NO_POSE = "a person's depth could not be found, or no joint lies in the picture: that person is left out"


@dataclass(frozen=True, eq=False)
class _Asked:
    """What one call was asked for, looked up."""

    predictor: Predictor
    find_people: BoxRule
    calibration: Calibration | None
    unit: Unit
    smooth: bool
    out: Path | None
    report: Reporter
    gallery: Gallery


class PictureOptions(TypedDict, total=False):
    """Options of ``predict_images``, which says what they do."""

    out: Path | None
    camera: Path | str | None
    boxes: Path | str
    root_depth_mm: float | None
    height_mm: float | None
    depth_unit: Unit
    smooth: bool
    bvh: bool
    replace: bool
    device: str
    data: Path | str | None
    report: Reporter | None


def predict_images(
    run: Path | str,
    inputs: Sequence[Path | str] | Path | str,
    *,
    out: Path | None = None,
    camera: Path | str | None = None,
    boxes: Path | str = "auto",
    root_depth_mm: float | None = None,
    height_mm: float | None = None,
    depth_unit: Unit = "mm",
    smooth: bool = False,
    bvh: bool = False,
    replace: bool = False,
    device: str = "auto",
    data: Path | str | None = None,
    report: Reporter | None = None,
) -> Predictions:
    """Predict the people in anybody's pictures, and return (17, 3) poses in mm in the camera's frame; NaN = absent.

    ``run``: a run's folder, its name below ``<data>/runs``, or the name of a method without stages. ``inputs``: images,
    folders, patterns, videos; depth images for a run that reads depth (16-bit PNG or NPY, in ``depth_unit``, 0 = no
    reading). ``camera``: "fx,fy,cx,cy" in px, or a YAML or JSON file with these and perhaps ``distortion``
    (k1, k2, p1, p2, k3), ``width``, ``height``; by default what the picture records, else a field of view of 60
    degrees. ``boxes``: "whole", "detect" (by the method, or another that is installed), "auto" (detect where the
    method can, else whole), or a file (``pictures.boxes.from_file``).

    In RGB pictures nobody knows how far away a person is. ``root_depth_mm`` gives the hip's depth; else it is solved
    from the pose and from bone lengths: of a person of ``height_mm``, else their means in the run's source, else those
    of a person of 1.70 m. ``meta`` says which. In depth images it is the method's own estimate.

    ``out``: where to write ``predictions.npz``, ``predictions.json``, ``overlays/``, ``index.html`` and, with ``bvh``,
    ``bvh/``; ``None`` = write nothing. A folder with earlier results is refused; ``replace`` removes their overlays and
    BVH files first. After an interruption, what was predicted before it is written. ``smooth`` filters videos over time
    (One-Euro). Keys of the result are ``<name>/<person>`` and ``<video>/<frame>/<person>``.

    An input that cannot be used is skipped: ``report`` is told why, and so is ``meta["skipped"]``. Raises
    ``UsageError`` for unknown names and options that do not fit, ``ArtefactError`` for a run that is not finished and a
    folder that cannot be written, and ``RawDataError`` where no input could be used.
    """
    from kt3d_bench.metrics.predictions import Predictions

    report = report or Reporter()
    root = Root(root_depth_mm, height_mm)
    predictor = _predictor(run, root, device, Path(data or default_data_root()))
    find_people, found_by = box_rule(boxes, predictor.method_name)
    if bvh and out is None:
        raise UsageError("BVH files need a folder", hint="name one: out=...")
    listed = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    paths = find_inputs(listed)
    _require_useful(predictor.modality, paths, height_mm, depth_unit, smooth)
    calibration = None if camera is None else read_calibration(camera)
    about = {"model": predictor.name, "method": predictor.method_name, "boxes": found_by, "smoothed": smooth,
             "written_by": f"kt3d {__version__}"}  # fmt: skip
    if out is not None and (out / "predictions.json").exists():
        _make_room(out, paths, replace)
    gallery = Gallery(out is not None)
    asked = _Asked(predictor, find_people, calibration, depth_unit, smooth, out, report, gallery)
    record = Record(about)
    try:
        for number, (path, name) in enumerate(zip(paths, shown_names(paths), strict=True)):
            _one_input(asked, record, path, name, number)
    finally:
        if out is not None and record.rows:
            if bvh:
                write_bvh(out / "bvh", record)
            write_record(out, record)
            write_page(out / "index.html", record, gallery)
    if not record.rows:
        raise _nothing(record)
    skipped = {one.name: one.error for one in record.inputs if one.error}
    words = sorted({row["depth_from"] for row in record.rows})
    notes = [DEPTH_FROM[word] for word in words]
    if (repeated := _repeated(predictor)) in (note for one in record.inputs for note in one.notes):
        notes.append(repeated)
    meta = {**about, "depth_from": words, "notes": notes, "skipped": skipped,
            "cameras": {one.name: one.camera for one in record.inputs if one.camera}}  # fmt: skip
    return Predictions(np.array(record.keys, np.str_), record.poses().astype(np.float32), meta)


def _require_useful(modality: str, paths: Sequence[Path], height_mm: float | None, unit: Unit, smooth: bool) -> None:
    """Raise ``UsageError`` for options that would do nothing."""
    if modality == "depth" and height_mm is not None:
        raise UsageError("a height is given, and depth images show the distance", where="--height", hint="leave it out")
    if modality == "rgb" and unit != "mm":
        what = "a unit of depth is given, and the method reads RGB images"
        raise UsageError(what, where="--depth-unit", hint="leave it out")
    if smooth and all(_is_still(path) for path in paths):
        raise UsageError("smoothing is over time, and no input is a video", where="--smooth", hint="leave it out")


def _is_still(path: Path) -> bool:
    try:
        return video_container(path) is None
    except Kt3dError:
        return False


def _make_room(out: Path, paths: Sequence[Path], replace: bool) -> None:
    """Remove the overlays and BVH files of earlier results, where ``replace`` and an input exists."""
    if not replace:
        hint = "name another folder with --out, or replace them with --replace"
        raise UsageError("the folder holds earlier results", where=out, hint=hint)
    for folder in (out / "overlays", out / "bvh"):
        if folder.is_dir() and not folder.is_symlink() and any(path.is_file() for path in paths):
            shutil.rmtree(folder)


def _predictor(run: Path | str, root: Root, device: str, data_root: Path) -> Predictor:
    """Open a run, or build a method without stages of that name."""
    from kt3d_bench.training.predict import load_method, untrained_method
    from kt3d_bench.training.resolve import device_name

    where = device_name(device)
    if str(run) in registry.methods() and not Path(run).is_dir() and not (data_root / "runs" / str(run)).is_dir():
        method = untrained_method(str(run), "rgb")
        return Predictor(method, str(run), str(run), root, device=where)
    folder = found_run(run, data_root, also=registry.methods())
    document = read_run(folder)
    method, about = load_method(final_checkpoint(folder))
    known = registry.datasets().get(document["shards"]["target"]["dataset"])
    rule = registry.card(known.name).foreground if known is not None else DEPTH_RULE
    own = Root(root.depth_mm, root.height_mm, lengths_record(about))
    return Predictor(method, folder.name, str(about["method"]), own, rule, where)


def _one_input(asked: _Asked, record: Record, path: Path, name: str, number: int) -> None:
    """Predict one input into the record. What is wrong with it is told, and the others go on. Raises
    ``ArtefactError`` where nothing can be written."""
    told = InputRecord(name, "image")
    record.inputs.append(told)
    try:
        container = video_container(path)
        if container is None:
            picture = read_picture(path, name, asked.predictor.modality, asked.unit)
            told.kind = "image" if picture.image.ndim == 3 else "depth"
            _still(asked, record, picture, number)
        else:
            told.kind = "video"
            if asked.predictor.modality != "rgb":
                hint = "give depth images, one per frame"
                raise RawDataError("is a video, and the method reads depth images", where=path, hint=hint)
            _video(
                asked, record, lambda: video_frames(path, name, container), frame_count(path, container), name, number
            )
    except ArtefactError as error:
        told.error = error.message
        raise
    except Kt3dError as error:
        told.error = error.message
        asked.report.note(f"{error.message}; {'skipped' if not told.people else 'its earlier frames are kept'}")
    except BaseException:
        told.error = "it was stopped before its end"
        raise
    else:
        if not told.people:
            told.error, hint = "no person was found", "give boxes in a file (--boxes FILE) or use --boxes whole"
            if _NO_POSE in told.notes:
                told.error, hint = _NO_POSE, "give --root-depth, or other boxes (--boxes)"
            asked.report.note(f"{name}: {told.error}; {hint}")


def _nothing(record: Record) -> RawDataError:
    """Return the error for a call that predicted nobody."""
    if len(record.inputs) == 1:
        return RawDataError(record.inputs[0].error, hint="nothing is written")
    return RawDataError(f"none of the {len(record.inputs)} inputs gave a pose", hint="the lines above say why")


def _people(asked: _Asked, told: InputRecord, picture: Picture, tracks: Tracks | None) -> list[Person]:
    camera, words = camera_of(picture.size_px, asked.calibration, picture.focal_35mm, picture.name)
    told.size_px, told.camera = picture.size_px, words
    told.focal_px, told.center_px = camera.focal_px, camera.center_px
    told.distortion = tuple(camera.distortion.tolist())
    for note in picture.notes:
        told.note(note)
    boxes = asked.find_people(picture)
    numbers = range(len(boxes)) if tracks is None else tracks.numbers(boxes)
    return [Person(picture, camera, box, number) for box, number in zip(boxes, numbers, strict=True)]


def _predicted(asked: _Asked, people: Sequence[Person]) -> list[Found]:
    found: list[Found] = []
    for start in range(0, len(people), MOST_AT_ONCE):
        found += asked.predictor(people[start : start + MOST_AT_ONCE])
    return found


def _keep(asked: _Asked, record: Record, poses: Sequence[Pose], number: int) -> list[Pose]:
    """Record the poses that have a joint, and return them."""
    told = record.inputs[-1]
    kept = [pose for pose in poses if np.isfinite(pose.joints_px).all(axis=1).any()]
    if len(kept) < len(poses):
        told.note(_NO_POSE)
    for pose in kept:
        record.add(pose)
        told.people += 1
        absent = int(np.isnan(pose.joints_px[:, 0]).sum())
        if absent:
            told.note("some joints lie outside the picture or are not known to the method: they are absent")
        if pose.confidence is not None:
            guessed = np.isfinite(pose.joints_px[:, 0]) & ~np.isfinite(pose.confidence)
            if guessed.any():
                names = ", ".join(H36M17.joints[joint] for joint in np.flatnonzero(guessed))
                told.note(f"extrapolated by the method, not seen: {names}")
        asked.gallery.offer(pose, number, len(record.rows) - 1)
    return kept


def _repeated(predictor: Predictor) -> str:
    frames = 1 if predictor.clip is None else predictor.clip[0]
    return f"the method reads clips of {frames} frames, and a single picture stands for all of them"


def _still(asked: _Asked, record: Record, picture: Picture, number: int) -> None:
    told = record.inputs[-1]
    told.frames = 1
    people = _people(asked, told, picture, None)
    if asked.predictor.clip is not None:
        told.note(_repeated(asked.predictor))
    poses = [pose_of(one, found) for one, found in zip(people, _predicted(asked, people), strict=True)]
    kept = _keep(asked, record, poses, number)
    if asked.out is not None and kept:
        drawn = overlay(picture.image, [pose.joints_px for pose in kept])
        write_whole(asked.out / "overlays" / f"{number:03d}-{file_stem(picture.name)}.jpg", encoded(drawn))


def _clips_of(asked: _Asked, record: Record, frames: Iterator[Picture]) -> list[list[tuple[Place, Found]]]:
    """Return what is found in each frame of a video by a method of clips, up to a damaged frame if there is one."""
    told, tracks = record.inputs[-1], Tracks()

    def readable() -> Iterator[list[Person]]:
        with suppress(RawDataError):
            for picture in frames:
                yield _people(asked, told, picture, tracks)

    return list(lifted(asked.predictor, readable()))


def _video(
    asked: _Asked, record: Record, opened: Callable[[], Iterator[Picture]], total: int, name: str, number: int
) -> None:
    """Predict a video in blocks of a few frames, so that memory does not grow with the pictures. For a method of clips
    it is read twice, since a clip reaches into frames to come."""
    told, tracks = record.inputs[-1], Tracks()
    clips = None if asked.predictor.clip is None else _clips_of(asked, record, opened())
    filters: dict[int, OneEuro] = {}
    block: list[tuple[Picture, list[Person]]] = []
    times_s: list[float] = []

    def flush(writer: VideoWriter | None) -> None:
        people = [person for _, inside in block for person in inside]
        if clips is None:
            found = iter(_predicted(asked, people))
        else:
            last = told.frames - len(block)
            found = iter([one for here in clips[last : told.frames] for _, one in here])
        for picture, inside in block:
            poses = []
            for person in inside:
                one = next(found)
                if asked.smooth:
                    smooth = filters.setdefault(person.number, OneEuro())
                    one = replace(one, joints_cam_mm=smooth(one.joints_cam_mm, picture.time_s or 0.0))
                poses.append(pose_of(person, one))
            kept = _keep(asked, record, poses, number)
            if writer is not None:
                writer.add(overlay(picture.image, [pose.joints_px for pose in kept]), picture.time_s or 0.0)
        block.clear()
        if told.frames % TRIM_EVERY == 0:
            give_back_memory()
        asked.report.advance(told.frames, total=max(total, told.frames), samples=told.frames)

    asked.report.start(f"predict {name}", total)
    broken: RawDataError | None = None
    with ExitStack() as stack:
        writer = None
        if asked.out is not None:
            target = asked.out / "overlays" / f"{number:03d}-{file_stem(name)}.mp4"
            writer = stack.enter_context(VideoWriter(target))
        try:
            for picture in opened():
                told.frames += 1
                times_s.append(picture.time_s or 0.0)
                if clips is None:
                    block.append((picture, _people(asked, told, picture, tracks)))
                else:
                    block.append((picture, [place.in_picture(picture) for place, _ in clips[told.frames - 1]]))
                if len(block) == FRAMES_AT_ONCE:
                    flush(writer)
        except RawDataError as error:
            broken = error
        flush(writer)
    asked.report.finish()
    if broken is not None:
        raise broken
    steps = np.diff(times_s)
    if len(steps) > 1 and steps.max() > 1.5 * max(float(np.median(steps)), 1e-6):
        told.note("the frame rate varies: each pose has its own time, and BVH files are resampled to even times")
