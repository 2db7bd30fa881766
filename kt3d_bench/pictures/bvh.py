"""Write poses as BVH, for animation tools: y up, x to the left of a person who faces the camera, mm.

Bones keep one length, the median over the clip, and joints get rotations that turn them where the poses have them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import UsageError
from kt3d_bench.pictures.scale import usual_lengths_mm
from kt3d_bench.skeletons import H36M17

FloatArray = npt.NDArray[np.float64]
TO_BVH = np.array([1.0, -1.0, -1.0])
"""Camera axes (x right, y down, z forward) -> BVH axes (y up, z towards the camera)."""
_REST = {
    "right_hip": (-1, 0, 0), "left_hip": (1, 0, 0), "spine": (0, 1, 0), "thorax": (0, 1, 0), "nose": (0, 1, 0.3),
    "head": (0, 1, -0.3), "left_shoulder": (1, -0.1, 0), "left_elbow": (1, 0, 0), "left_wrist": (1, 0, 0),
    "right_shoulder": (-1, -0.1, 0), "right_elbow": (-1, 0, 0), "right_wrist": (-1, 0, 0),
}  # fmt: skip
"""Direction from the parent at rest, arms outstretched; (0, -1, 0) for the legs."""
_CHILDREN = {joint: [child for child, parent in H36M17.bones if parent == joint] for joint in range(len(H36M17))}
_ORDER = [0, *(child for child, _ in H36M17.bones)]


def even_clip(joints_cam_mm: FloatArray, times_s: FloatArray) -> tuple[FloatArray, float]:
    """Return (F, 17, 3) mm at even times, without gaps, and their rate in Hz.

    ``joints_cam_mm`` (T, 17, 3), NaN = absent, at ``times_s`` (T,), which may be uneven: values between are linear. A
    joint that is never there takes its place at rest. Raises ``UsageError`` where the hip is never there.
    """
    seconds = float(times_s[-1] - times_s[0])
    rate_hz = (len(times_s) - 1) / seconds if seconds > 0 else 30.0
    even_s = times_s[0] + np.arange(len(times_s)) / rate_hz
    filled = np.full(joints_cam_mm.shape, np.nan)
    for joint in range(len(H36M17)):
        there = np.isfinite(joints_cam_mm[:, joint]).all(axis=-1)
        if there.any():
            for axis in range(3):
                known = joints_cam_mm[there, joint, axis]
                filled[:, joint, axis] = np.interp(even_s, times_s[there], known)
        elif joint == H36M17.root:
            raise UsageError("the hip is never in the picture, so there is no motion to write as BVH")
        else:
            parent = H36M17.parents[joint]
            bone = usual_lengths_mm()[joint - 1] * _directions()[joint]
            filled[:, joint] = filled[:, parent] + bone * TO_BVH
    return filled, rate_hz


def bvh_text(joints_cam_mm: FloatArray, rate_hz: float) -> str:
    """Return the text of a BVH file of (F, 17, 3) mm in the camera frame, without gaps, at ``rate_hz``."""
    from scipy.spatial.transform import Rotation

    positions = np.asarray(joints_cam_mm, np.float64) * TO_BVH
    lengths = np.array([0.0, *np.median(H36M17.bone_lengths(positions), axis=0)])
    rest = _fitted_rest(positions)
    global_turns = np.tile(np.eye(3), (len(positions), len(H36M17), 1, 1))
    local_turns = global_turns.copy()
    for joint in _ORDER:
        parent = H36M17.parents[joint]
        above = global_turns[:, parent] if parent >= 0 else np.tile(np.eye(3), (len(positions), 1, 1))
        children = _CHILDREN[joint]
        if children:
            toward = positions[:, children] - positions[:, [joint]]
            local = np.einsum("fji,fcj->fci", above, toward)
            local_turns[:, joint] = _turns(rest[children], local)
        global_turns[:, joint] = above @ local_turns[:, joint]
    flat = Rotation.from_matrix(local_turns.reshape(-1, 3, 3)).as_euler("ZXY", degrees=True)
    angles = np.unwrap(flat.reshape(len(positions), len(H36M17), 3), axis=0, period=360)
    offsets = rest * lengths[:, None]
    lines = ["HIERARCHY", *_hierarchy(0, offsets, 0), "MOTION", f"Frames: {len(positions)}"]
    lines.append(f"Frame Time: {1 / rate_hz:.7f}")
    values = np.concatenate([positions[:, 0], angles[:, _written(0)].reshape(len(positions), -1)], axis=1)
    lines += [" ".join(f"{value:.4f}" for value in row) for row in values]
    return "\n".join(lines) + "\n"


def _directions() -> FloatArray:
    given = np.array([_REST.get(name, (0, -1, 0)) for name in H36M17.joints], np.float64)
    unit: FloatArray = given / np.linalg.norm(given, axis=1, keepdims=True)
    return unit


def _fitted_rest(positions: FloatArray) -> FloatArray:
    """Return (17, 3) directions at rest; where several bones leave one joint, with the angles that they have in the
    clip, on average."""
    rest = _directions()
    for joint, children in _CHILDREN.items():
        if len(children) > 1:
            toward = positions[:, children] - positions[:, [joint]]
            toward = toward / np.maximum(np.linalg.norm(toward, axis=-1, keepdims=True), 1e-9)
            mean = np.einsum("fji,fcj->fci", _turns(rest[children], toward), toward).mean(axis=0)
            rest[children] = mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-9)
    return rest


def _turns(rest: FloatArray, toward: FloatArray) -> FloatArray:
    """(C, 3) directions and (F, C, 3) where they point -> (F, 3, 3) rotations: the smallest one for one direction, the
    nearest one (Kabsch, Acta Cryst. A32, 1976) for several."""
    unit = toward / np.maximum(np.linalg.norm(toward, axis=-1, keepdims=True), 1e-9)
    if len(rest) > 1:
        u, _, vt = np.linalg.svd(np.einsum("fci,cj->fij", unit, rest))
        signs = np.ones((len(unit), 3))
        signs[:, 2] = np.linalg.det(u @ vt)
        turned: FloatArray = (u * signs[:, None]) @ vt
        return turned
    start, end = rest[0], unit[:, 0]
    cosine: FloatArray = end @ start
    axis = np.cross(start, end)
    skew = np.zeros((len(end), 3, 3))
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    skew -= np.swapaxes(skew, 1, 2)
    turn: FloatArray = np.eye(3) + skew + skew @ skew / np.maximum(1 + cosine, 1e-12)[:, None, None]
    opposite = cosine < -1 + 1e-9
    aside = np.cross(start, np.eye(3)[np.abs(start).argmin()])
    aside /= np.linalg.norm(aside)
    turn[opposite] = 2 * np.outer(aside, aside) - np.eye(3)
    return turn


def _written(joint: int) -> list[int]:
    """Return the joints in the order of the file: each before its children, depth first."""
    return [joint, *(below for child in _CHILDREN[joint] for below in _written(child))]


def _hierarchy(joint: int, offsets: FloatArray, depth: int) -> list[str]:
    pad, inner = "  " * depth, "  " * (depth + 1)
    place = "Xposition Yposition Zposition " if depth == 0 else ""
    lines = [
        f"{pad}{'ROOT' if depth == 0 else 'JOINT'} {H36M17.joints[joint]}",
        f"{pad}{{",
        f"{inner}OFFSET {' '.join(f'{value:.4f}' for value in offsets[joint])}",
        f"{inner}CHANNELS {6 if depth == 0 else 3} {place}Zrotation Xrotation Yrotation",
    ]
    for child in _CHILDREN[joint]:
        lines += _hierarchy(child, offsets, depth + 1)
    if not _CHILDREN[joint]:
        end = " ".join(f"{value:.4f}" for value in 0.3 * offsets[joint])
        lines += [f"{inner}End Site", f"{inner}{{", f"{inner}  OFFSET {end}", f"{inner}}}"]
    return [*lines, f"{pad}}}"]
