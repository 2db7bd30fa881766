"""The converter on files written by hand and on the one real frame: geometry, depth, parts, selection, refusals."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import kt3d_itop
import numpy as np
import pytest
from itop_handmade import SIDE_JOINTS_M, frames, top_joints_m, write
from kt3d_itop import convert
from kt3d_itop.convert import MAPPING

from kt3d_bench.data.prepare import prepare
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import MissingDataError, RawDataError, UsageError
from kt3d_bench.geometry.cameras import cam_to_world, project
from kt3d_bench.geometry.foreground import person_depth
from kt3d_bench.geometry.reference import surface_reference_mm
from kt3d_bench.plugins.cards import read_card
from kt3d_bench.records import Sample, Skipped
from kt3d_bench.skeletons import H36M17, Quality

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples" / "raw" / "itop"
(PLUGIN,) = kt3d_itop.kt3d_datasets()
COMMON = {"head": 0, "thorax": 1, "right_shoulder": 2, "left_shoulder": 3, "right_elbow": 4, "left_elbow": 5,
          "right_wrist": 6, "left_wrist": 7, "spine": 8, "right_hip": 9, "left_hip": 10, "right_knee": 11,
          "left_knee": 12, "right_ankle": 13, "left_ankle": 14}  # fmt: skip


def run(raw: Path, split: str = "front-test", **options: object) -> tuple[list[Sample], dict[str, str]]:
    found = [result for item in convert.plan(raw, split, options) for result in convert.convert(item)]
    samples = [one for one in found if isinstance(one, Sample)]
    return samples, {one.name: one.reason for one in found if isinstance(one, Skipped)}


def assert_same(one: Sample, other: Sample) -> None:
    assert (one.key, one.sequence) == (other.key, other.sequence)
    for name in ("depth_mm", "parts", "joints_cam_mm", "joints_px", "box_px", "visible"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_names_and_order(tmp_path: Path) -> None:
    write(tmp_path, frames(3))
    samples, skipped = run(tmp_path)
    assert not skipped
    assert [one.key for one in samples] == ["front_test_00_00050", "front_test_00_00051", "front_test_00_00052"]
    first = samples[1]
    assert (first.subject, first.frame, first.camera_id, first.action) == ("00", 51, "front", "")
    assert {one.sequence for one in samples} == {"front_test_00_00050"}
    assert [(item.name, item.expected_samples) for item in convert.plan(tmp_path, "front-test", {})] == [
        ("front_test_rows_00000", 3)
    ]


def test_joints_are_millimetres_with_y_down(tmp_path: Path) -> None:
    write(tmp_path, frames(1))
    sample = run(tmp_path)[0][0]
    assert sample.joints_cam_mm is not None
    stored = SIDE_JOINTS_M.astype(np.float16).astype(np.float64) * 1000
    for name, joint in COMMON.items():
        x, y, z = stored[joint]
        np.testing.assert_allclose(sample.joints_cam_mm[H36M17.index(name)], [x, -y, z], atol=1e-3, err_msg=name)
    hips = (stored[9] + stored[10]) / 2 * [1, -1, 1]
    np.testing.assert_allclose(sample.joints_cam_mm[0], hips, atol=1e-3)
    nose = (stored[0] + stored[1]) / 2 * [1, -1, 1]
    np.testing.assert_allclose(sample.joints_cam_mm[9], nose, atol=1e-3)


def test_image_points_by_hand(tmp_path: Path) -> None:
    """R Hand at (-0.42, -0.04, 2.80) m: u = 160 - 0.42 / (0.0035 * 2.8) = 117.14, v = 120 + 0.04 / 0.0098 = 124.08."""
    write(tmp_path, frames(1))
    sample = run(tmp_path)[0][0]
    shift = np.array(sample.camera.center_px) - [160, 120]
    assert sample.camera.focal_px == pytest.approx((285.714, 285.714), abs=1e-3)
    assert shift.tolist() == np.rint(shift).tolist()
    hand = sample.joints_px[H36M17.index("right_wrist")] - shift
    np.testing.assert_allclose(hand, [117.14, 124.08], atol=0.05)
    assert sample.joints_cam_mm is not None
    np.testing.assert_allclose(project(sample.camera, sample.joints_cam_mm), sample.joints_px, atol=1e-2)


def test_depth_and_parts_are_cut_from_the_frame_at_whole_pixels(tmp_path: Path) -> None:
    contents = frames(1)
    write(tmp_path, contents)
    sample = run(tmp_path)[0][0]
    assert sample.depth_mm is not None
    assert sample.parts is not None
    left, top = np.rint(np.array([160, 120]) - sample.camera.center_px).astype(int)
    side = sample.depth_mm.shape[0]
    rows, columns = slice(max(top, 0), min(top + side, 240)), slice(max(left, 0), min(left + side, 320))
    metres = contents["depth_map"]["data"][0, rows, columns].astype(np.float64)
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    np.testing.assert_array_equal(sample.depth_mm[inside], np.rint(metres * 1000))
    np.testing.assert_array_equal(sample.parts[inside], contents["labels"]["segmentation"][0, rows, columns] + 1)
    assert (sample.depth_mm > 0).sum() == metres.size, "the background stays; outside the frame there is nothing"
    joint = H36M17.index("left_wrist")
    x, y = np.rint(sample.joints_px[joint]).astype(int)
    assert sample.parts[y, x] == 7 + 1
    assert sample.depth_mm[y, x] == pytest.approx(2540, abs=1)


@pytest.mark.parametrize(
    ("metres", "expected"),
    [(2.5, 2500), (0.0, 0), (np.nan, 0), (np.inf, 0), (-np.inf, 0), (-1.5, 0), (3.001953125, 3002), (65504.0, 0),
     (0.0004, 0), (8.0, 8000)],
)  # fmt: skip
def test_depth_values(metres: float, expected: int) -> None:
    image = np.full((2, 3), metres, np.float16)
    assert convert.to_depth_mm(image).tolist() == np.full((2, 3), expected).tolist()
    assert convert.to_depth_mm(image.astype(">f2")).tolist() == np.full((2, 3), expected).tolist()


def test_the_box_is_the_joints_extent(tmp_path: Path) -> None:
    write(tmp_path, frames(1))
    sample = run(tmp_path)[0][0]
    low, high = sample.joints_px.min(axis=0), sample.joints_px.max(axis=0)
    np.testing.assert_allclose(sample.box_px, [*low, *high], atol=1e-3)
    longer = (high - low).max()
    assert sample.camera.size_px[0] == pytest.approx(1.5 * longer, abs=2)


def test_joints_outside_the_frame_stay_and_the_crop_is_filled(tmp_path: Path) -> None:
    contents = frames(1)
    contents["labels"]["real_world_coordinates"][0, 13:, 1] -= 0.6
    write(tmp_path, contents)
    sample = run(tmp_path)[0][0]
    assert sample.depth_mm is not None
    bottom = 240 + sample.camera.center_px[1] - 120
    assert sample.joints_px[H36M17.index("right_ankle"), 1] > bottom
    assert not sample.depth_mm[int(bottom) :].any()


def test_both_views_are_one_world(tmp_path: Path) -> None:
    """The transform between the views' labels, as measured on the real test labels, is the cameras' own."""
    for view in ("side", "top"):
        write(tmp_path, frames(2, view), view=view)
    front, top = run(tmp_path)[0][1], run(tmp_path, "top-test")[0][1]
    assert top.key == "top_test_00_00051"
    assert front.joints_cam_mm is not None
    assert top.joints_cam_mm is not None
    np.testing.assert_allclose(
        cam_to_world(top.camera, top.joints_cam_mm), cam_to_world(front.camera, front.joints_cam_mm), atol=3.0
    )
    by_hand = top_joints_m(SIDE_JOINTS_M[6] + [0.005, 0, 0]) * [1000, -1000, 1000]
    np.testing.assert_allclose(top.joints_cam_mm[H36M17.index("right_wrist")], by_hand, atol=2.0)
    shift = np.array(top.camera.center_px) - [160, 120]
    head = top_joints_m(SIDE_JOINTS_M[0] + [0.005, 0, 0])
    expected = [160 + head[0] / (0.0035 * head[2]), 120 - head[1] / (0.0035 * head[2])]
    np.testing.assert_allclose(top.joints_px[H36M17.index("head")] - shift, expected, atol=0.3)


def test_derived_joints_are_visible_where_their_sources_are(tmp_path: Path) -> None:
    contents = frames(3)
    contents["labels"]["visible_joints"][0] = 1
    contents["labels"]["visible_joints"][1, [0, 9]] = 0
    contents["labels"]["visible_joints"][2, [0, 9]] = [7, -1]
    write(tmp_path, contents)
    every, some, strange = (one.visible for one in run(tmp_path)[0])
    assert every.tolist() == [1] * 17
    hidden = [H36M17.index(name) for name in ("hip", "right_hip", "nose", "head")]
    assert np.flatnonzero(some == 0).tolist() == sorted(hidden)
    assert (np.delete(some, hidden) == 1).all()
    assert (strange[hidden] == -1).all()


def test_only_valid_frames_are_used_and_the_others_counted_once(tmp_path: Path) -> None:
    contents = frames(6)
    contents["labels"]["is_valid"][:] = [0, 1, 1, 0, 2, 1]
    contents["labels"]["real_world_coordinates"][[0, 3, 4]] = np.nan
    write(tmp_path, contents)
    samples, skipped = run(tmp_path)
    assert [one.frame for one in samples] == [51, 52, 55]
    assert skipped == {"front_test_not_valid": "3 of 6 frames have no approved labels (is_valid is not 1)"}
    assert sum(item.expected_samples for item in convert.plan(tmp_path, "front-test", {})) == 3


def test_sequences_end_where_people_or_frame_numbers_jump(tmp_path: Path) -> None:
    contents = frames(6)
    ids = np.array(["00_00010", "00_00011", "00_00041", "00_00072", "00_00070", "01_00071"], "S8")
    contents["labels"]["id"] = contents["depth_map"]["id"] = ids
    write(tmp_path, contents)
    starts = [one.sequence.removeprefix("front_test_") for one in run(tmp_path)[0]]
    assert starts == ["00_00010"] * 3 + ["00_00072", "00_00070", "01_00071"]


def test_slices_and_items_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = frames(25)
    contents["labels"]["is_valid"][3:15] = 0
    write(tmp_path / "whole", contents)
    write(tmp_path / "pieces", contents, chunks=(4, 60, 32), compression="gzip")
    whole, _ = run(tmp_path / "whole")
    monkeypatch.setattr(convert, "SLAB_ROWS", 2)
    monkeypatch.setattr(convert, "ROWS_PER_ITEM", 6)
    for folder, starts in (("whole", [0, 12, 18, 24]), ("pieces", [0, 8, 16, 24])):
        planned = [item.name for item in convert.plan(tmp_path / folder, "front-test", {})[:-1]]
        assert planned == [f"front_test_rows_{row:05d}" for row in starts], "items end where the file's chunks do"
        again, _ = run(tmp_path / folder)
        assert len(again) == len(whole) == 13
        for one, other in zip(whole, again, strict=True):
            assert_same(one, other)


IDS: dict[str, Callable[[list[str]], Any]] = {
    "bytes": lambda ids: np.array(ids, "S8"),
    "padded bytes": lambda ids: np.array(ids, "S16"),
    "text": lambda ids: np.array(ids, h5py.string_dtype()),
    "bytes of any length": lambda ids: np.array(ids, h5py.string_dtype("ascii")),
    "codes": lambda ids: np.array([list(one.encode()) for one in ids], np.uint8),
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_every_kind(tmp_path: Path, kind: str) -> None:
    contents = frames(2)
    contents["labels"]["id"] = IDS[kind](["03_00007", "03_00008"])
    contents["depth_map"]["id"] = np.array(["03_00007", "03_00008"], "S8")
    write(tmp_path, contents)
    assert [one.key for one in run(tmp_path)[0]] == ["front_test_03_00007", "front_test_03_00008"]


def break_joints(contents: dict[str, dict[str, Any]], value: Any) -> None:
    contents["labels"]["real_world_coordinates"][1, 6] = value


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: break_joints(c, np.nan), "joints without finite coordinates: R Hand"),
        (lambda c: break_joints(c, (0, 0, np.inf)), "joints without finite coordinates: R Hand"),
        (lambda c: break_joints(c, 0), "joints nearer than 0.1 m or further than 10 m: R Hand"),
        (lambda c: break_joints(c, (0, 0, 12)), "joints nearer than 0.1 m or further than 10 m: R Hand"),
        (lambda c: break_joints(c, (4, 0, 3)), "joints more than 2.5 m from Torso: R Hand"),
        (lambda c: c["labels"]["segmentation"].__setitem__((1, 5, 5), 15), "segmentation holds 15, expected -1..14"),
        (lambda c: c["labels"]["segmentation"].__setitem__((1, 5, 5), -2), "segmentation holds -2, expected -1..14"),
        (lambda c: c["depth_map"]["data"].__setitem__(1, 0), "no depth reading around the person"),
    ],
)
def test_frames_that_cannot_be_used_are_skipped_in_words(
    tmp_path: Path, damage: Callable[[dict[str, dict[str, Any]]], None], words: str
) -> None:
    contents = frames(3)
    damage(contents)
    write(tmp_path, contents)
    samples, skipped = run(tmp_path)
    assert [one.frame for one in samples] == [50, 52]
    assert skipped == {"front_test_00_00051": words}


def test_boxes_without_labels(tmp_path: Path) -> None:
    """A person-like figure in front of a wall is found in the whole frame; an empty frame is skipped."""
    contents = frames(2)
    depth = contents["depth_map"]["data"]
    depth[:] = 4.0
    depth[0, 60:200, 140:180] = 3.0
    write(tmp_path, contents)
    samples, skipped = run(tmp_path, boxes="detector")
    shift = np.array(samples[0].camera.center_px) - [160, 120]
    np.testing.assert_allclose(samples[0].box_px.reshape(2, 2) - shift, [[140, 60], [179, 199]], atol=1.5)
    assert skipped == {"front_test_00_00051": "nobody found in the depth image"}


def test_the_card_says_what_the_mapping_does() -> None:
    card = read_card(Path(convert.__file__).parent)
    np.testing.assert_array_equal(card.quality, MAPPING.quality)
    assert [MAPPING.quality[H36M17.index(name)] for name in ("hip", "nose")] == [Quality.DERIVED] * 2
    pairs = ((2, 3), (4, 5), (6, 7), (9, 10), (11, 12), (13, 14))
    mirror = list(range(16))
    for right, left in pairs:
        mirror[right + 1], mirror[left + 1] = left + 1, right + 1
    assert card.part_mirror == tuple(mirror)
    assert (card.num_parts, card.foreground) == (16, "central-body")


def test_splits_and_views(tmp_path: Path) -> None:
    write(tmp_path / "raw", frames(2))
    with pytest.raises(UsageError, match=r"no split 'front-tset'.*did you mean 'front-test'"):
        prepare(PLUGIN, raw=tmp_path / "raw", out=tmp_path / "out", splits=["front-tset"], workers=1)
    manifest = prepare(PLUGIN, raw=tmp_path / "raw", out=tmp_path / "out", splits=["test"], workers=1)
    assert list(manifest.splits) == ["front-test"], "the view that is absent is left out when the work is narrowed"
    assert (manifest.box_rule, manifest.foreground, manifest.num_parts) == ("joints", "central-body", 16)
    with pytest.raises(MissingDataError):
        prepare(PLUGIN, raw=tmp_path / "raw", out=tmp_path / "all", workers=1)
    nobody = frames(2)
    nobody["labels"]["is_valid"][:] = 0
    write(tmp_path / "invalid", nobody)
    with pytest.raises(RawDataError, match=r"no usable sample.*2 of 2 frames have no approved labels"):
        prepare(PLUGIN, raw=tmp_path / "invalid", out=tmp_path / "none", splits=["test"], workers=1)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    if not SAMPLES.is_dir():
        pytest.skip("the real sample frame is not here (../shared/samples)")
    shutil.copytree(SAMPLES, tmp_path / "real", copy_function=shutil.copyfile)
    return tmp_path / "real"


def test_the_real_frame(real: Path, tmp_path: Path) -> None:
    manifest = prepare(PLUGIN, raw=real, out=tmp_path / "out", splits=["test"], views=["front"], workers=1)
    assert manifest.splits["front-test"].samples == 1
    assert manifest.origin == "official"
    shards = ShardSet.open(tmp_path / "out", "front-test")
    assert shards.keys.tolist() == ["front_test_00_00053"]
    depth_mm = shards.image(0, "depth_mm")
    joints_mm, joints_px = shards.labels.joints_cam_mm[0], shards.labels.joints_px[0]
    original = [H36M17.index(name) for name in COMMON]
    near = 0
    for joint in original:
        x, y = np.rint(joints_px[joint]).astype(int)
        near += abs(float(depth_mm[y, x]) - joints_mm[joint, 2]) < 150
    assert near == 15
    found = person_depth(depth_mm, manifest.foreground)
    hip_mm = joints_mm[0, 2]
    assert hip_mm == pytest.approx(3000, abs=1)
    assert surface_reference_mm(found) == pytest.approx(hip_mm, abs=100)
    x0, y0, x1, y1 = np.rint(shards.labels.box_px[0]).astype(int)
    assert np.median(depth_mm[y0 : y1 + 1, x0 : x1 + 1]) == pytest.approx(3820, abs=20)
    on_person = sum(bool(found[y, x]) for x, y in np.rint(joints_px[original]).astype(int))
    assert on_person == 15
    assert 0.1 < (found > 0).mean() < 0.25


def test_facts_of_the_real_labels_hold_in_the_real_frame(real: Path) -> None:
    """Neck is the middle of the shoulders to 2 mm, Torso that of Neck and hips to 3 mm; image points are rounded."""
    sample = run(real)[0][0]
    assert sample.joints_cam_mm is not None
    at = {name: sample.joints_cam_mm[H36M17.index(name)].astype(float) for name in COMMON}
    assert np.linalg.norm(at["thorax"] - (at["left_shoulder"] + at["right_shoulder"]) / 2) < 2
    assert np.linalg.norm(at["spine"] - (at["thorax"] + (at["left_hip"] + at["right_hip"]) / 2) / 2) < 3
    assert at["right_shoulder"][0] < at["left_shoulder"][0], "the image is not mirrored"
    from kt3d_itop.unpack import plain_file

    with h5py.File(plain_file(real / "ITOP_side_test_labels.h5.gz"), "r") as file:
        image_points = file["image_coordinates"][0]
    shift = np.array(sample.camera.center_px) - [160, 120]
    ours = np.array([sample.joints_px[H36M17.index(name)] - shift for name in COMMON])
    assert np.abs(ours - image_points[list(COMMON.values())]).max() <= 1.0
