"""Acclaim: an .asf skeleton (bones, hierarchy, units) and .amc motions of it, as in the CMU Graphics Lab database."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from kt3d_bench.errors import RawDataError
from kt3d_bench.synth.motion.recorded import CMU_MM_PER_UNIT, Motion, finished
from kt3d_bench.synth.motion.text import (
    MOST_DEPTH,
    MOST_JOINT_FRAMES,
    MOST_JOINTS,
    lines_of,
    number_of,
    numbers_of,
)
from kt3d_bench.synth.rig import FloatArray, axis_rotation

_FREEDOMS = frozenset({"tx", "ty", "tz", "rx", "ry", "rz", "l"})
_ROOT: tuple[str, ...] = ("tx", "ty", "tz", "rx", "ry", "rz")


@dataclass
class _Bone:
    name: str
    direction: FloatArray
    length: float
    axis: FloatArray
    dof: tuple[str, ...]


def _euler(angles: FloatArray, order: str) -> FloatArray:
    """(3,) rad about the axes of ``order``, the first applied first -> (3, 3)."""
    matrix = np.eye(3)
    for axis, angle in zip(order, angles, strict=True):
        matrix = axis_rotation("XYZ".index(axis), angle) @ matrix
    return matrix


class _Asf:
    """The skeleton half: bones, hierarchy, units."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mm_per_unit = CMU_MM_PER_UNIT
        self.radians_per_unit = math.pi / 180
        self.root_order = _ROOT
        self.root_axis = "XYZ"
        self.root_orientation = np.zeros(3)
        self.bones: dict[str, _Bone] = {}
        self.parents: dict[str, str] = {}
        self._depth = {"root": 0}
        self._parse()
        if not self.bones or not self.parents:
            raise RawDataError("no bones or no hierarchy found", where=path, hint="is this an ASF skeleton?")

    def _fail(self, number: int, what: str) -> RawDataError:
        return RawDataError(
            what, where=f"{self.path}, line {number}", hint="the file is damaged or not an ASF skeleton"
        )

    def _numbers(self, number: int, words: list[str], count: int) -> list[float]:
        values = numbers_of(words[:count])
        if values is None or len(values) != count:
            raise self._fail(number, f"expected {count} numbers, found '{' '.join(words[:8])}'")
        return list(values)

    def _parse(self) -> None:
        section = ""
        bone: _Bone | None = None
        for number, line in lines_of(self.path, "ASF"):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            if words[0].startswith(":"):
                section = words[0].lower()
            elif section == ":units":
                self._unit_line(number, words)
            elif section == ":root":
                self._root_line(number, words)
            elif section == ":bonedata":
                bone = self._bone_line(number, words, bone)
            elif section == ":hierarchy" and words[0] not in ("begin", "end"):
                self._hierarchy_line(number, words)
        if bone is not None:
            raise RawDataError(f"the file ends inside bone '{bone.name}'", where=self.path, hint="it is cut off")

    def _unit_line(self, number: int, words: list[str]) -> None:
        if words[0] == "length":
            length = self._numbers(number, words[1:], 1)[0]
            if length <= 0:
                raise self._fail(number, f"a unit of length of {length:g} is none")
            self.mm_per_unit = 25.4 / length
        elif words[0] == "angle":
            self.radians_per_unit = 1.0 if words[1:] and words[1].lower().startswith("rad") else math.pi / 180

    def _root_line(self, number: int, words: list[str]) -> None:
        if words[0] == "order":
            self.root_order = tuple(word.lower() for word in words[1:])
            if not set(self.root_order) <= _FREEDOMS:
                raise self._fail(number, f"unknown degrees of freedom '{' '.join(words[1:])}'")
        elif words[0] == "axis" and len(words) > 1:
            self.root_axis = self._axis_order(number, words[1])
        elif words[0] == "orientation":
            self.root_orientation = np.array(self._numbers(number, words[1:], 3)) * self.radians_per_unit

    def _axis_order(self, number: int, word: str) -> str:
        order = word.upper()
        if sorted(order) != ["X", "Y", "Z"]:
            raise self._fail(number, f"expected an order of the axes such as XYZ, found '{word}'")
        return order

    def _bone_line(self, number: int, words: list[str], bone: _Bone | None) -> _Bone | None:
        key, rest = words[0], words[1:]
        if key == "begin":
            if bone is not None or len(self.bones) >= MOST_JOINTS:
                raise self._fail(number, f"a bone begins inside another, or there are more than {MOST_JOINTS}")
            return _Bone("", np.zeros(3), 0.0, np.eye(3), ())
        if bone is None:
            raise self._fail(number, f"'{key}' stands outside begin ... end")
        if key == "end":
            if not bone.name or bone.name in self.bones or bone.name == "root":
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
            if not set(bone.dof) <= _FREEDOMS:
                raise self._fail(number, f"unknown degrees of freedom '{' '.join(rest)}'")
        return bone

    def _hierarchy_line(self, number: int, words: list[str]) -> None:
        parent, *children = words
        if parent not in self._depth:
            raise self._fail(number, f"'{parent}' has children before it has a parent")
        if self._depth[parent] >= MOST_DEPTH:
            raise self._fail(number, f"bones hang more than {MOST_DEPTH} deep")
        for child in children:
            if child not in self.bones or child in self.parents:
                raise self._fail(number, f"bone '{child}' is unknown or has two parents")
            self.parents[child] = parent
            self._depth[child] = self._depth[parent] + 1


