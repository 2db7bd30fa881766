"""The loader: exact geometry end to end, hidden labels, order, exact-once passes and exact resume."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.geometry.crops import MARGIN, crop_person
from kt3d_bench.geometry.reference import surface_reference_mm
from kt3d_bench.loading.augment import Augmentation
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.loading.images import crop_boxes
from kt3d_bench.loading.loader import Loader
from kt3d_bench.records import Camera
from kt3d_bench.skeletons import LABEL_SUBSETS
from kt3d_bench.supervision import LEVELS, Grant, grant

LEFT_WRIST, RIGHT_WRIST = 13, 16
ALL = ("rgb", "depth", "parts")


def tensors(batch: UnlabelledBatch) -> dict[str, Tensor]:
    found = {f"image {name}": image for name, image in batch.images.items()}
    found |= {"K": batch.cameras.intrinsics_px, "d": batch.cameras.distortion, "surface": batch.surface_mm}
    if isinstance(batch, LabelledBatch):
        for name in ("joints_px", "joints_cam_mm", "joints_root_mm", "mask_2d", "mask_3d", "world_to_cam"):
            found[name] = getattr(batch, name)
    return found


def assert_same(first: UnlabelledBatch, second: UnlabelledBatch) -> None:
    one, two = tensors(first), tensors(second)
    assert type(first) is type(second)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0, equal_nan=True, msg=name)


def labelled(shards: ShardSet, modalities: tuple[str, ...] = ALL, **more: Any) -> Iterator[LabelledBatch]:
    for batch in Loader(shards, modalities, **{"batch_size": 4, "input_px": 64, **more}):
        assert isinstance(batch, LabelledBatch)
        yield batch


@pytest.mark.parametrize(("longest", "input_px"), [(96, 64), (320, 32), (96, 128)])
def test_image_joints_and_camera_move_together(
    make_shards: Callable[..., ShardSet], longest: int, input_px: int
) -> None:
    shards = make_shards(longest=longest)
    wild = Augmentation(rotation_rad=1.0, colour=0.0, body_scale=0.3, shift=0.1)
    mirrored = 0
    for batch in labelled(shards, augmentation=wild, input_px=input_px):
        joints, cameras = batch.joints_px.double().numpy(), batch.cameras
        projected = project_arrays(
            cameras.intrinsics_px.numpy(),
            cameras.distortion.numpy(),
            cameras.tangential_factor,
            batch.joints_cam_mm.numpy(),
        )
        np.testing.assert_allclose(projected, joints, atol=2e-3)
        rows, columns = np.mgrid[:input_px, :input_px]
        for i in range(batch.size):
            weight = batch.images["rgb"][i].mean(0).double().numpy()
            weight[weight < 0.1] = 0
            dot = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
            distances = [np.abs(dot - joints[i, joint]).max() for joint in (LEFT_WRIST, RIGHT_WRIST)]
            mirrored += distances[1] < distances[0]
            inside = (joints[i, [LEFT_WRIST, RIGHT_WRIST]] > 6).all() and (joints[i] < input_px - 6).all()
            if inside:
                assert min(distances) < 0.2
                seen = batch.images["depth"][i, 0].numpy() > 0
                assert np.abs([columns[seen].mean() - dot[0], rows[seen].mean() - dot[1]]).max() < 1.0
    assert 0 < mirrored < 12


def test_mirroring_exchanges_parts_by_the_manifests_table(make_shards: Callable[..., ShardSet]) -> None:
    shards = make_shards()
    still = Augmentation(scale=0, rotation_rad=0, shift=0, colour=0, body_scale=0)
    plain = next(labelled(shards))
    draws = still.draw(0, np.zeros(4, int), np.arange(4))
    assert 0 < draws.mirrored.sum() < 4
    found = next(labelled(shards, augmentation=still)).images["parts"]
    for i in range(4):
        expected = plain.images["parts"][i]
        if draws.mirrored[i]:
            expected = torch.tensor([0, 2, 1, 3])[expected.flip(1)]
        assert (found[i] == expected).float().mean() > 0.97
        assert set(found[i].unique().tolist()) <= {0, 1, 2}


def test_unknown_part_mirror_is_refused_only_where_it_matters(make_shards: Callable[..., ShardSet]) -> None:
    shards = make_shards(part_mirror=None)
    with pytest.raises(UsageError, match="left and right"):
        Loader(shards, ("parts",), batch_size=2, input_px=32, augmentation=Augmentation())
    next(labelled(shards, augmentation=Augmentation(flip=False)))
    next(labelled(shards, ("rgb",), augmentation=Augmentation()))


@pytest.mark.parametrize(("longest", "input_px"), [(96, 64), (320, 32)])
def test_surface_is_the_stored_crops_reference_and_scales_with_the_body(
    make_shards: Callable[..., ShardSet], longest: int, input_px: int
) -> None:
    """Shrunk or not, a depth image holds stored readings only, times the body's scale."""
    shards = make_shards(longest=longest)
    stored = [surface_reference_mm(shards.image(i, "depth_mm")) for i in range(4)]
    np.testing.assert_allclose(next(labelled(shards, input_px=input_px)).surface_mm, stored)
    augmentation = Augmentation(body_scale=0.3)
    scale = augmentation.draw(0, np.zeros(4, int), np.arange(4)).body_scale
    batch = next(labelled(shards, augmentation=augmentation, input_px=input_px))
    np.testing.assert_allclose(batch.surface_mm, stored * scale, rtol=1e-6)
    nearest = torch.where(batch.images["depth"] > 0, batch.images["depth"], torch.inf).amin((1, 2, 3))
    np.testing.assert_allclose(nearest, stored * scale, rtol=1e-6)
    np.testing.assert_allclose(batch.joints_cam_mm[..., 2].mean(1), 4000 * scale, rtol=0.05)


