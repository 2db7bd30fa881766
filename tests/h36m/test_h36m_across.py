"""The same frames through every layout give the same samples, within the tolerances of the README."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from h36m_layouts import CAMERA_IDS, Official, write_fetch, write_moon, write_plain
from kt3d_h36m import moon
from kt3d_h36m.convert import convert, describe, plan
from kt3d_h36m.generate import generate

from kt3d_bench.records import Sample, Skipped

FRAME_PX = 160
JOINTS_MM, POINTS_PX, IMAGE_LEVELS = 0.01, 0.01, 2.0
PART = {"partial": True, "train_every": 2}
NAMES = ("subject", "action", "camera_id", "sequence", "frame")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Official:
    """S1, S9, S5 and S11, one action, two takes of up to 5 frames, one of S9's with 130."""
    out = tmp_path_factory.mktemp("across") / "official"
    generate(out, people=4, frames=5, seed=3, actions=1, takes=2, frame_px=FRAME_PX, long_clip=True)
    return Official(out)


def records(root: Path) -> list[Sample | Skipped]:
    return [r for split in ("train", "test") for item in plan(root, split, PART) for r in convert(item)]


def samples(root: Path) -> dict[str, Sample]:
    return {record.key: record for record in records(root) if isinstance(record, Sample)}


@pytest.fixture(scope="module")
def expected(official: Official) -> dict[str, Sample]:
    found = samples(official.root)
    assert {sample.frame for sample in found.values() if sample.subject == "S9"} == {0, 64, 128}
    assert len(found) > 30
    return found


def full_frame(official: Official, sample: Sample) -> np.ndarray:
    """(17, 2) px of the whole frame: corners of crops may fall on either side of a rounding."""
    fx, fy, cx, cy = official.lens(CAMERA_IDS.index(sample.camera_id))[:4]
    crop = np.vstack([sample.camera.intrinsics_px, [0, 0, 1]])
    whole = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return (np.c_[sample.joints_px, np.ones(17)] @ np.linalg.inv(crop).T @ whole.T)[:, :2]


def one_crop(found: Sample, wanted: Sample) -> bool:
    pairs = [(s.camera.intrinsics_px.tolist(), s.camera.size_px) for s in (found, wanted)]
    return pairs[0] == pairs[1]


def assert_same(official: Official, found: Sample, wanted: Sample, *, points_px: float = POINTS_PX) -> float:
    assert [getattr(found, name) for name in NAMES] == [getattr(wanted, name) for name in NAMES]
    np.testing.assert_allclose(found.joints_cam_mm, wanted.joints_cam_mm, rtol=0, atol=JOINTS_MM)
    np.testing.assert_allclose(found.camera.rotation, wanted.camera.rotation, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.camera.position_world_mm, wanted.camera.position_world_mm, rtol=0, atol=1e-3)
    gap = np.abs(full_frame(official, found) - full_frame(official, wanted)).max()
    assert gap < points_px
    np.testing.assert_array_equal(found.quality, wanted.quality)
    if one_crop(found, wanted):
        np.testing.assert_allclose(found.box_px, wanted.box_px, rtol=0, atol=points_px)
        np.testing.assert_array_equal(found.visible, wanted.visible)
        if found.rgb is not None:
            assert wanted.rgb is not None
            assert np.abs(found.rgb.astype(int) - wanted.rgb).mean() < IMAGE_LEVELS
    return float(gap)


def same_crops(found: dict[str, Sample], wanted: dict[str, Sample]) -> float:
    return float(np.mean([one_crop(sample, wanted[key]) for key, sample in found.items()]))


def with_metadata(official: Official, root: Path) -> Path:
    shutil.copy(official.root / "metadata.xml", root / "metadata.xml")
    return root


def test_images_and_json_of_moon_with_the_official_cameras(official, expected, tmp_path):
    write_moon(official, tmp_path)
    found = samples(with_metadata(official, tmp_path))
    assert found.keys() == expected.keys()
    for key, sample in found.items():
        assert_same(official, sample, expected[key])
        np.testing.assert_array_equal(sample.camera.distortion, expected[key].camera.distortion)
    assert same_crops(found, expected) > 0.9


def test_images_and_json_of_moon_alone_are_off_by_the_lens_distortion(official, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(moon, "_NOMINAL_SIZE", (FRAME_PX, FRAME_PX + 2))
    write_moon(official, tmp_path)
    found = samples(tmp_path)
    assert found.keys() == expected.keys()
    gaps = [assert_same(official, sample, expected[key], points_px=0.005 * FRAME_PX) for key, sample in found.items()]
    assert max(gaps) > 0.0005 * FRAME_PX
    assert not any(sample.camera.distortion.any() for sample in found.values())


def test_processed_frames_of_h36m_fetch(official, expected, tmp_path):
    write_fetch(official, tmp_path / "processed")
    found = samples(with_metadata(official, tmp_path))
    assert found.keys() == expected.keys()
    for key, sample in found.items():
        assert_same(official, sample, expected[key])
    assert same_crops(found, expected) > 0.9


def test_poses_of_videopose3d_lack_the_images_and_what_it_leaves_out(official, expected, tmp_path):
    write_plain(official, tmp_path / "data_3d_h36m_plain.npz")
    everything = records(with_metadata(official, tmp_path))
    found = {record.key: record for record in everything if isinstance(record, Sample)}
    left_out = {key for key in expected if key.startswith("s11_act02_sub2_")}
    assert left_out
    assert found.keys() == expected.keys() - left_out
    for key, sample in found.items():
        assert sample.rgb is None
        assert_same(official, sample, expected[key])
        assert sample.camera.size_px[0] == pytest.approx(expected[key].camera.size_px[0], abs=1)
    reasons = {record.name: record.reason for record in everything if isinstance(record, Skipped)}
    assert reasons["s11_act02_sub2_60457274"] == "VideoPose3D leaves this recording out"
    assert same_crops(found, expected) > 0.9


def test_each_is_named_as_what_it_is(official, tmp_path):
    assert "Layout: the official download, unpacked." in describe(official.root)
    write_plain(official, tmp_path / "data_3d_h36m_plain.npz")
    assert describe(tmp_path)[0].startswith("Layout: poses of VideoPose3D without images")
    write_moon(official, tmp_path / "Human36M")
    assert describe(tmp_path)[0].startswith("Layout: images and JSON of Moon et al.")
    write_fetch(official, tmp_path / "h36m-fetch" / "processed", every=64)
    assert describe(tmp_path)[0].startswith("Layout: processed frames of h36m-fetch in ")
    shutil.copytree(official.root / "S9", tmp_path / "S9")
    assert describe(tmp_path)[0] == "Layout: the official download, unpacked."
