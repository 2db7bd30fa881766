from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from h36m_handmade import (
    CAMERA_IDS,
    POSITIONS,
    brown_without_doubling,
    looking_at_origin,
    metadata_xml,
    w0_numbers,
    write_cdf,
    write_raw,
    write_video,
)
from kt3d_h36m.convert import TEST_EVERY, convert, plan, recorded
from kt3d_h36m.video import frames_rgb

from kt3d_bench.cli import catalogue
from kt3d_bench.data.plan import checked_options
from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.geometry.cameras import cam_to_world, project
from kt3d_bench.plugins import registry
from kt3d_bench.records import Sample, Skipped
from kt3d_bench.skeletons import H36M17

PART = {"partial": True}
SEVENTEEN = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]


def samples(raw, split="test", **options):
    found = [record for item in plan(raw, split, {**PART, **options}) for record in convert(item)]
    return [r for r in found if isinstance(r, Sample)], [r for r in found if isinstance(r, Skipped)]


@pytest.fixture(scope="module")
def two_subjects(tmp_path_factory):
    """66 frames, so that the every-64th rule has something to choose."""
    return write_raw(tmp_path_factory.mktemp("h36m") / "raw", {9: ["Directions 1"], 11: ["Directions"]}, frames=66)


@pytest.fixture(scope="module")
def test_split(two_subjects):
    return samples(two_subjects.root)


def test_every_64th_frame_of_every_camera_but_the_corrupt_video(test_split):
    good, skipped = test_split
    assert [s.key for s in good if s.subject == "S9"] == [
        f"s09_act02_sub1_{camera}_{frame:06d}" for camera in CAMERA_IDS for frame in (0, 64)
    ]
    assert [s.key for s in good if s.subject == "S11"] == [
        f"s11_act02_sub2_{camera}_{frame:06d}" for camera in CAMERA_IDS[1:] for frame in (0, 64)
    ]
    assert [(s.name, "corrupt" in s.reason) for s in skipped] == [("s11_act02_sub2_54138969", True)]


def test_joints_are_the_seventeen_of_the_pose_file_in_camera_and_crop(two_subjects, test_split):
    for sample in test_split[0]:
        index = CAMERA_IDS.index(sample.camera_id)
        subject = int(sample.subject[1:])
        world = two_subjects.poses[subject, "Directions 1" if subject == 9 else "Directions"][sample.frame, SEVENTEEN]
        centre = np.array(POSITIONS[index]) + np.array([subject - 1, 0, 0])
        cam = (world.astype(np.float64) - centre) @ looking_at_origin(POSITIONS[index]).T
        np.testing.assert_allclose(sample.joints_cam_mm, cam, atol=1e-3)
        np.testing.assert_allclose(cam_to_world(sample.camera, sample.joints_cam_mm), world, atol=1e-3)
        full = brown_without_doubling(cam, 0.2, index)
        pixels = sample.joints_px.astype(np.float64)
        scale = (pixels.max(0) - pixels.min(0)) / (full.max(0) - full.min(0))
        np.testing.assert_allclose(pixels - pixels.min(0), (full - full.min(0)) * scale, atol=0.01)
        np.testing.assert_allclose(scale, 1.0, atol=1e-3)


def test_stored_camera_projects_stored_joints_onto_stored_points(test_split):
    for sample in test_split[0]:
        assert np.abs(project(sample.camera, sample.joints_cam_mm) - sample.joints_px).max() < 0.01
        assert sample.camera.tangential_factor == 1.0


def test_box_holds_the_joints_and_the_crop_is_a_square_around_it(test_split):
    for sample in test_split[0]:
        low, high = sample.joints_px.min(0), sample.joints_px.max(0)
        np.testing.assert_allclose(sample.box_px, [*low, *high], atol=1e-3)
        width, height = sample.camera.size_px
        assert abs(width - height) <= 1
        assert width == pytest.approx(1.5 * (high - low).max(), abs=3)
        np.testing.assert_allclose((low + high) / 2, (np.array([width, height]) - 1) / 2, atol=1.5)