def test_body_size_is_left_alone_without_a_depth_image(make_shards: Callable[..., ShardSet]) -> None:
    shards = make_shards()
    batch = next(labelled(shards, ("rgb",), augmentation=Augmentation(body_scale=0.5, flip=False)))
    np.testing.assert_allclose(batch.joints_cam_mm[..., 2], shards.labels.joints_cam_mm[:4, :, 2])
    assert batch.surface_mm.isnan().all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("joints", [1, 6])
def test_each_level_shows_its_labels_and_no_other(
    make_shards: Callable[..., ShardSet], level: str, joints: int
) -> None:
    given = grant(level, joints)
    partial = np.isin(np.arange(17), LABEL_SUBSETS[joints])
    seen = {"none": partial & False, "partial": partial, "full": partial | True}[level.partition("-")[0]]
    see_2d, see_3d = seen & (not level.endswith("3d")), seen & (not level.endswith("2d"))
    for batch in labelled(make_shards(), ("rgb",), grant=given, augmentation=Augmentation()):
        np.testing.assert_array_equal(batch.mask_2d, np.tile(see_2d, (4, 1)))
        np.testing.assert_array_equal(batch.mask_3d, np.tile(see_3d, (4, 1)))
        np.testing.assert_array_equal(batch.joints_px.isfinite().all(-1), np.tile(seen, (4, 1)))
        np.testing.assert_array_equal(batch.joints_px.isnan().all(-1), ~np.tile(seen, (4, 1)))
        np.testing.assert_array_equal(batch.joints_root_mm.isfinite().all(-1), np.tile(see_3d, (4, 1)))
        np.testing.assert_array_equal(batch.joints_cam_mm.isfinite().all(-1), np.tile(see_3d & see_3d[0], (4, 1)))
        np.testing.assert_array_equal(batch.joints_cam_mm.isnan().any(-1), ~np.tile(see_3d & see_3d[0], (4, 1)))


