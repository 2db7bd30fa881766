"""The camera of a picture that nobody calibrated: given, recorded by the camera, or a stated guess."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.records import Camera
from kt3d_bench.schema import STRICT, Positive, checked, read_yaml

FIELD_OF_VIEW = 60.0
"""Degrees across the longer side of a picture whose camera is not known: a phone's main camera has about 65, a webcam
60, a depth camera 58 to 75."""
_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
_HINT = "give --camera fx,fy,cx,cy or a YAML or JSON file with fx, fy, cx, cy and perhaps distortion, width, height"


@dataclass(frozen=True)
class Calibration:
    """A camera as a user writes it down: px of the upright picture, pixel centres at integer coordinates."""

    __pydantic_config__ = STRICT
    fx: Positive
    fy: Positive
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """k1, k2, p1, p2, k3 in OpenCV's order."""
    tangential_factor: float = 2.0
    """See ``records.Camera``."""
    width: int | None = None
    height: int | None = None
    """Of the picture that it was measured for, where that is known."""


def read_calibration(given: str | Path) -> Calibration:
    """Return a calibration given as ``"fx,fy,cx,cy"`` or as a YAML or JSON file with the fields of ``Calibration``.

    Raises ``UsageError`` naming every field that is unknown, missing or wrong.
    """
    parts = str(given).split(",")
    content: Any = None
    if len(parts) > 1 and not Path(given).exists():
        try:
            content = dict(zip(("fx", "fy", "cx", "cy"), map(float, parts), strict=True))
        except ValueError:
            raise UsageError(f"--camera needs four numbers, found '{given}'", hint=_HINT) from None
    elif not Path(given).is_file():
        raise UsageError("there is no such camera file", where=str(given), hint=_HINT)
    else:
        content = read_yaml(Path(given), error=UsageError, hint=_HINT)
    found, wrong = checked(Calibration, content)
    if found is None or wrong:
        raise UsageError("; ".join(wrong), where=f"--camera {given}", hint=_HINT)
    return found


def camera_of(
    size_px: tuple[int, int], calibration: Calibration | None, focal_35mm: float | None, where: str
) -> tuple[Camera, str]:
    """Return the camera of a picture of (width, height) ``size_px``, and where it comes from: one sentence.

    Without a calibration the focal length is what the picture records, in 35-mm equivalents (of the diagonal, as CIPA
    DCG-001 defines them), else that of a field of view of 60 degrees. Raises ``RawDataError`` where the calibration is
    that of another picture or its focal length cannot be.
    """
    width, height = size_px
    middle = (width - 1) / 2, (height - 1) / 2
    if calibration is None:
        focal = max(size_px) / 2 / math.tan(math.radians(FIELD_OF_VIEW) / 2)
        told = f"camera: assumed, {FIELD_OF_VIEW:.0f} degrees across the longer side; --camera gives it"
        if focal_35mm is not None:
            focal = focal_35mm / _FILM_DIAGONAL_MM * math.hypot(*size_px)
            told = f"camera: as the picture records it, a focal length of {focal_35mm:g} mm (35-mm equivalent)"
        return Camera.pinhole((focal, focal), middle, size_px), told
    stated = calibration.width, calibration.height
    if any(one is not None and one != own for one, own in zip(stated, size_px, strict=True)):
        what = f"has {width} x {height} px, and the camera is that of a picture of {stated[0]} x {stated[1]}"
        raise RawDataError(what, where=where, hint="give the camera of this picture, upright")
    if not (0 <= calibration.cx <= width and 0 <= calibration.cy <= height):
        what = f"has {width} x {height} px, and the camera's centre lies outside ({calibration.cx}, {calibration.cy})"
        raise RawDataError(what, where=where, hint="give the camera of this picture as fx,fy,cx,cy, in px")
    longest = 100.0 * max(size_px)
    if not all(1 <= focal_px <= longest for focal_px in (calibration.fx, calibration.fy)):
        what = f"has {width} x {height} px, and the camera's focal lengths are ({calibration.fx:g}, {calibration.fy:g})"
        raise RawDataError(what, where=where, hint=f"give 1 to {longest:g} px")
    return Camera.pinhole(
        (calibration.fx, calibration.fy),
        (calibration.cx, calibration.cy),
        size_px,
        distortion=calibration.distortion,
        tangential_factor=calibration.tangential_factor,
    ), "camera: given"
