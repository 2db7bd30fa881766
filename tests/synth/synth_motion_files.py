"""A moving person, and writers of BVH and ASF/AMC files of it that share nothing with the readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

FloatArray = npt.NDArray[np.float64]

_SIDE = (
    ("UpLeg", "Hips", (95, -80, 10)), ("Leg", "UpLeg", (10, -420, 0)), ("Foot", "Leg", (0, -410, -5)),
    ("ToeBase", "Foot", (5, -55, 130)), ("ToeBase_end", "ToeBase", (0, -8, 60)),
    ("Shoulder", "Spine1", (0, 190, 0)), ("Arm", "Shoulder", (180, 40, 0)), ("ForeArm", "Arm", (280, 0, 0)),
    ("Hand", "ForeArm", (250, 0, 0)), ("Hand_end", "Hand", (90, 0, 0)),
)  # fmt: skip
_BONES: list[tuple[str, str, tuple[float, float, float]]] = [
    ("Hips", "", (0, 0, 0)),
    *(
        (f"{side}{name}", parent if parent in ("Hips", "Spine1") else f"{side}{parent}", (sign * x, y, z))
        for side, sign in (("Left", 1), ("Right", -1))
        for name, parent, (x, y, z) in _SIDE[:5]
    ),
    ("Spine", "Hips", (0, 150, -10)), ("Spine1", "Spine", (0, 140, 5)), ("Neck", "Spine1", (0, 190, 0)),
    ("Head", "Neck", (0, 100, 15)), ("Head_end", "Head", (0, 180, 0)),
    *(
        (f"{side}{name}", parent if parent in ("Hips", "Spine1") else f"{side}{parent}", (sign * x, y, z))
        for side, sign in (("Left", 1), ("Right", -1))
        for name, parent, (x, y, z) in _SIDE[5:]
    ),
]  # fmt: skip
NAMES = tuple(name for name, _, _ in _BONES)
PARENTS = tuple(NAMES.index(parent) if parent else -1 for _, parent, _ in _BONES)


@dataclass(frozen=True, eq=False)
class Person:
    """Recorded in mm, y up. F frames, J joints (ends included)."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: FloatArray
    """(J, 3)."""
    turns: FloatArray
    """(F, J, 3, 3) each joint against its parent; the root's in the world."""
    root: FloatArray
    """(F, 3)."""
    rate_hz: float = 60.0

    def world(self) -> tuple[FloatArray, FloatArray]:
        """(F, J, 3) positions, (F, J, 3, 3) orientations."""
        positions, frames = np.empty((*self.turns.shape[:2], 3)), np.empty_like(self.turns)
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                positions[:, joint], frames[:, joint] = self.root, self.turns[:, joint]
            else:
                positions[:, joint] = positions[:, parent] + frames[:, parent] @ self.offsets[joint]
                frames[:, joint] = frames[:, parent] @ self.turns[:, joint]
        return positions, frames

    def called(self, rename: Mapping[str, str] | Callable[[str], str]) -> Person:
        call = rename if callable(rename) else lambda name: rename.get(name, name)
        return replace(self, names=tuple(map(call, self.names)))

    def scaled(self, factor: float) -> Person:
        return replace(self, offsets=self.offsets * factor, root=self.root * factor)

    def turned(self, axes: FloatArray) -> Person:
        """In a world whose axes lie otherwise."""
        return replace(self, offsets=self.offsets @ axes.T, root=self.root @ axes.T, turns=axes @ self.turns @ axes.T)

    def with_other_rest(self, rest: FloatArray) -> Person:
        """The same motion of a skeleton whose joints (J, 3, 3) are turned by ``rest`` in what it calls rest."""
        above = np.stack([np.eye(3) if parent < 0 else rest[parent] for parent in self.parents])
        offsets = np.einsum("jki,jk->ji", above, self.offsets)
        return replace(self, offsets=offsets, turns=np.swapaxes(above, -1, -2) @ self.turns @ rest)


