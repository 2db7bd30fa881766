"""Labels that belong to other images or people are found, by ``prepare`` and by ``validate``; what cannot be told says
why. Tiny people have a dot per joint, so that a mask of dots shows exactly where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kt3d_bench.data.checks import belonging
from kt3d_bench.data.checks.belonging import Found, complaints, fit, heads, people, takes
from kt3d_bench.data.checks.images import share_beside
from kt3d_bench.data.index import Labels
from kt3d_bench.data.prepare import prepare
from kt3d_bench.data.validate import validate
from kt3d_bench.errors import RawDataError
from kt3d_bench.plugins import registry
from kt3d_bench.records import Sample
from kt3d_bench.skeletons import H36M17, Quality
from kt3d_bench.testing import tiny_sample, tiny_shards

CLIPS = 12


def dotted(number: int, clip: int, *, of: int | None = None, modality: str = "foreground") -> Sample:
    """Sample ``number`` of a clip, with the mask of sample ``of``: small dots, so that others' joints miss them."""
    sample = tiny_sample(f"t_{number:03d}", number, modalities=(), sequence=f"clip_{clip:02d}", camera_id="c")
    shown = tiny_sample("x", number if of is None else of, modalities=())
    mask = np.zeros((48, 40), np.uint8)
    depth = np.zeros((48, 40), np.uint16)
    assert shown.joints_cam_mm is not None
    for (x, y), z in zip(np.rint(shown.joints_px).astype(int), shown.joints_cam_mm[:, 2], strict=True):
        dot = slice(max(y, 0), y + 1), slice(max(x, 0), x + 1)
        mask[dot] = 255
        depth[dot] = int(z) - 100
    if modality == "depth":
        return replace(sample, depth_mm=depth)
    return replace(sample, foreground=mask) if modality == "foreground" else replace(sample, parts=mask // 255)


def clips(exchanged: Sequence[int] = (), each: int = 2, **more: Any) -> list[Sample]:
    """``each`` samples per clip; those of ``exchanged`` clips show the next clip's people."""
    return [
        dotted(each * clip + one, clip, of=each * clip + one + (each if clip in exchanged else 0), **more)
        for clip in range(CLIPS)
        for one in range(each)
    ]


def reasons(found: Found) -> list[str]:
    return [one.reason for one in found[1]]


@pytest.mark.parametrize("modality", ["foreground", "depth", "parts"])
def test_labels_of_another_clip_are_found_and_named(tmp_path: Path, modality: str) -> None:
    sound, unchecked = fit(tiny_shards(tmp_path / "sound", clips(modality=modality)))
    assert unchecked == []
    assert [(one.check.name, one.tested, one.failed) for one in sound] == [("clips fit", CLIPS, 0)]
    [wrong] = fit(tiny_shards(tmp_path / "wrong", clips((0, 4), modality=modality)))[0]
    assert (wrong.tested, wrong.failed) == (CLIPS, 2)
    assert {one.sentence.partition(" seen by c: ")[0] for one in wrong.findings} == {"clip_00", "clip_04"}
    assert all("these labels are another recording's" in one.sentence for one in wrong.findings)


def test_half_of_the_clips_exchanged_is_no_poor_foreground(tmp_path: Path) -> None:
    """As where two of four cameras are exchanged: the other half shows that the foreground is good."""
    [wrong], unchecked = fit(tiny_shards(tmp_path, clips(range(0, CLIPS, 2))))
    assert (wrong.failed, unchecked) == (CLIPS // 2, [])


def test_a_clip_that_shows_nobody_is_wrong_where_the_cameras_others_do(tmp_path: Path) -> None:
    """As a video of another camera, whose person is elsewhere: nothing moves where the joints lie."""

    def without(*numbers: int) -> Found:
        return fit(tiny_shards(tmp_path / str(len(numbers)), emptied(clips(each=3), numbers, (0, 1, 2))))

    [wrong], unchecked = without(3)
    assert (wrong.tested, wrong.failed, unchecked) == (CLIPS, 1, [])
    assert wrong.findings[0].sentence.startswith("clip_03 seen by c: 100 % of the joints lie beside the person")
    [sound], [missing] = without(3, 5, 7)  # A quarter: the scene may not be known
    assert (sound.tested, sound.failed) == (CLIPS - 3, 0)
    assert missing.reason == "3 clips: no image's foreground shows anybody"


def emptied(samples: Sequence[Sample], numbers: Sequence[int], which: Sequence[int]) -> list[Sample]:
    """The samples, of which those ``which`` of the clips ``numbers`` show nobody."""
    nobody, places = np.zeros((48, 40), np.uint8), dict[str, int]()
    shown = []
    for one in samples:
        place = places[one.sequence] = places.get(one.sequence, -1) + 1
        empty = one.sequence in {f"clip_{n:02d}" for n in numbers} and place in which
        shown.append(replace(one, foreground=nobody) if empty else one)
    return shown


def test_one_image_that_shows_nobody_proves_nothing(tmp_path: Path) -> None:
    """One image of each clip is looked at first, the first."""
    for each, which in ((1, (0,)), (2, (0, 1))):
        [sound], [missing] = fit(tiny_shards(tmp_path / str(each), emptied(clips(each=each), [3], which)))
        assert (sound.tested, sound.failed) == (CLIPS - 1, 0)
        assert missing.reason == "1 clips: no image's foreground shows anybody"
    [sound], unchecked = fit(tiny_shards(tmp_path / "others", emptied(clips(each=3), [3], (0, 1))))
    assert (sound.tested, sound.failed, unchecked) == (CLIPS, 0, [])
    [wrong] = fit(tiny_shards(tmp_path / "wrong", emptied(clips([3], each=3), [3], (0, 1))))[0]
    assert wrong.failed == 1


def test_joints_beside_the_person_are_those_further_than_a_twentieth_of_the_side() -> None:
    """Against the distance to the nearest of all pixels of the mask."""
    rng = np.random.default_rng(0)
    for height, width in ((90, 120), (40, 37)):
        mask = rng.random((height, width)) < 0.003
        points = rng.uniform(-5, 125, (17, 2))
        inside = (points >= -0.5).all(axis=1) & (points < (width - 0.5, height - 0.5)).all(axis=1)
        person = np.argwhere(mask)[:, ::-1]
        apart = np.linalg.norm(np.rint(points[inside])[:, None] - person, axis=-1).min(axis=1)
        assert share_beside(points, mask) == (apart > 0.05 * max(height, width)).mean()
    assert share_beside(np.zeros((17, 2)), np.zeros((5, 5), bool)) == 1.0
    assert share_beside(np.full((17, 2), -9.0), np.ones((5, 5), bool)) is None


def test_sequences_that_are_known_not_to_fit_are_left_out_and_listed(tmp_path: Path) -> None:
    shards = tiny_shards(tmp_path, clips((3,)))
    found = fit(shards, ["clip_03"])
    assert [(one.tested, one.failed) for one in found[0]] == [(CLIPS - 1, 0)]
    assert reasons(found) == ["clip_03: known not to fit, by the dataset's card"]


def test_what_shows_nobody_or_too_little_is_not_called_right(tmp_path: Path) -> None:
    rgb = tiny_shards(tmp_path / "rgb", [tiny_sample("a", 0, modalities=("rgb",))])
    assert reasons(fit(rgb)) == [belonging.BLIND]
    three = tiny_shards(tmp_path / "three", clips()[:6])
    assert reasons(fit(three)) == ["6 samples: fewer than 4 recordings of a subject by one camera"]
    few = tiny_shards(tmp_path / "few", clips()[:10])
    assert reasons(fit(few)) == ["fewer than 8 clips have a foreground to compare"]
    nobody = [replace(one, foreground=np.zeros((48, 40), np.uint8)) for one in clips()]
    outcomes, [unchecked] = fit(tiny_shards(tmp_path / "poor", nobody))
    assert outcomes == []
    assert unchecked.reason == "no image's foreground shows anybody"
    blurred = tiny_shards(tmp_path / "blurred", clips(range(CLIPS)))
    assert reasons(fit(blurred))[0].startswith("the foreground is poor: even in the best quarter ")
    outside = replace(dotted(0, 0, modality="parts"), joints_px=np.full((17, 2), np.nan))
    assert reasons(fit(tiny_shards(tmp_path / "none", [outside]))) == ["no image's parts shows anybody"]


@pytest.mark.parametrize("count", [belonging.MANY_CLIPS, CLIPS])
def test_a_whole_split_of_other_labels_is_found(tmp_path: Path, count: int) -> None:
    shown = [dotted(number, number, of=number + 1) for number in range(count)]
    if count < belonging.MANY_CLIPS:
        corner = np.zeros((48, 40), np.uint8)
        corner[0, 0] = 255
        shown = [replace(one, foreground=corner) for one in shown]
    [wrong] = fit(tiny_shards(tmp_path, shown))[0]
    assert wrong.failed == 1
    assert "the labels of the whole split are another camera's or moment's" in wrong.findings[0].sentence


def rigid(lengths: Sequence[tuple[str, str, float]], each: int = 4, noise: float = 0.0) -> Labels:
    """People of the same shape and the given sizes: (subject, take, size), each turned at random in every sample."""
    rng = np.random.default_rng(0)
    shape = rng.normal(0, 300, (17, 3))
    samples = []
    for subject, take, size in lengths:
        for number in range(each):
            turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
            joints = size * shape @ turn * (1 + noise * rng.normal(size=(17, 1))) + np.array([0, 0, 4000.0])
            key = f"{take}_{number}"
            samples.append(tiny_sample(key, 0, modalities=(), subject=subject, sequence=take, joints_cam_mm=joints))
    return Labels.of(samples)


def test_one_take_with_another_body_is_found() -> None:
    sizes = [("S1", f"take_{number}", 1.0) for number in range(5)]
    [sound] = takes(rigid(sizes), "train")[0]
    assert (sound.tested, sound.failed) == (5, 0)
    [wrong] = takes(rigid([*sizes, ("S1", "take_9", 1.08)]), "train")[0]
    assert (wrong.tested, wrong.failed) == (6, 1)
    assert wrong.findings[0].sentence == (
        "take_9: limbs are 8 % off those of S1 in other takes: these labels are another person's"
    )


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (rigid([("S1", "a", 1.0), ("S1", "b", 1.0)]), "no subject has three takes of one rigid skeleton (limbs vary"),
        (rigid([("S1", f"t{n}", 1.0) for n in range(5)], noise=0.1), "no subject has three takes of one rigid"),
        (rigid([("S1", f"t{n}", 1.0 + 0.1 * n) for n in range(5)]), "no subject has three takes of one rigid"),
    ],
)
def test_bodies_that_vary_say_nothing(labels: Labels, reason: str) -> None:
    outcomes, [unchecked] = takes(labels, "train")
    assert outcomes == []
    assert unchecked.reason.startswith(reason)


