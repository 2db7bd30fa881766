"""Videos for methods that read clips: every frame is looked at once, then each person's clip is lifted.

Shapes: T frames of a clip. A row is a batch of one person in one frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from kt3d_bench.pictures.inputs import Picture
from kt3d_bench.pictures.people import FloatArray, Found, Person, Predictor
from kt3d_bench.records import Camera

if TYPE_CHECKING:
    from kt3d_bench.loading.batches import UnlabelledBatch

FRAMES_AT_ONCE = 8
"""Frames of a video that are looked at together."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a person is in a frame, without the picture."""

    camera: Camera
    box_px: FloatArray
    number: int

    def in_picture(self, picture: Picture) -> Person:
        """Return the person in the picture of that frame."""
        return Person(picture, self.camera, self.box_px, self.number)


def around(
    frames: Mapping[int, Mapping[int, UnlabelledBatch]], frame: int, number: int, clip: tuple[int, int]
) -> list[UnlabelledBatch]:
    """Return the T rows of person ``number`` around ``frame``; one that is not there is replaced by the next towards
    the middle, as in training (``loading.clips``)."""
    length, stride = clip
    found = {0: frames[frame][number]}
    for step in range(1, length // 2 + 1):
        for way in (-1, 1):
            there = frames.get(frame + way * step * stride, {})
            found[way * step] = there.get(number, found[way * (step - 1)])
    return [found[offset] for offset in sorted(found)]


def lifted(predictor: Predictor, frames: Iterable[list[Person]]) -> Iterator[list[tuple[Place, Found]]]:
    """Yield what is found of the people of each frame, in order. Rows are kept for as long as a clip may need them."""
    assert predictor.clip is not None
    length, stride = predictor.clip
    half = length // 2 * stride
    rows: dict[int, dict[int, UnlabelledBatch]] = {}
    places: dict[int, list[Place]] = {}
    done = 0

    def lift(frame: int) -> list[tuple[Place, Found]]:
        here = places.pop(frame)
        clips = [around(rows, frame, one.number, (length, stride)) for one in here]
        rows.pop(frame - half, None)
        return list(zip(here, predictor.of_clips(clips), strict=True))

    for frame, here, looked in _looked_at(predictor, frames):
        rows[frame] = {one.number: row for one, row in zip(here, looked, strict=True)}
        places[frame] = here
        if frame - half >= done:
            yield lift(done)
            done += 1
    for frame in range(done, done + len(places)):
        yield lift(frame)


def _looked_at(
    predictor: Predictor, frames: Iterable[list[Person]]
) -> Iterator[tuple[int, list[Place], list[UnlabelledBatch]]]:
    """Yield frame number, where people are, and a row of each; a few frames are looked at together."""
    coming, first = iter(frames), 0
    while block := list(islice(coming, FRAMES_AT_ONCE)):
        rows = iter(predictor.rows([one for here in block for one in here]))
        places = [[Place(one.camera, one.box_px, one.number) for one in here] for here in block]
        block.clear()
        for frame, here in enumerate(places, first):
            yield frame, here, [next(rows) for _ in here]
        first += len(places)
