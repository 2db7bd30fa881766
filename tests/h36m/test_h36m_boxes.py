from __future__ import annotations

import h5py
import numpy as np
import pytest
from h36m_handmade import CAMERA_IDS
from kt3d_h36m.convert import convert, describe, plan
from kt3d_h36m.video import read_boxes

from kt3d_bench.errors import RawDataError
from kt3d_bench.records import Sample, Skipped


def write_boxes(path, boxes, size=(200, 200)) -> None:
    """Like MATLAB -v7.3: a cell column of masks, which HDF5 shows as (1, n) references to width x height arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        masks = file.create_group("#refs#")
        references = file.create_dataset("Masks", (1, len(boxes)), h5py.ref_dtype)
        for index, (x0, y0, x1, y1) in enumerate(boxes):
            mask = np.zeros((size[1], size[0]), np.uint8)
            mask[y0 : y1 + 1, x0 : x1 + 1] = 1
            references[0, index] = masks.create_dataset(f"m{index}", data=mask.T).ref


def test_boxes_of_chosen_frames(tmp_path):
    path = tmp_path / "Posing.54138969.mat"
    write_boxes(path, [(10, 20, 30, 90), (1, 2, 3, 4), (50, 60, 199, 199), (9, 9, 8, 8)])
    found = read_boxes(path, [0, 2, 3], where="x")
    np.testing.assert_array_equal(found[:2], [[10, 20, 30, 90], [50, 60, 199, 199]])
    assert np.isnan(found[2]).all()


@pytest.fixture
def posing(make_raw):
    made = make_raw({9: ["Posing"]})
    for camera in CAMERA_IDS:
        write_boxes(box_file(made, camera), [(60, 40, 120, 180), (0, 0, 1, 1), (0, 0, 1, 1)], made.size(camera))
    return made


def box_file(made, camera):
    return made.folder(9) / "MySegmentsMat" / "ground_truth_bb" / f"Posing.{camera}.mat"


OPTIONS = {"partial": True, "boxes": "official"}


def converted(made):
    return [record for item in plan(made.root, "test", OPTIONS) for record in convert(item)]


def test_official_boxes_frame_the_crop(posing):
    samples = converted(posing)
    assert len(samples) == 4
    for sample in samples:
        assert isinstance(sample, Sample)
        assert sample.box_px[2] - sample.box_px[0] == pytest.approx(60, abs=0.2)
        assert sample.box_px[3] - sample.box_px[1] == pytest.approx(140, abs=0.4)
        assert sample.camera.size_px[0] == pytest.approx(1.5 * 140, abs=3)
    assert any("4 official person boxes" in line for line in describe(posing.root))


def test_archived_boxes_are_found(posing, tmp_path):
    import shutil
    import tarfile

    unpacked = converted(posing)
    folder = posing.folder(9) / "MySegmentsMat"
    with tarfile.open(posing.root / "Segments_mat_gt_bb_S9.tgz", "w:gz") as tar:
        tar.add(folder, "S9/MySegmentsMat")
    shutil.rmtree(folder)
    for one, two in zip(converted(posing), unpacked, strict=True):
        np.testing.assert_array_equal(one.box_px, two.box_px)


def test_an_empty_official_box_is_skipped(posing):
    write_boxes(box_file(posing, CAMERA_IDS[0]), [(9, 9, 8, 8)])
    first = converted(posing)[0]
    assert first == Skipped("s09_act07_sub2_54138969_000000", "the official box is empty")


def test_missing_boxes_are_named(posing):
    box_file(posing, CAMERA_IDS[1]).unlink()
    with pytest.raises(RawDataError, match=r"S9/MySegmentsMat/ground_truth_bb/Posing\.55011271\.mat"):
        plan(posing.root, "test", OPTIONS)
    for camera in (CAMERA_IDS[0], *CAMERA_IDS[2:]):
        box_file(posing, camera).unlink()
    with pytest.raises(RawDataError, match=r"official boxes of S9 are missing; put Segments_mat_gt_bb_S9\.tgz"):
        plan(posing.root, "test", OPTIONS)
    assert len(plan(posing.root, "test", {"partial": True})) == 4


def garbage(path):
    path.write_bytes(b"MATLAB 7.3 MAT-file, but cut")


def no_masks(path):
    with h5py.File(path, "w") as file:
        file["Other"] = np.zeros(3)


def numbers(path):
    with h5py.File(path, "w") as file:
        file["Masks"] = np.zeros((1, 3))


def elsewhere(path):
    with h5py.File(path, "w") as file:
        file["Masks"] = h5py.ExternalLink("/etc/passwd", "/Masks")


def outside_data(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("Masks", (64,), "u1", external=[("/etc/passwd", 0, 64)])


def volume(path):
    with h5py.File(path, "w") as file:
        references = file.create_dataset("Masks", (1, 1), h5py.ref_dtype)
        references[0, 0] = file.create_dataset("big", (100_000, 100_000), "u1").ref


def too_few(path):
    write_boxes(path, [])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (garbage, "is damaged or cut short"),
        (no_masks, "holds no dataset 'Masks' of its own"),
        (numbers, "expected references"),
        (elsewhere, "holds no dataset 'Masks' of its own"),
        (outside_data, "holds no dataset 'Masks' of its own|holds no referenced dataset of its own"),
        (volume, r"mask of frame 0 is uint8 \(100000, 100000\)"),
        (too_few, "at least 1 masks"),
    ],
)
def test_damaged_box_files_are_refused(tmp_path, spoil, message):
    path = tmp_path / "Posing.mat"
    spoil(path)
    with pytest.raises(RawDataError, match=message) as caught:
        read_boxes(path, [0], where="S9/Posing.mat")
    assert caught.value.where == "S9/Posing.mat"
