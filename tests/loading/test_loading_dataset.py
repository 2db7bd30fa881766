"""``kt.load`` and ``kt.webdataset``: the samples as they were written, selections, tensors, worker processes."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import kt3d_bench as kt
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.loading.loader import Loader
from kt3d_bench.records import Camera, Sample

ALL = ("rgb", "depth", "parts")


MakeShards = Callable[..., ShardSet]


@pytest.fixture
def test(make_shards: MakeShards) -> kt.Dataset:
    return kt.load("dots", "train", shards=make_shards(tars=3).folder)


def assert_same(one: Sample, other: Sample, *, jpeg: bool = False) -> None:
    """Every field equal to the last bit; of an image that went through JPEG, to within a few grey levels."""
    for field in dataclasses.fields(Sample):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, Camera):
            for part in dataclasses.fields(Camera):
                np.testing.assert_array_equal(getattr(left, part.name), getattr(right, part.name), err_msg=part.name)
        elif field.name == "rgb" and jpeg:
            np.testing.assert_allclose(left.astype(int), right.astype(int), atol=12)
        elif isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right, err_msg=field.name)
            assert left.dtype == right.dtype
        else:
            assert left == right, field.name


def test_it_gives_the_samples_that_were_written(test: kt.Dataset, written: list[Sample]) -> None:
    assert len(test) == 12
    for read, sample in zip(test, written, strict=True):
        assert_same(read, sample, jpeg=True)
    assert test[-1].key == "s011"
    with pytest.raises(IndexError, match="sample 12 of 12"):
        test[12]


def test_its_arrays_are_the_samples_labels(test: kt.Dataset, written: list[Sample]) -> None:
    assert test.keys.tolist() == [sample.key for sample in written]
    np.testing.assert_array_equal(test.joints_cam_mm, [sample.joints_cam_mm for sample in written])
    np.testing.assert_array_equal(test.joints_px, [sample.joints_px for sample in written])
    assert test.labels.action.tolist() == ["walk", "sit"] * 6
    assert (test.joints_cam_mm.dtype, test.joints_cam_mm.shape) == (np.float32, (12, 17, 3))


def test_select_keeps_what_has_the_wanted_labels(test: kt.Dataset) -> None:
    assert test.select(subject="S2").keys.tolist() == ["s001", "s004", "s007", "s010"]
    walking = test.select(subject=["S1", "S2"], action="walk")
    assert walking.keys.tolist() == ["s000", "s004", "s006", "s010"]
    assert walking.select(frame=[4, 10])[1].key == "s010"
    np.testing.assert_array_equal(walking.joints_px, test.joints_px[[0, 4, 6, 10]])
    assert [sample.key for sample in walking] == walking.keys.tolist()
    assert walking.shards.keys.tolist() == walking.keys.tolist()
    assert test.select(subject="S3", frame=0).keys.tolist() == []


def test_slices_and_masks_give_selections(test: kt.Dataset) -> None:
    assert test[2:6:2].keys.tolist() == ["s002", "s004"]
    assert test[test.labels.frame > 9].keys.tolist() == ["s010", "s011"]
    assert test[4:][[0, -1]].keys.tolist() == ["s004", "s011"]


def test_a_selection_copies_no_labels_and_opens_no_file(test: kt.Dataset) -> None:
    chosen = test.select(action="sit")
    assert chosen._whole is test._whole
    assert np.shares_memory(test.joints_cam_mm, test.shards.labels.joints_cam_mm)
    assert not chosen._whole._files._descriptors


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"actor": "S1"}, "samples are not selected by 'actor'; did you mean 'action'"),
        ({"action": "wlak"}, "no sample has action 'wlak'; did you mean 'walk'"),
        ({"subject": ["S1", "S9"]}, "no sample has subject 'S9'"),
        ({"frame": 99}, "no sample has frame 99"),
    ],
)
def test_select_refuses_what_no_sample_has(test: kt.Dataset, wanted: dict[str, object], message: str) -> None:
    with pytest.raises(kt.UsageError) as caught:
        test.select(**wanted)
    assert all(part in caught.value.message for part in message.split("; "))


def test_it_is_found_below_the_data_root(
    make_shards: MakeShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_shards().folder
    (tmp_path / "root" / "shards").mkdir(parents=True)
    folder.rename(tmp_path / "root" / "shards" / "dots")
    assert len(kt.load("dots", "train", data=tmp_path / "root")) == 12
    monkeypatch.setenv("KT3D_DATA", str(tmp_path / "root"))
    assert len(kt.load("dots", "train")) == 12
    with pytest.raises(kt.UsageError, match=r"there is no split 'trian'.*did you mean 'train'"):
        kt.load("dots", "trian")
    with pytest.raises(kt.UsageError, match="not both"):
        kt.load("dots", "train", data=tmp_path, shards=folder)
    with pytest.raises(kt.UsageError, match=r"these are shards of dots, not of mpii"):
        kt.load("mpii", "train", shards=tmp_path / "root" / "shards" / "dots")


def test_missing_shards_name_the_command_and_a_misspelt_dataset_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(kt.ArtefactError, match="shards are missing; run: kt3d prepare mpii"):
        kt.load("mpii", "train", data=tmp_path)
    with pytest.raises(kt.UsageError, match="there is no dataset 'mpi'; did you mean 'mpii'"):
        kt.load("mpi", "train", data=tmp_path)


def test_tensors_are_those_of_the_loader(test: kt.Dataset) -> None:
    view = test.torch(input_px=64)
    assert len(view) == 12
    (batch,) = Loader(test.shards, ALL, batch_size=12, input_px=64)
    assert isinstance(batch, LabelledBatch)
    whole = torch.utils.data.default_collate([view[i] for i in range(12)])
    assert whole.pop("key") == test.keys.tolist()
    expected = {
        **batch.images,
        "intrinsics_px": batch.cameras.intrinsics_px,
        "distortion": batch.cameras.distortion,
        **{name: getattr(batch, name) for name in whole.keys() - {*ALL, "intrinsics_px", "distortion"}},
    }
    assert whole.keys() == {*ALL, "surface_mm", "joints_px", "joints_cam_mm", "joints_root_mm", "mask_2d", "mask_3d",
                            "intrinsics_px", "distortion"}  # fmt: skip
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, equal_nan=True, msg=name)


def test_tensors_of_some_images_only(test: kt.Dataset) -> None:
    assert not {"rgb", "depth", "parts", "surface_mm"} & test.torch(64, modalities=())[0].keys()
    depth = test.select(action="sit").torch(32, modalities=("depth",))
    assert depth[0]["key"] == "s001"
    values = np.unique(depth[0]["depth"])
    assert values.tolist() == [0, 3010], "a depth between person and background was invented"
    with pytest.raises(kt.UsageError, match="holds no 'infrared' images"):
        test.torch(modalities=("infrared",))
    with pytest.raises(IndexError):
        depth[6]


def test_absent_3d_joints_are_nan(make_shards: MakeShards) -> None:
    flat = kt.load("dots", "train", shards=make_shards(flat=True).folder)
    assert flat[0].joints_cam_mm is None
    assert np.isnan(flat.joints_cam_mm).all()
    tensors = flat.torch(64)[0]
    assert torch.isnan(tensors["joints_root_mm"]).all()
    assert not tensors["mask_3d"].any()
    assert tensors["mask_2d"].all()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_of_a_dataloader_give_the_same(test: kt.Dataset, start: str) -> None:
    view = test.torch(input_px=32)
    view[0]
    alone = list(torch.utils.data.DataLoader(view, batch_size=5))
    together = list(torch.utils.data.DataLoader(view, batch_size=5, num_workers=2, multiprocessing_context=start))
    assert [len(batch["key"]) for batch in together] == [5, 5, 2]
    for one, other in zip(alone, together, strict=True):
        assert one.pop("key") == other.pop("key")
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), name


def test_a_pickled_dataset_opens_its_own_files(test: kt.Dataset) -> None:
    first = test.select(action="walk")
    first[0]
    again = pickle.loads(pickle.dumps(first))
    assert not again._whole._files._descriptors
    assert_same(again[1], first[1])


def test_webdataset_yields_the_same_samples(test: kt.Dataset) -> None:
    pipeline = kt.webdataset("dots", "train", shards=test.shards.folder)
    streamed = list(pipeline)
    assert len(streamed) == 12
    for one, other in zip(streamed, test, strict=True):
        assert_same(one, other)


def test_workers_share_the_shards_of_a_webdataset(test: kt.Dataset) -> None:
    pipeline = kt.webdataset("dots", "train", shards=test.shards.folder)
    loader = torch.utils.data.DataLoader(pipeline, batch_size=None, num_workers=2)
    assert sorted(sample.key for sample in loader) == test.keys.tolist()


def test_webdataset_names_the_shard_of_a_sample_that_cannot_be_decoded(test: kt.Dataset) -> None:
    path = test.shards.paths[1]
    index = np.load(path.with_suffix(".index.npz"))
    data = bytearray(path.read_bytes())
    at = int(index["offset.depth_mm"][0])
    data[at : at + 8] = b"nothing!"
    path.write_bytes(bytes(data))
    with pytest.raises(kt.ArtefactError, match=r"not a PNG image.*kt3d prepare") as caught:
        list(kt.webdataset("dots", "train", shards=test.shards.folder))
    assert caught.value.where == str(path)


def test_loading_imports_no_torch(test: kt.Dataset) -> None:
    script = (
        "import sys, json, kt3d_bench as kt\n"
        f"d = kt.load('dots', 'train', shards={str(test.shards.folder)!r})\n"
        "sample = d.select(action='walk')[1]\n"
        "print(json.dumps([sample.key, sorted({'torch', 'scipy', 'webdataset'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == ["s002", []]
