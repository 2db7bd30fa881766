"""Every check is tripped by shards damaged on purpose, and none by what the datasets' own lines make."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data_damage import altered_index, edited_manifest, flipped, found, moved, rewritten, with_camera

from kt3d_bench.data.checks import bodies, images, labels
from kt3d_bench.data.checks.findings import MOST_FINDINGS, Check, judge, measured
from kt3d_bench.data.index import Labels, index_path, read_index
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.data.prepare import prepare
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.validate import spread, validate
from kt3d_bench.plugins import registry
from kt3d_bench.records import Sample
from kt3d_bench.skeletons import H36M17

SMALL: dict[str, dict[str, Any]] = {
    "ubc3v": {"people": 1, "frames": 10, "test_postures": 10},
    "mpii": {"people": 1, "frames": 8},
    "itop": {"people": 4, "frames": 12},
}


def prepared(name: str, folder: Path, **sizes: Any) -> Path:
    plugin = registry.dataset(name)
    make = registry.load_function(plugin.generate, "generate")
    make(folder / "raw", **sizes, seed=1, motion=None, device="cpu", workers=1, progress=lambda done, total: None)
    prepare(plugin, raw=folder / "raw", out=folder / "shards", workers=1, samples_per_shard=16)
    return folder / "shards"


@pytest.fixture(scope="module")
def depth_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared("ubc3v", tmp_path_factory.mktemp("ubc3v"), **SMALL["ubc3v"])


@pytest.fixture(scope="module")
def rgb_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared("mpii", tmp_path_factory.mktemp("mpii"), **SMALL["mpii"])


@pytest.fixture
def shards(depth_shards: Path, tmp_path: Path) -> Path:
    """Depth and parts with 3D labels, to be damaged."""
    return Path(shutil.copytree(depth_shards, tmp_path / "shards"))


@pytest.fixture
def in_two(shards: Path) -> Path:
    """The same, with the training split in two shards."""
    rewritten(shards, "train", lambda sample: sample, shards=2)
    return shards


@pytest.fixture
def rgb(rgb_shards: Path, tmp_path: Path) -> Path:
    """RGB with 2D labels, to be damaged."""
    return Path(shutil.copytree(rgb_shards, tmp_path / "rgb"))


def joint(name: str) -> int:
    return H36M17.index(name)


# Nothing is wrong with what is right.


def test_clean_depth_shards_have_no_finding(depth_shards: Path) -> None:
    validation = validate(depth_shards)
    assert (found(validation), found(validation, "note")) == ({}, {})
    assert validation.sound
    assert not list(validation.repairs())
    checked = {outcome.check.name for outcome in validation.outcomes if outcome.tested}
    assert {"projection", "silhouette", "surface", "symmetry", "size", "keys across splits"} <= checked
    assert validation.images_read == validation.samples == 60


def test_clean_rgb_shards_have_no_finding(rgb_shards: Path) -> None:
    validation = validate(rgb_shards)
    assert (found(validation), found(validation, "note")) == ({}, {})


def test_clean_shards_of_several_views_have_no_error(tmp_path: Path) -> None:
    """Sensor noise and wrong limbs are odd. The same person is seen in both views, which is no finding."""
    validation = validate(prepared("itop", tmp_path, **SMALL["itop"]))
    assert found(validation) == {}
    assert "subjects across splits" not in found(validation, "note")


def test_clean_video_shards_have_no_finding(tmp_path: Path) -> None:
    validation = validate(
        prepared("h36m", tmp_path, people=3, frames=1, frame_px=200, actions=2, takes=1, long_clip=False)
    )
    assert (found(validation), found(validation, "note")) == ({}, {})


def test_a_sample_of_the_images_is_spread_over_the_split() -> None:
    np.testing.assert_array_equal(spread(9, 3), [0, 4, 8])
    np.testing.assert_array_equal(spread(3, 5), [0, 1, 2])
    np.testing.assert_array_equal(spread(3, None), [0, 1, 2])


def test_only_the_images_asked_for_are_read(shards: Path) -> None:
    validation = validate(shards, sampled=5)
    assert validation.images_read == 10
    (decoded,) = (o for o in validation.outcomes if o.check.name == "images" and o.split == "train")
    assert decoded.tested == 5


# Files.


def tar_of(folder: Path, split: str, number: int = 0) -> Path:
    return folder / read_manifest(folder).splits[split].shards[number].name


def test_a_flipped_byte_is_found_in_its_shard_alone(in_two: Path) -> None:
    tar = tar_of(in_two, "train", 1)
    flipped(tar, tar.stat().st_size - 1)
    validation = validate(in_two)
    ((finding,),) = found(validation).values()
    assert (finding.check, finding.split, finding.shard) == ("digest", "train", tar.name)
    assert finding.remove == (tar.name,)


def test_a_flipped_byte_inside_an_image_is_found_there_too(shards: Path) -> None:
    opened = ShardSet.open(shards, "test")
    column = opened.fields.index("depth_mm")
    flipped(tar_of(shards, "test"), int(opened.offsets[0, column]) + 16)
    problems = found(validate(shards))
    assert set(problems) == {"digest", "images"}
    assert problems["images"][0].sample == opened.keys[0]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda tar: tar.unlink(), "the shard is missing"),
        (lambda tar: tar.write_bytes(tar.read_bytes()[:-512]), "the shard is truncated"),
        (lambda tar: tar.write_bytes(tar.read_bytes() + bytes(512)), "the shard is too long"),
        (lambda tar: index_path(tar).unlink(), "the index of this shard is missing"),
        (lambda tar: index_path(tar).write_bytes(b"PK"), "the index is corrupt"),
        (lambda tar: shutil.copy(index_path(tar.with_name("train-000001.tar")), index_path(tar)), "does not belong"),
    ],
)
def test_a_shard_that_is_not_whole_is_named_and_the_others_are_checked(
    in_two: Path, damage: Callable[[Path], Any], sentence: str
) -> None:
    tar = tar_of(in_two, "train")
    damage(tar)
    validation = validate(in_two)
    ((finding,),) = found(validation).values()
    assert (finding.check, finding.shard) == ("files", tar.name)
    assert sentence in finding.sentence
    (decoded,) = (o for o in validation.outcomes if o.check.name == "images" and o.split == "train")
    assert decoded.tested > 0


def test_a_split_without_any_whole_shard_does_not_stop_the_others(shards: Path) -> None:
    for shard in read_manifest(shards).splits["test"].shards:
        (shards / shard.name).unlink()
    validation = validate(shards)
    assert set(found(validation)) == {"files"}
    assert validation.samples == read_manifest(shards).splits["train"].samples


def test_an_index_that_points_elsewhere_is_found(shards: Path) -> None:
    from kt3d_bench.data.index import encode_index

    tar = tar_of(shards, "test")
    index = read_index(index_path(tar))
    offsets = {name: np.roll(places, 1) for name, places in index.offsets.items()}
    index_path(tar).write_bytes(encode_index(replace(index, offsets=offsets)))
    problems = found(validate(shards))
    assert problems["members"][0].remove == (index_path(tar).name,)


def test_other_labels_in_an_index_are_found_though_they_are_plausible(shards: Path) -> None:
    """The index alone says so: the digest of all labels is off, and the tar's own labels name the sample."""
    tar = tar_of(shards, "test")
    subject = read_index(index_path(tar)).labels.subject.copy()
    subject[3] = "somebody"
    altered_index(tar, subject=subject)
    problems = found(validate(shards, sampled=1))
    assert "sample list" in problems
    (finding,) = problems["index"]
    assert finding.sample == ShardSet.open(shards, "test").keys[3]
    assert finding.remove == (index_path(tar).name,)
    assert "other subject than the tar" in finding.sentence


