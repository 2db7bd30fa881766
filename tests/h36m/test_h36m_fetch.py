"""h36m-fetch's processed frames: which are used, and the errors for those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from h36m_handmade import (
    CAMERA_IDS,
    POSITIONS,
    brown_without_doubling,
    looking_at_origin,
    metadata_xml,
    standing_person,
)
from kt3d_h36m.convert import convert, describe, plan

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.records import Sample, Skipped

PART = {"partial": True}
SCALE = 0.2


def write(root: Path, subject: int, name: str, take: tuple[int, int], frames: list[int], changes: Any = None) -> Path:
    """One recording with the given frames (from 0) of every camera; ``changes`` replace columns of ``annot.h5``."""
    changes = changes or {}
    folder = root / "processed" / f"S{subject}" / f"{name}-{take[1]}"
    world = standing_person(max(frames) + 1, np.random.default_rng(2)).astype(float)[frames]
    columns: dict[str, list[np.ndarray]] = {}
    for index, camera in enumerate(CAMERA_IDS):
        centre = np.array(POSITIONS[index]) + np.array([subject - 1, 0, 0])
        cam = (world - centre) @ looking_at_origin(POSITIONS[index]).T
        numbers = {"camera": int(camera), "subject": subject, "action": take[0], "subaction": take[1]}
        rows = {
            "pose/3d": cam,
            "pose/2d": brown_without_doubling(cam, SCALE, index),
            "frame": np.array(frames) + 1,
            **{column: np.full(len(frames), number) for column, number in numbers.items()},
        }
        for column, values in rows.items():
            columns.setdefault(column, []).append(values)
        images = folder / "imageSequence" / camera
        images.mkdir(parents=True)
        for frame in frames:
            image = np.full((202 if index in (0, 3) else 200, 200, 3), 40 + frame % 64, np.uint8)
            cv2.imwrite(str(images / f"img_{frame + 1:06d}.jpg"), image)
    with h5py.File(folder / "annot.h5", "w") as file:
        for column, parts in columns.items():
            values = changes.get(column, np.concatenate(parts))
            if values is not None:
                file.create_dataset(column, data=values)
    (root / "metadata.xml").write_text(metadata_xml(SCALE))
    return folder


def converted(root: Path, split: str = "test", **options: Any) -> list[Sample | Skipped]:
    return [r for item in plan(root, split, PART | options) for r in convert(item)]


def frames_of(records: list[Sample | Skipped], camera: str = CAMERA_IDS[0]) -> list[int]:
    return [r.frame for r in records if isinstance(r, Sample) and r.camera_id == camera]


def test_test_frames_are_every_64th_of_whatever_was_kept(tmp_path):
    write(tmp_path, 9, "Phoning", (6, 1), [0, 5, 64, 65, 128])
    records = converted(tmp_path)
    assert frames_of(records) == [0, 64, 128]
    assert frames_of(converted(tmp_path, test_every=32)) == [0, 64, 128]
    assert frames_of(converted(tmp_path, test_every=1)) == [0, 5, 64, 65, 128]
    sample = next(r for r in records if isinstance(r, Sample) and r.frame == 64)
    assert (sample.key, sample.sequence) == ("s09_act06_sub1_54138969_000064", "s09_phoning_1")
    rows, columns = sample.rgb.shape[:2]
    assert sample.rgb[rows // 2, columns // 2].mean() == pytest.approx(40, abs=2)


def test_training_uses_thinned_frames_whole_and_thins_complete_ones(tmp_path):
    write(tmp_path, 1, "Photo", (12, 2), [0, 3, 4, 11])
    write(tmp_path, 1, "Walking", (14, 2), list(range(12)))
    items = {item.name: item for item in plan(tmp_path, "train", PART)}
    assert items["s01_act12_sub2_54138969"].expected_samples == 4
    assert items["s01_act14_sub2_54138969"].expected_samples == 3
    for every, walking in ((5, [0, 5, 10]), (64, [0])):
        records = converted(tmp_path, "train", train_every=every)
        assert frames_of([r for r in records if r.action == "Photo"]) == [0, 3, 4, 11]
        assert frames_of([r for r in records if r.action == "Walking"]) == walking


def test_both_spellings_of_actions_are_found(tmp_path):
    write(tmp_path, 1, "TakingPhoto", (12, 1), [0])
    assert [r.action for r in converted(tmp_path, "train")] == ["Photo"] * 4


def test_names_in_capitals_are_read_alike(tmp_path, in_capitals):
    write(tmp_path, 9, "Phoning", (6, 1), [0, 64])
    in_capitals(tmp_path)
    assert frames_of(converted(tmp_path)) == [0, 64]


def test_missing_recordings_are_named(tmp_path):
    write(tmp_path, 9, "Phoning", (6, 1), [0])
    with pytest.raises(RawDataError, match=r"59 recordings are missing, the first is S9/Directions-1/annot\.h5"):
        plan(tmp_path, "test", {})
    with pytest.raises(RawDataError, match="holds no recording of S1, S5"):
        plan(tmp_path, "train", PART)
    text = "\n".join(describe(tmp_path))
    assert f"Layout: processed frames of h36m-fetch in {tmp_path / 'processed'}." in text
    assert "Split test: 1 of 60 recordings; missing: S9/Directions-1/annot.h5, S9/Directions-2/annot.h5" in text
    with pytest.raises(UsageError, match="official boxes go with the official videos"):
        plan(tmp_path, "test", PART | {"boxes": "official"})


def test_the_official_cameras_are_needed(tmp_path):
    write(tmp_path, 9, "Phoning", (6, 1), [0])
    (tmp_path / "metadata.xml").unlink()
    with pytest.raises(RawDataError, match=r"metadata\.xml with the cameras is missing.*point --raw one folder up"):
        plan(tmp_path, "test", PART)


def test_a_camera_without_frames_and_missing_images_are_skipped_by_name(tmp_path):
    folder = write(tmp_path, 9, "Phoning", (6, 1), [0, 64])
    with h5py.File(folder / "annot.h5", "r+") as file:
        file["camera"][:2] = int(CAMERA_IDS[1])
        file["frame"][:2] = [1001, 1002]
    missing = folder / "imageSequence" / CAMERA_IDS[2] / "img_000065.jpg"
    missing.unlink()
    skipped = [record for record in converted(tmp_path) if isinstance(record, Skipped)]
    assert skipped == [
        Skipped("s09_act06_sub1_54138969", "h36m-fetch kept no frame of this camera"),
        Skipped("s09_act06_sub1_58860488_000064", "the image is missing", str(missing)),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose/3d": None}, r"holds no pose/3d; process it again with the present version"),
        ({"pose/3d": None, "pose/3d-univ": 0}, r"holds no pose/3d \(the universal skeleton does not fit the images\)"),
        ({"pose/3d": np.zeros((4, 17, 3))}, r"pose/3d is float64 \(4, 17, 3\), expected \(n, 32, 3\) floats"),
        ({"frame": np.zeros(4, int)}, "has a frame below 1"),
        ({"frame": np.ones(3, int)}, "has columns of different lengths"),
        ({"frame": np.ones(4)}, r"frame is float64 \(4,\), expected \(n\) integers"),
        ({"subject": np.full(4, 11)}, "is of subject 11, expected 9 in this folder"),
        ({"action": np.full(4, 7)}, "is of action 7, expected 6"),
        ({"pose/2d": np.zeros((4, 32, 2))}, r"image points are \d+\.\d px away from the projection of the 3D joints"),
    ],
)
def test_other_annotations_are_refused_by_name_when_they_are_converted(tmp_path, changes, message):
    changes = {name: np.zeros((4, 32, 3)) if isinstance(value, int) else value for name, value in changes.items()}
    folder = write(tmp_path, 9, "Phoning", (6, 1), [0], changes)
    if "pose/3d-univ" in changes:
        with h5py.File(folder / "annot.h5", "r+") as file:
            file["pose/3d-univ"] = changes["pose/3d-univ"]
    assert len(plan(tmp_path, "test", PART)) == 4
    with pytest.raises(RawDataError, match=message) as caught:
        converted(tmp_path)
    assert str(folder / "annot.h5") in caught.value.message


def test_values_in_other_files_are_not_followed(tmp_path):
    folder = write(tmp_path, 9, "Phoning", (6, 1), [0], {"frame": None})
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["frame"] = np.ones(4, int)
    with h5py.File(folder / "annot.h5", "r+") as file:
        file["frame"] = h5py.ExternalLink(str(other), "frame")
    with pytest.raises(RawDataError, match="holds no dataset 'frame' of its own"):
        converted(tmp_path)


def test_a_damaged_annotation_loses_its_recording_alone(tmp_path):
    folder = write(tmp_path, 9, "Phoning", (6, 1), [0])
    write(tmp_path, 9, "Posing", (7, 1), [0])
    content = (folder / "annot.h5").read_bytes()
    (folder / "annot.h5").write_bytes(content[: len(content) // 2])
    items = plan(tmp_path, "test", PART)
    assert len(items) == 8
    with pytest.raises(RawDataError, match="is damaged or cut short") as caught:
        list(convert(items[0]))
    assert str(folder / "annot.h5") in caught.value.message
    assert all(isinstance(record, Sample) for item in items[4:] for record in convert(item))