def test_a_grant_belongs_to_the_person_not_to_the_picture(make_shards: Callable[..., ShardSet]) -> None:
    """A grant of the left wrist alone shows the same wrist after a mirror has made it the right one."""
    mask = np.arange(17) == LEFT_WRIST
    lopsided = Grant("partial-2d", mask, mask & False)
    still = Augmentation(scale=0, rotation_rad=0, shift=0, colour=0)
    mirrored = still.draw(0, np.zeros(4, int), np.arange(4)).mirrored
    batch = next(labelled(make_shards(), ("rgb",), grant=lopsided, augmentation=still))
    assert [int(row.nonzero()[0]) for row in batch.mask_2d] == [RIGHT_WRIST if m else LEFT_WRIST for m in mirrored]


@pytest.mark.parametrize("shuffle", [False, True])
def test_without_labels_no_label_can_change_a_batch(
    make_shards: Callable[..., ShardSet], corrupt: Callable[[ShardSet], ShardSet], shuffle: bool
) -> None:
    shards = make_shards()
    ruined = corrupt(shards)
    assert not np.array_equal(ruined.labels.joints_px, shards.labels.joints_px)
    for blind, more in ((False, {"grant": grant("none"), "labelled": True}), (True, {"labelled": False})):
        options = {"batch_size": 4, "input_px": 48, "augmentation": Augmentation(), "shuffle": shuffle, **more}
        pairs = zip(Loader(shards, ALL, **options), Loader(ruined, ALL, **options), strict=not shuffle)
        for first, second in itertools.islice(pairs, 4):
            assert isinstance(first, LabelledBatch) is not blind
            assert_same(first, second)
    for (_, first), (_, second) in zip(
        Loader(shards, ALL, batch_size=5, input_px=48).ordered(),
        Loader(ruined, ALL, batch_size=5, input_px=48).ordered(),
        strict=True,
    ):
        assert type(first) is UnlabelledBatch
        assert_same(first, second)


def test_2d_datasets_have_no_3d_labels(make_shards: Callable[..., ShardSet]) -> None:
    batch = next(labelled(make_shards(4, ("rgb",), flat=True), ("rgb",)))
    assert batch.mask_2d.all()
    assert not batch.mask_3d.any()
    assert batch.joints_px.isfinite().all()
    assert batch.joints_root_mm.isnan().all()


def test_labels_alone_can_be_loaded(make_shards: Callable[..., ShardSet]) -> None:
    shards = make_shards()
    alone, full = next(labelled(shards, ())), next(labelled(shards, ("rgb",)))
    assert alone.images == {}
    torch.testing.assert_close(alone.joints_px, full.joints_px)
    torch.testing.assert_close(alone.cameras.intrinsics_px, full.cameras.intrinsics_px)


def test_prediction_sees_every_sample_once_whatever_the_ranks(make_shards: Callable[..., ShardSet]) -> None:
    shards = make_shards(11, ("depth",))
    seen: list[int] = []
    for rank in range(3):
        loader = Loader(shards, ("depth",), batch_size=2, input_px=32, rank=rank, world=3, augmentation=Augmentation())
        for indices, batch in loader.ordered():
            assert len(indices) == batch.size
            stored = [surface_reference_mm(shards.image(int(i), "depth_mm")) for i in indices]
            np.testing.assert_allclose(batch.surface_mm, stored)
            seen += indices.tolist()
    assert sorted(seen) == list(range(11))


def _surfaces(batches: Iterator[UnlabelledBatch], count: int) -> list[float]:
    return [float(value) for batch in itertools.islice(batches, count) for value in batch.surface_mm]