def test_facts_of_a_sample(test_split):
    sample = test_split[0][1]
    assert (sample.subject, sample.action, sample.camera_id, sample.sequence, sample.frame) == (
        "S9", "Directions", "54138969", "s09_directions_1", 64
    )  # fmt: skip
    assert set(sample.quality) == {3}
    assert set(sample.visible) <= {-1, 0}
    assert {s.sequence for s in test_split[0]} == {"s09_directions_1", "s11_directions_2"}


def test_image_is_the_frame_of_the_pose(test_split):
    """Frame i of the hand-made videos has brightness 20 + 5 (i mod 40)."""
    for sample in test_split[0]:
        middle = sample.rgb[sample.rgb.shape[0] // 2, sample.rgb.shape[1] // 2]
        np.testing.assert_allclose(middle, 20 + 5 * (sample.frame % 40), atol=4)


def test_training_takes_every_fifth_frame_or_as_told(make_raw):
    made = make_raw({1: ["TakingPhoto 1"], 5: ["Photo"]}, frames=12)
    good, _ = samples(made.root, "train")
    assert [s.frame for s in good] == [0, 5, 10] * 8
    assert {(s.subject, s.action, s.sequence) for s in good} == {
        ("S1", "Photo", "s01_photo_1"),
        ("S5", "Photo", "s05_photo_1"),
    }
    assert [s.frame for s in samples(made.root, "train", train_every=7, subjects="S5")[0]] == [0, 7] * 4


def test_more_test_frames_are_stored_as_told_and_the_scored_ones_stay_the_same(two_subjects, test_split):
    scored = {sample.key: sample for sample in test_split[0]}
    good, skipped = samples(two_subjects.root, test_every=16)
    assert [s.frame for s in good if s.camera_id == CAMERA_IDS[1]] == [0, 16, 32, 48, 64] * 2
    assert [s.name for s in skipped] == ["s11_act02_sub2_54138969"]
    same = {sample.key: sample for sample in good if sample.frame % 64 == 0}
    assert list(same) == list(scored)
    for key, sample in same.items():
        for name in ("rgb", "foreground", "joints_cam_mm", "joints_px", "box_px"):
            np.testing.assert_array_equal(getattr(sample, name), getattr(scored[key], name))
    assert len(samples(two_subjects.root, test_every=1)[0]) == 7 * 66
    assert plan(two_subjects.root, "test", {**PART, "test_every": 64}) == plan(two_subjects.root, "test", PART)


def test_the_default_stores_what_the_benchmark_scores_and_is_not_recorded():
    plugin = registry.dataset("h36m")
    assert registry.benchmark("h36m-s9s11-64").frames_every == plugin.options["test_every"].default == TEST_EVERY == 64
    assert "test_every" not in checked_options(plugin, {"test_every": "64"})
    assert checked_options(plugin, {"test_every": "1"})["test_every"] == 1
    assert "Tests on h36m/test, rgb images, frames 0, 64, 128 and so on" in catalogue.describe("h36m-s9s11-64")


def test_both_pose_features_give_the_same_labels_and_either_will_do(make_raw):
    made = make_raw({9: ["Posing"]})
    from_world, _ = samples(made.root)
    made.write_mono()
    with_image_check, _ = samples(made.root)
    shutil.rmtree(made.folder(9) / "MyPoseFeatures" / "D3_Positions")
    from_camera, _ = samples(made.root)
    assert len(from_world) == len(with_image_check) == len(from_camera) == 4
    for one, two in zip(from_world, from_camera, strict=True):
        np.testing.assert_allclose(one.joints_cam_mm, two.joints_cam_mm, atol=1e-3)
        np.testing.assert_allclose(one.joints_px, two.joints_px, atol=1e-3)


def test_longer_videos_are_cut_and_shorter_ones_refused(make_raw):
    made = make_raw({9: ["Posing"]}, extra_frames=3)
    assert len(samples(made.root)[0]) == 4
    short = made.video(9, "Posing", CAMERA_IDS[1])
    write_video(short, 2, made.size(CAMERA_IDS[1]))
    with pytest.raises(RawDataError, match="2 frames for 3 poses") as caught:
        samples(made.root)
    assert str(short) in caught.value.message
    assert '--drop "S9 Posing 55011271"' in caught.value.message
    good, skipped = samples(made.root, drop="S9 Posing 55011271")
    assert (len(good), [s.name for s in skipped]) == (3, ["s09_act07_sub2_55011271"])


def test_a_video_that_is_far_longer_than_its_poses_is_another_recordings(make_raw):
    made = make_raw({9: ["Posing"]})
    long = made.video(9, "Posing", CAMERA_IDS[1])
    write_video(long, 33, made.size(CAMERA_IDS[1]))
    assert len(samples(made.root)[0]) == 4
    write_video(long, 34, made.size(CAMERA_IDS[1]))
    with pytest.raises(RawDataError, match="34 frames for 3 poses, so frames and poses cannot be matched"):
        samples(made.root)
    frames = frames_rgb(long, 3, 1, where="x", name="S9 Walking 55011271")  # Its official poses end long before
    assert len(list(frames)) == 3


def test_a_short_video_in_an_archive_is_refused_when_it_is_decoded(make_raw, tmp_path):
    made = make_raw({9: ["Posing"]})
    write_video(made.video(9, "Posing", CAMERA_IDS[0]), 2, made.size(CAMERA_IDS[0]))
    packed = made.pack(tmp_path / "packed")
    items = plan(packed, "test", PART)
    with pytest.raises(RawDataError, match="2 frames for 3 poses") as caught:
        list(convert(items[0]))
    assert "Videos_S9.tgz:S9/Videos/Posing.54138969.mp4" in caught.value.message


def test_frames_are_counted_up_to_the_last_pose(make_raw):
    made = make_raw({9: ["Posing"]})
    write_video(made.video(9, "Posing", CAMERA_IDS[0]), 2, made.size(CAMERA_IDS[0]))
    items = plan(made.root, "test", PART)
    path = made.video(9, "Posing", CAMERA_IDS[0])
    with pytest.raises(RawDataError, match="2 frames for 3 poses"):
        list(convert(items[0]))
    frames = frames_rgb(path, 2, 1, where="x", name="S9 Posing")
    assert [(number, image.shape) for number, image in frames] == [(0, (200, 200, 3)), (1, (200, 200, 3))]


def test_a_video_cut_in_the_middle_is_refused(make_raw):
    made = make_raw({9: ["Posing"]}, frames=40)
    video = made.video(9, "Posing", CAMERA_IDS[2])
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    with pytest.raises(RawDataError, match=r"cannot be decoded|frames for 40 poses") as caught:
        samples(made.root)
    assert str(video) in caught.value.message


def test_a_damaged_stream_is_refused(make_raw):
    made = make_raw({9: ["Posing"]}, frames=30)
    video = made.video(9, "Posing", CAMERA_IDS[0])
    content = bytearray(video.read_bytes())
    start = content.index(b"mdat") + 4
    rng = np.random.default_rng(0)
    content[start + 60 : start + 400] = rng.integers(0, 256, 340, dtype=np.uint8).tobytes()
    video.write_bytes(content)
    with pytest.raises(RawDataError, match="cannot be decoded after frame"):
        samples(made.root)


def test_an_unknown_codec_is_refused(make_raw):
    made = make_raw({9: ["Posing"]})
    video = made.video(9, "Posing", CAMERA_IDS[0])
    content = video.read_bytes()
    codec = content.index(b"\x20\x11", content.index(b"esds"))
    video.write_bytes(content[:codec].replace(b"mp4v", b"zzzz") + b"\xfe" + content[codec + 1 :])
    with pytest.raises(RawDataError, match="coded in a way that cannot be decoded here"):
        samples(made.root)


def test_a_file_that_is_no_video_is_refused(make_raw):
    made = make_raw({9: ["Posing"]})
    made.video(9, "Posing", CAMERA_IDS[3]).write_bytes(b"<html>log in first</html>")
    with pytest.raises(RawDataError, match="cannot be decoded after frame 0"):
        samples(made.root)


def test_a_rescaled_video_is_refused_and_two_rows_are_not(make_raw):
    made = make_raw({9: ["Posing"]})
    write_video(made.video(9, "Posing", CAMERA_IDS[0]), 3, (200, 202))
    assert samples(made.root)[0][0].camera.size_px is not None
    write_video(made.video(9, "Posing", CAMERA_IDS[0]), 3, (100, 100))
    with pytest.raises(RawDataError, match=r"is 100 x 100 px, but calibrated are 200 x 200 px"):
        samples(made.root)


def test_image_positions_that_contradict_the_projection_are_refused(make_raw):
    made = make_raw({9: ["Posing"]})
    made.write_mono()
    numbers = w0_numbers(0.2)
    numbers[264 + 2] += 0.8
    (made.root / "metadata.xml").write_text(metadata_xml(0.2, w0=numbers, poses=3))
    with pytest.raises(RawDataError, match=r"image points are 0\.8 px away from the projection") as caught:
        samples(made.root)
    assert str(made.cdf(9, "Posing", "D2_Positions", CAMERA_IDS[0])) in caught.value.message


@pytest.mark.parametrize("kept", ["D2_Positions", "D3_Positions_mono"])
def test_poses_that_are_late_against_the_other_files_are_refused(make_raw, kept):
    """Frame 0 agrees, what comes later does not."""
    made = make_raw({9: ["Posing"]}, frames=65)
    made.write_mono()
    samples(made.root)
    for path in made.root.rglob("*.cdf"):
        if path.parent.name not in ("D3_Positions", kept):
            path.unlink()
    world = made.poses[9, "Posing"]
    late = np.concatenate([world[:1], world[:-1] + 40.0])
    write_cdf(made.cdf(9, "Posing"), late.reshape(-1, 96))
    with pytest.raises(RawDataError, match="so cameras, poses and this file do not belong together") as caught:
        samples(made.root)
    assert str(made.cdf(9, "Posing", kept, CAMERA_IDS[0])) in caught.value.message


def test_the_joints_of_all_frames_are_those_of_the_samples_where_they_are_samples(make_raw):
    made = make_raw({9: ["Posing"]}, frames=65)
    found = {sample.frame: sample for sample in samples(made.root)[0] if sample.camera_id == CAMERA_IDS[0]}
    [item] = [one for one in plan(made.root, "test", PART) if one.name.endswith(CAMERA_IDS[0])]
    every = recorded(item)
    assert list(every.frames) == list(range(65))
    for frame, sample in found.items():
        np.testing.assert_allclose(every.joints_cam_mm[frame], sample.joints_cam_mm, atol=1e-3)
    assert recorded(replace(item, payload={**item.payload, "poses": 10})) is None
    assert recorded(replace(item, payload={"name": item.name, "skip": "why"})) is None


def test_other_files_that_hold_no_numbers_prove_nothing_and_are_refused(make_raw):
    made = make_raw({9: ["Posing"]}, frames=65)
    empty = made.cdf(9, "Posing", "D2_Positions", CAMERA_IDS[0])
    write_cdf(empty, np.full((65, 64), np.nan))
    with pytest.raises(
        RawDataError, match="joints are not finite in 65 of 65 poses, though the 3D joints are"
    ) as caught:
        samples(made.root)
    assert str(empty) in caught.value.message


def test_another_number_of_image_points_than_poses_is_refused(make_raw):
    made = make_raw({9: ["Posing"]}, frames=65)
    made.write_mono()
    write_cdf(made.cdf(9, "Posing", "D2_Positions", CAMERA_IDS[0]), np.zeros((64, 64)))
    with pytest.raises(RawDataError, match="has 64 poses, expected 65"):
        samples(made.root)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "not finite"),
        (np.float32(1e6), "more than 20 m away"),
    ],
)
def test_absurd_joints_are_skipped_with_their_reason(make_raw, value, reason):
    made = make_raw({9: ["Posing"]}, frames=65)
    world = made.poses[9, "Posing"].copy()
    world[64, 12] = value
    write_cdf(made.cdf(9, "Posing"), world.reshape(-1, 96))
    good, skipped = samples(made.root)
    assert [s.frame for s in good] == [0] * 4
    assert [s.name for s in skipped] == [f"s09_act07_sub2_{camera}_000064" for camera in CAMERA_IDS]
    assert all(reason in s.reason for s in skipped)


