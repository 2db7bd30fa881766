"""UBC3V's cameras: intrinsics of two kinds, and the rotation from Maya's Euler angles by two independent rules.

World: Maya's, right-handed, Y up. Camera: x right, y down, z forward.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.records import Camera

FloatArray = npt.NDArray[np.float64]

SIZE_PX = (512, 424)
_MAYA_FOCAL_PX = 25.422 / 36.0 * SIZE_PX[0]
"""361.56 px: Maya's 25.422 mm on its default 36 mm horizontal aperture, horizontal film fit."""
_KINECT2_FOCAL_PX = 366.370858
_KINECT2_CENTER_PX = (257.864685, 205.123200)
_KINECT2_RADIAL = (0.0959123, -0.2738710, 0.0934708)


def camera(intrinsics: str, rotation: FloatArray, translate_cm: npt.NDArray[Any]) -> Camera:
    """Return the full-frame camera from a (3, 3) rotation world -> camera and a (3,) centre, world cm.

    ``kinect2`` is the toolkit's table: it reads the table's x mirrored, so the principal point is mirrored here.
    """
    pose = {"rotation": rotation, "position_world_mm": np.asarray(translate_cm, np.float64).reshape(3) * 10.0}
    width, height = SIZE_PX
    if intrinsics == "kinect2":
        k1, k2, k3 = _KINECT2_RADIAL
        cx, cy = _KINECT2_CENTER_PX
        return Camera.pinhole(
            (_KINECT2_FOCAL_PX, _KINECT2_FOCAL_PX),
            (width - 1 - cx, cy),
            SIZE_PX,
            distortion=np.array([k1, k2, 0.0, 0.0, k3]),
            **pose,
        )
    center = ((width - 1) / 2, (height - 1) / 2)
    return Camera.pinhole((_MAYA_FOCAL_PX, _MAYA_FOCAL_PX), center, SIZE_PX, **pose)


def _turn(axis: str, angle_deg: float) -> FloatArray:
    """Return the (3, 3) right-handed rotation about an axis."""
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array(
        {
            "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[axis]
    )


def closed_form_rotation(rotate_deg: npt.NDArray[Any]) -> FloatArray:
    """Return (3, 3) world -> camera from (3,) Maya Euler angles, order xyz: diag(1,-1,-1) (Rz Ry Rx)^T."""
    rx, ry, rz = (float(angle) for angle in np.ravel(rotate_deg))
    return np.diag([1.0, -1.0, -1.0]) @ (_turn("z", rz) @ _turn("y", ry) @ _turn("x", rx)).T


def toolkit_rotation(rotate_deg: npt.NDArray[Any], translate_cm: npt.NDArray[Any]) -> FloatArray:
    """Return (3, 3) world -> camera from (3,) Euler angles and (3,) centre by the branches of
    ``generate_cloud_camera.m``.

    They ignore the z angle and hold for roll-free cameras that look down at the origin. The toolkit's camera axes are
    x to the image's left, y up, z forward.
    """
    rx, ry, _ = (float(angle) for angle in np.ravel(rotate_deg))
    tx, _, tz = (float(length) for length in np.ravel(translate_cm))
    ax = 180.0 - rx if rx > 0 else -rx
    ay = -ry if (tx * tz > 0) == (ry < 0) else ry - 180.0
    return np.diag([-1.0, -1.0, 1.0]) @ (_turn("y", ay) @ _turn("x", ax)).T


def roll_is_stored(rotate_deg: npt.NDArray[Any], tolerance_deg: float = 0.01) -> bool:
    """Return whether the z angle is 0 or +-180 degrees, as for a roll-free camera; it was lost at export otherwise."""
    rz = float(np.ravel(rotate_deg)[2])
    return abs(rz - 180.0 * round(rz / 180.0)) <= tolerance_deg


def rotation(rotate_deg: npt.NDArray[Any], translate_cm: npt.NDArray[Any]) -> FloatArray:
    """Return (3, 3) world -> camera from (3,) Euler angles and (3,) centre: by the closed form, or by the toolkit's
    branches where the z angle was lost."""
    if roll_is_stored(rotate_deg):
        return closed_form_rotation(rotate_deg)
    return toolkit_rotation(rotate_deg, translate_cm)


def rules_agree(rotate_deg: npt.NDArray[Any], translate_cm: npt.NDArray[Any]) -> bool:
    """Return whether both rules give the same rotation, to 0.05 degrees, for (3,) angles and a (3,) centre.

    True where only the toolkit's rule can be used.
    """
    if not roll_is_stored(rotate_deg):
        return True
    difference = closed_form_rotation(rotate_deg) - toolkit_rotation(rotate_deg, translate_cm)
    return bool(np.abs(difference).max() < 1e-3)
