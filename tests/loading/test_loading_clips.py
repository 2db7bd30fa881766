"""Clips: exact neighbours, edges, gaps and borders by hand; batches, ranks and resume against single images."""

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
from kt3d_bench.loading.clips import clip_frames, middle
from kt3d_bench.loading.loader import Loader

ALL = ("rgb", "depth", "parts")
FRAMES = (0, 1, 2, 4, 9, 10, 7, 8, 0, 1)
TRACKS = (("a", "c1", "S1"), ("a", "c2", "S1"), ("b", "c1", "S1"), ("a", "c1", "S2"))
TRACK_OF = (0, 0, 0, 0, 0, 0, 1, 1, 2, 3)


def movie(shards: ShardSet, frames: Any = FRAMES, track_of: Any = TRACK_OF) -> ShardSet:
    """The first samples of ``shards`` as frames of sequences, cameras and people."""
    kept = shards.take(np.arange(len(frames)))
    names = np.array(TRACKS)[np.array(track_of)].T
    told = {"sequence": names[0], "camera_id": names[1], "subject": names[2], "frame": np.array(frames, np.int64)}
    return replace(kept, labels=replace(kept.labels, **told))


@pytest.fixture
def film(make_shards: Callable[..., ShardSet]) -> ShardSet:
    return movie(make_shards(10))


def test_neighbours_are_exact_and_borders_gaps_and_edges_repeat(film: ShardSet) -> None:
    """Sequence a: 0 1 2 . 4 . . . . 9 10 before camera 1; frames 7 and 8 before camera 2 are no neighbours of them."""
    expected = [[0, 0, 0, 1, 2], [0, 0, 1, 2, 2], [0, 1, 2, 2, 3], [2, 3, 3, 3, 3], [4, 4, 4, 5, 5], [4, 4, 5, 5, 5],
                [6, 6, 6, 7, 7], [6, 6, 7, 7, 7], [8] * 5, [9] * 5]  # fmt: skip
    np.testing.assert_array_equal(clip_frames(film.labels, np.arange(10), (5, 1)), expected)


def test_the_stride_counts_frames_of_the_recording(film: ShardSet) -> None:
    found = clip_frames(film.labels, np.arange(10), (3, 2))
    np.testing.assert_array_equal(found[:6], [[0, 0, 2], [1, 1, 1], [0, 2, 3], [2, 3, 3], [4, 4, 4], [5, 5, 5]])


def test_neighbours_come_from_the_chosen_samples_alone(film: ShardSet) -> None:
    found = clip_frames(film.labels, np.array([0, 2, 3]), (5, 1))
    np.testing.assert_array_equal(found[[0, 2, 3]], [[0, 0, 0, 0, 2], [0, 2, 2, 2, 3], [2, 3, 3, 3, 3]])
    assert (found[[1, 4, 5, 6, 7, 8, 9]] == -1).all()


def test_one_frame_is_the_sample_itself(film: ShardSet) -> None:
    np.testing.assert_array_equal(clip_frames(film.labels, np.arange(10), (1, 1)), np.arange(10)[:, None])


@pytest.mark.parametrize("clip", [(4, 1), (0, 1), (3, 0)])
def test_impossible_clips_are_refused(film: ShardSet, clip: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"a clip of . frames, every .; choose an odd number"):
        clip_frames(film.labels, np.arange(10), clip)


def test_data_that_makes_no_clips_is_refused(make_shards: Callable[..., ShardSet]) -> None:
    with pytest.raises(UsageError, match="two samples are the same frame of a sequence"):
        Loader(movie(make_shards(4), (3, 3, 1, 2), (0,) * 4), (), batch_size=2, input_px=32, clip=(3, 1))
    sparse = movie(make_shards(4), (0, 64, 128, 192), (0,) * 4)
    with pytest.raises(UsageError, match=r"no sample has a neighbour for clips of \(3, 1\).*prepare neighbouring"):
        Loader(sparse, (), batch_size=2, input_px=32, clip=(3, 1), shuffle=True)
    (batch,) = Loader(sparse, (), batch_size=4, input_px=32, clip=(3, 1))
    assert batch.size == 12


@pytest.mark.parametrize("modalities", [ALL, ()])
def test_a_batch_of_clips_holds_the_single_images(film: ShardSet, modalities: tuple[str, ...]) -> None:
    clips = Loader(film, modalities, batch_size=10, input_px=32, clip=(3, 1))
    (batch,), (single,) = clips, Loader(film, modalities, batch_size=10, input_px=32)
    rows = clip_frames(film.labels, np.arange(10), (3, 1)).ravel()
    assert isinstance(batch, LabelledBatch)
    assert isinstance(single, LabelledBatch)
    assert_rows(batch, single, rows)
    assert_rows(middle(batch, 3), single, np.arange(10))
    ((indices, seen),) = clips.ordered()
    np.testing.assert_array_equal(indices, np.arange(10))
    assert type(seen) is type(middle(seen, 3)) is UnlabelledBatch
    assert_rows(seen, single, rows)


def assert_rows(found: UnlabelledBatch, single: LabelledBatch, rows: np.ndarray) -> None:
    for name in single.images:
        torch.testing.assert_close(found.images[name], single.images[name][rows], rtol=0, atol=0)
    torch.testing.assert_close(found.cameras.intrinsics_px, single.cameras.intrinsics_px[rows])
    if isinstance(found, LabelledBatch):
        torch.testing.assert_close(found.joints_cam_mm, single.joints_cam_mm[rows], equal_nan=True)


def test_all_frames_of_a_clip_are_augmented_alike(film: ShardSet) -> None:
    """The stored cameras are not turned, so ``world_to_cam`` is the augmentation's turn alone."""
    loader = Loader(film, (), batch_size=10, input_px=32, clip=(3, 1), augmentation=Augmentation())
    (batch,) = loader
    assert isinstance(batch, LabelledBatch)
    turns = batch.world_to_cam.unflatten(0, (-1, 3))
    assert (turns == turns[:, :1]).all()
    assert len({tuple(turn.flatten().tolist()) for turn in turns[:, 0]}) == 10


def test_ranks_see_disjoint_clips_and_resume_is_exact(film: ShardSet) -> None:
    options: dict[str, Any] = {"input_px": 32, "shuffle": True, "seed": 3, "augmentation": Augmentation(),
                               "clip": (3, 1)}  # fmt: skip
    alone = Loader(film, ALL, batch_size=4, **options)
    whole = list(itertools.islice(alone, 5))
    halves = [Loader(film, ALL, batch_size=2, rank=rank, world=2, **options) for rank in range(2)]
    assert not set(halves[0].keys(0)) & set(halves[1].keys(0))
    for number, *parts in zip(range(5), *halves, strict=False):
        clips = whole[number].images["rgb"].unflatten(0, (-1, 3))
        for rank, part in enumerate(parts):
            torch.testing.assert_close(part.images["rgb"].unflatten(0, (-1, 3)), clips[rank::2], rtol=0, atol=0)
    cut = Loader(film, ALL, batch_size=4, **options)
    list(itertools.islice(cut, 2))
    again = Loader(film, ALL, batch_size=4, **options)
    again.load_state_dict(cut.state_dict())
    for first, second in zip(whole[2:], itertools.islice(again, 3), strict=True):
        torch.testing.assert_close(first.images["depth"], second.images["depth"], rtol=0, atol=0)
    assert cut.state_dict()["clip"] == [3, 1]
    assert "clip" not in Loader(film, (), batch_size=4, input_px=32).state_dict()