def test_a_file_that_nobody_lists_is_noted(shards: Path) -> None:
    shutil.copy(tar_of(shards, "test"), shards / "test-000099.tar")
    (shards / "train-000001.tar.tmp").write_bytes(b"")
    notes = found(validate(shards), "note")
    assert [finding.shard for finding in notes["leftovers"]] == ["test-000099.tar", "train-000001.tar.tmp"]


# The manifest.


@pytest.mark.parametrize(
    ("edit", "check", "sentence"),
    [
        (lambda c: c["splits"]["test"].update(samples=31), "counts", "31 samples are claimed, 30 are there"),
        (
            lambda c: c["splits"]["test"]["counts"]["camera"].update(cam1=7),
            "counts",
            "samples per camera are wrong: 'cam1' 7, not 10",
        ),
        (lambda c: c["splits"]["test"]["counts"]["subject"].clear(), "counts", "'hard-pose' 0, not 30"),
        (lambda c: c["splits"]["test"].update(sample_list_digest="0" * 64), "sample list", "the keys in the indexes"),
        (lambda c: c["splits"]["test"].update(labels_digest="0" * 64), "sample list", "the labels in the indexes"),
        (lambda c: c.update(foreground="magic"), "counts", "the foreground rule 'magic' is not known"),
        (lambda c: c.update(quality=[3] * 17), "counts", "the joint qualities are not the worst"),
    ],
)
def test_a_wrong_claim_of_the_manifest_is_found(
    shards: Path, edit: Callable[[dict[str, Any]], None], check: str, sentence: str
) -> None:
    edited_manifest(shards, edit)
    problems = found(validate(shards))
    assert set(problems) == {check}
    assert any(sentence in finding.sentence for finding in problems[check]), problems


