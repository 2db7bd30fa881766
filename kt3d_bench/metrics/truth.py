"""The test set of a benchmark: its shards, and the truth that predictions are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.folders import has_shards
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.remote import local_folder
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.skeletons import NUM_JOINTS

TextArray = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Truth:
    """What measuring needs of the test samples. Shapes: N samples, J joints (17)."""

    keys: TextArray
    """(N,) sample keys."""
    joints_cam_mm: npt.NDArray[np.float32]
    """(N, J, 3) mm, camera frame; NaN = not labelled."""
    quality: npt.NDArray[np.uint8]
    """(N, J) ``skeletons.Quality`` codes."""
    action: TextArray
    subject: TextArray
    sequence: TextArray
    """(N,) the clip a frame belongs to: the unit of the bootstrap."""
    sample_list_digest: str
    labels_digest: str
    origin: str
    """"official" or "generated"."""
    dataset: str = ""
    split: str = ""
    box_rule: str = ""
    """Where the crops' boxes came from; "" = not known."""
    foreground: str = ""
    """Rule by which persons are found in the depth images; "" = not known."""
    camera: TextArray | None = None
    """(N,) camera names, where known."""

    def __post_init__(self) -> None:
        count = len(self.keys)
        if self.joints_cam_mm.shape != (count, NUM_JOINTS, 3) or self.quality.shape != (count, NUM_JOINTS):
            raise ValueError(
                f"expected ({count}, {NUM_JOINTS}, 3) joints and ({count}, {NUM_JOINTS}) quality codes, found "
                f"{self.joints_cam_mm.shape} and {self.quality.shape}"
            )
        for name in ("action", "subject", "sequence", "camera"):
            if getattr(self, name) is not None and getattr(self, name).shape != (count,):
                raise ValueError(f"expected {count} values of '{name}', found {getattr(self, name).shape}")


def open_test(benchmark: Benchmark, shards: Path | str) -> ShardSet:
    """Open what a benchmark scores of its test split, in a folder or URL of shards.

    Raises ``ArtefactError`` without usable shards."""
    folder = local_folder(shards)
    if not has_shards(folder):
        raise ArtefactError(
            f"there are no shards of '{benchmark.dataset}' to score against",
            where=folder,
            hint=f"make them: kt3d prepare {benchmark.dataset}",
        )
    stored = ShardSet.open(folder, benchmark.split)
    scored = benchmark.scored(stored.labels.frame)
    return stored if len(scored) == len(stored) else stored.take(scored)


def require_test(benchmark: Benchmark, dataset: str, split: str, box_rule: str, foreground: str) -> None:
    """Raise ``UsageError`` unless these facts are those of the benchmark's own test set; "" = not known."""
    tested = f"{dataset or benchmark.dataset}/{split or benchmark.split}"
    facts = [
        ("tests on", f"{benchmark.dataset}/{benchmark.split}", tested, "open that split's shards"),
        ("takes person boxes from", benchmark.box_rule, box_rule, "prepare the dataset with its default boxes"),
        ("finds persons in depth images by the rule", benchmark.foreground, foreground,
         "prepare the dataset again with this version"),
    ]  # fmt: skip
    for what, expected, found, hint in facts:
        if found not in ("", expected):
            raise UsageError(f"benchmark '{benchmark.id}' {what} '{expected}', these shards hold '{found}'", hint=hint)


def truth_from_shards(shards: ShardSet) -> Truth:
    """Return the truth of an opened split; no image is read."""
    labels, manifest = shards.labels, shards.manifest
    joints = np.asarray(labels.joints_cam_mm, np.float32)
    return Truth(
        keys=np.asarray(shards.keys, np.str_),
        joints_cam_mm=joints,
        quality=np.broadcast_to(np.asarray(labels.quality, np.uint8), joints.shape[:2]),
        action=np.asarray(labels.action, np.str_),
        subject=np.asarray(labels.subject, np.str_),
        sequence=np.asarray(labels.sequence, np.str_),
        sample_list_digest=shards.sample_list_digest,
        labels_digest=shards.labels_digest,
        origin=shards.origin,
        dataset=manifest.dataset,
        split=shards.split,
        box_rule=manifest.box_rule,
        camera=np.asarray(labels.camera_id, np.str_),
        foreground=manifest.foreground,
    )