def test_the_endless_pass_uses_every_sample_once_per_epoch(make_shards: Callable[..., ShardSet]) -> None:
    """Sample i has surface 3000 + 10 i, so the surface says which sample it is."""
    shards = make_shards(10, ("depth",))
    loader = Loader(shards, ("depth",), batch_size=4, input_px=32, shuffle=True, seed=3)
    assert loader.batches_per_epoch == 3
    seen = _surfaces(iter(loader), 5)
    assert sorted(seen[:10]) == sorted(seen[10:]) == [3000 + 10 * i for i in range(10)]
    assert seen[:10] != seen[10:]
    ranks = [
        _surfaces(iter(Loader(shards, ("depth",), batch_size=2, input_px=32, shuffle=True, seed=3, rank=r, world=2)), 5)
        for r in range(2)
    ]
    assert [value for pair in zip(*ranks, strict=True) for value in pair] == seen


@pytest.mark.parametrize("rank", [0, 1])
def test_the_names_of_a_batchs_samples_are_those_of_its_labels(make_shards: Callable[..., ShardSet], rank: int) -> None:
    shards = make_shards()
    loader = Loader(shards, (), batch_size=3, input_px=64, seed=5, shuffle=True, rank=rank, world=2)
    row_of = {str(key): row for row, key in enumerate(shards.keys)}
    for number, batch in enumerate(itertools.islice(loader, 9)):
        assert isinstance(batch, LabelledBatch)
        rows = [row_of[key] for key in loader.keys(number)]
        np.testing.assert_array_equal(batch.joints_cam_mm.numpy(), shards.labels.joints_cam_mm[rows])


def test_resume_is_exact(make_shards: Callable[..., ShardSet]) -> None:
    shards = make_shards(10)
    options: dict[str, Any] = {
        "batch_size": 4, "input_px": 32, "shuffle": True, "seed": 3, "augmentation": Augmentation(), "cache_bytes": 0,
    }  # fmt: skip
    uninterrupted = list(itertools.islice(Loader(shards, ALL, **options), 7))
    loader = Loader(shards, ALL, **options)
    list(itertools.islice(loader, 4))
    state = loader.state_dict()
    for first, second in zip(uninterrupted[4:], itertools.islice(loader, 3), strict=True):
        assert_same(first, second)
    again = Loader(shards, ALL, **{**options, "cache_bytes": 1 << 30, "workers": 1})
    again.load_state_dict(state)
    for first, second in zip(uninterrupted[4:], itertools.islice(again, 3), strict=True):
        assert_same(first, second)
    assert again.state_dict() == loader.state_dict()


def test_a_pass_goes_on_with_another_number_of_ranks(make_shards: Callable[..., ShardSet]) -> None:
    """The order of samples and their augmentation belong to the whole, not to a rank."""
    shards = make_shards(10)
    options: dict[str, Any] = {"input_px": 32, "shuffle": True, "seed": 3, "augmentation": Augmentation()}
    alone = Loader(shards, ALL, batch_size=4, **options)
    list(itertools.islice(alone, 2))
    state = alone.state_dict()
    halves = [Loader(shards, ALL, batch_size=2, rank=rank, world=2, **options) for rank in range(2)]
    for half in halves:
        half.load_state_dict(state)
    for whole, *parts in zip(itertools.islice(alone, 3), *map(iter, halves), strict=False):
        for rank, part in enumerate(parts):
            for name, image in part.images.items():
                torch.testing.assert_close(image, whole.images[name][rank::2], rtol=0, atol=0)
            torch.testing.assert_close(part.joints_px, whole.joints_px[rank::2], rtol=0, atol=0, equal_nan=True)
    assert halves[0].state_dict() == halves[1].state_dict() == alone.state_dict()


def test_resume_on_other_data_or_settings_is_refused(make_shards: Callable[..., ShardSet]) -> None:
    shards = make_shards(6, ("depth",))
    state = Loader(shards, ("depth",), batch_size=4, input_px=32, shuffle=True).state_dict()
    for changed in ({"seed": 1}, {"batch_size": 2}, {"world": 2}, {"limit": 3}):
        other = Loader(shards, ("depth",), **{"batch_size": 4, "input_px": 32, "shuffle": True, **changed})
        with pytest.raises(ArtefactError, match="resume with the same"):
            other.load_state_dict(state)


