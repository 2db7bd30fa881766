"""A raw folder in the official layout, written here by hand: nothing is shared with the package under test."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cdflib.cdfwrite
import numpy as np

CAMERA_IDS = ("54138969", "55011271", "58860488", "60457274")
S1_CAMERA_1 = {
    "T": (1841.107, 4955.285, 1563.445),
    "f": (1145.049, 1143.781),
    "c": (512.542, 515.451),
    "k": (-0.207099, 0.247775, -0.003075),
    "p": (-0.001424, -0.000976),
}
"""The documented values of subject 1, camera 54138969."""


def euler_of(rotation: np.ndarray) -> tuple[float, float, float]:
    """Angles with Rx(a) Ry(b) Rz(g) = rotation."""
    return (
        float(np.arctan2(-rotation[1, 2], rotation[2, 2])),
        float(np.arcsin(rotation[0, 2])),
        float(np.arctan2(-rotation[0, 1], rotation[0, 0])),
    )


def looking_at_origin(position: Sequence[float]) -> np.ndarray:
    """World -> camera, x right, y down, z towards the point 1 m above the origin, world Z up."""
    forward = np.array([0.0, 0.0, 1000.0]) - np.asarray(position)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


POSITIONS = (S1_CAMERA_1["T"], (1761.3, -5078.0, 1606.3), (-1846.8, 5215.0, 1491.9), (-1794.8, -3722.7, 1574.9))


def w0_numbers(scale: float = 1.0) -> list[float]:
    """300 numbers; every subject's cameras stand alike, subject s shifted by s mm in x except S1."""
    numbers: list[float] = []
    for position in POSITIONS:
        angles = euler_of(looking_at_origin(position))
        for subject in range(1, 12):
            numbers += [*angles, position[0] + subject - 1, position[1], position[2]]
    for index in range(4):
        focal = np.array(S1_CAMERA_1["f"]) * scale + index
        centre = (np.array(S1_CAMERA_1["c"]) + 0.5) * scale - 0.5
        numbers += [*focal, *centre, *S1_CAMERA_1["k"], *S1_CAMERA_1["p"]]
    return numbers


def metadata_xml(
    scale: float = 1.0, *, sizes: bool = True, w0: Sequence[float] | None = None, poses: int | None = None
) -> str:
    """``poses``: the number that the metadata states for every recording; by default numbers that differ by subject."""
    numbers = w0_numbers(scale) if w0 is None else w0
    side, tall = round(1000 * scale), round(1002 * scale)
    size_row = ""
    if sizes:
        cell = "".join(f"<td>[{tall} {side};{side} {side};{side} {side};{tall} {side}]</td>" for _ in range(11))
        size_row = f"<tr><td/><td/>{cell}</tr>"
    frames = "".join(
        "<tr><td/>"
        + "".join(
            f"<td>[{100 + c} 101 102 103 {400 + s if poses is None else 4 * poses + s % 4}]</td>" for c in range(32)
        )
        + "</tr>"
        for s in range(1, 12)
    )
    return (
        "<metadata><mapping><tr><td/><td/></tr>"
        + size_row
        + f"</mapping><frames>{frames}</frames><w0>[{' '.join(f'{n:.12g}' for n in numbers)}]</w0></metadata>"
    )


