"""The records that packages exchange: frozen, checked once here, trusted everywhere else.

Lengths are mm, image points px, angles rad. Camera frame: x right, y down, z forward. Pixel centres lie at integer
coordinates. Joints are in ``skeletons.H36M17`` order. Absent values are NaN or ``None``, never zero.
Shapes: J joints (17), H and W image rows and columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import Kt3dError
from kt3d_bench.skeletons import NUM_JOINTS

FloatArray = npt.NDArray[np.float64]
_KEY = re.compile(r"[A-Za-z0-9_\-]+")


def _freeze(record: Any, name: str, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
    array = np.array(getattr(record, name), dtype)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, found {array.shape}")
    array.setflags(write=False)
    object.__setattr__(record, name, array)


@lru_cache(maxsize=256)
def _is_rotation(values: bytes) -> bool:
    """Tell by the bytes of a (3, 3) array; the same few cameras take all frames of a recording."""
    matrix = np.frombuffer(values).reshape(3, 3)
    return bool(np.abs(matrix @ matrix.T - np.eye(3)).max() <= 1e-4 and np.linalg.det(matrix) >= 0)


@dataclass(frozen=True, eq=False)
class Camera:
    """A perspective camera with Brown distortion, posed in the world, looking at an image of ``size_px``.

    A point X_world maps to X_cam = rotation @ (X_world - position_world_mm), then to normalised (x, y) = (X/Z, Y/Z),
    is distorted, and lands at ``intrinsics_px @ (x, y, 1)``. The 2 x 3 matrix is [[fx, s, cx], [s', fy, cy]]: general
    enough for any affine warp of the image (crop, scale, rotation, flip) to yield another exact camera.
    """

    intrinsics_px: FloatArray
    """(2, 3) normalised distorted coordinates -> px."""
    size_px: tuple[int, int]
    """(width, height) of the image."""
    distortion: FloatArray = field(default_factory=lambda: np.zeros(5))
    """(5,) k1, k2, p1, p2, k3 in OpenCV's order; zeros = none."""
    tangential_factor: float = 2.0
    """2 = OpenCV's tangential term 2 p1 x y + 2 p2 x^2; 1 = the variant that does not double it (Human3.6M)."""
    rotation: FloatArray = field(default_factory=lambda: np.eye(3))
    """(3, 3) world -> camera; a proper rotation."""
    position_world_mm: FloatArray = field(default_factory=lambda: np.zeros(3))
    """(3,) camera centre."""

    def __post_init__(self) -> None:
        shapes = {"intrinsics_px": (2, 3), "distortion": (5,), "rotation": (3, 3), "position_world_mm": (3,)}
        for name, shape in shapes.items():
            _freeze(self, name, np.float64, shape)
        object.__setattr__(self, "size_px", (int(self.size_px[0]), int(self.size_px[1])))
        for name in shapes:
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"camera {name} is not finite")
        if not _is_rotation(self.rotation.tobytes()):
            raise ValueError("camera rotation is not a proper rotation matrix")

    @classmethod
    def pinhole(
        cls, focal_px: tuple[float, float], center_px: tuple[float, float], size_px: tuple[int, int], **more: Any
    ) -> Camera:
        """The ordinary camera: focal lengths and principal point in px; ``more`` = any other field."""
        (fx, fy), (cx, cy) = focal_px, center_px
        return cls(np.array([[fx, 0.0, cx], [0.0, fy, cy]]), size_px, **more)

    @property
    def focal_px(self) -> tuple[float, float]:
        return float(self.intrinsics_px[0, 0]), float(self.intrinsics_px[1, 1])

    @property
    def center_px(self) -> tuple[float, float]:
        return float(self.intrinsics_px[0, 2]), float(self.intrinsics_px[1, 2])


@dataclass(frozen=True, eq=False)
class Sample:
    """One person in one image: the stored crop, its camera and its labels, as a converter yields it.

    A sample of poses only (``WorkItem.poses_only``) has no image: its camera and labels are those of the crop that
    would have been cut.
    """

    key: str
    """Unique in the dataset; letters, digits, ``_`` and ``-`` only (WebDataset cuts keys at the first dot)."""
    camera: Camera
    """The camera of the *stored crop*, distortion included; pose in the world where the dataset gives one."""
    joints_px: npt.NDArray[np.float32]
    """(17, 2) px in the stored crop; NaN = not annotated."""
    joints_cam_mm: npt.NDArray[np.float32] | None
    """(17, 3) mm, camera frame; NaN = absent; ``None`` for 2D-only datasets."""
    visible: npt.NDArray[np.int8]
    """(17,) 1 visible, 0 occluded, -1 not known."""
    quality: npt.NDArray[np.uint8]
    """(17,) ``skeletons.Quality`` codes."""
    box_px: npt.NDArray[np.float32]
    """(4,) x0, y0, x1, y1 of the person's box, px in the stored crop."""
    subject: str
    action: str
    """"" where the dataset names none."""
    camera_id: str
    sequence: str
    """Clip that the frame belongs to: the unit of the bootstrap."""
    frame: int
    rgb: npt.NDArray[np.uint8] | None = None
    """(H, W, 3) RGB order."""
    depth_mm: npt.NDArray[np.uint16] | None = None
    """(H, W) z-depth, 0 = no reading."""
    parts: npt.NDArray[np.uint8] | None = None
    """(H, W) part ids, 0 = background."""
    foreground: npt.NDArray[np.uint8] | None = None
    """(H, W) 255 where the picture differs from the empty scene, else 0; made without labels."""

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(f"sample key {self.key!r} may hold letters, digits, '_' and '-' only")
        _freeze(self, "joints_px", np.float32, (NUM_JOINTS, 2))
        if self.joints_cam_mm is not None:
            _freeze(self, "joints_cam_mm", np.float32, (NUM_JOINTS, 3))
        _freeze(self, "visible", np.int8, (NUM_JOINTS,))
        _freeze(self, "quality", np.uint8, (NUM_JOINTS,))
        _freeze(self, "box_px", np.float32, (4,))
        width, height = self.camera.size_px
        images = (
            ("rgb", np.uint8, 3),
            ("depth_mm", np.uint16, 2),
            ("parts", np.uint8, 2),
            ("foreground", np.uint8, 2),
        )
        for name, dtype, ndim in images:
            image = getattr(self, name)
            if image is not None and (image.dtype != dtype or image.ndim != ndim or image.shape[:2] != (height, width)):
                raise ValueError(
                    f"sample {self.key}: {name} is {image.dtype} {image.shape}, expected {np.dtype(dtype)} "
                    f"({height}, {width}{', 3' if ndim == 3 else ''})"
                )


@dataclass(frozen=True)
class Skipped:
    """A sample or a work item that could not be used. The manifest counts and lists it."""

    name: str
    reason: str
    where: str = ""
    """The corrupt or missing raw file, where that is the reason. Once it is replaced, the same ``prepare`` command
    converts the sample."""

    @classmethod
    def damaged(cls, name: str, error: Kt3dError) -> Skipped:
        """Return the record of a sample or work item that is skipped because of an error about a raw file."""
        reason = error.what if error.hint is None else f"{error.what}; {error.hint}"
        return cls(name, reason, error.where or "")


@dataclass(frozen=True, eq=False)
class Recorded:
    """The labels of all frames of one recording seen by one camera, samples or not. F frames."""

    frames: npt.NDArray[np.int64]
    """(F,) frame numbers, ascending, each once, as in ``Sample.frame``."""
    joints_cam_mm: npt.NDArray[Any]
    """(F, 17, 3) mm, camera frame."""


@dataclass(frozen=True)
class WorkItem:
    """One unit of conversion (a video, a section, a slice of images) that a worker process can do alone.

    ``name`` identifies and sorts it; ``expected_samples`` determines the shards; ``payload`` is plain data (str, int,
    float, bool, None, tuples and dicts of these) for the dataset's ``convert``. ``poses_only``: its samples hold labels
    and cameras but no image, as a lifting method needs; otherwise a sample without an image is an error.
    """

    name: str
    expected_samples: int
    payload: Any
    poses_only: bool = False