def test_joints_behind_the_camera_are_skipped(make_raw):
    made = make_raw({9: ["Posing"]})
    world = made.poses[9, "Posing"].copy()
    world[0, 15] = np.array(POSITIONS[0]) * 1.2
    write_cdf(made.cdf(9, "Posing"), world.reshape(-1, 96))
    reasons = {s.name[-15:-7]: s.reason for s in samples(made.root)[1]}
    assert "behind" in reasons["54138969"]


def test_people_outside_the_image_are_skipped_and_joints_outside_are_not_visible(make_raw):
    made = make_raw({9: ["Posing"]})
    right = looking_at_origin(POSITIONS[0])[0]
    world = made.poses[9, "Posing"].astype(np.float64)
    for shift, outcome in ((6000.0, "skipped"), (1900.0, "partly")):
        write_cdf(made.cdf(9, "Posing"), (world + shift * right).reshape(-1, 96))
        good, skipped = samples(made.root)
        if outcome == "skipped":
            assert ("s09_act07_sub2_54138969_000000", "all joints lie outside the image") in [
                (s.name, s.reason) for s in skipped
            ]
        else:
            visible = next(s for s in good if s.camera_id == CAMERA_IDS[0]).visible
            assert set(visible) == {-1, 0}


def test_dropped_recordings_need_no_files(make_raw):
    made = make_raw({9: ["Posing", "Greeting"]})
    made.video(9, "Greeting", CAMERA_IDS[0]).unlink()
    with pytest.raises(RawDataError, match=r"1 files are missing: S9/Videos/Greeting\.54138969\.mp4"):
        plan(made.root, "test", PART)
    good, skipped = samples(made.root, drop="shifted")
    assert (len(good), len(skipped)) == (4, 4)


