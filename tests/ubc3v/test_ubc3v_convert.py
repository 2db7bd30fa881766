"""The converter on sections written by hand: geometry, depth, parts, and everything that can be missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import kt3d_ubc3v
import numpy as np
import pytest
import scipy.io
from kt3d_ubc3v import convert
from kt3d_ubc3v.groundtruth import MAPPING
from kt3d_ubc3v.regions import REGION_NAMES
from ubc3v_sections import (
    CAMERAS,
    WHERE_CM,
    aim,
    camera_frames,
    cells,
    grey_levels,
    ground_truth,
    posture,
    rgba_from,
    save_rgba,
    silhouette,
    view,
    write_section,
)

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import cam_to_world, project
from kt3d_bench.plugins.cards import read_card
from kt3d_bench.records import Sample, Skipped
from kt3d_bench.skeletons import H36M17


def run(raw: Path, split: str = "test", **options: object) -> tuple[list[Sample], dict[str, str]]:
    found = [result for item in convert.plan(raw, split, options) for result in convert.convert(item)]
    samples = [one for one in found if isinstance(one, Sample)]
    skipped = [one for one in found if isinstance(one, Skipped)]
    return samples, {one.name: f"{one.where}: {one.reason}".removeprefix(": ") for one in skipped}


@pytest.fixture
def section(tmp_path: Path) -> Path:
    return write_section(tmp_path / "hard-pose" / "test" / "7")


def test_keys_and_names(section: Path, tmp_path: Path) -> None:
    samples, skipped = run(tmp_path)
    assert not skipped
    assert [one.key for one in samples] == [f"hard_test_0007_cam{c}_00000{f}" for f in (1, 2) for c in (1, 2, 3)]
    assert samples[0].sequence == "hard_test_0007"
    assert (samples[4].camera_id, samples[4].frame, samples[4].subject) == ("cam2", 2, "hard-pose")
    assert sum(item.expected_samples for item in convert.plan(tmp_path, "test", {})) == 6


def test_names_in_capitals_are_read_alike(section: Path, tmp_path: Path, in_capitals: Callable[[Path], None]) -> None:
    expected = [one.key for one in run(tmp_path)[0]]
    in_capitals(tmp_path)
    samples, skipped = run(tmp_path)
    assert not skipped
    assert [one.key for one in samples] == expected
    assert all(one.parts is not None for one in samples)


def test_joints_in_space_and_in_the_image(section: Path, tmp_path: Path) -> None:
    names = {"right_hip": "RightLegPGX", "right_ankle": "RightToeBasePGX", "left_knee": "LeftFootPGX",
             "spine": "RightShoulderPGX", "thorax": "Neck1PGX", "head": "HeadPGX", "left_wrist": "LeftFingerBasePGX",
             "right_shoulder": "RightForeArmPGX", "right_elbow": "RightHandPGX"}  # fmt: skip
    for sample in run(tmp_path)[0][:3]:
        translate = CAMERAS[sample.camera_id.capitalize()]
        assert sample.joints_cam_mm is not None
        world_mm = cam_to_world(sample.camera, sample.joints_cam_mm)
        for name, field in names.items():
            joint = H36M17.index(name)
            np.testing.assert_allclose(world_mm[joint], np.array(WHERE_CM[field]) * 10.0, atol=1e-2, err_msg=name)
            _, depth_cm = view(translate, aim(translate), [WHERE_CM[field]])
            assert sample.joints_cam_mm[joint, 2] == pytest.approx(depth_cm[0] * 10, abs=1e-2)
        hip = (np.array(WHERE_CM["RightLegPGX"]) + WHERE_CM["LeftLegPGX"]) / 2
        np.testing.assert_allclose(world_mm[0], hip * 10, atol=1e-2)
        nose = (np.array(WHERE_CM["Neck1PGX"]) + WHERE_CM["HeadPGX"]) / 2
        np.testing.assert_allclose(world_mm[9], nose * 10, atol=1e-2)
        np.testing.assert_allclose(project(sample.camera, sample.joints_cam_mm), sample.joints_px, atol=1e-2)


def test_crop_px_are_the_full_images_px_moved(section: Path, tmp_path: Path) -> None:
    sample = run(tmp_path)[0][0]
    translate = CAMERAS["Cam1"]
    pixels, _ = view(translate, aim(translate), [WHERE_CM["HeadPGX"], WHERE_CM["LeftToeBasePGX"]])
    crop = sample.joints_px[[H36M17.index("head"), H36M17.index("left_ankle")]]
    scale = sample.camera.focal_px[0] / 361.557
    np.testing.assert_allclose((crop[1] - crop[0]) / scale, pixels[1] - pixels[0], atol=0.02)


def test_depth_parts_and_box_follow_the_opaque_pixels(section: Path, tmp_path: Path) -> None:
    sample = run(tmp_path)[0][0]
    assert sample.depth_mm is not None
    assert sample.parts is not None
    levels_mm = {round((level / 255 * 750 + 50) * 10) for level in grey_levels(CAMERAS["Cam1"])}
    assert len(levels_mm) > 5
    assert set(np.unique(sample.depth_mm)) == {0, *levels_mm}
    assert set(np.unique(sample.parts)) == {0, REGION_NAMES.index("chest front, left")}
    np.testing.assert_array_equal(sample.parts > 0, sample.depth_mm > 0)
    rows, columns = np.nonzero(sample.depth_mm)
    np.testing.assert_allclose(sample.box_px, [columns.min(), rows.min(), columns.max(), rows.max()], atol=1.0)
    opaque = rgba_from(silhouette(CAMERAS["Cam1"], aim(CAMERAS["Cam1"])), (1, 1, 1))[..., 3] == 255
    assert (sample.depth_mm > 0).sum() == pytest.approx(opaque.sum(), rel=0.02)


def test_the_depth_factor_scales_depth_alone(section: Path, tmp_path: Path) -> None:
    plain, scaled = run(tmp_path)[0][0], run(tmp_path, depth_factor=1.03)[0][0]
    (plugin,) = kt3d_ubc3v.kt3d_datasets()
    assert plugin.options["depth_factor"].default == 1.0, "with 1.03 joints lie before the surface"
    assert plain.depth_mm is not None
    assert scaled.depth_mm is not None
    assert scaled.depth_mm.max() == pytest.approx(1.03 * plain.depth_mm.max(), abs=1)
    np.testing.assert_array_equal(scaled.joints_cam_mm, plain.joints_cam_mm)


def test_the_kinect_table_is_a_choice(section: Path, tmp_path: Path) -> None:
    sample = run(tmp_path, intrinsics="kinect2")[0][0]
    assert sample.camera.distortion.tolist() == [0.0959123, -0.2738710, 0.0, 0.0, 0.0934708]


def test_irregular_ground_truth(tmp_path: Path) -> None:
    """Frame 2 is no struct, frame 3 is empty, frame 4 lacks a bone, frame 5 has no camera, frame 6 no image."""
    lame = posture()
    del lame["LeftToeBasePGX"]
    truth = ground_truth(6)
    truth["joints"] = cells([posture(), 0.0, np.zeros((0, 0)), lame, posture(), posture()])
    truth["cameras"] = {"Cam3": camera_frames("Cam3", 4), "Cam2": camera_frames("Cam2", 6),
                        "Cam1": camera_frames("Cam1", 6)}  # fmt: skip
    folder = write_section(tmp_path / "hard-pose/test/1", 5, truth=truth)
    samples, skipped = run(tmp_path)
    keys = [one.key.removeprefix("hard_test_0001_") for one in samples]
    assert keys == [f"cam{c}_00000{f}" for f, c in [(1, 1), (1, 2), (1, 3), (4, 1), (4, 2), (4, 3), (5, 1), (5, 2)]]
    assert np.isnan(samples[3].joints_px[H36M17.index("left_ankle")]).all()
    assert skipped["hard_test_0001_cam1_000002"] == "no pose in groundtruth.mat"
    assert skipped["hard_test_0001_cam3_000005"] == "no pose in groundtruth.mat"
    assert "mayaProject.000006.png: is missing" in skipped["hard_test_0001_cam1_000006"]
    assert len(skipped) == 3 + 3 + 1 + 3
    assert folder.is_dir()


def test_more_images_than_poses(tmp_path: Path) -> None:
    write_section(tmp_path / "hard-pose/test/1", 3, truth=ground_truth(2))
    samples, skipped = run(tmp_path)
    assert len(samples) == 6
    assert list(skipped.values()) == ["no pose in groundtruth.mat"] * 3


def test_sections_without_class_images_give_samples_without_parts_unless_others_have_them(tmp_path: Path) -> None:
    write_section(tmp_path / "hard-pose/test/1", 1, parts=False)
    samples, skipped = run(tmp_path)
    assert [one.parts is None for one in samples] == [True] * 3
    assert not skipped
    write_section(tmp_path / "hard-pose/test/2", 1)
    samples, skipped = run(tmp_path)
    assert [one.parts is None for one in samples] == [False] * 3
    assert "1/images/groundtruth: holds no class images, while other sections do" in skipped["hard_test_0001_000001"]
    assert "1 sections without part colours" in "\n".join(convert.describe(tmp_path))


def test_a_class_image_with_unknown_colours_is_skipped_in_words(section: Path, tmp_path: Path) -> None:
    mask = silhouette(CAMERAS["Cam1"], aim(CAMERAS["Cam1"]))
    save_rgba(section / "images/groundtruth/Cam1/mayaProject.000001.png", rgba_from(mask, (200, 10, 200)))
    samples, skipped = run(tmp_path)
    assert len(samples) == 5
    assert "class image: colour (200, 10, 200)" in skipped["hard_test_0007_cam1_000001"]


def test_an_image_without_anybody_is_skipped(section: Path, tmp_path: Path) -> None:
    for kind in ("depthRender", "groundtruth"):
        save_rgba(section / f"images/{kind}/Cam2/mayaProject.000002.png", np.zeros((424, 512, 4), np.uint8))
    assert run(tmp_path)[1] == {"hard_test_0007_cam2_000002": "nobody in the image"}


def test_images_of_another_kind_are_skipped_in_words(section: Path, tmp_path: Path) -> None:
    folder = section / "images/depthRender/Cam1"
    save_rgba(folder / "mayaProject.000001.png", np.zeros((212, 256, 4), np.uint8))
    (folder / "mayaProject.000002.png").write_bytes(b"no image")
    _, skipped = run(tmp_path)
    assert "is 256 x 212 with 8 bits and colour type 6" in skipped["hard_test_0007_cam1_000001"]
    assert "is not a PNG image" in skipped["hard_test_0007_cam1_000002"]


def test_a_cut_image_is_skipped_in_words(section: Path, tmp_path: Path) -> None:
    path = section / "images/depthRender/Cam1/mayaProject.000001.png"
    path.write_bytes(path.read_bytes()[:60])
    assert "cannot be decoded" in run(tmp_path)[1]["hard_test_0007_cam1_000001"]


def test_one_frame_whose_joints_are_elsewhere_is_skipped(tmp_path: Path) -> None:
    moved = {field: value + np.eye(16)[12] * 90 for field, value in posture().items()}
    truth = ground_truth(5) | {"joints": cells([posture()] * 4 + [moved])}
    write_section(tmp_path / "hard-pose/test/1", 5, truth=truth)
    samples, skipped = run(tmp_path)
    assert len(samples) + len(skipped) == 15
    assert set(skipped.values()) == {"joints and silhouette disagree"}
    assert {name[-1] for name in skipped} == {"5"}


def test_a_section_whose_joints_miss_the_images_is_refused(tmp_path: Path) -> None:
    moved = {field: value + np.eye(16)[13] * 60 for field, value in posture().items()}
    write_section(tmp_path / "hard-pose/test/1", 2, truth=ground_truth(2) | {"joints": cells([moved] * 2)})
    write_section(tmp_path / "hard-pose/test/2", 1)
    samples, skipped = run(tmp_path)
    assert [one.sequence for one in samples] == ["hard_test_0002"] * 3
    assert "joints and images disagree" in skipped["hard_test_0001_000001"]


def test_a_section_whose_camera_rules_disagree_is_refused(tmp_path: Path) -> None:
    truth = ground_truth(1)
    frame = {"translate": np.array([CAMERAS["Cam3"]]), "rotate": aim(CAMERAS["Cam3"])[None] * [1, 1, 0]}
    truth["cameras"]["Cam3"] = {"frames": cells([frame]), "name": "Cam3"}
    write_section(tmp_path / "hard-pose/test/1", 1, truth=truth)
    assert "two rules for the camera's rotation disagree" in run(tmp_path)[1]["hard_test_0001_000001"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda mat: mat.write_bytes(mat.read_bytes()[:4000]), "is damaged"),
        (lambda mat: mat.write_bytes(b""), "is not a MATLAB file of version 5 to 7.3"),
        (
            lambda mat: scipy.io.savemat(mat, {"joints": 1.0}),
            "is no section's ground truth: expected 'joints' and a struct 'cameras', found joints",
        ),
        (
            lambda mat: scipy.io.savemat(mat, {"joints": 1.0, "cameras": {"Cam2": {"frames": 1.0}}}),
            "'cameras' lacks Cam1, found Cam2",
        ),
    ],
)
def test_a_damaged_section_does_not_stop_the_others(tmp_path: Path, damage: object, words: str) -> None:
    bad = write_section(tmp_path / "hard-pose/test/1", 1)
    write_section(tmp_path / "hard-pose/test/2", 1)
    damage(bad / "groundtruth.mat")  # type: ignore[operator]
    samples, skipped = run(tmp_path)
    assert len(samples) == 3
    assert words in skipped["hard_test_0001_000001"]


def test_a_section_without_images_or_truth_is_skipped(tmp_path: Path) -> None:
    shutil.rmtree(write_section(tmp_path / "hard-pose/test/1", 1) / "images")
    (write_section(tmp_path / "hard-pose/test/2", 1) / "groundtruth.mat").unlink()
    write_section(tmp_path / "hard-pose/test/10", 1)
    samples, skipped = run(tmp_path)
    assert [one.sequence for one in samples] == ["hard_test_0010"] * 3
    assert "holds no depth images" in skipped["hard_test_0001_000001"]
    assert "is missing" in skipped["hard_test_0002_000001"]


def test_long_sections_are_cut_into_items_without_a_gap(section: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    whole = [one.key for one in run(tmp_path)[0]]
    monkeypatch.setattr(convert, "FRAMES_PER_ITEM", 1)
    assert len(convert.plan(tmp_path, "test", {})) == 2
    assert [one.key for one in run(tmp_path)[0]] == whole


def error_of(raw: Path, split: str) -> str:
    with pytest.raises(RawDataError) as caught:
        convert.plan(raw, split, {})
    return caught.value.message


def test_wrong_folders_are_refused_with_what_they_hold(section: Path, tmp_path: Path) -> None:
    assert "holds no folder inter-pose, found hard-pose" in error_of(tmp_path, "train")
    assert "or prepare what is here: --split test" in error_of(tmp_path, "train")
    assert "kt3d generate ubc3v" in error_of(tmp_path / "nowhere", "test")
    (tmp_path / "empty").mkdir()
    assert "found nothing" in error_of(tmp_path / "empty", "test")
    (tmp_path / "inter-pose.tar.gz").write_bytes(b"")
    assert "still packed" in error_of(tmp_path, "train")
    packed = tmp_path / "inter-pose.tar.gz"
    assert f"tar -xf {packed} -C {tmp_path}" in error_of(tmp_path, "train")
    assert f"Not read while it is packed: {packed}." in convert.describe(tmp_path)
    deeper = tmp_path / "empty" / "easy-pose.tar"
    deeper.write_bytes(b"")
    assert f"Not read while it is packed: {deeper}." in convert.describe(tmp_path)
    (tmp_path / "inter-pose" / "train" / "1").mkdir(parents=True)
    assert "found 1 section folders" in error_of(tmp_path, "train")
    site = "https://www.cs.ubc.ca/research/UBC3V/"
    lines = convert.describe(tmp_path)
    assert f"{tmp_path / 'inter-pose/train'}: holds no section with a groundtruth.mat" in "\n".join(lines)
    assert f"Split test lacks hard-pose.tar.gz, from {site}." in convert.describe(tmp_path / "inter-pose")
    shutil.rmtree(tmp_path / "inter-pose" / "train")
    assert f"Split train lacks {tmp_path / 'inter-pose/train'}; unpack inter-pose.tar.gz again, from {site}." in (
        convert.describe(tmp_path)
    )


def test_the_layout_is_named_with_the_files_that_its_sections_lack(section: Path, tmp_path: Path) -> None:
    assert f"Layout: the official download, unpacked in {tmp_path}." in convert.describe(tmp_path)
    write_section(section.parent / "2", 1)
    (section.parent / "2" / "groundtruth.mat").unlink()
    name = section.relative_to(tmp_path).parent / "2" / "groundtruth.mat"
    assert f"Missing: {name}; unpack hard-pose.tar.gz again, from https://www.cs.ubc.ca/research/UBC3V/." in (
        convert.describe(tmp_path)
    )


def test_the_subset_itself_and_a_folder_around_it_are_found(tmp_path: Path) -> None:
    write_section(tmp_path / "outer/UBC3V/hard-pose/test/1", 1)
    assert len(run(tmp_path / "outer")[0]) == 3
    assert len(run(tmp_path / "outer/UBC3V/hard-pose")[0]) == 3


def test_a_repaired_section_is_read_again(section: Path, tmp_path: Path) -> None:
    whole = (section / "groundtruth.mat").read_bytes()
    (section / "groundtruth.mat").write_bytes(whole[:5000])
    assert not run(tmp_path)[0]
    (section / "groundtruth.mat").write_bytes(whole)
    assert len(run(tmp_path)[0]) == 6
    scipy.io.savemat(section / "groundtruth.mat", ground_truth(1))
    assert len(run(tmp_path)[0]) == 3


def test_the_card_says_what_the_mapping_does() -> None:
    card = read_card(Path(convert.__file__).parent)
    np.testing.assert_array_equal(card.quality, MAPPING.quality)
    assert card.num_parts == len(REGION_NAMES)
