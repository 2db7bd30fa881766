"""An official tree rewritten in the layouts that people have, from its files and the formats' descriptions alone.

Nothing here is shared with the package under test: ``metadata.xml``, CDFs and videos are read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import av
import cdflib
import cv2
import h5py
import numpy as np

CAMERA_IDS = ("54138969", "55011271", "58860488", "60457274")
SEVENTEEN = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 98]


@dataclass(frozen=True)
class Take:
    subject: int
    action: int
    subaction: int
    name: str


@dataclass(frozen=True)
class Official:
    """An unpacked official tree."""

    root: Path

    @cached_property
    def xml(self) -> ElementTree.Element:
        return ElementTree.parse(self.root / "metadata.xml").getroot()

    def takes(self) -> Iterator[Take]:
        """Those whose poses are there, by the table ``mapping``."""
        rows = self.xml.findall("mapping/tr")
        subjects = [cell.text for cell in rows[0]][2:]
        for row in rows[3:33]:
            action, subaction, *names = [cell.text or "" for cell in row]
            for subject, name in zip(subjects, names, strict=True):
                if self.cdf(f"{subject}", "D3_Positions", name).is_file():
                    yield Take(int(subject.removeprefix("S")), int(action), int(subaction), name)

    def cdf(self, subject: str, feature: str, name: str) -> Path:
        return self.root / subject / "MyPoseFeatures" / feature / f"{name}.cdf"

    def pose(self, take: Take, feature: str, camera: str = "") -> np.ndarray:
        path = self.cdf(f"S{take.subject}", feature, f"{take.name}.{camera}" if camera else take.name)
        values = cdflib.CDF(path).varget("Pose")[0]
        return values.reshape(len(values), 32, -1)

    def frames(self, take: Take, camera: str) -> Iterator[np.ndarray]:
        with av.open(str(self.root / f"S{take.subject}" / "Videos" / f"{take.name}.{camera}.mp4")) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="bgr24")

    @cached_property
    def w0(self) -> np.ndarray:
        return np.array((self.xml.findtext("w0") or "").strip("[] ").split(), float)

    def lens(self, camera: int) -> np.ndarray:
        """fx, fy, cx, cy, k1, k2, k3, p1, p2."""
        return self.w0[264 + 9 * camera : 273 + 9 * camera]

    def stand(self, subject: int, camera: int) -> tuple[np.ndarray, np.ndarray]:
        """Rotation world -> camera and camera centre."""
        a, b, g, *centre = self.w0[6 * (11 * camera + subject - 1) :][:6]
        turns = [cv2.Rodrigues(angle * axis)[0] for angle, axis in zip((a, b, g), np.eye(3), strict=True)]
        return turns[0] @ turns[1] @ turns[2], np.array(centre)


def write_jpegs(official: Official, take: Take, camera: str, frames: Sequence[int], pattern: str) -> None:
    """``pattern`` holds %06d for the image's number, the frame's plus 1."""
    Path(pattern).parent.mkdir(parents=True)
    for number, image in enumerate(official.frames(take, camera)):
        if number in frames:
            assert cv2.imwrite(pattern % (number + 1), image, JPEG)


def write_moon(official: Official, out: Path) -> None:
    annotations = out / "annotations"
    annotations.mkdir(parents=True)
    joints: dict[int, dict[str, dict[str, dict[str, list]]]] = {}
    for take in official.takes():
        world = official.pose(take, "D3_Positions")[:, SEVENTEEN].astype(float)
        poses = {str(frame): pose.tolist() for frame, pose in enumerate(world)}
        joints.setdefault(take.subject, {}).setdefault(str(take.action), {})[str(take.subaction)] = poses
        for index, camera in enumerate(CAMERA_IDS):
            name = f"s_{take.subject:02d}_act_{take.action:02d}_subact_{take.subaction:02d}_ca_{index + 1:02d}"
            write_jpegs(official, take, camera, range(len(world)), str(out / "images" / name / f"{name}_%06d.jpg"))
    for subject, poses in joints.items():
        cameras = {}
        for index in range(4):
            rotation, centre = official.stand(subject, index)
            lens = official.lens(index)
            cameras[str(index + 1)] = {
                "R": rotation.tolist(), "t": centre.tolist(), "f": lens[:2].tolist(), "c": lens[2:4].tolist()
            }  # fmt: skip
        (annotations / f"Human36M_subject{subject}_joint_3d.json").write_text(json.dumps(poses))
        (annotations / f"Human36M_subject{subject}_camera.json").write_text(json.dumps(cameras))


def write_fetch(official: Official, out: Path, *, every: int = 1) -> None:
    actions = [cell.text for cell in official.xml.findall("actionnames/td")]
    for take in official.takes():
        folder = out / f"S{take.subject}" / f"{actions[take.action - 1]}-{take.subaction}"
        columns: dict[str, list[np.ndarray]] = {}
        for camera in CAMERA_IDS:
            mono = official.pose(take, "D3_Positions_mono", camera)
            frames = np.arange(0, len(mono), every)
            rows = {
                "pose/3d": mono[frames],
                "pose/2d": official.pose(take, "D2_Positions", camera)[frames],
                "frame": frames + 1,
                "camera": np.full(len(frames), int(camera)),
                "subject": np.full(len(frames), take.subject),
                "action": np.full(len(frames), take.action),
                "subaction": np.full(len(frames), take.subaction),
                f"intrinsics/{camera}": official.lens(CAMERA_IDS.index(camera))[[0, 2, 1, 3]],
            }
            for name, values in rows.items():
                columns.setdefault(name, []).append(values)
            write_jpegs(
                official, take, camera, frames.tolist(), str(folder / "imageSequence" / camera / "img_%06d.jpg")
            )
        with h5py.File(folder / "annot.h5", "w") as file:
            for name, parts in columns.items():
                file.create_dataset(name, data=np.concatenate(parts))


def positions(official: Official) -> dict[str, dict[str, np.ndarray]]:
    """What VideoPose3D pickles: subject -> canonical name -> (n, 32, 3) float32 metres."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for take in official.takes():
        if (take.subject, take.name) != (11, "Directions"):
            name = take.name.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog")
            metres = official.pose(take, "D3_Positions") / 1000
            found.setdefault(f"S{take.subject}", {})[name] = metres.astype("float32")
    return found


def write_plain(official: Official, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{s}/{name}": poses for s, held in positions(official).items() for name, poses in held.items()}
    np.savez_compressed(path, **arrays)
