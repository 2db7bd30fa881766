"""Test samples of a board with the poses that two rows give them, which pages show side by side: ``samples.json``.

Only boards of stand-ins have one, since poses and images of licensed data may not be passed on. Which samples are shown
is decided by the names of the clips alone, before any error is looked at.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from kt3d_bench.budgets import read_whole
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.drawing import nearness
from kt3d_bench.errors import ArtefactError
from kt3d_bench.leaderboard.entries import GENERATED, Digest, Entry
from kt3d_bench.schema import problems
from kt3d_bench.skeletons import H36M17, NUM_JOINTS

SAMPLES = "samples.json"
RULE = "six clips, spaced evenly over the sorted names of all, and of each the sample in its middle"
SHOWN = 6
MAX_BYTES = 100_000
QUALITIES = (80, 40, 20, 10)
"""Of the JPEG images: the first with which the file is small enough."""
IMAGE_PX = 128
"""Width of a picture."""
_HIGHEST = 4
"""Most heights per width of a picture."""
_HINT = "write it again with: kt3d leaderboard samples"

Millimetres = Annotated[float, Field(ge=-9999, le=9999, allow_inf_nan=False)]
Pose = Annotated[
    tuple[tuple[Millimetres, Millimetres, Millimetres] | None, ...],
    Field(min_length=NUM_JOINTS, max_length=NUM_JOINTS),
]
"""Joints in camera axes (x right, y down, z away), from the true hip or, where it does not count, the mean of the true
joints; ``None`` = does not count or no answer. Moved as the benchmark aligns poses."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShownRow(_Strict):
    """Whose poses are shown: an entry of the board."""

    entry: str
    """Its file name."""
    predictions_sha256: Digest


class ShownSample(_Strict):
    """One test sample and the poses of both rows."""

    key: Annotated[str, Field(max_length=300)]
    image: Annotated[str, Field(pattern=r"^/9j/[A-Za-z0-9+/]+={0,2}$")]
    """A small JPEG of a generated person, in base64: ``IMAGE_PX`` wide, at most four times as high."""
    true_mm: Pose
    predicted_mm: tuple[Pose, Pose]

    @field_validator("image")
    @classmethod
    def _small(cls, image: str) -> str:
        import simplejpeg

        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(base64.b64decode(image, validate=True))
        except ValueError as error:
            raise ValueError("is not a JPEG image") from error
        if width != IMAGE_PX or height > _HIGHEST * IMAGE_PX:
            expected = f"{IMAGE_PX} wide and at most {_HIGHEST * IMAGE_PX} high"
            raise ValueError(f"is {width} x {height} px, expected {expected}")
        return image

    def error_mm(self, row: int) -> float | None:
        """Return the mean distance of the counted joints; ``None`` where one of them has no answer."""
        pairs = [pair for pair in zip(self.true_mm, self.predicted_mm[row], strict=True) if pair[0] is not None]
        true, pred = np.array([one for one, _ in pairs], float), [other for _, other in pairs if other is not None]
        if not pairs or len(pred) < len(pairs):
            return None
        return float(np.linalg.norm(np.array(pred, float) - true, axis=-1).mean())


class ShownSamples(_Strict):
    """What ``samples.json`` beside a board's entries holds."""

    format_version: Literal[1] = 1
    rows: tuple[ShownRow, ShownRow]
    samples: Annotated[tuple[ShownSample, ...], Field(min_length=1, max_length=SHOWN)]

    def of(self, entries: Sequence[Entry]) -> tuple[Entry, Entry] | None:
        """Return the entries whose poses these are; ``None`` where one is gone or has other predictions by now."""
        known = {(one.file_name, one.provenance.predictions_sha256): one for one in entries}
        first, second = (known.get((row.entry, row.predictions_sha256)) for row in self.rows)
        return None if first is None or second is None else (first, second)


