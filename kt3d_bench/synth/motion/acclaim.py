"""Acclaim: an .asf skeleton (bones, hierarchy, units) and .amc motions of it, as in the CMU Graphics Lab database."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from kt3d_bench.errors import RawDataError
from kt3d_bench.synth.motion import text
from kt3d_bench.synth.motion.recorded import CMU_MM_PER_UNIT, Motion, finished
from kt3d_bench.synth.rig import FloatArray, axis_rotation

_FREEDOMS = frozenset({"tx", "ty", "tz", "rx", "ry", "rz", "l"})
USUAL_RATE_HZ = 120.0
_ROOT: tuple[str, ...] = ("tx", "ty", "tz", "rx", "ry", "rz")


@dataclass
class _Bone:
    name: str = ""
    direction: FloatArray = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: FloatArray = field(default_factory=lambda: np.eye(3))
    dof: tuple[str, ...] = ()


def _euler(angles: FloatArray, order: str) -> FloatArray:
    """Return (3, 3) the rotation by (3,) rad about the axes of ``order``, the first applied first."""
    matrix = np.eye(3)
    for axis, angle in zip(order, angles, strict=True):
        matrix = axis_rotation("XYZ".index(axis), angle) @ matrix
    return matrix


class _File:
    """One of the two text files, read line by line; errors name the line."""

    def __init__(self, path: Path, kind: str, hint: str) -> None:
        self.path = path
        self.kind = kind
        self.hint = hint
        self.line = 0
        self.radians_per_unit = math.pi / 180
        self.angles_stated = False

    def rows(self) -> Iterator[list[str]]:
        """Yield the words of every line that is neither empty nor a comment."""
        for number, content in text.lines_of(self.path, self.kind):
            self.line = number
            if words := content.split("#", 1)[0].split():
                yield words

    def fail(self, what: str) -> RawDataError:
        return RawDataError(what, where=f"{self.path}, line {self.line}", hint=self.hint)


class _Skeleton(_File):
    """An .asf: bones, hierarchy, units."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "ASF", "the file is corrupt or not an ASF skeleton")
        self.mm_per_unit = CMU_MM_PER_UNIT
        self.root_order = _ROOT
        self.root_axis = "XYZ"
        self.root_orientation = np.zeros(3)
        self.bones: dict[str, _Bone] = {}
        self.parents: dict[str, str] = {}
        self._depth = {"root": 0}
        section, bone = "", None
        for key, *rest in self.rows():
            if key.startswith(":"):
                section = key.lower()
            elif section == ":units":
                self._read_unit(key, rest)
            elif section == ":root":
                self._read_root(key, rest)
            elif section == ":bonedata":
                bone = self._read_bone(key, rest, bone)
            elif section == ":hierarchy" and key not in ("begin", "end"):
                self._read_children(key, rest)
        if bone is not None:
            raise RawDataError(f"the file ends inside bone '{bone.name}'", where=path, hint="it is cut off")
        if not self.bones or not self.parents:
            raise RawDataError("no bones or no hierarchy found", where=path, hint="is this an ASF skeleton?")

    def _numbers(self, words: list[str], count: int) -> list[float]:
        values = text.numbers_of(words[:count])
        if values is None or len(values) != count:
            raise self.fail(f"expected {count} numbers, found '{' '.join(words[:8])}'")
        return list(values)

    def _axis_order(self, word: str) -> str:
        order = word.upper()
        if sorted(order) != ["X", "Y", "Z"]:
            raise self.fail(f"expected an order of the axes such as XYZ, found '{word}'")
        return order

    def _freedoms(self, words: list[str]) -> tuple[str, ...]:
        freedoms = tuple(word.lower() for word in words)
        if not set(freedoms) <= _FREEDOMS:
            raise self.fail(f"unknown degrees of freedom '{' '.join(words)}'")
        return freedoms

    def _read_unit(self, key: str, rest: list[str]) -> None:
        if key == "length":
            length = self._numbers(rest, 1)[0]
            if length <= 0:
                raise self.fail(f"the unit of length must be positive, found {length:g}")
            self.mm_per_unit = 25.4 / length
        elif key == "angle":
            self.radians_per_unit = 1.0 if rest and rest[0].lower().startswith("rad") else math.pi / 180
            self.angles_stated = True

    def _read_root(self, key: str, rest: list[str]) -> None:
        if key == "order":
            self.root_order = self._freedoms(rest)
        elif key == "axis" and rest:
            self.root_axis = self._axis_order(rest[0])
        elif key == "orientation":
            self.root_orientation = np.array(self._numbers(rest, 3)) * self.radians_per_unit

    def _read_bone(self, key: str, rest: list[str], bone: _Bone | None) -> _Bone | None:
        if key == "begin":
            if bone is not None or len(self.bones) >= text.MOST_JOINTS:
                raise self.fail(f"a bone begins inside another, or there are more than {text.MOST_JOINTS}")
            return _Bone()
        if bone is None:
            raise self.fail(f"'{key}' stands outside begin ... end")
        if key == "end":
            if not bone.name or bone.name in self.bones or bone.name == "root":
                raise self.fail(f"bone '{bone.name}' has no name or is named twice")
            self.bones[bone.name] = bone
            return None
        if key == "name" and rest:
            bone.name = rest[0]
        elif key == "direction":
            bone.direction = np.array(self._numbers(rest, 3))
        elif key == "length":
            bone.length = self._numbers(rest, 1)[0]
        elif key == "axis":
            angles = np.array(self._numbers(rest, 3)) * self.radians_per_unit
            bone.axis = _euler(angles, self._axis_order(rest[3]) if len(rest) > 3 else "XYZ")
        elif key == "dof":
            bone.dof = self._freedoms(rest)
        return bone

    def _read_children(self, parent: str, children: list[str]) -> None:
        if parent not in self._depth:
            raise self.fail(f"'{parent}' has children before it has a parent")
        if self._depth[parent] >= text.MOST_DEPTH:
            raise self.fail(f"the hierarchy is more than {text.MOST_DEPTH} deep")
        for child in children:
            if child not in self.bones or child in self.parents:
                raise self.fail(f"bone '{child}' is unknown or has two parents")
            self.parents[child] = parent
            self._depth[child] = self._depth[parent] + 1


