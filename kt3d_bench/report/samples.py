"""The best, median and worst samples of a benchmark: pictures, skeletons over them, and poses to turn."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.drawing import part_palette
from kt3d_bench.errors import ArtefactError
from kt3d_bench.geometry.alignment import align_similarity
from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.geometry.foreground import RULES, person_depth
from kt3d_bench.leaderboard.site.html import spoken
from kt3d_bench.metrics.functional import METRICS, joint_errors
from kt3d_bench.report.measured import Measured
from kt3d_bench.skeletons import H36M17

_NO_READING = (16, 16, 20)
_RAMP = ((44, 24, 96), (122, 92, 208), (244, 238, 255))
"""From far to near."""
GROUPS = ("best", "median", "worst")
LONGEST_PX = 384
JPEG_QUALITY = 86
_LEFT = {left for _, left in H36M17.mirror_pairs}
_TITLES = {"rgb": "RGB", "depth": "depth as stored", "person": "depth of the person", "parts": "parts (label)"}


@dataclass(frozen=True)
class Shot:
    """One image of a sample."""

    title: str
    about: str
    source: str
    """A ``data:`` address; "" = left out."""


@dataclass(frozen=True)
class Dot:
    x: str
    y: str
    title: str


@dataclass(frozen=True)
class Overlay:
    """One skeleton in px of the sample's images."""

    left: str
    """Path of the left limbs' bones; the same below."""
    other: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class JointRow:
    joint: str
    error: str
    share: float
    """0..100 of the largest error shown, for a bar."""


@dataclass(frozen=True)
class SampleView:
    group: str
    number: int
    """Counts within the group, from 1."""
    key: str
    facts: tuple[tuple[str, str], ...]
    value: str
    width: int
    height: int
    shots: tuple[Shot, ...]
    truth: Overlay
    prediction: Overlay
    outside: bool
    """Whether a predicted joint lies outside the image."""
    joints: tuple[JointRow, ...]
    front: tuple[str, str, str, str]
    """Paths of the truth's and the prediction's left and other bones, seen from the camera, in a 200 x 200 drawing."""
    side: tuple[str, str, str, str]
    pose: dict[str, Any]
    """What the viewer turns: mm relative to the true hip."""
    notes: tuple[str, ...]


