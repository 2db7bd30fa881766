"""Views: the samples of one instant before several cameras.

Shapes: N samples of a split, B groups of a batch, K views of a group. In a batch the K views of a group follow one
another, so a tensor of it is (B K, ...): ``tensor.unflatten(0, (-1, K))`` is (B, K, ...).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.index import Labels
from kt3d_bench.errors import UsageError

IntArray = npt.NDArray[np.int64]


def simultaneous(labels: Labels, chosen: IntArray, views: int) -> IntArray:
    """Return the (N, K) samples that ``views`` cameras took of the same person at the same instant.

    The sample itself comes first, then the others in the order of the cameras' names. Rows that are not in ``chosen``,
    or whose instant fewer cameras saw, hold -1. Views lie in ``chosen`` too.

    Raises ``UsageError`` for fewer than two views, where one camera took two samples of an instant, and where no
    instant has so many views.
    """
    if views < 2:
        raise UsageError(f"groups of {views} views", hint="choose at least 2")
    instants: dict[tuple[str, str, int], dict[str, int]] = {}
    columns = (labels.sequence, labels.subject, labels.frame, labels.camera_id)
    for row, *instant, camera in zip(chosen.tolist(), *(column[chosen].tolist() for column in columns), strict=True):
        taken = instants.setdefault((instant[0], instant[1], instant[2]), {})
        if camera in taken:
            hint = "use data with one sample for each frame"
            raise UsageError("two samples are the same frame of a sequence before one camera", hint=hint)
        taken[camera] = row
    found = np.full((len(labels), views), -1, np.int64)
    for taken in instants.values():
        if len(taken) < views:
            continue
        rows = [taken[camera] for camera in sorted(taken)]
        for row in rows:
            found[row] = [row, *(other for other in rows if other != row)][:views]
    if (found < 0).all():
        most = max(map(len, instants.values()), default=0)
        hint = "prepare all cameras, or ask for fewer views"
        raise UsageError(f"no instant was seen by {views} cameras, but by {most} at most", hint=hint)
    return found
