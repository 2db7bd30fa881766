"""Predict the people in pictures: boxes become the crops that shards hold, and estimates become camera millimetres.

The way from a crop to the network's input is that of the benchmarks. Shapes: N people, J joints (17).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import UsageError
from kt3d_bench.geometry.cameras import project, unproject_arrays, warp_camera
from kt3d_bench.geometry.crops import LONGEST_PX, MARGIN, crop_person
from kt3d_bench.pictures.inputs import Picture
from kt3d_bench.pictures.scale import root_depth_mm, translation_mm, usual_lengths_mm
from kt3d_bench.records import Camera
from kt3d_bench.skeletons import H36M17

if TYPE_CHECKING:
    from kt3d_bench.loading.batches import UnlabelledBatch
    from kt3d_bench.method import Estimate, Method

FloatArray = npt.NDArray[np.float64]
_SLACK_PX = 2
"""An image that differs from the crop of its box by no more than this is that crop."""
_LARGEST_CUT_PX = 4096
"""Larger cuts are taken from a reduced picture, which bounds the memory."""


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody to be predicted: a box in a picture."""

    picture: Picture
    camera: Camera
    """Of the whole picture."""
    box_px: FloatArray
    """(4,) x0, y0, x1, y1."""
    number: int = 0


@dataclass(frozen=True, eq=False)
class Pose:
    """One person's predicted pose. NaN = absent: outside the picture, or not a joint of the method."""

    person: Person
    joints_px: FloatArray
    """(17, 2) in the whole picture."""
    joints_root_mm: FloatArray
    """(17, 3) relative to the hip, camera axes."""
    joints_cam_mm: FloatArray
    """(17, 3) camera frame."""
    depth_from: str
    """What decided the hip's depth: a key of ``DEPTH_FROM``."""
    confidence: FloatArray | None = None
    """(17,) 0..1, where the method tells it; NaN = extrapolated, not seen."""

    @property
    def key(self) -> str:
        """Unique among the poses of one call."""
        picture = self.person.picture
        frame = "" if picture.frame is None else f"/{picture.frame:06d}"
        return f"{picture.name}{frame}/{self.person.number}"


DEPTH_FROM = {
    "given": "the hip's depth was given",
    "depth-image": "the hip's depth is that of the depth image",
    "height": "the hip's depth follows from the height that was given",
    "bone-lengths": "the hip's depth was solved so that bones have the mean lengths of the method's source; the person "
    "may be taller or shorter, so the scale is assumed",
    "usual-lengths": "the hip's depth was solved for a person of 1.70 m, so the scale is assumed",
    "method-scale": "the hip's depth follows from the size that the method gives the pose, so the scale is assumed",
    "box": "the hip's depth follows from the size of the box and of the method's pose, so the scale is assumed",
}
"""What may have decided the hip's depth, in words."""


