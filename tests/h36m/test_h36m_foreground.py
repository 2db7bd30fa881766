"""The motion foreground of Human3.6M: against the silhouettes that the generator draws, and what it depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from h36m_layouts import Official, write_fetch, write_moon
from kt3d_h36m import background, generate
from kt3d_h36m.convert import convert, plan

from kt3d_bench.records import Sample
from kt3d_bench.synth import scene
from kt3d_bench.synth.render import RenderedFigure

PART = {"partial": True, "subjects": "S9", "keep": "S11 Directions"}
FRAME_PX, SEED, ACTIONS = 240, 5, 9
STILL = ("Sitting", "SittingDown")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """S1 and S9, nine actions with both that sit, two takes of one frame: nobody moves within a video. Beside the raw
    folder, the (H, W) bool silhouettes in the order in which they were drawn: subject, action, take, camera."""
    out, masks = tmp_path_factory.mktemp("foreground") / "official", []
    numbers = {"people": 2, "frames": 1, "actions": ACTIONS, "frame_px": FRAME_PX, "long_clip": False}
    shade = scene.shade

    def seen(person: RenderedFigure, *more: Any) -> Any:
        masks.append(person.depth_mm > 0)
        return shade(person, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, "shade", seen)
        generate.generate(out, seed=SEED, workers=1, **numbers)
    assert len(masks) == 2 * ACTIONS * 2 * 4
    return out, masks


@pytest.fixture(scope="module")
def official(drawn: tuple[Path, list[np.ndarray]]) -> Path:
    return drawn[0]


def samples(root: Path, **options: object) -> dict[str, Sample]:
    found = (one for item in plan(root, "test", {**PART, **options}) for one in convert(item))
    return {one.key: one for one in found if isinstance(one, Sample)}


@pytest.fixture(scope="module")
def found(official: Path) -> dict[str, Sample]:
    return samples(official)


def in_crop(mask: np.ndarray, sample: Sample, lens: np.ndarray) -> np.ndarray:
    """Cut the crop out of the whole frame by the two cameras."""
    crop = np.vstack([sample.camera.intrinsics_px, [0, 0, 1]])
    fx, fy, cx, cy = lens[:4]
    affine = (crop @ np.linalg.inv([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))[:2]
    return cv2.warpAffine(mask.astype(np.uint8), affine, sample.camera.size_px, flags=cv2.INTER_NEAREST) > 0


def test_the_foreground_is_the_silhouette_even_of_people_who_do_not_move(
    drawn: tuple[Path, list[np.ndarray]], found: dict[str, Sample]
) -> None:
    lens = Official(drawn[0]).lens(1)
    quality: dict[str, list[float]] = {}
    for number, mask in enumerate(drawn[1][ACTIONS * 2 * 4 :][1::4]):
        sample = found[f"s09_act{2 + number // 2:02d}_sub{1 + number % 2}_55011271_000000"]
        assert sample.foreground is not None
        seen, truth = sample.foreground > 0, in_crop(mask, sample, lens)
        quality.setdefault(sample.action, []).append(float((seen & truth).sum() / (seen | truth).sum()))
    assert len(quality) == ACTIONS
    every = [value for values in quality.values() for value in values]
    # The crops are about 140 px wide, where one pixel around the silhouette costs a tenth; a seat belongs to the
    # foreground, and grey clothes before a grey wall do not.
    assert np.mean(every) > 0.7, quality
    assert min(every) > 0.35, quality
    assert np.mean([value for action in STILL for value in quality[action]]) > 0.65, quality


def test_the_median_of_one_recording_would_swallow_who_stands_still(official: Path) -> None:
    (item,) = [one for one in plan(official, "test", {**PART}) if one.name == "s09_act09_sub1_55011271"]
    alone = type(item)(item.name, 1, {**item.payload, "background": (item.payload["video"],)})
    (sample,) = convert(alone)
    assert isinstance(sample, Sample)
    assert sample.foreground is not None
    assert not sample.foreground.any()


def test_every_layout_with_images_has_it(official: Path, found: dict[str, Sample], tmp_path: Path) -> None:
    write_moon(Official(official), tmp_path / "moon")
    write_fetch(Official(official), tmp_path / "fetch")
    (tmp_path / "fetch" / "metadata.xml").write_bytes((official / "metadata.xml").read_bytes())
    (tmp_path / "moon" / "metadata.xml").write_bytes((official / "metadata.xml").read_bytes())
    for layout in ("moon", "fetch"):
        other = samples(tmp_path / layout)
        assert set(other) == set(found)
        for key in list(found)[:8]:
            ours, theirs = other[key].foreground, found[key].foreground
            assert ours is not None
            assert theirs is not None
            assert ((ours > 0) == (theirs > 0)).mean() > 0.98, (layout, key)


def test_archives_give_the_same_bytes_as_files(official: Path, found: dict[str, Sample], tmp_path: Path) -> None:
    import tarfile

    for name in ("Videos", "MyPoseFeatures/D3_Positions"):
        with tarfile.open(tmp_path / f"{name.replace('MyPoseFeatures/', 'Poses_')}_S9.tgz", "w:gz") as tar:
            for path in sorted((official / "S9" / name).glob("Directions*")):
                tar.add(path, f"S9/{name}/{path.name}")
    (tmp_path / "metadata.xml").write_bytes((official / "metadata.xml").read_bytes())
    folder = tmp_path / "unpacked"
    for name in ("Videos", "MyPoseFeatures/D3_Positions"):
        (folder / "S9" / name).mkdir(parents=True)
        for path in sorted((official / "S9" / name).glob("Directions*")):
            (folder / "S9" / name / path.name).write_bytes(path.read_bytes())
    (folder / "metadata.xml").write_bytes((official / "metadata.xml").read_bytes())
    plain = samples(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    packed = samples(tmp_path)
    assert set(packed) == set(plain)
    assert len(plain) == 8
    for key, sample in plain.items():
        np.testing.assert_array_equal(packed[key].foreground, sample.foreground)


def test_it_is_an_option(official: Path) -> None:
    items = plan(official, "test", {**PART, "foreground": False})
    assert not any("background" in item.payload for item in items)
    assert {one.foreground for item in items[:2] for one in convert(item) if isinstance(one, Sample)} == {None}


def test_recordings_are_of_the_same_subject_and_camera_and_spread(official: Path) -> None:
    for item in plan(official, "test", PART):
        names = [Path(path).name for path, _ in item.payload["background"]]
        assert len(set(names)) == len(names) == background.RECORDINGS
        assert {name.split(".")[1] for name in names} == {item.payload["camera_id"]}
        assert all(Path(path).parent.parent.name == "S9" for path, _ in item.payload["background"])


def test_a_damaged_recording_is_left_out_and_an_unknown_scene_gives_zeros(official: Path, tmp_path: Path) -> None:
    item = next(iter(plan(official, "test", PART)))
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    broken = (str(tmp_path / "broken.mp4"), None)

    def of(*sources: tuple[str, str | None]) -> np.ndarray:
        (sample,) = convert(type(item)(item.name, 1, {**item.payload, "background": sources}))
        assert isinstance(sample, Sample)
        assert sample.foreground is not None
        return sample.foreground

    whole = item.payload["background"]
    np.testing.assert_array_equal(of(*whole[:9], broken), of(*whole[:9]))
    assert not of(broken).any()
    assert not of((str(tmp_path / "absent.mp4"), None)).any()