class _Amc:
    """The numbers of every frame: ``column(bone, place)``. A bone that the first frame lacks stays at rest."""

    def __init__(self, path: Path, skeleton: _Asf) -> None:
        self.path = path
        self.width = {"root": len(skeleton.root_order)}
        self.width |= {name: len(bone.dof) for name, bone in skeleton.bones.items()}
        self.radians_per_unit = math.pi / 180
        self._skeleton = skeleton
        self._first_column: dict[str, int] = {}
        self._values = array("d")
        self.frames = 0
        self._parse()
        self._table = np.array(self._values).reshape(self.frames, -1)

    def column(self, bone: str, place: int) -> FloatArray:
        if bone not in self._first_column:
            return np.zeros(self.frames)
        values: FloatArray = self._table[:, self._first_column[bone] + place]
        return values

    def _fail(self, number: int, what: str) -> RawDataError:
        return RawDataError(
            what, where=f"{self.path}, line {number}", hint="the file is damaged or belongs to another .asf"
        )

    def _parse(self) -> None:
        most = MOST_JOINT_FRAMES // len(self.width)
        first: int | None = None
        frame: dict[str, array[float]] = {}
        number = 0
        for number, line in lines_of(self.path, "AMC"):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            if words[0].startswith(":"):
                if words[0].lower() in (":radians", ":degrees"):
                    self.radians_per_unit = 1.0 if words[0].lower() == ":radians" else math.pi / 180
            elif len(words) == 1 and words[0].isdecimal() and number_of(words[0]) is not None:
                if first is None:
                    first = int(words[0])
                else:
                    self._end_frame(frame, number, first)
                if int(words[0]) != first + self.frames or self.frames >= most:
                    raise self._fail(
                        number, f"expected frame {first + self.frames} of at most {most}, found {words[0]}"
                    )
                frame = {}
            elif first is None:
                raise self._fail(number, f"'{words[0]}' stands before the first frame")
            else:
                frame[words[0]] = self._bone(number, words, frame)
        if first is None:
            raise RawDataError("no frames found", where=self.path, hint="is this an AMC motion?")
        self._end_frame(frame, number, first)

    def _bone(self, number: int, words: list[str], frame: dict[str, array[float]]) -> array[float]:
        name = words[0]
        if name not in self.width:
            raise self._fail(number, f"no bone '{name}' in {self._skeleton.path.name}")
        if name in frame:
            raise self._fail(number, f"bone '{name}' stands twice in one frame")
        values = numbers_of(words[1:])
        if values is None or len(values) != self.width[name]:
            raise self._fail(number, f"bone '{name}' needs {self.width[name]} numbers, found '{' '.join(words[1:7])}'")
        return values

    def _end_frame(self, frame: dict[str, array[float]], number: int, first: int) -> None:
        if self.frames == 0:
            if "root" not in frame:
                raise self._fail(number, f"frame {first} lacks bone 'root'")
            start = 0
            for name in frame:
                self._first_column[name] = start
                start += self.width[name]
        odd = sorted(frame.keys() ^ self._first_column.keys())
        if odd:
            how = "lacks" if odd[0] in self._first_column else "has, unlike the first,"
            raise self._fail(number, f"frame {first + self.frames} {how} bone '{odd[0]}'")
        for name in self._first_column:
            self._values += frame[name]
        self.frames += 1


