"""Motion files: BVH (BioVision hierarchy) and ASF/AMC (Acclaim), read into joint paths in mm, z up.

Both formats are plain text. In the files of the CMU Graphics Lab database (mocap.cs.cmu.edu) y is up, the figure's rest
pose looks along +z with its left towards +x, and one unit is 25.4 mm / 0.45; this module turns that into z up, x
forward. Everything is parsed token by token with bounded depth; a damaged file raises ``RawDataError`` naming the line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from kt3d_bench.errors import RawDataError
from kt3d_bench.people.rig import FloatArray, axis_rotation

CMU_MM_PER_UNIT = 25.4 / 0.45
"""56.44 mm: the CMU files' lengths are inches divided by 0.45."""
_MAX_DEPTH = 100
_MAX_BYTES = 512 * 2**20
_TO_Z_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, eq=False)
class Motion:
    """Joint paths of one recorded motion. Shapes: F frames, J joints of the file's own skeleton."""

    names: tuple[str, ...]
    """The file's joint names; a BVH end site is its parent's name + ``_end``, an ASF bone's name marks its far end."""
    parents: tuple[int, ...]
    """-1 = root; a parent comes before its children."""
    positions_mm: FloatArray
    """(F, J, 3) world, z up."""
    orientations: FloatArray
    """(F, J, 3, 3) turn from the rest pose (which looks along +x), world frame."""
    rate_hz: float
    source: str = ""
    dropped_frames: int = 0
    """1 when an inserted rest pose at the start was left out."""

    def __len__(self) -> int:
        return len(self.positions_mm)

    @property
    def duration_s(self) -> float:
        return len(self) / self.rate_hz

    def joint_positions_mm(self) -> FloatArray:
        """(F, J, 3) mm, world, z up."""
        return self.positions_mm

    def joint(self, name: str) -> FloatArray:
        """(F, 3) mm path of one joint; ``KeyError`` when the file has none of that name."""
        if name not in self.names:
            raise KeyError(name)
        return self.positions_mm[:, self.names.index(name)]


def _read_lines(path: Path, kind: str) -> list[str]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RawDataError(f"a {kind} file of more than {_MAX_BYTES >> 20} MiB is not read", where=path)
        return path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise RawDataError(
            f"the {kind} file cannot be read ({error.strerror})", where=path, mend="check the path"
        ) from error


