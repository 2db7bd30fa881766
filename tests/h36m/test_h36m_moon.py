from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from h36m_handmade import CAMERA_IDS, POSITIONS, looking_at_origin
from kt3d_h36m.convert import convert, describe, plan, recorded
from kt3d_h36m.moon import read_joints
from kt3d_h36m.recordings import recordings

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.geometry.cameras import project, world_to_cam
from kt3d_bench.records import Sample, Skipped

FOCAL, CENTRE = (1145.0, 1143.8), (512.5, 515.4)
FRAMES = 130


def cameras_json() -> dict:
    return {
        str(number): {
            "R": looking_at_origin(position).tolist(),
            "t": list(position),
            "f": list(FOCAL),
            "c": list(CENTRE),
        }
        for number, position in enumerate(POSITIONS, start=1)
    }


@pytest.fixture
def moon(tmp_path):
    """S9: action 2 (Directions), subaction 1, 130 frames, of which the images of the first 65 are there."""
    rng = np.random.default_rng(3)
    world = np.array([0.0, 0.0, 950.0]) + rng.uniform(-500, 500, (FRAMES, 17, 3))
    annotations = tmp_path / "Human36M" / "annotations"
    annotations.mkdir(parents=True)
    poses = {str(frame): world[frame].tolist() for frame in range(FRAMES)}
    (annotations / "Human36M_subject9_joint_3d.json").write_text(json.dumps({"2": {"1": poses}}))
    (annotations / "Human36M_subject9_camera.json").write_text(json.dumps(cameras_json()))
    for number in range(1, 5):
        name = f"s_09_act_02_subact_01_ca_{number:02d}"
        folder = tmp_path / "Human36M" / "images" / name
        folder.mkdir(parents=True)
        for frame in (0, 63, 64):
            image = np.full((1002 if number in (1, 4) else 1000, 1000, 3), 40 + frame, np.uint8)
            cv2.imwrite(str(folder / f"{name}_{frame + 1:06d}.jpg"), image)
    return tmp_path, world


OTHERS = ",".join(one.title for one in recordings() if one.subject == 9 and one.title != "S9 Directions 1")
ONE = {"subjects": "S9", "drop": OTHERS}


def converted(root, **options):
    return [r for item in plan(root, "test", {**ONE, **options}) for r in convert(item)]


def test_every_64th_frame_with_its_image_and_the_rest_skipped_by_name(moon):
    root, world = moon
    items = plan(root, "test", ONE)
    assert [item.expected_samples for item in items] == [3] * 4
    records = converted(root)
    samples = [r for r in records if isinstance(r, Sample)]
    assert [s.key for s in samples] == [
        f"s09_act02_sub1_{camera}_{frame:06d}" for camera in CAMERA_IDS for frame in (0, 64)
    ]
    assert [r for r in records if isinstance(r, Skipped)] == [
        Skipped(
            f"s09_act02_sub1_{camera}_000128",
            "the image is missing",
            str(root / f"Human36M/images/{folder}/{folder}_000129.jpg"),
        )
        for camera, folder in zip(CAMERA_IDS, (f"s_09_act_02_subact_01_ca_0{n}" for n in range(1, 5)), strict=True)
    ]
    every = recorded(items[0])
    assert list(every.frames) == list(range(FRAMES))
    np.testing.assert_allclose(every.joints_cam_mm[64], samples[1].joints_cam_mm, atol=1e-3)
    for sample in samples:
        index = CAMERA_IDS.index(sample.camera_id)
        cam = (world[sample.frame] - np.array(POSITIONS[index])) @ looking_at_origin(POSITIONS[index]).T
        np.testing.assert_allclose(sample.joints_cam_mm, cam, atol=1e-3)
        np.testing.assert_allclose(world_to_cam(sample.camera, world[sample.frame]), cam, atol=1e-3)
        assert np.abs(project(sample.camera, sample.joints_cam_mm) - sample.joints_px).max() < 0.01
        assert (sample.sequence, sample.action) == ("s09_directions_1", "Directions")
        rows, columns = sample.rgb.shape[:2]
        assert sample.rgb[rows // 2, columns // 2].mean() == pytest.approx(40 + sample.frame, abs=2)


def test_names_in_capitals_are_read_alike(moon, in_capitals):
    root, _ = moon
    expected = [r.key for r in converted(root) if isinstance(r, Sample)]
    in_capitals(root)
    assert [r.key for r in converted(root) if isinstance(r, Sample)] == expected
    assert "4 image folders" in "\n".join(describe(root))


def test_it_is_described_and_selected_from(moon):
    root, _ = moon
    text = "\n".join(describe(root))
    assert "Layout: images and JSON of Moon et al." in text
    assert f"4 image folders in {root / 'Human36M' / 'images'}" in text
    assert "with the official metadata.xml put there they are exact" in text
    assert "Split test lacks Human36M_subject11_camera.json, Human36M_subject11_joint_3d.json, images/s_11_*" in text
    assert "github.com/mks0601/3DMPPE_POSENET_RELEASE" in text
    assert "Split test: 1 of 59 recordings; missing: s_09_act_02_subact_02_ca_01" in text
    assert "has all of its subjects" not in text
    dropped = [r for r in converted(root, drop=f"{OTHERS},S9 Directions 1 54138969") if isinstance(r, Skipped)]
    assert dropped[0].reason == "dropped by request: S9 Directions 1 54138969"
    with pytest.raises(UsageError, match="official boxes go with the official videos"):
        plan(root, "test", {"subjects": "S9", "boxes": "official"})


def test_missing_pieces_are_named(moon):
    root, _ = moon
    with pytest.raises(RawDataError, match=r"Human36M_subject11_joint_3d\.json: is missing"):
        plan(root, "test", {})
    assert len(plan(root, "test", {"partial": True})) == 4
    with pytest.raises(RawDataError, match="holds no annotations of S1, S5"):
        plan(root, "train", {"partial": True})
    images = root / "Human36M" / "images"
    (images / "s_09_act_02_subact_01_ca_03").rename(images / "elsewhere")
    with pytest.raises(
        RawDataError, match=r"1 image folders or recordings are missing, the first is s_09_act_02_subact_01_ca_03"
    ):
        converted(root)
    (images / "s_09_act_02_subact_01_ca_03").mkdir()
    with pytest.raises(RawDataError, match=r"holds none of the 3 images wanted, such as s_09.*ca_03_000001\.jpg"):
        converted(root)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("joint_3d", "{", "is not JSON"),
        ("joint_3d", "[1]", "is not action -> subaction -> frame"),
        ("joint_3d", '{"2": {"1": {"0": [[1, 2, 3]]}}}', "1 joints"),
        ("joint_3d", '{"2": {"1": {"x": [[1, 2, 3]]}}}', "is not action -> subaction -> frame"),
        ("camera", "{}", "is not four cameras"),
        ("camera", json.dumps({**cameras_json(), "3": {"R": [[1, 2], [3, 4]]}}), "is not four cameras"),
    ],
)
def test_damaged_annotations_are_refused(moon, kind, text, message):
    root, _ = moon
    path = root / "Human36M" / "annotations" / f"Human36M_subject9_{kind}.json"
    path.write_text(text)

    with pytest.raises(RawDataError, match=message) as caught:
        converted(root)
    assert str(path) in caught.value.message