def test_a_wrong_count_of_a_shard_is_found(shards: Path) -> None:
    edited_manifest(shards, lambda content: content["splits"]["test"]["shards"][0].update(samples=3))
    assert "belong" in found(validate(shards))["files"][0].sentence


# Labels that contradict one another.


def swapped(array: Any) -> Any:
    return np.asarray(array)[H36M17.mirror]


def shifted_px(sample: Sample) -> Sample:
    return replace(sample, joints_px=sample.joints_px + np.float32(3))


def scaled_camera(sample: Sample) -> Sample:
    return with_camera(sample, intrinsics_px=sample.camera.intrinsics_px * [[1.1, 1, 1], [1, 1.1, 1]])


def mirrored_camera(sample: Sample) -> Sample:
    return moved(
        with_camera(sample, intrinsics_px=sample.camera.intrinsics_px * [[-1, 1, 1], [1, 1, 1]]), sample.joints_cam_mm
    )


def one_code(name: str, value: int) -> Callable[[Sample], Sample]:
    def change(sample: Sample) -> Sample:
        codes = np.array(getattr(sample, name))
        codes[2] = value
        return replace(sample, **{name: codes})

    return change


def without_wrist(sample: Sample) -> Sample:
    joints = np.array(sample.joints_cam_mm)
    joints[joint("left_wrist")] = np.nan
    return replace(sample, joints_cam_mm=joints)


def behind(sample: Sample) -> Sample:
    joints = np.array(sample.joints_cam_mm)
    joints[joint("head"), 2] = -5
    return moved(sample, joints)


