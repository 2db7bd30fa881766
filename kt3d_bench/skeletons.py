"""The common skeleton, mappings from other skeletons onto it with their quality, and the label subsets.

Joints are addressed by index in Human3.6M-17 order (Ionescu et al., PAMI 2014; the 17 of the 32 recorded joints that
the literature evaluates). The naming schemes in use disagree on indices 7-10, so files store indices, never names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Quality(IntEnum):
    """How a dataset's joint relates to the common one."""

    ABSENT = 0
    APPROXIMATE = 1
    DERIVED = 2
    EXACT = 3


@dataclass(frozen=True)
class Skeleton:
    """Joint names, parent indices (-1 = root) and left-right pairs. The pairs are a table, never a spelling rule."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    mirror_pairs: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        assert len(self.joints) == len(set(self.joints)) == len(self.parents)
        assert self.parents.count(-1) == 1

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def root(self) -> int:
        return self.parents.index(-1)

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) index pairs."""
        return tuple((child, parent) for child, parent in enumerate(self.parents) if parent >= 0)

    def bone_lengths(self, joints: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """(..., J, D) -> (...,) + (bones,) lengths in the order of ``bones``; NaN where an end is not known."""
        import numpy as np

        points = np.asarray(joints, np.float64)
        children, parents = (list(ends) for ends in zip(*self.bones, strict=True))
        return np.asarray(np.linalg.norm(points[..., children, :] - points[..., parents, :], axis=-1))

    @property
    def mirror(self) -> npt.NDArray[np.int64]:
        """(J,) permutation that exchanges left and right joints."""
        import numpy as np

        order = np.arange(len(self.joints))
        for right, left in self.mirror_pairs:
            order[right], order[left] = left, right
        return order

    def index(self, name: str) -> int:
        return self.joints.index(name)


H36M17 = Skeleton(
    joints=(
        "hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "spine", "thorax", "nose", "head",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    ),
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    mirror_pairs=((1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13)),
)  # fmt: skip

NUM_JOINTS = len(H36M17)
LIMBS = (1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16)
"""Hips, knees, ankles, shoulders, elbows and wrists: the joints that most skeletons share."""

_NESTED = (("head",), ("right_ankle", "left_ankle"), ("hip", "left_wrist", "right_wrist"),
           ("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_knee", "right_knee"))  # fmt: skip


def _label_subsets() -> Mapping[int, tuple[int, ...]]:
    chosen: list[int] = []
    subsets: dict[int, tuple[int, ...]] = {}
    for names in _NESTED:
        chosen += [H36M17.index(name) for name in names]
        subsets[len(chosen)] = tuple(sorted(chosen))
    subsets[NUM_JOINTS] = tuple(range(NUM_JOINTS))
    return subsets


LABEL_SUBSETS: Mapping[int, tuple[int, ...]] = _label_subsets()
"""Number of labelled joints -> joint indices; nested. 1: head; 3: + ankles; 6: + hip and wrists; 12: + shoulders,
elbows and knees; 17: all. The paper's Figure 6 is not legible in its text, so the 12 are this project's choice."""


@dataclass(frozen=True)
class JointSource:
    """Where one common joint comes from: the mean of the named source joints, and how good that is."""

    quality: Quality
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert bool(self.sources) == (self.quality is not Quality.ABSENT)


@dataclass(frozen=True)
class JointMapping:
    """Source skeleton -> common skeleton, one ``JointSource`` per common joint, in H36M17 order."""

    source_joints: tuple[str, ...]
    table: tuple[JointSource, ...]

    def __post_init__(self) -> None:
        assert len(self.table) == NUM_JOINTS
        assert all(name in self.source_joints for entry in self.table for name in entry.sources)

    @classmethod
    def of(cls, source_joints: tuple[str, ...], **by_quality: Mapping[str, str | tuple[str, ...]]) -> JointMapping:
        """Build the table from ``exact``, ``derived`` and ``approximate``: common joint -> source joint, or several to
        take the mean of. Common joints that are not named are absent."""
        found = {
            joint: JointSource(Quality[quality.upper()], (sources,) if isinstance(sources, str) else sources)
            for quality, named in by_quality.items()
            for joint, sources in named.items()
        }
        assert found.keys() <= set(H36M17.joints)
        return cls(source_joints, tuple(found.get(joint, JointSource(Quality.ABSENT)) for joint in H36M17.joints))

    @property
    def quality(self) -> npt.NDArray[np.uint8]:
        """(17,) ``Quality`` codes."""
        import numpy as np

        return np.array([entry.quality for entry in self.table], np.uint8)

    def apply(self, joints: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """(..., S, D) source joints -> (..., 17, D) float64; absent joints are NaN, NaN sources stay NaN."""
        import numpy as np

        source = np.asarray(joints, np.float64)
        mapped = np.full((*source.shape[:-2], NUM_JOINTS, source.shape[-1]), np.nan)
        for joint, entry in enumerate(self.table):
            if entry.sources:
                indices = [self.source_joints.index(name) for name in entry.sources]
                mapped[..., joint, :] = source[..., indices, :].mean(axis=-2)
        return mapped
