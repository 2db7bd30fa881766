"""Sections of UBC3V written by hand: a stick figure seen by Maya cameras, with its own projection and encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.io
from scipy.spatial.transform import Rotation

WHERE_CM = {
    "HeadPGX": (0, 52, 8), "Neck1PGX": (0, 38, 5), "RightShoulderPGX": (0, 25, 2), "Spine1PGX": (0, 12, 2),
    "SpinePGX": (0, 6, 1), "RightUpLegPGX": (0, 0, 0), "RightLegPGX": (-9, -3, 0), "RightFootPGX": (-11, -45, 4),
    "RightToeBasePGX": (-12, -85, 0), "LeftLegPGX": (9, -3, 0), "LeftFootPGX": (11, -45, 4),
    "LeftToeBasePGX": (12, -85, 0), "RightForeArmPGX": (-19, 36, 3), "RightHandPGX": (-27, 10, 4),
    "RightFingerBasePGX": (-30, -12, 12), "LeftForeArmPGX": (19, 36, 3), "LeftHandPGX": (27, 10, 4),
    "LeftFingerBasePGX": (30, -12, 12),
}  # fmt: skip
"""Facing +z, so the right arm is at negative x."""
CAMERAS = {"Cam1": (30.0, 80.0, 240.0), "Cam2": (-200.0, 60.0, 120.0), "Cam3": (90.0, 90.0, -220.0)}
FOCAL_PX = 361.56


def aim(translate: tuple[float, float, float]) -> np.ndarray:
    """Maya's Euler angles of a roll-free camera that looks at the origin, Y within +-90 degrees."""
    x, y, z = translate
    rx, ry = -np.degrees(np.arctan2(y, np.hypot(x, z))), np.degrees(np.arctan2(x, z))
    return np.array([rx, ry, 0.0]) if abs(ry) <= 90 else np.array([rx + 180, np.sign(ry) * 180 - ry, 180.0])


def view(translate: Any, rotate_deg: Any, points_cm: Any) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) px and (N,) z-depth in cm: Maya cameras look along their own -z, y up."""
    local = Rotation.from_euler("xyz", rotate_deg, degrees=True).inv().apply(np.asarray(points_cm, float) - translate)
    depth = -local[:, 2]
    pixels = np.stack([255.5 + FOCAL_PX * local[:, 0] / depth, 211.5 - FOCAL_PX * local[:, 1] / depth], axis=1)
    return pixels, depth


def silhouette(translate: Any, rotate_deg: Any, radius_px: int = 12) -> np.ndarray:
    """(424, 512) uint8: 1 around every joint and along the spine."""
    pixels, _ = view(translate, rotate_deg, list(WHERE_CM.values()))
    mask = np.zeros((424, 512), np.uint8)
    for u, v in pixels:
        cv2.circle(mask, (round(float(u)), round(float(v))), radius_px, 1, -1)
    return mask


def rgba_from(mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A flat RGBA image with an anti-aliased pixel on the left edge of every row of the person."""
    image = np.zeros((*mask.shape, 4), np.uint8)
    image[mask > 0] = (*colour, 255)
    for row in np.flatnonzero(mask.any(axis=1)):
        image[row, np.flatnonzero(mask[row])[0], 3] = 127
    return image


def save_rgba(path: Path, rgba: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgba[..., [2, 1, 0, 3]])


def matrix(position: Any) -> np.ndarray:
    """(1, 16) with the position in elements 12..14 and a rotation scaled by ten before."""
    full = np.eye(4) * 10
    full[3] = (*position, 1)
    return full.reshape(1, 16)


def cells(items: list[Any]) -> np.ndarray:
    array = np.empty((1, len(items)), object)
    for column, item in enumerate(items):
        array[0, column] = item
    return array


def posture() -> dict[str, np.ndarray]:
    return {field: matrix(place) for field, place in WHERE_CM.items()}


def camera_frames(name: str, count: int) -> dict[str, Any]:
    frame = {"translate": np.array([CAMERAS[name]]), "rotate": aim(CAMERAS[name])[None]}
    return {"frames": cells([frame] * count), "name": name}


def ground_truth(count: int) -> dict[str, Any]:
    """The two variables, cameras in the file's order: Cam3, Cam2, Cam1."""
    return {
        "cameras": {name: camera_frames(name, count) for name in ("Cam3", "Cam2", "Cam1")},
        "joints": cells([posture()] * count),
    }


def grey_levels(translate: Any) -> np.ndarray:
    """(18,) grey level of a surface 8 cm before each joint."""
    _, depth = view(translate, aim(translate), list(WHERE_CM.values()))
    return np.floor((depth - 8 - 50) / 750 * 255).astype(int)


def depth_rgba(translate: Any) -> np.ndarray:
    """A disc per joint, near ones over far ones; B one level below R and G."""
    pixels, depth = view(translate, aim(translate), list(WHERE_CM.values()))
    levels = grey_levels(translate)
    image = rgba_from(silhouette(translate, aim(translate)), (0, 0, 0))
    for joint in np.argsort(-depth):
        disc = np.zeros(image.shape[:2], np.uint8)
        cv2.circle(disc, (round(float(pixels[joint, 0])), round(float(pixels[joint, 1]))), 12, 1, -1)
        image[disc > 0, :3] = (levels[joint], levels[joint], levels[joint] - 1)
    return image


def write_section(folder: Path, frames: int = 2, *, parts: bool = True, truth: dict[str, Any] | None = None) -> Path:
    """One section of the hand-made figure; returns its folder."""
    folder.mkdir(parents=True)
    scipy.io.savemat(folder / "groundtruth.mat", truth or ground_truth(frames))
    for name, translate in CAMERAS.items():
        mask = silhouette(translate, aim(translate))
        for frame in range(1, frames + 1):
            file = f"{name}/mayaProject.{frame:06d}.png"
            save_rgba(folder / "images/depthRender" / file, depth_rgba(translate))
            if parts:
                save_rgba(folder / "images/groundtruth" / file, rgba_from(mask, (255, 1, 0)))
    return folder