def test_limbs_that_are_not_exact_are_not_compared() -> None:
    quality = np.full(17, Quality.APPROXIMATE, np.uint8)
    labels = Labels.of([tiny_sample("a", 0, modalities=(), quality=quality)])
    assert reasons(takes(labels, "train")) == ["limbs are not measured exactly"]


def standing(count: int, head: float) -> list[Sample]:
    """2D people whose heads are ``head`` times as long as their trunks."""
    points = np.full((17, 2), 20.0)
    points[H36M17.index("thorax"), 1] = 10.0
    points[H36M17.index("head"), 1] = 10.0 - 10.0 * head
    return [
        tiny_sample(f"p_{number}", number, modalities=("rgb",), labels="2d", joints_px=points)
        for number in range(count)
    ]


def test_heads_longer_than_trunks_are_found(tmp_path: Path) -> None:
    [sound] = heads(tiny_shards(tmp_path / "sound", standing(20, 0.5)))[0]
    [wrong] = heads(tiny_shards(tmp_path / "wrong", standing(20, 1.5)))[0]
    assert (sound.failed, wrong.failed) == (0, 1)
    assert wrong.findings[0].sentence.startswith("100 % of 20 heads are longer than the trunk")
    few = heads(tiny_shards(tmp_path / "few", standing(19, 0.5)))
    assert reasons(few) == ["fewer than 20 people with head, thorax and hip"]


