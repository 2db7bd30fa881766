"""The best, median and worst samples of a benchmark: images, skeletons over them, and poses to turn in 3D."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.drawing import nearness, part_palette
from kt3d_bench.errors import ArtefactError
from kt3d_bench.geometry.alignment import align_similarity
from kt3d_bench.geometry.cameras import project
from kt3d_bench.geometry.foreground import RULES, person_depth
from kt3d_bench.metrics.functional import METRICS, joint_errors
from kt3d_bench.report.measured import Measured
from kt3d_bench.skeletons import H36M17
from kt3d_bench.web.page import spoken

_NO_READING = (16, 16, 20)
_RAMP = ((44, 24, 96), (122, 92, 208), (244, 238, 255))
"""From far to near."""
GROUPS = ("best", "median", "worst")
LONGEST_PX = 384
JPEG_QUALITY = 86
_LEFT = {left for _, left in H36M17.mirror_pairs}


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


def sample_views(measured: Measured, number: int, *, images: bool) -> list[SimpleNamespace]:
    """Return what is shown of the chosen samples; none without shards. ``notes`` name images that cannot be read."""
    test, pred = measured.test, measured.pred_mm
    if test is None or pred is None or measured.counted is None:
        return []
    lower = METRICS[measured.benchmark.headline[0]].better == "lower"
    chosen = choose(measured.per_sample, test.labels.sequence, number, lower_is_better=lower)
    views = []
    for group, indices in chosen.items():
        for place, index in enumerate(indices, 1):
            view = _view(measured, test, pred[index], measured.counted[index : index + 1], index)
            view.group, view.number = group, place
            view.shots, view.notes = _shots(test, index, measured.reads) if images else ([], [])
            views.append(view)
    return views


def _view(
    measured: Measured, test: ShardSet, pred_mm: npt.NDArray[np.float32], counted: npt.NDArray[np.bool_], index: int
) -> SimpleNamespace:
    labels, camera = test.labels, test.camera(index)
    true, pred = (np.asarray(joints, np.float64)[None] for joints in (labels.joints_cam_mm[index], pred_mm))
    root = measured.benchmark.root
    errors = joint_errors(pred, true, root=root, mask=counted)[0]
    true_px, pred_px = project(camera, true[0]), project(camera, pred[0])
    facts = {"subject": labels.subject[index], "action": labels.action[index], "camera": labels.camera_id[index]}
    pose = _pose(true, pred, root, counted, errors)
    largest = max((float(error) for error in errors if np.isfinite(error)), default=1.0)
    joints = []
    for name, error in zip(H36M17.joints, errors, strict=True):
        share = 100 * float(error) / max(largest, 1e-9) if np.isfinite(error) else 0.0
        text = f"{error:.0f}" if np.isfinite(error) else "–"
        joints.append(SimpleNamespace(joint=spoken(name), error=text, share=share))
    width, height = camera.size_px
    return SimpleNamespace(
        key=str(test.keys[index]),
        facts=[(name, str(value)) for name, value in facts.items() if str(value)],
        value=f"{measured.per_sample[index]:.1f} {METRICS[measured.benchmark.headline[0]].unit}",
        width=width,
        height=height,
        truth=overlay(true_px, "true"),
        prediction=overlay(pred_px, "predicted", errors),
        outside=bool(((pred_px < -0.5) | (pred_px > np.array([width, height]) - 0.5)).any()),
        joints=joints,
        front=drawing(pose, (0, 1)),
        side=drawing(pose, (2, 1)),
        pose=pose,
    )


def overlay(
    joints_px: npt.NDArray[np.float64], word: str, errors: npt.NDArray[np.float64] | None = None
) -> SimpleNamespace:
    """One skeleton in px of the sample's images: paths of the ``left`` limbs' bones and of the ``other`` ones, dots.
    ``word`` says what it is."""
    points = np.clip(joints_px, -9999, 9999)
    left, other = _bones(points)
    dots = []
    for joint, (x, y) in enumerate(points):
        title = f"{spoken(H36M17.joints[joint])}, {word}"
        if errors is not None and np.isfinite(errors[joint]):
            title += f": {errors[joint]:.0f} mm off"
        if np.isfinite(x) and np.isfinite(y):
            dots.append(SimpleNamespace(x=f"{x:.1f}", y=f"{y:.1f}", title=title))
    return SimpleNamespace(left=left, other=other, dots=dots)


def _bones(points: npt.NDArray[np.float64]) -> tuple[str, str]:
    paths: dict[bool, list[str]] = {True: [], False: []}
    for child, parent in H36M17.bones:
        ends = points[[child, parent]]
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


def drawing(pose: dict[str, Any], axes: tuple[int, int]) -> tuple[str, str, str, str]:
    """Return paths in a 200 x 200 drawing along two axes of the camera's frame: left and other bones of the truth, then
    of the prediction."""
    unknown = [np.nan] * 2
    true, pred = (
        np.array([unknown if joint is None else [joint[axis] for axis in axes] for joint in pose[name]], np.float64)
        for name in ("true", "measured")
    )
    known = true[np.isfinite(true).all(axis=1)]
    if not len(known):
        known = np.array([[-900.0, -900.0], [900.0, 900.0]])
    low, high = known.min(axis=0), known.max(axis=0)
    scale = 140 / max(float((high - low).max()), 400.0)
    placed = [np.clip((points - (low + high) / 2) * scale + 100, -400, 600) for points in (true, pred)]
    return (*_bones(placed[0]), *_bones(placed[1]))


def _shots(test: ShardSet, index: int, reads: Sequence[str]) -> tuple[list[SimpleNamespace], list[str]]:
    """Return the images (``title``, ``about``, ``source`` = a ``data:`` address) and what cannot be read."""
    shots: list[SimpleNamespace] = []
    notes: list[str] = []

    def add(title: str, source: str, *about: str) -> None:
        shots.append(SimpleNamespace(title=title, about=", ".join(word for word in about if word), source=source))

    rule = test.manifest.foreground
    for modality, field in (("rgb", "rgb"), ("depth", "depth_mm"), ("parts", "parts"), ("foreground", "foreground")):
        if modality not in test.modalities:
            continue
        try:
            image = test.image(index, field)
        except ArtefactError as error:
            notes.append(f"{error.message}.")
            continue
        given = "given to the method" if modality in reads else ""
        if modality == "rgb":
            add("RGB", jpeg(image), given)
        elif modality == "parts":
            colours = part_palette(max(test.num_parts, int(image.max()) + 1))
            add("parts (label)", png(colours[image]), given)
        elif modality == "foreground":
            add("foreground (no label)", png(np.repeat(image[..., None], 3, axis=-1)), given)
        elif rule == "given" or rule not in RULES:
            add("depth", jpeg(shaded(image)), _range(image), given)
        else:
            person = person_depth(image, rule)
            add("depth as stored", jpeg(shaded(image)), _range(image))
            add("depth of the person", jpeg(shaded(person)), _range(person), f"rule '{rule}'", given)
    return shots, notes


def _range(depth_mm: npt.NDArray[np.uint16]) -> str:
    """What the colours' ends mean."""
    known = depth_mm[depth_mm > 0]
    if not len(known):
        return "no reading"
    near, far = np.percentile(known, (2, 98)) / 1000
    return f"{near:.2f} m (pale) to {far:.2f} m (deep violet)"


def shaded(depth_mm: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(H, W) mm -> (H, W, 3): near pale, far deep violet, no reading almost black. Skeletons have other hues."""
    picture = np.empty((*depth_mm.shape, 3), np.uint8)
    picture[:] = _NO_READING
    share, stops = nearness(depth_mm[depth_mm > 0]), np.linspace(0, 1, len(_RAMP))
    colours = [np.interp(share, stops, [colour[channel] for colour in _RAMP]) for channel in range(3)]
    picture[depth_mm > 0] = np.stack(colours, axis=-1).round()
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