@pytest.mark.parametrize(
    ("change", "check", "sentence"),
    [
        (shifted_px, "projection", "projects 4.2 px away from its image position"),
        (lambda s: replace(s, joints_px=swapped(s.joints_px)), "projection", "px away from its image position"),
        (scaled_camera, "projection", "px away from its image position"),
        (mirrored_camera, "lens", "focal lengths -"),
        (behind, "in front", "1 joints lie behind the camera or nearer than 100 mm (head at -5 mm)"),
        (lambda s: replace(s, box_px=s.box_px[[2, 1, 0, 3]]), "box", "its corners are exchanged"),
        (lambda s: replace(s, box_px=s.box_px - 400), "box", "is not inside the crop"),
        (one_code("visible", 5), "codes", "1 visibility or quality codes are not defined"),
        (one_code("quality", 9), "codes", "1 visibility or quality codes are not defined"),
        (one_code("quality", 0), "absent", "1 joints (right_knee) contradict their quality"),
        (without_wrist, "absent", "1 joints (left_wrist) contradict their quality"),
    ],
)
def test_labels_that_contradict_one_another_are_found(
    shards: Path, change: Callable[[Sample], Sample], check: str, sentence: str
) -> None:
    rewritten(shards, "test", change, only=7)
    validation = validate(shards)
    (finding,) = found(validation)[check]
    assert finding.sample == ShardSet.open(shards, "test").keys[7]
    assert sentence in finding.sentence
    (hint,) = validation.repairs()
    assert "it would write the same again" in hint
    assert hint.endswith("--split test --overwrite")


def test_a_joint_outside_the_crop_is_noted(shards: Path) -> None:
    def reaching(sample: Sample) -> Sample:
        joints = np.array(sample.joints_cam_mm)
        joints[joint("left_wrist"), 0] += 900
        return moved(sample, joints)

    rewritten(shards, "test", reaching, only=2)
    notes = found(validate(shards), "note")
    assert "left_wrist lies" in notes["in crop"][0].sentence
    assert "left_wrist" in notes["bones"][0].sentence
    assert {"in crop", "bones", "steady bones", "symmetry"} <= set(notes)


def labels_of(folder: Path, split: str = "test") -> Labels:
    return ShardSet.open(folder, split).labels


def changed(of: Labels, **arrays: Any) -> Labels:
    return Labels(**{**{name: getattr(of, name) for name in vars(of)}, **arrays})


def test_numbers_that_no_writer_stores_are_found(depth_shards: Path) -> None:
    sound = labels_of(depth_shards)
    assert labels.numbers(sound).excess.max() == 0
    points, box, matrix = sound.joints_px.copy(), sound.box_px.copy(), sound.intrinsics_px.copy()
    points[0, 0, 0] = np.nan
    points[1, 2:4] = np.inf
    box[2, 3] = np.nan
    matrix[3, 0, 0] = np.inf
    result = labels.numbers(changed(sound, joints_px=points, box_px=box, intrinsics_px=matrix))
    np.testing.assert_array_equal(result.value[:5], [1, 2, 1, 1, 0])
    np.testing.assert_array_equal(result.excess[:5] > 1, [True, True, True, True, False])


def test_a_rotation_that_is_none_is_found(depth_shards: Path) -> None:
    sound = labels_of(depth_shards)
    rotation = sound.rotation.copy()
    rotation[0] *= 1.01
    rotation[1] = np.diag([1, 1, -1.0]) @ rotation[1]
    result = labels.rotation(changed(sound, rotation=rotation))
    np.testing.assert_allclose(result.value[:2], [0.0201, 2.0], atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(result.excess > 1), [0, 1])


def test_a_size_that_no_shard_holds_is_found(depth_shards: Path) -> None:
    sound = labels_of(depth_shards)
    size = sound.size_px.copy()
    size[4] = (0, 5)
    np.testing.assert_array_equal(np.flatnonzero(labels.lens(changed(sound, size_px=size)).excess > 1), [4])


def test_keys_that_webdataset_would_mix_up_are_found() -> None:
    assert labels.bad_keys(np.array(["a", "b_1", "c-2"])) == []
    wrong = labels.bad_keys(np.array(["a", "b.1", "a"]))
    assert wrong[0] == (1, "the key may hold letters, digits, '_' and '-' only")
    assert wrong[1] == (2, "the key is used twice: samples 0 and 2 of the split")


# Between splits.


def test_a_key_in_two_splits_is_found(shards: Path) -> None:
    key = str(ShardSet.open(shards, "train").keys[0])
    rewritten(shards, "test", lambda sample: replace(sample, key=key), only=0)
    ((finding,),) = found(validate(shards)).values()
    assert finding.check == "keys across splits"
    assert f"1 keys are in test and in train: {key}" in finding.sentence
    assert validate(shards, splits=["test"]).sound


