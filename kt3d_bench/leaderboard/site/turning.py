"""Samples of a board as skeletons that turn together: drawn as the camera sees them, turned by the page's script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace

from markupsafe import Markup

from kt3d_bench.leaderboard.ranking import RankedGroup
from kt3d_bench.leaderboard.samples import RULE, Pose, ShownSample, ShownSamples
from kt3d_bench.leaderboard.site.rows import row_id, row_name
from kt3d_bench.leaderboard.wording import supervision_name
from kt3d_bench.skeletons import H36M17

BOX_MM = (-900, -1150, 1800, 2150)
"""What a drawing shows, from the true hip: left and upper edge, width and height."""
_SIDES = dict.fromkeys((left for _, left in H36M17.mirror_pairs), "left") | dict.fromkeys(
    (right for right, _ in H36M17.mirror_pairs), "right"
)


def turning(board: str, shown: ShownSamples | None, groups: Sequence[RankedGroup]) -> SimpleNamespace | None:
    """Return what a page shows of a board's samples; ``None`` where there are none, or their rows have gone."""
    rows = {entry.file_name: row for group in groups for row in group.rows for entry in row.entries}
    found = None if shown is None else shown.of([entry for row in rows.values() for entry in row.entries])
    if shown is None or found is None:
        return None
    heads = []
    for entry in found:
        seed = "" if entry.seed is None else f", seed {entry.seed}"
        row = rows[entry.file_name]
        heads.append(SimpleNamespace(id=row_id(row), name=row_name(row), about=f"{supervision_name(entry)}{seed}"))
    samples = [
        SimpleNamespace(
            key=sample.key,
            image=Markup(f"data:image/jpeg;base64,{sample.image}"),
            poses=[_drawn(sample, number, head.name) for number, head in enumerate(heads)],
        )
        for sample in shown.samples
    ]
    box = " ".join(map(str, BOX_MM))
    return SimpleNamespace(board=board, rows=heads, samples=samples, rule=RULE, box=box)


def _drawn(sample: ShownSample, number: int, name: str) -> SimpleNamespace:
    error = sample.error_mm(number)
    return SimpleNamespace(
        name=name,
        error="no answer" if error is None else f"{error:.1f} mm",
        limbs=[
            *(("true", ends) for ends in limbs(sample.true_mm).values()),
            *limbs(sample.predicted_mm[number]).items(),
        ],
    )


def limbs(pose: Pose) -> dict[str, SimpleNamespace]:
    """Return side -> the bones of a pose: ``ends``, six whole mm per bone (x, y, z of both ends), and their ``path`` as
    the camera sees them. Unknown joints are bridged: each known one is linked to its next known ancestor."""
    found: dict[str, list[int]] = {"middle": [], "left": [], "right": []}
    for joint, point in enumerate(pose):
        ancestor = H36M17.parents[joint]
        while ancestor >= 0 and pose[ancestor] is None:
            ancestor = H36M17.parents[ancestor]
        other = pose[ancestor] if ancestor >= 0 else None
        if point is not None and other is not None:
            found[_SIDES.get(joint, "middle")] += [math.floor(value + 0.5) for value in (*point, *other)]
    return {side: SimpleNamespace(ends=ends, path=_path(ends)) for side, ends in found.items() if ends}


def _path(ends: Sequence[int]) -> str:
    return "".join(f"M{ends[at]} {ends[at + 1]}L{ends[at + 3]} {ends[at + 4]}" for at in range(0, len(ends), 6))