class _Frames(_File):
    """An .amc: the numbers of every frame. A bone that the first frame lacks stays at rest."""

    def __init__(self, path: Path, skeleton: _Skeleton) -> None:
        super().__init__(path, "AMC", "the file is corrupt or belongs to another .asf")
        self.skeleton_name = skeleton.path.name
        self.width = {"root": len(skeleton.root_order)}
        self.width |= {name: len(bone.dof) for name, bone in skeleton.bones.items()}
        self.count = 0
        self._first_column: dict[str, int] = {}
        self._values = array("d")
        most, first = text.MOST_JOINT_FRAMES // len(self.width), 0
        frame: dict[str, array[float]] | None = None
        for words in self.rows():
            key = words[0]
            if key.startswith(":"):
                if key.lower() in (":radians", ":degrees"):
                    self.radians_per_unit = 1.0 if key.lower() == ":radians" else math.pi / 180
                    self.angles_stated = True
            elif len(words) == 1 and key.isdecimal() and text.number_of(key) is not None:
                if frame is None:
                    first = int(key)
                else:
                    self._end_frame(frame, first)
                if int(key) != first + self.count or self.count >= most:
                    raise self.fail(f"expected frame {first + self.count} of at most {most}, found {key}")
                frame = {}
            elif frame is None:
                raise self.fail(f"'{key}' stands before the first frame")
            else:
                frame[key] = self._bone(key, words[1:], frame)
        if frame is None:
            raise RawDataError("no frames found", where=path, hint="is this an AMC motion?")
        self._end_frame(frame, first)
        self._table = np.array(self._values).reshape(self.count, -1)

    def _bone(self, name: str, words: list[str], frame: dict[str, array[float]]) -> array[float]:
        if name not in self.width:
            raise self.fail(f"no bone '{name}' in {self.skeleton_name}")
        if name in frame:
            raise self.fail(f"bone '{name}' stands twice in one frame")
        values = text.numbers_of(words)
        if values is None or len(values) != self.width[name]:
            raise self.fail(f"bone '{name}' needs {self.width[name]} numbers, found '{' '.join(words[:6])}'")
        return values

    def _end_frame(self, frame: dict[str, array[float]], first: int) -> None:
        if self.count == 0:
            if "root" not in frame:
                raise self.fail(f"frame {first} lacks bone 'root'")
            starts = np.cumsum([0, *(self.width[name] for name in frame)]).tolist()
            self._first_column = dict(zip(frame, starts, strict=False))
        odd = sorted(frame.keys() ^ self._first_column.keys())
        if odd:
            how = "lacks" if odd[0] in self._first_column else "has, unlike the first,"
            raise self.fail(f"frame {first + self.count} {how} bone '{odd[0]}'")
        for name in self._first_column:
            self._values += frame[name]
        self.count += 1

    def moves(self, bone: str, dof: Sequence[str]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return (F, 3, 3) turn, (F, 3) shift and (F,) lengthening of a bone in its own axes."""
        turn = np.broadcast_to(np.eye(3), (self.count, 3, 3))
        shift, longer = np.zeros((self.count, 3)), np.zeros(self.count)
        if bone in self._first_column:
            for column, freedom in enumerate(dof, self._first_column[bone]):
                values = self._table[:, column]
                if freedom == "l":
                    longer = values
                elif freedom.startswith("r"):
                    turn = axis_rotation("xyz".index(freedom[1]), values * self.radians_per_unit) @ turn
                else:
                    shift[:, "xyz".index(freedom[1])] = values
        return turn, shift, longer


def read_amc(
    path: str | PathLike[str],
    asf: str | PathLike[str] | None = None,
    *,
    rate_hz: float | None = None,
    mm_per_unit: float | None = None,
    drop_rest_frame: bool = True,
    roles: Mapping[str, str] | None = None,
) -> Motion:
    """Read an AMC motion with its ASF skeleton (default: the file beside it with the same name, or the subject's,
    ``02_01.amc`` -> ``02.asf``, or else the only one there).

    AMC states no rate; without ``rate_hz`` it is taken to be 120 Hz, as most of CMU's trials are (others have 60), and
    ``Motion.notes`` says so, as it does for an angle unit that is not stated. ``roles`` as in ``finished``.
    ``mm_per_unit`` (default: what the ASF states, if that gives a possible body size) and ``drop_rest_frame`` as in
    ``read_bvh``. A bone that no frame moves stays at rest. AMC does not state the number of frames, so a file cut
    between two frames reads as a shorter one.
    Raises ``RawDataError``, with the line, for a corrupt file or a missing skeleton.
    """
    path = Path(path)
    skeleton = _Skeleton(_skeleton_of(path) if asf is None else Path(asf))
    motion = _Frames(path, skeleton)
    names = ["root", *skeleton.parents]
    parents = [-1, *(names.index(parent) for parent in skeleton.parents.values())]
    positions = np.zeros((motion.count, len(names), 3))
    orientations = np.zeros((motion.count, len(names), 3, 3))
    rest = np.zeros((len(names), 3))
    turn, positions[:, 0], _ = motion.moves("root", skeleton.root_order)
    base = _euler(skeleton.root_orientation, skeleton.root_axis)
    orientations[:, 0] = base @ turn @ base.T
    for index, name in enumerate(names[1:], 1):
        bone, parent = skeleton.bones[name], parents[index]
        turn, shift, longer = motion.moves(name, bone.dof)
        orientations[:, index] = orientations[:, parent] @ bone.axis @ turn @ bone.axis.T
        reach = (bone.length + longer)[:, None] * bone.direction
        positions[:, index] = (
            positions[:, parent]
            + np.einsum("fij,fj->fi", orientations[:, parent] @ bone.axis, shift)
            + np.einsum("fij,fj->fi", orientations[:, index], reach)
        )
        rest[index] = rest[parent] + bone.direction * bone.length
    notes = () if rate_hz else ("the rate is assumed, as AMC states none: --motion-rate sets it",)
    if not (motion.angles_stated or skeleton.angles_stated):
        notes = (*notes, "degrees are assumed")
    raw = Motion(tuple(names), tuple(parents), positions, orientations, rate_hz or USUAL_RATE_HZ, rest, ends=True,
                 source=str(path), notes=notes)  # fmt: skip
    return finished(raw, mm_per_unit, drop_rest_frame, declared=skeleton.mm_per_unit, roles=roles)


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