@dataclass(frozen=True)
class Root:
    """What is known of the hip's depth."""

    depth_mm: float | None = None
    height_mm: float | None = None
    source_lengths_mm: tuple[float, ...] | None = None
    """(16,) mean lengths of ``H36M17.bones`` in the data that the method learned lengths from."""

    def __post_init__(self) -> None:
        if self.depth_mm is not None and self.height_mm is not None:
            raise UsageError("both the hip's depth and the person's height are given", hint="leave out one of them")
        if self.depth_mm is not None and not 100 <= self.depth_mm <= 1e6:
            raise UsageError(f"the hip's depth is {self.depth_mm:g} mm", hint="give 100 to 1,000,000 mm")
        if self.height_mm is not None and not 300 <= self.height_mm <= 2800:
            raise UsageError(f"the person's height is {self.height_mm:g} mm", hint="give 300 to 2800 mm")

    @property
    def lengths(self) -> tuple[FloatArray, str]:
        """(16,) mm, and where they come from."""
        if self.height_mm is not None:
            return usual_lengths_mm(self.height_mm), "height"
        if self.source_lengths_mm is not None:
            return np.array(self.source_lengths_mm, np.float64), "bone-lengths"
        return usual_lengths_mm(), "usual-lengths"


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found of one person; fields as in ``Pose``, joints outside the picture included."""

    joints_cam_mm: FloatArray
    depth_from: str
    confidence: FloatArray | None


@dataclass(frozen=True, eq=False)
class Predictor:
    """A method, ready to predict people on a device."""

    method: Method
    name: str
    """Of the run, or of a method without stages."""
    method_name: str
    root: Root = field(default_factory=Root)
    foreground: str = "given"
    """Rule of ``geometry.foreground`` that finds the person in depth images."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        from kt3d_bench.method import OWN

        if self.method.detections not in ("", OWN):
            what = f"the method reads the stored detections '{self.method.detections}', and pictures have none"
            hint = "name a run that finds the joints itself; this one predicts prepared shards"
            raise UsageError(what, where=self.name, hint=hint)
        unknown = set(self.method.reads) - {"rgb", "depth", "foreground"}
        if unknown or ("foreground" in self.method.reads and self.modality == "rgb"):
            reads = " and ".join(self.method.reads)
            what = f"it reads {reads}, which pictures alone do not give"
            raise UsageError(what, where=self.name, hint="name a run that reads RGB or depth images alone")
        self.method.to(self.device).eval()

    @property
    def modality(self) -> str:
        """ "rgb" or "depth": which pictures it reads."""
        return "depth" if self.method.context.target_modality == "depth" else "rgb"

    @property
    def clip(self) -> tuple[int, int] | None:
        """T and stride of the clips that the method reads."""
        return self.method.clip

    def __call__(self, people: Sequence[Person]) -> list[Found]:
        """Return what is found of each person, predicted in one batch: a method of clips sees each picture T times.
        ``pose_of`` makes poses of them."""
        if not people:
            return []
        if self.clip is None:
            return self._predicted(self._seen(people))
        return self.of_clips([[row] * self.clip[0] for row in self.rows(people)])

    def rows(self, people: Sequence[Person]) -> list[UnlabelledBatch]:
        """Look at people once: a batch of each of them for ``of_clips``."""
        from kt3d_bench.loading.clips import taken

        if not people:
            return []
        batch = self._seen(people)
        return [taken(batch, slice(row, row + 1)) for row in range(len(people))]

    def of_clips(self, clips: Sequence[Sequence[UnlabelledBatch]]) -> list[Found]:
        """Return what is found of the middle of each clip of T ``rows``, predicted in one batch."""
        from kt3d_bench.loading.clips import joined

        return self._predicted(joined([row for clip in clips for row in clip])) if clips else []

    def _predicted(self, batch: UnlabelledBatch) -> list[Found]:
        import torch

        from kt3d_bench.loading.clips import middle

        with torch.no_grad():
            estimate = self.method.predict(batch)
        shown = batch if self.clip is None else middle(batch, self.clip[0])
        positions, deciding = self._placed(estimate, shown, shown.size)
        sure = _array(estimate.confidence)
        return [Found(positions[row], words, None if sure is None else sure[row]) for row, words in enumerate(deciding)]

    def _seen(self, people: Sequence[Person]) -> UnlabelledBatch:
        """Return the images of people, or the joints that the method finds in them, where it lifts these."""
        import torch

        batch = self._batch(people)
        if not self.method.detections:
            return batch
        with torch.no_grad():
            return replace(batch, images={}, detections_px=self.method.find_joints(batch))

    def _batch(self, people: Sequence[Person]) -> UnlabelledBatch:
        """Cut the people out and bring them into the network's input, as ``loading`` does with stored crops."""
        import torch

        from kt3d_bench.loading.assembly import assembly
        from kt3d_bench.loading.augment import Draws, place
        from kt3d_bench.loading.finish import Crops, finish, from_shrunk
        from kt3d_bench.loading.images import crop_boxes, shrunk, shrunk_sizes, with_foreground

        method, device = self.method, torch.device(self.device)
        crops = [cut(person) for person in people]
        size_px = np.array([camera.size_px for camera, _ in crops])
        sizes = shrunk_sizes(size_px, MARGIN, method.input_px)
        draws = Draws.none(len(people))
        placement = place(draws, crop_boxes(size_px, MARGIN), method.input_px)
        affine = from_shrunk(placement.affine_px, sizes / size_px)
        warped = assembly(method.reads, affine, draws.colour, method.input_px, sizes, device)
        for row, (_, image) in enumerate(crops):
            there = {"depth" if image.ndim == 2 else "rgb": image}
            images = with_foreground(method.reads, there, there.__getitem__, self.foreground)
            warped.take(row, shrunk(images, self.foreground, sizes[row].tolist()))
        stored = Crops(
            np.stack([camera.intrinsics_px for camera, _ in crops]),
            np.stack([camera.distortion for camera, _ in crops]),
            crops[0][0].tangential_factor,
        )
        return finish(warped, stored, placement, grant=None, part_mirror=None, device=device)

    def _placed(self, estimate: Estimate, batch: UnlabelledBatch, count: int) -> tuple[FloatArray, list[str]]:
        """Return (N, 17, 3) mm in the camera frame, and what decided each hip's depth."""
        from kt3d_bench.training.predict import camera_positions

        input_px = self.method.input_px
        if self.root.depth_mm is not None:
            depths = np.full(count, self.root.depth_mm)
            return camera_positions(estimate, batch, input_px, depths), ["given"] * count
        if self.modality == "depth":
            return camera_positions(estimate, batch, input_px, None), ["depth-image"] * count
        return self._solved(estimate, batch)

    def _solved(self, estimate: Estimate, batch: UnlabelledBatch) -> tuple[FloatArray, list[str]]:
        import torch

        from kt3d_bench.loading.augment import BOX_MARGIN
        from kt3d_bench.training.predict import camera_positions

        input_px, count = self.method.input_px, batch.size
        lengths, words = self.root.lengths
        points, offsets = _array(estimate.joints_px), _array(estimate.z_root_mm)
        pose = _array(estimate.joints_root_mm)
        rays = None if points is None else _rays(batch, points)
        if pose is None and rays is not None and offsets is not None:
            known = np.isfinite(rays).all(-1) & np.isfinite(offsets)
            depths = np.array(
                [
                    root_depth_mm(ray, offset, lengths, used)
                    for ray, offset, used in zip(rays, offsets, known, strict=True)
                ]
            )
            return camera_positions(estimate, batch, input_px, depths), [words] * count
        if pose is None:
            return camera_positions(estimate, batch, input_px, np.full(count, np.nan)), [words] * count
        if self.root.height_mm is not None:
            own = H36M17.bone_lengths(pose)
            scale = np.nansum(np.where(np.isfinite(own), lengths, np.nan), 1) / np.nansum(own, 1)
            pose = pose * scale[:, None, None]
            estimate = replace(estimate, joints_root_mm=torch.from_numpy(pose))
        deciding = "height" if self.root.height_mm is not None else "method-scale"
        if rays is not None:
            known = np.isfinite(rays).all(-1) & np.isfinite(pose).all(-1)
            hips = np.stack([translation_mm(*one) for one in zip(rays, pose, known, strict=True)])
            return pose + hips[:, None], [deciding] * count
        extent_mm = np.ptp(pose[..., :2], axis=1).max(axis=1)
        focal_px = np.abs(np.linalg.det(_array(batch.cameras.intrinsics_px)[:, :, :2])) ** 0.5
        depths = focal_px * extent_mm / (input_px / BOX_MARGIN)
        return camera_positions(estimate, batch, input_px, depths), ["box"] * count


