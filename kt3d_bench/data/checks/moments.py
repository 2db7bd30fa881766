"""Whether labels are of the moment that their image shows: the joints of other frames must not fit it better.

Labels that are late by half a second still lie on most of the person, so that ``belonging.fit`` lets them pass. But
somebody who moves is where later or earlier labels say, in one image after the other. How well joints fit is measured
by points on the limbs: how deep they lie inside the person's motion foreground, or how far beside it, in units of
a limb's radius, up to 1 inside and 3 beside. Shapes: N samples, F frames of a recording, S shifts, J joints (17).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.checks.findings import Check, Finding, Found, Outcome, Unchecked, found
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.records import Recorded
from kt3d_bench.skeletons import H36M17

FloatArray = npt.NDArray[np.float64]
Lookup = Callable[[int], Recorded | None]
"""Sample -> the labels of all frames of its recording in its camera; ``None`` where they are not known."""

MOMENT = Check(
    "moment", "joints of other frames do not fit the images better than the images' own", "0.05 limb radii", "radii"
)
FURTHEST, NEAREST, STEP = 100, 10, 5
"""Frames. Nearer shifts than 10 (0.2 s) are not told from the drift between a video and its poses."""
SHIFTS = np.arange(-FURTHEST, FURTHEST + 1, STEP)
"""(S,) a label that is late by s frames fits the image s frames before its own."""
MOST = 0.2
"""Limb radii that one image counts for at most, so that a few people who walk do not decide alone."""
GAIN, SURE = 0.05, 3.0
"""Least mean gain of a shift in limb radii, and least gain over its standard error, over the images of a recording and
over the recordings of a split. Measured on 57 recordings of 4 cameras (45 generated of 30 s, 12 real walks, runs and
dances of 4 s), with holes and stray pieces in the silhouettes and 5 images per camera: with right labels the largest
gain is 0.011 in a recording and 0 in a split. Of recordings with labels 25 frames late 4 in 10 are found, 50 frames
late 6 in 10 (the others hardly move); of splits of 15 such recordings 9 in 10 and all."""
FEWEST_IMAGES, FEWEST_RECORDINGS = 6, 8
TOO_SPARSE = (
    f"fewer than {FEWEST_RECORDINGS} recordings have labels of other frames within {FURTHEST} of their images; prepare "
    "also compares frames of the raw recordings that are no samples"
)
TOO_FEW = (
    f"fewer than {FEWEST_RECORDINGS} recordings, and none with {FEWEST_IMAGES} images, have a foreground that can be "
    "compared"
)
_RADIUS = 0.02
"""Share of the crop's side that a limb's radius takes: 3 % of the person's height."""
_BESIDE = 3.0
_LARGEST_PX = 160
"""Masks are looked at in at most so many pixels."""
_CHILDREN, _PARENTS = (list(ends) for ends in zip(*H36M17.bones, strict=True))


class Moments:
    """Collects, image by image, how well the joints of its recording's frames fit the person in it."""

    def __init__(self, shards: ShardSet, recorded: Lookup | None = None) -> None:
        """``recorded`` is asked where the labels in the shards are too far apart."""
        self._shards = shards
        self._lookups = [_stored(shards), *([recorded] if recorded else [])]
        self._gains: dict[str, list[FloatArray]] = {}
        self._looked: Counter[str] = Counter()
        """Recording -> images looked at, whether or not labels of other frames are known."""

    def look(self, i: int, mask: npt.NDArray[np.bool_], beside: float) -> None:
        """Measure sample ``i``, whose motion foreground is ``mask`` (H, W), if labels of other frames are known. Every
        image counts, whatever share ``beside`` of the joints lies beside the person: late labels lie on most of it."""
        labels = self._shards.labels
        self._looked[str(labels.sequence[i])] += 1
        wanted = int(labels.frame[i]) + SHIFTS
        for recorded in filter(None, (lookup(i) for lookup in self._lookups)):
            if len(recorded.frames) < 2:
                continue
            at = np.minimum(np.searchsorted(recorded.frames, wanted), len(recorded.frames) - 1)
            there = recorded.frames[at] == wanted
            if there[SHIFTS == 0].all() and there[np.abs(SHIFTS) >= NEAREST].any():
                break
        else:
            return
        points = project_arrays(
            labels.intrinsics_px[i][None], labels.distortion[i][None], self._shards.tangential_factor,
            recorded.joints_cam_mm[at[there]],
        )  # fmt: skip
        fits = depths(mask, points)
        gains = np.full(len(SHIFTS), np.nan)
        gains[there] = np.clip(fits - fits[SHIFTS[there] == 0], -MOST, MOST)
        self._gains.setdefault(str(labels.sequence[i]), []).append(gains)

    def found(self) -> Found:
        """Judge what was collected, recording by recording and as a whole."""
        split, gains = self._shards.split, {name: np.array(rows) for name, rows in self._gains.items()}
        whole = np.array([_means(rows) for rows in gains.values()]).reshape(-1, len(SHIFTS))
        of_split, together = best_shift(whole, FEWEST_RECORDINGS), comparable(whole, FEWEST_RECORDINGS)
        compared = int(np.isfinite(whole[:, together]).any(axis=1).sum())
        if of_split.frames:
            late, better = _late(of_split.frames), _better(of_split.gain)
            sentence = f"the labels of the whole split are {late}: in {compared} recordings {better}"
            wrong = (found(MOMENT, split, sentence, value=of_split.gain, remade=False),)
            return [Outcome(MOMENT, split, compared, 1, of_split.gain, of_split.excess, wrong)], []
        best = [(best_shift(rows, FEWEST_IMAGES), name) for name, rows in gains.items()
                if comparable(rows, FEWEST_IMAGES).size]  # fmt: skip
        if not best and not compared:
            few = len(self._looked) < FEWEST_RECORDINGS and max(self._looked.values(), default=0) < FEWEST_IMAGES
            return [], [Unchecked(MOMENT, split, TOO_FEW if few else TOO_SPARSE)]
        best.sort(key=lambda one: (one[0].excess, one[1]), reverse=True)
        findings: list[Finding] = [
            found(
                MOMENT, split, f"{name}: the labels are {_late(shift.frames)}: {_better(shift.gain)}",
                value=shift.gain, remade=False,
            )
            for shift, name in best
            if shift.frames
        ]  # fmt: skip
        worst = max((of_split, *(shift for shift, _ in best)), key=lambda shift: shift.excess)
        tested = len(best) or compared
        return [Outcome(MOMENT, split, tested, len(findings), worst.gain, worst.excess, tuple(findings[:20]))], []