def test_limit_keeps_a_fixed_nested_choice(make_shards: Callable[..., ShardSet]) -> None:
    shards = make_shards(12, ("depth",))

    def chosen(limit: int | None, seed: int) -> list[int]:
        loader = Loader(shards, ("depth",), batch_size=5, input_px=32, limit=limit, seed=seed)
        return [int(i) for indices, _ in loader.ordered() for i in indices]

    assert chosen(5, 0) == chosen(5, 1) == sorted(chosen(5, 0))
    assert set(chosen(5, 0)) < set(chosen(8, 0))
    assert chosen(5, 0) != list(range(5))
    assert chosen(99, 0) == chosen(None, 0) == list(range(12))


def test_modalities_that_are_not_there_are_refused(make_shards: Callable[..., ShardSet]) -> None:
    with pytest.raises(UsageError, match=r"split 'train' holds no 'depth' images, only rgb; choose"):
        Loader(make_shards(2, ("rgb",)), ("depth",), batch_size=2, input_px=32)
    with pytest.raises(UsageError, match="rank 2 of 2"):
        Loader(make_shards(2, ("rgb",)), ("rgb",), batch_size=2, input_px=32, rank=2, world=2)


def test_poses_without_images_give_labels_and_cameras(make_shards: Callable[..., ShardSet]) -> None:
    with_images, poses = make_shards(6, ("rgb",)), make_shards(6, ())
    assert poses.modalities == ()
    assert poses.fields == ("labels",)
    (expected,) = Loader(with_images, (), batch_size=6, input_px=32)
    (batch,) = Loader(poses, (), batch_size=6, input_px=32)
    assert isinstance(batch, LabelledBatch)
    assert not batch.images
    assert batch.surface_mm.isnan().all()
    for name in ("joints_px", "joints_cam_mm", "joints_root_mm", "mask_2d", "mask_3d"):
        torch.testing.assert_close(getattr(batch, name), getattr(expected, name), rtol=0, atol=0)
    torch.testing.assert_close(batch.cameras.intrinsics_px, expected.cameras.intrinsics_px)
    with pytest.raises(UsageError, match=r"no 'rgb' images, only poses; prepare dots from a download with images"):
        Loader(poses, ("rgb",), batch_size=2, input_px=32)


def test_a_damaged_image_stops_the_pass_by_name(make_shards: Callable[..., ShardSet]) -> None:
    shards = make_shards(6, ("depth",))
    path: Path = shards.folder / "train-000000.tar"
    data = bytearray(path.read_bytes())
    start = int(shards.offsets[4, 0])
    data[start + 20 : start + 60] = bytes(40)
    path.write_bytes(data)
    loader = Loader(ShardSet.open(shards.folder, "train"), ("depth",), batch_size=2, input_px=32)
    batches = iter(loader)
    next(batches), next(batches)
    with pytest.raises(ArtefactError, match="s004"):
        next(batches)


def test_the_persons_square_is_found_from_the_crop_alone() -> None:
    """To within a pixel of the crop, for boxes of any shape, large enough to be shrunk or not."""
    rng = np.random.default_rng(0)
    camera = Camera.pinhole((500.0, 500.0), (320.0, 240.0), (640, 480))
    frame = np.zeros((480, 640, 3), np.uint8)
    for _ in range(40):
        low = rng.uniform(20, 400, 2)
        box = np.concatenate([low, low + rng.uniform(30, 400, 2)])
        crop = crop_person(camera, box, rgb=frame)
        size, (x0, y0, x1, y1) = np.array([crop.camera.size_px]), crop.to_crop(box.reshape(2, 2)).ravel()
        half = max(x1 - x0, y1 - y0) / 2
        expected = [(x0 + x1) / 2 - half, (y0 + y1) / 2 - half, (x0 + x1) / 2 + half, (y0 + y1) / 2 + half]
        np.testing.assert_allclose(crop_boxes(size, MARGIN)[0], expected, atol=1.5)
