"""Opening and reading shards at random, and refusing those that do not agree with themselves."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from data_fake_dataset import plugin, sample

from kt3d_bench.data.format import decode_depth, encode
from kt3d_bench.data.manifest import labels_digest, read_manifest, sample_list_digest
from kt3d_bench.data.prepare import prepare
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError


@pytest.fixture
def folder(tmp_path: Path, card_folder: Path, raw: Path) -> Path:
    out = tmp_path / "shards" / "fake"
    prepare(plugin(card_folder), raw=raw, out=out, workers=1, samples_per_shard=6)
    return out


@pytest.fixture
def shards(folder: Path) -> ShardSet:
    return ShardSet.open(folder, "train", verify=True)


SEEDS = [0, 1, 2, 3, 4, 100, 101, 102, 103, 200, 201, 202]
KEYS = [f"train_{name}_{line:03d}" for name, lines in (("a", 5), ("b", 4), ("c", 3)) for line in range(lines)]


def test_everything_written_is_read(shards: ShardSet) -> None:
    assert shards.keys.tolist() == KEYS
    assert [shard.samples for shard in shards.manifest.splits["train"].shards] == [5, 4, 3]
    assert shards.modalities == ("rgb", "depth", "parts")
    assert (shards.origin, shards.num_parts, shards.tangential_factor) == ("official", 5, 2.0)
    for i, (key, seed) in enumerate(zip(KEYS, SEEDS, strict=True)):
        expected = sample(key, seed, subject=key[6])
        members = encode(expected)
        assert shards.read(i, "rgb") == members["rgb.jpg"]
        assert shards.read(i, "labels") == members["sample.json"]
        np.testing.assert_array_equal(shards.image(i, "depth_mm"), expected.depth_mm)
        np.testing.assert_array_equal(shards.image(i, "parts"), expected.parts)
        np.testing.assert_array_equal(shards.labels.joints_px[i], expected.joints_px)
        np.testing.assert_array_equal(shards.labels.joints_cam_mm[i], expected.joints_cam_mm)
        assert shards.labels.size_px[i].tolist() == [12, 9]
        assert (shards.labels.subject[i], shards.labels.frame[i]) == (key[6], seed)
        camera = shards.camera(i)
        for name in ("intrinsics_px", "distortion", "rotation", "position_world_mm", "size_px", "tangential_factor"):
            np.testing.assert_array_equal(getattr(camera, name), getattr(expected.camera, name))
        assert encode(shards.sample(i)).keys() == members.keys()
        assert encode(shards.sample(i))["sample.json"] == members["sample.json"]


def test_the_two_label_copies_agree(shards: ShardSet) -> None:
    for i, one in enumerate(shards.samples()):
        for name in ("joints_px", "joints_cam_mm", "visible", "quality", "box_px", "subject", "action", "sequence"):
            np.testing.assert_array_equal(getattr(one, name), getattr(shards.labels, name)[i])


def test_a_selection_reads_its_own_samples(shards: ShardSet) -> None:
    few = shards.take([10, 2, 5])
    assert few.keys.tolist() == [KEYS[10], KEYS[2], KEYS[5]]
    assert len(few) == len(few.labels) == 3
    np.testing.assert_array_equal(few.image(1, "depth_mm"), shards.image(2, "depth_mm"))
    assert shards.take(shards.labels.subject == "c").keys.tolist() == KEYS[9:]
    assert few.sample_list_digest == shards.take([2, 5, 10]).sample_list_digest != shards.sample_list_digest
    assert few.labels_digest == shards.take([2, 5, 10]).labels_digest != shards.labels_digest


def test_pickles_and_threads_and_forks_read_the_same(shards: ShardSet) -> None:
    expected = [shards.read(i, "rgb") for i in range(len(shards))]
    copy = pickle.loads(pickle.dumps(shards))
    assert [copy.read(i, "rgb") for i in range(len(copy))] == expected
    fresh = ShardSet.open(shards.folder, "train")
    wrong: list[int] = []

    def read_all() -> None:
        wrong.extend(i for i in range(len(fresh)) for _ in range(50) if fresh.read(i, "rgb") != expected[i])

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    child = context.Process(target=lambda: answer.put([shards.read(i, "rgb") for i in range(len(shards))]))
    child.start()
    assert answer.get() == expected
    child.join()


def test_digests_say_content_not_grouping(tmp_path: Path, card_folder: Path, raw: Path, shards: ShardSet) -> None:
    other = prepare(plugin(card_folder), raw=raw, out=tmp_path / "other", workers=1, samples_per_shard=100)
    split, same = other.splits["train"], shards.manifest.splits["train"]
    assert (len(split.shards), len(same.shards)) == (1, 3)
    assert (split.sample_list_digest, split.labels_digest) == (same.sample_list_digest, same.labels_digest)
    assert split.sample_list_digest == sample_list_digest(KEYS[::-1]) == shards.sample_list_digest
    assert split.labels_digest == shards.labels_digest
    assert other.digest != shards.digest


def test_the_labels_digest_notices_labels_but_not_the_last_bit(shards: ShardSet) -> None:
    import dataclasses

    def digest(**changes: np.ndarray) -> str:
        return labels_digest(shards.keys, dataclasses.replace(shards.labels, **changes))

    same = digest()
    joints = shards.labels.joints_cam_mm
    on_grid = np.round(joints, 2)
    assert digest(joints_cam_mm=np.nextafter(on_grid, np.float32(np.inf))) == digest(joints_cam_mm=on_grid)
    for name in ("joints_cam_mm", "joints_px", "box_px", "intrinsics_px", "distortion", "rotation"):
        moved = getattr(shards.labels, name).copy()
        moved[3, 0] += 0.1
        assert digest(**{name: moved}) != same
    hidden = shards.labels.visible.copy()
    hidden[2, 2] += 1
    assert digest(visible=hidden) != same
    absent = joints.copy()
    absent[0, 0] = np.nan
    assert digest(joints_cam_mm=absent) != same
    assert digest(action=np.char.add(shards.labels.action, "x")) != same


def test_a_missing_folder_names_the_command(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ArtefactError, match=r"fake2: the shards are missing; run: kt3d prepare fake2$"):
        ShardSet.open(folder.parent / "fake2", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtefactError, match=r"is empty; run: kt3d prepare DATASET --out .*empty$"):
        ShardSet.open(tmp_path / "empty", "train")


def test_a_folder_of_something_else_is_not_to_be_prepared_into(tmp_path: Path, folder: Path) -> None:
    """A raw folder keeps its name and its files; an interrupted preparation goes on."""
    (tmp_path / "ubc3v").mkdir()
    (tmp_path / "ubc3v" / "groundtruth.mat").write_bytes(b"precious")
    with pytest.raises(ArtefactError, match=r"no manifest; see what it is instead: kt3d inspect .*ubc3v$"):
        read_manifest(tmp_path / "ubc3v")
    (folder / "manifest.json").unlink()
    with pytest.raises(ArtefactError, match=r"no manifest; run the same kt3d prepare command again$"):
        read_manifest(folder)


def test_an_unknown_split_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="there is no split 'tests'; did you mean 'test'"):
        ShardSet.open(folder, "tests")


def test_an_unknown_field_is_named(shards: ShardSet) -> None:
    with pytest.raises(UsageError, match="the shards hold no 'depth'; did you mean 'depth_mm'"):
        shards.read(0, "depth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 7}, "format version 7, this kt3d reads 1; prepare them again"),
        ({"smell": 1}, "manifest is corrupt: .*smell"),
        ({"origin": "found"}, "manifest is corrupt: origin"),
        ({"quality": [1]}, "manifest is corrupt: quality"),
        ({"quality": [7] * 17}, "manifest is corrupt: quality.0"),
        ({"dataset": "../x"}, "manifest is corrupt: dataset"),
        ({"num_parts": 10**30}, "manifest is corrupt: num_parts"),
        ({"part_mirror": [0, 2, 1, 3, 9]}, "manifest is corrupt: .*part_mirror must name each"),
        ({"options": {"step": "\ud800"}}, "manifest is corrupt: .*surrogates not allowed"),
        ({"licence": "\udfff"}, "manifest is corrupt: .*surrogates not allowed"),
        ({"crop": {"margin": float("nan"), "longest_px": 320}}, "manifest is corrupt: crop.margin"),
        ({"splits": {"train\n": {}}}, "manifest is corrupt: splits"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtefactError, match=message):
        ShardSet.open(folder, "train")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff", "[" * 100_000])
def test_a_damaged_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ArtefactError, match=r"manifest .*; run the same kt3d prepare command again"):
        read_manifest(folder)


def test_a_manifest_cannot_point_outside_its_folder(folder: Path) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["train"]["shards"][0]["name"] = "../train-000000.tar"
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match=r"splits\.train\.shards\.0\.name"):
        ShardSet.open(folder, "train")


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "train-000001.tar").unlink()
    with pytest.raises(ArtefactError, match=r"train-000001\.tar: the shard is missing; run the same kt3d prepare"):
        ShardSet.open(folder, "train")
    assert len(ShardSet.open(folder, "test")) == 4


def test_a_cut_shard_is_refused(folder: Path) -> None:
    path = folder / "train-000001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096])
    with pytest.raises(ArtefactError, match=rf"the shard is truncated: 4096 bytes, not {len(whole)}"):
        ShardSet.open(folder, "train")
    path.write_bytes(whole + b"x")
    with pytest.raises(ArtefactError, match="the shard is too long"):
        ShardSet.open(folder, "train")


def test_a_changed_shard_is_found_by_its_digest(folder: Path) -> None:
    path = folder / "train-000002.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtefactError, match="SHA-256 is not the manifest's; delete this file and run the same"):
        ShardSet.open(folder, "train", verify=True)
    assert len(ShardSet.open(folder, "train")) == 12


def test_the_index_of_another_shard_is_refused(folder: Path) -> None:
    shutil.copy(folder / "train-000001.index.npz", folder / "train-000000.index.npz")
    with pytest.raises(ArtefactError, match=r"train-000000\.index\.npz: the index does not belong to this shard"):
        ShardSet.open(folder, "train")


def test_a_missing_index_is_refused(folder: Path) -> None:
    (folder / "train-000000.index.npz").unlink()
    with pytest.raises(ArtefactError, match="the index of this shard is missing"):
        ShardSet.open(folder, "train")


def test_a_manifest_with_other_samples_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["train"]["sample_list_digest"] = content["splits"]["test"]["sample_list_digest"]
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="the indexes do not hold the samples that the manifest lists"):
        ShardSet.open(folder, "train")


def test_damaged_members_name_shard_and_key(folder: Path) -> None:
    shards = ShardSet.open(folder, "train")
    path = folder / "train-000001.tar"
    data = bytearray(path.read_bytes())
    for field in ("rgb", "depth_mm", "labels"):
        at = int(shards.offsets[6, shards.fields.index(field)])
        data[at : at + 4] = b"oops"
    path.write_bytes(data)
    for field in ("rgb", "depth_mm"):
        with pytest.raises(
            ArtefactError,
            match=rf"train-000001\.tar: sample train_b_001: {field} cannot be decoded .*; delete this file",
        ):
            shards.image(6, field)
    with pytest.raises(ArtefactError, match=r"train-000001\.tar: sample train_b_001: "):
        shards.sample(6)
    assert shards.image(6, "parts").shape == (9, 12)
    path.write_bytes(data[:600])
    with pytest.raises(ArtefactError, match=r"sample train_b_003: parts is truncated: 0 of \d+ bytes"):
        shards.read(8, "parts")


def test_an_image_of_another_size_is_refused(folder: Path) -> None:
    shards = ShardSet.open(folder, "train")
    column = shards.fields.index("depth_mm")
    other = encode(sample("k", 1, size_px=(11, 9)))["depth.png"]
    assert len(other) <= shards.sizes[0, column]
    assert decode_depth(other).shape == (9, 11)
    data = bytearray((folder / "train-000000.tar").read_bytes())
    at = int(shards.offsets[0, column])
    data[at : at + len(other)] = other
    (folder / "train-000000.tar").write_bytes(data)
    shards.sizes[0, column] = len(other)
    with pytest.raises(ArtefactError, match="depth_mm is 11 x 9 px, not 12 x 9"):
        shards.image(0, "depth_mm")


def test_a_vanished_shard_is_an_error_when_read(folder: Path) -> None:
    shards = ShardSet.open(folder, "train")
    shutil.rmtree(folder)
    with pytest.raises(ArtefactError, match="sample train_a_000: the shard cannot be read"):
        shards.read(0, "rgb")
