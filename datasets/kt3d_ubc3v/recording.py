"""``groundtruth.mat`` and camera poses of generated sections.

Written from the format's description alone and sharing nothing with the reader, so that reading them tests both.

World: Maya's, Y up, cm, the person's hips near the origin. People are generated Z up in mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kt3d_bench.records import Camera
from kt3d_bench.standins import mat_cells, write_mat
from kt3d_bench.synth import LANDMARKS, Figures
from kt3d_bench.synth.rig import unit_vectors

FloatArray = npt.NDArray[np.float64]

SIZE_PX = (512, 424)
_LENS_MM, _FILM_MM = 25.422, 36.0
_TO_MAYA = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""Z up -> Y up: a cyclic permutation of the axes, so left stays left."""
_SCALE = 10.0

_SITE = {
    "Head": "jaw", "Hips": "pelvis", "LeftArm": "clavicle_l", "LeftFingerBase": "wrist_l", "LeftFoot": "knee_l",
    "LeftForeArm": "shoulder_l", "LeftHand": "elbow_l", "LeftInHandIndex": "hand_l", "LeftInHandThumb": "wrist_l",
    "LeftLeg": "hip_l", "LeftShoulder": "54%", "LeftToeBase": "ankle_l", "LeftUpLeg": "pelvis", "Neck1": "thorax",
    "Neck": "54%", "RightArm": "clavicle_r", "RightFingerBase": "wrist_r", "RightFoot": "knee_r",
    "RightForeArm": "shoulder_r", "RightHand": "elbow_r", "RightInHandIndex": "hand_r", "RightInHandThumb": "wrist_r",
    "RightLeg": "hip_r", "RightShoulder": "54%", "RightToeBase": "ankle_r", "RightUpLeg": "pelvis", "Spine1": "27%",
    "Spine": "13%",
}  # fmt: skip
"""Bone -> position of its matrix: the joint where it starts. Percentages are along the path from hip to neck."""
_TOWARDS = {
    "Head": "head_top", "Hips": "13%", "LeftArm": "shoulder_l", "LeftFingerBase": "hand_l", "LeftFoot": "ankle_l",
    "LeftForeArm": "elbow_l", "LeftHand": "wrist_l", "LeftInHandIndex": "hand_end_l", "LeftInHandThumb": "thumb_l",
    "LeftLeg": "knee_l", "LeftShoulder": "clavicle_l", "LeftToeBase": "toe_l", "LeftUpLeg": "hip_l", "Neck1": "jaw",
    "Neck": "thorax", "RightArm": "shoulder_r", "RightFingerBase": "hand_r", "RightFoot": "ankle_r",
    "RightForeArm": "elbow_r", "RightHand": "wrist_r", "RightInHandIndex": "hand_end_r", "RightInHandThumb": "thumb_r",
    "RightLeg": "knee_r", "RightShoulder": "clavicle_r", "RightToeBase": "toe_r", "RightUpLeg": "hip_r",
    "Spine1": "54%", "Spine": "27%",
}  # fmt: skip
BONES: tuple[str, ...] = tuple(_SITE)


@dataclass(frozen=True, eq=False)
class MayaCamera:
    """A camera without roll, above the person, that looks at the origin."""

    translate_cm: FloatArray  # (3,)
    rotate_deg: FloatArray  # (3,) about X, Y, Z; Y is within +-90, so Z is 0 or +-180

    def camera(self) -> Camera:
        """Return this camera in the people's world (Z up, mm): a 25.422 mm lens, 36 mm of film, 512 x 424 px."""
        forward = -self.translate_cm / np.linalg.norm(self.translate_cm)
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(forward, right), forward])
        focal_px = _LENS_MM / _FILM_MM * SIZE_PX[0]
        center = (SIZE_PX[0] / 2 - 0.5, SIZE_PX[1] / 2 - 0.5)
        return Camera.pinhole(
            (focal_px, focal_px),
            center,
            SIZE_PX,
            rotation=axes @ _TO_MAYA,
            position_world_mm=_TO_MAYA.T @ self.translate_cm * 10.0,
        )


