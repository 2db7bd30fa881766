"""Decoding: the chosen frames of a video as RGB, with every frame up to the last pose accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError

_HINT = "unpack or download the archive again and compare its MD5; --drop leaves the recording out"


def frames_rgb(
    path: Path, poses: int, every: int, *, where: str, name: str
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield (frame number, (H, W, 3) RGB) of every ``every``-th frame below ``poses``. Longer videos are cut.

    Decoders disagree by a frame now and then, so all ``poses`` frames are decoded and counted.
    Raises ``RawDataError`` for ``where`` when the video is damaged or shorter than ``poses``.
    """
    import av

    _check_whole(path, where)
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise RawDataError("holds no video", where=where, hint=_HINT)
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise RawDataError("is coded in a way that cannot be decoded here", where=where, hint=_HINT)
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode"}
            if 0 < stream.frames < poses:
                raise _too_short(where, stream.frames, poses, name)
            for frame in container.decode(stream):
                if count % every == 0:
                    yield count, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                count += 1
                if count == poses:
                    return
    except (av.FFmpegError, ValueError) as error:
        raise RawDataError(
            f"cannot be decoded after frame {count} of {poses} ({error})", where=where, hint=_HINT
        ) from error
    raise _too_short(where, count, poses, name)


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


def _too_short(where: str, frames: int, poses: int, name: str) -> RawDataError:
    return RawDataError(
        f"has {frames} frames for {poses} poses, so frames and poses cannot be matched",
        where=where,
        hint=f'unpack or download the video again, or leave it out with --drop "{name}"',
    )
