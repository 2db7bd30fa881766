"""MPII's converter on a release written by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kt3d_mpii import convert
from kt3d_mpii.annotations import MAPPING
from mpii_release import image_entry, one, points, standing, structs, write_jpg, write_release

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.crops import transform_points
from kt3d_bench.plugins.cards import read_card
from kt3d_bench.records import Sample, Skipped
from kt3d_bench.skeletons import H36M17, Quality


def run(raw: Path) -> tuple[dict[str, Sample], dict[str, str]]:
    found = [result for item in convert.plan(raw, "train", {}) for result in convert.convert(item)]
    samples = {one.key: one for one in found if isinstance(one, Sample)}
    skipped = [one for one in found if isinstance(one, Skipped)]
    return samples, {one.name: f"{one.where}: {one.reason}".removeprefix(": ") for one in skipped}


def test_takes_the_annotated_persons_of_training_images(mpii_raw: Path) -> None:
    samples, skipped = run(mpii_raw)
    assert list(samples) == ["000000001_p1", "000000002_p1", "000000003_p1", "000000008_p2"]
    assert set(skipped) == {"000000006_p1", "000000007_p1", "000000008_p1"}
    assert "000000006.jpg: is missing" in skipped["000000006_p1"]
    assert "fewer than 4 joints" in skipped["000000007_p1"]
    assert sum(item.expected_samples for item in convert.plan(mpii_raw, "train", {})) == 5


def test_joints_are_zero_based_in_common_order_and_follow_the_crop(mpii_raw: Path) -> None:
    sample = run(mpii_raw)[0]["000000001_p1"]
    # Recover full-frame px from the crop's camera: dummy camera focal 1.2 * 320, centre (159.5, 119.5).
    full = np.array([[384.0, 0, 159.5], [0, 384.0, 119.5], [0, 0, 1]])
    affine = np.vstack([sample.camera.intrinsics_px, [0, 0, 1]]) @ np.linalg.inv(full)
    assert affine[0, 0] == pytest.approx(1.0)
    joints = transform_points(np.linalg.inv(affine)[:2], sample.joints_px)
    expected = {"hip": (100, 120), "right_hip": (90, 120), "right_knee": (88, 155), "right_ankle": (88, 190),
                "left_hip": (110, 120), "left_ankle": (112, 190), "thorax": (100, 62), "head": (100.7591, 39.75),
                "left_shoulder": (118, 70), "left_wrist": (130, 125), "right_elbow": (75, 98)}  # fmt: skip
    for name, place in expected.items():
        np.testing.assert_allclose(joints[H36M17.index(name)], place, atol=1e-4, err_msg=name)
    absent = [H36M17.index("spine"), H36M17.index("nose")]
    assert np.isnan(sample.joints_px[absent]).all()
    assert (sample.quality[absent] == Quality.ABSENT).all()
    assert np.isfinite(np.delete(sample.joints_px, absent, axis=0)).all()
    assert sample.joints_cam_mm is None
    assert sample.sequence == "video_0007"
    assert sample.action == "sports"


def test_the_box_is_that_of_the_joints_and_the_crop_a_square_around_it(mpii_raw: Path) -> None:
    sample = run(mpii_raw)[0]["000000001_p1"]
    known = sample.joints_px[np.isfinite(sample.joints_px).all(-1)]
    np.testing.assert_allclose(sample.box_px, [*known.min(0), *known.max(0)], atol=1e-3)
    width, height = sample.camera.size_px
    assert width == height
    assert width == pytest.approx(1.5 * (70 + 80.25), abs=2)


def test_visibility_in_all_its_spellings(mpii_raw: Path) -> None:
    samples, _ = run(mpii_raw)
    names = ("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "hip")
    visible = [int(samples["000000003_p1"].visible[H36M17.index(name)]) for name in names]
    assert visible == [0, 1, 0, -1, 1, -1, 1]
    assert (samples["000000002_p1"].visible == -1).all()


def test_images_are_rgb(mpii_raw: Path) -> None:
    sample = run(mpii_raw)[0]["000000001_p1"]
    assert sample.rgb is not None
    inside = sample.rgb[sample.rgb.shape[0] // 2, sample.rgb.shape[1] // 2]
    np.testing.assert_allclose(inside, (20, 60, 200), atol=3)


def test_describe_counts(mpii_raw: Path) -> None:
    lines = "\n".join(convert.describe(mpii_raw))
    assert "7 training images, 7 persons, 6 of them with joints" in lines
    assert "1 annotated training images are missing, such as 000000006.jpg" in lines
    assert "is not a folder" in "\n".join(convert.describe(mpii_raw / "nowhere"))


def test_the_card_says_what_the_mapping_does() -> None:
    card = read_card(Path(convert.__file__).parent)
    np.testing.assert_array_equal(card.quality, MAPPING.quality)
    assert card.num_parts == 0


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match=r"is not a folder.*kt3d generate mpii"):
        convert.plan(tmp_path / "nowhere", "train", {})


def crowd(raw: Path, change: Callable[[float, float], tuple[float, float]]) -> Path:
    """Ten images of different sizes with one person of 16 joints in the middle, each joint moved by ``change``."""
    annolist = []
    for number in range(10):
        size = (320, 240) if number % 2 else (200, 200)
        joints = {joint: change(*place) for joint, place in standing(size[0] / 2, size[1] / 2).items()}
        annolist.append(image_entry(f"{number:09d}.jpg", one(annopoints=points(joints, {}))))
        write_jpg(raw / "images", f"{number:09d}.jpg", size)
    write_release(raw / "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat", annolist, [1] * 10)
    return raw


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (2 * x, 2 * y), r"\d+ % of 140 joints lie outside their images"),
        (lambda x, y: (x, y + 100), r"\d+ % of 140 joints lie outside their images"),
        (lambda x, y: (x / 400, y / 400), "10 of 10 persons are smaller than 3 px: coordinates are no pixels"),
    ],
)
def test_annotations_of_other_or_resized_images_are_refused(
    tmp_path: Path, change: Callable[[float, float], tuple[float, float]], message: str
) -> None:
    assert len(convert.plan(crowd(tmp_path / "sound", lambda x, y: (x, y)), "train", {})) == 1
    with pytest.raises(RawDataError, match=message) as caught:
        convert.plan(crowd(tmp_path / "wrong", change), "train", {})
    assert "of one release" in (caught.value.hint or "")


def spread_crowd(raw: Path, change: Callable[[float, float], tuple[float, float]], *, rectangle: bool) -> Path:
    """Twenty images of one size with a person anywhere in the left half; joints alone are moved by ``change``."""
    annolist = []
    for number in range(20):
        x, y = 60.0 + 4 * number, 190.0 + number
        head = {"x1": x - 10, "y1": y - 82, "x2": x + 12, "y2": y - 56} if rectangle else {}
        joints = {joint: change(*place) for joint, place in standing(x, y).items()}
        person = one(annopoints=points(joints, {}), scale=0.75, objpos=one(x=x, y=y), **head)
        annolist.append(image_entry(f"{number:09d}.jpg", person))
        write_jpg(raw / "images", f"{number:09d}.jpg", (400, 400))
    write_release(raw / "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat", annolist, [1] * 20)
    return raw


@pytest.mark.parametrize("rectangle", [True, False])
@pytest.mark.parametrize(
    "change",
    [lambda x, y: (401 - x, y), lambda x, y: (x / 2, y / 2), lambda x, y: (y, x)],
    ids=["mirrored", "half", "exchanged"],
)
def test_joints_that_were_changed_alone_lie_beside_the_rest_of_their_annotation(
    tmp_path: Path, change: Callable[[float, float], tuple[float, float]], rectangle: bool
) -> None:
    sound = spread_crowd(tmp_path / "sound", lambda x, y: (x, y), rectangle=rectangle)
    assert len(convert.plan(sound, "train", {})) == 1
    beside = "head's rectangle" if rectangle else "rough centre"
    with pytest.raises(RawDataError, match=rf"the joints of \d+ of 20 people lie beside their own {beside}"):
        convert.plan(spread_crowd(tmp_path / "wrong", change, rectangle=rectangle), "train", {})


def test_centres_of_hrnets_json_are_held_against_its_joints(tmp_path: Path) -> None:
    official = spread_crowd(tmp_path, lambda x, y: (x, y), rectangle=False)
    shutil.rmtree(official / "mpii_human_pose_v1_u12_2")
    (official / "annot").mkdir()
    for mirror in (False, True):
        entries = []
        for number in range(20):
            x, y = 60.0 + 4 * number, 190.0 + number
            joints = [[401 - px if mirror else px, py] for px, py in standing(x, y).values()]
            more = {"center": [x, y], "scale": 0.75, "joints_vis": [1] * 16}
            entries.append({"image": f"{number:09d}.jpg", "joints": joints, **more})
        (official / "annot" / "train.json").write_text(json.dumps(entries))
        if not mirror:
            assert len(convert.plan(official, "train", {})) == 1
    with pytest.raises(RawDataError, match="of 20 people lie beside their own rough centre"):
        convert.plan(official, "train", {})


def test_a_person_annotated_twice_is_used_once(tmp_path: Path) -> None:
    twice = structs([{"annopoints": points(standing(101, 121), {})} for _ in range(2)])
    write_jpg(tmp_path / "images", "000000001.jpg")
    mat = tmp_path / "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat"
    write_release(mat, [image_entry("000000001.jpg", twice)], [1])
    samples, skipped = run(tmp_path)
    assert list(samples) == ["000000001_p1"]
    assert skipped == {"000000001_p2": "has the same joints as another person of the image"}