def test_the_corrupt_video_can_be_kept(make_raw):
    made = make_raw({11: ["Directions"]})
    assert len(samples(made.root)[0]) == 3
    assert len(samples(made.root, keep="S11 Directions 54138969")[0]) == 4


def missing_metadata(made):
    (made.root / "metadata.xml").unlink()


def missing_poses(made):
    shutil.rmtree(made.folder(9) / "MyPoseFeatures")


def missing_videos(made):
    shutil.rmtree(made.folder(9) / "Videos")


def universal_only(made):
    features = made.folder(9) / "MyPoseFeatures"
    (features / "D3_Positions").rename(features / "D3_Positions_mono_universal")
    for path in [*(features / "D3_Positions_mono_universal").iterdir()]:
        path.rename(path.with_name(f"{path.stem}.{CAMERA_IDS[0]}.cdf"))


def one_pose_missing(made):
    made.cdf(9, "Posing").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing_metadata, r"metadata\.xml with the cameras is missing; put code-v1\.2\.zip"),
        (missing_poses, r"the poses of S9 are missing; put Poses_D3_Positions_S9\.tgz there, from http"),
        (missing_videos, r"the videos of S9 are missing; put Videos_S9\.tgz there"),
        (universal_only, r"the poses of S9 are missing \(D3_Positions_mono_universal does not fit the images\)"),
        (one_pose_missing, r"1 files are missing: S9/MyPoseFeatures/D3_Positions/Posing\.cdf"),
    ],
)
def test_missing_pieces_are_named_with_where_to_get_them(make_raw, spoil, message):
    made = make_raw({9: ["Posing", "Posing 1"]})
    spoil(made)
    with pytest.raises(RawDataError, match=message) as caught:
        plan(made.root, "test", PART)
    assert str(made.root) in caught.value.message