def choose(
    values: npt.NDArray[np.float64], clips: npt.NDArray[Any], number: int, *, lower_is_better: bool
) -> dict[str, list[int]]:
    """Group -> indices into ``values`` (N,): the best, the nearest to the median, the worst; no sample twice, and of
    one clip only one in a group while there are others. Samples without a value are left out."""
    defined = np.flatnonzero(np.isfinite(values))
    order = defined[np.argsort(values[defined] if lower_is_better else -values[defined], kind="stable")]
    number = min(number, max(1, len(order) // len(GROUPS)))
    middle = order[np.argsort(np.abs(np.arange(len(order)) - (len(order) - 1) / 2), kind="stable")]
    chosen: dict[str, list[int]] = {}
    for group, ranked in (("best", order), ("worst", order[::-1]), ("median", middle)):
        taken = {index for found in chosen.values() for index in found}
        free = [int(index) for index in ranked if int(index) not in taken]
        chosen[group] = _spread(free, clips, number)
    return {group: chosen[group] for group in GROUPS if chosen[group]}


def _spread(ranked: Sequence[int], clips: npt.NDArray[Any], number: int) -> list[int]:
    picked: list[int] = []
    seen: set[str] = set()
    for index in ranked:
        if str(clips[index]) not in seen:
            picked.append(index)
            seen.add(str(clips[index]))
        if len(picked) == number:
            return picked
    rest = [index for index in ranked if index not in picked]
    chosen = {*picked, *rest[: number - len(picked)]}
    return [index for index in ranked if index in chosen]


def sample_views(measured: Measured, number: int, *, images: bool) -> tuple[SampleView, ...]:
    """Views of the chosen samples; none without shards. Damaged images are said in the sample's notes."""
    test, pred = measured.test, measured.pred_mm
    if test is None or pred is None or measured.counted is None:
        return ()
    lower = METRICS[measured.benchmark.headline[0]].better == "lower"
    chosen = choose(measured.per_sample, test.labels.sequence, number, lower_is_better=lower)
    return tuple(
        _view(measured, test, pred, measured.counted, group, place, index, images)
        for group, indices in chosen.items()
        for place, index in enumerate(indices, 1)
    )


def _view(
    measured: Measured,
    test: ShardSet,
    pred_mm: npt.NDArray[np.float32],
    counted: npt.NDArray[np.bool_],
    group: str,
    number: int,
    index: int,
    images: bool,
) -> SampleView:
    labels, one = test.labels, slice(index, index + 1)
    true, pred = np.asarray(labels.joints_cam_mm[one], np.float64), np.asarray(pred_mm[one], np.float64)
    root = measured.benchmark.root
    errors = joint_errors(pred, true, root=root, mask=counted[one])[0]
    cameras = labels.intrinsics_px[one], labels.distortion[one], test.tangential_factor
    true_px, pred_px = project_arrays(*cameras, true)[0], project_arrays(*cameras, pred)[0]
    width, height = (int(side) for side in labels.size_px[index])
    shots, notes = _shots(test, index, measured.reads) if images else ((), [])
    unit = METRICS[measured.benchmark.headline[0]].unit
    facts = (("subject", labels.subject), ("action", labels.action), ("camera", labels.camera_id))
    pose = _pose(true, pred, root, counted[one], errors)
    worst = max((float(error) for error in errors if np.isfinite(error)), default=1.0)
    outside = (pred_px < -0.5) | (pred_px > np.array([width, height]) - 0.5)
    return SampleView(
        group=group,
        number=number,
        key=str(test.keys[index]),
        facts=tuple((name, str(values[index])) for name, values in facts if str(values[index])),
        value=f"{measured.per_sample[index]:.1f} {unit}",
        width=width,
        height=height,
        shots=tuple(shots),
        truth=_overlay(true_px, None),
        prediction=_overlay(pred_px, errors),
        outside=bool(outside.any()),
        joints=tuple(
            JointRow(
                spoken(name), _error_text(error), 100 * float(error) / max(worst, 1e-9) if np.isfinite(error) else 0
            )
            for name, error in zip(H36M17.joints, errors, strict=True)
        ),
        front=_drawing(pose, (0, 1)),
        side=_drawing(pose, (2, 1)),
        pose=pose,
        notes=tuple(notes),
    )


def _error_text(error: float) -> str:
    return f"{error:.0f}" if np.isfinite(error) else "–"


def _overlay(joints_px: npt.NDArray[np.float64], errors: npt.NDArray[np.float64] | None) -> Overlay:
    points = np.clip(joints_px, -9999, 9999)
    left, other = _bones(points)
    dots = tuple(
        Dot(f"{x:.1f}", f"{y:.1f}", _dot_title(joint, errors))
        for joint, (x, y) in enumerate(points)
        if np.isfinite(x) and np.isfinite(y)
    )
    return Overlay(left, other, dots)


def _dot_title(joint: int, errors: npt.NDArray[np.float64] | None) -> str:
    name = spoken(H36M17.joints[joint])
    if errors is None:
        return f"{name}, true"
    return f"{name}, predicted: {errors[joint]:.0f} mm off" if np.isfinite(errors[joint]) else f"{name}, predicted"


def _bones(points: npt.NDArray[np.float64]) -> tuple[str, str]:
    paths: dict[bool, list[str]] = {True: [], False: []}
    for child, parent in H36M17.bones:
        ends = points[[parent, child]]
        if np.isfinite(ends).all():
            paths[child in _LEFT].append(f"M{ends[0][0]:.1f} {ends[0][1]:.1f}L{ends[1][0]:.1f} {ends[1][1]:.1f}")
    return "".join(paths[True]), "".join(paths[False])


def _pose(
    true: npt.NDArray[np.float64],
    pred: npt.NDArray[np.float64],
    root: int | None,
    counted: npt.NDArray[np.bool_],
    errors: npt.NDArray[np.float64],
) -> dict[str, Any]:
    """(1, 17, 3) poses as lists of whole mm (``None`` = not known), relative to the true hip or the true joints' mean:
    the prediction as it is measured, with both hips together, and after Procrustes alignment with scale."""
    hip = H36M17.root
    origin = true[0, hip] if np.isfinite(true[0, hip]).all() else np.nanmean(true[0], axis=0)
    origin = np.where(np.isfinite(origin), origin, 0.0)
    together = pred - pred[:, hip : hip + 1] + true[:, hip : hip + 1]
    asis = pred if root is None else pred - pred[:, root : root + 1] + true[:, root : root + 1]
    aligned = align_similarity(pred, true, mask=counted)

    def listed(joints: npt.NDArray[np.float64]) -> list[list[int] | None]:
        moved = np.clip(joints[0] - origin, -99999, 99999)
        return [[round(float(value)) for value in row] if np.isfinite(row).all() else None for row in moved]

    return {
        "true": listed(true),
        "measured": listed(asis),
        "hip": listed(together),
        "aligned": listed(aligned),
        "errors": [None if not np.isfinite(error) else round(float(error), 1) for error in errors],
    }


def _drawing(pose: dict[str, Any], axes: tuple[int, int]) -> tuple[str, str, str, str]:
    """Truth and prediction as paths in a 200 x 200 drawing, along two axes of the camera's frame."""
    flat = [
        np.array(
            [[np.nan] * 2 if joint is None else [joint[axis] for axis in axes] for joint in pose[name]], np.float64
        )
        for name in ("true", "measured")
    ]
    known = flat[0][np.isfinite(flat[0]).all(axis=1)]
    if not len(known):
        known = np.array([[-900.0, -900.0], [900.0, 900.0]])
    low, high = known.min(axis=0), known.max(axis=0)
    scale = 140 / max(float((high - low).max()), 400.0)
    placed = [np.clip((points - (low + high) / 2) * scale + 100, -400, 600) for points in flat]
    return (*_bones(placed[0]), *_bones(placed[1]))


def _shots(test: ShardSet, index: int, reads: Sequence[str]) -> tuple[list[Shot], list[str]]:
    shots: list[Shot] = []
    notes: list[str] = []
    rule = test.manifest.foreground
    for modality, field in (("rgb", "rgb"), ("depth", "depth_mm"), ("parts", "parts")):
        if modality not in test.modalities:
            continue
        try:
            image = test.image(index, field)
        except ArtefactError as error:
            notes.append(f"{error.message}.")
            continue
        given = "given to the method" if modality in reads else ""
        if modality == "rgb":
            shots.append(Shot(_TITLES["rgb"], given, jpeg(image)))
        elif modality == "parts":
            colours = part_palette(max(test.num_parts, int(image.max()) + 1))
            shots.append(Shot(_TITLES["parts"], given, png(colours[image])))
        else:
            shots += _depth_shots(image, rule, given)
    return shots, notes


def _depth_shots(depth: npt.NDArray[np.uint16], rule: str, given: str) -> list[Shot]:
    whole = jpeg(shaded(depth))
    if rule == "given" or rule not in RULES:
        return [Shot("depth", _joined(_range(depth), given), whole)]
    person = person_depth(depth, rule)
    return [
        Shot(_TITLES["depth"], _range(depth), whole),
        Shot(_TITLES["person"], _joined(_range(person), f"rule '{rule}'", given), jpeg(shaded(person))),
    ]


def _joined(*words: str) -> str:
    return ", ".join(word for word in words if word)


def _range(depth: npt.NDArray[np.uint16]) -> str:
    """What the colours' ends mean."""
    known = depth[depth > 0]
    if not len(known):
        return "no reading"
    near, far = np.percentile(known, (2, 98)) / 1000
    return f"{near:.2f} m (pale) to {far:.2f} m (deep violet)"


def shaded(depth_mm: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(H, W) mm -> (H, W, 3): near pale, far deep violet, no reading all but black. Neither skeleton has such hues."""
    depth = np.asarray(depth_mm, np.float64)
    picture = np.empty((*depth.shape, 3), np.uint8)
    picture[:] = _NO_READING
    read = depth > 0
    if read.any():
        near, far = np.percentile(depth[read], (2, 98))
        share = np.clip((far - depth[read]) / max(far - near, 1.0), 0, 1)
        stops = np.linspace(0, 1, len(_RAMP))
        colours = [np.interp(share, stops, [colour[channel] for colour in _RAMP]) for channel in range(3)]
        picture[read] = np.stack(colours, axis=-1).round()
    return picture


def jpeg(image: npt.NDArray[np.uint8]) -> str:
    """(H, W, 3) RGB as a ``data:`` address, its longer side at most ``LONGEST_PX``."""
    import simplejpeg

    small = np.ascontiguousarray(_bounded(image, nearest=False))
    data = simplejpeg.encode_jpeg(small, quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="444")
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def png(image: npt.NDArray[np.uint8]) -> str:
    """(H, W, 3) RGB of few colours as a ``data:`` address, its longer side at most ``LONGEST_PX``."""
    import cv2

    _, data = cv2.imencode(".png", np.ascontiguousarray(_bounded(image, nearest=True)[..., ::-1]))
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def _bounded(image: npt.NDArray[np.uint8], *, nearest: bool) -> npt.NDArray[Any]:
    import cv2

    scale = LONGEST_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST if nearest else cv2.INTER_AREA)