def walker(frames: int = 40, seed: int = 3) -> Person:
    """Walks along x (it looks along +z at rest, and is turned by 90 degrees), swinging arms and legs at random."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / 60
    vectors = np.zeros((frames, len(NAMES), 3))
    for joint, name in enumerate(NAMES):
        if not name.endswith("_end"):
            size = 0.1 if name in ("Hips", "Head", "Neck") else 0.3
            vectors[:, joint] = size * np.sin(
                2 * np.pi * rng.uniform(0.5, 1.5, 3) * time[:, None] + rng.uniform(0, 6, 3)
            )
    for side in ("Left", "Right"):
        vectors[:, NAMES.index(f"{side}Leg"), 0] = 0.7 + 0.5 * np.sin(6 * time)
        vectors[:, NAMES.index(f"{side}ForeArm"), 1] = (-1 if side == "Left" else 1) * (0.9 + 0.3 * np.sin(5 * time))
    turns = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(frames, len(NAMES), 3, 3)
    turns[:, 0] = Rotation.from_euler("y", 90, degrees=True).as_matrix() @ turns[:, 0]
    root = np.stack([1200 * time, 930 + 15 * np.sin(12 * time), 20 * np.sin(6 * time)], axis=-1)
    offsets = np.array([offset for _, _, offset in _BONES], np.float64)
    return Person(NAMES, PARENTS, offsets, turns, root)


def write_bvh(
    path: Path,
    person: Person,
    order: str = "ZYX",
    positions: str = "root",
    edit: Callable[[str], str] = lambda text: text,
) -> Path:
    """``order``: the rotation channels from left to right; ``positions``: channels at the "root", or at every joint,
    "whole" (in place of the offset) or "more" (on top of it)."""
    lines = ["HIERARCHY"]
    columns: list[FloatArray] = []
    frames = len(person.root)
    children = {
        joint: [c for c, parent in enumerate(person.parents) if parent == joint] for joint in range(len(person.names))
    }

    def joint_lines(joint: int, depth: int) -> None:
        pad, name = "\t" * depth, person.names[joint]
        offset = person.offsets[joint]
        if not children[joint]:
            lines.extend([f"{pad}End Site", pad + "{", f"{pad}\tOFFSET {numbers(offset)}", pad + "}"])
            return
        lines.extend(
            [f"{pad}{'ROOT' if depth == 0 else 'JOINT'} {name}", pad + "{", f"{pad}\tOFFSET {numbers(offset)}"]
        )
        moving = depth == 0 or positions != "root"
        channels = ["Xposition", "Yposition", "Zposition"] if moving else []
        channels += [f"{axis}rotation" for axis in order]
        lines.append(f"{pad}\tCHANNELS {len(channels)} {' '.join(channels)}")
        if depth == 0:
            columns.append(person.root)
        elif moving:
            columns.append(np.tile(offset if positions == "whole" else 0 * offset, (frames, 1)))
        columns.append(Rotation.from_matrix(person.turns[:, joint]).as_euler(order, degrees=True))
        for child in children[joint]:
            joint_lines(child, depth + 1)
        lines.append(pad + "}")

    joint_lines(0, 0)
    table = np.concatenate(columns, axis=1)
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {1 / person.rate_hz:.9f}", *(numbers(row) for row in table)]
    path.write_text(edit("\n".join(lines) + "\n"), newline="")
    return path


def numbers(values: FloatArray) -> str:
    return " ".join(f"{value:.9g}" for value in values)


_ASF_NAMES = {
    "UpLeg": "hipjoint", "Leg": "femur", "Foot": "tibia", "ToeBase": "foot", "ToeBase_end": "toes", "Arm": "clavicle",
    "ForeArm": "humerus", "Hand": "radius", "Hand_end": "hand",
}  # fmt: skip
_ASF_CENTRAL = {"Spine": "lowerback", "Spine1": "upperback", "Neck": "thorax", "Head": "lowerneck", "Head_end": "head"}


def asf_bones() -> dict[int, str]:
    """Joint of the walker -> the bone that ends in it. The two shoulder joints lie where the neck does: no bones."""
    bones = {NAMES.index(name): bone for name, bone in _ASF_CENTRAL.items()}
    for side in ("Left", "Right"):
        bones |= {NAMES.index(side + name): side[0].lower() + bone for name, bone in _ASF_NAMES.items()}
    return bones


def write_acclaim(folder: Path, person: Person, radians: bool = False, inches: float = 0.45, seed: int = 0) -> Path:
    """``07.asf`` and ``07_01.amc`` of a walker whose bones have axes of their own, drawn at random."""
    rng = np.random.default_rng(seed)
    bones = asf_bones()
    _, frames = person.world()
    mm = 25.4 / inches
    per = 1.0 if radians else 180 / np.pi
    lines = ["# written by hand", ":version 1.10", ":name person", ":units", "  mass 1.0", f"  length {inches}",
             f"  angle {'rad' if radians else 'deg'}", ":documentation", "   none", ":root",
             "   order TX TY TZ RX RY RZ", "   axis XYZ", "   position 0 0 0", "   orientation 0 0 0",
             ":bonedata"]  # fmt: skip
    columns = {"root": np.concatenate(
        [person.root / mm, per * Rotation.from_matrix(frames[:, 0]).as_euler("xyz")], axis=1)}  # fmt: skip
    tree = {}
    for number, (joint, bone) in enumerate(bones.items(), 1):
        above = person.parents[joint]
        meeting = person.parents[above] if person.names[above].endswith("Shoulder") else -1
        length = float(np.linalg.norm(person.offsets[joint]))
        angles = rng.uniform(-2, 2, 3)
        axis = Rotation.from_euler("xyz", angles).as_matrix()
        lines += ["  begin", f"     id {number}", f"     name {bone}",
                  f"     direction {numbers(person.offsets[joint] / length)}", f"     length {numbers([length / mm])}",
                  f"     axis {numbers(per * angles)}  XYZ", "    dof rx ry rz", "    limits (-160.0 20.0)",
                  "           (-70.0 70.0)", "           (-inf inf)", "  end"]  # fmt: skip
        start = NAMES.index("Neck") if meeting >= 0 else above
        tree.setdefault(bones.get(start, "root"), []).append(bone)
        before = frames[:, NAMES.index("Spine1")] if meeting >= 0 else frames[:, person.parents[above]]
        before = frames[:, 0] if start == 0 else before
        own = np.swapaxes(before, -1, -2) @ frames[:, above]
        columns[bone] = per * Rotation.from_matrix(axis.T @ own @ axis).as_euler("xyz")
    lines += [":hierarchy", "  begin"]
    waiting = ["root"]
    while waiting:
        parent = waiting.pop(0)
        if parent in tree:
            lines.append(f"    {parent} {' '.join(tree[parent])}")
            waiting += tree[parent]
    (folder / "07.asf").write_text("\n".join([*lines, "  end", ""]))
    amc = ["#!OML:ASF x", ":FULLY-SPECIFIED", ":RADIANS" if radians else ":DEGREES"]
    for frame in range(len(person.root)):
        amc += [str(frame + 1), *(f"{bone} {numbers(values[frame])}" for bone, values in columns.items())]
    (folder / "07_01.amc").write_text("\n".join([*amc, ""]))
    return folder / "07_01.amc"


MOCAP = Path(__file__).parents[3] / "shared" / "samples" / "mocap"
recorded = pytest.mark.skipif(not MOCAP.is_dir(), reason="no recorded motions in ../shared/samples/mocap")