def read_samples(leaderboards: Path, board: str) -> ShownSamples | None:
    """Return what is shown beside a board's entries, ``None`` where there is no such file.

    Raises ``ArtefactError`` for a broken file and for one on a board of real data.
    """
    path = Path(leaderboards) / board / SAMPLES
    if not path.exists():
        return None
    if not board.startswith(f"{GENERATED}/"):
        what = "shows samples of real data, whose poses and images may not be passed on"
        raise ArtefactError(what, where=path, hint="remove it")
    try:
        return ShownSamples.model_validate_json(read_whole(path, MAX_BYTES))
    except ValidationError as error:
        raise ArtefactError("; ".join(problems(error, ShownSamples)), where=path, hint=_HINT) from error
    except (OSError, ValueError) as error:
        raise ArtefactError(f"cannot be read ({error})", where=path, hint=_HINT) from error


def encode_samples(shown: ShownSamples) -> bytes:
    """Return the file's content: equal samples give equal bytes."""
    return shown.model_dump_json(indent=1).encode() + b"\n"


def chosen(clips: npt.NDArray[np.str_]) -> list[int]:
    """Return the samples that ``RULE`` names: indices into ``clips`` (N,), the clip of each sample."""
    names = np.unique(clips)
    picked = np.linspace(0, len(names) - 1, min(SHOWN, len(names))).round().astype(int)
    own = [np.flatnonzero(clips == name) for name in names[picked]]
    return [int(samples[len(samples) // 2]) for samples in own]


def make_samples(
    rows: Sequence[Entry],
    test: ShardSet,
    predicted_mm: Sequence[npt.NDArray[Any]],
    counted: npt.NDArray[np.bool_],
    root: int | None,
    quality: int = QUALITIES[0],
) -> ShownSamples:
    """Return what two rows give for the samples that ``RULE`` names.

    ``predicted_mm`` has the (N, 17, 3) poses of each row in the camera's frame, for the samples of ``test`` in order,
    ``counted`` (N, 17) says which joints count, ``root`` is the joint at which poses are aligned, if at any,
    and ``quality`` is that of the JPEG images.
    """
    samples = []
    for index in chosen(np.asarray(test.labels.sequence, np.str_)):
        true, mask = np.asarray(test.labels.joints_cam_mm[index], float), counted[index]
        origin = true[H36M17.root] if mask[H36M17.root] else true[mask].mean(axis=0)
        poses = []
        for joints in predicted_mm:
            pred = np.asarray(joints[index], float)
            poses.append(_listed(pred - origin + (0.0 if root is None else true[root] - pred[root]), mask))
        first, second = poses
        shown = ShownSample(
            key=str(test.keys[index]),
            image=_picture(test, index, quality),
            true_mm=_listed(true - origin, mask),
            predicted_mm=(first, second),
        )
        samples.append(shown)
    one, other = (
        ShownRow(entry=row.file_name, predictions_sha256=str(row.provenance.predictions_sha256)) for row in rows
    )
    return ShownSamples(rows=(one, other), samples=tuple(samples))


def _listed(joints_mm: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]) -> Pose:
    def point(joint: npt.NDArray[np.float64]) -> tuple[float, float, float]:
        x, y, z = (round(float(value), 1) for value in np.clip(joint, -9999, 9999))
        return x, y, z

    pairs = zip(joints_mm, mask, strict=True)
    return tuple(point(joint) if known and np.isfinite(joint).all() else None for joint, known in pairs)


def _picture(test: ShardSet, index: int, quality: int) -> str:
    """The sample's image, small; a depth image in grey, near pale."""
    import cv2
    import simplejpeg

    if "rgb" in test.modalities:
        image = test.image(index, "rgb")
    else:
        depth = test.image(index, "depth_mm")
        grey = np.zeros(depth.shape)
        grey[depth > 0] = 60 + 195 * nearness(depth[depth > 0])
        image = np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)
    size = IMAGE_PX, max(1, round(image.shape[0] * IMAGE_PX / image.shape[1]))
    small = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return base64.b64encode(simplejpeg.encode_jpeg(small, quality=quality, colorspace="RGB")).decode()
