"""The stand-in: the documented structure seen through SciPy, and the line from generator to samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import simplejpeg
from kt3d_mpii import convert
from kt3d_mpii.generate import VERSION, generate

from kt3d_bench.errors import UsageError
from kt3d_bench.records import Sample
from kt3d_bench.skeletons import H36M17
from kt3d_bench.standins import MARKER

IMAGES = 60


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    out = tmp_path_factory.mktemp("generated") / "mpii"
    steps: list[tuple[int, int]] = []
    counts = generate(out, people=IMAGES // 2, frames=2, seed=3, workers=1,
                      progress=lambda done, total: steps.append((done, total)))  # fmt: skip
    assert (steps[0], steps[-1]) == ((0, IMAGES), (IMAGES, IMAGES))
    assert list(counts) == ["train"]
    return out, counts["train"]


def samples_of(raw: Path) -> list[Sample]:
    found = [result for item in convert.plan(raw, "train", {}) for result in convert.convert(item)]
    return [one for one in found if isinstance(one, Sample)]


def release_of(raw: Path) -> np.void:
    mat = scipy.io.loadmat(raw / "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat")
    return mat["RELEASE"][0, 0]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_promised_sample_is_found(stand_in: tuple[Path, int]) -> None:
    samples = samples_of(stand_in[0])
    assert len(samples) == stand_in[1] > IMAGES * 0.8
    assert len({sample.key for sample in samples}) == len(samples)
    flags = np.concatenate([sample.visible for sample in samples])
    assert {-1, 0, 1} == set(flags.tolist())


def test_the_release_is_as_documented(stand_in: tuple[Path, int]) -> None:
    release = release_of(stand_in[0])
    assert release.dtype.names == ("annolist", "img_train", "version", "single_person", "act", "video_list")
    assert release["annolist"].shape == release["img_train"].shape == (1, IMAGES)
    assert release["single_person"].shape == release["act"].shape == (IMAGES, 1)
    field_sets, flag_kinds, persons = set(), set(), []
    for row in range(IMAGES):
        image = release["annolist"][0, row]
        assert (stand_in[0] / "images" / str(image["image"][0, 0]["name"][0])).is_file()
        if image["annorect"].dtype.names is None:
            assert image["annorect"].shape == (0, 0)
            continue
        field_sets.add(image["annorect"].dtype.names)
        train = bool(release["img_train"][0, row])
        assert train or "annopoints" not in image["annorect"].dtype.names
        persons.append(image["annorect"].shape[1])
        if train:
            for person in image["annorect"][0]:
                for point in person["annopoints"][0, 0]["point"][0] if person["annopoints"].size else ():
                    assert point["id"][0, 0] in range(16)
                    if "is_visible" in point.dtype.names:
                        flag_kinds.add((point["is_visible"].dtype.kind, point["is_visible"].size))
    assert len(field_sets) >= 2
    assert {("f", 0), ("f", 1), ("U", 1)} <= flag_kinds
    assert set(persons) == {1, 2}


def test_images_are_jpegs_of_a_few_hundred_pixels(stand_in: tuple[Path, int]) -> None:
    for path in (stand_in[0] / "images").iterdir():
        height, width, _, _ = simplejpeg.decode_jpeg_header(path.read_bytes())
        assert 260 <= height <= 400
        assert 320 <= width <= 480


def test_limbs_have_human_proportions_and_sides(stand_in: tuple[Path, int]) -> None:
    """Hips lie between knees and shoulders for most, and thighs are about as long as shanks in the image."""
    ratios = []
    for sample in samples_of(stand_in[0]):
        joints = {name: sample.joints_px[H36M17.index(name)] for name in ("left_hip", "left_knee", "left_ankle")}
        thigh = np.linalg.norm(joints["left_hip"] - joints["left_knee"])
        shank = np.linalg.norm(joints["left_knee"] - joints["left_ankle"])
        ratios.append(thigh / shank)
    assert 0.8 < np.nanmedian(ratios) < 1.25


def test_the_marker_says_what_it_is(stand_in: tuple[Path, int]) -> None:
    marker = json.loads((stand_in[0] / MARKER).read_text(encoding="utf-8"))
    assert marker == {"dataset": "mpii", "version": VERSION, "seed": 3, "people": IMAGES // 2, "frames": 2}


def test_the_seed_alone_decides_the_bytes(tmp_path: Path) -> None:
    for name, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        generate(tmp_path / name, people=12, frames=1, seed=seed, workers=workers)
    first, second, other = (files(tmp_path / name) for name in "abc")
    assert first == second
    assert all(first[name] != other[name] for name in first)


def test_an_earlier_stand_in_is_replaced_and_real_data_is_not(tmp_path: Path) -> None:
    generate(tmp_path, people=4, frames=1, seed=0, workers=1)
    counts = generate(tmp_path, people=2, frames=1, seed=0, workers=1)
    assert len(samples_of(tmp_path)) == counts["train"]
    (tmp_path / MARKER).unlink()
    before = files(tmp_path)
    with pytest.raises(UsageError, match="already holds images, mpii_human_pose_v1_u12_2, which was not generated"):
        generate(tmp_path, people=1, frames=1, seed=0, workers=1)
    assert files(tmp_path) == before


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frames must be 1 to 250,000, found 0"):
        generate(tmp_path / "x", people=4, frames=0, seed=0)
    with pytest.raises(UsageError, match="people must be 1 to 250,000, found 100,000,000"):
        generate(tmp_path / "x", people=100_000_000, frames=100, seed=0)
    other = tmp_path / "walk.c3d"
    other.write_bytes(b"c3d")
    with pytest.raises(UsageError, match=r"expected a \.bvh or \.amc file, found 'walk\.c3d'"):
        generate(tmp_path / "x", people=1, frames=4, seed=0, motion=other)
    assert not (tmp_path / "x").exists()
