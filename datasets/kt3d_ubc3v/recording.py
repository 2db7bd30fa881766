"""``groundtruth.mat``, camera poses, and depth and part images of generated sections.

Written from the format's description alone and sharing nothing with the reader, so that reading them tests both.

World: Maya's, Y up, cm, the person's hips near the origin. People are generated Z up in mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kt3d_bench.records import Camera
from kt3d_bench.standins import mat_cells, write_mat
from kt3d_bench.synth import PARTS, Figures
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
    sites = np.stack([_place(figures, _SITE[bone]) for bone in BONES], axis=1)
    ends = np.stack([_place(figures, _TOWARDS[bone]) for bone in BONES], axis=1)
    along = unit_vectors(ends - sites)
    helper = np.where(np.abs(along[..., 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    side = unit_vectors(np.cross(helper, along))
    matrices = np.zeros((*sites.shape[:2], 4, 4))
    matrices[..., 3, 3] = 1.0
    for row, axis in enumerate((along, side, np.cross(along, side))):
        matrices[..., row, :3] = _SCALE * axis @ _TO_MAYA.T
    matrices[..., 3, :3] = sites @ _TO_MAYA.T / 10.0
    return matrices.reshape(*sites.shape[:2], 16)


def _place(figures: Figures, name: str) -> FloatArray:
    """Return (N, 3) mm, a landmark or a point at a percentage of the spine."""
    if not name.endswith("%"):
        return figures.landmark(name)
    spine = np.stack(
        [figures.landmark(point) for point in ("pelvis", "spine_low", "spine_mid", "spine_high", "thorax")], axis=1
    )
    lengths = np.linalg.norm(np.diff(spine, axis=1), axis=-1)
    way = np.concatenate([np.zeros((len(spine), 1)), np.cumsum(lengths, axis=1)], axis=1)
    wanted = float(name.removesuffix("%")) / 100 * way[:, -1]
    return np.stack(
        [[np.interp(at, steps, points[:, axis]) for axis in range(3)]
         for at, steps, points in zip(wanted, way, spine, strict=True)]
    )  # fmt: skip


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


Image = npt.NDArray[np.uint8]

_NEAR_CM, _FAR_CM = 50.0, 800.0
_SEAM_SHARE = 0.3  # Share of the pixels on the border of two regions that blend both colours

_BOTH = {
    "chest front": ("#ff6a00", "#ff0000"), "abdomen front": ("#ffb27f", "#ff7f7f"),
    "upper back": ("#b6ff00", "#ffd800"), "lower back": ("#daff7f", "#ffe97f"),
    "trapezius": ("#4800ff", "#0094ff"),
    "shoulder front": ("#00ff21", "#4cff00"),
    "shoulder back": ("#00ffff", "#00ff90"), "nape": ("#7f3f3f", "#7f743f"), "thigh": ("#7fc9ff", "#7fffff"),
    "knee": ("#a5ff7f", "#7fffc5"), "shank": ("#d67fff", "#a17fff"), "heel": ("#6b3f7f", "#3f497f"),
    "forefoot": ("#3f7f7f", "#6d7f3f"), "hand": ("#ff7fed", "#7f3f76"), "upper arm": ("#004a7f", "#21007f"),
    "elbow": ("#ff006e", "#7f0037"), "upper forearm": ("#007f46", "#267f00"), "lower forearm": ("#7f0000", "#7f3300"),
    "crown": ("#494949", "#000000"), "face": ("#bfa8f7", "#c0c0c0"),
}  # fmt: skip
"""Regions that come in pairs: colour on the person's right, colour on the left."""
_SINGLE = {"throat": "#303030", "below nape": "#b200ff", "forehead": "#404040"}
_ORDER: tuple[tuple[str, str], ...] = (
    *((name, side) for name in _BOTH for side in "rl"),
    *((name, "") for name in _SINGLE),
)
_REGION = {key: number for number, key in enumerate(_ORDER)}
_HEX = [_SINGLE[name] if not side else _BOTH[name]["rl".index(side)] for name, side in _ORDER]
_COLOURS = np.array([[int(text[at : at + 2], 16) for at in (1, 3, 5)] for text in _HEX], np.uint8)


