"""The stand-in's room, the four distorted cameras around it, and the ``metadata.xml`` that lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from kt3d_bench.geometry.cameras import undistort
from kt3d_bench.records import Camera
from kt3d_h36m.standin_recordings import ACTIVITIES, CAMERA_IDS, file_name

FloatArray = npt.NDArray[np.float64]
_HALF_WIDTH_MM, _HALF_LENGTH_MM, _HEIGHT_MM = 3600.0, 6200.0, 3400.0


class Room:
    """Colours of floor, carpet, walls and curtains, drawn once per stand-in."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._floor = np.array([150.0, 122, 96]) * rng.uniform(0.85, 1.15, 3)
        self._carpet = np.array([128.0, 58, 52]) * rng.uniform(0.8, 1.2, 3)
        self._carpet_half_mm = rng.uniform([1700, 2300], [2300, 3000])
        self._walls = np.array([168.0, 172, 170]) * rng.uniform(0.85, 1.12, (4, 3))
        self._curtain = np.array([54.0, 62, 78]) * rng.uniform(0.7, 1.3, 3)
        self._fold_mm = rng.uniform(150, 260)
        self._posters = [(int(rng.integers(4)), rng.uniform(-2500, 2500), rng.uniform(900, 1700),
                          rng.uniform(300, 900), rng.uniform(300, 700), rng.uniform(40, 220, 3))
                         for _ in range(7)]  # fmt: skip

    def seen_by(self, camera: Camera, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Return (H, W, 3) the empty room, with this camera's exposure and grain."""
        width, height = camera.size_px
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
        normalised = (grid - np.array(camera.center_px)) / np.array(camera.focal_px)
        normalised = undistort(normalised, camera.distortion, camera.tangential_factor)
        rays = np.concatenate([np.nan_to_num(normalised), np.ones((len(grid), 1))], axis=-1) @ camera.rotation
        colour = self._colours(camera.position_world_mm, rays)
        colour *= rng.uniform(0.9, 1.1) * rng.uniform(0.96, 1.04, 3)
        colour += rng.normal(0, 2.0, (len(colour), 1))
        return np.clip(colour, 0, 255).astype(np.uint8).reshape(height, width, 3)

    def _colours(self, origin: FloatArray, rays: FloatArray) -> FloatArray:
        half = np.array([_HALF_WIDTH_MM, _HALF_LENGTH_MM, _HEIGHT_MM])
        with np.errstate(divide="ignore"):
            far = np.where(rays > 0, (half - origin) / rays, (np.array([-half[0], -half[1], 0.0]) - origin) / rays)
        axis = far.argmin(axis=-1)
        hit = origin + rays * far.min(axis=-1, keepdims=True)
        colour = np.tile(np.array([205.0, 205, 200]), (len(rays), 1))
        floor = (axis == 2) & (rays[:, 2] < 0)
        boards = 0.94 + 0.06 * np.sin(hit[:, :1] / 35.0) * np.sin(hit[:, 1:2] / 470.0)
        carpet = floor & (np.abs(hit[:, :2]) < self._carpet_half_mm).all(axis=-1)
        weave = 0.92 + 0.08 * np.sin(hit[:, :1] / 90.0) * np.sin(hit[:, 1:2] / 90.0)
        colour[floor] = (self._floor * boards)[floor]
        colour[carpet] = (self._carpet * weave)[carpet]
        for index, (wall_axis, sign) in enumerate(((0, 1), (0, -1), (1, 1), (1, -1))):
            on = (axis == wall_axis) & (np.sign(rays[:, wall_axis]) == sign)
            across = hit[:, 1 - wall_axis]
            colour[on] = self._walls[index]
            folds = 0.75 + 0.25 * np.sin(across / self._fold_mm * 2 * np.pi)
            curtain = on & (np.sin(across / 1900.0 + index) > 0.2) & (hit[:, 2] < 2700)
            colour[curtain] = (self._curtain * folds[:, None])[curtain]
            for wall, middle, up, wide, tall, paint in self._posters:
                if wall == index:
                    colour[on & (np.abs(across - middle) < wide / 2) & (np.abs(hit[:, 2] - up) < tall / 2)] = paint
        away = np.linalg.norm(hit - np.array([0.0, 0.0, 2500.0]), axis=-1)
        light: FloatArray = colour * np.clip(1.18 - away / 16000.0, 0.5, 1.2)[:, None]
        return light


ALL_SUBJECTS = tuple(f"S{number}" for number in range(1, 12))
_TALL = ("S4", "S7", "S10")
_BEARINGS_DEG = (70.0, -72.0, 110.0, -115.0)
_OFFICIAL_WIDTH_PX = 1000


@dataclass(frozen=True, eq=False)
class Rig:
    """The calibration of one stand-in, in the numbers that ``metadata.xml`` lists."""

    width_px: int
    angles_rad: FloatArray  # (4, 11, 3) Euler angles per camera and subject
    centres_mm: FloatArray  # (4, 11, 3)
    lenses: FloatArray  # (4, 9): fx, fy, cx, cy in px, k1, k2, k3, p1, p2

    def size_px(self, subject: str, camera: int) -> tuple[int, int]:
        """Return (width, height), with two more rows for cameras 1 and 4 and for some subjects, as in the original."""
        tall = camera in (0, 3) or subject in _TALL
        return self.width_px, self.width_px + (2 if tall else 0)

    def camera(self, subject: str, camera: int) -> Camera:
        """Return the same calibration as a ``Camera`` for rendering."""
        who = ALL_SUBJECTS.index(subject)
        fx, fy, cx, cy, k1, k2, k3, p1, p2 = self.lenses[camera]
        return Camera.pinhole(
            (fx, fy),
            (cx, cy),
            self.size_px(subject, camera),
            distortion=np.array([k1, k2, p1, p2, k3]),
            tangential_factor=1.0,
            rotation=_euler_matrix(*self.angles_rad[camera, who]),
            position_world_mm=self.centres_mm[camera, who],
        )

    def to_camera(self, subject: str, camera: int, points_world_mm: FloatArray) -> FloatArray:
        """Transform (..., 3) world mm to camera mm."""
        who = ALL_SUBJECTS.index(subject)
        rotation = _euler_matrix(*self.angles_rad[camera, who])
        moved: FloatArray = (points_world_mm - self.centres_mm[camera, who]) @ rotation.T
        return moved

    def to_image(self, camera: int, points_cam_mm: FloatArray) -> FloatArray:
        """Project (..., 3) camera mm to (..., 2) px by the release's formula, whose tangential term is not doubled."""
        fx, fy, cx, cy, k1, k2, k3, p1, p2 = self.lenses[camera]
        x, y = points_cam_mm[..., 0] / points_cam_mm[..., 2], points_cam_mm[..., 1] / points_cam_mm[..., 2]
        square = x**2 + y**2
        factor = 1 + k1 * square + k2 * square**2 + k3 * square**3 + p1 * y + p2 * x
        return np.stack([fx * (x * factor + p2 * square) + cx, fy * (y * factor + p1 * square) + cy], axis=-1)


def _euler_matrix(a: float, b: float, g: float) -> FloatArray:
    """Return the world-to-camera rotation Rx(a) Ry(b) Rz(g), multiplied out."""
    sa, ca, sb, cb, sg, cg = np.sin(a), np.cos(a), np.sin(b), np.cos(b), np.sin(g), np.cos(g)
    return np.array(
        [
            [cb * cg, -cb * sg, sb],
            [ca * sg + sa * sb * cg, ca * cg - sa * sb * sg, -sa * cb],
            [sa * sg - ca * sb * cg, sa * cg + ca * sb * sg, ca * cb],
        ]
    )


def _euler_angles(rotation: FloatArray) -> tuple[float, float, float]:
    return (
        float(np.arctan2(-rotation[1, 2], rotation[2, 2])),
        float(np.arcsin(rotation[0, 2])),
        float(np.arctan2(-rotation[0, 1], rotation[0, 0])),
    )


def _facing(centre_mm: FloatArray, target_mm: FloatArray) -> FloatArray:
    forward = (target_mm - centre_mm) / np.linalg.norm(target_mm - centre_mm)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def sample_rig(rng: np.random.Generator, width_px: int) -> Rig:
    """Draw cameras at a height of about 1.5 m, 4.2 to 5 m from the middle of the room, nearly level, with similar
    lenses.

    From subject to subject they differ by a few mm and mrad, like recalibrated ones.
    """
    scale = width_px / _OFFICIAL_WIDTH_PX
    angles, centres, lenses = np.empty((4, 11, 3)), np.empty((4, 11, 3)), np.empty((4, 9))
    for camera, bearing_deg in enumerate(_BEARINGS_DEG):
        bearing = np.radians(bearing_deg + rng.uniform(-6, 6))
        reach_mm = rng.uniform(4200, 5000)
        centre = np.array([reach_mm * np.cos(bearing), reach_mm * np.sin(bearing), rng.uniform(1450, 1620)])
        target = np.array([*rng.uniform(-150, 150, 2), rng.uniform(950, 1050)])
        euler = np.array(_euler_angles(_facing(centre, target)))
        for who in range(len(ALL_SUBJECTS)):
            angles[camera, who] = euler + rng.normal(0, 0.0015, 3)
            centres[camera, who] = centre + rng.normal(0, 6.0, 3)
        focal = rng.uniform(1140, 1152) + np.array([0.0, rng.uniform(-2, 2)])
        middle = (np.array([rng.uniform(506, 520), rng.uniform(498, 518)]) + 0.5) * scale - 0.5
        radial = [rng.uniform(-0.21, -0.19), rng.uniform(0.235, 0.255), rng.uniform(-0.006, 0.002)]
        tangential = rng.uniform(-0.0018, 0.0018, 2)
        lenses[camera] = [*(focal * scale), *middle, *radial, *tangential]
    return Rig(width_px, angles, centres, lenses)


def _row(parent: ElementTree.Element, tag: str, texts: Iterable[str]) -> None:
    row = ElementTree.SubElement(parent, tag)
    for text in texts:
        ElementTree.SubElement(row, "td").text = text


def _list(values: Iterable[Any]) -> str:
    return f"[{' '.join(str(value) for value in values)}]"


def metadata_xml(rig: Rig, counts: Mapping[tuple[str, str, int], Sequence[int]], joints: Sequence[str]) -> bytes:
    """Return the file's content. ``counts``: (subject, action, take) -> four video lengths, number of mocap samples."""
    root = ElementTree.Element("metadata")
    mapping = ElementTree.SubElement(root, "mapping")
    _row(mapping, "tr", ("", "", *ALL_SUBJECTS))
    recordings = [(action, take) for action in ("_ALL", *ACTIVITIES) for take in (1, 2)]
    warm_up = ("_ALL 1", "_ALL")
    for index, (action, take) in enumerate(recordings):
        files = [warm_up[index] if index < 2 else file_name(subject, action, take) for subject in ALL_SUBJECTS]
        _row(mapping, "tr", (str(1 + index // 2), str(take), *files))
    sizes_px = [[rig.size_px(subject, camera) for camera in range(4)] for subject in ALL_SUBJECTS]
    _row(mapping, "tr", ("", "", *(_list(f"{height} {width}" for width, height in sizes) for sizes in sizes_px)))
    _row(root, "actionnames", ("Miscellaneous", *ACTIVITIES))
    _row(ElementTree.SubElement(root, "dbcameras"), "index2id", CAMERA_IDS)
    frames = ElementTree.SubElement(root, "frames")
    for subject in ALL_SUBJECTS:
        numbers = [counts.get((subject, action, take)) for action, take in recordings]
        _row(frames, "tr", ("", *("" if lengths is None else _list(lengths) for lengths in numbers)))
    skeleton = ElementTree.SubElement(root, "skel_pos")
    for index, name in enumerate(joints):
        ElementTree.SubElement(skeleton, "joint", index=str(index)).text = name
    extrinsic = np.concatenate([rig.angles_rad, rig.centres_mm], axis=-1)
    values = [*extrinsic.ravel().tolist(), *rig.lenses.ravel().tolist()]
    ElementTree.SubElement(root, "w0").text = _list(map(repr, values))
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content