def write_cdf(path: Path, values: np.ndarray, *, leading_axis: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    spec = {
        "Variable": "Pose",
        "Data_Type": 44 if values.dtype == np.float32 else 45,
        "Num_Elements": 1,
        "Rec_Vary": leading_axis,
        "Dim_Sizes": list(values.shape),
        "Compress": 0,
    }
    with cdflib.cdfwrite.CDF(path, cdf_spec={"Majority": "row_major"}) as cdf:
        cdf.write_var(spec, var_data=values[None] if leading_axis else values)


def write_video(path: Path, frames: int, size: tuple[int, int]) -> None:
    """Frame i is a grey of brightness 20 + 5 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(frames):
            image = np.full((size[1], size[0], 3), 20 + 5 * (index % 40), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def standing_person(frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames, 32, 3) world mm: joints within a person's reach of the origin."""
    return (np.array([0.0, 0.0, 950.0]) + rng.uniform(-500, 500, (frames, 32, 3))).astype(np.float32)


def brown_without_doubling(points: np.ndarray, scale: float, index: int) -> np.ndarray:
    """The documented projection, written out."""
    k1, k2, k3 = S1_CAMERA_1["k"]
    p1, p2 = S1_CAMERA_1["p"]
    fx, fy = np.array(S1_CAMERA_1["f"]) * scale + index
    cx, cy = (np.array(S1_CAMERA_1["c"]) + 0.5) * scale - 0.5
    x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    r2 = x**2 + y**2
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    tangential = p1 * y + p2 * x
    u = fx * (x * (radial + tangential) + p2 * r2) + cx
    v = fy * (y * (radial + tangential) + p1 * r2) + cy
    return np.stack([u, v], axis=-1)


@dataclass
class HandMade:
    """What ``write_raw`` wrote, and how to change it."""

    root: Path
    scale: float
    poses: Mapping[tuple[int, str], np.ndarray]

    def folder(self, subject: int) -> Path:
        return self.root / f"S{subject}"

    def video(self, subject: int, name: str, camera: str = CAMERA_IDS[0]) -> Path:
        return self.folder(subject) / "Videos" / f"{name}.{camera}.mp4"

    def cdf(self, subject: int, name: str, feature: str = "D3_Positions", camera: str = "") -> Path:
        base = f"{name}.{camera}.cdf" if camera else f"{name}.cdf"
        return self.folder(subject) / "MyPoseFeatures" / feature / base

    def size(self, camera: str) -> tuple[int, int]:
        tall = camera in (CAMERA_IDS[0], CAMERA_IDS[3])
        return round(1000 * self.scale), round((1002 if tall else 1000) * self.scale)

    def write_mono(self) -> None:
        """D3_Positions_mono and D2_Positions of every recording."""
        for (subject, name), world in self.poses.items():
            for index, camera in enumerate(CAMERA_IDS):
                centre = np.array(POSITIONS[index]) + np.array([subject - 1, 0, 0])
                cam = (world.astype(np.float64) - centre) @ looking_at_origin(POSITIONS[index]).T
                image = brown_without_doubling(cam, self.scale, index)
                write_cdf(self.cdf(subject, name, "D3_Positions_mono", camera), cam.reshape(-1, 96))
                write_cdf(self.cdf(subject, name, "D2_Positions", camera), image.reshape(-1, 64))

    def pack(self, target: Path) -> Path:
        """The same as official archives, one per subject and feature, and nothing else."""
        target.mkdir()
        (target / "metadata.xml").write_text((self.root / "metadata.xml").read_text())
        for subject in sorted({subject for subject, _ in self.poses}):
            features = [self.folder(subject) / "Videos", *(self.folder(subject) / "MyPoseFeatures").iterdir()]
            for folder in features:
                prefix = "" if folder.name == "Videos" else "Poses_"
                with tarfile.open(target / f"{prefix}{folder.name}_S{subject}.tgz", "w:gz", compresslevel=1) as tar:
                    tar.add(folder, folder.relative_to(self.root).as_posix())
        return target


def write_raw(
    root: Path,
    recordings: Mapping[int, Sequence[str]],
    frames: int = 3,
    *,
    scale: float = 0.2,
    extra_frames: int = 0,
) -> HandMade:
    """The unpacked official layout with every named recording of every subject."""
    rng = np.random.default_rng(0)
    poses = {(s, name): standing_person(frames, rng) for s, names in recordings.items() for name in names}
    made = HandMade(root, scale, poses)
    root.mkdir()
    (root / "metadata.xml").write_text(metadata_xml(scale, poses=frames))
    for (subject, name), world in poses.items():
        write_cdf(made.cdf(subject, name), world.reshape(-1, 96))
        for camera in CAMERA_IDS:
            write_video(made.video(subject, name, camera), frames + extra_frames, made.size(camera))
    return made