def regions(
    part: npt.NDArray[Any], along: npt.NDArray[Any], front: npt.NDArray[Any], left: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Return (K,) regions 0..42 of rendered parts (index + 1 into ``PARTS``) and their surface coordinates (K,)."""
    found = np.zeros(part.shape, np.int64)

    def put(name: str, where: npt.NDArray[np.bool_], side: str = "lr") -> None:
        if side in ("l", "r", ""):
            found[where] = _REGION[name, side]
        else:
            found[where] = np.where(left[where] > 0, _REGION[name, "l"], _REGION[name, "r"])

    def of(name: str) -> npt.NDArray[np.bool_]:
        return np.asarray(part == PARTS.index(name) + 1)

    trunk, chest, neck, head = of("abdomen") | of("pelvis"), of("chest"), of("neck"), of("head")
    put("abdomen front", trunk & (front >= 0))
    put("lower back", trunk & (front < 0))
    put("chest front", chest & (front >= 0))
    put("upper back", chest & (front < 0))
    put("below nape", chest & (front < -0.75) & (along > 0.6), "")
    put("trapezius", neck)
    put("throat", neck & (front > 0.55), "")
    put("nape", neck & (front < -0.45))
    put("face", head)
    put("forehead", head & (front > 0.1) & (along > 0.58), "")
    put("crown", head & ((front < -0.15) | (along > 0.88)))
    for side in "lr":
        girdle, upper, lower = of(f"shoulder_{side}"), of(f"upper_arm_{side}"), of(f"forearm_{side}")
        put("trapezius", girdle & (along < 0.45), side)
        cap = (girdle & (along >= 0.45)) | (upper & (along < 0.22))
        put("shoulder front", cap & (front >= 0), side)
        put("shoulder back", cap & (front < 0), side)
        put("upper arm", upper & (along >= 0.22), side)
        put("upper forearm", lower, side)
        put("lower forearm", lower & (along > 0.55), side)
        put("elbow", (upper & (along > 0.82)) | (lower & (along < 0.14)), side)
        put("hand", of(f"hand_{side}"), side)
        thigh, shank, foot = of(f"thigh_{side}"), of(f"shank_{side}"), of(f"foot_{side}")
        put("thigh", thigh, side)
        put("shank", shank, side)
        put("knee", (thigh & (along > 0.84)) | (shank & (along < 0.16)), side)
        put("heel", foot | (shank & (along > 0.88)), side)
        put("forefoot", foot & (along > 0.5), side)
    return found


def paint(maps: dict[str, npt.NDArray[Any]], window_px: tuple[int, int, int, int], size_px: tuple[int, int],
          rng: np.random.Generator) -> tuple[Image, Image]:  # fmt: skip
    """Return the (H, W, 4) depth and part images, RGBA, background all zero, of one rendered person's window maps."""
    width, height = size_px
    x0, y0, x1, y1 = window_px
    body = maps["part"] > 0
    grey = np.rint((maps["depth_mm"][body] / 10.0 - _NEAR_CM) / (_FAR_CM - _NEAR_CM) * 255.0)
    dither = rng.integers(-1, 2, (int(body.sum()), 5))
    depth = np.zeros((*body.shape, 3), np.int16)
    depth[body] = grey[:, None]
    depth[body, 1:] += dither[:, :2].astype(np.int16)
    ids = np.full(body.shape, -1)
    ids[body] = regions(maps["part"][body], *(maps[name][body] for name in ("along", "front", "left")))
    colour = np.zeros((*body.shape, 3), np.int16)
    colour[body] = _COLOURS[ids[body]] + dither[:, 2:]
    _blend_seams(colour, ids, rng)
    alpha, inside = _coverage(body)
    images = []
    for values in (depth, colour):
        rgba = np.zeros((height, width, 4), np.uint8)
        rgba[y0:y1, x0:x1, :3] = _soft_edge(np.clip(values, 0, 255).astype(np.uint8), inside, alpha)
        rgba[y0:y1, x0:x1, 3] = alpha
        images.append(rgba)
    return images[0], images[1]


def _blend_seams(colour: npt.NDArray[np.int16], ids: npt.NDArray[Any], rng: np.random.Generator) -> None:
    seam = np.zeros(ids.shape, bool)
    seam[:, :-1] = (ids[:, :-1] != ids[:, 1:]) & (ids[:, :-1] >= 0) & (ids[:, 1:] >= 0)
    rows, columns = np.nonzero(seam)
    chosen = rng.random(len(rows)) < _SEAM_SHARE
    rows, columns = rows[chosen], columns[chosen]
    colour[rows, columns] = (colour[rows, columns] + colour[rows, columns + 1]) // 2


def _coverage(body: npt.NDArray[np.bool_]) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Return anti-aliased alpha in 33 levels (0, 7, 15, ..., 247, 255), and where it is full."""
    share = cv2.blur(body.astype(np.float32), (3, 3), borderType=cv2.BORDER_REPLICATE)
    levels = np.rint(np.clip((share - 0.15) / 0.7, 0, 1) * 32)
    return np.floor(levels * 255 / 32).astype(np.uint8), levels == 32


def _soft_edge(rgb: Image, inside: npt.NDArray[np.bool_], alpha: Image) -> Image:
    """Keep exact colours inside, and blur them towards black at the silhouette's edge."""
    soft = np.asarray(cv2.blur(rgb, (3, 3)), np.uint8)
    soft[inside] = rgb[inside]
    soft[alpha == 0] = 0
    return soft