def sample_camera(rng: np.random.Generator) -> MayaCamera:
    """Draw a camera anywhere around the person, 1.8 to 3.4 m away, 8 to 38 degrees above."""
    distance_cm, azimuth = rng.uniform(180, 340), rng.uniform(-np.pi, np.pi)
    height = np.deg2rad(rng.uniform(8, 38))
    place = distance_cm * np.array([np.cos(height) * np.sin(azimuth), np.sin(height), np.cos(height) * np.cos(azimuth)])
    pitch, yaw = -np.rad2deg(height), np.rad2deg(azimuth)
    if abs(yaw) <= 90:
        return MayaCamera(place, np.array([pitch, yaw, 0.0]))
    folded = np.copysign(180.0, yaw) - yaw
    return MayaCamera(place, np.array([pitch + 180.0, folded, rng.choice([-180.0, 180.0])]))


def joint_matrices(figures: Figures) -> FloatArray:
    """Return (N, 28, 16) in ``BONES`` order: 4 x 4 transforms of row vectors, rotation x 10, position in cm, Y up."""
    points = _points(figures)
    sites = points[:, _SITES]
    along = unit_vectors(points[:, _ENDS] - sites)
    helper = np.where(np.abs(along[..., 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    side = unit_vectors(np.cross(helper, along))
    matrices = np.zeros((*sites.shape[:2], 4, 4))
    matrices[..., 3, 3] = 1.0
    for row, axis in enumerate((along, side, np.cross(along, side))):
        matrices[..., row, :3] = _SCALE * axis @ _TO_MAYA.T
    matrices[..., 3, :3] = sites @ _TO_MAYA.T / 10.0
    return matrices.reshape(*sites.shape[:2], 16)


_SPINE = [LANDMARKS.index(name) for name in ("pelvis", "spine_low", "spine_mid", "spine_high", "thorax")]
_SHARES = ("13%", "27%", "54%")
_POINTS = (*LANDMARKS, *_SHARES)
_SITES = [_POINTS.index(_SITE[bone]) for bone in BONES]
_ENDS = [_POINTS.index(_TOWARDS[bone]) for bone in BONES]


def _points(figures: Figures) -> FloatArray:
    """Return (N, len(_POINTS), 3) mm: the landmarks, and points at percentages of the path from hip to neck."""
    spine = figures.landmarks_world_mm[:, _SPINE]
    lengths = np.linalg.norm(np.diff(spine, axis=1), axis=-1)
    way = np.concatenate([np.zeros((len(spine), 1)), np.cumsum(lengths, axis=1)], axis=1)
    wanted = way[:, -1:] * [float(share.removesuffix("%")) / 100 for share in _SHARES]
    before = (way[:, None, 1:-1] <= wanted[..., None]).sum(axis=-1)
    rows = np.arange(len(spine))[:, None]
    share = ((wanted - way[rows, before]) / lengths[rows, before])[..., None]
    between = spine[rows, before] + share * (spine[rows, before + 1] - spine[rows, before])
    return np.concatenate([figures.landmarks_world_mm, between], axis=1)


def write_ground_truth(path: Path, matrices: FloatArray, cameras: dict[str, list[MayaCamera]]) -> None:
    """Write (N, 28, 16) matrices and N poses per camera, the last camera first as in the official files."""
    frames = {
        name: mat_cells([{"translate": pose.translate_cm[None], "rotate": pose.rotate_deg[None]} for pose in poses])
        for name, poses in cameras.items()
    }
    joints = mat_cells(
        [{f"{bone}PGX": row[None] for bone, row in zip(BONES, frame, strict=True)} for frame in matrices]
    )
    content = {
        "cameras": {name: {"frames": frames[name], "name": name} for name in sorted(frames, reverse=True)},
        "joints": joints,
    }
    write_mat(path, content, "UBC3V")