def test_a_subject_in_two_splits_is_noted(shards: Path) -> None:
    rewritten(shards, "test", lambda sample: replace(sample, subject="inter-pose"), only=0)
    validation = validate(shards)
    assert validation.sound
    assert (
        "1 subjects are in test and in train: inter-pose"
        in found(validation, "note")["subjects across splits"][0].sentence
    )


# Bodies.


LEGS, ARMS = ("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")


def partly_swapped(joints: Any, names: tuple[str, ...]) -> Any:
    """(..., 17, D) with left and right exchanged in these joints alone."""
    order = np.arange(17)
    for name in names:
        pair = [H36M17.index(f"{side}_{name}") for side in ("left", "right")]
        order[pair] = order[pair[::-1]]
    return np.asarray(joints)[..., order, :]


def test_exchanged_sides_are_found_by_the_way_knees_bend(shards: Path) -> None:
    """Image, projection and bone lengths all agree: only the anatomy does not."""
    rewritten(shards, "train", lambda s: moved(s, swapped(s.joints_cam_mm)))
    problems = found(validate(shards, sampled=1))
    assert {"left and right"} <= set(problems) <= {"left and right", "elbows"}
    assert "100 % of" in problems["left and right"][0].sentence


@pytest.mark.parametrize(("names", "bends"), [(LEGS, "left and right"), (ARMS, "elbows")])
def test_sides_exchanged_in_the_legs_or_in_the_arms_alone_are_found(
    shards: Path, names: tuple[str, ...], bends: str
) -> None:
    rewritten(shards, "train", lambda s: moved(s, partly_swapped(s.joints_cam_mm, names)))
    problems = found(validate(shards, sampled=1))
    assert {"hips and shoulders"} <= set(problems) <= {"hips and shoulders", bends, "bones"}
    assert "100 % of" in problems["hips and shoulders"][0].sentence


def test_exchanged_legs_are_found_in_image_points_alone(depth_shards: Path) -> None:
    sound = labels_of(depth_shards, "train")
    flat = changed(sound, joints_cam_mm=np.full_like(sound.joints_cam_mm, np.nan))
    people, opposed = bodies.opposed_axes(flat)
    assert people == len(sound)
    assert opposed < 0.05 * people
    exchanged = changed(flat, joints_px=partly_swapped(flat.joints_px, LEGS))
    assert bodies.opposed_axes(exchanged) == (people, people - opposed)
    assert [bool(wrong) for _, _, wrong in bodies.sides(exchanged)] == [True]
    assert [bool(wrong) for _, _, wrong in bodies.sides(flat)] == [False]


def test_a_left_handed_frame_is_found_by_the_way_limbs_bend(depth_shards: Path) -> None:
    sound = labels_of(depth_shards, "train")
    flipped = changed(sound, joints_cam_mm=sound.joints_cam_mm * np.array([1, -1, 1], np.float32))
    for limb, most in ((LEGS, 1.0), (ARMS, 0.4)):
        bent, forward = bodies.bent_limbs(sound, limb)
        assert bent >= bodies.FEWEST
        assert bodies.bent_limbs(flipped, limb) == (bent, bent - forward)
        assert forward == bent if limb is LEGS else forward < most * bent
    assert {check.name for check, _, wrong in bodies.sides(flipped) if wrong} == {"left and right", "elbows"}
    assert not any(wrong for _, _, wrong in bodies.sides(sound))


def test_too_few_people_say_nothing(depth_shards: Path) -> None:
    few = labels_of(depth_shards, "train").take(np.arange(5))
    assert bodies.sides(few) == []


def test_centimetres_are_found(shards: Path) -> None:
    rewritten(shards, "test", lambda s: moved(s, np.asarray(s.joints_cam_mm) / 10))
    problems = found(validate(shards))
    assert "a unit is wrong" in problems["size"][0].sentence
    assert "surface" in problems


