"""BVH (BioVision hierarchy): a tree of joints with their channels, then one line of numbers per frame."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from kt3d_bench.synth.motion import text
from kt3d_bench.synth.motion.recorded import Motion, finished
from kt3d_bench.synth.rig import FloatArray, axis_rotation

_CHANNELS = {f"{axis}{kind}".upper(): (kind, "XYZ".index(axis)) for axis in "XYZ" for kind in ("position", "rotation")}


@dataclass
class _Joint:
    name: str
    parent: int
    offset: tuple[float, float, float]
    channels: tuple[tuple[str, int], ...]


def read_bvh(
    path: str | PathLike[str],
    *,
    rate_hz: float | None = None,
    mm_per_unit: float | None = None,
    drop_rest_frame: bool = True,
    roles: Mapping[str, str] | None = None,
) -> Motion:
    """Read a BVH file with any order of channels, Euler angles and joints, y or z up, and any line endings.

    ``mm_per_unit`` (default: found from the body's size) converts lengths to mm; ``drop_rest_frame`` drops a rest pose
    that a conversion inserted as frame 0 (``kt3d_bench.synth.motion.recorded`` states both rules). ``rate_hz`` replaces
    the file's rate; ``roles`` as in ``finished``. One line more than the stated number of frames is read, as one
    program exports it, and ``Motion.notes`` says so. Position channels
    replace the joint's ``OFFSET`` at the root, and at other joints if their median is nearer to it than to zero;
    otherwise they are added to it.
    Raises ``RawDataError``, with the line, for a corrupt file: two roots or joints of one name, unknown channels, too
    few or too many numbers in a line, words that are not numbers, a number of lines other than the stated number of
    frames (a cut file), and more than 500 joints or 4 million joints x frames.
    """
    path = Path(path)
    tokens = text.Tokens(path, "BVH")
    tokens.expect("HIERARCHY")
    tokens.expect("ROOT")
    joints: list[_Joint] = []
    _joint(tokens, tokens.name("a joint name"), -1, 0, joints)
    names = tuple(joint.name for joint in joints)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise tokens.fail(f"two joints have the same name '{twice}'")
    word = tokens.next("'MOTION'")
    if word.upper() == "ROOT":
        raise tokens.fail(f"a second skeleton begins after '{names[0]}'", "keep one person per file")
    if word.upper() != "MOTION":
        raise tokens.fail(f"expected 'MOTION', found '{word}'")
    values, stated_hz, notes = _frames(tokens, joints, rate_hz)
    positions, orientations = _kinematics(joints, values)
    rest, _ = _kinematics([_Joint(joint.name, joint.parent, joint.offset, ()) for joint in joints], np.zeros((1, 0)))
    parents = tuple(joint.parent for joint in joints)
    raw = Motion(names, parents, positions, orientations, stated_hz, rest[0], source=str(path), notes=notes)
    return finished(raw, mm_per_unit, drop_rest_frame, roles=roles)


def _joint(tokens: text.Tokens, name: str, parent: int, depth: int, joints: list[_Joint]) -> None:
    if depth > text.MOST_DEPTH or len(joints) >= text.MOST_JOINTS:
        raise tokens.fail(
            f"joints are nested more than {text.MOST_DEPTH} deep, or there are more than {text.MOST_JOINTS}"
        )
    tokens.expect("{")
    index = len(joints)
    joint = _Joint(name, parent, (0.0, 0.0, 0.0), ())
    joints.append(joint)
    seen = set()
    while True:
        word = tokens.next("'OFFSET', 'CHANNELS', 'JOINT', 'End' or '}'")
        kind = word.upper()
        if kind in ("OFFSET", "CHANNELS") and kind in seen:
            raise tokens.fail(f"'{name}' has a second {kind}")
        seen.add(kind)
        match kind:
            case "}":
                if "OFFSET" not in seen:
                    raise tokens.fail(f"'{name}' has no OFFSET")
                return
            case "OFFSET":
                x, y, z = (tokens.number("an offset") for _ in range(3))
                joint.offset = (x, y, z)
            case "CHANNELS":
                joint.channels = _channels(tokens)
            case "JOINT":
                _joint(tokens, tokens.name("a joint name"), index, depth + 1, joints)
            case "END" | "ENDSITE":
                if kind == "END":
                    tokens.expect("Site")
                tokens.skip_to_brace()
                taken = {one.name for one in joints}
                endings = (f"{name}_end", *(f"{name}_end{number}" for number in range(2, text.MOST_JOINTS + 2)))
                _joint(tokens, next(end for end in endings if end not in taken), index, depth + 1, joints)
            case "ROOT":
                raise tokens.fail(f"a second root stands inside '{name}'", "keep one person per file")
            case _:
                raise tokens.fail(f"expected 'OFFSET', 'CHANNELS', 'JOINT', 'End' or '}}', found '{word}'")


def _channels(tokens: text.Tokens) -> tuple[tuple[str, int], ...]:
    found = []
    for _ in range(tokens.count("a number of channels", 6)):
        channel = tokens.next("a channel")
        if channel.upper() not in _CHANNELS:
            raise tokens.fail(f"unknown channel '{channel}'")
        found.append(_CHANNELS[channel.upper()])
    return tuple(found)


def _frames(
    tokens: text.Tokens, joints: list[_Joint], given_hz: float | None
) -> tuple[FloatArray, float, tuple[str, ...]]:
    """Read the (F, channels) numbers, the frames per second (``given_hz`` counts where there is one), and what was
    odd."""
    frames = tokens.count("a number of frames", int(text.MOST), tokens.field("Frames"))
    if frames * len(joints) > text.MOST_JOINT_FRAMES:
        raise tokens.fail(f"{frames} frames of {len(joints)} joints are too many", "cut it into clips")
    printed = tokens.field("Frame Time")
    period_s = tokens.number("a frame time", printed)
    if frames < 1 or (given_hz is None and not 1e-4 <= period_s <= 1):
        said = f"expected frames of 0.0001 to 1 s, found {frames} of {period_s:g} s"
        if frames < 1 or period_s <= 1:
            raise tokens.fail(said)
        hint = f"'Frame Time:' is in seconds: if these are milliseconds, write {period_s / 1000:g}"
        raise tokens.fail(said, f"{hint}, or give the frames per second with --motion-rate")
    width = sum(len(joint.channels) for joint in joints)
    values = array("d")
    count = 0
    while (words := tokens.next_line()) is not None:
        if not words:
            continue
        count += 1
        if count > frames + 1:
            raise tokens.fail(f"more than the {frames} lines of numbers that 'Frames:' states", "correct 'Frames:'")
        if len(words) != width:
            raise tokens.fail(f"expected {width} numbers for frame {count}, found {len(words)}")
        row = text.numbers_of(words)
        if row is None:
            wrong = next(word for word in words if text.number_of(word) is None)
            raise tokens.fail(f"expected numbers of plausible size in frame {count}, found '{wrong}'")
        values += row
    if count < frames:
        raise tokens.fail(
            f"expected {frames} frames ('Frames:'), but the file ends after {count}", "the file is cut off"
        )
    odd = (f"{count} frames where 'Frames:' states {frames}",) if count > frames else ()
    return np.array(values).reshape(count, width), given_hz or _rate_hz(period_s, printed), odd


def _rate_hz(period_s: float, printed: str) -> float:
    """Return the only whole rate whose frame time prints as ``printed`` (120 for 0.0083333), else the exact one."""
    half_digit = 0.5 * 10.0 ** -len(printed.partition(".")[2]) if printed.replace(".", "", 1).isdecimal() else 0.0
    least, most = 1 / (period_s + half_digit), 1 / max(period_s - half_digit, 1e-9)
    whole = np.ceil(least)
    return float(whole) if whole <= most < whole + 1 else 1 / period_s


def _kinematics(joints: list[_Joint], values: FloatArray) -> tuple[FloatArray, FloatArray]:
    frames = len(values)
    positions = np.zeros((frames, len(joints), 3))
    orientations = np.zeros((frames, len(joints), 3, 3))
    column = 0
    for index, joint in enumerate(joints):
        local = np.broadcast_to(np.eye(3), (frames, 3, 3))
        moved: dict[int, FloatArray] = {}
        for kind, axis in joint.channels:
            if kind == "rotation":
                local = local @ axis_rotation(axis, np.radians(values[:, column]))
            else:
                moved[axis] = values[:, column]
            column += 1
        shift = _shift(joint, moved, frames)
        if joint.parent < 0:
            positions[:, index], orientations[:, index] = shift, local
        else:
            parent = orientations[:, joint.parent]
            positions[:, index] = positions[:, joint.parent] + np.einsum("fij,fj->fi", parent, shift)
            orientations[:, index] = parent @ local
    return positions, orientations


def _shift(joint: _Joint, moved: dict[int, FloatArray], frames: int) -> FloatArray:
    """Return (F, 3) the joint's offset from its parent, in the parent's frame."""
    offset = np.array(joint.offset)
    if not moved:
        return np.broadcast_to(offset, (frames, 3))
    path = np.tile(offset, (frames, 1))
    for axis, values in moved.items():
        path[:, axis] = values
    usual = np.median(path, axis=0)
    if joint.parent < 0 or np.linalg.norm(usual - offset) < np.linalg.norm(usual):
        return path
    path[:, list(moved)] += offset[list(moved)]
    return path
