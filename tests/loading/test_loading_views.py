"""What a stage asks for: views of an instant, keys, extrinsics, detections; and nothing of it where nobody asks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import UsageError
from kt3d_bench.loading.augment import Augmentation
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.loading.clips import middle
from kt3d_bench.loading.loader import Loader
from kt3d_bench.loading.views import simultaneous
from kt3d_bench.method import Stage
from kt3d_bench.skeletons import H36M17
from kt3d_bench.training.feeds import RoleData
from kt3d_bench.training.sources import domain
from kt3d_bench.training.validation import PLAIN, VIEWS

INSTANTS = (("a", "S1", 3), ("a", "S1", 3), ("a", "S1", 3), ("a", "S1", 4), ("a", "S2", 3), ("b", "S1", 3),
            ("a", "S1", 4), ("b", "S1", 3))  # fmt: skip
CAMERAS = ("c3", "c1", "c2", "c2", "c1", "c1", "c1", "c3")


def rig(shards: ShardSet, cameras: tuple[str, ...] = CAMERAS) -> ShardSet:
    """Sequence a: three cameras at frame 3, two at frame 4; another person alone; sequence b: two cameras."""
    kept = shards.take(np.arange(len(INSTANTS)))
    sequence, subject, frame = zip(*INSTANTS, strict=True)
    rng = np.random.default_rng(0)
    turns = np.linalg.qr(rng.normal(size=(len(INSTANTS), 3, 3)))[0]
    turns *= np.linalg.det(turns)[:, None, None]
    told = {"sequence": np.array(sequence), "subject": np.array(subject), "frame": np.array(frame),
            "camera_id": np.array(cameras), "rotation": turns,
            "position_world_mm": rng.normal(0, 3000, (len(INSTANTS), 3))}  # fmt: skip
    return replace(kept, labels=replace(kept.labels, **told))


@pytest.fixture
def studio(make_shards: Callable[..., ShardSet]) -> ShardSet:
    return rig(make_shards(len(INSTANTS)))


def test_views_are_of_one_instant_the_sample_first_then_by_camera(studio: ShardSet) -> None:
    every = np.arange(8)
    two = [[0, 1], [1, 2], [2, 1], [3, 6], [-1, -1], [5, 7], [6, 3], [7, 5]]
    np.testing.assert_array_equal(simultaneous(studio.labels, every, 2), two)
    three = np.full((8, 3), -1)
    three[:3] = [[0, 1, 2], [1, 2, 0], [2, 1, 0]]
    np.testing.assert_array_equal(simultaneous(studio.labels, every, 3), three)
    np.testing.assert_array_equal(simultaneous(studio.labels, np.array([0, 2, 3]), 2)[[0, 2, 3, 6]],
                                  [[0, 2], [2, 0], [-1, -1], [-1, -1]])  # fmt: skip


def test_what_makes_no_groups_is_refused(studio: ShardSet, make_shards: Callable[..., ShardSet]) -> None:
    with pytest.raises(UsageError, match="groups of 1 views; choose at least 2"):
        simultaneous(studio.labels, np.arange(8), 1)
    with pytest.raises(UsageError, match="no instant was seen by 4 cameras, but by 3 at most; prepare all cameras"):
        Loader(studio, (), batch_size=2, input_px=32, views=4)
    doubled = rig(make_shards(8), ("c1",) * 8)
    with pytest.raises(UsageError, match="the same frame of a sequence before one camera; use data with one sample"):
        simultaneous(doubled.labels, np.arange(8), 2)


def test_a_batch_of_groups_holds_the_single_images(studio: ShardSet) -> None:
    loader = Loader(studio, ("rgb",), batch_size=8, input_px=32, views=2, asks=("keys",))
    (groups,), (single,) = loader, Loader(studio, ("rgb",), batch_size=8, input_px=32)
    rows = [0, 1, 1, 2, 2, 1, 3, 6, 5, 7, 6, 3, 7, 5]
    assert groups.keys == tuple(studio.keys[rows])
    assert torch.equal(groups.images["rgb"], single.images["rgb"][rows])
    assert loader.samples == 7
    assert loader.state_dict()["views"] == 2
    assert single.keys is None


def test_the_validation_curve_has_groups_too(studio: ShardSet) -> None:
    """Those of the loader, with what the stage asks for, once for each view of the curve."""
    stage = Stage("lift", {"target": ("rgb",)}, (), {}, steps=1, batch_size=7, views=2, asks=("keys", "extrinsics"))
    plain, turned = RoleData(domain("h36m"), studio).fixed(stage, "target", 32, "cpu", (PLAIN, VIEWS[0]), 7)
    (groups,) = Loader(studio, ("rgb",), batch_size=7, input_px=32, views=2, asks=("keys",))
    for batch in (*plain, *turned):
        assert batch.keys == groups.keys
        assert batch.poses is not None
    assert torch.equal(plain[0].images["rgb"], groups.images["rgb"])
    assert not torch.equal(turned[0].images["rgb"], groups.images["rgb"])


def test_two_ranks_divide_the_groups_and_resume_is_exact(studio: ShardSet) -> None:
    options: dict[str, Any] = {"input_px": 32, "shuffle": True, "seed": 3, "augmentation": Augmentation(),
                               "views": 2, "asks": ("keys",)}  # fmt: skip
    alone = list(itertools.islice(Loader(studio, ("rgb",), batch_size=4, **options), 4))
    halves = [Loader(studio, ("rgb",), batch_size=2, rank=rank, world=2, **options) for rank in range(2)]
    for whole, *parts in zip(alone, *halves, strict=False):
        groups = whole.images["rgb"].unflatten(0, (-1, 2))
        for rank, part in enumerate(parts):
            assert torch.equal(part.images["rgb"].unflatten(0, (-1, 2)), groups[rank::2])
    cut = Loader(studio, ("rgb",), batch_size=4, **options)
    list(itertools.islice(cut, 2))
    again = Loader(studio, ("rgb",), batch_size=4, **options)
    again.load_state_dict(cut.state_dict())
    for first, second in zip(alone[2:], again, strict=False):
        assert first.keys == second.keys
        assert torch.equal(first.images["rgb"], second.images["rgb"])


def test_extrinsics_place_the_labels_in_one_world_however_images_are_augmented(studio: ShardSet) -> None:
    """World points through the given cameras are the labels; so two views of an instant could be triangulated."""
    labels = studio.labels
    ground = np.einsum("nji,nkj->nki", labels.rotation, labels.joints_cam_mm) + labels.position_world_mm[:, None]
    loader = Loader(studio, ("depth",), batch_size=8, input_px=32, asks=("extrinsics",), augmentation=Augmentation())
    (batch,) = loader
    assert isinstance(batch, LabelledBatch)
    assert batch.poses is not None
    # A mirrored image shows left as right, and the depth image lets the world grow.
    for row in range(8):
        turn, center = batch.poses.rotation[row].double(), batch.poses.center_mm[row].double()
        scale = float(center.norm()) / np.linalg.norm(labels.position_world_mm[row])
        points = torch.from_numpy(ground[row]) * scale
        seen = (points - center) @ turn.T
        found = batch.joints_cam_mm[row].double()
        if torch.linalg.det(turn) < 0:
            seen = seen[torch.from_numpy(H36M17.mirror)]
        torch.testing.assert_close(seen, found, rtol=0, atol=0.05)
    assert middle(batch, 1).poses is not None


def test_unlabelled_batches_have_what_was_asked_for_and_no_label(studio: ShardSet) -> None:
    found = np.random.default_rng(1).uniform(0, 90, (8, 17, 2)).astype(np.float32)
    options: dict[str, Any] = {"batch_size": 8, "input_px": 32, "labelled": False}
    (batch,) = Loader(studio, (), asks=("keys", "extrinsics"), detections_px=found, **options)
    assert type(batch) is UnlabelledBatch
    assert batch.keys == tuple(studio.keys)
    assert batch.poses is not None
    torch.testing.assert_close(batch.poses.center_mm, torch.from_numpy(studio.labels.position_world_mm).float())
    moved = batch.to("cpu")
    assert moved.keys == batch.keys
    assert moved.poses is not None
    (bare,) = Loader(studio, (), **options)
    assert (bare.keys, bare.poses, bare.detections_px) == (None, None, None)


def test_detections_are_augmented_as_joints_are(studio: ShardSet) -> None:
    options: dict[str, Any] = {"batch_size": 8, "input_px": 32, "augmentation": Augmentation()}
    (batch,) = Loader(studio, (), detections_px=studio.labels.joints_px, **options)
    assert isinstance(batch, LabelledBatch)
    assert batch.detections_px is not None
    torch.testing.assert_close(batch.detections_px, batch.joints_px)
