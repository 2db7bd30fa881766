"""The stand-in: the documented layout seen through SciPy and OpenCV, and the line from generator to samples."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from kt3d_ubc3v import convert
from kt3d_ubc3v.generate import VERSION, generate
from kt3d_ubc3v.regions import REGION_NAMES
from ubc3v_sections import view

from kt3d_bench.errors import UsageError
from kt3d_bench.records import Sample
from kt3d_bench.skeletons import H36M17
from kt3d_bench.standins import MARKER


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int], list[tuple[int, int]]]:
    out = tmp_path_factory.mktemp("generated") / "ubc3v"
    steps: list[tuple[int, int]] = []
    counts = generate(out, people=3, frames=4, seed=5, test_postures=3, workers=1,
                      progress=lambda done, total: steps.append((done, total)))  # fmt: skip
    return out, dict(counts), steps


def samples_of(raw: Path, split: str) -> list[Sample]:
    found = [result for item in convert.plan(raw, split, {}) for result in convert.convert(item)]
    assert all(isinstance(one, Sample) for one in found), [one for one in found if not isinstance(one, Sample)]
    return [one for one in found if isinstance(one, Sample)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_promised_sample_is_found_and_whole(stand_in: tuple[Path, dict[str, int], object]) -> None:
    out, counts, _ = stand_in
    assert counts == {"train": 36, "test": 9}
    seen: set[int] = set()
    for split, count in counts.items():
        samples = samples_of(out, split)
        assert len(samples) == count
        for sample in samples:
            assert sample.parts is not None
            seen |= set(np.unique(sample.parts).tolist())
    assert len(seen) >= len(REGION_NAMES) - 2


def test_the_marker_and_progress(stand_in: tuple[Path, dict[str, int], list[tuple[int, int]]]) -> None:
    out, _, steps = stand_in
    marker = json.loads((out / MARKER).read_text(encoding="utf-8"))
    assert marker == {"dataset": "ubc3v", "version": VERSION, "seed": 5, "people": 3, "frames": 4, "held_out": "test"}
    assert steps[0] == (0, 15)
    assert steps[-1] == (15, 15)
    assert sorted(path.name for path in out.iterdir()) == ["hard-pose", "inter-pose", MARKER]


def test_the_ground_truth_is_as_documented(stand_in: tuple[Path, dict[str, int], object]) -> None:
    mat = scipy.io.loadmat(stand_in[0] / "inter-pose/train/1/groundtruth.mat")
    assert mat["cameras"].dtype.names == ("Cam3", "Cam2", "Cam1")
    camera = mat["cameras"][0, 0]["Cam2"][0, 0]
    assert camera["frames"].shape == (1, 12)
    assert camera[camera.dtype.names[-1]][0] == "Cam2"
    assert mat["joints"].shape == (1, 12)
    for index in range(12):
        pose = mat["joints"][0, index]
        assert len(pose.dtype.names) == 28
        hips = pose["RightUpLegPGX"][0, 0]
        assert hips.shape == (1, 16)
        assert abs(hips[0, 13]) < 100
        rotation = hips.reshape(4, 4)[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, 100 * np.eye(3), atol=1e-9)
        frame = mat["cameras"][0, 0]["Cam1"][0, 0]["frames"][0, index][0, 0]
        (_, y, _), (rx, ry, rz) = frame["translate"][0], frame["rotate"][0]
        assert y > 0
        assert abs(ry) <= 90
        assert rz in (0, 180, -180)
        assert (rx > 0) == (rz != 0)


def test_joints_project_onto_the_person_by_the_documented_cameras(
    stand_in: tuple[Path, dict[str, int], object],
) -> None:
    behind = []
    for number in range(1, 4):
        section = stand_in[0] / f"hard-pose/test/{number}"
        mat = scipy.io.loadmat(section / "groundtruth.mat")
        pose = mat["joints"][0, 0][0, 0]
        places = [pose[f"{bone}PGX"][0, 12:15] for bone in ("Head", "Neck1", "LeftFoot", "RightHand", "RightUpLeg")]
        for name in ("Cam1", "Cam2", "Cam3"):
            frame = mat["cameras"][0, 0][name][0, 0]["frames"][0, 0][0, 0]
            pixels, depth_cm = view(frame["translate"][0], frame["rotate"][0], places)
            image = cv2.imread(str(section / f"images/depthRender/{name}/mayaProject.000001.png"), cv2.IMREAD_UNCHANGED)
            assert image.shape == (424, 512, 4)
            for (u, v), depth in zip(pixels, depth_cm, strict=True):
                if 1 <= u <= 510 and 1 <= v <= 422:
                    near = image[round(v) - 1 : round(v) + 2, round(u) - 1 : round(u) + 2]
                    assert near[..., 3].max() == 255
                    behind.append(depth - (int(near[..., 2].max()) / 255 * 750 + 50))
    assert 0 < np.median(behind) < 25


def test_the_images_are_encoded_as_documented(stand_in: tuple[Path, dict[str, int], object]) -> None:
    levels: set[int] = set()
    for path in sorted((stand_in[0] / "inter-pose/train/1/images/depthRender").rglob("*.png")):
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        parts = cv2.imread(str(path).replace("depthRender", "groundtruth"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(depth[..., 3], parts[..., 3])
        assert not depth[depth[..., 3] == 0].any()
        inside = depth[depth[..., 3] == 255].astype(int)
        assert np.abs(inside[:, 0] - inside[:, 2]).max() == 1
        assert np.abs(inside[:, 1] - inside[:, 2]).max() == 1
        levels |= set(np.unique(depth[..., 3]).tolist())
    assert levels <= {step * 255 // 32 for step in range(33)}
    assert len(levels) > 5


def test_left_and_right_regions_lie_on_their_own_side(stand_in: tuple[Path, dict[str, int], object]) -> None:
    pairs = [("hand, {}", "{}_wrist"), ("thigh, {}", "{}_knee"), ("shin and calf, {}", "{}_ankle")]
    hits = total = 0
    for sample in samples_of(stand_in[0], "train"):
        assert sample.parts is not None
        for region, joint in pairs:
            places = {side: sample.joints_px[H36M17.index(joint.format(side))] for side in ("left", "right")}
            for side in ("left", "right"):
                rows, columns = np.nonzero(sample.parts == REGION_NAMES.index(region.format(side)))
                if len(rows) > 20 and np.linalg.norm(places["left"] - places["right"]) > 40:
                    middle = np.array([columns.mean(), rows.mean()])
                    other = "left" if side == "right" else "right"
                    hits += np.linalg.norm(middle - places[side]) < np.linalg.norm(middle - places[other])
                    total += 1
    assert total > 30
    assert hits > 0.95 * total


def test_the_seed_alone_decides_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_ubc3v.generate._BLOCK", 2)
    for name, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        generate(tmp_path / name, people=1, frames=1, seed=seed, test_postures=3, workers=workers)
    first, second, other = (files(tmp_path / name) for name in "abc")
    assert first == second
    assert all(first[name] != other[name] for name in first if name.endswith((".mat", ".png")))


def test_an_earlier_stand_in_is_replaced_and_real_data_is_not(tmp_path: Path) -> None:
    generate(tmp_path, people=1, frames=2, seed=0, test_postures=1, workers=1)
    generate(tmp_path, people=1, frames=1, seed=0, test_postures=1, workers=1)
    assert len(samples_of(tmp_path, "train")) == 3
    (tmp_path / MARKER).unlink()
    before = files(tmp_path)
    with pytest.raises(UsageError, match="already holds hard-pose, inter-pose, which was not generated"):
        generate(tmp_path, people=1, frames=1, seed=0, workers=1)
    assert files(tmp_path) == before


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="people must be 1 to 1,000,000, found 0"):
        generate(tmp_path / "x", people=0, frames=4, seed=0)
    with pytest.raises(UsageError, match="people must be 1 to 1,000,000, found 100,000,000"):
        generate(tmp_path / "x", people=100_000_000, frames=100, seed=0)
    other = tmp_path / "walk.c3d"
    other.write_bytes(b"c3d")
    with pytest.raises(UsageError, match=r"expected a \.bvh or \.amc file, found 'walk\.c3d'"):
        generate(tmp_path / "x", people=1, frames=4, seed=0, motion=other)
    assert not (tmp_path / "x").exists()


def test_sections_are_cut_after_1001_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_ubc3v.generate.FRAMES_PER_SECTION", 2)
    counts = generate(tmp_path, people=1, frames=3, seed=0, test_postures=1, workers=1)
    assert sorted(path.name for path in (tmp_path / "inter-pose/train").iterdir()) == ["1", "2"]
    assert len(samples_of(tmp_path, "train")) == counts["train"] == 9


def test_a_recorded_motion_can_be_worn(tmp_path: Path) -> None:
    motion = Path(__file__).parents[3] / "shared" / "samples" / "mocap" / "02_01.bvh"
    if not motion.is_file():
        pytest.skip(f"no recorded motion in {motion}")
    generate(tmp_path, people=1, frames=3, seed=0, test_postures=1, workers=1, motion=motion)
    assert len(samples_of(tmp_path, "train")) == 9