def _rays(batch: UnlabelledBatch, points_px: FloatArray) -> FloatArray:
    """(N, 17, 2) px of the input -> (N, 17, 2) x and y at depth 1."""
    cameras = batch.cameras
    matrix, distortion = _array(cameras.intrinsics_px), _array(cameras.distortion)
    ones = np.ones(points_px.shape[:2])
    return unproject_arrays(matrix, distortion, cameras.tangential_factor, points_px, ones)[..., :2]


def _array(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().cpu().double().numpy()


def cut(person: Person) -> tuple[Camera, npt.NDArray[Any]]:
    """Return the crop of a person, as shards store it, and its camera. An image that is such a crop already, to within
    two pixels, is not cut again."""
    picture, camera, box = person.picture, person.camera, person.box_px
    image = picture.image
    width, height = picture.size_px
    half = max(box[2] - box[0], box[3] - box[1]) * MARGIN / 2
    aside = np.abs((box[:2] + box[2:]) / 2 - (np.array([width, height]) - 1) / 2).max()
    longest = max(width, height)
    if longest <= LONGEST_PX and aside + abs(half - longest / 2) <= _SLACK_PX:
        return camera, image
    reduced = int(-(-2 * half // _LARGEST_CUT_PX))
    if reduced > 1:
        image, camera = _reduced(image, camera, reduced)
        box = (box + 0.5) / reduced - 0.5
    if image.ndim == 2:
        crop = crop_person(camera, box, depth_mm=image)
        return crop.camera, cast(npt.NDArray[Any], crop.depth_mm)
    crop = crop_person(camera, box, rgb=image)
    return crop.camera, cast(npt.NDArray[Any], crop.rgb)


def _reduced(image: npt.NDArray[Any], camera: Camera, factor: int) -> tuple[npt.NDArray[Any], Camera]:
    """Return an image ``factor`` times smaller, with its camera."""
    import cv2

    height, width = (-(-side // factor) for side in image.shape[:2])
    how = cv2.INTER_NEAREST_EXACT if image.ndim == 2 else cv2.INTER_AREA
    small = cv2.resize(image, (width, height), interpolation=how)
    sx, sy = width / image.shape[1], height / image.shape[0]
    affine = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5]])
    return small, warp_camera(camera, affine, (width, height))


def pose_of(person: Person, found: Found) -> Pose:
    """Return a pose in which joints outside the picture are absent."""
    joints_cam_mm = found.joints_cam_mm
    joints_px = project(person.camera, joints_cam_mm)
    with np.errstate(invalid="ignore"):
        inside = (joints_px >= -0.5) & (joints_px <= np.array(person.picture.size_px) - 0.5)
    absent = ~np.asarray(inside.all(axis=1))[:, None]
    root_mm = joints_cam_mm - joints_cam_mm[H36M17.root]
    px, root, cam = (np.where(absent, np.nan, joints) for joints in (joints_px, root_mm, joints_cam_mm))
    return Pose(person, px, root, cam, found.depth_from, found.confidence)


def lengths_record(about: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Return the mean bone lengths that a checkpoint records, where it does."""
    found = about.get("bone_lengths_mm")
    if not isinstance(found, list | tuple) or len(found) != len(H36M17.bones):
        return None
    lengths = np.array(found, np.float64)
    return tuple(lengths.tolist()) if (np.isfinite(lengths) & (lengths > 0)).all() else None