def depths(mask: npt.NDArray[np.bool_], points_px: FloatArray) -> FloatArray:
    """Return (S,) how deep the limbs of (S, J, 2) px lie in the person of ``mask`` (H, W), in limb radii; negative =
    beside. NaN where more than half of the points on limbs lie outside the image."""
    import cv2

    every = -(-max(mask.shape) // _LARGEST_PX)
    person = mask[::every, ::every].astype(np.uint8)
    radius = _RADIUS * max(person.shape)
    inside = cv2.distanceTransform(person, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - person, cv2.DIST_L2, 3)
    depth = np.where(person > 0, np.minimum(inside, radius), -np.minimum(outside, _BESIDE * radius)) / radius
    starts, ends = points_px[:, _PARENTS], points_px[:, _CHILDREN]
    points = np.concatenate([points_px, (2 * starts + ends) / 3, (starts + 2 * ends) / 3], axis=1) / every
    with np.errstate(invalid="ignore"):
        seen = ((points > -0.5) & (points < np.array(person.shape[::-1]) - 0.5)).all(axis=-1)
    x, y = np.moveaxis(np.rint(np.where(seen[..., None], points, 0)).astype(int), -1, 0)
    total, number = np.where(seen, depth[y, x], 0.0).sum(axis=1), seen.sum(axis=1)
    return np.asarray(np.where(2 * number >= points.shape[1], total / np.maximum(number, 1), np.nan), np.float64)


@dataclass(frozen=True)
class Shift:
    """How much better the joints of other frames fit than the images' own."""

    gain: float = 0.0
    """Limb radii, mean."""
    frames: int = 0
    """How late the labels are; 0 unless that is clear."""
    excess: float = 0.0
    """The gain as a multiple of what is clear, which is ``GAIN`` and ``SURE`` standard errors: above 1 where it is."""


def comparable(gains: FloatArray, fewest: int) -> npt.NDArray[np.int64]:
    """Return the columns of (n, S) gains whose shift at least ``fewest`` and half of the rows know."""
    known = np.isfinite(gains).sum(axis=0) >= max(fewest, len(gains) / 2)
    return np.flatnonzero(known & (np.abs(SHIFTS) >= NEAREST))


def best_shift(gains: FloatArray, fewest: int) -> Shift:
    """Return, of (n, S) gains over shift 0, the clear shift of the largest mean; without one, the nearest to clear.

    Rows that do not know a shift (NaN) are left out.
    """
    shifts = [Shift()]
    for column in comparable(gains, fewest):
        known = gains[np.isfinite(gains[:, column]), column]
        mean, error = float(known.mean()), float(known.std(ddof=1)) / np.sqrt(len(known))
        excess = mean / max(GAIN, SURE * error)
        shifts.append(Shift(mean, int(SHIFTS[column]) if excess > 1 else 0, excess))
    return max(shifts, key=lambda one: (one.excess > 1, one.gain if one.excess > 1 else one.excess))


def _means(rows: FloatArray) -> FloatArray:
    """Return (S,) means of the known entries of (n, S)."""
    known = np.isfinite(rows)
    number = known.sum(axis=0)
    return np.asarray(np.where(number, np.where(known, rows, 0.0).sum(axis=0) / np.maximum(number, 1), np.nan))


def _late(frames: int) -> str:
    return f"about {abs(frames)} frames {'late' if frames > 0 else 'early'}"


def _better(gain: float) -> str:
    return f"the joints of that frame fit the images better (by {gain:.2f} limb radii)"


def _stored(shards: ShardSet) -> Lookup:
    """Return the look-up in the labels that the shards hold."""
    labels = shards.labels
    names = np.char.add(np.char.add(labels.sequence, "\n"), labels.camera_id)
    clip = np.unique(names, return_inverse=True)[1].tolist()
    numbers = np.array(clip)
    kept: dict[int, Recorded] = {}

    def recorded(i: int) -> Recorded | None:
        if clip[i] not in kept:
            kept.clear()
            members = np.flatnonzero(numbers == clip[i])
            members = members[np.argsort(labels.frame[members], kind="stable")]
            kept[clip[i]] = Recorded(labels.frame[members], labels.joints_cam_mm[members])
        return kept[clip[i]]

    return recorded
