"""How much of the target's labels a run may see: seven levels, and how many joints "partial" means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.skeletons import LABEL_SUBSETS, NUM_JOINTS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LEVELS = ("none", "partial-2d", "partial-3d", "partial", "full-2d", "full-3d", "full")
ROLES = ("target", "source", "pretrain")
"""What a method may read a dataset as."""
KINDS = ("joints_2d", "joints_3d")
Labels = Mapping[str, Sequence[int]]
"""One of ``KINDS`` -> the joints whose labels were seen."""
Seen = Mapping[str, Labels]
"""Dataset -> what was seen of its labels."""
HELD_OUT = ("test", "validation")
"""Whose people a stand-in's test split shows: those that results are about, or others, who only serve to choose
settings. Training data does not depend on it."""
SETTINGS_RULES = ("not stated", "published", "validation", "test")
"""Where a row's settings come from: a paper; trials on people held out from training and test; trials on the test."""


def level_name(level: str, joints: int | None) -> str:
    """A supervision level for a reader: with its number of joints where that matters and is known."""
    if not level.startswith("partial") or joints is None:
        return level
    return f"{level}, {joints} joint{'s' * (joints != 1)}"


@dataclass(frozen=True, eq=False)
class Grant:
    """Which joints of the target a run may see: (17,) bool masks for the 2D and the 3D labels."""

    level: str
    mask_2d: npt.NDArray[np.bool_]
    mask_3d: npt.NDArray[np.bool_]

    @property
    def sees_labels(self) -> bool:
        return bool(self.mask_2d.any() or self.mask_3d.any())

    @property
    def labels(self) -> dict[str, list[int]]:
        """The masks as plain data."""
        masks = zip(KINDS, (self.mask_2d, self.mask_3d), strict=True)
        return {kind: [int(joint) for joint in mask.nonzero()[0]] for kind, mask in masks}


def grant(level: str, joints: int = 6) -> Grant:
    """The label masks of a supervision level; ``joints`` (1, 3, 6, 12 or 17) is what "partial" gives.

    Raises ``UsageError`` for an unknown level or number of joints.
    """
    import numpy as np

    if level not in LEVELS:
        raise UsageError(f"unknown supervision level '{level}'", hint=did_you_mean(level, LEVELS))
    if joints not in LABEL_SUBSETS:
        raise UsageError(f"no label subset of {joints} joints", hint=f"choose one of {sorted(LABEL_SUBSETS)}")
    extent, _, dims = level.partition("-")
    seen = np.zeros(NUM_JOINTS, bool)
    if extent != "none":
        seen[list(LABEL_SUBSETS[joints if extent == "partial" else NUM_JOINTS])] = True
    nothing = np.zeros(NUM_JOINTS, bool)
    return Grant(level, nothing if dims == "3d" else seen, nothing if dims == "2d" else seen)


def together(*records: Seen) -> dict[str, dict[str, list[int]]]:
    """Return what was seen according to any of the records."""
    joints: dict[str, dict[str, set[int]]] = {}
    for record in records:
        for dataset, labels in record.items():
            known = joints.setdefault(dataset, {kind: set() for kind in KINDS})
            for kind in KINDS:
                known[kind] |= set(labels.get(kind, ()))
    return {dataset: {kind: sorted(known[kind]) for kind in KINDS} for dataset, known in sorted(joints.items())}


def exceeds(labels: Labels, own: Labels) -> bool:
    """Return whether ``labels`` have a joint that ``own`` lack."""
    return any(set(labels.get(kind, ())) - set(own.get(kind, ())) for kind in KINDS)


def labels_name(labels: Labels) -> str:
    """What was seen, as a supervision level with its number of joints where there is such a level."""
    for level in reversed(LEVELS):
        for joints in LABEL_SUBSETS:
            granted = grant(level, joints).labels
            if not exceeds(labels, granted) and not exceeds(granted, labels):
                return level_name(level, joints)
    return ", ".join(f"{len(labels.get(kind, ()))} {kind.replace('_', ' ')}" for kind in KINDS)
