"""Whether a video is of the camera whose labels it has: the joints as another camera sees them must not fit it better.

Of two cameras that face each other the joints lie in much the same places, mirrored, so that an exchange leaves most of
them on the person (``belonging.fit``). But where both have labels of one moment, those of the other camera, drawn into
this one's image, fit it far better once the videos are exchanged. The cameras of a dataset are taken to have nearly the
same lens, as those of Human3.6M do; with other lenses nothing fits, and none is reported. Shapes: N samples.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.checks.findings import Check, Found, Outcome, Unchecked, found
from kt3d_bench.data.checks.moments import depths
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.geometry.cameras import project_arrays

VIEW = Check("view", "joints as another camera sees them do not fit the images better", "0.5 limb radii", "radii")
GAIN = 0.5
"""Limb radii, mean over the images of a clip that were looked at. On Human3.6M stand-ins with one image of each clip,
another camera's joints gain 0.18 at most; with the facing cameras exchanged 2.2 in the median."""
ONE_CAMERA = "all images are of one camera"
NOT_TOGETHER = "no image whose foreground can be compared has labels of another camera at its moment"


class Views:
    """Collects, image by image, how well the joints fit it as the other cameras of its moment see them."""

    LEAST_BESIDE = 0.05
    """Share of an image's joints beside the person from which it is measured; of exchanged ones nearly all have it. One
    with fewer is right without it."""

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards
        self._gains: dict[tuple[str, str], dict[str, list[float]]] = {}
        """(sequence, camera) of every clip that was tested -> other camera -> its gains."""

    @cached_property
    def _instants(self) -> dict[tuple[str, int], list[int]]:
        """(sequence, frame) -> samples with 3D joints."""
        found: dict[tuple[str, int], list[int]] = {}
        labels = self._shards.labels
        for i in np.flatnonzero(np.isfinite(labels.joints_cam_mm).any(axis=(1, 2))).tolist():
            found.setdefault((str(labels.sequence[i]), int(labels.frame[i])), []).append(i)
        return found

    def look(self, i: int, mask: npt.NDArray[np.bool_], beside: float) -> None:
        """Measure sample ``i``, whose motion foreground is ``mask`` (H, W) and has the share ``beside`` of the joints
        beside it, if other cameras have labels of its moment."""
        labels = self._shards.labels
        instant = self._instants.get((str(labels.sequence[i]), int(labels.frame[i])), [])
        others = [k for k in instant if labels.camera_id[k] != labels.camera_id[i]]
        if i not in instant or not others:
            return
        seen = self._gains.setdefault((str(labels.sequence[i]), str(labels.camera_id[i])), {})
        if beside < self.LEAST_BESIDE:
            return
        points = project_arrays(
            labels.intrinsics_px[i][None], labels.distortion[i][None], self._shards.tangential_factor,
            labels.joints_cam_mm[[i, *others]],
        )  # fmt: skip
        own, *fits = depths(mask, points).tolist()
        for k, fit in zip(others, fits, strict=True):
            if np.isfinite(fit - own):
                gain = fit - own if fit > 0 else min(fit - own, 0.0)  # less beside the person is not yet on it
                seen.setdefault(str(labels.camera_id[k]), []).append(gain)

    def found(self) -> Found:
        """Judge what was collected, clip by clip."""
        split = self._shards.split
        if not self._gains:
            one = len(np.unique(self._shards.labels.camera_id)) < 2
            return [], [Unchecked(VIEW, split, ONE_CAMERA if one else NOT_TOGETHER)]
        best = [
            max((float(np.mean(gains)), sequence, camera, other) for other, gains in seen.items())
            for (sequence, camera), seen in self._gains.items()
            if seen
        ]
        best.sort(reverse=True)
        findings = [
            found(
                VIEW, split, f"{sequence} seen by {camera}: the joints fit better as {other} sees them (by {gain:.2f} "
                "limb radii): these images are another camera's", value=gain, remade=False,
            )
            for gain, sequence, camera, other in best
            if gain > GAIN
        ]  # fmt: skip
        largest = max([0.0, *(gain for gain, *_ in best)])
        excess = largest / GAIN
        return [Outcome(VIEW, split, len(self._gains), len(findings), largest, excess, tuple(findings[:20]))], []