def test_a_whole_download_is_expected_unless_told_otherwise(make_raw):
    made = make_raw({9: ["Posing"], 11: ["Posing"]})
    with pytest.raises(RawDataError, match=r"files are missing: S9/Videos/.*--partial yes"):
        plan(made.root, "test", {})
    assert len(plan(made.root, "test", PART)) == 8
    with pytest.raises(RawDataError, match=r"poses of S1 are missing; put Poses_D3_Positions_S1\.tgz"):
        plan(made.root, "train", PART)


def test_empty_and_foreign_folders_are_refused(tmp_path):
    with pytest.raises(RawDataError, match=r"holds no Human3.6M for S9, S11 \(found: nothing\).*kt3d generate h36m"):
        plan(tmp_path, "test", {})
    (tmp_path / "ITOP_side_test_labels.h5.gz").write_bytes(b"x")
    with pytest.raises(RawDataError, match=r"found: ITOP_side_test_labels\.h5\.gz"):
        plan(tmp_path, "test", {})
    with pytest.raises(RawDataError, match="is not a folder"):
        plan(tmp_path / "nowhere", "test", {})


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        ("train", {"train_every": 0}, "--train-every is 0"),
        (
            "test",
            {"test_every": 5},
            "--test-every is 5, which does not divide 64: scored frames would be missing; use 1",
        ),
        ("test", {"test_every": 128}, "--test-every is 128, which does not divide 64"),
        ("train", {"test_every": 0}, "--test-every is 0, which does not divide 64"),
        ("train", {"subjects": "S2"}, "S2, which has no labels"),
        ("test", {"subjects": "S1"}, "none of them is in the split 'test'"),
        ("test", {"drop": "S9 Greting"}, "did you mean 'S9 Greeting'"),
    ],
)
def test_impossible_options_are_refused(tmp_path, split, options, message):
    with pytest.raises(UsageError, match=message):
        plan(tmp_path, split, options)