def test_complaints_of_sides_are_about_people_only() -> None:
    scattered = Labels.of([tiny_sample(f"t_{n}", n, modalities=()) for n in range(40)])
    assert not people(scattered)
    assert complaints([], scattered, "train") == []


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in of Human3.6M: S1 and S9, eight actions, one take."""
    out = tmp_path_factory.mktemp("belonging") / "raw"
    plugin = registry.dataset("h36m")
    assert plugin.generate is not None
    registry.load_function(plugin.generate, "generate")(
        out, seed=11, workers=1, people=2, frames=1, frame_px=200, actions=8, takes=1, long_clip=False
    )
    return out


def test_exchanged_videos_stop_prepare_and_are_listed_by_validate(recorded: Path, tmp_path: Path) -> None:
    videos = recorded / "S9" / "Videos"
    [one] = videos.glob("Directions*54138969.mp4")
    [other] = videos.glob("Sitting 1.54138969.mp4")
    given: dict[str, Any] = {"raw": recorded, "out": tmp_path / "shards", "splits": ["test"], "workers": 1}
    manifest = prepare("h36m", **given, options={"partial": True})
    assert validate(tmp_path / "shards").sound
    one.rename(tmp_path / "x.mp4")
    other.rename(one)
    (tmp_path / "x.mp4").rename(other)
    try:
        with pytest.raises(RawDataError, match="labels and images do not belong together: split test: s09_") as caught:
            prepare("h36m", **given, options={"partial": True})
        assert "seen by 54138969" in caught.value.message
        assert "--no-check" in (caught.value.hint or "")
        with pytest.raises(RawDataError, match="do not belong together"):
            prepare("h36m", **given, options={"partial": True})
        kept = prepare("h36m", **given, options={"partial": True}, check=False)
        assert kept.splits["test"].samples == manifest.splits["test"].samples
        failed = {outcome.check.name for outcome in validate(tmp_path / "shards").failed("error")}
        assert failed == {belonging.FIT.name}
    finally:
        one.rename(tmp_path / "x.mp4")
        other.rename(one)
        (tmp_path / "x.mp4").rename(other)
