"""Draw skeletons over pictures, and write them as images and videos. Left limbs blue, right ones red."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import ArtefactError
from kt3d_bench.skeletons import H36M17

Image = npt.NDArray[np.uint8]
LONGEST_PX = 1600
"""Of an overlay; larger pictures are reduced."""
_LEFT, _RIGHT, _MIDDLE, _HALO = (64, 156, 255), (255, 82, 68), (250, 250, 250), (0, 0, 0)
_SIDES = {left: _LEFT for _, left in H36M17.mirror_pairs} | {right: _RIGHT for right, _ in H36M17.mirror_pairs}


def shown(image: npt.NDArray[Any]) -> Image:
    """(H, W, 3) RGB as it is, (H, W) depth in mm as a picture."""
    from kt3d_bench.report.samples import shaded

    return image if image.ndim == 3 else shaded(image)


def overlay(image: npt.NDArray[Any], poses_px: Sequence[npt.NDArray[np.float64]]) -> Image:
    """Return a picture (H, W, 3) with skeletons (17, 2) px over it, its longer side at most ``LONGEST_PX``."""
    import cv2

    picture = shown(image)
    scale = min(1.0, LONGEST_PX / max(picture.shape[:2]))
    width, height = (max(1, round(side * scale)) for side in picture.shape[1::-1])
    drawn = np.array(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    for joints_px in poses_px:
        size = scale * _extent(joints_px)
        thick = max(1, round(size / 120))
        points = np.clip((joints_px + 0.5) * scale - 0.5, -1e4, 1e4)
        for halo in (True, False):
            _bones(drawn, points, thick, halo)
    return drawn


def _extent(points: npt.NDArray[np.float64]) -> float:
    """Return the longer side of what is finite, 0 for nothing."""
    known = points[np.isfinite(points).all(axis=1)]
    return float(np.ptp(known, axis=0).max()) if len(known) else 0.0


def _bones(image: Image, points: npt.NDArray[np.float64], thick: int, halo: bool) -> None:
    import cv2

    def at(point: npt.NDArray[np.float64]) -> tuple[int, int]:
        return round(float(point[0]) * 16), round(float(point[1]) * 16)

    known = np.asarray(np.isfinite(points).all(axis=1))
    more = thick + 2 if halo else thick
    for child, parent in H36M17.bones:
        if known[child] and known[parent]:
            colour = _HALO if halo else _SIDES.get(child, _MIDDLE)
            cv2.line(image, at(points[child]), at(points[parent]), colour, more, cv2.LINE_AA, 4)
    for joint in np.flatnonzero(known).tolist():
        colour = _HALO if halo else _SIDES.get(joint, _MIDDLE)
        cv2.circle(image, at(points[joint]), (thick + 1 + halo) * 16, colour, cv2.FILLED, cv2.LINE_AA, 4)


def encoded(image: Image, quality: int = 90) -> bytes:
    """Return an (H, W, 3) RGB picture as JPEG."""
    import simplejpeg

    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality, colorspace="RGB")
    return data


class VideoWriter:
    """Writes an MP4 frame by frame, at the times of the original frames."""

    def __init__(self, path: Path) -> None:
        self._path, self._begun = path, path.with_name(f".{path.name}.tmp")
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def __enter__(self) -> Self:
        return self

    def add(self, image: Image, time_s: float) -> None:
        """Append a picture. The sides are cut to even numbers, which the codec needs."""
        import av

        height, width = (side - side % 2 for side in image.shape[:2])
        if not width or not height:
            return
        try:
            if self._container is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._container = av.open(str(self._begun), "w", format="mp4")
                codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
                self._stream = self._container.add_stream(codec, rate=30)
                self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
                self._stream.codec_context.time_base = Fraction(1, 90000)
                self._stream.codec_context.thread_count = 1
                self._stream.options = {"preset": "veryfast"} if codec == "libx264" else {}
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
            frame.pts = self._last = max(self._last + 1, round(time_s * 90000))
            frame.time_base = Fraction(1, 90000)
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise ArtefactError(f"cannot be written ({error})", where=self._path, hint="free space") from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Finish the file; after an exception, remove it."""
        if self._container is None:
            return
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if kind is None:
                self._begun.replace(self._path)
        finally:
            self._begun.unlink(missing_ok=True)