def test_an_absurd_bone_is_wrong(shards: Path) -> None:
    def stretched(sample: Sample) -> Sample:
        joints = np.array(sample.joints_cam_mm)
        joints[joint("right_ankle"), 2] += 1500
        return moved(sample, joints)

    rewritten(shards, "test", stretched, only=4)
    (finding,) = found(validate(shards))["absurd bones"]
    assert "right_knee to right_ankle measures" in finding.sentence


def test_bones_are_measured_between_their_ends() -> None:
    joints = np.zeros((2, 17, 3), np.float32)
    joints[:, joint("left_knee")] = (0, 300, 400)
    joints[1, joint("left_knee")] = np.nan
    lengths = bodies.bone_lengths_mm(_labels(joints))
    number = [child for child, _ in bodies.BONES].index(joint("left_knee"))
    np.testing.assert_allclose(lengths[:, number], [500, np.nan])
    assert bodies.bone_name(number) == "left_hip to left_knee"


def test_limits_of_bones_are_those_of_the_table() -> None:
    """A thigh is 0.245 of the stature: 1450 / 1.35 * 0.245 = 263 mm to 2050 * 1.35 * 0.245 = 678 mm."""
    number = [child for child, _ in bodies.BONES].index(joint("left_knee"))
    np.testing.assert_allclose(bodies.LIMITS_MM[number], [263.1, 678.0], atol=0.1)


def test_a_limb_that_changes_within_a_sequence_is_noted_and_another_sequence_is_not() -> None:
    joints = np.zeros((6, 17, 3), np.float32)
    joints[:, joint("left_knee"), 1] = (400, 400, 520, 200, 200, 200)
    of = _labels(joints, sequence=np.array(list("aaabbb")))
    result = bodies.steady(of, bodies.bone_lengths_mm(of))
    np.testing.assert_allclose(result.value, [0, 0, 30, 0, 0, 0], atol=1e-4)
    np.testing.assert_array_equal(result.excess > 1, [False, False, True, False, False, False])
    assert "left_hip to left_knee measures 520 mm, in the median of its sequence 400 mm" in result.say(2)


def test_unequal_sides_are_noted() -> None:
    joints = np.zeros((2, 17, 3), np.float32)
    joints[:, joint("left_elbow"), 1] = 300
    joints[:, joint("right_elbow"), 1] = (310, 390)
    result = bodies.symmetry(bodies.bone_lengths_mm(_labels(joints)))
    np.testing.assert_allclose(result.value, [100 * (31 / 30 - 1), 30], atol=1e-4)
    assert result.say(1) == "left_shoulder to left_elbow measures 300 mm, on the right 390 mm"


def _labels(joints_cam_mm: Any, **more: Any) -> Labels:
    number = len(joints_cam_mm)
    content = {
        "joints_px": np.zeros((number, 17, 2), np.float32),
        "joints_cam_mm": joints_cam_mm,
        "visible": np.full((number, 17), -1, np.int8),
        "quality": np.full((number, 17), 3, np.uint8),
        "box_px": np.zeros((number, 4), np.float32),
        "intrinsics_px": np.zeros((number, 2, 3)),
        "distortion": np.zeros((number, 5)),
        "size_px": np.full((number, 2), 100, np.int32),
        "rotation": np.tile(np.eye(3), (number, 1, 1)),
        "position_world_mm": np.zeros((number, 3)),
        "frame": np.arange(number),
        **{name: np.full(number, "") for name in ("subject", "action", "camera_id", "sequence")},
    }
    return Labels(**{**content, **more})


# Images.


