"""What goes with the chosen frames of a video: RGB images, every frame up to the last pose accounted for, and boxes.

The official person boxes are MATLAB v7.3 files of one mask per frame, ones inside the box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.crops import box_from_mask
from kt3d_bench.rawfiles import own_dataset, reading

_CONTAINER = "mov,mp4,m4a,3gp,3g2,mj2"
"""FFmpeg's name of the reader of .mp4. Left to itself it would also take a playlist, and open the files it names."""
_MOST_MORE = 30
"""Frames that a video may have beyond its poses: those that ``metadata.xml`` lists have up to 14 more."""
_SHORT_POSES = ("S9 Greeting", "S9 Phoning", "S9 SittingDown 1", "S9 Waiting 1", "S9 Walking")
"""Recordings whose official pose files end 146 to 1778 frames before their videos."""
_HINT = "unpack or download the archive again and compare its MD5; --drop leaves the recording out"


def frames_rgb(
    path: Path, poses: int, every: int, *, where: str, name: str
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield (frame number, (H, W, 3) RGB) of every ``every``-th frame below ``poses``. Longer videos are cut.

    Decoders disagree by a frame now and then, so all ``poses`` frames are decoded and counted.
    Raises ``RawDataError`` for ``where`` when the video is damaged, shorter than ``poses``, or so much longer that it
    is another recording's. ``name``: title of the recording, and camera.
    """
    import av

    _check_whole(path, where)
    count = 0
    try:
        with av.open(str(path), format=_CONTAINER) as container:
            if not container.streams.video:
                raise RawDataError("holds no video", where=where, hint=_HINT)
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise RawDataError("is coded in a way that cannot be decoded here", where=where, hint=_HINT)
            if max(stream.codec_context.width, stream.codec_context.height) > _LARGEST_SIDE_PX:
                size = f"{stream.codec_context.width} x {stream.codec_context.height}"
                raise RawDataError(f"claims frames of {size} pixels", where=where, hint=_HINT)
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode"}
            most = poses + _MOST_MORE if name.rpartition(" ")[0] not in _SHORT_POSES else stream.frames
            if stream.frames and not poses <= stream.frames <= most:
                raise _unequal(where, stream.frames, poses, name)
            for frame in container.decode(stream):
                if count % every == 0:
                    yield count, _rgb(frame)
                count += 1
                if count == poses:
                    return
    except (av.FFmpegError, ValueError) as error:
        raise RawDataError(
            f"cannot be decoded after frame {count} of {poses} ({error})", where=where, hint=_HINT
        ) from error
    raise _unequal(where, count, poses, name)


def spread_pictures(path: Path, count: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield up to ``count`` different (H, W, 3) RGB pictures spread over a video: the last before each place at which
    decoding can start. Of a damaged video fewer, or none."""
    import av

    seen: set[int | None] = set()
    with suppress(av.FFmpegError, ValueError, OSError), av.open(str(path), format=_CONTAINER) as container:
        stream = container.streams.video[0] if container.streams.video else None
        if stream is None or stream.codec_context is None:
            return
        if max(stream.codec_context.width, stream.codec_context.height) > _LARGEST_SIDE_PX:
            return
        stream.codec_context.thread_count = 1
        for number in range(count):
            container.seek((stream.start_time or 0) + (stream.duration or 0) * number // count, stream=stream)
            frame = next(iter(container.decode(stream)), None)
            if frame is not None and frame.pts not in seen:
                seen.add(frame.pts)
                yield _rgb(frame)


def _rgb(frame: Any) -> npt.NDArray[np.uint8]:
    """Convert without threads of its own: PyAV would start as many as there are cores, anew for each frame."""
    return np.asarray(frame.to_ndarray(format="rgb24", threads=1), np.uint8)


def _check_whole(path: Path, where: str) -> None:
    """Raise ``RawDataError`` when the file ends inside one of its boxes (ISO 14496-12): what is cut off the end of a
    video may go unnoticed otherwise. Files of other containers pass."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at < size:
            file.seek(at)
            head = file.read(16)
            if at == 0 and head[4:8] != b"ftyp":
                return
            length = int.from_bytes(head[:4])
            length = int.from_bytes(head[8:16]) if length == 1 else length or size - at
            if length < 8 or len(head) < 8 or at + length > size:
                raise RawDataError(f"cannot be decoded: it ends at byte {size}, inside a box", where=where,
                                   hint=_HINT)  # fmt: skip
            at += length


def _unequal(where: str, frames: int, poses: int, name: str) -> RawDataError:
    return RawDataError(
        f"has {frames} frames for {poses} poses, so frames and poses cannot be matched",
        where=where,
        hint=f'unpack or download video and poses again, or leave it out with --drop "{name}"',
    )


_LARGEST_SIDE_PX, _MOST_MASKS = 4096, 1_000_000
_BOXES_HINT = "unpack or download the Segments_mat_gt_bb archive again"


def read_boxes(path: Path, frames: Sequence[int], *, where: str) -> npt.NDArray[np.float64]:
    """Read (len(``frames``), 4) x0, y0, x1, y1 px: centres of the first and last pixels inside; NaN for an empty mask.

    Dataset ``Masks`` holds n object references, each to a mask stored width x height. Raises ``RawDataError`` naming
    ``where`` when that is not what is there, a frame is missing, or data lies in another file.
    """
    import h5py

    boxes = np.full((len(frames), 4), np.nan)
    with reading(where, _BOXES_HINT), h5py.File(path, "r") as file:
        references = own_dataset(file, "Masks", where, _BOXES_HINT)
        needed = max(frames, default=0) + 1
        if references.dtype != h5py.ref_dtype or not needed <= references.size <= _MOST_MASKS:
            raise RawDataError(
                f"Masks is {references.dtype} {references.shape}, expected references to at least {needed} masks",
                where=where,
                hint=_BOXES_HINT,
            )
        masks = references[()].ravel()
        for box, frame in zip(boxes, frames, strict=True):
            mask = own_dataset(file, masks[frame], where, _BOXES_HINT)
            if mask.ndim != 2 or max(mask.shape) > _LARGEST_SIDE_PX or mask.dtype.kind not in "buif":
                raise RawDataError(
                    f"the mask of frame {frame} is {mask.dtype} {mask.shape}, expected one value per pixel",
                    where=where,
                    hint=_BOXES_HINT,
                )
            inside = np.asarray(mask[()]).T > 0
            if inside.any():
                box[:] = box_from_mask(inside)
    return boxes