def test_annotations_of_any_size_are_not_read(moon, monkeypatch):
    root, _ = moon

    monkeypatch.setattr("kt3d_h36m.moon._LARGEST_BYTES", 10)
    with pytest.raises(RawDataError, match=r"joint_3d\.json: is larger than 0 MiB"):
        converted(root)


def test_a_damaged_image_is_skipped_and_a_rescaled_one_refused(moon):
    root, _ = moon
    name = "s_09_act_02_subact_01_ca_01"
    path = root / "Human36M" / "images" / name / f"{name}_000001.jpg"
    path.write_bytes(b"\xff\xd8 not a jpeg")
    records = converted(root)
    damaged = next(record for record in records if isinstance(record, Skipped) and record.name.endswith("_000000"))
    assert damaged.reason.startswith("cannot be decoded")
    assert damaged.where == str(path)
    assert sum(isinstance(record, Sample) for record in records) == 7
    path.write_bytes(cv2.imencode(".jpg", np.zeros((500, 500, 3), np.uint8))[1].tobytes())
    with pytest.raises(RawDataError, match="rescaled") as caught:
        converted(root)
    assert str(path) in caught.value.message


def test_an_image_that_no_frame_can_be_is_not_decoded(moon, monkeypatch):
    root, _ = moon
    monkeypatch.setattr("kt3d_bench.rawfiles._IMAGE_PIXELS", 999_999)
    reasons = {record.reason for record in converted(root) if isinstance(record, Skipped)}
    assert any("claims 1000 x 1002 pixels" in reason for reason in reasons)
    monkeypatch.setattr("kt3d_bench.rawfiles._IMAGE_BYTES", 9)
    reasons = {record.reason for record in converted(root) if isinstance(record, Skipped)}
    assert any("is larger than 0 MiB" in reason for reason in reasons)


def test_frames_are_numbers_though_their_keys_are_text(tmp_path):
    path = tmp_path / "Human36M_subject9_joint_3d.json"
    poses = {str(frame): np.full((17, 3), float(frame)).tolist() for frame in (128, 9, 64, 100)}
    path.write_text(json.dumps({"2": {"1": poses}}))
    frames, joints_mm = read_joints(path)[2, 1]
    assert frames.tolist() == [9, 64, 100, 128]
    np.testing.assert_array_equal(joints_mm[:, 0, 0], frames)