class _Tokens:
    """Tokens of a text with the line each stands on."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path = path
        self._tokens: Iterator[tuple[int, str]] = (
            (number, token) for number, line in enumerate(lines, 1) for token in line.split()
        )
        self.line = 0

    def fail(self, what: str) -> RawDataError:
        return RawDataError(what, where=f"{self.path}, line {self.line}", mend="the file is damaged or not of its kind")

    def next(self, wanted: str) -> str:
        line_and_token = next(self._tokens, None)
        if line_and_token is None:
            raise self.fail(f"expected {wanted}, found the end of the file")
        self.line, token = line_and_token
        return token

    def expect(self, word: str) -> None:
        token = self.next(f"'{word}'")
        if token.upper() != word.upper():
            raise self.fail(f"expected '{word}', found '{token}'")

    def number(self, wanted: str) -> float:
        return self.parse(self.next(wanted), wanted)

    def parse(self, token: str, wanted: str) -> float:
        try:
            value = float(token)
        except ValueError:
            raise self.fail(f"expected {wanted}, found '{token}'") from None
        if not math.isfinite(value):
            raise self.fail(f"expected {wanted}, found '{token}'")
        return value

    def count(self, wanted: str, most: int) -> int:
        value = self.number(wanted)
        if value != int(value) or not 0 <= value <= most:
            raise self.fail(f"expected {wanted} between 0 and {most}, found {value:g}")
        return int(value)


_CHANNELS = {f"{axis}{kind}".upper(): (kind, "XYZ".index(axis)) for axis in "XYZ" for kind in ("position", "rotation")}


@dataclass
class _Joint:
    name: str
    parent: int
    offset: tuple[float, float, float]
    channels: tuple[tuple[str, int], ...]


def _bvh_joint(tokens: _Tokens, name: str, parent: int, depth: int, joints: list[_Joint]) -> None:
    if depth > _MAX_DEPTH:
        raise tokens.fail(f"joints are nested more than {_MAX_DEPTH} deep")
    tokens.expect("{")
    tokens.expect("OFFSET")
    x, y, z = (tokens.number("an offset") for _ in range(3))
    index = len(joints)
    joint = _Joint(name, parent, (x, y, z), ())
    joints.append(joint)
    while True:
        word = tokens.next("'CHANNELS', 'JOINT', 'End' or '}'")
        match word.upper():
            case "}":
                return
            case "CHANNELS":
                found = []
                for _ in range(tokens.count("a number of channels", 6)):
                    channel = tokens.next("a channel").upper()
                    if channel not in _CHANNELS:
                        raise tokens.fail(f"unknown channel '{channel}'")
                    found.append(_CHANNELS[channel])
                joint.channels = tuple(found)
            case "JOINT":
                _bvh_joint(tokens, tokens.next("a joint name"), index, depth + 1, joints)
            case "END":
                tokens.expect("Site")
                _bvh_joint(tokens, f"{name}_end", index, depth + 1, joints)
            case _:
                raise tokens.fail(f"expected 'CHANNELS', 'JOINT', 'End' or '}}', found '{word}'")


def read_bvh(
    path: str | PathLike[str], *, mm_per_unit: float = CMU_MM_PER_UNIT, drop_rest_frame: bool = True
) -> Motion:
    """Reads a BVH file; lengths in the file times ``mm_per_unit`` are mm.

    Some conversions insert the rest pose as frame 0; with ``drop_rest_frame`` such a frame (all joints jump between it
    and the next, far more than later) is left out. Raises ``RawDataError`` for a damaged file.
    """
    path = Path(path)
    tokens = _Tokens(path, _read_lines(path, "BVH"))
    tokens.expect("HIERARCHY")
    tokens.expect("ROOT")
    joints: list[_Joint] = []
    _bvh_joint(tokens, tokens.next("a joint name"), -1, 0, joints)
    names = [joint.name for joint in joints]
    if len(set(names)) != len(names):
        raise tokens.fail("two joints bear the same name")
    tokens.expect("MOTION")
    tokens.expect("Frames:")
    frames = tokens.count("a number of frames", 10_000_000)
    tokens.expect("Frame")
    tokens.expect("Time:")
    period = tokens.number("a frame time")
    if frames < 1 or not 1e-4 <= period <= 10:
        raise tokens.fail(f"{frames} frames of {period:g} s are no motion")
    width = sum(len(joint.channels) for joint in joints)
    rows: list[list[float]] = []
    for frame in range(frames):
        rows.append([tokens.number(f"number {column + 1} of frame {frame}") for column in range(width)])
    values = np.array(rows).reshape(frames, width)
    positions, orientations = _bvh_kinematics(joints, values)
    motion = _z_up(names, [joint.parent for joint in joints], positions * mm_per_unit, orientations, 1 / period, path)
    return _without_rest_frame(motion) if drop_rest_frame else motion


def _bvh_kinematics(joints: list[_Joint], values: FloatArray) -> tuple[FloatArray, FloatArray]:
    frames = len(values)
    positions = np.zeros((frames, len(joints), 3))
    orientations = np.zeros((frames, len(joints), 3, 3))
    column = 0
    for index, joint in enumerate(joints):
        local = np.tile(np.eye(3), (frames, 1, 1))
        shift = np.tile(np.array(joint.offset), (frames, 1))
        moved = False
        for kind, axis in joint.channels:
            if kind == "rotation":
                local = local @ axis_rotation(axis, np.radians(values[:, column]))
            else:
                if not moved:
                    shift, moved = shift * (joint.parent >= 0), True
                shift[:, axis] += values[:, column]
            column += 1
        if joint.parent < 0:
            positions[:, index], orientations[:, index] = shift, local
        else:
            parent = orientations[:, joint.parent]
            positions[:, index] = positions[:, joint.parent] + np.einsum("fij,fj->fi", parent, shift)
            orientations[:, index] = parent @ local
    return positions, orientations


def _z_up(
    names: list[str], parents: list[int], positions: FloatArray, orientations: FloatArray, rate_hz: float, path: Path
) -> Motion:
    return Motion(
        tuple(names), tuple(parents), positions @ _TO_Z_UP.T, _TO_Z_UP @ orientations @ _TO_Z_UP.T, rate_hz, str(path)
    )


def _without_rest_frame(motion: Motion) -> Motion:
    if len(motion) < 4:
        return motion
    local = motion.positions_mm - motion.positions_mm[:, :1]
    steps = np.linalg.norm(np.diff(local, axis=0), axis=-1).mean(axis=1)
    if steps[0] < 30 or steps[0] < 8 * np.median(steps[1:]):
        return motion
    return Motion(
        motion.names, motion.parents, motion.positions_mm[1:], motion.orientations[1:], motion.rate_hz,
        motion.source, dropped_frames=1,
    )  # fmt: skip


@dataclass
class _Bone:
    name: str
    direction: FloatArray
    length: float
    axis: FloatArray
    dof: tuple[str, ...]


def _euler(angles: FloatArray, order: str) -> FloatArray:
    """(..., 3) rad about the axes of ``order``, the first applied first -> (..., 3, 3)."""
    matrix = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for position, axis in enumerate(order):
        matrix = axis_rotation("XYZ".index(axis), angles[..., position]) @ matrix
    return matrix


class _Asf:
    """The skeleton half: bones, hierarchy, units."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mm_per_unit = CMU_MM_PER_UNIT
        self.radians_per_unit = math.pi / 180
        self.root_order: tuple[str, ...] = ("tx", "ty", "tz", "rx", "ry", "rz")
        self.root_axis = "XYZ"
        self.root_orientation = np.zeros(3)
        self.bones: dict[str, _Bone] = {}
        self.parents: dict[str, str] = {}
        self._parse(_read_lines(path, "ASF"))
        if not self.bones or not self.parents:
            raise RawDataError("no bones or no hierarchy found", where=path, mend="is this an ASF skeleton?")

    def _fail(self, number: int, what: str) -> RawDataError:
        return RawDataError(
            what, where=f"{self.path}, line {number}", mend="the file is damaged or not an ASF skeleton"
        )

    def _numbers(self, number: int, words: list[str], count: int) -> list[float]:
        try:
            values = [float(word) for word in words[:count]]
        except ValueError:
            values = []
        if len(values) != count or not all(map(math.isfinite, values)):
            raise self._fail(number, f"expected {count} numbers, found '{' '.join(words[:8])}'")
        return values

    def _parse(self, lines: list[str]) -> None:
        section = ""
        bone: _Bone | None = None
        for number, line in enumerate(lines, 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            if words[0].startswith(":"):
                section = words[0].lower()
            elif section == ":units":
                if words[0] == "length":
                    self.mm_per_unit = 25.4 / max(self._numbers(number, words[1:], 1)[0], 1e-6)
                elif words[0] == "angle":
                    self.radians_per_unit = 1.0 if words[1:2] == ["rad"] else math.pi / 180
            elif section == ":root":
                if words[0] == "order":
                    self.root_order = tuple(word.lower() for word in words[1:])
                elif words[0] == "axis" and len(words) > 1:
                    self.root_axis = self._axis_order(number, words[1])
                elif words[0] == "orientation":
                    self.root_orientation = np.array(self._numbers(number, words[1:], 3)) * self.radians_per_unit
            elif section == ":bonedata":
                bone = self._bone_line(number, words, bone)
            elif section == ":hierarchy" and words[0] not in ("begin", "end"):
                self._hierarchy_line(number, words)

    def _axis_order(self, number: int, word: str) -> str:
        order = word.upper()
        if sorted(order) != ["X", "Y", "Z"]:
            raise self._fail(number, f"expected an order of the axes such as XYZ, found '{word}'")
        return order

    def _bone_line(self, number: int, words: list[str], bone: _Bone | None) -> _Bone | None:
        key, rest = words[0], words[1:]
        if key == "begin":
            return _Bone("", np.zeros(3), 0.0, np.eye(3), ())
        if bone is None:
            raise self._fail(number, f"'{key}' stands outside begin ... end")
        if key == "end":
            if not bone.name or bone.name in self.bones:
                raise self._fail(number, f"bone '{bone.name}' has no name or is named twice")
            self.bones[bone.name] = bone
            return None
        if key == "name" and rest:
            bone.name = rest[0]
        elif key == "direction":
            bone.direction = np.array(self._numbers(number, rest, 3))
        elif key == "length":
            bone.length = self._numbers(number, rest, 1)[0]
        elif key == "axis":
            angles = np.array(self._numbers(number, rest, 3)) * self.radians_per_unit
            bone.axis = _euler(angles, self._axis_order(number, rest[3]) if len(rest) > 3 else "XYZ")
        elif key == "dof":
            bone.dof = tuple(word.lower() for word in rest)
            if not set(bone.dof) <= {"rx", "ry", "rz", "l"}:
                raise self._fail(number, f"unknown degrees of freedom '{' '.join(rest)}'")
        return bone

    def _hierarchy_line(self, number: int, words: list[str]) -> None:
        parent, *children = words
        if parent != "root" and parent not in self.parents:
            raise self._fail(number, f"'{parent}' has children before it has a parent")
        for child in children:
            if child not in self.bones or child in self.parents:
                raise self._fail(number, f"bone '{child}' is unknown or has two parents")
            self.parents[child] = parent


def _amc_values(path: Path, skeleton: _Asf) -> tuple[list[dict[str, list[float]]], float]:
    frames: list[dict[str, list[float]]] = []
    width = {name: len(bone.dof) for name, bone in skeleton.bones.items()} | {"root": len(skeleton.root_order)}
    radians = math.pi / 180

    def fail(number: int, what: str) -> RawDataError:
        return RawDataError(what, where=f"{path}, line {number}", mend="the file is damaged or belongs to another .asf")

    for number, line in enumerate(_read_lines(path, "AMC"), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if words[0].startswith(":"):
            radians = 1.0 if words[0].lower() == ":radians" else radians
        elif len(words) == 1 and words[0].isdigit():
            if int(words[0]) != len(frames) + 1:
                raise fail(number, f"expected frame {len(frames) + 1}, found {words[0]}")
            frames.append({})
        else:
            if not frames:
                raise fail(number, f"'{words[0]}' stands before the first frame")
            if words[0] not in width:
                raise fail(number, f"no bone '{words[0]}' in {skeleton.path.name}")
            try:
                values = [float(word) for word in words[1:]]
            except ValueError:
                values = []
            if len(values) != width[words[0]] or not all(map(math.isfinite, values)):
                raise fail(number, f"bone '{words[0]}' needs {width[words[0]]} numbers")
            frames[-1][words[0]] = values
    if not frames:
        raise RawDataError("no frames found", where=path, mend="is this an AMC motion?")
    return frames, radians


def read_amc(path: str | PathLike[str], asf: str | PathLike[str] | None = None, *, rate_hz: float = 120.0) -> Motion:
    """Reads an AMC motion with its ASF skeleton (default: the file beside it with the same name, or the subject's,
    ``02_01.amc`` -> ``02.asf``). AMC states no rate; CMU records at 120 Hz. Raises ``RawDataError``."""
    path = Path(path)
    if asf is None:
        candidates = list(dict.fromkeys(path.with_name(stem + ".asf") for stem in (path.stem, path.stem.split("_")[0])))
        found = next((candidate for candidate in candidates if candidate.is_file()), None)
        if found is None:
            wanted = " or ".join(candidate.name for candidate in candidates)
            raise RawDataError(
                f"an .amc needs its .asf skeleton, and there is no {wanted} beside it",
                where=path,
                mend="put it there or name it",
            )
        asf = found
    skeleton = _Asf(Path(asf))
    frames, radians = _amc_values(path, skeleton)
    names = ["root", *skeleton.parents]
    parents = [-1, *(names.index(parent) for parent in skeleton.parents.values())]
    count = len(frames)
    positions = np.zeros((count, len(names), 3))
    orientations = np.zeros((count, len(names), 3, 3))

    def column(bone: str, place: int) -> FloatArray:
        missing = next((index for index, frame in enumerate(frames) if bone not in frame), None)
        if missing is not None:
            raise RawDataError(f"frame {missing + 1} lacks bone '{bone}'", where=path, mend="the file is damaged")
        return np.array([frame[bone][place] for frame in frames])

    turn = np.broadcast_to(np.eye(3), (count, 3, 3))
    for place, dof in enumerate(skeleton.root_order):
        if dof.startswith("r"):
            turn = axis_rotation("xyz".index(dof[1]), column("root", place) * radians) @ turn
        elif dof.startswith("t"):
            positions[:, 0, "xyz".index(dof[1])] = column("root", place)
    base = _euler(skeleton.root_orientation, skeleton.root_axis)
    orientations[:, 0] = base @ turn @ base.T
    for index, name in enumerate(names[1:], 1):
        bone, parent = skeleton.bones[name], parents[index]
        local = np.broadcast_to(np.eye(3), (count, 3, 3))
        for place, dof in enumerate(bone.dof):
            if dof != "l":
                local = axis_rotation("xyz".index(dof[1]), column(name, place) * radians) @ local
        orientations[:, index] = orientations[:, parent] @ bone.axis @ local @ bone.axis.T
        positions[:, index] = positions[:, parent] + orientations[:, index] @ (bone.direction * bone.length)
    return _z_up(names, parents, positions * skeleton.mm_per_unit, orientations, rate_hz, path)
