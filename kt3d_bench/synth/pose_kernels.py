"""The loops of ``rig`` and ``poses``, compiled: rotations from angles, the joint tree, and tests of distance.

Shapes: F frames, R rig joints, D named angles, T turns, P points, K tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth.compiled import compiled

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@compiled
def _turn(x: float, y: float, z: float, turn: Array) -> None:
    """Write the rotation by the vector (x, y, z) rad into ``turn`` (3, 3), by Rodrigues' formula."""
    square = x * x + y * y + z * z
    angle = np.sqrt(square)
    small = angle < 1e-8
    first = 1.0 if small else np.sin(angle) / angle
    second = 0.5 if small else (1.0 - np.cos(angle)) / square
    turn[0, 0], turn[0, 1], turn[0, 2] = (
        1.0 - second * (y * y + z * z), second * x * y - first * z, second * x * z + first * y
    )  # fmt: skip
    turn[1, 0], turn[1, 1], turn[1, 2] = (
        second * x * y + first * z, 1.0 - second * (x * x + z * z), second * y * z - first * x
    )  # fmt: skip
    turn[2, 0], turn[2, 1], turn[2, 2] = (
        second * x * z - first * y, second * y * z + first * x, 1.0 - second * (x * x + y * y)
    )  # fmt: skip


@compiled
def _times(a: Array, b: Array, product: Array) -> None:
    """Write the product of two (3, 3) matrices into a third, which is neither."""
    for i in range(3):
        for j in range(3):
            product[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@compiled
def rotations(angles_deg: Array, joints: int, joint_of: Ints, angle_of: Ints, factor_of: Array) -> Array:
    """Return (F, R, 3, 3) rotations of ``joints`` joints from (F, D) angles, degrees.

    A joint's rotation is the product of its turns, in order. Turn t is by the rotation vector whose component c is
    ``factor_of[t, c]`` times the angle ``angle_of[t, c]`` (-1 = none) and belongs to the joint ``joint_of[t]``.
    """
    count = len(angles_deg)
    found = np.zeros((count, joints, 3, 3))
    radian = np.pi / 180.0
    vector, turn, before = np.empty(3), np.empty((3, 3)), np.empty((3, 3))
    for frame in range(count):
        for joint in range(joints):
            for axis in range(3):
                found[frame, joint, axis, axis] = 1.0
        for index in range(len(joint_of)):
            for axis in range(3):
                angle = angle_of[index, axis]
                vector[axis] = angles_deg[frame, angle] * radian * factor_of[index, axis] if angle >= 0 else 0.0
            _turn(vector[0], vector[1], vector[2], turn)
            own = found[frame, joint_of[index]]
            before[:, :] = own
            _times(before, turn, own)
    return found


@compiled
def tree(offsets_mm: Array, turns: Array, root_mm: Array, parents: Ints) -> tuple[Array, Array]:
    """Return (F, R, 3) positions and (F, R, 3, 3) orientations; ``offsets_mm`` (1 or F, R, 3), ``turns``
    (F, R, 3, 3) parent-relative, ``root_mm`` (F, 3), ``parents`` (R,), each smaller than its child or -1."""
    count, joints = turns.shape[:2]
    positions, frames = np.empty((count, joints, 3)), np.empty((count, joints, 3, 3))
    for frame in range(count):
        offsets = offsets_mm[frame if len(offsets_mm) > 1 else 0]
        for joint in range(joints):
            parent = parents[joint]
            if parent < 0:
                positions[frame, joint] = root_mm[frame]
                frames[frame, joint] = turns[frame, joint]
            else:
                for axis in range(3):
                    way = frames[frame, parent, axis]
                    positions[frame, joint, axis] = (
                        positions[frame, parent, axis]
                        + way[0] * offsets[joint, 0] + way[1] * offsets[joint, 1] + way[2] * offsets[joint, 2]
                    )  # fmt: skip
                _times(frames[frame, parent], turns[frame, joint], frames[frame, joint])
    return positions, frames


@compiled
def too_close(points_mm: Array, tests: Ints, limits_mm: Array) -> npt.NDArray[np.bool_]:
    """Return (F,) whether, in one of the tests (K, 3), the third point is within ``limits_mm`` (K,) of the segment from
    the first to the second; ``points_mm`` (F, P, 3)."""
    found = np.zeros(len(points_mm), np.bool_)
    for frame in range(len(points_mm)):
        points = points_mm[frame]
        for test in range(len(tests)):
            a, b, point = points[tests[test, 0]], points[tests[test, 1]], points[tests[test, 2]]
            inner, length = 0.0, 0.0
            for axis in range(3):
                along = b[axis] - a[axis]
                inner += (point[axis] - a[axis]) * along
                length += along * along
            share = min(max(inner / max(length, 1e-9), 0.0), 1.0)
            square = 0.0
            for axis in range(3):
                apart = point[axis] - a[axis] - share * (b[axis] - a[axis])
                square += apart * apart
            if square < limits_mm[test] * limits_mm[test]:
                found[frame] = True
                break
    return found


@compiled
def placed(positions: Array, frames: Array, joints: Ints, points: Array) -> Array:
    """Return (F, P, 3) points given in the frames of their joints: positions (F, R, 3), orientations (F, R, 3, 3),
    ``joints`` (P,) and ``points`` (1 or F, P, 3)."""
    count = len(positions)
    world = np.empty((count, len(joints), 3))
    for frame in range(count):
        local = points[frame if len(points) > 1 else 0]
        for index in range(len(joints)):
            joint = joints[index]
            for axis in range(3):
                way = frames[frame, joint, axis]
                world[frame, index, axis] = (
                    positions[frame, joint, axis]
                    + way[0] * local[index, 0] + way[1] * local[index, 1] + way[2] * local[index, 2]
                )  # fmt: skip
    return world


def float_rows(values: npt.NDArray[Any]) -> Array:
    """Return the values as the loops take them: float64, contiguous and writable, so that each compiles once."""
    return np.require(values, np.float64, ["C", "W"])