def test_items_come_in_a_fixed_order_with_their_counts(two_subjects):
    items = plan(two_subjects.root, "test", PART)
    names = [item.name for item in items]
    assert names == sorted(names, key=lambda name: (name[:14], CAMERA_IDS.index(name[-8:])))
    assert [item.expected_samples for item in items] == [2, 2, 2, 2, 0, 2, 2, 2]


def test_the_skeleton_is_connected_as_recorded(two_subjects):
    """The 17 indices keep the official tree: each bone joins the joints that the 32-joint tree connects."""
    parents = [-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 12, 16, 17, 18, 19, 20, 19, 22, 12, 24, 25, 26, 27,
               28, 27, 30]  # fmt: skip

    def ancestors(joint):
        return [joint, *(ancestors(parents[joint]) if parents[joint] >= 0 else [])]

    for child, parent in H36M17.bones:
        if H36M17.joints[child] not in ("left_shoulder", "right_shoulder"):
            assert SEVENTEEN[parent] in ancestors(SEVENTEEN[child])
    assert all(a < b for a, b in pairwise(SEVENTEEN))


def test_opencv_reads_the_crop_where_the_joints_say(make_raw):
    """A white disc painted at a joint's documented projection is found at that joint in the stored crop."""
    made = make_raw({9: ["Posing"]}, frames=1)
    camera, index = CAMERA_IDS[1], 1
    world = made.poses[9, "Posing"][0].astype(np.float64)
    cam = (world - np.array(POSITIONS[index]) - np.array([8, 0, 0])) @ looking_at_origin(POSITIONS[index]).T
    at = brown_without_doubling(cam, 0.2, index)[SEVENTEEN[13]]
    import av

    width, height = made.size(camera)
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(image, tuple(np.round(at).astype(int).tolist()), 4, (255, 255, 255), -1)
    path = made.video(9, "Posing", camera)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 8_000_000
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")), *stream.encode()]:
            container.mux(packet)
    sample = next(s for s in samples(made.root)[0] if s.camera_id == camera)
    grey = sample.rgb.astype(np.float64).mean(-1)
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
    weight = np.where(grey > 100, grey, 0)
    centre = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(centre, sample.joints_px[13], atol=1.0)