def moved_images(sample: Sample) -> Sample:
    def roll(image: Any) -> Any:
        return np.roll(image, (sample.camera.size_px[1] // 3, 0), (0, 1))

    return replace(sample, depth_mm=roll(sample.depth_mm), parts=roll(sample.parts))


def deeper(sample: Sample) -> Sample:
    depth = np.asarray(sample.depth_mm)
    return replace(sample, depth_mm=np.where(depth > 0, depth + 400, 0).astype(np.uint16))


def wall(sample: Sample) -> Sample:
    return replace(sample, depth_mm=np.full_like(sample.depth_mm, 300))


def too_many_parts(sample: Sample) -> Sample:
    parts = np.array(sample.parts)
    parts[0, 0] = 200
    return replace(sample, parts=parts)


@pytest.mark.parametrize(
    ("change", "check", "sentence"),
    [
        (moved_images, "silhouette", "joints lie beside the person: image and labels do not belong together"),
        (deeper, "surface", "mm in front of it: depth image and labels do not fit"),
        (wall, "surface", "mm behind it: depth image and labels do not fit"),
        (too_many_parts, "part ids", "part id 200, but the manifest counts 44 classes with the background"),
        (lambda s: replace(s, depth_mm=np.zeros_like(s.depth_mm)), "content", "depth_mm shows nothing"),
    ],
)
def test_images_that_show_something_else_are_found(
    shards: Path, change: Callable[[Sample], Sample], check: str, sentence: str
) -> None:
    rewritten(shards, "test", change, only=11)
    problems = found(validate(shards))
    assert check in problems
    assert set(problems) <= {check, "clips fit"}
    (finding,) = problems[check]
    assert finding.sample == ShardSet.open(shards, "test").keys[11]
    assert sentence in finding.sentence


def test_a_blank_photograph_is_found(rgb: Path) -> None:
    rewritten(rgb, "train", lambda s: replace(s, rgb=np.full_like(s.rgb, 90)), only=0)
    assert "rgb shows nothing" in found(validate(rgb))["content"][0].sentence


def test_a_mask_of_nobody_is_noted_and_the_depth_image_shows_the_person(shards: Path) -> None:
    rewritten(shards, "test", lambda s: replace(s, parts=np.zeros_like(s.parts)), only=0)
    validation = validate(shards)
    assert validation.sound
    assert set(found(validation, "note")) == {"content of parts"}
    (silhouette,) = (o for o in validation.outcomes if o.check.name == "silhouette" and o.split == "test")
    assert silhouette.tested == 30


def test_a_lost_hand_is_noted_and_an_arm_is_not_enough_to_be_wrong(shards: Path) -> None:
    """The parts around one wrist are erased: one joint of 17 lies beside the person."""

    def without_hand(sample: Sample) -> Sample:
        x, y = sample.joints_px[joint("left_wrist")].round().astype(int)
        rows, columns = np.indices(sample.parts.shape)
        near = (rows - y) ** 2 + (columns - x) ** 2 < (0.1 * max(sample.parts.shape)) ** 2
        return replace(sample, parts=np.where(near, 0, sample.parts).astype(np.uint8))

    arms_out = int(np.argmax(np.abs(np.diff(labels_of(shards).joints_cam_mm[:, [13, 0], 0], axis=1))))
    rewritten(shards, "test", without_hand, only=arms_out)
    validation = validate(shards)
    assert validation.sound
    assert "left_wrist lies" in found(validation, "note")["stray joints"][0].sentence


def test_distance_from_the_person_is_measured_in_the_mask() -> None:
    """A disc of radius 20 px: joints at its centre, and one 40 px from it, 20 px beside it, in a crop of 100 px."""
    parts = np.zeros((100, 100), np.uint8)
    cv2.circle(parts, (50, 50), 20, 1, -1)
    points = np.full((1, 17, 2), 50, np.float32)
    points[0, joint("head")] = (50, 10)
    of = _labels(np.full((1, 17, 3), np.nan, np.float32), joints_px=points)
    by_name = {reading.check.name: reading for reading in images.positions({"parts": parts}, of, "given")}
    assert by_name["silhouette"].value == pytest.approx(100 / 17)
    assert by_name["stray joints"].value == pytest.approx(20, abs=0.5)
    assert "head lies 20 px away from the person" in by_name["stray joints"].sentence


def test_depth_of_joints_is_measured_from_the_surface_and_occluded_ones_are_left_out() -> None:
    depth = np.full((100, 100), 2000, np.uint16)
    joints = np.zeros((1, 17, 3), np.float32)
    joints[0, :, 2] = 2080
    joints[0, joint("head"), 2] = 1800
    points, visible = np.full((1, 17, 2), 50, np.float32), np.full((1, 17), 1, np.int8)
    of = _labels(joints, joints_px=points, visible=visible)
    by_name = {reading.check.name: reading for reading in images.positions({"depth_mm": depth}, of, "given")}
    assert by_name["surface"].value == pytest.approx(80)
    assert by_name["surface"].excess == pytest.approx(80 / 300)
    assert by_name["floating joints"].value == pytest.approx(200)
    assert "head lies 200 mm in front of" in by_name["floating joints"].sentence
    visible[0, joint("head")] = 0
    by_name = {reading.check.name: reading for reading in images.positions({"depth_mm": depth}, of, "given")}
    assert by_name["floating joints"].value == 0


def test_poses_without_images_are_checked_as_far_as_they_go(shards: Path) -> None:
    rewritten(shards, "test", lambda s: replace(s, depth_mm=None, parts=None))
    edited_manifest(shards, lambda content: content["splits"]["test"].update(modalities=[]))
    validation = validate(shards, splits=["test"])
    assert found(validation) == {}
    assert validation.images_read == 0
    assert "projection" in {outcome.check.name for outcome in validation.outcomes}


# What is said of it.


def test_findings_are_counted_all_and_kept_the_worst() -> None:
    check = Check("c", "w", "1 px", "px")
    values = np.arange(100.0)
    values[5] = np.nan
    names = np.array([f"k{i}" for i in range(100)])
    outcome = judge(measured(check, values, 50.0, lambda i: f"value {values[i]:g}"), "test", names, names)
    assert (outcome.tested, outcome.failed, outcome.worst) == (99, 49, 99.0)
    assert len(outcome.findings) == MOST_FINDINGS
    assert (outcome.findings[0].sample, outcome.findings[0].sentence) == ("k99", "value 99")


def test_what_prepare_repairs_is_printed_as_a_command(in_two: Path) -> None:
    tar = tar_of(in_two, "train", 1)
    flipped(tar, tar.stat().st_size - 1)
    (command,) = validate(in_two).repairs(raw=Path("my raw"))
    assert command == f"rm {tar} && kt3d prepare ubc3v --raw 'my raw' --out {in_two} --split train"


def test_the_command_repeats_options_that_are_not_the_defaults(shards: Path) -> None:
    def other(content: dict[str, Any]) -> None:
        content["options"] = {"boxes": "detector"}
        content["dataset"] = "itop"

    edited_manifest(shards, other)
    tar_of(shards, "train").unlink()
    tar_of(shards, "test").unlink()
    (command,) = validate(shards).repairs()
    assert command == f"kt3d prepare itop --raw RAW --out {shards} --boxes detector"


def test_a_damaged_tar_is_made_again_by_what_is_said(depth_shards: Path, tmp_path: Path) -> None:
    """``prepare`` keeps a tar of the right size; once it is removed, as the command says, the same bytes come back."""
    folder = Path(shutil.copytree(depth_shards.parent, tmp_path / "whole")) / "shards"
    tar = tar_of(folder, "train")
    good = tar.read_bytes()
    flipped(tar, len(good) // 2)
    plugin = registry.dataset("ubc3v")

    def again() -> None:
        prepare(plugin, raw=folder.parent / "raw", out=folder, splits=["train"], workers=1, samples_per_shard=16)

    again()
    validation = validate(folder)
    assert not validation.sound
    for finding in found(validation)["digest"]:
        for name in finding.remove:
            (folder / name).unlink()
    again()
    assert validate(folder).sound
    assert tar.read_bytes() == good