def read_amc(
    path: str | PathLike[str],
    asf: str | PathLike[str] | None = None,
    *,
    rate_hz: float = 120.0,
    mm_per_unit: float | None = None,
    drop_rest_frame: bool = True,
) -> Motion:
    """Reads an AMC motion with its ASF skeleton (default: the file beside it with the same name, or the subject's,
    ``02_01.amc`` -> ``02.asf``, or else the only one there).

    AMC states no rate; CMU records at 120 Hz. ``mm_per_unit`` (default: what the ASF says, where a body can have that
    size) and ``drop_rest_frame`` as in ``read_bvh``. A bone that no frame moves stays as it is at rest. AMC states no
    number of frames either: a file cut between two of them reads as a shorter one.
    Raises ``RawDataError``, with the line, for a damaged file or a missing skeleton.
    """
    path = Path(path)
    skeleton = _Asf(_skeleton_of(path) if asf is None else Path(asf))
    motion = _Amc(path, skeleton)
    names = ["root", *skeleton.parents]
    parents = [-1, *(names.index(parent) for parent in skeleton.parents.values())]
    positions, orientations = _root(skeleton, motion, len(names))
    rest = np.zeros((len(names), 3))
    for index, name in enumerate(names[1:], 1):
        bone, parent = skeleton.bones[name], parents[index]
        local, shift, longer = _freedoms(bone, motion)
        orientations[:, index] = orientations[:, parent] @ bone.axis @ local @ bone.axis.T
        reach = (bone.length + longer)[:, None] * bone.direction
        positions[:, index] = (
            positions[:, parent]
            + np.einsum("fij,fj->fi", orientations[:, parent] @ bone.axis, shift)
            + np.einsum("fij,fj->fi", orientations[:, index], reach)
        )
        rest[index] = rest[parent] + bone.direction * bone.length
    raw = Motion(tuple(names), tuple(parents), positions, orientations, rate_hz, rest, ends=True, source=str(path))
    return finished(raw, mm_per_unit, drop_rest_frame, declared=skeleton.mm_per_unit)


def _skeleton_of(path: Path) -> Path:
    beside = [file for file in path.parent.glob("*") if file.suffix.lower() == ".asf"] if path.parent.is_dir() else []
    stems = tuple(dict.fromkeys((path.stem, path.stem.split("_")[0])))
    for stem in stems:
        for file in sorted(beside):
            if file.stem.lower() == stem.lower():
                return file
    if len(beside) == 1:
        return beside[0]
    wanted = " or ".join(f"{stem}.asf" for stem in stems)
    raise RawDataError(
        f"an .amc needs its .asf skeleton, and there is no {wanted} beside it",
        where=path,
        hint="put it there or name it",
    )


def _root(skeleton: _Asf, motion: _Amc, joints: int) -> tuple[FloatArray, FloatArray]:
    positions = np.zeros((motion.frames, joints, 3))
    orientations = np.zeros((motion.frames, joints, 3, 3))
    positions[:, 0] = _translation(skeleton.root_order, "root", motion)
    base = _euler(skeleton.root_orientation, skeleton.root_axis)
    orientations[:, 0] = base @ _turn(skeleton.root_order, "root", motion) @ base.T
    return positions, orientations


def _freedoms(bone: _Bone, motion: _Amc) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(F, 3, 3) turn, (F, 3) shift and (F,) lengthening of a bone in its own axes."""
    longer = motion.column(bone.name, bone.dof.index("l")) if "l" in bone.dof else np.zeros(motion.frames)
    return _turn(bone.dof, bone.name, motion), _translation(bone.dof, bone.name, motion), longer


def _turn(dof: Sequence[str], bone: str, motion: _Amc) -> FloatArray:
    turn = np.broadcast_to(np.eye(3), (motion.frames, 3, 3))
    for place, freedom in enumerate(dof):
        if freedom.startswith("r"):
            angles = motion.column(bone, place) * motion.radians_per_unit
            turn = axis_rotation("xyz".index(freedom[1]), angles) @ turn
    return turn


def _translation(dof: Sequence[str], bone: str, motion: _Amc) -> FloatArray:
    shift = np.zeros((motion.frames, 3))
    for place, freedom in enumerate(dof):
        if freedom.startswith("t"):
            shift[:, "xyz".index(freedom[1])] = motion.column(bone, place)
    return shift
